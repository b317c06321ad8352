//! Which faults strike, how often, and when they end: a swarm. Each run enables some kinds, at its own pace, and
//! stops all of them when its hostile time is over.
//!
//! What each kind does is in `faults`; the kinds that hurt what is on a disk are in `spoil`.

use crate::network::{PLANES, Port};
use crate::random::Dice;
use crate::scenario::Scenario;
use crate::world::{What, World};
use engine::ids::ShardId;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
/// One long pause or cut in this many is very long.
const VERY_LONG_ONE_IN: u64 = 25;
const LONG: u64 = 3 * SECOND;
const VERY_LONG: u64 = 60 * SECOND;

/// About how long a vote is on its way to the disk.
const VOTE_STORES: u64 = 120_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    KillNode,
    KillWarden,
    LosePower,
    /// Killed, and once more right after it came back.
    KillTwice,
    /// The next node to be promoted is killed while it takes over.
    KillPromoted,
    /// The next node to rewind is killed while it does.
    KillRewinding,
    /// A leader is killed while the admission of a learner becomes known.
    KillAdmitting,
    /// A leader's warden is killed, and its node with it, while an eviction becomes known.
    KillEvicting,
    /// A warden is killed while it stores a vote.
    KillVoting,
    /// All hosts lose power at once.
    Blackout,
    /// Every host is restarted in order, one after the other.
    RollingRestart,
    PauseNode,
    PauseWarden,
    PauseHost,
    Handoff,
    StopNode,
    Block,
    /// Nothing gets from one warden to another; their nodes go on.
    BlockWardens,
    /// Nothing gets from one node to another; their wardens go on.
    BlockNodes,
    Isolate,
    /// Cut off from the other hosts, but not from the clients.
    Estrange,
    Flap,
    Slow,
    Reset,
    /// One end of a connection is forgotten, so that its owner calls again while the other end stands.
    HalfOpen,
    /// Messages of the agency are lost, late or doubled for a while.
    LoseMessages,
    StallDisk,
    HangDisk,
    WriteError,
    ReadError,
    FullDisk,
    OldNotice,
    ChangeDrift,
    LoseDisk,
    FlipBit,
    /// A bit in a segment that is no longer written flips, and nobody is told.
    Rot,
    LoseWrite,
    MisdirectWrite,
    RollBack,
}

/// Kinds that any run may have.
const COMMON: [Kind; 33] = [
    Kind::KillNode,
    Kind::KillWarden,
    Kind::LosePower,
    Kind::KillTwice,
    Kind::KillPromoted,
    Kind::KillRewinding,
    Kind::KillAdmitting,
    Kind::KillEvicting,
    Kind::KillVoting,
    Kind::Blackout,
    Kind::RollingRestart,
    Kind::PauseNode,
    Kind::PauseWarden,
    Kind::PauseHost,
    Kind::Handoff,
    Kind::StopNode,
    Kind::Block,
    Kind::BlockWardens,
    Kind::BlockNodes,
    Kind::Isolate,
    Kind::Estrange,
    Kind::Flap,
    Kind::Slow,
    Kind::Reset,
    Kind::HalfOpen,
    Kind::LoseMessages,
    Kind::StallDisk,
    Kind::HangDisk,
    Kind::WriteError,
    Kind::ReadError,
    Kind::FullDisk,
    Kind::OldNotice,
    Kind::ChangeDrift,
];

/// Kinds of runs that damage disks.
const DAMAGING: [Kind; 6] =
    [Kind::LoseDisk, Kind::FlipBit, Kind::Rot, Kind::LoseWrite, Kind::MisdirectWrite, Kind::RollBack];

/// A moment that a kill waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    Promotion,
    Admission,
    /// Of a warden, as the next.
    Eviction,
    Rewind,
    Recovery,
    Vote,
}

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
    /// The clients only write.
    pub writes_only: bool,
    /// Since when they only read.
    pub audited_from: u64,
    pub strikes: u64,
    /// Kills that wait for their moment; of one host, or of whoever comes first.
    pub traps: Vec<(Trap, Option<usize>)>,
    /// Until when messages of the agency may be lost, late or doubled.
    pub noise_until: u64,
}

impl Nemesis {
    pub fn new(scenario: &Scenario, dice: &mut Dice) -> Nemesis {
        let percent = dice.pick(&[8, 20, 40]).unwrap_or(20);
        let mut kinds: Vec<Kind> = COMMON.into_iter().filter(|_| dice.percent(percent)).collect();
        if kinds.is_empty() {
            kinds.push(Kind::KillNode);
        }
        if scenario.damages_disks {
            kinds.extend(DAMAGING.into_iter().filter(|_| dice.percent(50)));
        }
        let most = dice.magnitude(30 * MS, 3 * SECOND);
        if let Some(wanted) = scenario.kinds {
            kinds = wanted.to_vec();
        }
        let traps = Vec::new();
        let pace = (2 * MS, most);
        Nemesis {
            kinds,
            pace,
            over: false,
            auditing: false,
            audited_from: 0,
            writes_only: false,
            strikes: 0,
            traps,
            noise_until: 0,
        }
    }

    /// The kinds that strike in this run.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// For how long something lasts.
    pub fn span(dice: &mut Dice) -> u64 {
        let most = if dice.one_in(VERY_LONG_ONE_IN) { VERY_LONG } else { LONG };
        dice.magnitude(MS, most)
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
        if self.checkers.damage.hidden() {
            return;
        }
        if let Some(kind) = self.dice.pick(&self.nemesis.kinds) {
            self.nemesis.strikes += 1;
            self.inflict(kind);
        }
    }

    /// A moment that a kill may have waited for.
    pub(super) fn spring(&mut self, trap: Trap, host: usize) {
        let waits = |set: &(Trap, Option<usize>)| set.0 == trap && set.1.is_none_or(|wanted| wanted == host);
        let Some(at) = self.nemesis.traps.iter().position(waits) else { return };
        if self.nemesis.over || self.spared(host) {
            return;
        }
        self.nemesis.traps.remove(at);
        if matches!(trap, Trap::Vote | Trap::Eviction) {
            let soon = self.dice.below(VOTE_STORES);
            return self.later(soon, What::CrashWarden { host });
        }
        let soon = self.dice.magnitude(1_000, 20 * MS);
        let life = self.hosts[host].node_life;
        self.later(soon, What::Trapped { host, life });
    }

    /// The trap closes.
    pub(super) fn trapped(&mut self, host: usize, life: u64) {
        if self.hosts[host].node_life == life && !self.nemesis.over && !self.spared(host) {
            self.kill_node(host, "fault: killed at a chosen moment");
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
            for disk in &mut me.disks {
                disk.make_peace();
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
                if host < self.scenario.data_nodes && !self.hosts[host].disks[usize::from(shard.0)].hangs() {
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

    /// Nothing gets from one host to another, by any link, for `span`.
    pub(super) fn block(&mut self, from: usize, to: usize, span: u64) {
        for plane in PLANES {
            self.network.block(plane, from, to, self.now + span);
        }
    }

    /// Open ends of connections of this host's processes.
    pub(super) fn ends_of(&self, host: usize) -> Vec<(u64, usize)> {
        self.network.ends_where(|port| match port {
            Port::Warden { host: h, .. } | Port::Link { host: h, .. } | Port::Served { host: h, .. } => {
                *h == host
            }
            Port::Guest { .. } | Port::Client { .. } => false,
        })
    }
}
