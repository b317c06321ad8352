//! Connections of the HTTP face: bytes to requests, responses to bytes, in order.
//!
//! Promises: responses leave in the order of the requests; what a connection may hold is bounded (requests
//! under way, bytes of their bodies, unread responses), and so is what all connections hold together; one that
//! is slow, or silent, or sends no HTTP is closed in time. An error that ends a connection is sent first, and the client is given a moment to read it.
//!
//! - `requests`: from a request to what is to be done, and to whom it is given.
//! - `places`: the places of responses in their order; from reports to responses.
//! - `jobs`: what the control threads do for connections.
//! - `admin`: what is asked about this node; `group`: what is asked about the group.

mod admin;
mod group;
mod jobs;
mod places;
mod requests;

use super::{Node, NodeOptions};
use crate::ledger::{Entry, Ledger};
use crate::mail::Mail;
use crate::seam::{Action, ConnId};
use agency::ids::Nanos;
use engine::ids::ShardId;
use faces::http::{HttpLimits, Parser, Progress, Response};
use jobs::Jobs;
use places::{Place, State};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most requests of one connection that are under way; further ones wait unread.
const MAX_UNDER_WAY: usize = 32;
/// Bytes of responses of a connection, unsent or expected, above which its further requests wait.
const RESPONSE_BACKLOG_BYTES: usize = 4 << 20;
/// Unparsed bytes of a connection above which its socket is left unread.
const UNPARSED_BYTES: usize = 256 << 10;
/// Most bytes of bodies of one shard thread, of requests that are coming or under way.
const ALL_BODIES_BYTES: usize = 256 << 20;
/// How often connections are looked at for their time-outs.
const LOOK_INTERVAL: Nanos = Nanos(100_000_000);
/// A body must come at least this fast: as much in every time-out.
const BODY_BYTES_PER_S: usize = 16 << 10;
/// Most bytes of responses that are handed over for sending at a time.
const SEND_BYTES: usize = 1 << 20;
/// A client may take as long to read as much before it is cut off.
const SEND_TIMEOUT: Nanos = Nanos(60_000_000_000);
/// How long a client that sent too much is listened to after its last response, so that it can read that.
const LINGER: Nanos = Nanos(1_000_000_000);

/// What a connection is at; each has its own time-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
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
    places: VecDeque<Place>,
    closing: Closing,
    sending: bool,
    paused: bool,
    phase: Phase,
    /// Since when, or since its body last made progress.
    since: Nanos,
    /// How much of a body was there then.
    body_then: usize,
    /// Errands were sent to other shards.
    forwarded: bool,
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
    ready: Entry,
    /// Jobs whose client is gone see it by this.
    alive: Arc<()>,
}

impl HttpClient {
    fn new(conn: ConnId, now: Nanos, ready: Entry) -> HttpClient {
        HttpClient {
            conn,
            parser: Parser::default(),
            inbox: Vec::new(),
            places: VecDeque::new(),
            closing: Closing::No,
            sending: false,
            paused: false,
            phase: Phase::Idle,
            since: now,
            body_then: 0,
            forwarded: false,
            active: false,
            body_bytes: 0,
            outbox: Vec::new(),
            handed_over: 0,
            unsent: 0,
            ready,
            alive: Arc::new(()),
        }
    }

    fn phase(&self) -> Phase {
        if self.sending {
            Phase::Sending
        } else if !self.places.is_empty() {
            Phase::Answering
        } else if self.parser.in_body() {
            Phase::Body
        } else if self.parser.in_request(&self.inbox) {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// The next bytes for the shell. A piece at a time, so that a client that reads is told from one that
    /// does not.
    fn next_to_send(&mut self) -> Option<Vec<u8>> {
        if self.handed_over == self.outbox.len() {
            (self.outbox, self.handed_over) = (Vec::new(), 0);
            while let Some(Place { state: State::Ready(part), body, .. }) = self.places.front_mut() {
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
                self.places.pop_front();
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
            && (!crowded || self.places.is_empty())
            && self.places.len() < MAX_UNDER_WAY
            && !self.places.iter().any(Place::is_barrier)
            && self.places.iter().map(|place| place.body_bytes).sum::<usize>() <= limits.max_body_bytes
            && self.unsent + self.places.iter().map(Place::weight).sum::<usize>() < RESPONSE_BACKLOG_BYTES
    }
}

/// All connections of a shard's HTTP face.
pub(super) struct Http {
    clients: BTreeMap<ConnId, HttpClient>,
    /// Those with requests under way, or something to be sent, or that are closing.
    active: Vec<ConnId>,
    /// Jobs of the control threads.
    jobs: Jobs,
    limits: HttpLimits,
    look_at: Nanos,
    /// Bytes of bodies held.
    bodies: usize,
    /// Bytes of answers held.
    pub(super) answers: Ledger,
    /// What was planned since the last turn's end, in bytes.
    planned: usize,
    /// State of the generator of seeds.
    seed: u64,
}

impl Http {
    pub(super) fn new(options: &NodeOptions) -> Http {
        let first = options.secret.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Http {
            clients: BTreeMap::new(),
            active: Vec::new(),
            jobs: Jobs::default(),
            limits: HttpLimits { max_body_bytes: options.settings.http.max_body_bytes },
            look_at: Nanos(0),
            bodies: 0,
            answers: Ledger::default(),
            planned: 0,
            seed: first,
        }
    }

    /// When connections want to be looked at.
    pub(super) fn deadline(&self) -> Nanos {
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

impl Node {
    pub(super) fn http_opened(&mut self, conn: ConnId) {
        let ready = self.http.answers.open();
        self.http.clients.insert(conn, HttpClient::new(conn, self.now, ready));
    }

    pub(super) fn http_bytes(&mut self, conn: ConnId, bytes: &[u8], out: &mut Vec<Action>) {
        let Some(mut client) = self.http.clients.remove(&conn) else { return };
        if client.closing == Closing::No {
            client.inbox.extend_from_slice(bytes);
            self.http_serve(&mut client, out);
        }
        self.http_put_back(client, out);
    }

    pub(super) fn http_sent(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        let Some(mut client) = self.http.clients.remove(&conn) else { return };
        client.sending = false;
        client.unsent = client.outbox.len() - client.handed_over;
        self.http_serve(&mut client, out);
        self.http_put_back(client, out);
    }

    pub(super) fn http_closed(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        if let Some(client) = self.http.clients.remove(&conn) {
            self.http_forget(client, out);
        }
    }

    fn http_forget(&mut self, client: HttpClient, out: &mut Vec<Action>) {
        self.http.bodies -= client.body_bytes;
        self.http.bodies += self.http.jobs.orphan(client.places.iter());
        self.http_call_back(&client, out);
        self.http_discard_places(client.places, out);
    }

    fn http_discard_places(&mut self, places: VecDeque<Place>, out: &mut Vec<Action>) {
        if places.iter().any(Place::is_heavy) {
            self.discard(places, out);
        }
    }

    /// Nobody waits for the errands of a client any more.
    fn http_call_back(&mut self, client: &HttpClient, out: &mut Vec<Action>) {
        let (from, conn) = (self.options.shard, client.conn);
        self.forget_errands((from, conn), out);
        if client.forwarded {
            for shard in (0..self.options.settings.shards).map(ShardId).filter(|shard| *shard != from) {
                out.push(Action::Mail { to: shard, mail: Box::new(Mail::Gone { from, conn }) });
            }
        }
    }

    fn http_close(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        if let Some(client) = self.http.clients.remove(&conn) {
            out.push(Action::ClientClose { conn });
            self.http_forget(client, out);
        }
    }

    /// Cuts off a client that does not read.
    fn http_reset(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        if let Some(client) = self.http.clients.remove(&conn) {
            out.push(Action::ClientReset { conn });
            self.http_forget(client, out);
        }
    }

    /// Nobody here knows what became of a request: its client gets the responses that are certain, and no more.
    fn http_break_off(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        let Some(mut client) = self.http.clients.remove(&conn) else { return };
        self.http_call_back(&client, out);
        let certain = client.places.iter().take_while(|place| matches!(place.state, State::Ready(_))).count();
        let given_up = client.places.split_off(certain);
        self.http.bodies += self.http.jobs.orphan(given_up.iter());
        self.http_discard_places(given_up, out);
        client.alive = Arc::new(());
        client.forwarded = false;
        client.parser = Parser::default();
        client.inbox = Vec::new();
        client.closing = Closing::Answered;
        self.http_put_back(client, out);
    }

    pub(super) fn close_all_http(&mut self, out: &mut Vec<Action>) {
        for conn in self.http.clients.keys().copied().collect::<Vec<_>>() {
            self.http_close(conn, out);
        }
    }

    /// Notes what the connection is at, lists it where it is looked at again, applies backpressure.
    fn http_put_back(&mut self, mut client: HttpClient, out: &mut Vec<Action>) {
        let phase = client.phase();
        let held = client.parser.held_bytes();
        let per_timeout =
            self.options.settings.http.body_timeout.as_millis() as usize * BODY_BYTES_PER_S / 1000;
        if phase != client.phase || (phase == Phase::Body && held >= client.body_then + per_timeout) {
            (client.phase, client.since, client.body_then) = (phase, self.now, held);
        }
        let under_way: usize = client.places.iter().map(|place| place.body_bytes).sum();
        let body_bytes = held + under_way;
        self.http.bodies = self.http.bodies - client.body_bytes + body_bytes;
        client.body_bytes = body_bytes;
        let ready = client.unsent + client.places.iter().map(Place::ready_bytes).sum::<usize>();
        client.ready.set(ready);
        let busy = !client.places.is_empty() || client.unsent > 0 || client.closing != Closing::No;
        if busy && !client.active {
            client.active = true;
            self.http.active.push(client.conn);
        }
        let paused = client.inbox.len() > UNPARSED_BYTES;
        if paused != client.paused {
            client.paused = paused;
            out.push(Action::ClientPause { conn: client.conn, paused });
        }
        self.http.clients.insert(client.conn, client);
    }

    /// Takes requests off the inbox as far as they may be taken.
    fn http_serve(&mut self, client: &mut HttpClient, out: &mut Vec<Action>) {
        let limits = self.http.limits;
        let mut taken = 0;
        let inbox = std::mem::take(&mut client.inbox);
        while client.takes(limits, self.http.answers.is_full()) && (taken < inbox.len()) {
            let (more, progress) = client.parser.feed(&inbox[taken..], limits);
            taken += more;
            match progress {
                Progress::More { send_continue } => {
                    let coming = client.parser.coming();
                    if coming.is_some_and(|(request, bytes)| requests::is_too_large(request, bytes)) {
                        self.http_end(client, requests::too_large());
                        break;
                    }
                    if send_continue {
                        client.places.push_back(Place::go_on());
                    }
                    if self.http.bodies + client.parser.held_bytes() > ALL_BODIES_BYTES {
                        let text = "too many large requests at once: send it again in a moment";
                        self.http_end(client, Response::error(503, 503, text).with("Retry-After", "1"));
                    }
                    break;
                }
                Progress::Request(request) => {
                    if !request.keep_alive {
                        client.closing = Closing::Answered;
                    }
                    self.http_request(client, request, out);
                }
                Progress::Refused(response) => self.http_end(client, response),
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
    fn http_end(&mut self, client: &mut HttpClient, response: Response) {
        let mut bytes = Vec::new();
        response.encode(false, false, &mut bytes);
        client.places.push_back(Place::ready(bytes));
        client.parser = Parser::default();
        client.closing = Closing::Lingering;
    }

    /// Goes on with what waits, and once in a while looks for those whose time is over.
    pub(super) fn http_turn(&mut self, out: &mut Vec<Action>) {
        self.http.planned = 0;
        let mut active = self.http.active.clone();
        // Not always the same ones first: a turn plans only so much.
        let first = self.turns as usize % active.len().max(1);
        active.rotate_left(first);
        for conn in active {
            let due = |place: &Place| place.is_due(self.now, &self.known);
            if self.http.clients.get(&conn).is_some_and(|client| client.places.iter().any(due))
                && let Some(mut client) = self.http.clients.remove(&conn)
            {
                self.http_try_again(&mut client, out);
                self.http_put_back(client, out);
            }
        }
        if self.now < self.http.look_at || self.http.clients.is_empty() {
            return;
        }
        self.http.look_at = Nanos(self.now.0 + LOOK_INTERVAL.0);
        let late: Vec<(ConnId, Phase)> = self
            .http
            .clients
            .values()
            .filter(|client| self.http_is_late(client))
            .map(|client| (client.conn, client.phase))
            .collect();
        for (conn, phase) in late {
            match phase {
                Phase::Head | Phase::Body => {
                    let Some(mut client) = self.http.clients.remove(&conn) else { continue };
                    let text = "the request did not come in time";
                    self.http_end(&mut client, Response::error(408, 408, text));
                    client.inbox = Vec::new();
                    self.http_put_back(client, out);
                }
                Phase::Sending => self.http_reset(conn, out),
                Phase::Idle | Phase::Answering => self.http_close(conn, out),
            }
        }
    }

    fn http_is_late(&self, client: &HttpClient) -> bool {
        let limits = &self.options.settings.http;
        let nanos = |span: std::time::Duration| span.as_nanos() as u64;
        if client.closing != Closing::No && client.phase != Phase::Sending {
            return false;
        }
        let patience = match client.phase {
            Phase::Idle => nanos(limits.idle_timeout),
            Phase::Head => nanos(limits.head_timeout),
            Phase::Body => nanos(limits.body_timeout),
            Phase::Sending => SEND_TIMEOUT.0,
            // Whatever waits for us has its own bound.
            Phase::Answering => return false,
        };
        self.now.0 > client.since.0 + patience
    }

    /// Hands over the responses that are ready, in order, and closes what is to be closed.
    pub(super) fn release_http(&mut self, out: &mut Vec<Action>) {
        for conn in std::mem::take(&mut self.http.active) {
            let Some(mut client) = self.http.clients.remove(&conn) else { continue };
            client.active = false;
            if !client.sending
                && let Some(bytes) = client.next_to_send()
            {
                self.clients.stats.net_output_bytes += bytes.len() as u64;
                client.sending = true;
                out.push(Action::ClientSend { conn, bytes });
            }
            if client.places.is_empty() && !client.sending {
                match client.closing {
                    Closing::Answered => {
                        out.push(Action::ClientClose { conn });
                        self.http_forget(client, out);
                        continue;
                    }
                    Closing::Lingering => {
                        client.closing = Closing::At(Nanos(self.now.0 + LINGER.0));
                    }
                    Closing::At(at) if self.now >= at => {
                        out.push(Action::ClientClose { conn });
                        self.http_forget(client, out);
                        continue;
                    }
                    Closing::No | Closing::At(_) => {}
                }
            }
            self.http_serve(&mut client, out);
            self.http_put_back(client, out);
        }
    }
}
