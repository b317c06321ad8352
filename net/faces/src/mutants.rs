//! The defences of this crate that the simulator can take away, by rule; see `mutants`, the crate.

pub use ::mutants::lacks;

::mutants::defences! {
    /// One defence less.
    pub enum Mutant {
        /// A write with an idempotency key is carried out again when it is sent again.
        ForgetsRepeats: 0,
    }
}
