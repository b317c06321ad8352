//! How a node's process begins and ends.

use crate::fault::Trap;
use crate::mutants::{Mutant, lacks};
use crate::network::Owner;
use crate::post::TURN_SPREAD;
use crate::shell::open;
use crate::world::{What, World};
use agency::ids::NodeId;
use engine::error::RecoverError;
use engine::ids::ShardId;

/// How long after its death a process's sockets are torn down.
const TEAR_DOWN: (u64, u64) = (3_000_000, 12_000_000);
/// For how long the kernel goes on writing for a process that died.
const LATE: (u64, u64) = (50_000, 200_000_000);
/// How long the death notice takes.
const NOTICE: (u64, u64) = (50_000, 150_000);
/// A member that lost acknowledged writes leaves the in-sync set within this, in an otherwise calm world.
const NOTICED_WITHIN: u64 = 5_000_000_000;

impl World {
    pub fn late_writes_land(&mut self, host: usize, shard: ShardId, life: u64) {
        if let Some(disk) = self.hosts[host].disks.get_mut(usize::from(shard.0))
            && disk.late_until == self.now
        {
            disk.land();
            self.say(host, format_args!("what life {life} had under way for shard {} has landed", shard.0));
        }
    }

    pub fn recovered(&mut self, host: usize, life: u64) {
        let config = self.configs[host].clone();
        // A file is read only when the kernel has nothing more to write to it for a process that died.
        let landed = self.hosts[host].disks.iter().map(|disk| disk.late_until).max().unwrap_or(0);
        if landed > self.now && !lacks(Mutant::ReadsTooEarly) {
            return self.at(landed + 1, What::Recovered { host, life });
        }
        let Some(node) = self.hosts[host].living(life) else { return };
        let incarnation = node.incarnation;
        let mut cores = Vec::new();
        for shard in (0..config.shards).map(ShardId) {
            let disk = &self.hosts[host].disks[usize::from(shard.0)];
            let readable = disk.read_errors_ppm == 0;
            let core = match open::engine(&config, shard, &disk.open(&mut self.dice)) {
                Ok(core) => core,
                Err(RecoverError::Read { .. }) if !readable => {
                    return self.kill_node(host, "it cannot read its log");
                }
                Err(error) => {
                    return self.violated("recovery", format!("host {host} shard {}: {error}", shard.0));
                }
            };
            self.say(
                host,
                format_args!(
                    "shard {} recovered: epoch {} end {} committed {} damaged {}",
                    shard.0,
                    core.last_epoch().0,
                    core.tail().0,
                    core.committed().0,
                    core.damaged()
                ),
            );
            self.checkers.forget_node(host, shard);
            self.note_loss(host, shard, core.tail().0);
            if core.damaged() {
                self.checkers.damage.found(host);
            }
            let me = NodeId(host as u8);
            cores.push(Box::new(open::node(&config, me, incarnation, self.now / 1_000_000, core)));
        }
        let Some(node) = self.hosts[host].living(life) else { return };
        for (actor, core) in node.shards.iter_mut().zip(cores) {
            actor.core = Some(core);
        }
        for shard in (0..config.shards).map(ShardId) {
            self.wake_shard(host, shard, TURN_SPREAD);
        }
        self.spring(Trap::Recovery, host);
    }

    /// A host with hidden damage is back: either it lacks something after all, then its leader must notice
    /// (rule 8), or there is nothing to notice.
    pub fn note_loss(&mut self, host: usize, shard: ShardId, tail: u64) {
        if !self.checkers.damage.hides(host) {
            return;
        }
        if tail >= self.checkers.committed_log.shards[usize::from(shard.0)].end() {
            self.checkers.damage.close(host, shard);
        } else {
            self.say(host, format_args!("shard {} lacks acknowledged writes", shard.0));
            let times = self.checkers.damage.times(host);
            self.later(NOTICED_WITHIN, What::Overdue { host, shard, times });
        }
    }

    pub fn overdue(&mut self, host: usize, shard: ShardId, times: u64) {
        if self.checkers.damage.times(host) != times {
            return;
        }
        if !self.calm() && !self.nemesis.over {
            return self.later(NOTICED_WITHIN, What::Overdue { host, shard, times });
        }
        if self.checkers.damage.hides(host) && self.checkers.damage.trusted(host, shard) {
            let what = format!("host {host} lost acknowledged writes of shard {} and stays in sync", shard.0);
            self.violated("short logs", what);
        }
    }

    /// The node's process is gone: what was in memory is lost, what was on its way to the disk may be.
    pub fn kill_node(&mut self, host: usize, why: &str) {
        let life = self.hosts[host].node_life;
        let Some(node) = self.hosts[host].node.take() else { return };
        self.say(host, format_args!("node incarnation {} ends: {why}", node.incarnation.0));
        let verdict = self.checkers.steady.ended(host, why);
        self.judge("steady", verdict);
        let me = &mut self.hosts[host];
        me.node_life += 1;
        let powered = me.up;
        let late = powered && self.scenario.late_writes && self.dice.one_in(2);
        let until = if late { self.now + self.dice.between(LATE.0, LATE.1) } else { 0 };
        for disk in &mut me.disks {
            disk.abandon_until(until, &mut self.dice);
            // Whatever hung was a matter of that process's requests.
            disk.stalled_until = disk.stalled_until.min(self.now + 1_000_000_000);
            disk.harm = None;
        }
        for shard in (0..if late { self.scenario.shards } else { 0 }).map(ShardId) {
            self.at(until, What::Landed { host, life, shard });
        }
        if powered {
            let torn = self.now + self.dice.between(TEAR_DOWN.0, TEAR_DOWN.1);
            let of_node = |port: &Owner| match port {
                Owner::Unannounced { host: h, life: l, .. }
                | Owner::Link { host: h, life: l, .. }
                | Owner::Served { host: h, life: l, .. } => (*h, *l) == (host, life),
                _ => false,
            };
            for (connection, side) in self.network.ends_where(of_node) {
                self.at(torn, What::Break { connection, side });
            }
        }
        if self.hosts[host].warden.is_some() {
            let incarnation = node.incarnation;
            let life = self.hosts[host].warden_life;
            let (notice, again) = self.scenario.notice_delay(&mut self.dice);
            let takes = self.dice.between(NOTICE.0, NOTICE.1) + notice;
            self.later(takes, What::Notice { host, life, incarnation });
            if let Some(again) = again {
                self.later(takes + again, What::Notice { host, life, incarnation });
            }
            let respawn = self.dice.magnitude(self.scenario.respawn.0, self.scenario.respawn.1);
            self.later(takes.max(TEAR_DOWN.1) + respawn, What::Respawn { host, life });
        }
    }

    /// The trap closes.
    pub fn trapped(&mut self, host: usize, life: u64) {
        if self.hosts[host].node_life == life && !self.nemesis.over && !self.spared(host) {
            self.kill_node(host, "fault: killed at a chosen moment");
        }
    }
}
