//! A value in memory shared by two processes: one writer, any number of readers, no locks.
//!
//! Promises that a reader gets exactly what one `write` wrote, and that a writer killed in the middle of a
//! write leaves the value before it readable (two slots, written in turn; a plain seqlock would leave readers
//! spinning). Does not arbitrate between writers: each cell has one by contract. Two that break it mix their
//! values, nothing worse.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// The cell. All zeroes is a valid cell that was never written.
#[repr(C)]
pub(super) struct Cell<const N: usize> {
    /// How many writes were completed; the newest is in slot `seq & 1`.
    seq: AtomicU64,
    slots: [[AtomicU64; N]; 2],
}

impl<const N: usize> Cell<N> {
    /// Number of the newest complete write; 0 if there was none.
    pub fn seq(&self) -> u64 {
        self.seq.load(Acquire)
    }

    /// Replaces the value.
    pub fn write(&self, words: &[u64; N]) {
        self.write_prefix(words.iter().copied());
    }

    fn write_prefix(&self, words: impl Iterator<Item = u64>) {
        let seq = self.seq.load(Relaxed) + 1;
        // A reader that sees a word of this write must also see the number of the write before it, and so
        // learn that the slot it reads is being reused. Pairs with the fence in `read_prefix`.
        fence(Release);
        for (slot, word) in self.slots[(seq & 1) as usize].iter().zip(words) {
            slot.store(word, Relaxed);
        }
        self.seq.store(seq, Release);
    }

    /// The newest value and the number of its write; zeroes if there was none.
    pub fn read(&self) -> (u64, [u64; N]) {
        let mut words = [0; N];
        let seq = self.read_prefix(|slot| {
            for (word, from) in words.iter_mut().zip(slot) {
                *word = from.load(Relaxed);
            }
        });
        (seq, words)
    }

    fn read_prefix(&self, mut copy: impl FnMut(&[AtomicU64; N])) -> u64 {
        loop {
            let seq = self.seq.load(Acquire);
            copy(&self.slots[(seq & 1) as usize]);
            fence(Acquire);
            if self.seq.load(Relaxed) == seq {
                return seq;
            }
            std::hint::spin_loop();
        }
    }

    /// Most bytes that [`write_bytes`](Self::write_bytes) takes.
    pub const MAX_BYTES: usize = (N - 1) * 8;

    /// Replaces the value by a byte string. Panics if it is longer than `MAX_BYTES`: callers bound it.
    pub fn write_bytes(&self, bytes: &[u8]) {
        assert!(bytes.len() <= Self::MAX_BYTES, "a value of the shared page outgrew its place");
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        self.write_prefix(std::iter::once(bytes.len() as u64).chain(words));
    }

    /// The newest byte string, if it is newer than `last_seen`, which is set to its number.
    pub fn read_bytes(&self, last_seen: &mut u64) -> Option<Vec<u8>> {
        if self.seq() == *last_seen {
            return None;
        }
        let mut bytes = Vec::new();
        let seq = self.read_prefix(|slot| {
            // The length is another process's word, perhaps of a write that is under way: bound it.
            let length = (slot[0].load(Relaxed) as usize).min(Self::MAX_BYTES);
            bytes.clear();
            for word in &slot[1..1 + length.div_ceil(8)] {
                bytes.extend_from_slice(&word.load(Relaxed).to_le_bytes());
            }
            bytes.truncate(length);
        });
        *last_seen = seq;
        (seq != 0).then_some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn empty<const N: usize>() -> Cell<N> {
        Cell {
            seq: AtomicU64::new(0),
            slots: [const { [const { AtomicU64::new(0) }; N] }, const { [const { AtomicU64::new(0) }; N] }],
        }
    }

    #[test]
    fn readers_never_see_a_mixture_nor_go_back() {
        let cell = empty::<16>();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Relaxed) {
                        let (seq, words) = cell.read();
                        assert!(words.iter().all(|w| *w == seq), "{seq}: {words:?}");
                        assert!(seq >= last);
                        last = seq;
                    }
                });
            }
            for n in 1..=300_000u64 {
                cell.write(&[n; 16]);
            }
            done.store(true, Relaxed);
        });
    }

    #[test]
    fn a_writer_killed_in_the_middle_leaves_the_value_before() {
        let cell = empty::<4>();
        cell.write(&[7; 4]);
        // The next write got this far and no further.
        cell.slots[0][0].store(9, Relaxed);
        cell.slots[0][1].store(9, Relaxed);
        assert_eq!(cell.read(), (1, [7; 4]));
    }

    #[test]
    fn byte_strings_of_any_length_come_back() {
        let cell = empty::<5>();
        let mut seen = 0;
        assert_eq!(cell.read_bytes(&mut seen), None);
        for length in 0..=Cell::<5>::MAX_BYTES {
            let bytes: Vec<u8> = (0..length as u8).map(|b| b ^ 0xa5).collect();
            cell.write_bytes(&bytes);
            assert_eq!(cell.read_bytes(&mut seen), Some(bytes));
            assert_eq!(cell.read_bytes(&mut seen), None);
        }
    }
}
