//! Three overseers (two data nodes and a witness) in virtual time: links with latency, a store with latency,
//! nodes that run, hang and die. After every event the invariants of the whole group are checked.

use agency::configuration::{Change, Configuration, Why};
use agency::events::{Command, Event};
use agency::ids::{Epoch, Incarnation, Nanos, NodeId, NodeSet, ShardId, Version};
use agency::message::Message;
use agency::overseer::{Overseer, OverseerOptions};
use agency::shard::{Health, ShardProgress, ShardRequest, ShardUpdate, Standing};
use agency::timing::Timing;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

pub const A: NodeId = NodeId(0);
pub const B: NodeId = NodeId(1);
pub const W: NodeId = NodeId(2);
pub const S: ShardId = ShardId(0);
pub const SHARDS: u16 = 2;
const LINK: Duration = Duration::from_micros(20);
const STORE: Duration = Duration::from_micros(50);

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub struct Node {
    pub incarnation: Incarnation,
    pub turns: u64,
    pub hangs: bool,
    pub health: Health,
    pub written: u64,
}

pub struct Member {
    pub overseer: Option<Overseer>,
    life: u64,
    pub image: Option<Vec<u8>>,
    pub node: Option<Node>,
    pub incarnation: u64,
    pub disk_id: u128,
    pub updates: Vec<Option<ShardUpdate>>,
    pub leases: Vec<(Epoch, Nanos)>,
    pub kills: usize,
    /// A kill takes no effect.
    pub unkillable: bool,
    /// The node's oldest log write; 0: none is outstanding.
    pub disk_waiting_since: Nanos,
    /// No image becomes durable.
    pub store_stands: bool,
    pub stopping: bool,
    pub standing: Standing,
}

#[derive(Clone)]
enum Arrival {
    Message(NodeId, Message),
    Stored(u64, Vec<u8>),
    Tick,
}

pub type Meddle = Box<dyn FnMut(NodeId, NodeId, &Message) -> Fate>;

pub struct Group {
    pub now: Nanos,
    pub members: Vec<Member>,
    queue: BTreeMap<(Nanos, u64), (NodeId, u64, Arrival)>,
    order: u64,
    /// Directions that carry nothing.
    pub cut: HashSet<(NodeId, NodeId)>,
    /// Decides on each message whether it is delivered, and how much later again.
    pub meddle: Meddle,
    pub trace: Vec<(Nanos, NodeId, NodeId, Message)>,
    pub chosen: BTreeMap<(ShardId, Version), Configuration>,
    pub reigns: BTreeMap<(ShardId, Epoch), (NodeId, Incarnation)>,
    pub request: u64,
    /// How long an image takes to become durable.
    pub store: Duration,
}

#[derive(Clone, Copy, PartialEq)]
#[allow(dead_code, reason = "each test binary uses its part")]
pub enum Fate {
    Deliver,
    Drop,
    Late(Duration),
    Twice(Duration),
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Group {
    pub fn new() -> Group {
        let member = |i: u128| Member {
            overseer: None,
            life: 0,
            image: None,
            node: None,
            incarnation: 0,
            disk_id: if i < 2 { 100 + i } else { 0 },
            updates: vec![None; usize::from(SHARDS)],
            leases: vec![(Epoch(0), Nanos(0)); usize::from(SHARDS)],
            kills: 0,
            unkillable: false,
            disk_waiting_since: Nanos(0),
            store_stands: false,
            stopping: false,
            standing: Standing::Moving,
        };
        Group {
            now: Nanos(1_000_000_000),
            members: (0..3).map(member).collect(),
            queue: BTreeMap::new(),
            order: 0,
            cut: HashSet::new(),
            meddle: Box::new(|_, _, _| Fate::Deliver),
            trace: Vec::new(),
            chosen: BTreeMap::new(),
            reigns: BTreeMap::new(),
            request: 0,
            store: STORE,
        }
    }

    /// Everybody up, founded, leases held, ballots prepared.
    pub fn founded() -> Group {
        let mut g = Group::new();
        for n in [A, B, W] {
            g.start_warden(n);
        }
        g.start_node(A);
        g.start_node(B);
        g.run(ms(700));
        assert_eq!(g.config(A).leader, A);
        g
    }

    pub fn member(&mut self, n: NodeId) -> &mut Member {
        &mut self.members[usize::from(n.0)]
    }

    fn options(&self, me: NodeId) -> OverseerOptions {
        OverseerOptions {
            me,
            data_nodes: NodeSet::of(&[A, B]),
            agents: NodeSet::of(&[A, B, W]),
            shards: SHARDS,
            timing: Timing::default(),
            witness: me == W,
            initial_leaders: vec![A; usize::from(SHARDS)],
            prefer_leader: None,
            warden_pid: 1,
            group: 7,
            disk_id: self.members[usize::from(me.0)].disk_id,
        }
    }

    pub fn start_warden(&mut self, n: NodeId) {
        let options = self.options(n);
        let now = self.now;
        let m = self.member(n);
        m.life += 1;
        m.overseer = Some(Overseer::new(options, m.image.as_deref(), now).unwrap());
        for other in [A, B, W] {
            if other != n && self.members[usize::from(other.0)].overseer.is_some() {
                self.event(n, Event::LinkUp(other));
                self.event(other, Event::LinkUp(n));
            }
        }
        self.event(n, Event::Tick);
        self.schedule_tick(n);
    }

    pub fn start_node(&mut self, n: NodeId) {
        let m = self.member(n);
        m.incarnation += 1;
        let incarnation = Incarnation(m.incarnation);
        m.stopping = false;
        m.updates.fill(None);
        m.leases.fill((Epoch(0), Nanos(0)));
        m.node = Some(Node { incarnation, turns: 1, hangs: false, health: Health::Ready, written: 800 });
        let disk_id = self.member(n).disk_id;
        self.event(n, Event::NodeStarted { incarnation, pid: 1000, disk_id });
    }

    /// The node's process dies; its warden knows at once.
    pub fn kill_node(&mut self, n: NodeId) {
        if let Some(node) = self.member(n).node.take() {
            self.event(n, Event::NodeDied(node.incarnation));
        }
    }

    /// Warden and node are gone, and nobody is told.
    pub fn kill_host(&mut self, n: NodeId) {
        let m = self.member(n);
        m.life += 1;
        m.overseer = None;
        m.node = None;
        for other in [A, B, W] {
            if other != n && self.members[usize::from(other.0)].overseer.is_some() {
                self.event(other, Event::LinkDown(n));
            }
        }
    }

    pub fn request(&mut self, n: NodeId, change: Change) {
        self.request_of(S, n, change);
    }

    pub fn request_of(&mut self, shard: ShardId, n: NodeId, change: Change) {
        self.request += 1;
        let view = self.member(n).overseer.as_ref().expect("the warden runs").view();
        let on_top_of = view.shards[usize::from(shard.0)].configuration.expect("the group is founded");
        let id = self.request;
        self.event(n, Event::Request(shard, ShardRequest { id, on_top_of, change }));
    }

    /// What shard 0 of `n` was told last.
    pub fn update(&self, n: NodeId) -> ShardUpdate {
        self.members[usize::from(n.0)].updates[0].expect("something was published")
    }

    /// The configuration of shard 0 as `n` knows it.
    pub fn config(&self, n: NodeId) -> Configuration {
        let overseer = self.members[usize::from(n.0)].overseer.as_ref().expect("the warden runs");
        overseer.view().shards[0].configuration.expect("the group is founded")
    }

    pub fn newest(&self) -> Configuration {
        *self.chosen.iter().rfind(|((s, _), _)| *s == S).expect("the group is founded").1
    }

    pub fn lease(&self, n: NodeId) -> bool {
        let m = &self.members[usize::from(n.0)];
        m.node.is_some() && m.leases[0].1 > self.now
    }

    pub fn event(&mut self, n: NodeId, event: Event) {
        let now = self.now;
        let Some(overseer) = &mut self.member(n).overseer else { return };
        let mut out = Vec::new();
        overseer.handle(now, 5, event, &mut out);
        let life = self.member(n).life;
        let mut killed = None;
        for command in out {
            match command {
                Command::Send(to, message) => self.send(n, to, message),
                Command::Store { .. } if self.member(n).store_stands => {}
                Command::Store { ticket, image } => {
                    self.push(now + self.store, n, life, Arrival::Stored(ticket, image));
                }
                Command::Publish(shard, update) => self.publish(n, shard, update),
                Command::Lease { shard, epoch, until } => {
                    self.member(n).leases[usize::from(shard.0)] = (epoch, until);
                }
                Command::KillNode(incarnation) => killed = Some(incarnation),
                Command::Log(_) => {}
            }
        }
        self.check();
        if killed.is_some() {
            self.member(n).kills += 1;
            if self.member(n).unkillable {
                self.member(n).node.as_mut().expect("it was told to be killed").hangs = true;
            } else {
                self.kill_node(n);
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let (decoded, used) = Message::decode(&bytes).unwrap().unwrap();
        assert_eq!((&decoded, used), (&message, bytes.len()));
        self.trace.push((self.now, from, to, message.clone()));
        let life = self.member(to).life;
        if self.cut.contains(&(from, to)) || self.member(to).overseer.is_none() {
            return;
        }
        let at = self.now + LINK;
        let arrival = Arrival::Message(from, message.clone());
        match (self.meddle)(from, to, &message) {
            Fate::Deliver => self.push(at, to, life, arrival),
            Fate::Drop => {}
            Fate::Late(by) => self.push(at + by, to, life, arrival),
            Fate::Twice(by) => {
                self.push(at, to, life, arrival.clone());
                self.push(at + by, to, life, arrival);
            }
        }
    }

    fn push(&mut self, at: Nanos, to: NodeId, life: u64, arrival: Arrival) {
        self.order += 1;
        self.queue.insert((at, self.order), (to, life, arrival));
    }

    fn schedule_tick(&mut self, n: NodeId) {
        let now = self.now;
        let m = self.member(n);
        let Some(overseer) = &m.overseer else { return };
        let at = overseer.deadline().max(now + Duration::from_micros(1)).min(now + ms(5));
        let life = m.life;
        self.push(at, n, life, Arrival::Tick);
    }

    fn publish(&mut self, n: NodeId, shard: ShardId, update: ShardUpdate) {
        self.member(n).updates[usize::from(shard.0)] = Some(update);
    }

    /// Runs for this long.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until `done`, at most until `end`; says whether it was done.
    pub fn run_until(&mut self, end: Nanos, done: impl Fn(&Group) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let Some(entry) = self.queue.first_entry() else { return false };
            if entry.key().0 > end {
                return false;
            }
            let ((at, _), (n, life, arrival)) = entry.remove_entry();
            self.now = self.now.max(at);
            if self.member(n).life != life {
                continue;
            }
            match arrival {
                Arrival::Message(from, message) => self.event(n, Event::Message(from, message)),
                Arrival::Stored(ticket, image) => {
                    self.member(n).image = Some(image);
                    self.event(n, Event::Stored(ticket));
                }
                Arrival::Tick => {
                    let m = self.member(n);
                    let (disk_waiting_since, standing) = (m.disk_waiting_since, m.standing);
                    let stopping = m.stopping;
                    if let Some(node) = &mut m.node {
                        if !node.hangs {
                            node.turns += 1;
                        }
                        let progress = ShardProgress {
                            turns: node.turns,
                            health: node.health,
                            last_epoch: Epoch(1),
                            written: node.written,
                            committed: node.written,
                            disk_waiting_since,
                            standing,
                            stopping,
                            ..ShardProgress::default()
                        };
                        self.event(n, Event::Progress(vec![progress; usize::from(SHARDS)]));
                    }
                    self.event(n, Event::Tick);
                    self.schedule_tick(n);
                }
            }
        }
    }

    /// The time until `done`; fails after a second.
    pub fn time_until(&mut self, done: impl Fn(&Group) -> bool) -> Duration {
        let start = self.now;
        assert!(self.run_until(start + ms(1000), done), "not within a second");
        self.now.since(start)
    }

    /// What must hold after every event.
    fn check(&mut self) {
        for m in &self.members {
            let Some(overseer) = &m.overseer else { continue };
            // Whatever is decided is known to its proposer right after.
            let shards = (0..).map(ShardId).zip(overseer.view().shards);
            for (shard, c) in shards.filter_map(|(s, view)| Some((s, view.configuration?))) {
                let first = *self.chosen.entry((shard, c.version)).or_insert(c);
                assert_eq!(first, c, "two configurations of one version");
                let reign = (c.leader, c.leader_incarnation);
                let first = *self.reigns.entry((shard, c.epoch)).or_insert(reign);
                assert_eq!(first, reign, "two writers of one epoch");
            }
        }
        for shard in 0..usize::from(SHARDS) {
            let newest = self.chosen.iter().filter(|((s, _), _)| usize::from(s.0) == shard);
            let epoch = newest.map(|(_, c)| c.epoch).max().unwrap_or_default();
            for m in self.members.iter().filter(|m| m.node.is_some()) {
                let (of, until) = m.leases[shard];
                assert!(until <= self.now || of == epoch, "a lease on {of:?} while {epoch:?} is decided");
            }
        }
        for pair in self.chosen.iter().collect::<Vec<_>>().windows(2) {
            let ((s1, v1), old) = pair[0];
            let ((s2, v2), new) = pair[1];
            if s1 == s2 && v2.0 == v1.0 + 1 && new.leader != old.leader {
                let accepted = new.why == Why::DataLossAccepted;
                assert!(accepted || old.in_sync.contains(new.leader), "it was not in sync: {old:?} {new:?}");
                assert!(new.epoch > old.epoch);
            }
        }
    }
}
