//! What a leader knows of one connected follower, and what it may send to it next.
//!
//! Promises: cursors only rise; a cursor counts only after the follower's first acknowledgement on this
//! connection, which it sends after its rewind. Decides nothing about leadership.

use crate::ids::LinkId;
use agency::ids::Nanos;
use engine::ids::Lsn;
use engine::log::BufferRange;
use std::collections::VecDeque;
use std::time::Duration;

/// Most bytes of frames sent and not yet received by a follower: what it may hold in its log buffer unread.
pub const SEND_WINDOW_BYTES: u64 = 4 << 20;
/// Most bytes of frames in one append, unless a single frame is larger.
pub const APPEND_BYTES: usize = 512 << 10;
/// A leader that has sent nothing for this long shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_millis(10);
/// A commit LSN that no frame carried is told after this long.
pub const COMMIT_DELAY: Duration = Duration::from_millis(1);

/// How far a follower has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// In its log buffer.
    pub received: Lsn,
    /// On its disk.
    pub durable: Lsn,
    /// In its index.
    pub applied: Lsn,
}

/// One follower's connection as its leader sees it.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub link: LinkId,
    /// Where the next append starts.
    pub sent: Lsn,
    /// A catch-up read from the disk is under way; nothing else may be sent before it.
    pub reading: bool,
    cursors: Option<Cursors>,
    in_flight: VecDeque<BufferRange>,
    told_commit: Lsn,
    last_sent: Nanos,
}

impl Peer {
    /// A follower that was welcomed at `start`.
    pub fn new(link: LinkId, start: Lsn, now: Nanos) -> Peer {
        Peer {
            link,
            sent: start,
            reading: false,
            cursors: None,
            in_flight: VecDeque::new(),
            told_commit: Lsn(0),
            last_sent: now,
        }
    }

    /// The follower's cursors, once they count.
    pub fn cursors(&self) -> Option<Cursors> {
        self.cursors
    }

    /// Takes an acknowledgement. Returns `false` if it claims what it cannot have: more than was sent.
    pub fn acknowledged(&mut self, claim: Cursors) -> bool {
        let before = self.cursors.unwrap_or_default();
        if claim.received > self.sent || claim.durable > claim.received || claim.applied > claim.durable {
            return false;
        }
        if claim.received < before.received
            || claim.durable < before.durable
            || claim.applied < before.applied
        {
            return false;
        }
        self.cursors = Some(claim);
        true
    }

    /// Bytes of frames that may be sent now.
    pub fn window(&self) -> u64 {
        let received = self.cursors.map_or(self.sent, |c| c.received);
        SEND_WINDOW_BYTES.saturating_sub(self.sent.0.saturating_sub(received.0))
    }

    /// Notes an append of `bytes` of frames that tells `commit`; `range` if it is sent from the log buffer.
    ///
    /// # Panics
    /// If frames are sent from elsewhere than where the last ones ended.
    pub fn note_sent(&mut self, bytes: u64, range: Option<BufferRange>, commit: Lsn, now: Nanos) {
        if let Some(range) = range {
            assert!(
                range.start == self.sent && range.len as u64 == bytes,
                "{range:?} is sent at {}",
                self.sent
            );
        }
        self.sent = self.sent.advance(bytes);
        self.told_commit = commit;
        self.last_sent = now;
        self.in_flight.extend(range);
    }

    /// The kernel no longer needs this range. Ranges may come back out of order.
    pub fn note_released(&mut self, range: BufferRange) {
        if let Some(at) = self.in_flight.iter().position(|r| *r == range) {
            self.in_flight.remove(at);
        }
    }

    /// The lowest LSN of the log buffer that the kernel still reads for this follower.
    pub fn lowest_in_flight(&self) -> Option<Lsn> {
        self.in_flight.iter().map(|range| range.start).min()
    }

    /// Whether what counts is what was sent: for the leader's own check at a turn's end.
    pub fn is_consistent(&self, end: Lsn) -> bool {
        self.sent <= end
            && self
                .cursors
                .is_none_or(|c| c.applied <= c.durable && c.durable <= c.received && c.received <= end)
    }

    /// Whether an empty append is due, to tell `commit` or merely to show life.
    pub fn sign_of_life_due(&self, commit: Lsn, now: Nanos) -> bool {
        now >= self.sign_of_life_at(commit)
    }

    /// When an empty append becomes due.
    pub fn sign_of_life_at(&self, commit: Lsn) -> Nanos {
        let delay = if commit > self.told_commit { COMMIT_DELAY } else { HEARTBEAT };
        self.last_sent + delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(received: u64, durable: u64, applied: u64) -> Cursors {
        Cursors { received: Lsn(received), durable: Lsn(durable), applied: Lsn(applied) }
    }

    fn peer() -> Peer {
        Peer::new(LinkId(1), Lsn(100), Nanos(0))
    }

    /// To whom everything below this was sent.
    fn fed_upto(lsn: u64) -> Peer {
        let mut peer = peer();
        peer.note_sent(lsn - 100, None, Lsn(0), Nanos(0));
        peer
    }

    #[test]
    fn nothing_counts_before_the_first_acknowledgement() {
        assert_eq!(peer().cursors(), None);
    }

    #[test]
    fn cursors_never_fall_and_never_pass_what_was_sent() {
        let mut peer = fed_upto(200);
        assert!(peer.acknowledged(cursors(200, 150, 100)));
        assert!(!peer.acknowledged(cursors(200, 140, 100)));
        assert!(!peer.acknowledged(cursors(208, 150, 100)));
        assert!(!peer.acknowledged(cursors(200, 201, 100)));
        assert_eq!(peer.cursors(), Some(cursors(200, 150, 100)));
    }

    #[test]
    fn the_buffer_is_held_below_the_lowest_send() {
        let mut peer = peer();
        let (a, b) = (BufferRange { start: Lsn(100), len: 50 }, BufferRange { start: Lsn(150), len: 50 });
        peer.note_sent(50, Some(a), Lsn(0), Nanos(0));
        peer.note_sent(50, Some(b), Lsn(0), Nanos(0));
        assert_eq!(peer.sent, Lsn(200));
        peer.note_released(b);
        assert_eq!(peer.lowest_in_flight(), Some(Lsn(100)));
        peer.note_released(a);
        assert_eq!(peer.lowest_in_flight(), None);
    }
}
