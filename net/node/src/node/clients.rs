//! Client connections and the order of their replies.
//!
//! Promises: replies leave in the order of the requests; a reply leaves only when what it depends on holds
//! (commit, copies, lease); requests are executed in order, and one that cannot be executed yet holds back
//! those behind it. What a request does is `serve`'s business.

use super::access::Fetched;
use super::waiting::Wait;
use super::{Node, NodeOptions, Role};
use crate::mail::Mail;
use crate::seam::{Action, ConnId, Face};
use agency::ids::Nanos;
use engine::ids::{Lsn, ShardId};
use faces::resp::{Ack, Gather, Limits, ParseState, Session, Stats, gather};
use std::collections::{BTreeMap, VecDeque};

/// Reply bytes that a client may leave unread before its further requests wait.
const REPLY_BACKLOG_BYTES: usize = 4 << 20;
/// The same of one who has yet to say who it is, and whose replies are short.
const STRANGER_BYTES: usize = 64 << 10;
/// Request bytes kept for a client whose next request must wait, before its socket is left unread.
const HELD_REQUEST_BYTES: usize = 1 << 20;
/// Numbers of clients that are connected to another shard start here.
const GUEST_IDS: u64 = 1 << 63;

/// What must hold before a reply may leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) level: Ack,
    /// Must be committed: the newest value that was read.
    pub(super) read_upto: Lsn,
    /// Must be acknowledged at `level`: the newest frame that was written.
    pub(super) wrote_upto: Lsn,
    /// There is a linearizable read in it: leaves only under a lease.
    pub(super) leased: bool,
}

impl Needs {
    /// Nothing yet.
    pub(super) fn at(level: Ack) -> Needs {
        Needs { level, read_upto: Lsn(0), wrote_upto: Lsn(0), leased: false }
    }
}

/// Replies of one turn with what they depend on.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    turn: u64,
    pub(super) needs: Needs,
}

/// A place in the order of replies.
enum Reply {
    Chunk(Chunk),
    /// From other shards: parts by ticket, made one by `gather`.
    Remote {
        first_ticket: u64,
        parts: Vec<Option<Vec<u8>>>,
        gather: Option<Gather>,
    },
}

/// The connection of this client is with another shard of this node.
struct Guest {
    from: ShardId,
    conn: ConnId,
    /// Replies owed, in order.
    tickets: VecDeque<u64>,
}

/// One client.
pub(super) struct Client {
    pub(super) conn: ConnId,
    pub(super) session: Session,
    pub(super) face: Face,
    pub(super) port: u16,
    pub(super) parse: ParseState,
    pub(super) wait: Wait,
    /// The end of the newest frame this client wrote here: what `WAIT` asks about.
    pub(super) last_write: Lsn,
    /// It has yet to say who it is, and is given little of our memory.
    pub(super) stranger: bool,
    /// No further request is executed; closes once the replies are out.
    pub(super) closing: bool,
    guest: Option<Guest>,
    inbox: Vec<u8>,
    replies: VecDeque<Reply>,
    backlog: usize,
    sending: bool,
    paused: bool,
    /// Is in `Clients::owed`.
    owed: bool,
    /// Is in `Clients::held`.
    held: bool,
    forwarded: bool,
}

impl Client {
    fn new(conn: ConnId, session: Session, face: Face, guest: Option<Guest>) -> Client {
        let port = session.local.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        Client {
            conn,
            session,
            face,
            port,
            parse: ParseState::default(),
            wait: Wait::No,
            last_write: Lsn(0),
            stranger: false,
            closing: false,
            guest,
            inbox: Vec::new(),
            replies: VecDeque::new(),
            backlog: 0,
            sending: false,
            paused: false,
            owed: false,
            held: false,
            forwarded: false,
        }
    }

    /// Whether requests for other shards are to be forwarded: not for one that was forwarded itself.
    pub(super) fn forwards(&self) -> bool {
        self.face == Face::AnyKey && self.guest.is_none()
    }

    /// Whether it has read enough of its replies to be given more.
    pub(super) fn has_reply_room(&self) -> bool {
        self.backlog < if self.stranger { STRANGER_BYTES } else { REPLY_BACKLOG_BYTES }
    }

    /// Takes out the chunk that the next reply is written to; [`Client::close_chunk`] puts it back. Replies of
    /// one turn and level share one: they wait for the same disk write. A guest's do not, because each of its
    /// replies is a mail of its own.
    pub(super) fn open_chunk(&mut self, turn: u64, level: Ack) -> Chunk {
        let shared = self.guest.is_none()
            && matches!(self.replies.back(), Some(Reply::Chunk(last)) if last.turn == turn && last.needs.level == level);
        match if shared { self.replies.pop_back() } else { None } {
            Some(Reply::Chunk(chunk)) => chunk,
            _ => Chunk { bytes: Vec::new(), turn, needs: Needs::at(level) },
        }
    }

    /// Puts a chunk into the order of replies, unless nothing was written to it.
    pub(super) fn close_chunk(&mut self, chunk: Chunk) {
        if !chunk.bytes.is_empty() {
            self.replies.push_back(Reply::Chunk(chunk));
        }
    }

    /// A reply that depends on nothing.
    pub(super) fn reply(&mut self, turn: u64, bytes: &[u8]) {
        let mut chunk = self.open_chunk(turn, Ack::Durable);
        chunk.bytes.extend_from_slice(bytes);
        self.close_chunk(chunk);
    }

    /// Reserves the place of a reply that comes from other shards.
    pub(super) fn expect_remote(&mut self, first_ticket: u64, parts: usize, gather: Option<Gather>) {
        self.forwarded = true;
        self.replies.push_back(Reply::Remote { first_ticket, parts: vec![None; parts], gather });
    }

    fn fill(&mut self, ticket: u64, bytes: Vec<u8>) {
        for reply in &mut self.replies {
            if let Reply::Remote { first_ticket, parts, .. } = reply
                && let Some(part) =
                    ticket.checked_sub(*first_ticket).and_then(|at| parts.get_mut(at as usize))
            {
                *part = Some(bytes);
                return;
            }
        }
    }
}

/// All clients of a shard.
pub(super) struct Clients {
    pub(super) map: BTreeMap<ConnId, Client>,
    pub(super) limits: Limits,
    pub(super) strangers: Limits,
    /// When an attack by way of a browser was told last.
    pub(super) warned_at: Option<Nanos>,
    pub(super) stats: Stats,
    /// Keys seen to have expired in this turn.
    pub(super) expired: Vec<Box<[u8]>>,
    guests: BTreeMap<(ShardId, ConnId), ConnId>,
    next_guest: u64,
    /// Clients with replies that have not left.
    owed: Vec<ConnId>,
    /// Clients whose next request waits.
    held: Vec<ConnId>,
}

/// What the cursors allow to leave at this moment.
pub(super) struct Allowed {
    committed: Lsn,
    received: Lsn,
    local: Lsn,
    pub(super) lease: bool,
    leads: bool,
}

impl Allowed {
    pub(super) fn allows(&self, needs: &Needs) -> bool {
        let wrote = match needs.level {
            Ack::Durable => self.committed,
            Ack::Received => self.received,
            Ack::Local => self.local,
        };
        needs.wrote_upto <= wrote
            && needs.read_upto <= self.committed
            && (!needs.leased || self.lease)
            && (needs.wrote_upto == Lsn(0) || self.leads)
    }
}

impl Clients {
    pub(super) fn new(options: &NodeOptions) -> Clients {
        let limits = Limits { max_value_bytes: options.settings.max_value_bytes, ..Limits::default() };
        let stats = Stats { max_clients: options.settings.max_clients.into(), ..Stats::default() };
        Clients {
            map: BTreeMap::new(),
            limits,
            strangers: Limits { stranger: true, ..limits },
            warned_at: None,
            stats,
            expired: Vec::new(),
            guests: BTreeMap::new(),
            next_guest: GUEST_IDS,
            owed: Vec::new(),
            held: Vec::new(),
        }
    }

    /// Whether every reply to an executed request has been handed over.
    pub(super) fn replies_all_released(&self) -> bool {
        self.owed.iter().all(|conn| self.map.get(conn).is_none_or(|client| client.replies.is_empty()))
    }

    /// Whether anybody's reply depends on receipts rather than on durability.
    pub(super) fn waits_for_receipts(&self) -> bool {
        let chunk_waits = |reply: &Reply| matches!(reply, Reply::Chunk(c) if c.needs.level == Ack::Received);
        let waits = |c: &Client| {
            matches!(c.wait, Wait::Copies { aof: false, .. }) || c.replies.iter().any(chunk_waits)
        };
        self.owed.iter().chain(&self.held).filter_map(|conn| self.map.get(conn)).any(waits)
    }

    /// When a held client wants to be looked at again.
    pub(super) fn deadline(&self) -> Nanos {
        let due = |conn| match self.map.get(conn)?.wait {
            Wait::Copies { until, .. } => until,
            _ => None,
        };
        self.held.iter().filter_map(due).min().unwrap_or(Nanos(u64::MAX))
    }
}

impl Node {
    pub(super) fn client_opened(&mut self, conn: ConnId, face: Face, peer: String, local: String) {
        if face == Face::Http {
            return self.http_opened(conn);
        }
        let session = Session::new(conn.0, peer, local, self.wall_ms);
        self.clients.stats.connections_received += 1;
        self.clients.map.insert(conn, Client::new(conn, session, face, None));
        self.clients.stats.connected_clients = self.clients.map.len() as u64;
    }

    pub(super) fn client_bytes(&mut self, conn: ConnId, bytes: &[u8], out: &mut Vec<Action>) {
        let Some(mut client) = self.clients.map.remove(&conn) else {
            return self.http_bytes(conn, bytes, out);
        };
        self.clients.stats.net_input_bytes += bytes.len() as u64;
        if client.inbox.is_empty() && matches!(client.wait, Wait::No) {
            let taken = self.serve_all(&mut client, bytes, out);
            client.inbox.extend_from_slice(&bytes[taken..]);
        } else {
            client.inbox.extend_from_slice(bytes);
            self.serve_inbox(&mut client, out);
        }
        self.put_back(client, out);
    }

    pub(super) fn client_sent(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        let Some(mut client) = self.clients.map.remove(&conn) else { return self.http_sent(conn, out) };
        client.sending = false;
        if matches!(client.wait, Wait::Backlog) && client.has_reply_room() {
            client.wait = Wait::No;
            self.serve_inbox(&mut client, out);
        }
        self.put_back(client, out);
    }

    pub(super) fn client_closed(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        let Some(client) = self.clients.map.remove(&conn) else { return self.http_closed(conn, out) };
        self.clients.stats.connected_clients = self.clients.map.len() as u64;
        self.tell_gone(&client, out);
    }

    fn tell_gone(&self, client: &Client, out: &mut Vec<Action>) {
        if !client.forwarded {
            return;
        }
        let from = self.options.shard;
        for shard in (0..self.options.settings.shards).map(ShardId) {
            out.push(Action::Mail { to: shard, mail: Box::new(Mail::Gone { from, conn: client.conn }) });
        }
    }

    /// Lists the client where it will be looked at again, and applies backpressure.
    fn put_back(&mut self, mut client: Client, out: &mut Vec<Action>) {
        let held = !matches!(client.wait, Wait::No);
        if held && !client.held {
            client.held = true;
            self.clients.held.push(client.conn);
        }
        let owes = !client.replies.is_empty() || client.closing;
        if owes && !client.owed {
            client.owed = true;
            self.clients.owed.push(client.conn);
        }
        let most = if client.stranger { STRANGER_BYTES } else { HELD_REQUEST_BYTES };
        let paused = held && client.inbox.len() > most;
        if paused != client.paused && client.guest.is_none() {
            client.paused = paused;
            out.push(Action::ClientPause { conn: client.conn, paused });
        }
        self.clients.map.insert(client.conn, client);
    }

    fn serve_inbox(&mut self, client: &mut Client, out: &mut Vec<Action>) {
        if !matches!(client.wait, Wait::No) || client.inbox.is_empty() {
            return;
        }
        let mut inbox = std::mem::take(&mut client.inbox);
        let taken = self.serve_all(client, &inbox, out);
        inbox.drain(..taken);
        client.inbox = inbox;
    }

    /// A value came from the disk for a held command.
    pub(super) fn fetched(&mut self, conn: ConnId, value: Fetched, out: &mut Vec<Action>) {
        let Some(mut client) = self.clients.map.remove(&conn) else { return };
        if let Wait::Reads { outstanding, fetched } = &mut client.wait {
            fetched.push(value);
            *outstanding -= 1;
            if *outstanding == 0 {
                self.serve_again(&mut client, out);
            }
        }
        self.put_back(client, out);
    }

    /// Tries held requests again.
    pub(super) fn retry_waiting(&mut self, out: &mut Vec<Action>) {
        for conn in std::mem::take(&mut self.clients.held) {
            let Some(mut client) = self.clients.map.remove(&conn) else { continue };
            client.held = false;
            match client.wait {
                Wait::No => self.serve_inbox(&mut client, out),
                Wait::Parked { .. } | Wait::Room => self.serve_again(&mut client, out),
                Wait::Users { since, seen } if self.known.is_due(self.now, since, seen) => {
                    self.serve_again(&mut client, out);
                }
                Wait::Copies { .. } => {
                    if self.count_copies(&mut client) {
                        client.wait = Wait::No;
                        self.serve_inbox(&mut client, out);
                    }
                }
                Wait::Backlog if client.has_reply_room() => {
                    client.wait = Wait::No;
                    self.serve_inbox(&mut client, out);
                }
                Wait::Reads { .. } | Wait::Backlog | Wait::Users { .. } => {}
            }
            self.put_back(client, out);
        }
    }

    fn serve_again(&mut self, client: &mut Client, out: &mut Vec<Action>) {
        let inbox = std::mem::take(&mut client.inbox);
        let taken = self.serve_all(client, &inbox, out);
        client.inbox = inbox;
        client.inbox.drain(..taken);
    }

    pub(super) fn allowed(&self) -> Allowed {
        let leads = matches!(self.role, Role::Leader(_));
        Allowed {
            committed: self.shard.committed(),
            received: self.least_copy(self.shard.durable(), |cursors| cursors.received),
            local: self.shard.durable(),
            lease: self.lease_holds(),
            leads,
        }
    }

    /// Hands over the replies whose conditions hold, in order.
    pub(super) fn release_replies(&mut self, out: &mut Vec<Action>) {
        let allowed = self.allowed();
        if self.lease_is_not_to_be_had() {
            self.reset_leaseless_clients(out);
        }
        for conn in std::mem::take(&mut self.clients.owed) {
            let Some(mut client) = self.clients.map.remove(&conn) else { continue };
            client.owed = false;
            let bytes = release(&mut client, &allowed, out);
            if !bytes.is_empty() {
                self.clients.stats.net_output_bytes += bytes.len() as u64;
                client.sending = true;
                out.push(Action::ClientSend { conn, bytes });
            }
            if client.closing && client.replies.is_empty() {
                out.push(Action::ClientClose { conn });
                self.tell_gone(&client, out);
                continue;
            }
            self.put_back(client, out);
        }
        self.clients.stats.connected_clients = self.clients.map.len() as u64;
    }

    /// This node no longer leads. Clients whose replies depended on that it did are reset: what became of
    /// their writes is for the new leader to know.
    pub(super) fn reset_uncertain_clients(&mut self, out: &mut Vec<Action>) {
        let committed = self.shard.committed();
        let certain = |reply: &Reply| match reply {
            Reply::Chunk(chunk) => {
                let needs = chunk.needs;
                needs.wrote_upto <= committed && !needs.leased && needs.read_upto <= committed
            }
            Reply::Remote { .. } => true,
        };
        for conn in self.clients.owed.clone() {
            let Some(client) = self.clients.map.get_mut(&conn) else { continue };
            if client.replies.iter().all(certain) {
                // Known to be committed: nothing holds them back any more.
                for reply in &mut client.replies {
                    if let Reply::Chunk(chunk) = reply {
                        chunk.needs = Needs::at(chunk.needs.level);
                    }
                }
            } else {
                self.reset(conn, out);
            }
        }
    }

    /// Replies that may leave only under a lease do not wait for one for ever. They can be taken back only as a
    /// whole: the client is reset, and asks again.
    fn reset_leaseless_clients(&mut self, out: &mut Vec<Action>) {
        for conn in self.clients.owed.clone() {
            let Some(client) = self.clients.map.get(&conn) else { continue };
            let waits = |reply: &Reply| matches!(reply, Reply::Chunk(chunk) if chunk.needs.leased);
            if client.replies.iter().any(waits) {
                self.reset(conn, out);
            }
        }
    }

    fn reset(&mut self, conn: ConnId, out: &mut Vec<Action>) {
        let Some(client) = self.clients.map.remove(&conn) else { return };
        match &client.guest {
            None => {
                out.push(Action::ClientClose { conn });
                self.tell_gone(&client, out);
            }
            Some(guest) => {
                self.clients.guests.remove(&(guest.from, guest.conn));
                for ticket in &guest.tickets {
                    let mail = Mail::Reply { conn: guest.conn, ticket: *ticket, bytes: None };
                    out.push(Action::Mail { to: guest.from, mail: Box::new(mail) });
                }
            }
        }
    }

    pub(super) fn close_all_clients(&mut self, out: &mut Vec<Action>) {
        for conn in self.clients.map.keys().copied().collect::<Vec<_>>() {
            self.reset(conn, out);
        }
        self.close_all_http(out);
    }

    /// Mail from another shard of this node.
    pub(super) fn mail(&mut self, mail: Mail, out: &mut Vec<Action>) {
        match mail {
            Mail::Request { from, conn, ticket, session, bytes } => {
                let id = match self.clients.guests.get(&(from, conn)) {
                    Some(id) => *id,
                    None => {
                        self.clients.next_guest += 1;
                        let id = ConnId(self.clients.next_guest);
                        let guest = Guest { from, conn, tickets: VecDeque::new() };
                        let client = Client::new(id, session.clone(), Face::AnyKey, Some(guest));
                        self.clients.map.insert(id, client);
                        self.clients.guests.insert((from, conn), id);
                        id
                    }
                };
                let Some(mut client) = self.clients.map.remove(&id) else { return };
                client.session = session;
                if let Some(guest) = &mut client.guest {
                    guest.tickets.push_back(ticket);
                }
                client.inbox.extend_from_slice(&bytes);
                self.serve_inbox(&mut client, out);
                self.put_back(client, out);
            }
            Mail::Reply { conn, bytes: None, .. } => self.reset(conn, out),
            Mail::Reply { conn, ticket, bytes: Some(bytes) } => {
                if let Some(client) = self.clients.map.get_mut(&conn) {
                    client.fill(ticket, bytes);
                }
            }
            Mail::Gone { from, conn } => {
                self.forget_errands((from, conn), out);
                if let Some(id) = self.clients.guests.remove(&(from, conn)) {
                    self.clients.map.remove(&id);
                }
            }
            Mail::Errand(errand) => self.errand_came(*errand, out),
            Mail::Report { conn, ticket, report } => self.http_report(conn, ticket, report, out),
            Mail::Metadata(metadata) => self.metadata_came(metadata, out),
            Mail::MetadataHeld { from, version } => self.metadata_held(from, version),
        }
    }
}

/// Takes the replies off the front that may leave. A guest's go by mail; else they are returned as bytes,
/// unless an earlier send is still under way.
fn release(client: &mut Client, allowed: &Allowed, out: &mut Vec<Action>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if client.sending {
        return bytes;
    }
    while let Some(front) = client.replies.front_mut() {
        let part = match front {
            Reply::Chunk(chunk) if allowed.allows(&chunk.needs) => std::mem::take(&mut chunk.bytes),
            Reply::Remote { parts, gather: how, .. } if parts.iter().all(Option::is_some) => {
                let parts: Vec<Vec<u8>> = parts.iter_mut().filter_map(Option::take).collect();
                match how {
                    Some(kind) => {
                        let mut joined = Vec::new();
                        gather(*kind, &parts, &mut joined);
                        joined
                    }
                    None => parts.concat(),
                }
            }
            Reply::Chunk(_) | Reply::Remote { .. } => break,
        };
        client.replies.pop_front();
        match &mut client.guest {
            Some(guest) => {
                if let Some(ticket) = guest.tickets.pop_front() {
                    let mail = Mail::Reply { conn: guest.conn, ticket, bytes: Some(part) };
                    out.push(Action::Mail { to: guest.from, mail: Box::new(mail) });
                }
            }
            None if bytes.is_empty() => bytes = part,
            None => bytes.extend_from_slice(&part),
        }
    }
    let left = |reply: &Reply| match reply {
        Reply::Chunk(chunk) => chunk.bytes.len(),
        Reply::Remote { parts, .. } => parts.iter().flatten().map(Vec::len).sum(),
    };
    client.backlog = client.replies.iter().map(left).sum();
    bytes
}
