//! The overlay: what the log says about keys beyond the part that is applied to the index.
//!
//! Holds hashes and places, no bytes. Operations wait here in log order until they are committed and durable,
//! or until a rewind cuts them off.

use crate::frame::BATCH_ENTRY_BYTES;
use crate::ids::Lsn;
use crate::key::BuildAlreadyHashed;
use crate::segment::Location;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// One operation of the log that is not yet applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub hash: u128,
    pub location: Location,
    /// Where its frame begins and ends.
    pub lsn: Lsn,
    pub end: Lsn,
    pub slot: u16,
    pub put: bool,
    /// The number of the same key's operation before this one, if that is still here.
    earlier: u64,
}

/// Numbers start at 1, so that 0 can say "none".
const NONE: u64 = 0;

#[derive(Debug, Default)]
pub(crate) struct Overlay {
    queue: VecDeque<Pending>,
    /// The number of the operation at the queue's front.
    front: u64,
    newest: HashMap<u128, u64, BuildAlreadyHashed>,
}

impl Overlay {
    pub fn new() -> Overlay {
        Overlay { front: 1, ..Overlay::default() }
    }

    pub fn push(&mut self, hash: u128, location: Location, lsn: Lsn, end: Lsn, slot: u16, put: bool) {
        assert!(lsn < end, "an operation lies inside a frame");
        assert!(
            self.queue.back().is_none_or(|last| last.end <= end),
            "operations come in the order of the log"
        );
        let number = self.front + self.queue.len() as u64;
        let earlier = self.newest.insert(hash, number).unwrap_or(NONE);
        self.queue.push_back(Pending { hash, location, lsn, end, slot, put, earlier });
    }

    /// The key's newest operation that ends at or before `bound`.
    pub fn find(&self, hash: u128, bound: Lsn) -> Option<&Pending> {
        let mut number = *self.newest.get(&hash)?;
        while number >= self.front {
            let pending = &self.queue[(number - self.front) as usize];
            if pending.end <= bound {
                return Some(pending);
            }
            number = pending.earlier;
        }
        None
    }

    /// Takes the oldest operation if it ends at or before `bound`.
    pub fn pop(&mut self, bound: Lsn) -> Option<Pending> {
        let pending = *self.queue.front().filter(|pending| pending.end <= bound)?;
        self.queue.pop_front();
        if self.newest.get(&pending.hash) == Some(&self.front) {
            self.newest.remove(&pending.hash);
        }
        self.front += 1;
        Some(pending)
    }

    /// Where the frame of the oldest operation begins and ends.
    pub fn oldest(&self) -> Option<(Lsn, Lsn)> {
        self.queue.front().map(|pending| (pending.lsn, pending.end))
    }

    /// # Panics
    /// If it holds what is applied, or what is no longer of the log that ends at `tail`.
    pub fn check(&self, applied: Lsn, tail: Lsn) {
        assert!(self.newest.len() <= self.queue.len(), "each key has an operation");
        let (Some(first), Some(last)) = (self.queue.front(), self.queue.back()) else { return };
        assert!(first.end > applied, "what is applied has left");
        assert!(first.end <= last.end && last.end <= tail, "operations are in the order of the log");
        // An operation is no shorter than its head.
        let most = (last.end.0 - first.lsn.0) / BATCH_ENTRY_BYTES as u64;
        assert!(self.queue.len() as u64 <= most, "the overlay is bounded by the log that it speaks of");
    }

    /// Drops the operations that end beyond `lsn`.
    pub fn cut(&mut self, lsn: Lsn) {
        while let Some(&pending) = self.queue.back().filter(|pending| pending.end > lsn) {
            self.queue.pop_back();
            if pending.earlier >= self.front {
                self.newest.insert(pending.hash, pending.earlier);
            } else {
                self.newest.remove(&pending.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SegmentId;

    fn push(overlay: &mut Overlay, hash: u128, end: u64) {
        let location = Location { segment: SegmentId(0), offset: end, blocks: 1 };
        overlay.push(hash, location, Lsn(end - 8), Lsn(end), 0, true);
    }

    #[test]
    fn finds_the_newest_below_the_bound() {
        let mut overlay = Overlay::new();
        push(&mut overlay, 1, 8);
        push(&mut overlay, 2, 16);
        push(&mut overlay, 1, 24);
        let end =
            |overlay: &Overlay, hash, bound| overlay.find(hash, Lsn(bound)).map(|pending| pending.end.0);
        assert_eq!(end(&overlay, 1, u64::MAX), Some(24));
        assert_eq!(end(&overlay, 1, 23), Some(8));
        assert_eq!(overlay.pop(Lsn(8)).unwrap().end, Lsn(8));
        assert!(overlay.pop(Lsn(8)).is_none());
        assert_eq!(end(&overlay, 1, 23), None);
        overlay.cut(Lsn(16));
        assert_eq!(end(&overlay, 1, u64::MAX), None);
        assert_eq!(end(&overlay, 2, u64::MAX), Some(16));
    }

    #[test]
    fn cutting_brings_the_earlier_one_back() {
        let mut overlay = Overlay::new();
        push(&mut overlay, 1, 8);
        push(&mut overlay, 1, 16);
        overlay.cut(Lsn(8));
        assert_eq!(overlay.find(1, Lsn(u64::MAX)).unwrap().end, Lsn(8));
        assert!(overlay.pop(Lsn(8)).is_some());
        assert!(overlay.newest.is_empty());
    }
}
