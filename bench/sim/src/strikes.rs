//! The nemesis at work: one fault after the other, and peace in the end.

use crate::disk::SimDisk;
use crate::nemesis::MS;
use crate::world::{What, World};
use agency::ids::NodeId;
use engine::ids::ShardId;

impl World {
    /// The first fault is due.
    pub fn unleash(&mut self) {
        let first = self.dice.magnitude(self.nemesis.pace.0, self.nemesis.pace.1);
        self.later(first, What::Nemesis);
    }

    pub fn strike(&mut self) {
        if self.nemesis.over {
            return;
        }
        let next = self.dice.magnitude(self.nemesis.pace.0, self.nemesis.pace.1);
        self.later(next, What::Nemesis);
        if self.checkers.damage.hidden() {
            return;
        }
        if let Some(kind) = self.dice.pick(self.nemesis.kinds()) {
            self.nemesis.strikes += 1;
            self.inflict(kind);
        }
    }

    /// Everything works from now on: paths, disks, clocks, processes. What hangs for ever still hangs: its
    /// warden must notice.
    pub fn make_peace(&mut self) {
        self.nemesis.over = true;
        self.nemesis.traps.clear();
        self.network.heal();
        for host in 0..self.hosts.len() {
            let me = &mut self.hosts[host];
            me.crowded_until = 0;
            me.clock.go_on(self.now);
            for disk in &mut me.disks {
                disk.make_peace();
            }
            if let Some(node) = &mut me.node {
                (node.paused_until, node.stuck_until) = (0, 0);
            }
            if let Some(warden) = &mut me.warden {
                warden.paused_until = 0;
            }
        }
        self.heal_needed_disks();
        for host in 0..self.hosts.len() {
            if self.hosts[host].node.as_ref().is_some_and(|node| node.killed) {
                self.kill_node(host, "the kill takes effect");
            }
            self.end_flights(host);
            for shard in (0..self.scenario.shards).map(ShardId) {
                self.wake_shard(host, shard, MS);
            }
            self.ring_warden(host);
        }
        self.trace.say(self.now, format_args!("peace"), format_args!("no more faults"));
    }

    /// What a host's disks have under way ends, but for what hangs.
    fn end_flights(&mut self, host: usize) {
        if host >= self.scenario.data_nodes {
            return;
        }
        let life = self.hosts[host].node_life;
        for shard in (0..self.scenario.shards).map(ShardId) {
            let disk = &self.hosts[host].disks[usize::from(shard.0)];
            if !disk.hangs() {
                for flight in disk.under_way() {
                    self.later(MS, What::Disk { host, life, shard, flight });
                }
            }
        }
    }

    /// The same as [`World::heal_needed_disks`] once who is needed has changed: somebody replaced those disks.
    pub fn replace_needed_disks(&mut self) {
        let hung = |host: &usize| self.hosts[*host].disks.iter().any(SimDisk::hangs);
        let hung: Vec<usize> = (0..self.scenario.data_nodes).filter(hung).collect();
        self.heal_needed_disks();
        hung.into_iter().for_each(|host| self.end_flights(host));
    }

    /// Who leads is not killed for its disk, and where no other copy in sync moves, everybody waits as long as the
    /// disk does (rule 22). So that disk works again. A damaged copy is none that moves: its node does not lead, and is
    /// put out of the in-sync set as soon as that is seen.
    fn heal_needed_disks(&mut self) {
        for host in 0..self.scenario.data_nodes {
            let me = NodeId(host as u8);
            let moves = |node: NodeId| {
                let host = usize::from(node.0);
                !self.hosts[host].disks.iter().any(SimDisk::hangs) && !self.checkers.damage.stands(host)
            };
            let needed = (0..self.scenario.shards).any(|shard| {
                let newest = self.checkers.configurations.newest(shard);
                newest.is_none_or(|c| !c.in_sync.without(me).iter().any(moves))
            });
            if needed {
                self.hosts[host].disks.iter_mut().for_each(SimDisk::heal);
            }
        }
    }
}
