//! One shard of one node: takes the events one by one, and puts the phases of a turn in their order.
//!
//! Promises: the same events in the same order give the same commands; it reads no clock, draws no random
//! number and does no I/O. Acknowledges nothing that `replication::commit` does not allow, and lets no linearizable
//! read leave without a lease (rules 2, 9, 10, 17, 19). It does not decide who leads: the warden publishes that,
//! and the node obeys the newest configuration it has seen. What must hold at every turn's end is asserted there.

use crate::client::execute::drop_expired;
use crate::client::{Clients, ForwardedRequest};
use crate::disk::Disk;
use crate::events::{Command, Event, Face, Lease};
use crate::failure::Failure;
use crate::http::{Http, HttpContext, Local};
use crate::job::JobDone;
use crate::mail::Mail;
use crate::metadata::{KEEPER, MetadataCopy, OWN};
use crate::options::NodeOptions;
use crate::rates::Rates;
use crate::reads::{ReadFor, Reader};
use crate::replication::leader::STOP_HEARSAY;
use crate::replication::links::LinkOwner;
use crate::replication::repair::{Fault, Repaired, Repairs};
use crate::replication::{Replication, message};
use crate::serving::{LEASELESS_LIMIT, Serving};
use crate::settings::Ack;
use crate::shared::Shared;
use crate::store::{FetchedValue, ValueRead};
use crate::subrequest::queue::SubRequests;
use crate::subrequest::{SubRequest, Work};
use agency::ids::{Nanos, NodeId};
use agency::shard::{Health, ShardProgress, ShardUpdate};
use engine::disk::DiskDone;
use engine::ids::Lsn;
use engine::limits::{APPLY_STEPS, MAX_VALUE_BYTES};
use engine::log::BufferRange;
use engine::segment::Location;
use engine::shard::{Decoded, Shard};
use std::sync::Arc;
use std::time::Duration;

/// An orderly stop gives up handing over after this and stops all the same.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// One shard of one node.
pub struct Node {
    shared: Shared,
    replication: Replication,
    repairs: Repairs,
    metadata: MetadataCopy,
    clients: Clients,
    http: Http,
    subrequests: SubRequests,
    /// Keys seen to have expired in this turn.
    expired: Vec<Box<[u8]>>,
    disk: Disk,
    rates: Rates,
    /// The commit LSN, and since when it stands still although there is more to commit.
    commit_moved: (Lsn, Nanos),
    stopping: Option<Stopping>,
}

struct Stopping {
    since: Nanos,
    announced: bool,
}

/// What the execution of requests sees, lent by the node whose other parts stay free.
macro_rules! serving {
    ($node:expr, $out:expr) => {
        Serving {
            cx: $node.shared.context($out),
            replication: &$node.replication,
            metadata: &mut $node.metadata,
            repairs: &mut $node.repairs,
            expired: &mut $node.expired,
        }
    };
}

/// What HTTP sees, lent in the same way: no data and no replication.
macro_rules! http_context {
    ($node:expr, $out:expr) => {
        HttpContext {
            options: &$node.shared.options,
            clock: &$node.shared.clock,
            group: &$node.shared.group,
            tickets: &mut $node.shared.tickets,
            stats: &mut $node.shared.stats,
            faces: &mut $node.shared.faces,
            metadata: &mut $node.metadata,
            leads: $node.replication.leads(),
            stopping: $node.shared.stopping,
            out: $out,
        }
    };
}

impl Node {
    /// A node over a recovered shard. It serves nothing until the warden publishes a configuration.
    ///
    /// # Panics
    /// If the settings allow values that no follower could be sent.
    pub fn new(options: NodeOptions, shard: Shard) -> Node {
        assert!(
            options.settings.max_value_bytes <= MAX_VALUE_BYTES,
            "values of {} bytes cannot be replicated",
            options.settings.max_value_bytes
        );
        Node {
            replication: Replication::new(shard.damaged()),
            repairs: Repairs::default(),
            metadata: MetadataCopy::new(options.settings.shards, options.secret),
            clients: Clients::new(&options),
            http: Http::new(&options),
            subrequests: SubRequests::default(),
            expired: Vec::new(),
            disk: Disk::default(),
            rates: Rates::default(),
            commit_moved: (Lsn(0), Nanos(0)),
            stopping: None,
            shared: Shared::new(options, shard),
        }
    }

    /// The log and the index.
    pub fn engine(&self) -> &Shard {
        &self.shared.shard
    }

    /// Fills a range of the log buffer that a [`Command::LinkReceive`] named, for a shell without a kernel
    /// that receives into it.
    pub fn fill_landing(&mut self, range: BufferRange, bytes: &[u8]) {
        self.shared.shard.fill_landing(range, bytes);
    }

    /// Takes one event. Call [`Node::finish_turn`] after the last one of a turn.
    pub fn handle(&mut self, now: Nanos, event: Event<'_>, out: &mut Vec<Command>) {
        self.shared.clock.now = now;
        if self.shared.failed {
            return;
        }
        match event {
            Event::ClientOpened { conn, face, peer, local } => {
                self.shared.faces.insert(conn, face);
                match face {
                    Face::Http => self.http.opened(conn, &mut http_context!(self, out)),
                    _ => self.clients.opened(conn, face, peer, local, &mut serving!(self, out)),
                }
            }
            Event::ClientBytes { conn, bytes } => match self.shared.faces.get(&conn) {
                Some(Face::Http) => self.http.bytes(conn, bytes, &mut http_context!(self, out)),
                Some(_) => self.clients.bytes(conn, bytes, &mut serving!(self, out)),
                None => {}
            },
            Event::ClientSent { conn } => match self.shared.faces.get(&conn) {
                Some(Face::Http) => self.http.sent(conn, &mut http_context!(self, out)),
                Some(_) => self.clients.sent(conn, &mut serving!(self, out)),
                None => {}
            },
            Event::ClientClosed { conn } => match self.shared.faces.remove(&conn) {
                Some(Face::Http) => self.http.closed(conn, &mut http_context!(self, out)),
                Some(_) => self.clients.closed(conn, &mut serving!(self, out)),
                None => {}
            },
            Event::ClientHalfClosed { conn } => match self.shared.faces.get(&conn) {
                Some(Face::Http) => self.http.half_closed(conn, &mut http_context!(self, out)),
                Some(_) => self.clients.half_closed(conn, &mut serving!(self, out)),
                None => {}
            },
            Event::LinkAccepted { .. }
            | Event::LinkConnected { .. }
            | Event::LinkBytes { .. }
            | Event::LinkLanded { .. }
            | Event::LinkSentLog { .. }
            | Event::LinkClosed { .. } => self.link_event(event, out),
            Event::Disk(done) => self.disk_done(done, out),
            Event::ReadDone { ticket, bytes } => self.read_done(ticket, bytes, out),
            Event::Update(update) => self.updated(update, out),
            Event::View(view) => self.shared.group.take_view(view, &self.shared.options),
            Event::Mail(mail) => self.mail(*mail, out),
            Event::ControlDone { ticket, done } => self.job_done(ticket, *done, out),
            Event::Resources(resources) => resources.tell(&mut self.shared.stats),
            Event::HandoffWanted(to) => self.handoff_wanted(to),
            Event::PromoteWanted => self.replication.lead_with_loss(&mut self.shared.context(out)),
            Event::StopWanted => {
                self.stopping.get_or_insert(Stopping { since: now, announced: false });
            }
        }
        self.hand_over(out);
    }

    /// Something happened on a replication connection: it goes to whoever owns that.
    fn link_event(&mut self, event: Event<'_>, out: &mut Vec<Command>) {
        let mut cx = self.shared.context(out);
        match event {
            Event::LinkAccepted { link, header } if message::is_fetch(header) => {
                self.repairs.fetch_asked(link, header, &mut cx);
            }
            Event::LinkAccepted { link, header } => self.replication.link_accepted(link, header, &mut cx),
            Event::LinkConnected { link } => match cx.links.owner(link) {
                Some(LinkOwner::Repair(lsn)) => self.repairs.connected(link, lsn, &mut cx),
                Some(LinkOwner::Refill) => self.replication.refilling.ask(link, &mut cx),
                Some(LinkOwner::Stream) => self.replication.link_connected(link, &mut cx),
                _ => {}
            },
            Event::LinkBytes { link, bytes } => match cx.links.owner(link) {
                Some(LinkOwner::Repair(lsn)) => self.repairs.answered(link, lsn, bytes, &mut cx),
                Some(LinkOwner::Serving) => self.repairs.fetch_asked(link, bytes, &mut cx),
                Some(LinkOwner::Refill) => self.replication.refilling.answered(link, bytes, &mut cx),
                Some(owner) => self.replication.link_bytes(link, owner, bytes, &mut cx),
                None => {}
            },
            Event::LinkLanded { link } => self.replication.link_landed(link, &mut cx),
            Event::LinkSentLog { link, range } => self.replication.link_sent_log(link, range, &cx),
            Event::LinkClosed { link } => match cx.links.closed(link) {
                Some(LinkOwner::Repair(lsn)) => self.repairs.link_closed(link, lsn),
                Some(LinkOwner::Serving) => self.repairs.asker_closed(link),
                Some(LinkOwner::Refill) => self.replication.refilling.link_closed(link),
                owner => self.replication.link_closed(link, owner, &cx),
            },
            _ => unreachable!("of no connection"),
        }
    }

    /// Ends a turn: group commit, sends, replies. `wall_ms` is wall time in ms since the epoch of Unix;
    /// commands of the next turn see it.
    pub fn finish_turn(&mut self, now: Nanos, wall_ms: u64, lease: Lease, out: &mut Vec<Command>) {
        self.shared.clock.turn(now, wall_ms, &self.disk);
        self.shared.lease = lease;
        let leaseless = self.replication.leads() && !self.replication.lease_holds(&self.shared.context(out));
        // While the own disk stands still, no lease is renewed (rule 15) and nothing can be committed: that is no sign
        // of isolation, and clients wait as long as the disk does.
        let excused = self.shared.clock.disk_stands_since.is_some();
        self.shared.leaseless_since =
            self.shared.leaseless_since.or(Some(now)).filter(|_| leaseless && !excused);
        if self.shared.failed {
            return;
        }
        let cuts_as_leader = self.replication.leads() && self.shared.shard.rewinding();
        if self.disk.hangs(self.shared.clock.patient, cuts_as_leader) {
            return self.shared.context(out).fail(Failure::ColdWorkHangs);
        }
        self.begin_stop();
        let quiet = self.all_answered();
        self.replication.turn(quiet, &mut self.shared.context(out));
        self.repairs.turn(&mut self.shared.context(out));
        self.hand_over(out);
        self.carry_out(out);
        self.http.turn(&mut http_context!(self, out));
        self.hand_over(out);
        drop_expired(&mut serving!(self, out));
        self.use_disk(out);
        self.send_frames(out);
        let served = self.replication.serves();
        if let Some(leader) = self.replication.leader_mut() {
            leader.count_commit(&mut self.shared.context(out));
        }
        self.shared.shard.apply_some(APPLY_STEPS);
        if !served && self.replication.serves() {
            // Requests that waited for this do not wait for the next turn.
            self.carry_out(out);
            self.use_disk(out);
            self.send_frames(out);
        }
        self.watch_isolation();
        self.watch_metadata(out);
        self.clients.release(&mut serving!(self, out));
        self.subrequests.release(&mut serving!(self, out));
        self.hand_over(out);
        self.http.release(&mut http_context!(self, out));
        self.hand_over(out);
        self.stop_turn(out);
        self.clients.next_turn();
        self.count();
        self.invariants();
    }

    /// Carries out what waits, as far as a turn goes.
    fn carry_out(&mut self, out: &mut Vec<Command>) {
        self.clients.run_queued(&mut serving!(self, out));
        self.subrequests.run_all(&mut serving!(self, out));
        self.hand_over(out);
    }

    /// Notices that this leader sees no majority: for long it got no lease, and could not commit what it wrote.
    fn watch_isolation(&mut self) {
        let shared = &mut self.shared;
        let (tail, committed) = (shared.shard.tail(), shared.shard.committed());
        let now = shared.clock.now;
        let stuck = self.replication.leads() && committed < tail && self.commit_moved.0 == committed;
        if !stuck {
            self.commit_moved = (committed, now);
        }
        let long = |since: Nanos| now >= since + LEASELESS_LIMIT;
        shared.isolated = stuck && long(self.commit_moved.1) && shared.leaseless_since.is_some_and(long);
    }

    /// When the next turn is due even if nothing happens.
    pub fn deadline(&self) -> Nanos {
        let hungry = self.clients.is_hungry()
            || self.subrequests.is_hungry()
            || self.http.is_hungry()
            || self.shared.shard.unapplied();
        let soon = if hungry { self.shared.clock.now } else { self.http.deadline() };
        let rewinding = self.shared.shard.rewinding();
        let role = self.replication.deadline(self.shared.clock.now, rewinding, self.shared.shard.committed());
        role.min(self.disk.pulse_at()).min(self.clients.deadline()).min(soon).min(self.repairs.deadline())
    }

    /// Requests of clients that were carried out here so far.
    pub fn requests(&self) -> u64 {
        self.shared.stats.commands_processed
    }

    /// What its clients of RESP held of the memory when the newest turn ended, in bytes.
    pub fn client_memory(&self) -> u64 {
        self.shared.stats.client_memory_bytes
    }

    /// This shard's account of itself for the warden.
    pub fn progress(&self) -> ShardProgress {
        let shard = &self.shared.shard;
        ShardProgress {
            turns: self.shared.clock.turns,
            disk_ok_at: self.disk.ok_at(),
            disk_waiting_since: self.disk.waiting_since(),
            health: if self.replication.is_unfit() { Health::Damaged } else { Health::Ready },
            standing: agency::shard::Standing::Moving,
            stopping: self.stopping.is_some(),
            last_epoch: agency::ids::Epoch(shard.last_epoch().0),
            written: shard.tail().0,
            durable: shard.durable().0,
            committed: shard.committed().0,
            applied: shard.applied().0,
        }
    }

    fn submit(
        &mut self,
        take: impl FnOnce(&mut Shard) -> Option<engine::disk::DiskCommand>,
        out: &mut Vec<Command>,
    ) -> bool {
        let Some(op) = take(&mut self.shared.shard) else { return false };
        self.disk.asked(&op, self.shared.clock.now, self.shared.clock.patient);
        out.push(Command::Disk(op));
        true
    }

    /// Gives the disk what is due: one write of all that this turn gathered, among others.
    fn use_disk(&mut self, out: &mut Vec<Command>) {
        if self.disk.takes_retry(self.shared.clock.now) {
            self.shared.shard.retry_prepare();
        }
        if self.disk.takes_pulse(self.shared.clock.now, self.replication.is_doubted()) {
            self.submit(Shard::pulse, out);
        }
        while self.submit(Shard::poll_disk, out) {}
    }

    fn disk_done(&mut self, done: DiskDone, out: &mut Vec<Command>) {
        self.disk.answered(done.ticket, done.result.is_ok(), self.shared.clock.now);
        match self.shared.shard.disk_done(done) {
            Ok(()) if self.shared.shard.disk_full() => self.disk.is_full(self.shared.clock.now),
            Ok(()) => {}
            Err(error) => self.shared.context(out).fail(Failure::Disk(error)),
        }
    }

    fn read_done(&mut self, ticket: u64, bytes: Option<&[u8]>, out: &mut Vec<Command>) {
        let reason = self.shared.reads.remove(&ticket);
        assert!(reason.is_some(), "the disk answers read {ticket}, which nobody waits for");
        match reason {
            Some(ReadFor::Value { reader, at, key }) => self.value_read(reader, at, key, bytes, out),
            Some(ReadFor::Scan { lane, id }) => {
                self.subrequests.scan_read(lane, id, bytes, &mut serving!(self, out));
            }
            Some(ReadFor::CatchUp { node, link, from, skip, len }) => {
                let mut cx = self.shared.context(out);
                let sound = bytes.map_or(&[][..], |bytes| {
                    let bytes = &bytes[skip..skip + len];
                    &bytes[..cx.shard.sound_frames(from, bytes)]
                });
                if sound.is_empty() {
                    self.repairs.catch_up_stopped(node, link, from, bytes, &mut cx);
                } else if let Some(leader) = self.replication.leader_mut() {
                    leader.send_catch_up(node, link, from, sound, &mut cx);
                }
            }
            Some(ReadFor::Fetch { link, name }) => {
                self.repairs.fetch_read(link, name, bytes, &mut self.shared.context(out));
            }
            Some(ReadFor::Refill { link, from, skip, len }) => {
                let cx = &mut self.shared.context(out);
                self.repairs.refill_read(link, (from, skip, len), bytes, cx);
            }
            Some(ReadFor::Mend) => self.repairs.mend_read(bytes, &mut self.shared.context(out)),
            None => {}
        }
    }

    /// A value that a command needs came from the disk.
    fn value_read(
        &mut self,
        reader: Reader,
        at: Location,
        key: Box<[u8]>,
        bytes: Option<&[u8]>,
        out: &mut Vec<Command>,
    ) {
        let mut cx = self.shared.context(out);
        let found = match bytes.map(|bytes| cx.shard.decode(at, &key, bytes)) {
            Some(Decoded::Value { value, expiry_ms, revision }) => {
                FetchedValue::Value { value: Arc::new(value.to_vec()), expiry_ms, revision }
            }
            Some(Decoded::Missing) => FetchedValue::OtherKey,
            Some(Decoded::More(spec)) => return cx.read(ReadFor::Value { reader, at, key }, spec),
            Some(Decoded::Corrupt) => return self.repairs.value(reader, at, key, Fault::Checksum, &mut cx),
            None => return self.repairs.value(reader, at, key, Fault::Unreadable, &mut cx),
        };
        self.value_came(reader, ValueRead { at, key, found }, out);
    }

    /// Gives a value to whoever wants it.
    fn value_came(&mut self, reader: Reader, value: ValueRead, out: &mut Vec<Command>) {
        match reader {
            Reader::Client(conn) => self.clients.fetched(conn, value, &mut serving!(self, out)),
            Reader::SubRequest { lane, id } => {
                self.subrequests.fetched(lane, id, value, &mut serving!(self, out));
            }
            Reader::Metadata => self.metadata.fetched(value, &mut self.shared.context(out)),
        }
    }

    /// Hands over what the parts have for each other, until nothing is left: repaired frames, sub-requests of this
    /// shard's HTTP connections, reports to these.
    fn hand_over(&mut self, out: &mut Vec<Command>) {
        loop {
            if let Some(repaired) = self.repairs.take_ready() {
                self.repaired(repaired, out);
            } else if let Some(local) = self.http.take_local() {
                match local {
                    Local::Begin(subrequest) => self.subrequests.came(*subrequest, &mut serving!(self, out)),
                    Local::Withdraw(lane) => self.subrequests.forget(lane, &mut serving!(self, out)),
                }
            } else if let Some((conn, ticket, report)) = self.subrequests.take_report() {
                self.http.report(conn, ticket, report, &mut http_context!(self, out));
            } else {
                return;
            }
        }
    }

    fn repaired(&mut self, repaired: Repaired, out: &mut Vec<Command>) {
        match repaired {
            Repaired::Value { reader, value } => self.value_came(reader, value, out),
            Repaired::Scan { lane, id, frame } => {
                self.subrequests.scan_mended(lane, id, frame.as_deref(), &mut serving!(self, out));
            }
            Repaired::Frames { node, link, from, frame } => {
                if let Some(leader) = self.replication.leader_mut() {
                    leader.send_catch_up(node, link, from, &frame, &mut self.shared.context(out));
                }
            }
        }
    }

    /// The warden published something: obeyed, unless something newer is known.
    fn updated(&mut self, update: ShardUpdate, out: &mut Vec<Command>) {
        if !self.shared.group.take_update(update, &self.shared.options) {
            return;
        }
        if self.replication.updated(&update, &mut self.shared.context(out)) {
            self.clients.reset_uncertain(&mut serving!(self, out));
            self.subrequests.settle(&mut serving!(self, out));
        }
    }

    /// Mail from another shard of this node.
    fn mail(&mut self, mail: Mail, out: &mut Vec<Command>) {
        match mail {
            Mail::Request { from, conn, ticket, session, bytes, arrived } => {
                let request = ForwardedRequest { from, conn, ticket, session, bytes, arrived };
                self.clients.forwarded_request(request, &mut serving!(self, out));
            }
            Mail::Reply { conn, ticket, parts } => {
                self.clients.forwarded_reply(conn, ticket, parts, &mut serving!(self, out));
            }
            Mail::Gone { from, conn } => {
                self.subrequests.forget((from, conn), &mut serving!(self, out));
                self.clients.forwarded_gone((from, conn));
            }
            Mail::SubRequest(subrequest) => {
                self.subrequests.came(*subrequest, &mut serving!(self, out));
            }
            Mail::Report { conn, ticket, report } => {
                self.http.report(conn, ticket, report, &mut http_context!(self, out));
            }
            Mail::Metadata(metadata) => self.metadata.came(metadata, &mut self.shared.context(out)),
            Mail::MetadataHeld { from, version } => self.metadata.is_held_by(from, version),
        }
    }

    /// The control threads did a job.
    fn job_done(&mut self, ticket: u64, done: JobDone, out: &mut Vec<Command>) {
        match done {
            // Those who wait for it ask again by themselves.
            JobDone::Judged { claim, right } => {
                self.metadata.judged(&claim, right);
                self.subrequests.wake();
            }
            done => self.http.job_done(ticket, done, &mut http_context!(self, out)),
        }
    }

    /// On shard 0: notices what was committed since, and makes the first user.
    fn watch_metadata(&mut self, out: &mut Vec<Command>) {
        let (leads, serves) = (self.replication.leads(), self.replication.serves());
        let mut cx = self.shared.context(out);
        self.metadata.watch(leads, serves, &mut cx);
        if let Some(edit) = self.metadata.first_user(serves, &cx) {
            let subrequest = SubRequest {
                from: KEEPER,
                conn: OWN,
                ticket: cx.tickets.ticket(),
                work: Work::Edit(edit),
                write: true,
                stale: None,
                ack: faces::resp::Ack::Durable,
                answer: self.http.answers.open(),
                arrived: cx.clock.now,
            };
            self.subrequests.came(subrequest, &mut serving!(self, out));
        }
    }

    fn send_frames(&mut self, out: &mut Vec<Command>) {
        let Some(leader) = self.replication.leader_mut() else { return };
        let eager = matches!(self.shared.options.settings.ack, Ack::Received)
            || self.clients.waits_for_receipts()
            || self.subrequests.waits_for_receipts();
        leader.send_frames(eager, &mut self.shared.context(out));
    }

    fn handoff_wanted(&mut self, to: Option<NodeId>) {
        let now = self.shared.clock.now;
        if let Some(leader) = self.replication.leader_mut() {
            leader.hand_off(to, now);
        }
    }

    /// Whether everything that was carried out has been answered.
    fn all_answered(&self) -> bool {
        self.clients.replies_all_released() && self.subrequests.all_reported()
    }

    /// Of an orderly stop that was asked for: serves no more once it is known whether others stop, too. If not, a leader
    /// hands over.
    fn begin_stop(&mut self) {
        let Some(since) = self.stopping.as_ref().map(|stopping| stopping.since) else { return };
        if self.shared.stopping {
            return;
        }
        let all_stop = self.shared.group.all_others_stop(&self.shared.options);
        let leads = self.replication.leads();
        if !leads || all_stop || self.shared.clock.now >= since + STOP_HEARSAY {
            self.shared.stopping = true;
            if !all_stop {
                self.handoff_wanted(None);
            }
        }
    }

    fn stop_turn(&mut self, out: &mut Vec<Command>) {
        let Some(stopping) = self.stopping.as_ref().filter(|stopping| !stopping.announced) else { return };
        if !self.shared.stopping {
            return;
        }
        let patience_over = self.shared.clock.now >= stopping.since + STOP_PATIENCE;
        let all_stop = self.shared.group.all_others_stop(&self.shared.options);
        let cx = self.shared.context(out);
        let free = match self.replication.leader() {
            Some(leader) => !leader.handoff_possible() && (!all_stop || leader.all_hold_all(&cx)),
            None => self.replication.may_stop_following(&cx),
        };
        let quiet = self.shared.shard.durable() == self.shared.shard.tail() && self.all_answered();
        if patience_over || (free && quiet) {
            self.stopping = Some(Stopping { since: stopping.since, announced: true });
            self.clients.close_all(&mut serving!(self, out));
            self.http.close_all(&mut http_context!(self, out));
            self.hand_over(out);
            if let Some(leader) = self.replication.leader() {
                leader.farewell(&mut self.shared.context(out));
            }
            out.push(Command::Stopped);
        }
    }

    /// The numbers that `INFO` tells.
    fn count(&mut self) {
        let (connected, blocked) = self.clients.count();
        let exposed_ms = self.shared.group.exposed_ms(self.shared.clock.wall_ms);
        let stats = &mut self.shared.stats;
        stats.exposed_ms = exposed_ms;
        stats.connected_clients = connected;
        stats.blocked_clients = blocked;
        stats.ops_per_second = self.rates.per_second(self.shared.clock.now, stats.commands_processed);
    }

    /// What holds whenever a turn ends, whatever clients, members and the disk did. A violated one is a bug of
    /// our own, and the node stops before it can do harm.
    fn invariants(&mut self) {
        if self.shared.failed {
            return;
        }
        let mut none = Vec::new();
        let cx = self.shared.context(&mut none);
        let (tail, durable) = (cx.shard.tail(), cx.shard.durable());
        let (committed, applied) = (cx.shard.committed(), cx.shard.applied());
        assert!(durable <= tail, "durable {durable} is beyond the end {tail}");
        assert!(applied <= committed, "applied {applied} is beyond the committed {committed}");
        assert!(committed <= tail, "committed {committed} is beyond the end {tail}");
        self.replication.invariants(&cx);
        self.repairs.invariants();
        self.clients.invariants();
        self.http.invariants();
        self.subrequests.invariants();
    }
}
