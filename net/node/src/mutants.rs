//! Switches for tests: each takes one defence of this crate away, so that the simulator can show that it would
//! notice.
//!
//! Promises that a build without the feature `mutants` lacks nothing: there every question is the constant
//! `false`, and the compiler removes it. A switch counts for the thread that set it; a simulated world runs on
//! one thread.

/// One defence less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A value from the disk is told by its frame's place alone, which all keys of one command share.
    MixesUpValues,
    /// A connection is served until nothing of it is left, however long that takes.
    IgnoresBudget,
    /// Who sends much is served before those who wait for their turn.
    IgnoresQueue,
    /// What a client does not read is kept for it, however much that is.
    KeepsAllOutput,
    /// What waited for too long, or for a client that has gone, is carried out all the same.
    CarriesOutZombies,
    /// Rule 2: a deposed leader takes the writes of HTTP requests for committed.
    SettlesByGuess,
    /// Rule 2: the leader's own disk is enough.
    CommitsAlone,
    /// Rule 3: a follower goes on with the leader it has.
    StaysWithOldLeader,
    /// Rule 6: a learner is admitted before it holds what is committed.
    AdmitsEarly,
    /// Rule 7: writes need a lease.
    StopsWithoutMajority,
    /// Rule 9: reads are served whatever the lease says.
    ReadsWithoutLease,
    /// Rule 10: a read does not wait for the commit of what it saw.
    ServesUncommitted,
    /// Rule 11: a follower that is silent for a while no longer counts for the commit.
    DropsSilentFollowers,
    /// Rule 12: logs are taken to be equal as far as both reach.
    TruncatesByLength,
    /// Rule 12: whoever holds anything helps a node that lost its log, whether it is the same log or not.
    RefillsFromAnyLog,
    /// Rule 12: a damaged node may lead.
    LeadsDamaged,
    /// Rule 12: a loss that a person accepted counts for what is found damaged later, too.
    AcceptsEveryLoss,
    /// Rule 17: an eviction that was only asked for counts.
    CountsPendingEviction,
    /// Rule 17: an admission counts only once it is decided.
    IgnoresPendingAdmission,
    /// Rule 22: a follower that answers is given up as soon as one that is gone.
    SlowIsGone,
    /// Rule 22: a follower's time counts while the leader's own disk stands still.
    BlamesOthersForOwnDisk,
    /// Rule 22: writes are taken and acknowledged however few members are in sync.
    IgnoresMinInSync,
    /// Rule 25: a leader whose whole group stops lets go of those who stop with it.
    EvictsAtTheEnd,
    /// Rule 22: a leader whose disk stands still goes on leading.
    NeverYields,
    /// Rule 22: a leader whose disk stands still yields to whoever follows, whether its disk moves or not.
    YieldsToAnyone,
    /// Rule 22: whoever was too slow is admitted again as soon as it has caught up.
    AdmitsAtOnce,
    /// Rule 19: a new leader serves before its epoch start is committed.
    ServesBeforeStart,
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
