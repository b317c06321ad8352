//! What the parts of a node stand on: its clock, its numbers, the data, and the list of commands.
//!
//! [`Shared`] owns it; each part is lent a [`Context`] for the time of one call. The parts themselves (clients,
//! HTTP, sub-requests, metadata, replication) are not in it: who needs one of those is handed it.

use crate::disk::Disk;
use crate::events::{Command, Face, Lease};
use crate::failure::Failure;
use crate::group::Group;
use crate::ids::{ConnId, LinkId};
use crate::job::Job;
use crate::mutants::{Mutant, lacks};
use crate::options::NodeOptions;
use crate::reads::{ReadFor, Reads};
use crate::replication::links::Links;
use crate::replication::message::DiskSign;
use agency::configuration::Change;
use agency::ids::Nanos;
use agency::shard::ShardRequest;
use engine::disk::ReadSpec;
use engine::shard::Shard;
use faces::resp::Stats;
use std::collections::BTreeMap;
use std::time::Duration;

/// A gap between two turns counts as attended time up to this; more is a stall of our own.
const ATTENDED_GAP: Duration = Duration::from_millis(10);

/// The times that a turn goes by.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    pub now: Nanos,
    /// Wall time, ms since the epoch of Unix; never goes back.
    pub wall_ms: u64,
    /// Time in which this loop was really turning.
    pub attended: Nanos,
    /// Attended time in which the own disk moved, too: what others are given counts in it.
    pub patient: Nanos,
    pub turns: u64,
    /// The own disk stands still, since then.
    pub disk_stands_since: Option<Nanos>,
    /// How many hot writes of the own disk ended well; wraps.
    disk_beats: u32,
    last_turn: Nanos,
}

impl Clock {
    /// A turn ends.
    pub fn turn(&mut self, now: Nanos, wall_ms: u64, disk: &Disk) {
        let disk_stands_since = disk.stands_since(now);
        self.disk_stands_since = disk_stands_since;
        self.disk_beats = disk.beats();
        let gap = now.since(self.last_turn).min(ATTENDED_GAP);
        self.attended = self.attended + gap;
        if disk_stands_since.is_none() || lacks(Mutant::BlamesOthersForOwnDisk) {
            self.patient = self.patient + gap;
        }
        assert!(self.patient <= self.attended, "nobody is more patient than awake");
        self.last_turn = now;
        self.now = now;
        self.wall_ms = wall_ms.max(self.wall_ms);
        self.turns += 1;
    }

    /// How the own disk does, as others are told.
    pub fn disk_sign(&self) -> DiskSign {
        DiskSign { beats: self.disk_beats, stands: self.disk_stands_since.is_some() }
    }
}

/// Numbers that are given once.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    last: u64,
    last_link: u64,
    last_request: u64,
}

impl Tickets {
    pub fn ticket(&mut self) -> u64 {
        self.tickets(1)
    }

    /// The first of `count` in a row.
    pub fn tickets(&mut self, count: usize) -> u64 {
        let first = self.last + 1;
        self.last += count as u64;
        first
    }

    pub fn link(&mut self) -> LinkId {
        self.last_link += 1;
        LinkId(self.last_link)
    }

    fn request(&mut self) -> u64 {
        self.last_request += 1;
        self.last_request
    }

    /// Hands a job in to the control threads.
    pub fn hand_in(&mut self, job: Job, out: &mut Vec<Command>) -> u64 {
        let ticket = self.ticket();
        out.push(Command::Control { ticket, job: Box::new(job) });
        ticket
    }
}

/// By connection; only those that are open.
pub(crate) type Faces = BTreeMap<ConnId, Face>;

/// See the head of this file.
pub(crate) struct Shared {
    pub options: NodeOptions,
    pub shard: Shard,
    pub clock: Clock,
    pub group: Group,
    pub tickets: Tickets,
    pub reads: Reads,
    pub links: Links,
    pub stats: Stats,
    /// Which face each client connection came in by.
    pub faces: Faces,
    /// As it was when the last turn ended.
    pub lease: Lease,
    /// It leads, and has had no lease since then, though its disk moves.
    pub leaseless_since: Option<Nanos>,
    /// It leads, and for long neither got a lease nor could commit what it wrote.
    pub isolated: bool,
    /// An orderly stop was asked for.
    pub stopping: bool,
    /// It gave up (rule 14), and does nothing any more.
    pub failed: bool,
}

impl Shared {
    pub fn new(options: NodeOptions, shard: Shard) -> Shared {
        let stats = Stats { max_clients: options.settings.max_clients.into(), ..Stats::default() };
        Shared {
            group: Group::new(&options),
            options,
            shard,
            clock: Clock::default(),
            tickets: Tickets::default(),
            reads: Reads::new(),
            links: Links::default(),
            stats,
            faces: Faces::new(),
            lease: Lease::default(),
            leaseless_since: None,
            isolated: false,
            stopping: false,
            failed: false,
        }
    }

    /// All of it, for one call.
    pub fn context<'a>(&'a mut self, out: &'a mut Vec<Command>) -> Context<'a> {
        Context {
            options: &self.options,
            shard: &mut self.shard,
            clock: &self.clock,
            group: &self.group,
            tickets: &mut self.tickets,
            reads: &mut self.reads,
            links: &mut self.links,
            stats: &mut self.stats,
            faces: &mut self.faces,
            lease: self.lease,
            leaseless_since: self.leaseless_since,
            isolated: self.isolated,
            stopping: self.stopping,
            failed: &mut self.failed,
            out,
        }
    }
}

/// What a part of the node may use while it is called.
pub(crate) struct Context<'a> {
    pub options: &'a NodeOptions,
    pub shard: &'a mut Shard,
    pub clock: &'a Clock,
    pub group: &'a Group,
    pub tickets: &'a mut Tickets,
    pub reads: &'a mut Reads,
    pub links: &'a mut Links,
    pub stats: &'a mut Stats,
    faces: &'a mut Faces,
    pub lease: Lease,
    pub leaseless_since: Option<Nanos>,
    pub isolated: bool,
    pub stopping: bool,
    failed: &'a mut bool,
    pub out: &'a mut Vec<Command>,
}

impl Context<'_> {
    /// Reads blocks from the disk; `reason` says who gets them.
    pub fn read(&mut self, reason: ReadFor, spec: ReadSpec) {
        let ticket = self.tickets.ticket();
        let before = self.reads.insert(ticket, reason);
        assert!(before.is_none(), "ticket {ticket} was given twice");
        self.out.push(Command::Read { ticket, spec });
    }

    /// Closes a client's connection when all is out.
    pub fn close_client(&mut self, conn: ConnId) {
        self.faces.remove(&conn);
        self.out.push(Command::ClientClose { conn });
    }

    /// Cuts a client off: what is not out yet is thrown away.
    pub fn reset_client(&mut self, conn: ConnId) {
        self.faces.remove(&conn);
        self.out.push(Command::ClientReset { conn });
    }

    /// Hands a job in to the control threads.
    pub fn hand_in(&mut self, job: Job) -> u64 {
        self.tickets.hand_in(job, self.out)
    }

    /// Has something freed elsewhere, because that takes long.
    pub fn discard(&mut self, waste: impl std::fmt::Debug + Send + 'static) {
        self.hand_in(Job::Discard(Box::new(waste)));
    }

    /// Asks the warden for a change of the configuration.
    pub fn ask(&mut self, change: Change) -> Option<ShardRequest> {
        let on_top_of = self.group.configuration()?;
        let request = ShardRequest { id: self.tickets.request(), on_top_of, change };
        self.out.push(Command::Request(request));
        Some(request)
    }

    /// Rule 14: nothing is retried as if nothing had happened. The process ends, its warden reports it dead,
    /// and recovery finds out what the disk really holds.
    pub fn fail(&mut self, failure: Failure) {
        *self.failed = true;
        self.out.push(Command::Fail { failure });
    }
}
