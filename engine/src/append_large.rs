//! Appending a large value as the leader, in slices.
//!
//! Promises that the frame is of the log only when it is whole: until then the log ends before it, nobody reads or
//! sends it, and what else wants to be appended has to wait. Should its beginning reach the disk with the block in
//! which the log ends, it is a torn tail. Being given up costs nothing.

use crate::error::AppendError;
use crate::frame::{self, FrameKind, HEADER_BYTES, Stamp};
use crate::growing::Growing;
use crate::ids::Lsn;
use crate::limits::MAX_KEY_BYTES;
use crate::shard::Shard;

impl Shard {
    /// Begins to append a put of a value of `value_len` bytes, which [`Shard::append_more`] brings. Until
    /// [`Shard::append_finish`], or [`Shard::append_cancel`], nothing else is appended.
    ///
    /// # Errors
    /// As of [`Shard::append`]; nothing was begun.
    pub fn append_begin(
        &mut self,
        key: &[u8],
        value_len: usize,
        expiry_ms: u64,
        wall_ms: u64,
    ) -> Result<(), AppendError> {
        self.may_append()?;
        if key.len() > MAX_KEY_BYTES {
            return Err(AppendError::KeyTooLarge { limit: MAX_KEY_BYTES });
        }
        if value_len > self.options.max_value_bytes {
            return Err(AppendError::ValueTooLarge { limit: self.options.max_value_bytes });
        }
        let (epoch, len) = (self.last_epoch(), frame::frame_len(key.len(), value_len));
        self.make_room(epoch, len as u64, 1, false, wall_ms)?;
        self.buffer.claim(self.end.advance(len as u64));
        let stamp = Stamp { epoch, lsn: self.end, expiry_ms, wall_ms };
        let filled = HEADER_BYTES + key.len();
        let head = self.buffer.bytes_mut(self.end, filled);
        frame::encode_head(head, FrameKind::Put, stamp, key, value_len);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&head[4..]);
        let value_end = filled + value_len;
        self.growing = Some(Growing { key: key.into(), len, filled, value_end, checksum });
        Ok(())
    }

    /// The next bytes of the value. How many is the caller's choice: [`crate::limits::SLICE_BYTES`] cost a part of a
    /// millisecond.
    ///
    /// # Panics
    /// If none is being appended, or they are more than were announced.
    pub fn append_more(&mut self, bytes: &[u8]) {
        let growing = self.growing.as_mut().expect("a large value is being appended");
        assert!(bytes.len() <= growing.value_end - growing.filled, "no more than was announced");
        let at = self.end.advance(growing.filled as u64);
        self.buffer.bytes_mut(at, bytes.len()).copy_from_slice(bytes);
        growing.checksum.update(bytes);
        growing.filled += bytes.len();
    }

    /// The value is there: it becomes part of the log. Returns where its frame ends.
    ///
    /// # Panics
    /// If none is being appended, or it is not whole.
    pub fn append_finish(&mut self) -> Lsn {
        let mut growing = self.growing.take().expect("a large value is being appended");
        assert!(growing.filled == growing.value_end, "a value is appended whole");
        assert!(self.leading && self.rewind.is_none(), "what ends a lead gives up what was begun");
        let (lsn, end) = (self.end, self.end.advance(growing.len as u64));
        let padding = growing.len - growing.value_end;
        let rest = self.buffer.bytes_mut(lsn.advance(growing.value_end as u64), padding);
        rest.fill(0);
        growing.checksum.update(rest);
        let checksum = growing.checksum.finalize();
        self.buffer.bytes_mut(lsn, 4).copy_from_slice(&checksum.to_le_bytes());
        self.buffer.zero_block_rest(end);
        let epoch = self.last_epoch();
        self.note_frame(FrameKind::Put, epoch, lsn, end);
        self.register(&growing.key, lsn, end, true);
        end
    }

    /// Gives up the value that is being appended, if one is.
    pub fn append_cancel(&mut self) {
        if self.growing.take().is_some() {
            self.buffer.zero_block_rest(self.end);
        }
    }

    /// Is a large value being appended?
    pub fn appending(&self) -> bool {
        self.growing.is_some()
    }
}
