//! The agency's timings, and the relations between them that safety and liveness need.
//!
//! Promises that [`Timing::check`] passes only where the holder of a lease stops serving before any agent
//! that granted it accepts a successor. Reads no clock.

use crate::error::TimingError;
use std::time::Duration;

/// How long a node may be `Health::Starting` before standing still counts as a hang: recovery of a large
/// log is long, a stuck one is for ever.
pub const STARTING_LIMIT: Duration = Duration::from_secs(600);

/// How long a shard's thread may be in the kernel, not to be woken (`Standing::InKernel`), before that is a hang: it
/// waits for a device or a page.
pub const KERNEL_WAIT_LIMIT: Duration = Duration::from_millis(250);

/// How long a shard's thread may work (`Standing::Working`) without moving its word: far longer than any turn, and
/// still not for ever.
pub const WORK_LIMIT: Duration = Duration::from_secs(5);

/// How long the lease of a shard that merely waits for a CPU (`Standing::Starved`) is renewed. It is no hang however
/// long it lasts.
pub const STARVED_LIMIT: Duration = Duration::from_secs(1);

/// A log write that is outstanding for this long: the disk stands still. Whoever waits for its disk does not take an
/// expired lease over.
pub const DISK_STALL: Duration = Duration::from_millis(20);

/// For how long a candidate's own disk must not have stood still before it takes an expired lease over: until then
/// both may share what made the leader's stand.
pub const DISK_CALM: Duration = Duration::from_millis(500);

/// How long a leader that yields waits for its successor before it takes that back and asks for its lease again.
pub const YIELD_PATIENCE: Duration = Duration::from_secs(1);

/// How long after the start of its node a warden that was told to accept the loss of data looks for a shard that
/// nobody leads.
pub const ACCEPT_WITHIN: Duration = Duration::from_secs(60);

/// How long a candidate that just came up waits for in-sync members that have not reported yet.
pub const STARTUP_WAIT: Duration = Duration::from_millis(500);

/// How long a leaderless shard's lesser candidate, which could lead by itself, defers to a better one before it goes
/// ahead anyway.
pub const CANDIDATE_PATIENCE: Duration = Duration::from_millis(100);

/// How long a ballot that was only kept ready is not prepared again after another's passed it: the other's
/// change should be through by then.
pub const COURTESY: Duration = Duration::from_millis(20);

/// How long an accepted but not decided configuration lies around before a warden of a data node settles it.
pub const SETTLE_AFTER: Duration = Duration::from_millis(100);

/// The configurable timings of one group; the same on all of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Longest time between two ticks of a warden.
    pub tick: Duration,
    /// Time between two heartbeats to each peer.
    pub heartbeat: Duration,
    /// Nominal length of a lease, before the drift margin.
    pub lease: Duration,
    /// How much two clocks may differ in speed, in thousandths, by which leases are shortened and lengthened.
    pub drift_permille: u32,
    /// Added to the drift margin whatever the length of the lease.
    pub drift_fixed: Duration,
    /// A shard whose loop stands still this long, in the warden's own ticks, hangs.
    pub hang_after: Duration,
    /// A node that nobody needs as a leader is killed when a log write of it is outstanding this long, in the warden's own
    /// ticks. A leader is not: who leads in its place is settled by yielding, and by its lease.
    pub disk_hang_after: Duration,
    /// A leader's lease is not renewed while a log write of it is outstanding for longer than this (rule 15). Far longer
    /// than it takes to yield: that goes by what the followers' disks do, this by nothing else.
    pub disk_lease_limit: Duration,
    /// How long a leader waits for a lost or slow follower before it asks for its eviction. The shards read it.
    pub evict_after: Duration,
    /// A peer not heard of for this long, in own ticks, counts as silent: requests get parked, nothing more.
    pub link_silent_after: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        let ms = Duration::from_millis;
        Timing {
            tick: ms(5),
            heartbeat: ms(10),
            lease: ms(60),
            drift_permille: 10,
            drift_fixed: ms(1),
            hang_after: ms(25),
            disk_hang_after: ms(30_000),
            disk_lease_limit: ms(3_000),
            evict_after: ms(30),
            link_silent_after: ms(35),
        }
    }
}

impl Timing {
    fn margin(&self) -> Duration {
        self.lease * self.drift_permille / 1000 + self.drift_fixed
    }

    /// How long a holder may serve, counted from the *sending* of its request.
    pub fn holder_lease(&self) -> Duration {
        let lease = self.lease.saturating_sub(self.margin());
        assert!(lease <= self.lease, "the margin shortens a holder's lease");
        lease
    }

    /// How long an agent refuses a successor, counted from the *receipt* of the request.
    pub fn grantor_lease(&self) -> Duration {
        let lease = self.lease + self.margin();
        assert!(lease >= self.lease, "the margin lengthens an agent's count");
        lease
    }

    /// Whether these timings can work together.
    ///
    /// # Errors
    /// The first relation that does not hold.
    pub fn check(&self) -> Result<(), TimingError> {
        for (name, is) in [
            ("tick", self.tick),
            ("heartbeat", self.heartbeat),
            ("lease", self.lease),
            ("hang_after", self.hang_after),
            ("disk_hang_after", self.disk_hang_after),
            ("disk_lease_limit", self.disk_lease_limit),
            ("evict_after", self.evict_after),
            ("link_silent_after", self.link_silent_after),
        ] {
            if is.is_zero() {
                return Err(TimingError::Zero { name });
            }
        }
        let at_most = |shorter, is: Duration, longer, limit: Duration| {
            if is <= limit { Ok(()) } else { Err(TimingError::Order { shorter, is, longer, limit }) }
        };
        at_most("tick", self.tick, "heartbeat", self.heartbeat)?;
        at_most("two ticks", self.tick * 2, "hang_after", self.hang_after)?;
        at_most("two ticks", self.tick * 2, "disk_hang_after", self.disk_hang_after)?;
        at_most("two ticks", self.tick * 2, "disk_lease_limit", self.disk_lease_limit)?;
        at_most("two heartbeats", self.heartbeat * 2, "link_silent_after", self.link_silent_after)?;
        at_most("link_silent_after", self.link_silent_after, "lease", self.lease)?;
        // A single lost heartbeat must not cost the lease.
        at_most("three heartbeats", self.heartbeat * 3, "the holder's lease", self.holder_lease())?;
        if self.holder_lease() >= self.grantor_lease() {
            return Err(TimingError::Overlap {
                leader: self.holder_lease(),
                successor: self.grantor_lease(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_together() {
        Timing::default().check().unwrap();
    }

    #[test]
    fn a_successor_always_waits_longer_than_the_leader_serves() {
        let none = Timing { drift_permille: 0, drift_fixed: Duration::ZERO, ..Timing::default() };
        assert!(matches!(none.check(), Err(TimingError::Overlap { .. })));
    }

    #[test]
    fn a_lease_too_short_for_its_heartbeats_is_refused() {
        let short = Timing { lease: Duration::from_millis(25), ..Timing::default() };
        assert!(matches!(short.check(), Err(TimingError::Order { .. })));
        let zero = Timing { heartbeat: Duration::ZERO, ..Timing::default() };
        assert_eq!(zero.check(), Err(TimingError::Zero { name: "heartbeat" }));
    }
}
