//! Freeing what is large, off the shard's thread: the allocator gives such memory back to the kernel, page by
//! page, while the caller waits.

use engine::io::ring::Piece;
use engine::memory::AlignedBlocks;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// From this size on the allocator unmaps what is freed.
pub const LARGE_BYTES: usize = 128 << 10;

type Rubbish = Box<dyn Send>;

/// Takes memory and lets a thread free it.
#[derive(Clone)]
pub struct Discard(Sender<Rubbish>);

impl Discard {
    /// Start the thread, which ends with the last clone.
    ///
    /// # Errors
    /// No more threads.
    pub fn start() -> std::io::Result<Discard> {
        let (sender, rubbish) = channel::<Rubbish>();
        std::thread::Builder::new()
            .name("baton-discard".into())
            .spawn(move || rubbish.into_iter().for_each(drop))?;
        Ok(Discard(sender))
    }

    /// Free bytes.
    pub fn bytes(&self, bytes: Vec<u8>) {
        if bytes.capacity() >= LARGE_BYTES {
            self.hand_over(Box::new(bytes));
        }
    }

    /// Free what was sent. Shared bytes are freed by the last who holds them.
    pub fn pieces(&self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => self.bytes(bytes),
                Piece::Shared(shared) => {
                    if let Some(bytes) = Arc::into_inner(shared) {
                        self.bytes(bytes);
                    }
                }
                Piece::Log { .. } => {}
            }
        }
    }

    /// Free blocks.
    pub fn blocks(&self, blocks: AlignedBlocks) {
        if blocks.len() >= LARGE_BYTES {
            self.hand_over(Box::new(blocks));
        }
    }

    fn hand_over(&self, rubbish: Rubbish) {
        // The thread lives as long as this. If it did not, the memory would be freed here.
        let _ = self.0.send(rubbish);
    }
}
