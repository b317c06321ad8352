//! Single faults in a group that is whole and otherwise in peace, so that what must come of them is known: writes
//! go on without a majority of agents (rule 7), and a leader that hears nobody is replaced though everybody
//! hears it (rule 16). Then one of those that take long: a leader that cannot be killed, disks that stand still, an
//! orderly stop of the whole group; and a follower that is too slow, or stops as its leader dies.

use crate::nemesis::{MS, SECOND};
use crate::network::Plane;
use crate::world::{What, World};
use agency::configuration::{Configuration, Why};
use agency::ids::NodeId;

/// For how long no warden reaches another, and after how much of it the group must show that it writes.
const WITHOUT_MAJORITY: u64 = 1_500 * MS;
const USED_TO_IT: u64 = 500 * MS;
/// For how long the leader hears nobody: shorter than a connection takes to be given up.
const DEAF: u64 = 900 * MS;
/// And within which it must be replaced.
const REPLACED_WITHIN: u64 = 400 * MS;

/// For how long a leader sticks in the kernel, and within which it must be replaced.
const STUCK: u64 = 3 * SECOND;
const STUCK_FOR: u64 = 800 * MS;
/// For how long all disks stand still: longer than a lease is renewed; and where a node is killed for its disk before
/// that is over, less long.
const SHARED_STALL: u64 = 4 * SECOND;
const SHORTER_STALL: u64 = 2_700 * MS;
/// For how long a leader's does, and within which it must have yielded.
const OWN_STALL: u64 = 5 * SECOND;
const YIELDS_WITHIN: u64 = 600 * MS;
/// By how much one disk of them is back before another at most.
const STAGGER: u64 = 30 * MS;
/// For how long a follower's disk stands still: somewhat longer than it is waited for.
const TOO_SLOW: u64 = 1_300 * MS;
/// For how long at least it must then have kept up; clocks differ a little.
const CALM: u64 = 90 * MS;
/// Between the order to stop and the death of who could have waited for it.
const STOPS_FOR: u64 = 40 * MS;
/// For how long a leader's disk may stand still as its group stops: longer than who stops alone is waited for.
const SLOW_STOP: u64 = 300 * MS;
/// Within which a group that is told to stop has ended.
const STOPPED_WITHIN: u64 = 10 * SECOND;

impl World {
    /// Rule 7: without a majority of agents the whole in-sync set goes on writing.
    pub fn try_without_majority(&mut self) {
        if self.violation.is_some() || self.hosts.len() < 2 {
            return;
        }
        self.trace.say(self.now, format_args!("trial"), format_args!("no warden reaches another"));
        let until = self.now + WITHOUT_MAJORITY;
        // Reads wait for a lease, and who waits does not write.
        self.nemesis.writes_only = true;
        for from in 0..self.hosts.len() {
            for to in (0..self.hosts.len()).filter(|to| *to != from) {
                self.network.block(Plane::Agency, from, to, until);
            }
        }
        self.run_until(until - WITHOUT_MAJORITY + USED_TO_IT, |_| false);
        let before = self.written();
        let wrote = self.run_until(until, |world| world.written() > before);
        if !wrote && self.violation.is_none() {
            self.violated("minority", "nothing was written while no majority of agents answered".into());
        }
        self.nemesis.writes_only = false;
        self.run_until(until + SECOND, |_| false);
    }

    /// Rule 16: one direction dead is link dead.
    pub fn try_deaf_leader(&mut self) {
        let Some(before) = self.checkers.configurations.newest(0).copied() else { return };
        let leader = usize::from(before.leader.0);
        let others = self.hosts.len() - 1;
        let quorum = self.hosts.len() / 2 + 1;
        if self.violation.is_some() || others < quorum || before.in_sync.len() < 2 {
            return;
        }
        self.trace.say(self.now, format_args!("trial"), format_args!("the leader of shard 0 hears nobody"));
        let until = self.now + DEAF;
        for from in (0..self.hosts.len()).filter(|from| *from != leader) {
            self.block(from, leader, DEAF);
        }
        let replaced = |world: &mut World| {
            world.checkers.configurations.newest(0).is_some_and(|now| now.leader != before.leader)
        };
        if !self.run_until(self.now + REPLACED_WITHIN, replaced) && self.violation.is_none() {
            self.violated("one way", format!("a leader that hears nobody stays: {before:?}"));
        }
        self.run_until(until, |_| false);
    }

    /// Rule 15: a leader that sticks in the kernel, so that no kill takes effect, is replaced when its lease is over.
    pub fn try_stuck_leader(&mut self) {
        let Some(before) = self.checkers.configurations.newest(0).copied() else { return };
        let leader = usize::from(before.leader.0);
        if self.violation.is_some() || self.hosts.len() < 3 || before.in_sync.len() < 2 {
            return;
        }
        self.trace.say(
            self.now,
            format_args!("trial"),
            format_args!("the leader of shard 0 cannot be killed"),
        );
        let until = self.now + STUCK;
        self.stick_node(leader, STUCK);
        let replaced = |world: &mut World| {
            world.checkers.configurations.newest(0).is_some_and(|now| now.leader != before.leader)
        };
        if !self.run_until(self.now + STUCK_FOR, replaced) && self.violation.is_none() {
            self.violated("stuck", format!("a leader that cannot be killed stays: {before:?}"));
        }
        self.run_until(until, |_| false);
    }

    /// Rule 22: where no disk moves, everybody waits as long as the disks do: nobody is evicted or replaced, and nobody
    /// is killed but who leads nothing, where that is the rule.
    pub fn try_shared_stall(&mut self) {
        if self.violation.is_some() {
            return;
        }
        self.trace.say(self.now, format_args!("trial"), format_args!("all disks stand still"));
        let lives: Vec<(usize, u64)> = (0..self.scenario.shards)
            .filter_map(|shard| self.checkers.configurations.newest(shard))
            .map(|c| (usize::from(c.leader.0), self.hosts[usize::from(c.leader.0)].node_life))
            .collect();
        let patient = self.scenario.timing.disk_hang_after.as_nanos() as u64 > SHARED_STALL + STAGGER;
        let span = if patient { SHARED_STALL } else { SHORTER_STALL };
        (self.checkers.steady.holds, self.checkers.steady.disks_stand) = (patient, true);
        for host in 0..self.scenario.data_nodes {
            let longer = self.dice.below(STAGGER);
            self.stall(host..=host, span + longer);
        }
        self.run_until(self.now + span + SECOND, |_| false);
        (self.checkers.steady.holds, self.checkers.steady.disks_stand) = (false, false);
        for (leader, life) in lives {
            if self.hosts[leader].node_life != life && self.violation.is_none() {
                self.violated("stalled disk", format!("host {leader}, a leader, was killed for its disk"));
            }
        }
    }

    /// Rule 22: a follower that was too slow for all the others counts again when it has been calm for a while.
    pub fn try_slow_follower(&mut self) {
        let Some((before, follower)) = self.leader_and_follower() else { return };
        self.trace.say(
            self.now,
            format_args!("trial"),
            format_args!("host {follower} is too slow for shard 0"),
        );
        let moves = self.now + TOO_SLOW;
        let disk = &mut self.hosts[follower].disks[0];
        disk.stalled_until = disk.stalled_until.max(moves);
        let newest = |world: &World| world.checkers.configurations.newest(0).copied();
        let out = |c: Configuration| c.why == Why::Slow && !c.in_sync.contains(NodeId(follower as u8));
        let evicted = self.run_until(moves, |world| newest(world).is_some_and(out));
        if !evicted {
            // Nobody wrote just then.
            self.run_until(moves + SECOND, |_| false);
            return;
        }
        self.run_until(moves + CALM, |_| false);
        let back = newest(self).filter(|c| c.leader == before.leader && !out(*c));
        if let (Some(back), None) = (back, &self.violation) {
            self.violated("calm", format!("host {follower} was too slow just now, and is back: {back:?}"));
        }
        self.run_until(moves + SECOND, |_| false);
    }

    /// Rule 25: who is about to stop takes nothing over.
    pub fn try_stopping_follower(&mut self) {
        let Some((before, follower)) = self.leader_and_follower() else { return };
        self.trace.say(
            self.now,
            format_args!("trial"),
            format_args!("host {follower} stops, and the leader of shard 0 dies"),
        );
        let incarnation = self.hosts[follower].node.as_ref().map(|node| node.incarnation);
        self.stop_node(follower);
        self.run_until(self.now + STOPS_FOR, |_| false);
        self.kill_node(usize::from(before.leader.0), "the leader of a trial");
        let taken = |world: &mut World| {
            world.checkers.configurations.newest(0).is_some_and(|c| {
                usize::from(c.leader.0) == follower && Some(c.leader_incarnation) == incarnation
            })
        };
        if self.run_until(self.now + SECOND, taken) && self.violation.is_none() {
            self.violated("stopping", format!("host {follower} stops, and shard 0 is given to it"));
        }
        self.run_until(self.now + SECOND, |_| false);
    }

    /// The configuration of shard 0, if its leader lives, and a follower of it that is in sync.
    fn leader_and_follower(&self) -> Option<(Configuration, usize)> {
        let c = self.checkers.configurations.newest(0).filter(|_| self.violation.is_none())?;
        let leader = self.hosts[usize::from(c.leader.0)].node.as_ref()?;
        let follower = c.in_sync.without(c.leader).iter().next()?;
        (leader.incarnation == c.leader_incarnation).then_some((*c, usize::from(follower.0)))
    }

    /// Rule 22: a leader whose disk stands still alone yields, and lives.
    pub fn try_stalled_leader(&mut self) {
        let Some(before) = self.checkers.configurations.newest(0).copied() else { return };
        let leader = usize::from(before.leader.0);
        if self.violation.is_some() || before.in_sync.len() < 2 {
            return;
        }
        self.trace.say(
            self.now,
            format_args!("trial"),
            format_args!("the disk of shard 0's leader stands still"),
        );
        let (life, until) = (self.hosts[leader].node_life, self.now + OWN_STALL);
        self.stall(leader..=leader, OWN_STALL);
        let yields = |world: &mut World| {
            world.checkers.configurations.newest(0).is_some_and(|now| now.leader != before.leader)
        };
        let yielded = self.run_until(self.now + YIELDS_WITHIN, yields);
        // A shard that nobody writes to waits for nothing.
        let me = &self.hosts[leader];
        let waits = me.node.as_ref().is_some_and(|node| {
            let since = node.page.progress[0].disk_waiting_since;
            since.0 != 0 && me.clock.local(self.now).0 - since.0 > YIELDS_WITHIN / 2
        });
        if !yielded && waits && self.violation.is_none() {
            self.violated("stalled disk", format!("a leader whose disk stands still leads on: {before:?}"));
        }
        self.run_until(until, |_| false);
        let patient = self.scenario.timing.disk_hang_after.as_nanos() as u64 > OWN_STALL;
        if patient && self.hosts[leader].node_life != life && self.violation.is_none() {
            self.violated("stalled disk", format!("host {leader} was killed for its disk"));
        }
    }

    /// Rule 25: a group that stops in order ends with its in-sync set whole. What happens to the disk of its leader
    /// then is no loss.
    pub fn try_orderly_stop(&mut self) {
        let newest = |world: &World| -> Vec<Configuration> {
            (0..world.scenario.shards)
                .filter_map(|shard| world.checkers.configurations.newest(shard).copied())
                .collect()
        };
        let before = newest(self);
        if self.violation.is_some() || self.scenario.data_nodes < 2 {
            return;
        }
        self.trace.say(self.now, format_args!("trial"), format_args!("the group stops in order"));
        self.stopping = true;
        // The last of it may take a while to be confirmed.
        let leader = usize::from(before[0].leader.0);
        if self.dice.one_in(2) {
            self.stall(leader..=leader, SLOW_STOP);
        }
        for host in 0..self.scenario.data_nodes {
            self.stop_node(host);
        }
        let ended = |world: &mut World| world.hosts.iter().all(|host| host.node.is_none());
        if !self.run_until(self.now + STOPPED_WITHIN, ended) && self.violation.is_none() {
            self.violated("orderly stop", "a group that was told to stop goes on".into());
        }
        for (old, new) in before.iter().zip(newest(self)) {
            if old.in_sync != new.in_sync {
                self.violated("orderly stop", format!("{:?} were in sync, and now {new:?}", old.in_sync));
            }
        }
        (0..self.hosts.len()).for_each(|host| self.kill_warden(host, "the group stopped"));
        self.checkers.damage.hit_bit(leader);
        if self.hosts[leader].disks[0].flip_durable_bit(&mut self.dice).is_some() {
            self.say(leader, format_args!("a bit of its log flips"));
        }
        self.stopping = false;
        for host in 0..self.hosts.len() {
            let delay = self.dice.below(SECOND);
            self.later(delay, What::StartWarden { host });
        }
    }

    fn written(&self) -> u64 {
        self.clients.iter().flat_map(|client| &client.answered_writes).sum()
    }
}
