//! The defences of this crate that the simulator can take away, by rule; see `mutants`, the crate.

pub use ::mutants::lacks;

::mutants::defences! {
    /// One defence less.
    pub enum Mutant {
        /// Rules 1 and 4: one agent is a majority.
        QuorumOfOne: 1,
        /// An agent accepts below what it promised.
        BreaksPromises: 1,
        /// Rules 1 and 5: what may have been decided is proposed over.
        ForgetsUndecided: 5,
        /// A node outside of the in-sync set may be promoted.
        PromotesAnyone: 3,
        /// A node with another identity is trusted as before.
        TrustsStrangers: 8,
        /// A node that stands still, or whose disk does, is left alone and keeps its lease.
        NeverCallsHangs: 15,
        /// Rules 15 and 21: a leader whose disk stands still is killed like any other.
        KillsLeadersForTheirDisk: 15,
        /// Nobody takes over while the old leader's warden answers, though it withholds the lease.
        TrustsWithheldLeases: 15,
        /// Whoever waits for its own disk takes over an expired lease all the same.
        CampaignsOnAStalledDisk: 25,
        /// A node that is stopping is promoted.
        PromotesTheStopping: 25,
        /// Whoever is heard is taken to hear us as well.
        BelievesOneWay: 16,
    }
}
