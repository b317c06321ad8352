//! What happened, as a hash that two runs of one seed must share, and, if wanted, as lines for people.
//!
//! Nothing is formatted unless somebody reads it.

use std::fmt::Arguments;

/// The trace of one run.
pub struct Trace {
    hash: u64,
    print: bool,
    from: u64,
    event: u64,
    stop_at: u64,
}

impl Trace {
    /// `print`: write lines to standard output, from the true time `from` on.
    pub fn new(print: bool, from: u64) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, print, from, event: 0, stop_at: u64::MAX }
    }

    /// The same, and the run stops before this event.
    pub fn stop_at(mut self, event: u64) -> Trace {
        self.stop_at = event;
        self
    }

    /// The event that is about to happen; lines carry its number.
    pub fn at_event(&mut self, event: u64) {
        self.event = event;
    }

    /// Whether the run is to stop here.
    pub fn stops(&self) -> bool {
        self.event >= self.stop_at
    }

    /// Mixes a number into the hash.
    pub fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether lines of this time are read by somebody.
    pub fn prints(&self, now: u64) -> bool {
        self.print && now >= self.from
    }

    /// One line of the timeline: when, who, what.
    pub fn say(&self, now: u64, who: Arguments<'_>, what: Arguments<'_>) {
        if self.prints(now) {
            let seconds = now as f64 / 1e9;
            println!("{seconds:>12.6} #{:<8} {who} {what}", self.event);
        }
    }
}
