//! Connections between places: bytes in order with a delay, per-direction black holes and slowness, resets.
//!
//! It behaves as TCP does: what cannot get through is held and comes later, unless the connection is given up
//! before; one dead direction starves both of acknowledgements. Places are the hosts, then the clients, then the crowd. Wardens'
//! links and nodes' links have paths of their own: one may die while the other lives.

use crate::random::Dice;
use crate::shell::receiver::Receiver;
use agency::ids::NodeId;
use agency::message::Message;
use engine::ids::ShardId;
use node::events::{ConnId, LinkId};
use std::collections::BTreeMap;

/// Given up when sent bytes stay unacknowledged this long.
pub const USER_TIMEOUT: u64 = 1_000_000_000;
/// A connection attempt fails after this.
pub const CONNECT_TIMEOUT: u64 = 500_000_000;
const DELAY_LEAST: u64 = 12_000;
const DELAY_SPREAD: u64 = 20_000;
/// One packet in this many is late by up to [`LATE`].
const LATE_ONE_IN: u64 = 200;
const LATE: u64 = 2_000_000;

/// What one end of a connection belongs to. A life that is over makes the end a dead one.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    Warden {
        host: usize,
        life: u64,
        peer: NodeId,
    },
    /// An accepted replication connection that has not said which shard it wants.
    Unannounced {
        host: usize,
        life: u64,
        receiver: Receiver,
    },
    Link {
        host: usize,
        life: u64,
        shard: ShardId,
        link: LinkId,
    },
    /// A client's connection as the node sees it.
    Served {
        host: usize,
        life: u64,
        shard: ShardId,
        conn: ConnId,
    },
    Client {
        client: usize,
    },
    /// One of the crowd.
    Guest {
        guest: usize,
    },
}

impl Owner {
    fn plane(&self) -> Plane {
        if matches!(self, Owner::Warden { .. }) { Plane::Agency } else { Plane::Data }
    }
}

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    Bytes(Vec<u8>),
    Message(Box<Message>),
    /// The other side closed, or its host says that it knows of no such connection.
    Close,
}

/// One side of a connection.
#[derive(Clone, Debug)]
pub struct End {
    pub owner: Owner,
    pub place: usize,
    pub open: bool,
    /// Nothing sent later may arrive here before this.
    arrives: u64,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    pub ends: [End; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Path {
    blocked_until: u64,
    slow_until: u64,
    slow_by: u64,
}

/// Which links a path carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// Between wardens.
    Agency,
    /// Between nodes, and between clients and nodes.
    Data,
}

/// Both.
pub const PLANES: [Plane; 2] = [Plane::Agency, Plane::Data];

/// All connections and paths.
pub struct Network {
    places: usize,
    paths: [Vec<Path>; 2],
    pub connections: BTreeMap<u64, Connection>,
    next: u64,
}

impl Network {
    pub fn new(places: usize) -> Network {
        let paths = || vec![Path::default(); places * places];
        Network { places, paths: [paths(), paths()], connections: BTreeMap::new(), next: 0 }
    }

    fn path(&self, plane: Plane, from: usize, to: usize) -> Path {
        self.paths[plane as usize][from * self.places + to]
    }

    /// Nothing gets from one place to another before `until`.
    pub fn block(&mut self, plane: Plane, from: usize, to: usize, until: u64) {
        let path = &mut self.paths[plane as usize][from * self.places + to];
        path.blocked_until = path.blocked_until.max(until);
    }

    /// Everything takes up to `by` longer before `until`.
    pub fn slow(&mut self, from: usize, to: usize, by: u64, until: u64) {
        for plane in PLANES {
            let path = &mut self.paths[plane as usize][from * self.places + to];
            (path.slow_by, path.slow_until) = (by, until);
        }
    }

    /// All paths are fine from now on.
    pub fn heal(&mut self) {
        self.paths.iter_mut().for_each(|paths| paths.fill(Path::default()));
    }

    /// Whether every path between the first `places` is open and fast.
    pub fn whole(&self, places: usize, now: u64) -> bool {
        let bad = |path: &Path| path.blocked_until > now || path.slow_until > now;
        PLANES.iter().all(|plane| {
            let paths = &self.paths[*plane as usize];
            (0..places).all(|from| (0..places).all(|to| !bad(&paths[from * self.places + to])))
        })
    }

    /// Until when at least one direction between the two is dead.
    pub fn dead_until(&self, plane: Plane, a: usize, b: usize) -> u64 {
        self.path(plane, a, b).blocked_until.max(self.path(plane, b, a).blocked_until)
    }

    fn delay(&self, path: Path, now: u64, dice: &mut Dice) -> u64 {
        let mut delay = DELAY_LEAST + dice.below(DELAY_SPREAD);
        if dice.one_in(LATE_ONE_IN) {
            delay += dice.below(LATE);
        }
        if path.slow_until > now {
            delay += dice.below(path.slow_by + 1);
        }
        delay
    }

    /// When something that one place sends to another outside of any connection arrives.
    pub fn arrival(&self, plane: Plane, from: usize, to: usize, now: u64, dice: &mut Dice) -> u64 {
        let path = self.path(plane, from, to);
        now.max(path.blocked_until) + self.delay(path, now, dice)
    }

    /// A new connection.
    pub fn open(&mut self, a: (usize, Owner), b: (usize, Owner)) -> u64 {
        self.next += 1;
        let end = |(place, owner)| End { owner, place, open: true, arrives: 0 };
        self.connections.insert(self.next, Connection { ends: [end(a), end(b)] });
        self.next
    }

    /// When what `side` sends now reaches the other end, which keeps the order; and whether it takes so long
    /// that the connection is given up first.
    pub fn send(&mut self, connection: u64, side: usize, now: u64, dice: &mut Dice) -> Option<(u64, bool)> {
        let ends = &self.connections.get(&connection)?.ends;
        let (from, to) = (ends[side].place, ends[1 - side].place);
        let plane = ends[side].owner.plane();
        let at = self.arrival(plane, from, to, now, dice);
        let given_up = self.dead_until(plane, from, to) > now + USER_TIMEOUT;
        let end = &mut self.connections.get_mut(&connection)?.ends[1 - side];
        end.arrives = end.arrives.max(at) + 1;
        Some((end.arrives, given_up))
    }

    /// The side of `connection` that `port` is.
    pub fn side(&self, connection: u64, is: impl Fn(&Owner) -> bool) -> Option<usize> {
        let ends = &self.connections.get(&connection)?.ends;
        (0..2).find(|side| is(&ends[*side].owner))
    }

    /// One end is closed; a connection without open ends is forgotten.
    pub fn close(&mut self, connection: u64, side: usize) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.ends[side].open = false;
            if known.ends.iter().all(|end| !end.open) {
                self.connections.remove(&connection);
            }
        }
    }

    /// Open ends whose port is of this kind.
    pub fn ends_where(&self, is: impl Fn(&Owner) -> bool) -> Vec<(u64, usize)> {
        let sides =
            self.connections.iter().flat_map(|(id, c)| (0..2).map(move |side| (*id, side, &c.ends[side])));
        sides.filter(|(_, _, end)| end.open && is(&end.owner)).map(|(id, side, _)| (id, side)).collect()
    }
}
