//! A host: its clock, its warden's and its node's processes, and what of them survives a crash.
//!
//! The cores are the real ones. What stands here is the shells' state: inboxes, the page that warden and node
//! share, links and their receive buffers.

use crate::clock::Clock;
use crate::disk::{SimDisk, Snapshot};
use crate::mutants::{Mutant, lacks};
use crate::served::Served;
use crate::shell::input::Input;
use crate::shell::receiver::Receiver;
use agency::events::Event as WardenEvent;
use agency::ids::{Incarnation, MAX_MEMBERS, Nanos};
use agency::overseer::Overseer;
use agency::shard::{ShardProgress, ShardRequest, ShardUpdate, Standing};
use agency::view::ClusterView;
use node::Node;
use node::events::{Command, ConnId, Lease, LinkId};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A host of the group.
pub struct Host {
    pub clock: Clock,
    /// Wall time is true time shifted by this, in ms.
    pub wall_ms: u64,
    pub disk_id: u128,
    pub disks: Vec<SimDisk>,
    /// The disks as they once were, for a fault that brings that back.
    pub copies: Vec<Snapshot>,
    /// What the agent's store holds.
    pub image: Option<Vec<u8>>,
    /// The newest incarnation that is durable.
    pub incarnation: u64,
    pub warden: Option<Warden>,
    /// Raised at each start and end of the warden.
    pub warden_life: u64,
    pub node: Option<NodeProcess>,
    /// Raised at each start and end of the node.
    pub node_life: u64,
    /// Whether it has power.
    pub up: bool,
    /// Until when its node has no descriptors for clients.
    pub crowded_until: u64,
}

/// A warden's process.
pub struct Warden {
    pub overseer: Overseer,
    pub inbox: VecDeque<WardenEvent>,
    /// Images on their way to the store, oldest first.
    pub storing: VecDeque<(u64, Vec<u8>)>,
    pub store_idle_at: u64,
    pub turn_at: u64,
    pub tick_at: u64,
    pub paused_until: u64,
    /// The connection to each peer.
    pub links: [Option<u64>; MAX_MEMBERS],
    /// For how long, in own ticks, nothing came by it.
    pub silent: [u64; MAX_MEMBERS],
    pub last_tick: u64,
}

/// What a warden and its node's shards share.
#[derive(Default)]
pub struct Page {
    pub updates: Vec<(u64, Option<ShardUpdate>)>,
    pub leases: Vec<Lease>,
    pub requests: Vec<(u64, Option<ShardRequest>)>,
    pub progress: Vec<ShardProgress>,
    pub view: (u64, Arc<ClusterView>),
}

/// A node's process.
pub struct NodeProcess {
    pub incarnation: Incarnation,
    pub page: Page,
    pub shards: Vec<Actor>,
    pub paused_until: u64,
    /// Until when a kill takes no effect, and whether one waits.
    pub stuck_until: u64,
    pub killed: bool,
    /// Shards that stopped in order.
    pub stopped: usize,
    pub next_conn: u64,
}

/// One shard's thread.
#[derive(Default)]
pub struct Actor {
    /// `None` until it is recovered.
    pub core: Option<Box<Node>>,
    pub inbox: VecDeque<Input>,
    pub turn_at: u64,
    pub seen_update: u64,
    pub seen_view: u64,
    pub seen_request: u64,
    pub links: BTreeMap<LinkId, Link>,
    pub next_accepted: u64,
    pub conns: BTreeMap<ConnId, Served>,
    /// When a client's connection was gone last.
    pub parted_at: u64,
    /// What the clock showed a turn whose thread then stood still.
    pub turn_began: Option<Nanos>,
    /// The turn that is under way, if it takes time.
    pub turn: Option<Turn>,
    /// When it began.
    pub began_at: u64,
    /// Requests that it carried out before it was to be finished.
    pub carried_out: u64,
    /// Until when the thread works on it.
    pub busy_until: u64,
}

/// A turn under way, with what is to be carried out when it is over.
pub enum Turn {
    /// All that had come was handed to the core; the clock showed this before.
    Handed { began: Nanos, commands: Vec<Command> },
    /// The core has finished it.
    Finished { commands: Vec<Command> },
}

/// A replication connection as the shell sees it.
#[derive(Default)]
pub struct Link {
    /// `None` while connecting.
    pub connection: Option<u64>,
    pub receiver: Receiver,
    /// The core closed it, or the peer did: nothing more is delivered but `LinkClosed`.
    pub closing: bool,
    /// The kernel needs the log buffer for its sends until then.
    pub released_at: u64,
}

impl Page {
    pub fn new(shards: usize) -> Page {
        Page {
            updates: vec![(0, None); shards],
            leases: vec![Lease::default(); shards],
            requests: vec![(0, None); shards],
            progress: vec![ShardProgress::default(); shards],
            view: (0, Arc::default()),
        }
    }
}

impl Actor {
    /// What a turn is handed, in its order.
    pub fn receive(&mut self, now: u64) -> Vec<Input> {
        let mut handed = Vec::new();
        for input in self.inbox.drain(..) {
            match &input {
                Input::ClientBytes { conn, .. } | Input::ClientClosed { conn } => {
                    if let Some(served) = self.conns.get_mut(conn) {
                        served.came(input);
                    }
                }
                _ => handed.push(input),
            }
        }
        self.conns.values_mut().for_each(|served| served.receive(&mut handed));
        for input in &handed {
            if let Input::ClientClosed { conn } = input {
                self.conns.remove(conn);
                self.parted_at = now;
            }
        }
        handed
    }

    /// Whether a turn would be handed something that came before.
    pub fn has_unread(&self) -> bool {
        self.conns.values().any(Served::has_unread)
    }
}

impl NodeProcess {
    pub fn new(incarnation: Incarnation, shards: usize) -> NodeProcess {
        NodeProcess {
            incarnation,
            page: Page::new(shards),
            shards: (0..shards).map(|_| Actor { turn_at: u64::MAX, ..Actor::default() }).collect(),
            paused_until: 0,
            stuck_until: 0,
            killed: false,
            stopped: 0,
            next_conn: 0,
        }
    }

    /// What its shards say, and what their threads do while their words stand still. Whether they do is for the
    /// detector to compare.
    pub fn looked_at(&self, now: u64) -> Vec<ShardProgress> {
        let standing = |actor: &Actor| match actor {
            _ if lacks(Mutant::KillsWorkers) => Standing::Stopped,
            _ if self.stuck_until > now => Standing::InKernel,
            _ if self.paused_until > now => Standing::Stopped,
            actor if actor.busy_until > now => Standing::Working,
            // In its ring, but before it is recovered.
            _ => Standing::Moving,
        };
        let looks = self.page.progress.iter().zip(&self.shards);
        looks.map(|(said, actor)| ShardProgress { standing: standing(actor), ..*said }).collect()
    }

    /// Every shard is recovered and its ports are open.
    pub fn listens(&self) -> bool {
        self.shards.iter().all(|actor| actor.core.is_some())
    }
}

impl Host {
    /// The node of this life, if it still runs.
    pub fn living(&mut self, life: u64) -> Option<&mut NodeProcess> {
        if self.node_life == life { self.node.as_mut() } else { None }
    }

    /// The warden of this life, if it still runs.
    pub fn watching(&mut self, life: u64) -> Option<&mut Warden> {
        if self.warden_life == life { self.warden.as_mut() } else { None }
    }
}
