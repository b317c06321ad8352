//! Single faults in a group that is whole and otherwise in peace, so that what must come of them is known: writes
//! go on without a majority of agents (rule 7), and a leader that hears nobody is replaced though everybody
//! hears it (rule 16).

use crate::nemesis::{MS, SECOND};
use crate::network::Plane;
use crate::world::World;

/// For how long no warden reaches another, and after how much of it the group must show that it writes.
const WITHOUT_MAJORITY: u64 = 1_500 * MS;
const USED_TO_IT: u64 = 500 * MS;
/// For how long the leader hears nobody: shorter than a connection takes to be given up.
const DEAF: u64 = 900 * MS;
/// And within which it must be replaced.
const REPLACED_WITHIN: u64 = 400 * MS;

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

    fn written(&self) -> u64 {
        self.clients.iter().flat_map(|client| &client.answered_writes).sum()
    }
}
