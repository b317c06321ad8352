//! What a shard has told its disk to do and not heard of yet, and how far the log has been handed over.
//!
//! Log writes complete in any order, but the log is durable only as far as all of them have: this is where that
//! is counted. Promises that a completion answers a command that was given, once. Knows tickets and positions
//! only.

use crate::ids::{Lsn, SegmentId};
use crate::limits::{MAX_TRACKED_WRITES, block_floor};
use crate::segments::FooterState;
use std::collections::VecDeque;

/// A write of the log, or of the header of a segment that the log goes on in.
#[derive(Debug)]
struct Write {
    ticket: u64,
    done: bool,
    /// Where its bytes end.
    end: Lsn,
    /// The log is durable up to here when this and all writes before it are done: the end of the last frame
    /// that they complete.
    whole: Lsn,
}

/// A piece of a footer, and how far the footer is when it is written.
#[derive(Debug)]
pub(crate) struct FooterPiece {
    pub ticket: u64,
    pub segment: SegmentId,
    pub next: FooterState,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Flights {
    last_ticket: u64,
    submitted: Lsn,
    whole: Lsn,
    /// In the order of the log; the first is not done.
    writes: VecDeque<Write>,
    footer: Option<FooterPiece>,
    pulse: Option<u64>,
}

impl Flights {
    /// Nothing on its way; the log is on disk up to `submitted`, the end of a frame.
    pub fn new(submitted: Lsn) -> Flights {
        let writes = VecDeque::with_capacity(MAX_TRACKED_WRITES);
        Flights { last_ticket: 0, submitted, whole: submitted, writes, footer: None, pulse: None }
    }

    /// A ticket that was never given before.
    pub fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The log below is written or on its way.
    pub fn submitted(&self) -> Lsn {
        self.submitted
    }

    /// The end of the last whole frame below [`Flights::submitted`].
    pub fn whole(&self) -> Lsn {
        self.whole
    }

    /// Is nothing on its way but the preparation of segments and the rewriting of a damaged frame?
    pub fn idle(&self) -> bool {
        self.writes.is_empty() && self.footer.is_none() && self.pulse.is_none()
    }

    /// Writes of the log and its segments' headers on their way.
    pub fn writes(&self) -> usize {
        self.writes.len()
    }

    /// Does a write on its way touch the block that begins at `start`? None may overtake another there.
    pub fn touches(&self, start: Lsn) -> bool {
        self.writes.back().is_some_and(|write| write.end > start)
    }

    /// A segment's header goes out in front of the log's next write.
    pub fn begin_header(&mut self) -> u64 {
        self.push(self.submitted)
    }

    /// The log up to `end` goes out, in which the last frame to end, ends at `whole`.
    pub fn begin_write(&mut self, end: Lsn, whole: Lsn) -> u64 {
        assert!(end > self.submitted, "a write brings something new");
        assert!(self.whole <= whole && whole <= end, "frames end in order and inside what is written");
        assert!(!self.touches(Lsn(block_floor(self.submitted.0))), "no two writes touch one block");
        self.submitted = end;
        self.whole = whole;
        self.push(end)
    }

    fn push(&mut self, end: Lsn) -> u64 {
        assert!(self.writes.len() < MAX_TRACKED_WRITES, "more log writes in flight than planned");
        let ticket = self.ticket();
        self.writes.push_back(Write { ticket, done: false, end, whole: self.whole });
        ticket
    }

    /// Is this the ticket of a write of the log or of a header?
    pub fn is_write(&self, ticket: u64) -> bool {
        self.writes.iter().any(|write| write.ticket == ticket)
    }

    /// A write is done. The log is now durable up to what is returned, if that moved.
    pub fn write_done(&mut self, ticket: u64) -> Option<Lsn> {
        let write = self.writes.iter_mut().find(|write| write.ticket == ticket);
        let write = write.expect("a completion answers a write that was given");
        assert!(!write.done, "a write completes once");
        write.done = true;
        let mut durable = None;
        while let Some(write) = self.writes.front().filter(|write| write.done) {
            assert!(durable <= Some(write.whole), "durable moves forward only");
            durable = Some(write.whole);
            self.writes.pop_front();
        }
        durable
    }

    /// Is a piece of a footer on its way?
    pub fn footer_in_flight(&self) -> bool {
        self.footer.is_some()
    }

    /// The next piece of the footer of `segment` goes out.
    pub fn begin_footer(&mut self, segment: SegmentId, next: FooterState) -> u64 {
        assert!(self.footer.is_none(), "one piece of a footer at a time");
        let ticket = self.ticket();
        self.footer = Some(FooterPiece { ticket, segment, next });
        ticket
    }

    /// The piece of a footer of this ticket, if it is one; it is on its way no more.
    pub fn take_footer(&mut self, ticket: u64) -> Option<FooterPiece> {
        self.footer.take_if(|piece| piece.ticket == ticket)
    }

    /// Is a pulse on its way?
    pub fn pulse_in_flight(&self) -> bool {
        self.pulse.is_some()
    }

    /// A pulse goes out.
    pub fn begin_pulse(&mut self) -> u64 {
        assert!(self.pulse.is_none(), "one pulse at a time");
        let ticket = self.ticket();
        self.pulse = Some(ticket);
        ticket
    }

    /// Is this the ticket of the pulse? Then that is on its way no more.
    pub fn take_pulse(&mut self, ticket: u64) -> bool {
        self.pulse.take_if(|pulse| *pulse == ticket).is_some()
    }

    /// The log was cut at `to`, the end of a frame.
    pub fn cut(&mut self, to: Lsn) {
        assert!(self.idle(), "nothing is on its way to what is cut");
        assert!(to <= self.submitted, "a cut shortens the log");
        self.submitted = to;
        self.whole = to;
    }

    /// # Panics
    /// If the positions contradict each other or `durable`.
    pub fn check(&self, durable: Lsn) {
        assert!(self.whole <= self.submitted, "whole frames end in what was written");
        let mut before = durable;
        for write in &self.writes {
            assert!(before <= write.whole && write.whole <= write.end, "writes are in the order of the log");
            before = write.whole;
        }
        assert!(before == self.whole, "what is whole but not durable is on its way");
        assert!(self.writes.front().is_none_or(|write| !write.done), "a write that is done is counted");
        assert!(self.writes.back().is_none_or(|write| write.end == self.submitted), "nothing was left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_is_what_all_writes_before_have_reached() {
        let mut flights = Flights::new(Lsn(0));
        let first = flights.begin_write(Lsn(4096), Lsn(4000));
        let second = flights.begin_write(Lsn(8192), Lsn(8000));
        assert_eq!(flights.write_done(second), None);
        flights.check(Lsn(0));
        assert_eq!(flights.write_done(first), Some(Lsn(8000)));
        flights.check(Lsn(8000));
        assert!(flights.idle());
    }

    #[test]
    #[should_panic(expected = "a write completes once")]
    fn a_write_that_completes_twice_is_our_own_bug() {
        let mut flights = Flights::new(Lsn(0));
        flights.begin_write(Lsn(4096), Lsn(4096));
        let second = flights.begin_write(Lsn(8192), Lsn(8192));
        flights.write_done(second);
        flights.write_done(second);
    }

    #[test]
    #[should_panic(expected = "no two writes touch one block")]
    fn writes_do_not_share_a_block() {
        let mut flights = Flights::new(Lsn(0));
        flights.begin_write(Lsn(4000), Lsn(4000));
        flights.begin_write(Lsn(8000), Lsn(8000));
    }
}
