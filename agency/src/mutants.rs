//! Switches for tests: each takes one defence of this crate away, so that the simulator can show that it would
//! notice.
//!
//! Promises that a build without the feature `mutants` lacks nothing: there every question is the constant
//! `false`, and the compiler removes it. A switch counts for the thread that set it; a simulated world runs on
//! one thread.

/// One defence less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Rules 1 and 4: one agent is a majority.
    QuorumOfOne,
    /// Rule 1: an agent accepts below what it promised.
    BreaksPromises,
    /// Rules 1 and 5: what may have been decided is proposed over.
    ForgetsUndecided,
    /// Rule 3: a node outside of the in-sync set may be promoted.
    PromotesAnyone,
    /// Rule 8: a node with another identity is trusted as before.
    TrustsStrangers,
    /// Rule 15: a node that stands still, or whose disk does, is left alone and keeps its lease.
    NeverCallsHangs,
    /// Rules 15 and 21: a leader whose disk stands still is killed like any other.
    KillsLeadersForTheirDisk,
    /// Rule 15: nobody takes over while the old leader's warden answers, though it withholds the lease.
    TrustsWithheldLeases,
    /// Rule 25: whoever waits for its own disk takes over an expired lease all the same.
    CampaignsOnAStalledDisk,
    /// Rule 25: a node that is stopping is promoted.
    PromotesTheStopping,
    /// Rule 16: whoever is heard is taken to hear us as well.
    BelievesOneWay,
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
