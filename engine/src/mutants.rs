//! The defences of this crate that the simulator can take away, by rule; see `mutants`, the crate.

pub use ::mutants::lacks;

::mutants::defences! {
    /// One defence less.
    pub enum Mutant {
        /// The log simply ends where its first bad frame is, whatever had been durable.
        TornTailAlways: 12,
        /// What a rewind cuts is not saved.
        ThrowsAwayRewound: 13,
        /// A frame's checksum need not hold.
        AcceptsTornFrames: 20,
    }
}
