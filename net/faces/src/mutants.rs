//! Switches for tests: each takes one defence of this crate away, so that the simulator can show that it would
//! notice.
//!
//! Promises that a build without the feature `mutants` lacks nothing: there every question is the constant
//! `false`, and the compiler removes it. A switch counts for the thread that set it; a simulated world runs on
//! one thread.

/// One defence less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A write with an idempotency key is carried out again when it is sent again.
    ForgetsRepeats,
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static MISSING: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread does without that defence.
#[cfg(feature = "mutants")]
pub fn lacks(mutant: Mutant) -> bool {
    MISSING.get() == Some(mutant)
}

/// Whether this thread does without that defence: never.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn lacks(_: Mutant) -> bool {
    false
}

/// From now on this thread does without that defence; `None`: it has all of them.
#[cfg(feature = "mutants")]
pub fn take_away(mutant: Option<Mutant>) {
    MISSING.set(mutant);
}
