//! Connections of the HTTP face: bytes to requests, responses to bytes, in order.
//!
//! Promises: responses leave in the order of the requests; what a connection may hold is bounded (requests
//! under way, bytes of their bodies, unread responses), and so is what all connections hold together; one that
//! is slow, or silent, or sends no HTTP is closed in time. An error that ends a connection is sent first, and the client is given a moment to read it.
//!
//! - `requests`: from a request to what is to be done, and to whom it is given.
//! - `slots`: the slots of responses in their order; from reports to responses.
//! - `jobs`: what the control threads do for connections.
//! - `intent`: how a request wants to be answered. `admin`: what is asked about this node; `group`: what is asked about the group.

mod admin;
mod group;
mod intent;
mod jobs;
mod requests;
mod slots;

use crate::answer_budget::{AnswerBudget, AnswerShare};
use crate::events::{Command, Part};
use crate::group::Group;
use crate::ids::{ConnId, Lane};
use crate::job::Job;
use crate::mail::Mail;
use crate::metadata::MetadataCopy;
use crate::options::NodeOptions;
use crate::shared::{Clock, Faces, Tickets};
use crate::subrequest::SubRequest;
use agency::ids::{Nanos, NodeId};
use engine::ids::ShardId;
use faces::http::{HttpLimits, Parser, Progress, Response};
use faces::resp::Stats;
use jobs::Jobs;
use serde_json::Value;
use slots::{Slot, SlotState};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// The ArangoDB whose behaviour is followed; drivers choose features by it.
const ARANGO_VERSION: &str = "3.11.0";
/// Most requests of one connection that are under way; further ones wait unread.
const MAX_UNDER_WAY: usize = 32;
/// Bytes of responses of a connection, unsent or expected, above which its further requests wait.
const RESPONSE_BACKLOG_BYTES: usize = 4 << 20;
/// Unparsed bytes of a connection above which its socket is left unread.
const UNPARSED_BYTES: usize = 256 << 10;
/// Most bytes of bodies of one shard thread, of requests that are coming or under way.
const ALL_BODIES_BYTES: usize = 256 << 20;
/// How often connections are looked at for their time-outs.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A body must come at least this fast: as much in every time-out.
const BODY_BYTES_PER_S: usize = 16 << 10;
/// Most bytes of responses that are handed over for sending at a time.
const SEND_BYTES: usize = 1 << 20;
/// A client may take as long to read as much before it is cut off.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client that sent too much is listened to after its last response, so that it can read that.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection is at; each has its own time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionPhase {
    /// Nothing is going on.
    Idle,
    /// A request's head is coming.
    Head,
    /// A request's body is coming.
    Body,
    /// It is for us to do something.
    Answering,
    /// The client is to take its responses.
    Sending,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// When all responses are out; no further request is read.
    Answered,
    /// The same, and then what comes is thrown away for a moment.
    Lingering,
    /// Everything is out: at this time.
    At(Nanos),
}

/// One connection.
struct HttpClient {
    conn: ConnId,
    parser: Parser,
    inbox: Vec<u8>,
    slots: VecDeque<Slot>,
    closing: Closing,
    sending: bool,
    paused: bool,
    phase: ConnectionPhase,
    /// Since when, or since its body last made progress.
    since: Nanos,
    /// How much of a body was there then.
    body_then: usize,
    /// Sub-requests were sent to other shards.
    asked_others: bool,
    /// Is in `Http::active`.
    active: bool,
    /// What it counts for in `Http::bodies`.
    body_bytes: usize,
    /// Responses that are being sent, and how much of them was handed over.
    outbox: Vec<u8>,
    handed_over: usize,
    /// Bytes of them that are not out.
    unsent: usize,
    /// What its responses weigh that are ready or being sent.
    ready: AnswerShare,
    /// Jobs whose client is gone see it by this.
    alive: Arc<()>,
}

impl HttpClient {
    fn new(conn: ConnId, now: Nanos, ready: AnswerShare) -> HttpClient {
        HttpClient {
            conn,
            parser: Parser::default(),
            inbox: Vec::new(),
            slots: VecDeque::new(),
            closing: Closing::No,
            sending: false,
            paused: false,
            phase: ConnectionPhase::Idle,
            since: now,
            body_then: 0,
            asked_others: false,
            active: false,
            body_bytes: 0,
            outbox: Vec::new(),
            handed_over: 0,
            unsent: 0,
            ready,
            alive: Arc::new(()),
        }
    }

    fn phase(&self) -> ConnectionPhase {
        if self.sending {
            ConnectionPhase::Sending
        } else if !self.slots.is_empty() {
            ConnectionPhase::Answering
        } else if self.parser.in_body() {
            ConnectionPhase::Body
        } else if self.parser.in_request(&self.inbox) {
            ConnectionPhase::Head
        } else {
            ConnectionPhase::Idle
        }
    }

    /// The next bytes for the shell. A piece at a time, so that a client that reads is told from one that
    /// does not.
    fn next_to_send(&mut self) -> Option<Vec<u8>> {
        if self.handed_over == self.outbox.len() {
            (self.outbox, self.handed_over) = (Vec::new(), 0);
            while let Some(Slot { state: SlotState::Ready(part), body, .. }) = self.slots.front_mut() {
                if self.outbox.is_empty() {
                    self.outbox = std::mem::take(part);
                } else {
                    self.outbox.extend_from_slice(part);
                }
                if !body.is_empty() {
                    // Next, when what is before it is out: so large a body is not copied as a whole.
                    *part = std::mem::take(body);
                    break;
                }
                self.slots.pop_front();
                if self.outbox.len() >= SEND_BYTES {
                    break;
                }
            }
        }
        self.unsent = self.outbox.len() - self.handed_over;
        if self.handed_over == 0 && self.unsent <= SEND_BYTES {
            return Some(std::mem::take(&mut self.outbox)).filter(|bytes| !bytes.is_empty());
        }
        let piece = self.unsent.min(SEND_BYTES);
        let from = self.handed_over;
        self.handed_over += piece;
        Some(self.outbox[from..from + piece].to_vec())
    }

    /// Whether the next request may be read. `crowded`: the answers of all connections are too many; one that
    /// has nothing under way is told so.
    fn takes(&self, limits: HttpLimits, crowded: bool) -> bool {
        self.closing == Closing::No
            && (!crowded || self.slots.is_empty())
            && self.slots.len() < MAX_UNDER_WAY
            && !self.slots.iter().any(Slot::is_barrier)
            && self.slots.iter().map(|slot| slot.body_bytes).sum::<usize>() <= limits.max_body_bytes
            && self.unsent + self.slots.iter().map(Slot::weight).sum::<usize>() < RESPONSE_BACKLOG_BYTES
    }
}

/// What HTTP sees of the node while it is called: no data, and nothing of replication but whether it leads.
pub(crate) struct HttpContext<'a> {
    pub options: &'a NodeOptions,
    pub clock: &'a Clock,
    pub group: &'a Group,
    pub tickets: &'a mut Tickets,
    pub stats: &'a mut Stats,
    pub faces: &'a mut Faces,
    pub metadata: &'a mut MetadataCopy,
    /// This node leads the shard.
    pub leads: bool,
    /// An orderly stop was asked for.
    pub stopping: bool,
    pub out: &'a mut Vec<Command>,
}

impl HttpContext<'_> {
    fn close_client(&mut self, conn: ConnId) {
        self.faces.remove(&conn);
        self.out.push(Command::ClientClose { conn });
    }

    fn reset_client(&mut self, conn: ConnId) {
        self.faces.remove(&conn);
        self.out.push(Command::ClientReset { conn });
    }

    /// Has something freed elsewhere, because that takes long.
    fn discard(&mut self, waste: impl Debug + Send + 'static) {
        self.tickets.hand_in(Job::Discard(Box::new(waste)), self.out);
    }
}

/// What HTTP wants of the sub-requests of its own shard.
pub(crate) enum Local {
    Begin(Box<SubRequest>),
    /// Nobody waits for those of this lane any more.
    Withdraw(Lane),
}

/// All connections of a shard's HTTP face.
pub(crate) struct Http {
    clients: BTreeMap<ConnId, HttpClient>,
    /// Those with requests under way, or something to be sent, or that are closing.
    active: Vec<ConnId>,
    /// Jobs of the control threads.
    jobs: Jobs,
    limits: HttpLimits,
    look_at: Nanos,
    /// Bytes of bodies held.
    bodies: usize,
    /// Something waits for the next turn.
    hungry: bool,
    /// For the node to hand over, in this order.
    local: VecDeque<Local>,
    /// Bytes of answers held.
    pub answers: AnswerBudget,
    /// What was planned since the last turn's end, in bytes.
    planned: usize,
    /// State of the generator of seeds.
    seed: u64,
}

impl Http {
    pub fn new(options: &NodeOptions) -> Http {
        let first = options.secret.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Http {
            clients: BTreeMap::new(),
            active: Vec::new(),
            jobs: Jobs::default(),
            limits: HttpLimits { max_body_bytes: options.settings.http.max_body_bytes },
            look_at: Nanos(0),
            bodies: 0,
            hungry: false,
            local: VecDeque::new(),
            answers: AnswerBudget::default(),
            planned: 0,
            seed: first,
        }
    }

    /// What is next for the sub-requests of this shard.
    pub fn take_local(&mut self) -> Option<Local> {
        self.local.pop_front()
    }

    /// Whether something is left to be done at once.
    pub fn is_hungry(&self) -> bool {
        self.hungry
    }

    /// What must hold whenever a turn ends: see `Node::invariants`.
    pub fn invariants(&self) {
        assert!(self.local.is_empty(), "what HTTP wants of its own shard was not handed over");
        debug_assert!(self.clients.values().all(|client| client.slots.len() <= MAX_UNDER_WAY + 2));
    }

    /// When connections want to be looked at.
    pub fn deadline(&self) -> Nanos {
        if self.clients.is_empty() { Nanos(u64::MAX) } else { self.look_at }
    }

    /// A number that no other shard or process draws (splitmix64 from a random start).
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Http {
    pub fn opened(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        let ready = self.answers.open();
        self.clients.insert(conn, HttpClient::new(conn, cx.clock.now, ready));
    }

    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8], cx: &mut HttpContext<'_>) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        if client.closing == Closing::No {
            client.inbox.extend_from_slice(bytes);
            self.serve(&mut client, cx);
        }
        self.put_back(client, cx);
    }

    pub fn sent(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        client.sending = false;
        client.unsent = client.outbox.len() - client.handed_over;
        self.serve(&mut client, cx);
        self.put_back(client, cx);
    }

    /// A client whose requests wait has closed its side: nobody is there to be answered.
    pub fn half_closed(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        self.reset(conn, cx);
    }

    pub fn closed(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        if let Some(client) = self.clients.remove(&conn) {
            self.forget(client, cx);
        }
    }

    fn forget(&mut self, client: HttpClient, cx: &mut HttpContext<'_>) {
        self.bodies -= client.body_bytes;
        self.bodies += self.jobs.orphan(client.slots.iter());
        self.call_back(&client, cx);
        self.discard_places(client.slots, cx);
    }

    fn discard_places(&mut self, slots: VecDeque<Slot>, cx: &mut HttpContext<'_>) {
        if slots.iter().any(Slot::is_heavy) {
            cx.discard(slots);
        }
    }

    /// Nobody waits for the sub-requests of a client any more.
    fn call_back(&mut self, client: &HttpClient, cx: &mut HttpContext<'_>) {
        let (from, conn) = (cx.options.shard, client.conn);
        self.local.push_back(Local::Withdraw((from, conn)));
        if client.asked_others {
            for shard in (0..cx.options.settings.shards).map(ShardId).filter(|shard| *shard != from) {
                cx.out.push(Command::Mail { to: shard, mail: Box::new(Mail::Gone { from, conn }) });
            }
        }
    }

    fn close(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        if let Some(client) = self.clients.remove(&conn) {
            cx.close_client(conn);
            self.forget(client, cx);
        }
    }

    /// Cuts off a client that does not read.
    fn reset(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        if let Some(client) = self.clients.remove(&conn) {
            cx.reset_client(conn);
            self.forget(client, cx);
        }
    }

    /// Nobody here knows what became of a request: its client gets the responses that are certain, and no more.
    fn break_off(&mut self, conn: ConnId, cx: &mut HttpContext<'_>) {
        let Some(mut client) = self.clients.remove(&conn) else { return };
        self.call_back(&client, cx);
        let certain =
            client.slots.iter().take_while(|slot| matches!(slot.state, SlotState::Ready(_))).count();
        let given_up = client.slots.split_off(certain);
        self.bodies += self.jobs.orphan(given_up.iter());
        self.discard_places(given_up, cx);
        client.alive = Arc::new(());
        client.asked_others = false;
        client.parser = Parser::default();
        client.inbox = Vec::new();
        client.closing = Closing::Answered;
        self.put_back(client, cx);
    }

    pub fn close_all(&mut self, cx: &mut HttpContext<'_>) {
        for conn in self.clients.keys().copied().collect::<Vec<_>>() {
            self.close(conn, cx);
        }
    }

    /// Notes what the connection is at, lists it where it is looked at again, applies backpressure.
    fn put_back(&mut self, mut client: HttpClient, cx: &mut HttpContext<'_>) {
        let phase = client.phase();
        let held = client.parser.held_bytes();
        let per_timeout =
            cx.options.settings.http.body_timeout.as_millis() as usize * BODY_BYTES_PER_S / 1000;
        if phase != client.phase || (phase == ConnectionPhase::Body && held >= client.body_then + per_timeout)
        {
            (client.phase, client.since, client.body_then) = (phase, cx.clock.now, held);
        }
        let under_way: usize = client.slots.iter().map(|slot| slot.body_bytes).sum();
        let body_bytes = held + under_way;
        self.bodies = self.bodies - client.body_bytes + body_bytes;
        client.body_bytes = body_bytes;
        let ready = client.unsent + client.slots.iter().map(Slot::ready_bytes).sum::<usize>();
        client.ready.set(ready);
        let busy = !client.slots.is_empty() || client.unsent > 0 || client.closing != Closing::No;
        if busy && !client.active {
            client.active = true;
            self.active.push(client.conn);
        }
        let paused = client.inbox.len() > UNPARSED_BYTES;
        if paused != client.paused {
            client.paused = paused;
            cx.out.push(Command::ClientPause { conn: client.conn, paused });
        }
        self.clients.insert(client.conn, client);
    }

    /// Takes requests off the inbox as far as they may be taken.
    fn serve(&mut self, client: &mut HttpClient, cx: &mut HttpContext<'_>) {
        let limits = self.limits;
        let mut taken = 0;
        let inbox = std::mem::take(&mut client.inbox);
        while client.takes(limits, self.answers.is_full()) && (taken < inbox.len()) {
            let (more, progress) = client.parser.feed(&inbox[taken..], limits);
            taken += more;
            match progress {
                Progress::More { send_continue } => {
                    let coming = client.parser.coming();
                    if coming.is_some_and(|(request, bytes)| requests::is_too_large(request, bytes)) {
                        self.end(client, requests::too_large());
                        break;
                    }
                    if send_continue {
                        client.slots.push_back(Slot::go_on());
                    }
                    if self.bodies + client.parser.held_bytes() > ALL_BODIES_BYTES {
                        let text = "too many large requests at once: send it again in a moment";
                        self.end(client, Response::error(503, 503, text).with("Retry-After", "1"));
                    }
                    break;
                }
                Progress::Request(request) => {
                    if !request.keep_alive {
                        client.closing = Closing::Answered;
                    }
                    self.request(client, request, cx);
                }
                Progress::Refused(response) => self.end(client, response),
            }
        }
        client.inbox = inbox;
        if client.closing == Closing::No {
            client.inbox.drain(..taken);
        } else {
            client.inbox = Vec::new();
        }
    }

    /// The last response of a connection whose bytes mean nothing any more.
    fn end(&mut self, client: &mut HttpClient, response: Response) {
        let mut bytes = Vec::new();
        response.encode(false, false, &mut bytes);
        client.slots.push_back(Slot::ready(bytes));
        client.parser = Parser::default();
        client.closing = Closing::Lingering;
    }

    /// Goes on with what waits, and once in a while looks for those whose time is over.
    pub fn turn(&mut self, cx: &mut HttpContext<'_>) {
        self.planned = 0;
        self.hungry = false;
        let mut active = self.active.clone();
        // Not always the same ones first: a turn plans only so much.
        let first = cx.clock.turns as usize % active.len().max(1);
        active.rotate_left(first);
        for conn in active {
            let due = |slot: &Slot| slot.is_due(cx.clock.now, cx.metadata);
            if self.clients.get(&conn).is_some_and(|client| client.slots.iter().any(due))
                && let Some(mut client) = self.clients.remove(&conn)
            {
                self.try_again(&mut client, cx);
                self.put_back(client, cx);
            }
        }
        if cx.clock.now < self.look_at || self.clients.is_empty() {
            return;
        }
        self.look_at = cx.clock.now + LOOK_INTERVAL;
        let late: Vec<(ConnId, ConnectionPhase)> = self
            .clients
            .values()
            .filter(|client| is_late(client, cx))
            .map(|client| (client.conn, client.phase))
            .collect();
        for (conn, phase) in late {
            match phase {
                ConnectionPhase::Head | ConnectionPhase::Body => {
                    let Some(mut client) = self.clients.remove(&conn) else { continue };
                    let text = "the request did not come in time";
                    self.end(&mut client, Response::error(408, 408, text));
                    client.inbox = Vec::new();
                    self.put_back(client, cx);
                }
                ConnectionPhase::Sending => self.reset(conn, cx),
                ConnectionPhase::Idle | ConnectionPhase::Answering => self.close(conn, cx),
            }
        }
    }

    /// Hands over the responses that are ready, in order, and closes what is to be closed.
    pub fn release(&mut self, cx: &mut HttpContext<'_>) {
        for conn in std::mem::take(&mut self.active) {
            let Some(mut client) = self.clients.remove(&conn) else { continue };
            client.active = false;
            if !client.sending
                && let Some(bytes) = client.next_to_send()
            {
                cx.stats.net_output_bytes += bytes.len() as u64;
                client.sending = true;
                cx.out.push(Command::ClientSend { conn, parts: vec![Part::Owned(bytes)] });
            }
            if client.slots.is_empty() && !client.sending {
                match client.closing {
                    Closing::Answered => {
                        cx.close_client(conn);
                        self.forget(client, cx);
                        continue;
                    }
                    Closing::Lingering => {
                        client.closing = Closing::At(cx.clock.now + LINGER);
                    }
                    Closing::At(at) if cx.clock.now >= at => {
                        cx.close_client(conn);
                        self.forget(client, cx);
                        continue;
                    }
                    Closing::No | Closing::At(_) => {}
                }
            }
            self.serve(&mut client, cx);
            self.put_back(client, cx);
        }
    }
}

/// Whether its time for what it is at is over.
fn is_late(client: &HttpClient, cx: &HttpContext<'_>) -> bool {
    let limits = &cx.options.settings.http;
    if client.closing != Closing::No && client.phase != ConnectionPhase::Sending {
        return false;
    }
    let patience = match client.phase {
        ConnectionPhase::Idle => limits.idle_timeout,
        ConnectionPhase::Head => limits.head_timeout,
        ConnectionPhase::Body => limits.body_timeout,
        ConnectionPhase::Sending => SEND_TIMEOUT,
        // Whatever waits for us has its own bound.
        ConnectionPhase::Answering => return false,
    };
    cx.clock.now > client.since + patience
}

/// The state of a slot that is looked at now.
fn waiting(cx: &HttpContext<'_>) -> SlotState {
    SlotState::Waiting { since: cx.clock.now, seen: cx.metadata.generation }
}

/// Where a node of the topology serves.
fn endpoint(scheme: &str, node: usize, cx: &HttpContext<'_>) -> String {
    let index = NodeId(cx.group.topology().nodes[node].index);
    let member = cx.options.settings.member(index);
    member.map_or(String::new(), |member| {
        let (host, port) = (&member.host, member.http_port());
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}"),
            false => format!("{scheme}://{host}:{port}"),
        }
    })
}

/// A JSON object as an answer.
fn fine(mut body: Value) -> Response {
    body["error"] = false.into();
    body["code"] = 200.into();
    Response::json(200, &body)
}
