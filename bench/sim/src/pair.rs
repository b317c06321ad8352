//! Two nodes for stories: the real node and engine in virtual shells, links of one latency and a register that
//! decides at once, under one virtual clock. The story says who is up and what is delayed.

use crate::host_config::HostConfig;
use crate::shell::device::Device;
use crate::shell::input::Input;
use crate::shell::open;
use crate::shell::receiver::Receiver;
use agency::configuration::{Change, Configuration, Why};
use agency::ids::{Incarnation, Nanos, NodeId, NodeSet, Version};
use agency::shard::{RequestStatus, ShardRequest, ShardUpdate};
use agency::view::{ClusterView, NodeView, ShardView};
use engine::disk::{DiskCommand, DiskWork, ReadSpec};
use engine::ids::{GroupId, Lsn, ShardId};
use engine::shard::Shard;
use engine::testing::MemoryDisk;
use faces::auth::password::{self, Secret};
use node::Node;
use node::events::{Command, ConnId, Face, Lease, LinkId, Part};
use node::job::{Job, Queue};
use node::mail::Mail;
use node::replication::message::{self, Hello, Message, Sender};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const A: NodeId = NodeId(0);
pub const B: NodeId = NodeId(1);
const CLIENT: ConnId = ConnId(1 << 40);
const GROUP: GroupId = GroupId(0xba70);
const LATENCY: u64 = 20_000;
const IDLE_TURN: u64 = 5_000_000;
/// How long the control threads take for a job, in ns.
const JOB: u64 = 100_000;
/// The password of `root` in a pair with users.
pub const PASSWORD: &str = "swordfish";

/// One end of a connection between two nodes.
#[derive(Default)]
struct LinkEnd {
    peer: Option<(usize, LinkId)>,
    receiver: Receiver,
    /// The accepting side has not read the first header yet.
    unannounced: bool,
}

/// What comes to a host.
enum Delivery {
    Flight(u64),
    Read(u64, ReadSpec),
    Bytes(LinkId, Vec<u8>),
    Closed(LinkId),
    Job(u64, Job),
    Turn,
    Stop,
}

/// One of the two: its process, its disk, and what its clients were told.
pub struct Half {
    pub node: Option<Node>,
    pub disk: Device,
    pub incarnation: u64,
    pub replies: Vec<u8>,
    pub client_closed: bool,
    pub client_paused: bool,
    /// What its other RESP clients were told, and which of them it closed or cut off.
    pub told: BTreeMap<ConnId, Vec<u8>>,
    pub ended: Vec<ConnId>,
    /// RESP clients that do not read.
    pub not_reading: Vec<ConnId>,
    /// Clients from which it does not receive, and those that closed their side.
    pub paused: Vec<ConnId>,
    pub half_closed: Vec<ConnId>,
    /// Turns so far, and the most bytes that one of them appended to the log.
    pub turns: u64,
    pub most_appended: u64,
    /// The largest part that was copied for a client, in bytes.
    pub largest_copy: usize,
    pub warnings: Vec<String>,
    /// What its newest HTTP client was sent.
    pub responses: Vec<u8>,
    pub http_closed: bool,
    http: ConnId,
    /// Its HTTP clients read nothing: what is sent to them stays where it is.
    pub nobody_reads: bool,
    /// HTTP connections whose bytes are not out; `true`: to be closed then.
    unsent: BTreeMap<ConnId, bool>,
    pub failed: Option<node::failure::Failure>,
    /// It was asked to stop in order, as its warden tells; and it has.
    pub stopping: bool,
    pub stopped: bool,
    /// Disk operations take this long, in ns.
    pub disk_delay: u64,
    /// Log writes fail from now on.
    pub disk_broken: bool,
    /// Until when the lease holds, in ns.
    pub lease_until: u64,
    links: BTreeMap<LinkId, LinkEnd>,
    next_link: u64,
}

pub struct Pair {
    pub now: u64,
    pub hosts: Vec<Half>,
    pub configuration: Configuration,
    /// The wardens hold the leader for lost; told with the next configuration.
    pub leader_lost: bool,
    /// Requests are decided as they come; else they stay pending.
    pub decides: bool,
    pub asked: Vec<(NodeId, ShardRequest)>,
    /// Jobs are done as they come; else they are kept here.
    pub works: bool,
    pub jobs: Vec<(usize, u64, Job)>,
    /// What was said to other shards of the node, and to itself: the story plays them.
    pub mails: Vec<(usize, ShardId, Box<Mail>)>,
    /// What is to come, when, and to which host.
    queue: BTreeMap<(u64, u64), (usize, Delivery)>,
    sequence: u64,
    config: Arc<HostConfig>,
}

impl Pair {
    /// Two nodes, `A` the leader, both in sync, both up.
    pub fn up() -> Pair {
        Pair::configured(|_| ())
    }

    /// The same, and who comes is asked for a password; `root` has [`PASSWORD`].
    pub fn with_users() -> Pair {
        let mut pair = Pair::configured(|config| {
            config.auth = true;
            config.root_password_hash = Some(password::hash(&Secret(PASSWORD.to_owned()), &[1; 16]));
        });
        let root = format!("AUTH {PASSWORD}");
        pair.run_until("the first user", |pair| pair.cursors(A).2 > 0);
        assert_eq!(pair.ask(A, &root), "+OK\r\n");
        pair
    }

    /// The same, set up otherwise.
    pub fn configured(change: impl FnOnce(&mut HostConfig)) -> Pair {
        let mut config = open::config_of_two(GROUP);
        config.segment_bytes = 256 << 10;
        config.max_value_bytes = 64 << 10;
        config.log_buffer_bytes = 512 << 10;
        // Values that were just read have often gone again when the next one comes from the disk.
        config.cache_bytes = 16 << 10;
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
        let host = || Half {
            node: None,
            disk: Device::new(MemoryDisk::new(config.segment_bytes)),
            incarnation: 0,
            replies: Vec::new(),
            client_closed: false,
            client_paused: false,
            told: BTreeMap::new(),
            ended: Vec::new(),
            not_reading: Vec::new(),
            paused: Vec::new(),
            half_closed: Vec::new(),
            turns: 0,
            most_appended: 0,
            largest_copy: 0,
            warnings: Vec::new(),
            responses: Vec::new(),
            http_closed: true,
            http: ConnId(0),
            nobody_reads: false,
            unsent: BTreeMap::new(),
            failed: None,
            stopping: false,
            stopped: false,
            disk_delay: 50_000,
            disk_broken: false,
            lease_until: u64::MAX,
            links: BTreeMap::new(),
            next_link: 0,
        };
        let mut pair = Pair {
            now: 1_000_000,
            hosts: vec![host(), host()],
            configuration,
            leader_lost: false,
            decides: true,
            asked: Vec::new(),
            works: true,
            jobs: Vec::new(),
            mails: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            config: Arc::new(config),
        };
        pair.start(A);
        pair.start(B);
        pair
    }

    /// Starts a node's next incarnation over what its disk holds.
    pub fn start(&mut self, node: NodeId) {
        let host = &mut self.hosts[node.0 as usize];
        host.incarnation += 1;
        (host.stopping, host.stopped) = (false, false);
        host.client_closed = false;
        host.http_closed = true;
        host.unsent.clear();
        host.paused.clear();
        host.half_closed.clear();
        host.replies.clear();
        let engine = open::engine(&self.config, ShardId(0), &host.disk.memory).expect("a disk of our own");
        let incarnation = Incarnation(host.incarnation);
        host.node = Some(open::node(&self.config, node, incarnation, 0, engine));
        self.open_client(node);
        let update = self.update(0, RequestStatus::None);
        self.deliver(node, Input::Update(update));
    }

    /// Connects the RESP client, anew if it was closed.
    pub fn open_client(&mut self, node: NodeId) {
        self.hosts[node.0 as usize].client_closed = false;
        self.deliver(node, Input::ClientOpened { conn: CLIENT, face: Face::AnyKey, port: 7400 });
    }

    /// Kills a node: all in memory is gone, writes in flight never happen, its links close.
    pub fn kill(&mut self, node: NodeId) {
        let place = node.0 as usize;
        self.hosts[place].node = None;
        self.queue.retain(|_, (host, _)| *host != place);
        drop(self.hosts[place].disk.take_all());
        for (_, end) in std::mem::take(&mut self.hosts[place].links) {
            if let Some((peer, link)) = end.peer {
                self.later(LATENCY, peer, Delivery::Closed(link));
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

    /// The wardens tell everybody that these nodes run, and that the others do not.
    pub fn tell_who_is_up(&mut self, up: &[NodeId]) {
        let node = |id: NodeId| NodeView {
            id,
            pid: 1,
            warden_pid: 1,
            incarnation: Incarnation(self.hosts[id.0 as usize].incarnation),
            up: up.contains(&id),
            suspect: false,
            stopping: self.hosts[id.0 as usize].stopping,
            progress: Vec::new(),
        };
        let view = Arc::new(ClusterView { nodes: vec![node(A), node(B)], ..ClusterView::default() });
        for to in [A, B] {
            self.deliver(to, Input::View(Arc::clone(&view)));
        }
    }

    /// The warden of `to` tells it that another node leads the group by now, and lives; the shard is told nothing.
    pub fn tell_who_leads(&mut self, to: NodeId, leader: NodeId) {
        let mut configuration = self.configuration;
        configuration.version.0 += 1;
        configuration.epoch.0 += 1;
        configuration.leader = leader;
        let shard = ShardView { configuration: Some(configuration), leader_lost: false };
        let view = ClusterView { shards: vec![shard], ..ClusterView::default() };
        self.deliver(to, Input::View(Arc::new(view)));
    }

    /// Asks a node to stop in order; its warden tells everybody.
    pub fn stop(&mut self, node: NodeId) {
        self.hosts[node.0 as usize].stopping = true;
        self.deliver(node, Input::Stop);
        self.tell_who_is_up(&[A, B]);
    }

    /// Asks a leader to hand over to its best follower.
    pub fn hand_off(&mut self, node: NodeId) {
        self.deliver(node, Input::Handoff(None));
    }

    /// Another shard of the node, or the node's own, says something to it.
    pub fn deliver_mail(&mut self, node: NodeId, mail: Mail) {
        self.deliver(node, Input::Mail(Box::new(mail)));
    }

    /// A person has a node lead with what it has.
    pub fn accept_loss(&mut self, node: NodeId) {
        self.deliver(node, Input::Promote);
    }

    pub fn node(&self, node: NodeId) -> &Node {
        self.hosts[node.0 as usize].node.as_ref().expect("the node is up")
    }

    /// A member says hello to a leader, and then nothing more: with `end` as the end of its log, which is else the
    /// leader's own.
    pub fn forge_hello(&mut self, from: NodeId, to: NodeId, end: Lsn) {
        let shard = self.node(to).engine();
        let body = message::encode_history(shard.history());
        let hello = Hello {
            end,
            durable: end,
            last_epoch: shard.last_epoch(),
            damaged: false,
            history_bytes: body.len(),
        };
        let sender = Sender { shard: ShardId(0), from: from.0, group: message::group_mark(GROUP) };
        let header = sender.encode(shard.last_epoch(), Message::Hello(hello));
        self.sequence += 1;
        let link = LinkId(1 << 48 | self.sequence);
        self.deliver(to, Input::LinkAccepted { link, header });
        self.deliver(to, Input::LinkBytes { link, bytes: body });
    }

    /// The engine's cursors: (tail, durable, committed).
    pub fn cursors(&self, node: NodeId) -> (u64, u64, u64) {
        let shard: &Shard = self.node(node).engine();
        (shard.tail().0, shard.durable().0, shard.committed().0)
    }

    /// Sends a command and runs the pair until its reply is there; panics after a virtual second.
    pub fn ask(&mut self, node: NodeId, command: &str) -> String {
        self.send(node, command);
        self.run_until("a reply", |pair| !pair.hosts[node.0 as usize].replies.is_empty());
        self.take_replies(node)
    }

    pub fn send(&mut self, node: NodeId, command: &str) {
        self.send_bytes(node, format!("{command}\r\n").as_bytes());
    }

    pub fn send_bytes(&mut self, node: NodeId, bytes: &[u8]) {
        self.deliver(node, Input::ClientBytes { conn: CLIENT, bytes: bytes.to_vec() });
    }

    /// Opens another RESP connection.
    pub fn open_resp(&mut self, node: NodeId) -> ConnId {
        self.sequence += 1;
        let conn = ConnId(CLIENT.0 + self.sequence);
        self.hosts[node.0 as usize].told.insert(conn, Vec::new());
        self.deliver(node, Input::ClientOpened { conn, face: Face::AnyKey, port: 7400 });
        conn
    }

    /// Sends bytes on another RESP connection.
    pub fn send_on(&mut self, node: NodeId, conn: ConnId, bytes: &[u8]) {
        self.deliver(node, Input::ClientBytes { conn, bytes: bytes.to_vec() });
    }

    /// The same, without a turn after them: as if much came at once.
    pub fn send_with_others(&mut self, node: NodeId, conns: &[ConnId], bytes: &[u8]) {
        let host = node.0 as usize;
        let mut actions = Vec::new();
        let now = Nanos(self.now);
        let Some(core) = &mut self.hosts[host].node else { return };
        for conn in conns {
            Input::ClientBytes { conn: *conn, bytes: bytes.to_vec() }.hand_to(core, now, &mut actions);
        }
        self.turn(host, actions);
    }

    /// What another RESP client was told.
    pub fn take_told(&mut self, node: NodeId, conn: ConnId) -> Vec<u8> {
        self.hosts[node.0 as usize].told.get_mut(&conn).map(std::mem::take).unwrap_or_default()
    }

    /// The client of a connection has closed its side: the node is told while it does not receive from it.
    pub fn half_close(&mut self, node: NodeId, conn: ConnId) {
        let me = &mut self.hosts[usize::from(node.0)];
        me.half_closed.push(conn);
        if me.paused.contains(&conn) {
            self.deliver(node, Input::ClientHalfClosed { conn });
        }
    }

    /// A client that did not read reads everything.
    pub fn reads_again(&mut self, node: NodeId, conn: ConnId) {
        self.hosts[node.0 as usize].not_reading.retain(|other| *other != conn);
        self.deliver(node, Input::ClientSent { conn });
    }

    /// Has the jobs done that were kept.
    pub fn do_jobs(&mut self) {
        for (host, ticket, job) in std::mem::take(&mut self.jobs) {
            self.later(JOB, host, Delivery::Job(ticket, job));
        }
    }

    /// Opens an HTTP connection; an earlier one stays as it is, and nobody listens to it.
    pub fn open_http(&mut self, node: NodeId) -> ConnId {
        self.sequence += 1;
        let conn = ConnId(CLIENT.0 + self.sequence);
        let host = &mut self.hosts[node.0 as usize];
        (host.http, host.http_closed) = (conn, false);
        host.responses.clear();
        self.deliver(node, Input::ClientOpened { conn, face: Face::Http, port: 7480 });
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
        self.deliver(node, Input::ClientBytes { conn, bytes: bytes.to_vec() });
    }

    /// The HTTP client is gone.
    pub fn close_http(&mut self, node: NodeId) {
        let conn = self.hosts[node.0 as usize].http;
        self.deliver(node, Input::ClientClosed { conn });
    }

    /// HTTP clients read what was on its way to them.
    pub fn read_http(&mut self, node: NodeId) {
        let host = &mut self.hosts[node.0 as usize];
        for (conn, closing) in std::mem::take(&mut host.unsent) {
            if closing {
                self.hosts[node.0 as usize].http_closed |= conn == self.hosts[node.0 as usize].http;
            } else {
                self.deliver(node, Input::ClientSent { conn });
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

    /// Sends a request on a connection of its own and runs the pair until it is answered.
    pub fn ask_http(&mut self, node: NodeId, line: &str, headers: &str, body: &str) -> String {
        self.open_http(node);
        self.request_http(node, line, headers, body);
        self.run_until("a response", |pair| !pair.hosts[node.0 as usize].responses.is_empty());
        self.take_responses(node)
    }

    pub fn take_responses(&mut self, node: NodeId) -> String {
        String::from_utf8(std::mem::take(&mut self.hosts[node.0 as usize].responses)).unwrap()
    }

    pub fn take_replies(&mut self, node: NodeId) -> String {
        String::from_utf8(std::mem::take(&mut self.hosts[node.0 as usize].replies)).unwrap()
    }

    /// Runs until the condition holds; panics after a virtual second without it.
    pub fn run_until(&mut self, what: &str, mut condition: impl FnMut(&Pair) -> bool) {
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
        let Some(((at, _), (host, delivery))) = self.queue.pop_first() else {
            panic!("nothing will ever happen")
        };
        self.now = self.now.max(at);
        let node = NodeId(host as u8);
        let me = &mut self.hosts[host];
        match delivery {
            Delivery::Flight(flight) => {
                if let Some(done) = me.disk.finish(flight) {
                    self.deliver(node, Input::Disk(done));
                }
            }
            Delivery::Read(ticket, spec) => {
                let bytes = me.disk.read(spec);
                self.deliver(node, Input::ReadDone { ticket, bytes });
            }
            Delivery::Bytes(link, bytes) => {
                if let Some(end) = me.links.get_mut(&link) {
                    end.receiver.arrive(bytes);
                    self.receive(host, link);
                }
            }
            Delivery::Closed(link) => {
                if me.links.remove(&link).is_some() && me.node.is_some() {
                    self.deliver(node, Input::LinkClosed { link });
                }
            }
            Delivery::Job(ticket, job) => {
                self.sequence += 1;
                let salt = [self.sequence as u8; password::SALT_BYTES];
                let done = Box::new(job.compute(&self.config.settings, &mut || salt));
                self.deliver(node, Input::ControlDone { ticket, done });
            }
            Delivery::Turn => self.turn(host, Vec::new()),
            Delivery::Stop => self.deliver(node, Input::Stop),
        }
    }

    fn later(&mut self, delay: u64, host: usize, delivery: Delivery) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), (host, delivery));
    }

    fn deliver(&mut self, node: NodeId, input: Input) {
        let host = node.0 as usize;
        let mut actions = Vec::new();
        let now = Nanos(self.now);
        let Some(node) = &mut self.hosts[host].node else { return };
        input.hand_to(node, now, &mut actions);
        self.turn(host, actions);
    }

    fn turn(&mut self, host: usize, mut actions: Vec<Command>) {
        let now = Nanos(self.now);
        let lease = Lease { epoch: self.configuration.epoch, until: Nanos(self.hosts[host].lease_until) };
        let Some(node) = &mut self.hosts[host].node else { return };
        let tail = node.engine().tail().0;
        node.finish_turn(now, self.now / 1_000_000, lease, &mut actions);
        let appended = node.engine().tail().0 - tail.min(node.engine().tail().0);
        let due = node.deadline().0.clamp(self.now + 1000, self.now + IDLE_TURN);
        self.queue.retain(|_, (of, delivery)| *of != host || !matches!(delivery, Delivery::Turn));
        self.later(due - self.now, host, Delivery::Turn);
        let me = &mut self.hosts[host];
        me.turns += 1;
        me.most_appended = me.most_appended.max(appended);
        for action in actions {
            self.carry_out(host, action);
        }
    }

    fn carry_out(&mut self, host: usize, action: Command) {
        match action {
            Command::ClientSend { conn, parts } => {
                let bytes = Part::join(&parts);
                let me = &mut self.hosts[host];
                let copied = parts.iter().filter(|part| matches!(part, Part::Owned(_)));
                let largest = copied.map(|part| part.as_slice().len()).max().unwrap_or(0);
                me.largest_copy = me.largest_copy.max(largest);
                if let Some(told) = me.told.get_mut(&conn) {
                    told.extend_from_slice(&bytes);
                    if !me.not_reading.contains(&conn) {
                        self.deliver(NodeId(host as u8), Input::ClientSent { conn });
                    }
                    return;
                }
                if conn == CLIENT {
                    self.hosts[host].replies.extend_from_slice(&bytes);
                } else if conn == self.hosts[host].http {
                    self.hosts[host].responses.extend_from_slice(&bytes);
                }
                if conn != CLIENT && self.hosts[host].nobody_reads {
                    assert_eq!(self.hosts[host].unsent.insert(conn, false), None, "one send at a time");
                    return;
                }
                self.deliver(NodeId(host as u8), Input::ClientSent { conn });
            }
            Command::ClientClose { conn } | Command::ClientReset { conn }
                if self.hosts[host].told.contains_key(&conn) =>
            {
                self.hosts[host].ended.push(conn);
            }
            Command::ClientClose { conn: CLIENT } => self.hosts[host].client_closed = true,
            Command::ClientClose { conn } => match self.hosts[host].unsent.get_mut(&conn) {
                Some(closing) => *closing = true,
                None => self.hosts[host].http_closed |= conn == self.hosts[host].http,
            },
            Command::ClientReset { conn: CLIENT } => self.hosts[host].client_closed = true,
            Command::ClientReset { conn } => {
                self.hosts[host].unsent.remove(&conn);
                self.hosts[host].http_closed |= conn == self.hosts[host].http;
            }
            Command::ClientPause { conn, paused } => self.pause(host, conn, paused),
            Command::Control { job, .. } if matches!(job.queue(), Queue::Quick) => {}
            Command::Control { ticket, job } if self.works => {
                self.later(JOB, host, Delivery::Job(ticket, *job));
            }
            Command::Control { ticket, job } => self.jobs.push((host, ticket, *job)),
            Command::Stopped => self.hosts[host].stopped = true,
            Command::Mail { to, mail } => self.mails.push((host, to, mail)),
            Command::Warn { text } => self.hosts[host].warnings.push(text),
            Command::StopNode => self.later(0, host, Delivery::Stop),
            Command::LinkConnect { link, to } => self.connect(host, link, to.0 as usize),
            Command::LinkReceive { link, into } => {
                if let Some(end) = self.hosts[host].links.get_mut(&link) {
                    end.receiver.want(into);
                    self.receive(host, link);
                }
            }
            Command::LinkSend { link, bytes } => self.transmit(host, link, bytes),
            Command::LinkSendLog { link, header, range } => {
                let Some(node) = &self.hosts[host].node else { return };
                let bytes = [header.as_slice(), node.engine().bytes(range)].concat();
                self.transmit(host, link, bytes);
                self.deliver(NodeId(host as u8), Input::LinkSentLog { link, range });
            }
            Command::LinkClose { link } => {
                if let Some(end) = self.hosts[host].links.get_mut(&link) {
                    if let Some((peer, peer_link)) = end.peer.take() {
                        self.later(LATENCY, peer, Delivery::Closed(peer_link));
                    }
                    self.later(0, host, Delivery::Closed(link));
                }
            }
            Command::Disk(op) => self.disk(host, op),
            Command::Read { ticket, spec } => {
                let delay = self.hosts[host].disk_delay;
                self.later(delay, host, Delivery::Read(ticket, spec));
            }
            Command::Request(request) => self.request(NodeId(host as u8), request),
            Command::Fail { failure } => self.hosts[host].failed = Some(failure),
        }
    }

    /// As the shell does: who is paused is watched.
    fn pause(&mut self, host: usize, conn: ConnId, paused: bool) {
        let me = &mut self.hosts[host];
        if conn == CLIENT {
            me.client_paused = paused;
        }
        me.paused.retain(|other| *other != conn);
        if paused {
            me.paused.push(conn);
            if me.half_closed.contains(&conn) {
                self.deliver(NodeId(host as u8), Input::ClientHalfClosed { conn });
            }
        }
    }

    fn disk(&mut self, host: usize, op: DiskCommand) {
        let me = &mut self.hosts[host];
        let Some(node) = &me.node else { return };
        let fails = me.disk_broken && matches!(op.work, DiskWork::WriteLog { .. });
        let flight = me.disk.submit(op, node.engine(), fails);
        let delay = me.disk_delay;
        self.later(delay, host, Delivery::Flight(flight));
    }

    fn connect(&mut self, host: usize, link: LinkId, to: usize) {
        if self.hosts[to].node.is_none() {
            self.hosts[host].links.insert(link, LinkEnd::default());
            return self.later(LATENCY, host, Delivery::Closed(link));
        }
        self.hosts[to].next_link += 1;
        let accepted = LinkId(1 << 32 | self.hosts[to].next_link);
        self.hosts[host].links.insert(link, LinkEnd { peer: Some((to, accepted)), ..LinkEnd::default() });
        let unannounced = LinkEnd { peer: Some((host, link)), unannounced: true, ..LinkEnd::default() };
        self.hosts[to].links.insert(accepted, unannounced);
        self.deliver(NodeId(host as u8), Input::LinkConnected { link });
    }

    fn transmit(&mut self, host: usize, link: LinkId, bytes: Vec<u8>) {
        let Some(end) = self.hosts[host].links.get(&link) else { return };
        if let Some((peer, peer_link)) = end.peer {
            self.later(LATENCY, peer, Delivery::Bytes(peer_link, bytes));
        }
    }

    fn receive(&mut self, host: usize, link: LinkId) {
        let me = &mut self.hosts[host];
        let Some(end) = me.links.get_mut(&link) else { return };
        let input = if end.unannounced {
            let header = end.receiver.first_header();
            end.unannounced = header.is_none();
            header.map(|header| Input::LinkAccepted { link, header })
        } else {
            end.receiver.fill(link, me.node.as_mut(), false)
        };
        if let Some(input) = input {
            self.deliver(NodeId(host as u8), input);
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
        let leader = match request.change {
            Change::Handoff(to) | Change::Yield(to) | Change::Force(to) => {
                self.hosts[to.0 as usize].incarnation
            }
            Change::Evict(..) | Change::Admit(_) => 0,
            Change::Promote(..) => unreachable!("a node does not ask for its own promotion"),
        };
        let next = self.configuration.apply(request.change, Incarnation(leader), self.now / 1_000_000);
        let Some(next) = next else {
            return self.publish(Some((from, request.id)), RequestStatus::Refused);
        };
        self.configuration = next;
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
            self.deliver(node, Input::Update(update));
        }
    }
}
