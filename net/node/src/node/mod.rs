//! One shard of one node as a pure state machine: events in, actions out (`crate::seam`).
//!
//! Promises: the same events in the same order give the same actions; it reads no clock, draws no random
//! number and does no I/O. Acknowledges nothing that `commit` does not allow, and lets no linearizable read
//! leave without a lease (rules 2, 9, 10, 17, 19). It does not decide who leads: the warden publishes that,
//! and the node obeys the newest configuration it has seen.
//!
//! - `leader`: what a leader does: feed followers, count their cursors, ask for changes of the configuration.
//! - `follower`: connect to the leader, rewind, land frames, acknowledge.
//! - `repair`: fetch damaged frames from another member and write them back; `lend`: be that other member.
//! - `clients`: connections and the order of their replies; `serve`: what becomes of one request; `waiting`: why
//!   one is held back.
//! - `http`: connections of the HTTP face, from requests to `errands` (which wait in `lanes`) and from their reports
//!   to responses; `known`: databases, collections and users; `edits`: changes of these.
//! - `shares`: what a request wants of each shard, and what the shards brought back.
//! - `access`: what a command sees of the data.
//! - `commit`: what counts as committed.

mod access;
mod clients;
mod commit;
mod edits;
mod errands;
mod follower;
mod http;
mod known;
mod lanes;
mod leader;
mod lend;
mod repair;
mod routing;
mod serve;
pub mod shares;
mod waiting;

use crate::mutants::{Mutant, lacks};
use crate::replication::message;
use crate::seam::{Action, ConnId, Event, Lease, LinkId};
use crate::settings::Settings;
use agency::configuration::Change;
use agency::ids::{Incarnation, Nanos, NodeId};
use agency::shard::{Health, RequestStatus, ShardProgress, ShardRequest, ShardUpdate};
use agency::view::ClusterView;
use clients::Clients;
use engine::disk::{DiskDone, DiskError, DiskWork};
use engine::ids::{Epoch, Lsn, ShardId};
use engine::log::BufferRange;
use engine::mend::FrameName;
use engine::segment::Location;
use engine::shard::Shard;
use faces::resp::Topology;
use follower::Follower;
use http::Http;
use known::Known;
use lanes::{Errands, Lane};
use leader::Leader;
use repair::Repairs;
use serve::PARK_LIMIT;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How often the pulse block tells what is durable and committed.
const PULSE_INTERVAL: Nanos = Nanos(100_000_000);
/// A gap between two turns counts as attended time up to this; more is a stall of our own.
const ATTENDED_GAP: Nanos = Nanos(10_000_000);
/// An orderly stop gives up handing over after this and stops all the same.
const STOP_PATIENCE: Nanos = Nanos(2_000_000_000);
/// Pause before a failed preparation of a segment (full disk) is tried again.
const PREPARE_RETRY: Nanos = Nanos(1_000_000_000);

/// A preparation, a save or a cut that takes longer than this will not end: zeroing a large segment takes
/// seconds on a slow disk.
const COLD_PATIENCE: Nanos = Nanos(20_000_000_000);
/// The same of a leader that still cuts the torn tail that its last life left: it serves nobody until that ends, and
/// little is to be cut.
const LEADER_CUT_PATIENCE: Nanos = Nanos(5_000_000_000);

/// What a node is made with.
pub struct NodeOptions {
    /// This node's number among the members.
    pub me: NodeId,
    /// The shard.
    pub shard: ShardId,
    /// What it knows of its configuration.
    pub settings: Arc<Settings>,
    /// This life of the process; an epoch bound to another is never led (rule 18).
    pub incarnation: Incarnation,
    /// The process's number, for people.
    pub pid: u32,
    /// Wall time at start, ms since the epoch of Unix.
    pub started_ms: u64,
    /// Random and different in each life of each shard's process.
    pub secret: [u8; 32],
}

/// What this node is to its shard right now.
enum Role {
    /// Nothing known yet, or leadership that belongs to another incarnation.
    Idle,
    Follower(Follower),
    Leader(Leader),
}

/// Who wants a value.
#[derive(Clone, Copy)]
enum Reader {
    Client(ConnId),
    Errand {
        lane: Lane,
        id: u64,
    },
    /// `known`: the metadata.
    Metadata,
}

/// What a disk read is for.
enum ReadFor {
    /// A value that a client's command needs.
    Client { reader: Reader, at: Location, key: Box<[u8]> },
    /// Blocks that a scan goes through.
    Scan { lane: Lane, id: u64 },
    /// Frames for a follower that is behind the log buffer.
    CatchUp { node: NodeId, link: LinkId, from: Lsn, skip: usize, len: usize },
    /// A frame that another member found damaged.
    Fetch { link: LinkId, name: FrameName },
    /// The own blocks of a frame that is about to be written back.
    Mend,
}

/// One shard of one node.
pub struct Node {
    options: NodeOptions,
    shard: Shard,
    role: Role,
    update: Option<ShardUpdate>,
    view: Arc<ClusterView>,
    topology: Topology,
    clients: Clients,
    errands: Errands,
    http: Http,
    known: Known,
    reads: HashMap<u64, ReadFor>,
    repairs: Repairs,
    next_ticket: u64,
    next_link: u64,
    next_request: u64,
    /// The link whose frames the kernel may be writing into the log buffer right now.
    landing: Option<LinkId>,
    lease: Lease,
    /// It leads, and has had no lease since then.
    leaseless_since: Option<Nanos>,
    now: Nanos,
    wall_ms: u64,
    /// Time in which this loop was really turning.
    attended: Nanos,
    last_turn: Nanos,
    turns: u64,
    disk_ok_at: Nanos,
    writes_out: BTreeMap<u64, Nanos>,
    /// Preparations, saves and cuts under way, and in which attended time they were asked for.
    cold_out: BTreeMap<u64, Nanos>,
    pulse_at: Nanos,
    prepare_retry_at: Option<Nanos>,
    /// Damage found at recovery stands until the leader has taken us out of the in-sync set and back in.
    damaged: bool,
    evicted_since_damage: bool,
    stopping: Option<Stopping>,
    failed: bool,
}

struct Stopping {
    since: Nanos,
    announced: bool,
}

/// Turns the agency's epoch into the engine's: here the two meet.
fn engine_epoch(epoch: agency::ids::Epoch) -> Epoch {
    Epoch(epoch.0)
}

impl Node {
    /// A node over a recovered shard. It serves nothing until the warden publishes a configuration.
    pub fn new(options: NodeOptions, shard: Shard) -> Node {
        let topology = routing::topology(&options.settings, options.me, &ClusterView::default(), None);
        let clients = Clients::new(&options);
        let damaged = shard.damaged();
        let known = Known::new(options.settings.shards, options.secret);
        let http = Http::new(&options);
        Node {
            options,
            shard,
            role: Role::Idle,
            update: None,
            view: Arc::default(),
            topology,
            clients,
            errands: Errands::default(),
            http,
            known,
            reads: HashMap::new(),
            repairs: Repairs::default(),
            next_ticket: 0,
            next_link: 0,
            next_request: 0,
            landing: None,
            lease: Lease::default(),
            leaseless_since: None,
            now: Nanos(0),
            wall_ms: 0,
            attended: Nanos(0),
            last_turn: Nanos(0),
            turns: 0,
            disk_ok_at: Nanos(0),
            writes_out: BTreeMap::new(),
            cold_out: BTreeMap::new(),
            pulse_at: Nanos(0),
            prepare_retry_at: None,
            damaged,
            evicted_since_damage: false,
            stopping: None,
            failed: false,
        }
    }

    /// The log and the index.
    pub fn engine(&self) -> &Shard {
        &self.shard
    }

    /// Fills a range of the log buffer that an [`Action::LinkReceive`] named, for a shell without a kernel
    /// that receives into it.
    pub fn fill_landing(&mut self, range: BufferRange, bytes: &[u8]) {
        self.shard.fill_landing(range, bytes);
    }

    /// Takes one event. Call [`Node::finish_turn`] after the last one of a turn.
    pub fn handle(&mut self, now: Nanos, event: Event<'_>, out: &mut Vec<Action>) {
        self.now = now;
        if self.failed {
            return;
        }
        match event {
            Event::ClientOpened { conn, face, peer, local } => self.client_opened(conn, face, peer, local),
            Event::ClientBytes { conn, bytes } => self.client_bytes(conn, bytes, out),
            Event::ClientSent { conn } => self.client_sent(conn, out),
            Event::ClientClosed { conn } => self.client_closed(conn, out),
            Event::LinkAccepted { link, header } if message::is_fetch(header) => {
                self.fetch_asked(link, header, out);
            }
            Event::LinkConnected { link } if self.repairs.owns(link) => self.ask_member(link, out),
            Event::LinkBytes { link, bytes } if self.repairs.owns(link) => {
                self.repair_bytes(link, bytes, out);
            }
            Event::LinkClosed { link } if self.repairs.owns(link) => self.repair_link_closed(link),
            Event::LinkAccepted { link, header } => self.link_accepted(link, header, out),
            Event::LinkConnected { link } => self.link_connected(link, out),
            Event::LinkBytes { link, bytes } => self.link_bytes(link, bytes, out),
            Event::LinkLanded { link } => self.link_landed(link, out),
            Event::LinkSentLog { link, range } => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.released(link, range);
                }
            }
            Event::LinkClosed { link } => self.link_closed(link),
            Event::Disk(done) => self.disk_done(done, out),
            Event::ReadDone { ticket, bytes } => self.read_done(ticket, bytes, out),
            Event::Update(update) => self.updated(update, out),
            Event::View(view) => {
                self.view = view;
                self.refresh_topology();
            }
            Event::Mail(mail) => self.mail(*mail, out),
            Event::ControlDone { ticket, done } => self.job_done(ticket, *done, out),
            Event::ClientHalfClosed { .. } | Event::Resources(_) => {}
            Event::HandoffWanted(to) => self.handoff_wanted(to),
            Event::StopWanted => {
                self.stopping.get_or_insert(Stopping { since: now, announced: false });
                self.handoff_wanted(None);
            }
        }
    }

    /// Ends a turn: group commit, sends, replies. `wall_ms` is wall time in ms since the epoch of Unix;
    /// commands of the next turn see it.
    pub fn finish_turn(&mut self, now: Nanos, wall_ms: u64, lease: Lease, out: &mut Vec<Action>) {
        self.attended.0 += now.0.saturating_sub(self.last_turn.0).min(ATTENDED_GAP.0);
        self.last_turn = now;
        self.now = now;
        self.wall_ms = wall_ms.max(self.wall_ms);
        self.lease = lease;
        self.leaseless_since = match &self.role {
            Role::Leader(_) if !self.lease_holds() => self.leaseless_since.or(Some(now)),
            _ => None,
        };
        self.turns += 1;
        if self.failed {
            return;
        }
        let leads = matches!(self.role, Role::Leader(_));
        let patience = if leads && self.shard.rewinding() { LEADER_CUT_PATIENCE } else { COLD_PATIENCE };
        if self.cold_out.values().any(|since| self.attended.0 > since.0 + patience.0) {
            // The warden watches the log writes; nobody else watches these.
            return self.fail("the disk failed: preparing or cutting a segment does not end".into(), out);
        }
        self.lead_turn(out);
        self.follow_turn(out);
        self.repair_turn(out);
        self.retry_waiting(out);
        self.run_errands(out);
        self.http_turn(out);
        self.drop_expired();
        if self.prepare_retry_at.is_some_and(|at| now >= at) {
            self.prepare_retry_at = None;
            self.shard.retry_prepare();
        }
        if now >= self.pulse_at {
            self.pulse_at = Nanos(now.0 + PULSE_INTERVAL.0);
            self.submit(Shard::pulse, out);
        }
        while self.submit(Shard::poll_disk, out) {}
        self.send_frames(out);
        self.count_commit();
        self.watch_metadata(out);
        self.release_replies(out);
        self.release_errands(out);
        self.release_http(out);
        self.stop_turn(out);
    }

    /// When the next turn is due even if nothing happens.
    pub fn deadline(&self) -> Nanos {
        let role = match &self.role {
            Role::Idle => self.pulse_at,
            Role::Follower(follower) => follower.deadline(self.now, self.shard.rewinding()),
            Role::Leader(leader) => leader.deadline(self.shard.committed()),
        };
        let soon = if self.errands.hungry { self.now } else { self.http.deadline() };
        let soon = soon.min(self.repairs.deadline());
        role.min(self.pulse_at).min(self.clients.deadline()).min(soon)
    }

    /// This shard's account of itself for the warden.
    pub fn progress(&self) -> ShardProgress {
        ShardProgress {
            turns: self.turns,
            disk_ok_at: self.disk_ok_at,
            disk_waiting_since: self.writes_out.values().min().copied().unwrap_or_default(),
            health: if self.unfit() { Health::Damaged } else { Health::Ready },
            starved: false,
            last_epoch: agency::ids::Epoch(self.shard.last_epoch().0),
            written: self.shard.tail().0,
            durable: self.shard.durable().0,
            committed: self.shard.committed().0,
            applied: self.shard.applied().0,
        }
    }

    /// Damage keeps it from leading (rule 12).
    fn unfit(&self) -> bool {
        self.damaged && !lacks(Mutant::LeadsDamaged)
    }

    /// Whether linearizable reads may be served at this moment (rule 9).
    fn lease_holds(&self) -> bool {
        match &self.role {
            Role::Leader(_) if lacks(Mutant::ReadsWithoutLease) => true,
            Role::Leader(leader) => self.lease.epoch.0 == leader.epoch.0 && self.now < self.lease.until,
            _ => false,
        }
    }

    /// No lease has come for longer than anybody is made to wait for one.
    fn lease_is_not_to_be_had(&self) -> bool {
        self.leaseless_since.is_some_and(|since| self.now.0 > since.0 + PARK_LIMIT.0)
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    fn link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    fn submit(
        &mut self,
        take: impl FnOnce(&mut Shard) -> Option<engine::disk::DiskCommand>,
        out: &mut Vec<Action>,
    ) -> bool {
        let Some(op) = take(&mut self.shard) else { return false };
        if matches!(
            op.work,
            DiskWork::WriteLog { .. } | DiskWork::WriteBlocks { .. } | DiskWork::Pulse { .. }
        ) {
            self.writes_out.insert(op.ticket, self.now);
        } else {
            self.cold_out.insert(op.ticket, self.attended);
        }
        out.push(Action::Disk(op));
        true
    }

    fn disk_done(&mut self, done: DiskDone, out: &mut Vec<Action>) {
        self.cold_out.remove(&done.ticket);
        let was_write = self.writes_out.remove(&done.ticket).is_some();
        if was_write && done.result.is_ok() {
            self.disk_ok_at = self.now;
        }
        match self.shard.disk_done(done) {
            Ok(()) => {
                if self.shard.disk_full() {
                    self.prepare_retry_at.get_or_insert(Nanos(self.now.0 + PREPARE_RETRY.0));
                }
            }
            Err(error) => self.fail(format!("the disk failed: {}", describe(&error)), out),
        }
    }

    /// Rule 14: nothing is retried as if nothing had happened. The process ends, its warden reports it dead,
    /// and recovery finds out what the disk really holds.
    fn fail(&mut self, reason: String, out: &mut Vec<Action>) {
        self.failed = true;
        out.push(Action::Fail { reason });
    }

    fn read_done(&mut self, ticket: u64, bytes: Option<&[u8]>, out: &mut Vec<Action>) {
        match self.reads.remove(&ticket) {
            Some(ReadFor::Client { reader, at, key }) => self.client_read_done(reader, at, key, bytes, out),
            Some(ReadFor::Scan { lane, id }) => self.scan_read(lane, id, bytes, out),
            Some(ReadFor::CatchUp { node, link, from, skip, len }) => {
                self.catch_up_read(node, link, from, bytes.map(|bytes| (bytes, skip, len)), out);
            }
            Some(ReadFor::Fetch { link, name }) => self.fetch_read(link, name, bytes, out),
            Some(ReadFor::Mend) => self.mend_read(bytes),
            None => {}
        }
    }

    fn updated(&mut self, update: ShardUpdate, out: &mut Vec<Action>) {
        let configuration = update.configuration;
        if let Some(known) = self.update
            && configuration.version < known.configuration.version
        {
            return;
        }
        self.update = Some(update);
        self.note_health(&update);
        self.refresh_topology();
        let mine = configuration.leader == self.options.me;
        // Rule 12: not even if it were told to.
        let may_lead = mine && configuration.leader_incarnation == self.options.incarnation && !self.unfit();
        let current = match &self.role {
            Role::Idle => false,
            Role::Follower(follower) => {
                !mine && (follower.is_of(&configuration) || lacks(Mutant::StaysWithOldLeader))
            }
            Role::Leader(leader) => may_lead && leader.epoch == engine_epoch(configuration.epoch),
        };
        if current {
            if let Role::Leader(leader) = &mut self.role {
                leader.note_update(&update);
            }
            return;
        }
        self.leave_role(out);
        self.role = if may_lead {
            Role::Leader(Leader::new(engine_epoch(configuration.epoch), self.attended))
        } else if mine {
            Role::Idle
        } else {
            Role::Follower(Follower::new(configuration.leader, engine_epoch(configuration.epoch), self.now))
        };
    }

    /// The view may be older than what was published for this shard.
    fn refresh_topology(&mut self) {
        let mine = self.update.map(|update| (self.options.shard, update.configuration));
        self.topology = routing::topology(&self.options.settings, self.options.me, &self.view, mine);
    }

    fn note_health(&mut self, update: &ShardUpdate) {
        if !self.damaged {
            return;
        }
        if !update.configuration.in_sync.contains(self.options.me) {
            self.evicted_since_damage = true;
        } else if self.evicted_since_damage {
            self.damaged = false;
            self.shard.repaired();
            self.evicted_since_damage = false;
        }
    }

    fn leave_role(&mut self, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.role, Role::Idle) {
            Role::Idle => {}
            Role::Follower(follower) => follower.close(out),
            Role::Leader(leader) => {
                leader.close(out);
                self.shard.hold(None);
                self.reset_uncertain_clients(out);
                self.settle_errands(out);
            }
        }
    }

    /// Whether everything that was carried out has been answered.
    fn all_answered(&self) -> bool {
        self.clients.replies_all_released() && self.errands.all_reported()
    }

    fn ask(&mut self, change: Change, out: &mut Vec<Action>) -> Option<ShardRequest> {
        let update = self.update?;
        self.next_request += 1;
        let request = ShardRequest { id: self.next_request, on_top_of: update.configuration, change };
        out.push(Action::Request(request));
        Some(request)
    }

    fn stop_turn(&mut self, out: &mut Vec<Action>) {
        let Some(stopping) = &self.stopping else { return };
        if stopping.announced {
            return;
        }
        let patience_over = self.now.0 >= stopping.since.0 + STOP_PATIENCE.0;
        let handed_over = match &self.role {
            Role::Leader(leader) => !leader.handoff_possible(),
            Role::Follower(_) | Role::Idle => true,
        };
        let quiet = self.shard.durable() == self.shard.tail() && self.all_answered();
        if patience_over || (handed_over && quiet) {
            if let Some(stopping) = &mut self.stopping {
                stopping.announced = true;
            }
            self.close_all_clients(out);
            out.push(Action::Stopped);
        }
    }
}

fn describe(error: &DiskError) -> String {
    match error {
        DiskError::NoSpace => "no space left".to_owned(),
        DiskError::Failed { errno } => std::io::Error::from_raw_os_error(*errno).to_string(),
    }
}

/// Whether the newest request of a shard is settled by this update.
fn settles(update: &ShardUpdate, request: &ShardRequest) -> bool {
    update.request == request.id && matches!(update.outcome, RequestStatus::Decided | RequestStatus::Refused)
        || update.configuration.version > request.on_top_of.version
}
