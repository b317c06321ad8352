//! Clients of RESP: their connections, and what becomes of their requests.
//!
//! Promises: requests are executed in order, and one that cannot be executed yet holds back those behind it. A turn
//! carries out a bounded amount (`budget`): who has more waits in one queue, in order of arrival, whatever it waited
//! for before. What a client holds of our memory is bounded, and what all hold together.
//!
//! - `connection`: one connection, and the order of its replies. `inbox`: what it sent. `wait`: why a request is held
//!   back.
//! - `execute`: one request executed here, forwarded to another shard, redirected, parked or refused.
//! - `long`: one of many keys, or with a large answer, in slices; `progress`: how far such a one is.

pub(crate) mod connection;
pub(crate) mod execute;
mod inbox;
mod long;
mod progress;
pub(crate) mod wait;

use crate::budget::{Budget, steps_of};
use crate::events::{Command, Face, Part};
use crate::ids::{ConnId, Lane};
use crate::mail::Mail;
use crate::mutants::{Mutant, lacks};
use crate::options::NodeOptions;
use crate::part::len_of;
use crate::serving::{Needs, Serving, Standing};
use crate::settings::ClientMemory;
use crate::store::ValueRead;
use agency::ids::Nanos;
use connection::{Client, Forwarded, Reply, STRANGER_BYTES, release};
use engine::ids::ShardId;
use execute::{Arrived, count_copies, topology_is_led};
use faces::resp::{Ack, Limits, Session};
use std::collections::{BTreeMap, VecDeque};
use wait::{ParkedFor, Wait};

/// Request bytes kept for a client whose next request must wait, before its socket is left unread.
const HELD_REQUEST_BYTES: usize = 1 << 20;
/// The same of one that waits for nothing but its turn: what is left with the kernel does not grow old here.
const QUEUED_REQUEST_BYTES: usize = 64 << 10;
/// Held clients that one turn looks at; the next one goes on behind them.
const LOOKS_PER_TURN: usize = 2048;
/// Numbers of clients that are connected to another shard start here.
const FORWARDED_IDS: u64 = 1 << 63;
/// What a client is told that comes when all of them hold too much.
const NO_MEMORY: &[u8] = b"-ERR the memory for clients of this node is used up\r\n";

/// All clients of a shard.
pub(crate) struct Clients {
    /// Boxed, because each event takes one out and puts it back: the tree would move its neighbours' bytes as well.
    pub(super) map: BTreeMap<ConnId, Box<Client>>,
    pub(super) limits: Limits,
    pub(super) strangers: Limits,
    /// When an attack by way of a browser was told last.
    pub(super) warned_at: Option<Nanos>,
    forwarded: BTreeMap<Lane, ConnId>,
    next_forwarded: u64,
    /// Clients with replies that have not left.
    owed: Vec<ConnId>,
    /// Clients whose next request waits for something that nothing reports, so that it has to be looked at.
    held: VecDeque<ConnId>,
    /// Those of them that this round of looks has not reached.
    unlooked: usize,
    /// Clients with requests that can be carried out, in the order in which they get their turn.
    runnable: VecDeque<ConnId>,
    /// What is left of this turn.
    budget: Budget,
    /// The log had no room for somebody in this turn.
    no_room: bool,
    memory_limits: ClientMemory,
    /// What all of them hold, in bytes.
    memory: usize,
}

impl Clients {
    pub fn new(options: &NodeOptions) -> Clients {
        let limits = Limits { max_value_bytes: options.settings.max_value_bytes, ..Limits::default() };
        Clients {
            map: BTreeMap::new(),
            limits,
            strangers: Limits { stranger: true, ..limits },
            warned_at: None,
            forwarded: BTreeMap::new(),
            next_forwarded: FORWARDED_IDS,
            owed: Vec::new(),
            held: VecDeque::new(),
            unlooked: 0,
            runnable: VecDeque::new(),
            budget: Budget::new(),
            no_room: false,
            memory_limits: options.settings.memory,
            memory: 0,
        }
    }

    /// Whether every reply to an executed request has been handed over.
    pub fn replies_all_released(&self) -> bool {
        self.owed.iter().all(|conn| self.map.get(conn).is_none_or(|client| !client.owes()))
    }

    /// Whether anybody's reply depends on receipts rather than on durability.
    pub fn waits_for_receipts(&self) -> bool {
        let chunk_waits = |reply: &Reply| matches!(reply, Reply::Chunk(c) if c.needs.level == Ack::Received);
        let waits = |c: &Client| {
            matches!(c.wait, Wait::Copies { aof: false, .. }) || c.replies.iter().any(chunk_waits)
        };
        self.owed.iter().chain(&self.held).filter_map(|conn| self.map.get(conn)).any(|client| waits(client))
    }

    /// Whether something is left to be done at once.
    pub fn is_hungry(&self) -> bool {
        !self.runnable.is_empty() || self.unlooked > 0
    }

    /// When a held client wants to be looked at again.
    pub fn deadline(&self) -> Nanos {
        let due = |conn| match self.map.get(conn)?.wait {
            Wait::Copies { until, .. } => until,
            _ => None,
        };
        self.held.iter().filter_map(due).min().unwrap_or(Nanos(u64::MAX))
    }
}

impl Clients {
    /// A client connected.
    pub fn opened(&mut self, conn: ConnId, face: Face, peer: String, local: String, at: &mut Serving<'_>) {
        let session = Session::new(conn.0, peer, local, at.cx.clock.wall_ms);
        at.cx.stats.connections_received += 1;
        let mut client = Box::new(Client::new(conn, session, face, None));
        client.stranger = at.cx.options.settings.auth;
        if self.memory >= self.memory_limits.all {
            at.cx.stats.rejected_connections += 1;
            client.reply(at.cx.clock.turns, NO_MEMORY);
            client.closing = true;
        }
        self.put_back(client, at);
    }

    /// Bytes from a client.
    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8], at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        at.cx.stats.net_input_bytes += bytes.len() as u64;
        self.budget.spend(steps_of(bytes.len()));
        if client.closing {
            return self.put_back(client, at);
        }
        let free = matches!(client.wait, Wait::No) && !client.queued;
        let share = if free { self.budget.event_share(!self.runnable.is_empty()) } else { 0 };
        if share > 0 && client.inbox.is_empty() {
            client.steps = share;
            let taken = self.serve_all(&mut client, bytes, Arrived::Now, at);
            client.inbox.push(at.cx.clock.now, &bytes[taken..]);
        } else {
            client.inbox.push(at.cx.clock.now, bytes);
            client.more |= free;
            if share > 0 {
                self.serve_inbox(&mut client, share, at);
            }
        }
        self.put_back(client, at);
    }

    /// What was sent to it last is out.
    pub fn sent(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        client.sending = false;
        client.in_flight = 0;
        client.count_backlog();
        self.put_back(client, at);
    }

    /// A client is gone.
    pub fn closed(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        if let Some(client) = self.take_out(conn) {
            self.tell_gone(&client, at);
        }
    }

    /// A client whose requests wait has closed its side: what was not carried out never is.
    pub fn half_closed(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        if !lacks(Mutant::CarriesOutZombies) {
            client.drop_long();
            client.inbox.clear();
            client.wait = Wait::No;
            client.more = false;
            client.closing = true;
            self.tell_gone(&client, at);
        }
        self.put_back(client, at);
    }

    /// Takes a client out for good.
    fn take_out(&mut self, conn: ConnId) -> Option<Box<Client>> {
        let client = self.map.remove(&conn)?;
        self.memory -= client.weight;
        Some(client)
    }

    fn tell_gone(&self, client: &Client, at: &mut Serving<'_>) {
        if !client.asked_others {
            return;
        }
        let from = at.cx.options.shard;
        for shard in (0..at.cx.options.settings.shards).map(ShardId) {
            at.cx
                .out
                .push(Command::Mail { to: shard, mail: Box::new(Mail::Gone { from, conn: client.conn }) });
        }
    }

    /// Lists the client where it will be looked at again, and applies backpressure.
    fn put_back(&mut self, mut client: Box<Client>, at: &mut Serving<'_>) {
        if matches!(client.wait, Wait::Backlog) && client.has_reply_room() {
            client.wait = Wait::No;
            client.more = true;
        }
        let waits = !matches!(client.wait, Wait::No);
        let next_forwarded = client.inbox.is_empty()
            && client.forwarded.as_ref().is_some_and(|forwarded| !forwarded.waiting.is_empty());
        if !waits && (client.more || next_forwarded) && !client.closing && !client.queued {
            self.enqueue(&mut client);
        }
        if client.wait.is_looked_at() && !client.held {
            client.held = true;
            self.held.push_back(client.conn);
        }
        let too_much = client.backlog > self.memory_limits.output_soft;
        let owes = client.owes() || client.closing || too_much;
        if owes && !client.owed {
            client.owed = true;
            self.owed.push(client.conn);
        }
        self.press_back(&mut client, waits, at);
        let weight = client.weigh();
        self.memory = self.memory + weight - client.weight;
        client.weight = weight;
        self.map.insert(client.conn, client);
    }

    fn enqueue(&mut self, client: &mut Client) {
        client.queued = true;
        self.runnable.push_back(client.conn);
    }

    /// Leaves the socket of a client unread that has sent enough for the time being. Its end is not seen then, so it is
    /// watched.
    fn press_back(&self, client: &mut Client, waits: bool, at: &mut Serving<'_>) {
        if client.forwarded.is_some() {
            return;
        }
        let most = match () {
            () if client.stranger => STRANGER_BYTES,
            () if waits => HELD_REQUEST_BYTES,
            () => QUEUED_REQUEST_BYTES,
        };
        // Not on and off with each request.
        let most = if client.paused { most / 2 } else { most };
        let paused = (waits || client.queued) && !client.closing && client.waiting_bytes() > most;
        if paused != client.paused {
            client.paused = paused;
            let conn = client.conn;
            at.cx.out.push(Command::ClientPause { conn, paused });
        }
    }

    /// Goes on with what a client sent before, for so many steps.
    fn serve_inbox(&mut self, client: &mut Client, steps: usize, at: &mut Serving<'_>) {
        client.steps = steps;
        loop {
            if client.inbox.is_empty() && !client.load_forwarded() {
                client.more = false;
                return;
            }
            let mut inbox = std::mem::take(&mut client.inbox);
            let arrived = match &client.forwarded {
                Some(forwarded) => Arrived::At(forwarded.arrived),
                None => Arrived::In(&inbox),
            };
            let taken = self.serve_all(client, inbox.front(), arrived, at);
            inbox.take(taken);
            client.inbox = inbox;
            let done = client.inbox.is_empty() && matches!(client.wait, Wait::No) && !client.closing;
            if client.forwarded.is_none() || !done || client.steps == 0 {
                return;
            }
        }
    }

    /// A value came from the disk for a held command.
    pub fn fetched(&mut self, conn: ConnId, value: ValueRead, at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        if let Wait::Reads { outstanding, fetched } = &mut client.wait {
            fetched.push(value);
            *outstanding -= 1;
            if *outstanding == 0 && !client.queued {
                match self.budget.event_share(!self.runnable.is_empty()) {
                    0 => self.enqueue(&mut client),
                    share => self.serve_inbox(&mut client, share, at),
                }
            }
        }
        self.put_back(client, at);
    }

    /// A turn ends: looks at those who wait, and carries out what its budget allows.
    pub fn run_queued(&mut self, at: &mut Serving<'_>) {
        self.look_at_held(at);
        self.no_room = false;
        loop {
            let share = self.budget.share();
            if share == 0 {
                break;
            }
            let Some(conn) = self.runnable.pop_front() else { break };
            let Some(mut client) = self.map.remove(&conn) else { continue };
            client.queued = false;
            self.serve_inbox(&mut client, share, at);
            self.put_back(client, at);
        }
    }

    /// The next turn begins.
    pub fn next_turn(&mut self) {
        self.budget = Budget::new();
    }

    /// Gives those a turn that may go on. Nothing is executed here, and nothing parsed.
    fn look_at_held(&mut self, at: &mut Serving<'_>) {
        if self.unlooked == 0 {
            self.unlooked = self.held.len();
        }
        let looks = self.unlooked.min(LOOKS_PER_TURN);
        self.unlooked -= looks;
        for _ in 0..looks {
            let Some(conn) = self.held.pop_front() else { break };
            let Some(mut client) = self.map.remove(&conn) else { continue };
            client.held = false;
            if !client.queued && self.may_go_on(&mut client, at) {
                self.enqueue(&mut client);
            }
            if client.wait.is_looked_at() {
                client.held = true;
                self.held.push_back(conn);
            }
            self.put_back(client, at);
        }
    }

    fn may_go_on(&mut self, client: &mut Client, at: &mut Serving<'_>) -> bool {
        match client.wait {
            Wait::Parked { since, asks } => match asks {
                ParkedFor::Leaders => topology_is_led(at) || at.is_over(since),
                ParkedFor::Keys { write } => match at.standing(write, client.session.readonly) {
                    Standing::Park(limit) => at.cx.clock.now >= since + limit,
                    Standing::Execute(_) | Standing::Redirect | Standing::Refuse | Standing::TooFewCopies => {
                        true
                    }
                },
            },
            // Where there is none for one, there is hardly any for another.
            Wait::Room => !std::mem::replace(&mut self.no_room, true),
            Wait::Users { since, seen } => at.metadata.is_due(at.cx.clock.now, since, seen),
            Wait::Copies { .. } => {
                if count_copies(client, at) {
                    client.wait = Wait::No;
                    client.more = true;
                }
                false
            }
            Wait::No | Wait::Reads { .. } | Wait::Backlog | Wait::Others => false,
        }
    }

    /// Hands over the replies whose conditions hold, in order.
    pub fn release(&mut self, at: &mut Serving<'_>) {
        let allowed = at.allowed();
        if at.cx.isolated {
            self.reset_unconfirmed(at);
        } else if at.lease_is_not_to_be_had() {
            self.reset_leaseless(at);
        }
        at.cx.stats.max_output_bytes = 0;
        for conn in std::mem::take(&mut self.owed) {
            let Some(mut client) = self.map.remove(&conn) else { continue };
            client.owed = false;
            let parts = release(&mut client, &allowed, at.cx.out);
            at.cx.stats.max_output_bytes = at.cx.stats.max_output_bytes.max(client.backlog as u64);
            if client.reads_too_slowly(&self.memory_limits, at.cx.clock.now) {
                at.cx.stats.output_limit_disconnections += 1;
                self.map.insert(conn, client);
                self.cut_off(conn, at);
                continue;
            }
            if !parts.is_empty() {
                at.cx.stats.net_output_bytes += len_of(&parts) as u64;
                client.sending = true;
                at.cx.out.push(Command::ClientSend { conn, parts });
            }
            if client.closing && !client.owes() {
                self.map.insert(conn, client);
                self.close(conn, at);
                continue;
            }
            self.put_back(client, at);
        }
        while self.memory > self.memory_limits.all && !lacks(Mutant::KeepsAllOutput) {
            let Some(conn) = self.map.values().max_by_key(|client| client.weight).map(|client| client.conn)
            else {
                break;
            };
            at.cx.stats.evicted_clients += 1;
            self.cut_off(conn, at);
        }
        at.cx.stats.client_memory_bytes = self.memory as u64;
    }

    /// This node no longer leads. Clients whose replies depended on that it did are reset: what became of
    /// their writes is for the new leader to know.
    pub fn reset_uncertain(&mut self, at: &mut Serving<'_>) {
        let committed = at.cx.shard.committed();
        let certain = |reply: &Reply| match reply {
            Reply::Chunk(chunk) => {
                let needs = chunk.needs;
                needs.wrote_upto <= committed && !needs.leased && needs.read_upto <= committed
            }
            Reply::Remote { .. } => true,
        };
        for conn in self.owed.clone() {
            let Some(client) = self.map.get_mut(&conn) else { continue };
            if client.replies.iter().all(certain) {
                // Known to be committed: nothing holds them back any more.
                for reply in &mut client.replies {
                    if let Reply::Chunk(chunk) = reply {
                        chunk.needs = Needs::at(chunk.needs.level);
                    }
                }
            } else {
                self.reset(conn, at);
            }
        }
    }

    /// Replies that may leave only under a lease do not wait for one for ever. They can be taken back only as a
    /// whole: the client is reset, and asks again.
    fn reset_leaseless(&mut self, at: &mut Serving<'_>) {
        for conn in self.owed.clone() {
            let Some(client) = self.map.get(&conn) else { continue };
            let waits = |reply: &Reply| matches!(reply, Reply::Chunk(chunk) if chunk.needs.leased);
            if client.replies.iter().any(waits) {
                self.reset(conn, at);
            }
        }
    }

    /// What was written and cannot be confirmed is answered by nobody here: whoever leads next knows what became of it.
    fn reset_unconfirmed(&mut self, at: &mut Serving<'_>) {
        let committed = at.cx.shard.committed();
        let waits = |reply: &Reply| {
            matches!(reply, Reply::Chunk(chunk)
                if chunk.needs.leased || chunk.needs.wrote_upto.max(chunk.needs.read_upto) > committed)
        };
        for conn in self.owed.clone() {
            if self.map.get(&conn).is_some_and(|client| client.replies.iter().any(waits)) {
                self.reset(conn, at);
            }
        }
    }

    /// Closes a connection when what was handed over is out.
    fn close(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        let Some(client) = self.take_out(conn) else { return };
        match &client.forwarded {
            None => {
                at.cx.close_client(conn);
                self.tell_gone(&client, at);
            }
            Some(forwarded) => self.forget_forwarded(forwarded, at),
        }
    }

    /// The same of one whose replies nobody here can give.
    fn reset(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        self.close(conn, at);
    }

    /// Ends a connection at once, and throws away what is not out.
    fn cut_off(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        let Some(client) = self.take_out(conn) else { return };
        match &client.forwarded {
            None => {
                at.cx.reset_client(conn);
                self.tell_gone(&client, at);
            }
            Some(forwarded) => self.forget_forwarded(forwarded, at),
        }
    }

    /// Nobody here knows what becomes of the requests of a client of another shard; that tells it so.
    fn forget_forwarded(&mut self, forwarded: &Forwarded, at: &mut Serving<'_>) {
        self.forwarded.remove(&(forwarded.from, forwarded.conn));
        for ticket in &forwarded.tickets {
            let mail = Mail::Reply { conn: forwarded.conn, ticket: *ticket, parts: None };
            at.cx.out.push(Command::Mail { to: forwarded.from, mail: Box::new(mail) });
        }
    }

    pub fn close_all(&mut self, at: &mut Serving<'_>) {
        for conn in self.map.keys().copied().collect::<Vec<_>>() {
            self.reset(conn, at);
        }
    }

    /// A request of a client of another shard of this node.
    pub fn forwarded_request(&mut self, request: ForwardedRequest, at: &mut Serving<'_>) {
        let (from, conn) = (request.from, request.conn);
        let id = match self.forwarded.get(&(from, conn)) {
            Some(id) => *id,
            None => {
                self.next_forwarded += 1;
                let id = ConnId(self.next_forwarded);
                let (tickets, waiting) = (VecDeque::new(), VecDeque::new());
                let origin = Forwarded { from, conn, tickets, waiting, arrived: request.arrived };
                let client = Client::new(id, request.session.clone(), Face::AnyKey, Some(origin));
                self.map.insert(id, Box::new(client));
                self.forwarded.insert((from, conn), id);
                id
            }
        };
        let Some(mut client) = self.map.remove(&id) else { return };
        // What its own shard asks itself is about what that wrote for it without asking.
        if from == at.cx.options.shard
            && let Some(asks) = self.map.get(&conn)
        {
            client.last_write = client.last_write.max(asks.last_write);
        }
        if let Some(origin) = &mut client.forwarded {
            origin.tickets.push_back(request.ticket);
            origin.waiting.push_back(request);
        }
        if matches!(client.wait, Wait::No) && !client.queued {
            let share = self.budget.event_share(!self.runnable.is_empty());
            if share > 0 {
                self.serve_inbox(&mut client, share, at);
            }
        }
        self.put_back(client, at);
    }

    /// The reply of another shard; `None`: what became of the request is not known there.
    pub fn forwarded_reply(
        &mut self,
        conn: ConnId,
        ticket: u64,
        parts: Option<Vec<Part>>,
        at: &mut Serving<'_>,
    ) {
        let Some(parts) = parts else { return self.reset(conn, at) };
        let Some(mut client) = self.map.remove(&conn) else { return };
        client.fill(ticket, parts);
        let whole = client.long.as_ref().is_some_and(|long| long.others_answered());
        if matches!(client.wait, Wait::Others) && whole {
            client.wait = Wait::No;
            client.more = true;
        }
        self.put_back(client, at);
    }

    /// A client of another shard is gone.
    pub fn forwarded_gone(&mut self, lane: Lane) {
        if let Some(id) = self.forwarded.remove(&lane) {
            self.take_out(id);
        }
    }

    /// How many are connected, and how many of them wait for something that is theirs to wait for: copies of what
    /// they wrote.
    pub fn count(&self) -> (u64, u64) {
        let waits = |conn: &&ConnId| {
            self.map.get(conn).is_some_and(|client| matches!(client.wait, Wait::Copies { .. }))
        };
        (self.map.len() as u64, self.held.iter().take(LOOKS_PER_TURN).filter(waits).count() as u64)
    }

    /// What must hold whenever a turn ends: see `Node::invariants`. The lists are as long as what waits, so they are
    /// gone through in debug builds only.
    pub fn invariants(&self) {
        assert!(self.forwarded.len() <= self.map.len(), "a forwarded client is listed and not there");
        if cfg!(debug_assertions) {
            let owed: Vec<&ConnId> = self.owed.iter().collect();
            let held: Vec<&ConnId> = self.held.iter().collect();
            let runnable: Vec<&ConnId> = self.runnable.iter().collect();
            for (list, is_listed) in [
                (owed, (|client| client.owed) as fn(&Client) -> bool),
                (held, |client| client.held),
                (runnable, |client| client.queued),
            ] {
                // Who was reset since stays listed until the list is gone through.
                let listed: Vec<&ConnId> =
                    list.into_iter().filter(|conn| self.map.contains_key(conn)).collect();
                assert!(listed.iter().all(|conn| is_listed(&self.map[conn])), "listed and not marked");
                let marked = self.map.values().filter(|client| is_listed(client)).count();
                assert_eq!(marked, listed.len(), "marked and not listed, or listed twice");
            }
            let weight: usize = self.map.values().map(|client| client.weight).sum();
            assert_eq!(weight, self.memory, "what clients hold is miscounted");
            assert!(
                self.forwarded.values().all(|id| self.map.contains_key(id)),
                "a forwarded client is lost"
            );
            for client in self.map.values() {
                let looked_at = client.wait.is_looked_at();
                assert!(!looked_at || client.held || client.queued, "{:?} waits for nobody", client.conn);
                let goes_on = client.more && matches!(client.wait, Wait::No) && !client.closing;
                assert!(!goes_on || client.queued, "{:?} never gets its turn", client.conn);
            }
        }
    }
}

/// A request as [`Mail::Request`] brings it.
pub(crate) struct ForwardedRequest {
    pub from: ShardId,
    pub conn: ConnId,
    pub ticket: u64,
    pub session: Session,
    pub bytes: Vec<u8>,
    /// When it came from the client.
    pub arrived: Nanos,
}
