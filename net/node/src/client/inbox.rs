//! Bytes that a client sent and that are not carried out yet, and when they came.
//!
//! Promises: taking from the front costs nothing for what stays, however much that is; the memory is given back when
//! everything is taken.

use agency::ids::Nanos;
use std::collections::VecDeque;
use std::time::Duration;

/// Taken bytes are kept in front until they are this many, and half of all.
const COMPACT_BYTES: usize = 64 << 10;
/// Memory that is kept while nothing is in it.
const KEPT_BYTES: usize = 64 << 10;
/// Bytes that came within this long of each other count as having come at once.
const ARRIVAL_GRAIN: Duration = Duration::from_millis(10);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// Bytes before this one were taken.
    start: usize,
    /// Where what came at a time ends, counted from the first byte ever, in order.
    arrivals: VecDeque<(u64, Nanos)>,
    /// Bytes taken ever.
    taken: u64,
}

impl Inbox {
    /// One that holds these.
    pub fn holding(now: Nanos, bytes: Vec<u8>) -> Inbox {
        let arrivals = VecDeque::from([(bytes.len() as u64, now)]);
        Inbox { bytes, start: 0, arrivals, taken: 0 }
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds.
    pub fn front(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub fn push(&mut self, now: Nanos, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        let end = self.taken + self.len() as u64;
        match self.arrivals.back_mut() {
            Some((last, at)) if now < *at + ARRIVAL_GRAIN => *last = end,
            _ => self.arrivals.push_back((end, now)),
        }
    }

    pub fn take(&mut self, count: usize) {
        assert!(count <= self.len(), "more is taken than is there");
        self.start += count;
        self.taken += count as u64;
        while self.arrivals.front().is_some_and(|(end, _)| *end <= self.taken) {
            self.arrivals.pop_front();
        }
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        } else if self.start >= COMPACT_BYTES && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    pub fn clear(&mut self) {
        self.take(self.len());
    }

    /// When the byte before `end` came; 0 is the front.
    pub fn arrived(&self, end: usize) -> Option<Nanos> {
        let end = self.taken + end as u64;
        let at = self.arrivals.partition_point(|(last, _)| *last < end);
        self.arrivals.get(at).map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_in_small_pieces_is_not_moved_each_time() {
        let mut inbox = Inbox::default();
        let stream: Vec<u8> = (0..1_000_000u32).map(|at| at as u8).collect();
        inbox.push(Nanos(1), &stream);
        let (mut moved, mut before) = (0, inbox.start);
        for at in (0..stream.len()).step_by(100) {
            assert_eq!(inbox.front()[..100], stream[at..at + 100]);
            inbox.take(100);
            if inbox.start < before {
                moved += inbox.len();
            }
            before = inbox.start;
        }
        assert!(inbox.is_empty() && inbox.arrivals.is_empty());
        assert!(moved <= stream.len(), "{moved} bytes were moved");
    }

    #[test]
    fn each_byte_knows_when_it_came() {
        let mut inbox = Inbox::default();
        let ms = |ms: u64| Nanos(ms * 1_000_000);
        inbox.push(ms(1), b"abc");
        inbox.push(ms(2), b"de");
        inbox.push(ms(50), b"f");
        assert_eq!(inbox.arrived(5), Some(ms(1)));
        assert_eq!(inbox.arrived(6), Some(ms(50)));
        inbox.take(5);
        assert_eq!(inbox.arrived(1), Some(ms(50)));
        inbox.take(1);
        assert_eq!(inbox.arrived(1), None);
    }
}
