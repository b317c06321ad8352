//! The faults: a swarm. Each run enables some kinds, at its own pace, and stops all of them when its hostile
//! time is over.
//!
//! Disks are damaged only where a peer must be able to repair: never the last copy that is known to be whole.

use super::host::Input;
use super::mutants::Mutant;
use super::network::Port;
use super::random::Dice;
use super::scenario::Scenario;
use super::world::{What, World};
use engine::ids::ShardId;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KillNode,
    KillWarden,
    LosePower,
    PauseNode,
    PauseWarden,
    PauseHost,
    Handoff,
    StopNode,
    Block,
    Isolate,
    /// Cut off from the other hosts, but not from the clients.
    Estrange,
    Flap,
    Slow,
    Reset,
    StallDisk,
    HangDisk,
    WriteError,
    FullDisk,
    OldNotice,
    ChangeDrift,
    LoseDisk,
    FlipBit,
}

const ALL: [Kind; 20] = [
    Kind::KillNode,
    Kind::KillWarden,
    Kind::LosePower,
    Kind::PauseNode,
    Kind::PauseWarden,
    Kind::PauseHost,
    Kind::Handoff,
    Kind::StopNode,
    Kind::Block,
    Kind::Isolate,
    Kind::Estrange,
    Kind::Flap,
    Kind::Slow,
    Kind::Reset,
    Kind::StallDisk,
    Kind::HangDisk,
    Kind::WriteError,
    Kind::FullDisk,
    Kind::OldNotice,
    Kind::ChangeDrift,
];

/// Which faults strike, and how often.
#[derive(Debug)]
pub struct Nemesis {
    kinds: Vec<Kind>,
    /// Time between two faults, in ns.
    pace: (u64, u64),
    /// No more faults.
    pub over: bool,
    /// The clients only read what the history still needs.
    pub auditing: bool,
    pub strikes: u64,
}

impl Nemesis {
    pub fn new(scenario: &Scenario, dice: &mut Dice) -> Nemesis {
        let percent = dice.pick(&[10, 25, 50]).unwrap_or(25);
        let mut kinds: Vec<Kind> = ALL.into_iter().filter(|_| dice.percent(percent)).collect();
        if kinds.is_empty() {
            kinds.push(Kind::KillNode);
        }
        if scenario.damages_disks {
            kinds.extend([Kind::LoseDisk, Kind::FlipBit]);
        }
        let most = dice.magnitude(30 * MS, 3 * SECOND);
        Nemesis { kinds, pace: (2 * MS, most), over: false, auditing: false, strikes: 0 }
    }

    /// The kinds that strike in this run.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

impl World {
    /// The first fault is due.
    pub fn unleash(&mut self) {
        let first = self.dice.magnitude(self.nemesis.pace.0, self.nemesis.pace.1);
        self.later(first, What::Nemesis);
    }

    pub(super) fn strike(&mut self) {
        if self.nemesis.over {
            return;
        }
        let next = self.dice.magnitude(self.nemesis.pace.0, self.nemesis.pace.1);
        self.later(next, What::Nemesis);
        if let Some(kind) = self.dice.pick(&self.nemesis.kinds) {
            self.nemesis.strikes += 1;
            self.inflict(kind);
        }
    }

    fn inflict(&mut self, kind: Kind) {
        let now = self.now;
        let data = self.dice.below(self.scenario.data_nodes as u64) as usize;
        let any = self.dice.below(self.hosts.len() as u64) as usize;
        let shard = ShardId(self.dice.below(u64::from(self.scenario.shards)) as u16);
        let place = usize::from(shard.0);
        let span = self.dice.magnitude(MS, 3 * SECOND);
        match kind {
            Kind::KillNode => self.kill_node(data, "fault: killed"),
            Kind::KillWarden => self.crash_warden(any),
            Kind::LosePower => self.lose_power(any),
            Kind::PauseNode => self.pause_node(data, span),
            Kind::PauseWarden => self.pause_warden(any, span),
            Kind::PauseHost => {
                self.pause_node(any, span);
                self.pause_warden(any, span);
            }
            Kind::Handoff => {
                self.say(data, format_args!("fault: handoff wanted for shard {}", shard.0));
                self.input(data, shard, Input::Handoff(None));
            }
            Kind::StopNode => {
                self.say(data, format_args!("fault: told to stop"));
                for shard in (0..self.scenario.shards).map(ShardId) {
                    self.input(data, shard, Input::Stop);
                }
            }
            Kind::Block => {
                let to = self.dice.below((self.hosts.len() + self.clients.len()) as u64) as usize;
                self.say(any, format_args!("fault: nothing gets from {any} to {to} for {} ms", span / MS));
                self.network.block(any, to, now + span);
            }
            Kind::Isolate => {
                self.say(any, format_args!("fault: cut off for {} ms", span / MS));
                for other in 0..self.hosts.len() + self.clients.len() {
                    self.network.block(any, other, now + span);
                    self.network.block(other, any, now + span);
                }
            }
            Kind::Estrange => {
                self.say(data, format_args!("fault: cut off from the other hosts for {} ms", span / MS));
                for other in 0..self.hosts.len() {
                    self.network.block(data, other, now + span);
                    self.network.block(other, data, now + span);
                }
            }
            Kind::Flap => {
                let to = self.dice.below(self.hosts.len() as u64) as usize;
                self.say(any, format_args!("fault: short cut between {any} and {to}"));
                let span = self.dice.magnitude(MS, 80 * MS);
                self.network.block(any, to, now + span);
                self.network.block(to, any, now + span);
            }
            Kind::Slow => {
                let to = self.dice.below((self.hosts.len() + self.clients.len()) as u64) as usize;
                let by = self.dice.magnitude(MS / 10, 60 * MS);
                self.say(
                    any,
                    format_args!("fault: from {any} to {to} up to {by} ns slower for {} ms", span / MS),
                );
                self.network.slow(any, to, by, now + span);
            }
            Kind::Reset => self.reset_some(any),
            Kind::StallDisk => {
                self.say(data, format_args!("fault: disk of shard {} stalls for {} ms", shard.0, span / MS));
                self.hosts[data].disks[place].stalled_until = now + span;
            }
            Kind::HangDisk => {
                self.say(data, format_args!("fault: disk of shard {} hangs", shard.0));
                self.hosts[data].disks[place].hang();
            }
            Kind::WriteError => {
                let ppm = self.dice.pick(&[0, 0, 300, 20_000]).unwrap_or(0);
                self.say(data, format_args!("fault: {ppm} ppm of the writes of shard {} fail", shard.0));
                self.hosts[data].disks[place].write_errors_ppm = ppm;
            }
            Kind::FullDisk => {
                let memory = &mut self.hosts[data].disks[place].memory;
                let files = memory.files().count();
                memory.max_segments = if memory.max_segments == usize::MAX { files } else { usize::MAX };
                self.say(data, format_args!("fault: disk of shard {} full, or no longer", shard.0));
            }
            Kind::OldNotice => {
                let life = self.hosts[data].warden_life;
                let newest = self.hosts[data].incarnation;
                if newest > 1 {
                    let incarnation =
                        agency::ids::Incarnation(newest - 1 - self.dice.below(2_000).min(newest - 1));
                    self.later(0, What::Notice { host: data, life, incarnation });
                }
            }
            Kind::ChangeDrift => {
                let drift = self.scenario.drift(&mut self.dice);
                self.hosts[any].clock.set_drift(now, drift);
            }
            Kind::LoseDisk => self.lose_disk(data),
            Kind::FlipBit => self.flip_bit(data, shard),
        }
    }

    fn pause_node(&mut self, host: usize, span: u64) {
        let until = self.now + span;
        self.say(host, format_args!("fault: node stands still for {} ms", span / MS));
        let life = self.hosts[host].warden_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        node.paused_until = until;
        let incarnation = node.incarnation;
        if self.scenario.mutant == Some(Mutant::FalseDeath) {
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

    fn crash_warden(&mut self, host: usize) {
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

    fn reset_some(&mut self, host: usize) {
        let of_host = |port: &Port| match port {
            Port::Warden { host: h, .. } | Port::Link { host: h, .. } | Port::Served { host: h, .. } => {
                *h == host
            }
            Port::Guest { .. } | Port::Client { .. } => false,
        };
        let ends = self.network.ends_where(of_host);
        if let Some((connection, side)) = self.dice.pick(&ends) {
            self.say(host, format_args!("fault: a connection is reset"));
            self.break_end(connection, side);
        }
    }

    /// Whether every shard has a whole copy in sync besides this host's, and nothing else is damaged.
    fn dispensable(&self, host: usize) -> bool {
        let node = agency::ids::NodeId(host as u8);
        self.checkers.damage.none_but(host)
            && (0..self.scenario.shards).all(|shard| {
                self.checkers
                    .configurations
                    .newest(shard)
                    .is_some_and(|c| !c.in_sync.without(node).is_empty())
            })
    }

    /// The host comes back with an empty disk.
    fn lose_disk(&mut self, host: usize) {
        // An agent without its memory needs all others to come back.
        let everybody = self.hosts.iter().all(|host| host.warden.is_some());
        if !self.dispensable(host) || !everybody {
            return;
        }
        self.say(host, format_args!("fault: disk lost"));
        self.checkers.damage.hit(host);
        self.hosts[host].up = false;
        self.kill_warden(host, "its disk is lost");
        let me = &mut self.hosts[host];
        if self.scenario.mutant != Some(Mutant::WipedUnnoticed) {
            me.image = None;
            me.incarnation = 0;
            me.disk_id = 1 + u128::from(self.dice.bits() >> 1);
        }
        for disk in &mut me.disks {
            *disk = super::disk::SimDisk::new(self.scenario.segment_bytes, self.scenario.mutant);
        }
        let back = self.dice.magnitude(50 * MS, 2 * SECOND);
        self.later(back, What::StartWarden { host });
    }

    fn flip_bit(&mut self, host: usize, shard: ShardId) {
        if !self.dispensable(host) {
            return;
        }
        self.checkers.damage.hit(host);
        self.kill_node(host, "fault: killed");
        let disk = &mut self.hosts[host].disks[usize::from(shard.0)];
        if let Some((segment, at)) = disk.flip_durable_bit(&mut self.dice) {
            self.say(host, format_args!("fault: a bit of segment {} flips at {at}", segment.0));
        }
    }

    /// Everything works from now on: paths, disks, clocks, processes.
    pub fn make_peace(&mut self) {
        self.nemesis.over = true;
        self.network.heal();
        for host in 0..self.hosts.len() {
            let me = &mut self.hosts[host];
            for disk in &mut me.disks {
                disk.stalled_until = 0;
                disk.write_errors_ppm = 0;
                disk.memory.max_segments = usize::MAX;
            }
            if let Some(node) = &mut me.node {
                node.paused_until = 0;
            }
            if let Some(warden) = &mut me.warden {
                warden.paused_until = 0;
            }
        }
        for host in 0..self.hosts.len() {
            let life = self.hosts[host].node_life;
            for shard in (0..self.scenario.shards).map(ShardId) {
                if host < self.scenario.data_nodes {
                    for flight in self.hosts[host].disks[usize::from(shard.0)].under_way() {
                        self.later(MS, What::Disk { host, life, shard, flight });
                    }
                }
                self.wake_shard(host, shard, MS);
            }
            self.ring_warden(host);
        }
        self.trace.say(self.now, format_args!("peace"), format_args!("no more faults"));
    }
}
