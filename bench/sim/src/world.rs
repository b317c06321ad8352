//! The world: one queue of things to happen, and who they happen to.
//!
//! Promises that a run is a function of its scenario. Hosts' processes are driven by `wardens` and `nodes`,
//! clients by `clients`; faults come from `nemesis`. This file only keeps time and hands events out.

use crate::checkers::Checkers;
use crate::client::Client;
use crate::clock::Clock;
use crate::disk::SimDisk;
use crate::guest::{self, Guest};
use crate::host::Host;
use crate::host_config::HostConfig;
use crate::nemesis::Nemesis;
use crate::network::{Network, Packet};
use crate::random::Dice;
use crate::scenario::Scenario;
use crate::trace::Trace;
use agency::ids::{Incarnation, NodeId};
use engine::disk::ReadSpec;
use engine::ids::ShardId;
use engine::log::BufferRange;
use node::events::{Face, LinkId};
use node::job::Job;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// Where true time starts: no clock shows zero.
pub const START: u64 = 1_000_000_000;

/// Makes a seed of its own for the crowd.
const CROWD: u64 = 0xc70d_0000_0000_0001;

/// Something due.
#[derive(Debug)]
pub enum What {
    WardenTurn {
        host: usize,
        life: u64,
    },
    ShardTurn {
        host: usize,
        life: u64,
        shard: ShardId,
    },
    Arrive {
        connection: u64,
        side: usize,
        packet: Packet,
    },
    /// The kernel of this side gives the connection up, or the process's sockets are torn down.
    Break {
        connection: u64,
        side: usize,
    },
    /// A warden calls another.
    Dial {
        host: usize,
        life: u64,
        peer: NodeId,
    },
    /// A warden's call reaches the other host.
    Reach {
        host: usize,
        life: u64,
        peer: NodeId,
    },
    /// A shard's or a client's call reaches a node's port.
    Knock {
        caller: Caller,
        to: usize,
    },
    KnockFailed {
        caller: Caller,
    },
    Stored {
        host: usize,
        life: u64,
    },
    Disk {
        host: usize,
        life: u64,
        shard: ShardId,
        flight: u64,
    },
    /// A job of a node's control threads.
    Job {
        host: usize,
        life: u64,
        shard: ShardId,
        ticket: u64,
        job: Box<Job>,
    },
    Read {
        host: usize,
        life: u64,
        shard: ShardId,
        ticket: u64,
        spec: ReadSpec,
    },
    /// What a dead process had under way reaches the disk; `life`: the one before that.
    Landed {
        host: usize,
        life: u64,
        shard: ShardId,
    },
    SentLog {
        host: usize,
        life: u64,
        shard: ShardId,
        link: LinkId,
        range: BufferRange,
        crc: u32,
    },
    LinkGone {
        host: usize,
        life: u64,
        shard: ShardId,
        link: LinkId,
    },
    /// A warden is told that its node is dead.
    Notice {
        host: usize,
        life: u64,
        incarnation: Incarnation,
    },
    /// A warden's kill takes effect.
    Kill {
        host: usize,
        incarnation: Incarnation,
    },
    /// The warden of this life starts its node.
    Respawn {
        host: usize,
        life: u64,
    },
    /// The node of this life has read its disk.
    Recovered {
        host: usize,
        life: u64,
    },
    /// The host's supervisor starts its warden.
    StartWarden {
        host: usize,
    },
    Client {
        client: usize,
        serial: u64,
    },
    /// One of the crowd does what is next.
    Guest {
        guest: usize,
        serial: u64,
    },
    Nemesis,
    /// A kill at a chosen moment.
    Trapped {
        host: usize,
        life: u64,
    },
    RestartInOrder {
        host: usize,
    },
    CrashWarden {
        host: usize,
    },
    /// By now the group should have noticed what this host lost.
    Overdue {
        host: usize,
        shard: ShardId,
        /// How often the host had been hit then.
        times: u64,
    },
}

/// Who calls a node's port.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    Link { host: usize, life: u64, shard: ShardId, link: LinkId },
    Client { client: usize, serial: u64, face: Face, shard: ShardId },
    Guest { guest: usize, serial: u64, face: Face, shard: ShardId },
}

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which checker noticed.
    pub checker: &'static str,
    pub what: String,
    /// The true time, in ns.
    pub at: u64,
}

struct Due {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// See the module.
pub struct World {
    pub now: u64,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    pub events: u64,
    pub dice: Dice,
    pub scenario: Scenario,
    pub configs: Vec<Arc<HostConfig>>,
    pub hosts: Vec<Host>,
    pub network: Network,
    pub clients: Vec<Client>,
    pub crowd: Vec<Guest>,
    pub nemesis: Nemesis,
    pub checkers: Checkers,
    pub trace: Trace,
    pub violation: Option<Violation>,
    /// The second that events are counted in, and how many it had.
    pub storm: (u64, u64),
    /// The whole group is being stopped: who ends is not started again.
    pub stopping: bool,
}

impl World {
    pub fn new(scenario: Scenario, trace: Trace) -> World {
        let mut dice = Dice::new(scenario.seed ^ 0xba70_0000_0000_0001);
        let configs = scenario.configs();
        let hosts = (0..scenario.members())
            .map(|place| Host {
                clock: Clock::new(START, 1 + dice.below(1 << 40), scenario.drift(&mut dice)),
                wall_ms: 1_700_000_000_000 + dice.below(scenario.wall_skew_ms + 1),
                disk_id: 1 + u128::from(dice.bits() >> 1),
                disks: if place < scenario.data_nodes {
                    (0..scenario.shards).map(|_| SimDisk::new(scenario.segment_bytes)).collect()
                } else {
                    Vec::new()
                },
                copies: Vec::new(),
                image: None,
                incarnation: 0,
                warden: None,
                warden_life: 0,
                node: None,
                node_life: 0,
                up: true,
                crowded_until: 0,
            })
            .collect();
        let places = scenario.members() + scenario.clients + scenario.guests;
        let clients = (0..scenario.clients).map(|n| Client::new(n, &scenario)).collect();
        let mut world = World {
            now: START,
            queue: BinaryHeap::new(),
            order: 0,
            events: 0,
            nemesis: Nemesis::new(&scenario, &mut dice),
            dice,
            configs,
            hosts,
            network: Network::new(places),
            clients,
            crowd: guest::of(&scenario, &mut Dice::new(scenario.seed ^ CROWD)),
            checkers: Checkers::new(&scenario),
            trace,
            violation: None,
            storm: (0, 0),
            stopping: false,
            scenario,
        };
        for host in 0..world.hosts.len() {
            let within = world.dice.below(200_000_000);
            world.later(within, What::StartWarden { host });
        }
        for client in 0..world.clients.len() {
            world.later(500_000_000, What::Client { client, serial: 0 });
        }
        world
    }

    /// Something happens after `delay` ns.
    pub fn later(&mut self, delay: u64, what: What) {
        self.at(self.now.saturating_add(delay), what);
    }

    /// Something happens at `at`.
    pub fn at(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), order: self.order, what }));
    }

    /// Takes what is due next, if that is by `end`; the time goes on to it.
    pub fn next_by(&mut self, end: u64) -> Option<What> {
        if self.queue.peek().is_none_or(|Reverse(due)| due.at > end) {
            return None;
        }
        let Reverse(due) = self.queue.pop()?;
        self.now = due.at;
        Some(due.what)
    }

    /// A line of the timeline about a host.
    pub fn say(&self, host: usize, what: std::fmt::Arguments<'_>) {
        self.trace.say(self.now, format_args!("host {host}"), what);
    }

    /// A property does not hold. The first violation counts.
    pub fn violated(&mut self, checker: &'static str, what: String) {
        if self.violation.is_none() {
            self.trace.say(self.now, format_args!("VIOLATION"), format_args!("{checker}: {what}"));
            self.violation = Some(Violation { checker, what, at: self.now });
        }
    }

    /// Takes what a checker says.
    pub fn judge(&mut self, checker: &'static str, verdict: Result<(), String>) {
        if let Err(what) = verdict {
            self.violated(checker, what);
        }
    }
}
