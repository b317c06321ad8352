//! A world of a few nodes for tests: the real node and engine over memory disks, links and a register that
//! decides at once, under one virtual clock. The test says who is up and what is delayed.

use agency::configuration::{Change, Configuration, Why};
use agency::ids::{Incarnation, Nanos, NodeId, NodeSet, Version};
use engine::disk::{DiskCommand, DiskDone, DiskError, DiskWork, ReadSpec};
use agency::shard::{RequestStatus, ShardRequest, ShardUpdate};
use engine::ids::{GroupId, SegmentId, ShardId};
use engine::limits::BLOCK;
use engine::memory::MirrorBuffer;
use engine::recover::recover;
use engine::shard::{Shard, ShardOptions};
use engine::testing::{Effect, MemoryDisk};
use net::auth::password::{self, Secret};
use net::config::{ByteSize, Member, NodeConfig};
use net::control;
use net::control::job::Job;
use net::node::{Node, NodeOptions};
use net::seam::{Action, ConnId, Event, Face, Landing, Lease, LinkId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub const A: NodeId = NodeId(0);
pub const B: NodeId = NodeId(1);
const CLIENT: ConnId = ConnId(1 << 40);
const GROUP: GroupId = GroupId(0xba70);
const LATENCY: u64 = 20_000;
const IDLE_TURN: u64 = 5_000_000;
/// How long the control threads take for a job, in ns.
const JOB: u64 = 100_000;
/// The password of `root` in a world with users.
pub const PASSWORD: &str = "swordfish";

/// One end of a connection between two nodes.
#[derive(Default)]
struct End {
    peer: Option<(usize, LinkId)>,
    inbox: VecDeque<u8>,
    wanted: Option<Landing>,
    /// The accepting side has not read the first header yet.
    unannounced: bool,
}

enum Delivery {
    Disk(usize, DiskCommand, Vec<Vec<Effect>>),
    DiskFailed(usize, DiskDone),
    Read(usize, u64, ReadSpec),
    Bytes(usize, LinkId, Vec<u8>),
    Closed(usize, LinkId),
    Job(usize, u64, Job),
    Turn(usize),
    Stop(usize),
}

pub struct Host {
    pub node: Option<Node>,
    pub disk: MemoryDisk,
    pub incarnation: u64,
    pub replies: Vec<u8>,
    pub client_closed: bool,
    pub client_paused: bool,
    pub warnings: Vec<String>,
    /// What its newest HTTP client was sent.
    pub responses: Vec<u8>,
    pub http_closed: bool,
    http: ConnId,
    /// Its HTTP clients read nothing: what is sent to them stays where it is.
    pub nobody_reads: bool,
    /// HTTP connections whose bytes are not out; `true`: to be closed then.
    unsent: BTreeMap<ConnId, bool>,
    pub failed: Option<String>,
    /// Disk operations take this long, in ns.
    pub disk_delay: u64,
    /// Log writes fail from now on.
    pub disk_broken: bool,
    /// Blocks (segment, offset) that the device cannot read before they are written again.
    pub unreadable: BTreeSet<(SegmentId, u64)>,
    /// Until when the lease holds, in ns.
    pub lease_until: u64,
    links: BTreeMap<LinkId, End>,
    next_link: u64,
}

pub struct World {
    pub now: u64,
    pub hosts: Vec<Host>,
    pub configuration: Configuration,
    /// The wardens hold the leader for lost; told with the next configuration.
    pub leader_lost: bool,
    /// Requests are decided as they come; else they stay pending.
    pub decides: bool,
    pub asked: Vec<(NodeId, ShardRequest)>,
    /// Jobs are done as they come; else they are kept here.
    pub works: bool,
    pub jobs: Vec<(usize, u64, Job)>,
    queue: BTreeMap<(u64, u64), Delivery>,
    sequence: u64,
    config: Arc<NodeConfig>,
}

impl World {
    /// Two nodes, `A` the leader, both in sync, both up.
    pub fn new() -> World {
        World::configured(|_| ())
    }

    /// The same, and who comes is asked for a password; `root` has [`PASSWORD`].
    pub fn with_users() -> World {
        let mut world = World::configured(|config| {
            config.auth = true;
            config.root_password_hash = Some(password::hash(&Secret(PASSWORD.to_owned()), &[1; 16]));
        });
        let root = format!("AUTH {PASSWORD}");
        world.run_until("the first user", |world| world.cursors(A).2 > 0);
        assert_eq!(world.ask(A, &root), "+OK\r\n");
        world
    }

    fn configured(change: impl FnOnce(&mut NodeConfig)) -> World {
        let member = |name: &str, port_base| Member {
            name: name.into(),
            host: "127.0.0.1".into(),
            port_base,
            witness: false,
        };
        let mut config =
            NodeConfig::new(GROUP, "a", "/nowhere".into(), vec![member("a", 7400), member("b", 7500)]);
        config.segment_bytes = ByteSize(256 << 10);
        config.max_value_bytes = ByteSize(64 << 10);
        config.log_buffer_bytes = ByteSize(512 << 10);
        // Values that were just read have often gone again when the next one comes from the disk.
        config.cache_bytes = ByteSize(16 << 10);
        change(&mut config);
        let configuration = Configuration {
            epoch: agency::ids::Epoch(1),
            version: Version(1),
            leader: A,
            leader_incarnation: Incarnation(1),
            in_sync: NodeSet::of(&[A, B]),
            members: NodeSet::of(&[A, B]),
            why: Why::Founded,
            at_ms: 0,
        };
        let host = || Host {
            node: None,
            disk: MemoryDisk::new(256 << 10),
            incarnation: 0,
            replies: Vec::new(),
            client_closed: false,
            client_paused: false,
            warnings: Vec::new(),
            responses: Vec::new(),
            http_closed: true,
            http: ConnId(0),
            nobody_reads: false,
            unsent: BTreeMap::new(),
            failed: None,
            disk_delay: 50_000,
            disk_broken: false,
            unreadable: BTreeSet::new(),
            lease_until: u64::MAX,
            links: BTreeMap::new(),
            next_link: 0,
        };
        let mut world = World {
            now: 1_000_000,
            hosts: vec![host(), host()],
            configuration,
            leader_lost: false,
            decides: true,
            asked: Vec::new(),
            works: true,
            jobs: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            config: Arc::new(config),
        };
        world.start(A);
        world.start(B);
        world
    }

    /// Starts a node's next incarnation over what its disk holds.
    pub fn start(&mut self, node: NodeId) {
        let host = &mut self.hosts[node.0 as usize];
        host.incarnation += 1;
        host.client_closed = false;
        host.http_closed = true;
        host.unsent.clear();
        host.replies.clear();
        let options = ShardOptions {
            segment_bytes: self.config.segment_bytes.0,
            max_value_bytes: self.config.max_value_bytes.0 as usize,
            cache_bytes: self.config.cache_bytes.0 as usize,
            ..ShardOptions::new(GROUP, ShardId(0))
        };
        let buffer = MirrorBuffer::new(self.config.log_buffer_bytes.0 as usize).unwrap();
        let shard = recover(&options, buffer, &host.disk).unwrap();
        let options = NodeOptions {
            me: node,
            shard: ShardId(0),
            config: self.config.clone(),
            incarnation: Incarnation(host.incarnation),
            pid: 1,
            started_ms: 0,
            secret: [0; 32],
        };
        host.node = Some(Node::new(options, shard));
        self.open_client(node);
        let update = self.update(0, RequestStatus::None);
        self.deliver(node, Event::Update(update));
    }

    /// Connects the RESP client, anew if it was closed.
    pub fn open_client(&mut self, node: NodeId) {
        self.hosts[node.0 as usize].client_closed = false;
        let (peer, local) = ("127.0.0.1:1".into(), "127.0.0.1:7400".into());
        self.deliver(node, Event::ClientOpened { conn: CLIENT, face: Face::AnyKey, peer, local });
    }

    /// Kills a node: all in memory is gone, writes in flight never happen, its links close.
    pub fn kill(&mut self, node: NodeId) {
        let place = node.0 as usize;
        self.hosts[place].node = None;
        self.queue.retain(|_, delivery| match delivery {
            Delivery::Disk(host, ..) | Delivery::DiskFailed(host, _) | Delivery::Read(host, ..) => {
                *host != place
            }
            Delivery::Bytes(host, ..)
            | Delivery::Closed(host, _)
            | Delivery::Job(host, ..)
            | Delivery::Turn(host)
            | Delivery::Stop(host) => *host != place,
        });
        for (_, end) in std::mem::take(&mut self.hosts[place].links) {
            if let Some((peer, link)) = end.peer {
                self.later(LATENCY, Delivery::Closed(peer, link));
            }
        }
    }

    /// Decides a configuration and tells every running node.
    pub fn decide(&mut self, change: impl FnOnce(&mut Configuration)) {
        self.configuration.version.0 += 1;
        change(&mut self.configuration);
        self.publish(None, RequestStatus::None);
    }

    /// PROMOTE as the warden of `node` would have it decided: the old leader leaves the in-sync set.
    pub fn promote(&mut self, node: NodeId) {
        let incarnation = Incarnation(self.hosts[node.0 as usize].incarnation);
        self.decide(|c| {
            if c.leader != node {
                c.in_sync = c.in_sync.without(c.leader);
            }
            c.epoch.0 += 1;
            c.leader = node;
            c.leader_incarnation = incarnation;
            c.why = Why::LeaderDied;
        });
    }

    /// Asks a leader to hand over to its best follower.
    pub fn hand_off(&mut self, node: NodeId) {
        self.deliver(node, Event::HandoffWanted(None));
    }

    pub fn node(&self, node: NodeId) -> &Node {
        self.hosts[node.0 as usize].node.as_ref().expect("the node is up")
    }

    /// The engine's cursors: (tail, durable, committed).
    pub fn cursors(&self, node: NodeId) -> (u64, u64, u64) {
        let shard: &Shard = self.node(node).engine();
        (shard.tail().0, shard.durable().0, shard.committed().0)
    }

    /// Sends a command and runs the world until its reply is there; panics after a virtual second.
    pub fn ask(&mut self, node: NodeId, command: &str) -> String {
        self.send(node, command);
        self.run_until("a reply", |world| !world.hosts[node.0 as usize].replies.is_empty());
        self.take_replies(node)
    }

    pub fn send(&mut self, node: NodeId, command: &str) {
        self.send_bytes(node, format!("{command}\r\n").as_bytes());
    }

    pub fn send_bytes(&mut self, node: NodeId, bytes: &[u8]) {
        self.deliver(node, Event::ClientBytes { conn: CLIENT, bytes });
    }

    /// Has the jobs done that were kept.
    pub fn do_jobs(&mut self) {
        for (host, ticket, job) in std::mem::take(&mut self.jobs) {
            self.later(JOB, Delivery::Job(host, ticket, job));
        }
    }

    /// Opens an HTTP connection; an earlier one stays as it is, and nobody listens to it.
    pub fn open_http(&mut self, node: NodeId) -> ConnId {
        self.sequence += 1;
        let conn = ConnId(CLIENT.0 + self.sequence);
        let host = &mut self.hosts[node.0 as usize];
        (host.http, host.http_closed) = (conn, false);
        host.responses.clear();
        let (peer, local) = ("127.0.0.1:1".into(), "127.0.0.1:7480".into());
        self.deliver(node, Event::ClientOpened { conn, face: Face::Http, peer, local });
        conn
    }

    /// Listens to an earlier HTTP connection again.
    pub fn listen_http(&mut self, node: NodeId, conn: ConnId) {
        let host = &mut self.hosts[node.0 as usize];
        (host.http, host.http_closed) = (conn, false);
    }

    /// Sends bytes on the HTTP connection.
    pub fn send_http(&mut self, node: NodeId, bytes: &[u8]) {
        let conn = self.hosts[node.0 as usize].http;
        self.deliver(node, Event::ClientBytes { conn, bytes });
    }

    /// The HTTP client is gone.
    pub fn close_http(&mut self, node: NodeId) {
        let conn = self.hosts[node.0 as usize].http;
        self.deliver(node, Event::ClientClosed { conn });
    }

    /// HTTP clients read what was on its way to them.
    pub fn read_http(&mut self, node: NodeId) {
        let host = &mut self.hosts[node.0 as usize];
        for (conn, closing) in std::mem::take(&mut host.unsent) {
            if closing {
                self.hosts[node.0 as usize].http_closed |= conn == self.hosts[node.0 as usize].http;
            } else {
                self.deliver(node, Event::ClientSent { conn });
            }
        }
    }

    /// Sends a request: a line such as `GET /path`, header lines, a body.
    pub fn request_http(&mut self, node: NodeId, line: &str, headers: &str, body: &str) {
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.send_http(node, request.as_bytes());
    }

    /// Sends a request on a connection of its own and runs the world until it is answered.
    pub fn ask_http(&mut self, node: NodeId, line: &str, headers: &str, body: &str) -> String {
        self.open_http(node);
        self.request_http(node, line, headers, body);
        self.run_until("a response", |world| !world.hosts[node.0 as usize].responses.is_empty());
        self.take_responses(node)
    }

    pub fn take_responses(&mut self, node: NodeId) -> String {
        String::from_utf8(std::mem::take(&mut self.hosts[node.0 as usize].responses)).unwrap()
    }

    pub fn take_replies(&mut self, node: NodeId) -> String {
        String::from_utf8(std::mem::take(&mut self.hosts[node.0 as usize].replies)).unwrap()
    }

    /// Runs until the condition holds; panics after a virtual second without it.
    pub fn run_until(&mut self, what: &str, mut condition: impl FnMut(&World) -> bool) {
        let limit = self.now + 1_000_000_000;
        while !condition(self) {
            assert!(self.now < limit, "waited in vain for {what}");
            self.step();
        }
    }

    /// Runs for this many virtual milliseconds.
    pub fn run_ms(&mut self, ms: u64) {
        let limit = self.now + ms * 1_000_000;
        while self.now < limit {
            self.step();
        }
    }

    fn step(&mut self) {
        let Some(((at, _), delivery)) = self.queue.pop_first() else { panic!("nothing will ever happen") };
        self.now = self.now.max(at);
        match delivery {
            Delivery::Disk(host, op, stages) => {
                let done = self.hosts[host].disk.finish(&op, &stages);
                if let DiskWork::WriteBlocks { segment, offset, bytes } = &op.work {
                    let written = |at: u64| (*offset..*offset + bytes.len() as u64).contains(&at);
                    self.hosts[host].unreadable.retain(|(other, at)| other != segment || !written(*at));
                }
                self.deliver(NodeId(host as u8), Event::Disk(done));
            }
            Delivery::DiskFailed(host, done) => self.deliver(NodeId(host as u8), Event::Disk(done)),
            Delivery::Read(host, ticket, spec) => {
                let bytes = self.hosts[host].disk.read_blocks(spec);
                let blocks = (spec.offset..spec.offset + u64::from(spec.len)).step_by(BLOCK as usize);
                let bad = |at| self.hosts[host].unreadable.contains(&(spec.segment, at));
                let whole = !blocks.into_iter().any(bad);
                self.deliver(NodeId(host as u8), Event::ReadDone { ticket, bytes: whole.then_some(&bytes) });
            }
            Delivery::Bytes(host, link, bytes) => {
                if let Some(end) = self.hosts[host].links.get_mut(&link) {
                    end.inbox.extend(bytes);
                    self.receive(host, link);
                }
            }
            Delivery::Closed(host, link) => {
                if self.hosts[host].links.remove(&link).is_some() && self.hosts[host].node.is_some() {
                    self.deliver(NodeId(host as u8), Event::LinkClosed { link });
                }
            }
            Delivery::Job(host, ticket, job) => {
                self.sequence += 1;
                let salt = [self.sequence as u8; password::SALT_BYTES];
                let done = Box::new(control::compute(job, &self.config, &mut || salt));
                self.deliver(NodeId(host as u8), Event::ControlDone { ticket, done });
            }
            Delivery::Turn(host) => self.turn(host, Vec::new()),
            Delivery::Stop(host) => self.deliver(NodeId(host as u8), Event::StopWanted),
        }
    }

    fn later(&mut self, delay: u64, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), delivery);
    }

    fn deliver(&mut self, node: NodeId, event: Event<'_>) {
        let host = node.0 as usize;
        let mut actions = Vec::new();
        let now = Nanos(self.now);
        let Some(node) = &mut self.hosts[host].node else { return };
        node.handle(now, event, &mut actions);
        self.turn(host, actions);
    }

    fn turn(&mut self, host: usize, mut actions: Vec<Action>) {
        let now = Nanos(self.now);
        let lease = Lease { epoch: self.configuration.epoch, until: Nanos(self.hosts[host].lease_until) };
        let Some(node) = &mut self.hosts[host].node else { return };
        node.finish_turn(now, self.now / 1_000_000, lease, &mut actions);
        let due = node.deadline().0.clamp(self.now + 1000, self.now + IDLE_TURN);
        self.queue.retain(|_, delivery| !matches!(delivery, Delivery::Turn(other) if *other == host));
        self.later(due - self.now, Delivery::Turn(host));
        for action in actions {
            self.carry_out(host, action);
        }
    }

    fn carry_out(&mut self, host: usize, action: Action) {
        match action {
            Action::ClientSend { conn, bytes } => {
                if conn == CLIENT {
                    self.hosts[host].replies.extend_from_slice(&bytes);
                } else if conn == self.hosts[host].http {
                    self.hosts[host].responses.extend_from_slice(&bytes);
                }
                if conn != CLIENT && self.hosts[host].nobody_reads {
                    assert_eq!(self.hosts[host].unsent.insert(conn, false), None, "one send at a time");
                    return;
                }
                self.deliver(NodeId(host as u8), Event::ClientSent { conn });
            }
            Action::ClientClose { conn: CLIENT } => self.hosts[host].client_closed = true,
            Action::ClientClose { conn } => match self.hosts[host].unsent.get_mut(&conn) {
                Some(closing) => *closing = true,
                None => self.hosts[host].http_closed |= conn == self.hosts[host].http,
            },
            Action::ClientReset { conn: CLIENT } => self.hosts[host].client_closed = true,
            Action::ClientReset { conn } => {
                self.hosts[host].unsent.remove(&conn);
                self.hosts[host].http_closed |= conn == self.hosts[host].http;
            }
            Action::ClientPause { conn, paused } if conn == CLIENT => {
                self.hosts[host].client_paused = paused;
            }
            Action::Control { job, .. } if matches!(*job, Job::Status | Job::HandOver { .. }) => {}
            Action::Control { ticket, job } if self.works => {
                self.later(JOB, Delivery::Job(host, ticket, *job));
            }
            Action::Control { ticket, job } => self.jobs.push((host, ticket, *job)),
            Action::ClientPause { .. } | Action::Mail { .. } | Action::Stopped => {}
            Action::Warn { text } => self.hosts[host].warnings.push(text),
            Action::StopNode => self.later(0, Delivery::Stop(host)),
            Action::LinkConnect { link, to } => self.connect(host, link, to.0 as usize),
            Action::LinkReceive { link, into } => {
                if let Some(end) = self.hosts[host].links.get_mut(&link) {
                    end.wanted = Some(into);
                    self.receive(host, link);
                }
            }
            Action::LinkSend { link, bytes } => self.transmit(host, link, bytes),
            Action::LinkSendLog { link, header, range } => {
                let Some(node) = &self.hosts[host].node else { return };
                let bytes = [header.as_slice(), node.engine().bytes(range)].concat();
                self.transmit(host, link, bytes);
                self.deliver(NodeId(host as u8), Event::LinkSentLog { link, range });
            }
            Action::LinkClose { link } => {
                if let Some(end) = self.hosts[host].links.get_mut(&link) {
                    if let Some((peer, peer_link)) = end.peer.take() {
                        self.later(LATENCY, Delivery::Closed(peer, peer_link));
                    }
                    self.later(0, Delivery::Closed(host, link));
                }
            }
            Action::Disk(op) => self.disk(host, op),
            Action::Read { ticket, spec } => {
                let delay = self.hosts[host].disk_delay;
                self.later(delay, Delivery::Read(host, ticket, spec));
            }
            Action::Request(request) => self.request(NodeId(host as u8), request),
            Action::Fail { reason } => self.hosts[host].failed = Some(reason),
        }
    }

    fn disk(&mut self, host: usize, op: DiskCommand) {
        let delay = self.hosts[host].disk_delay;
        let Some(node) = &self.hosts[host].node else { return };
        let broken = self.hosts[host].disk_broken && matches!(op.work, DiskWork::WriteLog { .. });
        let delivery = if broken {
            let result = Err(DiskError::Failed { errno: 5 });
            Delivery::DiskFailed(host, DiskDone { ticket: op.ticket, result })
        } else {
            let stages = self.hosts[host].disk.stages(&op, node.engine());
            Delivery::Disk(host, op, stages)
        };
        self.later(delay, delivery);
    }

    fn connect(&mut self, host: usize, link: LinkId, to: usize) {
        if self.hosts[to].node.is_none() {
            self.hosts[host].links.insert(link, End::default());
            return self.later(LATENCY, Delivery::Closed(host, link));
        }
        self.hosts[to].next_link += 1;
        let accepted = LinkId(1 << 32 | self.hosts[to].next_link);
        self.hosts[host].links.insert(link, End { peer: Some((to, accepted)), ..End::default() });
        let unannounced = End { peer: Some((host, link)), unannounced: true, ..End::default() };
        self.hosts[to].links.insert(accepted, unannounced);
        self.deliver(NodeId(host as u8), Event::LinkConnected { link });
    }

    fn transmit(&mut self, host: usize, link: LinkId, bytes: Vec<u8>) {
        let Some(end) = self.hosts[host].links.get(&link) else { return };
        if let Some((peer, peer_link)) = end.peer {
            self.later(LATENCY, Delivery::Bytes(peer, peer_link, bytes));
        }
    }

    fn receive(&mut self, host: usize, link: LinkId) {
        let Some(end) = self.hosts[host].links.get_mut(&link) else { return };
        let header = net::replication::message::HEADER_BYTES;
        if end.unannounced {
            if end.inbox.len() >= header {
                end.unannounced = false;
                let bytes: Vec<u8> = end.inbox.drain(..header).collect();
                self.deliver(NodeId(host as u8), Event::LinkAccepted { link, header: &bytes });
            }
            return;
        }
        match end.wanted {
            Some(Landing::Memory(len)) if end.inbox.len() >= len => {
                end.wanted = None;
                let bytes: Vec<u8> = end.inbox.drain(..len).collect();
                self.deliver(NodeId(host as u8), Event::LinkBytes { link, bytes: &bytes });
            }
            Some(Landing::Log(range)) if end.inbox.len() >= range.len => {
                end.wanted = None;
                let bytes: Vec<u8> = end.inbox.drain(..range.len).collect();
                if let Some(node) = &mut self.hosts[host].node {
                    node.fill_landing(range, &bytes);
                }
                self.deliver(NodeId(host as u8), Event::LinkLanded { link });
            }
            _ => {}
        }
    }

    fn request(&mut self, from: NodeId, request: ShardRequest) {
        self.asked.push((from, request));
        if !self.decides {
            return;
        }
        if request.on_top_of != self.configuration {
            return self.publish(Some((from, request.id)), RequestStatus::Refused);
        }
        let configuration = &mut self.configuration;
        configuration.version.0 += 1;
        match request.change {
            Change::Evict(lost) => configuration.in_sync.0 &= !lost.0,
            Change::Admit(learner) => configuration.in_sync = configuration.in_sync.with(learner),
            Change::Handoff(to) => {
                configuration.epoch.0 += 1;
                configuration.leader = to;
                configuration.leader_incarnation = Incarnation(self.hosts[to.0 as usize].incarnation);
            }
            Change::Promote(..) => unreachable!("a node does not ask for its own promotion"),
        }
        self.publish(Some((from, request.id)), RequestStatus::Decided);
    }

    fn update(&self, request: u64, outcome: RequestStatus) -> ShardUpdate {
        ShardUpdate { configuration: self.configuration, request, outcome, leader_lost: self.leader_lost }
    }

    fn publish(&mut self, answer: Option<(NodeId, u64)>, outcome: RequestStatus) {
        for host in 0..self.hosts.len() {
            let node = NodeId(host as u8);
            let update = match answer {
                Some((to, id)) if to == node => self.update(id, outcome),
                _ => self.update(0, RequestStatus::None),
            };
            self.deliver(node, Event::Update(update));
        }
    }
}
