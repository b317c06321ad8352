//! What each kind of fault does to processes, links and clocks. A disk's failures are here too; what damages
//! its contents is in `spoil`.

use crate::clock::Clock;
use crate::fault::{Fault, Trap};
use crate::mutants::{Mutant, lacks};
use crate::nemesis::{MS, Nemesis, SECOND};
use crate::network::{Owner, Plane};
use crate::shell::input::Input;
use crate::world::{What, World};
use agency::ids::Incarnation;
use engine::ids::ShardId;
use std::ops::RangeInclusive;

/// For how long a device stands still.
const STALL: (u64, u64) = (50 * MS, 5 * SECOND);

impl World {
    pub fn inflict(&mut self, kind: Fault) {
        let data = self.dice.below(self.scenario.data_nodes as u64) as usize;
        let any = self.dice.below(self.hosts.len() as u64) as usize;
        let shard = ShardId(self.dice.below(u64::from(self.scenario.shards)) as u16);
        let span = Nemesis::span(&mut self.dice);
        match kind {
            Fault::KillNode if !self.spared(data) => self.kill_node(data, "fault: killed"),
            Fault::KillWarden if !self.spared(any) => self.crash_warden(any),
            Fault::LosePower if !self.spared(any) => self.lose_power(any),
            Fault::KillTwice if !self.spared(data) => {
                self.nemesis.traps.push((Trap::Recovery, Some(data)));
                self.kill_node(data, "fault: killed, and again when it is back");
            }
            Fault::KillNode | Fault::KillWarden | Fault::LosePower | Fault::KillTwice => {}
            Fault::KillPromoted => self.nemesis.traps.push((Trap::Promotion, None)),
            Fault::KillAdmitting => self.nemesis.traps.push((Trap::Admission, None)),
            Fault::KillEvicting => self.nemesis.traps.push((Trap::Eviction, None)),
            Fault::KillVoting => self.nemesis.traps.push((Trap::Vote, Some(any))),
            Fault::Blackout if !self.checkers.damage.hidden() => {
                (0..self.hosts.len()).for_each(|host| self.lose_power(host));
            }
            Fault::Blackout => {}
            Fault::KillRewinding => self.nemesis.traps.push((Trap::Rewind, None)),
            Fault::RollingRestart => self.restart_all(),
            Fault::PauseNode => self.pause_node(data, span),
            Fault::PauseWarden => self.pause_warden(any, span),
            Fault::PauseHost => {
                self.pause_node(any, span);
                self.pause_warden(any, span);
            }
            Fault::Handoff => {
                self.say(data, format_args!("fault: handoff wanted for shard {}", shard.0));
                self.input(data, shard, Input::Handoff(None));
            }
            Fault::StopNode if !self.spared(data) => self.stop_node(data),
            Fault::StopNode => {}
            Fault::OldNotice => self.old_notice(data),
            Fault::ChangeDrift => {
                let drift = self.scenario.drift(&mut self.dice);
                self.hosts[any].clock.set_drift(self.now, drift);
            }
            Fault::LoseDisk
            | Fault::FlipBit
            | Fault::Rot
            | Fault::LoseWrite
            | Fault::MisdirectWrite
            | Fault::RollBack
            | Fault::WipeDirectory => self.spoil(kind, data, shard),
            Fault::StallHost => self.stall_disks(data..=data),
            Fault::StallAll => self.stall_disks(0..=self.scenario.data_nodes - 1),
            Fault::StickNode => self.stick_node(data, span),
            Fault::NoDescriptors => {
                self.say(data, format_args!("fault: no descriptors for {} ms", span / MS));
                self.hosts[data].crowded_until = self.now + span;
            }
            Fault::StopClock if self.scenario.beyond_margin() => {
                let me = &mut self.hosts[any];
                let (shows, drift) = (me.clock.local(self.now).0, self.scenario.drift(&mut self.dice));
                me.clock = Clock::new(self.now + span, shows, drift);
                self.pause_node(any, span);
                self.pause_warden(any, span);
            }
            // Leases are counted by clocks that go on.
            Fault::StopClock => {}
            Fault::StallDisk | Fault::HangDisk | Fault::WriteError | Fault::ReadError | Fault::FullDisk => {
                self.fail_disk(kind, data, shard, span);
            }
            _ => self.cut_links(kind, any, data, span),
        }
    }

    fn cut_links(&mut self, kind: Fault, any: usize, data: usize, span: u64) {
        let (hosts, places) = (self.hosts.len(), self.hosts.len() + self.clients.len());
        let to = self.dice.below(places as u64) as usize;
        let other = self.dice.below(hosts as u64) as usize;
        let until = self.now + span;
        match kind {
            Fault::Block => {
                self.say(any, format_args!("fault: nothing gets from {any} to {to} for {} ms", span / MS));
                self.block(any, to, span);
            }
            Fault::BlockWardens => {
                let span = span / MS;
                self.say(any, format_args!("fault: its warden does not reach that of {other} for {span} ms"));
                self.network.block(Plane::Agency, any, other, until);
                if self.dice.one_in(2) {
                    self.network.block(Plane::Agency, other, any, until);
                }
            }
            Fault::BlockNodes => {
                self.say(any, format_args!("fault: its node does not reach {to} for {} ms", span / MS));
                self.network.block(Plane::Data, any, to, until);
                if self.dice.one_in(2) {
                    self.network.block(Plane::Data, to, any, until);
                }
            }
            Fault::Isolate => {
                self.say(any, format_args!("fault: cut off for {} ms", span / MS));
                for other in 0..places {
                    self.block(any, other, span);
                    self.block(other, any, span);
                }
            }
            Fault::Estrange => {
                self.say(data, format_args!("fault: cut off from the other hosts for {} ms", span / MS));
                for other in 0..hosts {
                    self.block(data, other, span);
                    self.block(other, data, span);
                }
            }
            Fault::Flap => {
                self.say(any, format_args!("fault: short cut between {any} and {other}"));
                let span = self.dice.magnitude(MS, 80 * MS);
                self.block(any, other, span);
                self.block(other, any, span);
            }
            Fault::Slow => {
                let by = self.dice.magnitude(MS / 10, 60 * MS);
                let span = span / MS;
                self.say(any, format_args!("fault: from {any} to {to} up to {by} ns slower for {span} ms"));
                self.network.slow(any, to, by, until);
            }
            Fault::Reset | Fault::HalfOpen => {
                let ends = self.ends_of(any);
                let Some((connection, side)) = self.dice.pick(&ends) else { return };
                if kind == Fault::Reset {
                    self.say(any, format_args!("fault: a connection is reset"));
                    self.break_end(connection, side);
                } else {
                    self.say(any, format_args!("fault: an end of a connection is forgotten"));
                    self.forget_end(connection, side);
                }
            }
            Fault::LoseMessages => {
                self.say(any, format_args!("fault: the agency's messages suffer for {} ms", span / MS));
                self.nemesis.noise_until = until;
            }
            _ => {}
        }
    }

    fn fail_disk(&mut self, kind: Fault, host: usize, shard: ShardId, span: u64) {
        let runs = self.hosts[host].node.is_some();
        let disk = &mut self.hosts[host].disks[usize::from(shard.0)];
        let shard = shard.0;
        match kind {
            Fault::StallDisk => {
                disk.stalled_until = disk.stalled_until.max(self.now + span);
                self.say(host, format_args!("fault: disk of shard {shard} stalls for {} ms", span / MS));
            }
            // Whatever hangs is a matter of a process's requests.
            Fault::HangDisk if !runs => {}
            Fault::HangDisk => {
                disk.hang();
                self.say(host, format_args!("fault: disk of shard {shard} hangs"));
            }
            Fault::WriteError => {
                let ppm = self.dice.pick(&[0, 0, 300, 20_000]).unwrap_or(0);
                disk.write_errors_ppm = ppm;
                self.say(host, format_args!("fault: {ppm} ppm of the writes of shard {shard} fail"));
            }
            Fault::ReadError => {
                let ppm = self.dice.pick(&[0, 0, 1_000, 30_000]).unwrap_or(0);
                disk.read_errors_ppm = ppm;
                self.say(host, format_args!("fault: {ppm} ppm of the reads of shard {shard} fail"));
            }
            _ => {
                let files = disk.device.memory.files().count();
                let full = disk.device.memory.max_segments != usize::MAX;
                disk.device.memory.max_segments = if full { usize::MAX } else { files };
                self.say(host, format_args!("fault: disk of shard {shard} full, or no longer"));
            }
        }
    }

    /// The devices under these hosts stand still.
    fn stall_disks(&mut self, hosts: RangeInclusive<usize>) {
        let span = self.dice.magnitude(STALL.0, STALL.1);
        self.stall(hosts, span);
    }

    pub fn stall(&mut self, hosts: RangeInclusive<usize>, span: u64) {
        for host in hosts {
            self.say(host, format_args!("fault: its disks stall for {} ms", span / MS));
            for disk in &mut self.hosts[host].disks {
                disk.stalled_until = disk.stalled_until.max(self.now + span);
            }
        }
    }

    /// A node's threads wait in the kernel.
    pub fn stick_node(&mut self, host: usize, span: u64) {
        let until = self.now + span;
        self.say(host, format_args!("fault: node sticks in the kernel for {} ms", span / MS));
        if let Some(node) = &mut self.hosts[host].node {
            (node.paused_until, node.stuck_until) = (until, until);
        }
    }

    /// A warden's kill takes effect, unless the process sticks in the kernel.
    pub fn kill_arrives(&mut self, host: usize, incarnation: Incarnation) {
        let now = self.now;
        let Some(node) = &mut self.hosts[host].node else { return };
        if node.incarnation != incarnation {
            return;
        }
        if node.stuck_until > now {
            node.killed = true;
            let until = node.stuck_until;
            return self.at(until, What::Kill { host, incarnation });
        }
        self.kill_node(host, "its warden killed it");
    }

    fn old_notice(&mut self, host: usize) {
        let life = self.hosts[host].warden_life;
        let newest = self.hosts[host].incarnation;
        if newest > 1 {
            let older = newest - 1 - self.dice.below(2_000).min(newest - 1);
            let incarnation = agency::ids::Incarnation(older);
            self.later(0, What::Notice { host, life, incarnation });
        }
    }

    fn pause_node(&mut self, host: usize, span: u64) {
        let until = self.now + span;
        self.say(host, format_args!("fault: node stands still for {} ms", span / MS));
        let life = self.hosts[host].warden_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        node.paused_until = until;
        let incarnation = node.incarnation;
        if lacks(Mutant::FalseDeath) {
            self.later(0, What::Notice { host, life, incarnation });
        }
    }

    fn pause_warden(&mut self, host: usize, span: u64) {
        let until = self.now + span;
        self.say(host, format_args!("fault: warden stands still for {} ms", span / MS));
        if let Some(warden) = &mut self.hosts[host].warden {
            warden.paused_until = until;
        }
    }

    pub fn stop_node(&mut self, host: usize) {
        self.say(host, format_args!("fault: told to stop"));
        for shard in (0..self.scenario.shards).map(ShardId) {
            self.input(host, shard, Input::Stop);
        }
    }

    /// As an upgrade does it: each host's node stops in order, then its warden starts anew.
    fn restart_all(&mut self) {
        let step = self.dice.magnitude(300 * MS, 4 * SECOND);
        for host in 0..self.hosts.len() {
            self.later(step * host as u64, What::RestartInOrder { host });
        }
    }

    pub fn restart_in_order(&mut self, host: usize) {
        if self.nemesis.over || self.spared(host) {
            return;
        }
        self.say(host, format_args!("fault: restarted in order"));
        self.stop_node(host);
        let drained = self.dice.magnitude(50 * MS, 2 * SECOND);
        self.later(drained, What::CrashWarden { host });
    }

    pub fn crash_warden(&mut self, host: usize) {
        self.kill_warden(host, "fault: killed");
        let back = self.dice.magnitude(self.scenario.respawn.0, self.scenario.respawn.1);
        self.later(back, What::StartWarden { host });
    }

    fn lose_power(&mut self, host: usize) {
        if !self.hosts[host].up {
            return;
        }
        self.say(host, format_args!("fault: power lost"));
        self.hosts[host].up = false;
        self.kill_warden(host, "no power");
        for disk in &mut self.hosts[host].disks {
            disk.lose_power(&mut self.dice);
        }
        let back = self.dice.magnitude(50 * MS, 5 * SECOND);
        self.later(back, What::StartWarden { host });
    }

    /// Open ends of connections of this host's processes.
    fn ends_of(&self, host: usize) -> Vec<(u64, usize)> {
        self.network.ends_where(|port| match port {
            Owner::Warden { host: h, .. } | Owner::Link { host: h, .. } | Owner::Served { host: h, .. } => {
                *h == host
            }
            Owner::Unannounced { .. } | Owner::Client { .. } | Owner::Guest { .. } => false,
        })
    }
}
