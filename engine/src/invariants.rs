//! What holds of a shard between any two calls. A violation is a bug of our own: better no shard than one
//! that acknowledges, sends or cuts by wrong positions.

use crate::ids::{Epoch, Lsn};
use crate::limits::FRAME_ALIGN;
use crate::shard::Shard;

impl Shard {
    /// Checks the order of the cursors and how the parts fit together. Costs some fifty comparisons, whatever
    /// the shard holds; called at the end of each turn by [`Shard::poll_disk`].
    ///
    /// # Panics
    /// If something does not hold.
    pub fn check_invariants(&self) {
        self.check_cursors();
        self.check_segments();
        self.check_buffer();
        self.overlay.check(self.applied, self.tail());
        self.flights.check(self.durable);
        self.check_role();
    }

    fn check_cursors(&self) {
        let (durable, submitted, tail) = (self.durable(), self.flights.submitted(), self.tail());
        assert!(self.applied <= self.committed, "applied {} > committed {}", self.applied, self.committed);
        assert!(self.applied <= durable, "applied {} > durable {durable}", self.applied);
        assert!(self.committed <= tail, "committed {} > tail {tail}", self.committed);
        assert!(self.durable <= submitted, "durable {} > written {submitted}", self.durable);
        assert!(submitted <= self.end, "written {submitted} > end {}", self.end);
        assert!(self.oldest() <= self.applied.max(self.opened_at), "what is not applied is held");
        for end_of_frame in [self.end, self.durable, tail] {
            assert!(end_of_frame.0.is_multiple_of(FRAME_ALIGN), "a frame ends at {end_of_frame}");
        }
    }

    fn check_segments(&self) {
        self.segments.check();
        let current = self.segments.current();
        assert!(current.base <= self.end, "the log ends in its last segment");
        assert!(current.offset_of(self.end) <= self.options.segment_bytes, "and inside its file");
        let unwritten = current.base == self.flights.submitted();
        assert!(current.headed || unwritten || current.base > self.flights.submitted(), "header before log");
    }

    fn check_buffer(&self) {
        self.buffer.check(self.end);
        // Bytes that are still to be written, or to be applied, must be there.
        let needed = self.durable.min(self.applied.max(self.opened_at));
        assert!(self.buffer.low() <= needed, "the buffer begins at {}, not {needed}", self.buffer.low());
    }

    fn check_role(&self) {
        let last = self.history.entries().last();
        assert!(last.is_none_or(|&(_, start)| start < self.tail()), "an epoch has a first frame");
        assert!(self.end == Lsn(0) || last.is_some() || self.tail() == Lsn(0), "each frame has an epoch");
        assert!(!self.leading || self.rewind.is_none(), "a leader's log is not being cut");
        assert!(!self.leading || self.last_epoch() > Epoch(0), "a leader has an epoch");
        assert!(self.growing.is_none() || self.leading, "only a leader appends");
        assert!(self.landing.is_none() || !self.leading, "a leader receives no log");
        if let Some(rewind) = &self.rewind {
            assert!(
                self.committed <= rewind.to && rewind.to <= self.end,
                "only what is not committed is cut"
            );
        }
    }
}
