//! The defences of this crate that the simulator can take away, by rule; see `mutants`, the crate.

pub use ::mutants::lacks;

::mutants::defences! {
    /// One defence less.
    pub enum Mutant {
        /// A value from the disk is told by its frame's place alone, which all keys of one command share.
        MixesUpValues: 0,
        /// A connection is served until nothing of it is left, however long that takes.
        IgnoresBudget: 21,
        /// What a client does not read is kept for it, however much that is.
        KeepsAllOutput: 23,
        /// What waited for too long, or for a client that has gone, is carried out all the same.
        CarriesOutZombies: 0,
        /// A deposed leader takes the writes of HTTP requests for committed.
        SettlesByGuess: 2,
        /// The leader's own disk is enough.
        CommitsAlone: 2,
        /// A follower goes on with the leader it has.
        StaysWithOldLeader: 3,
        /// A learner is admitted before it holds what is committed.
        AdmitsEarly: 6,
        /// Writes need a lease.
        StopsWithoutMajority: 7,
        /// Reads are served whatever the lease says.
        ReadsWithoutLease: 9,
        /// A read does not wait for the commit of what it saw.
        ServesUncommitted: 10,
        /// A follower that is silent for a while no longer counts for the commit.
        DropsSilentFollowers: 11,
        /// Logs are taken to be equal as far as both reach.
        TruncatesByLength: 12,
        /// Whoever holds anything helps a node that lost its log, whether it is the same log or not.
        RefillsFromAnyLog: 12,
        /// A damaged node may lead.
        LeadsDamaged: 12,
        /// A loss that a person accepted counts for what is found damaged later, too.
        AcceptsEveryLoss: 12,
        /// An eviction that was only asked for counts.
        CountsPendingEviction: 17,
        /// An admission counts only once it is decided.
        IgnoresPendingAdmission: 17,
        /// A follower that answers is given up as soon as one that is gone.
        SlowIsGone: 22,
        /// A follower's time counts while the leader's own disk stands still.
        BlamesOthersForOwnDisk: 22,
        /// Writes are taken and acknowledged however few members are in sync.
        IgnoresMinInSync: 22,
        /// A leader whose whole group stops lets go of those who stop with it.
        EvictsAtTheEnd: 25,
        /// A leader whose disk stands still goes on leading.
        NeverYields: 22,
        /// A leader whose disk stands still yields to whoever follows, whether its disk moves or not.
        YieldsToAnyone: 22,
        /// A leader whose disk stands still yields to a follower whose disk moved once.
        BelievesOneBeat: 22,
        /// Whoever was too slow is admitted again as soon as it has caught up.
        AdmitsAtOnce: 22,
        /// A new leader serves before its epoch start is committed.
        ServesBeforeStart: 19,
    }
}
