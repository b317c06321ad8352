//! Clients of RESP: their connections, and what becomes of their requests.
//!
//! Promises: requests are executed in order, and one that cannot be executed yet holds back those behind it. All
//! that waits, for whatever reason, is in one list of those with work, and is looked at again from there.
//!
//! - `connection`: one connection, and the order of its replies. `wait`: why a request is held back.
//! - `execute`: one request executed here, forwarded to another shard, redirected, parked or refused.

pub(crate) mod connection;
pub(crate) mod execute;
pub(crate) mod wait;

use crate::events::{Command, Face};
use crate::ids::{ConnId, Lane};
use crate::mail::Mail;
use crate::options::NodeOptions;
use crate::serving::{Needs, Serving};
use crate::store::ValueRead;
use agency::ids::Nanos;
use connection::{Client, Forwarded, Reply, STRANGER_BYTES, release};
use engine::ids::ShardId;
use execute::count_copies;
use faces::resp::{Ack, Limits, Session};
use std::collections::{BTreeMap, VecDeque};
use wait::Wait;

/// Request bytes kept for a client whose next request must wait, before its socket is left unread.
const HELD_REQUEST_BYTES: usize = 1 << 20;
/// Numbers of clients that are connected to another shard start here.
const FORWARDED_IDS: u64 = 1 << 63;

/// All clients of a shard.
pub(crate) struct Clients {
    pub(super) map: BTreeMap<ConnId, Client>,
    pub(super) limits: Limits,
    pub(super) strangers: Limits,
    /// When an attack by way of a browser was told last.
    pub(super) warned_at: Option<Nanos>,
    forwarded: BTreeMap<Lane, ConnId>,
    next_forwarded: u64,
    /// Clients with replies that have not left.
    owed: Vec<ConnId>,
    /// Clients whose next request waits: the queue of those with work. Whoever is looked at again is in it, whatever
    /// the reason: parked, held back by the disk, by its own unread replies, by a password that is being judged.
    held: Vec<ConnId>,
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
            held: Vec::new(),
        }
    }

    /// Whether every reply to an executed request has been handed over.
    pub fn replies_all_released(&self) -> bool {
        self.owed.iter().all(|conn| self.map.get(conn).is_none_or(|client| client.replies.is_empty()))
    }

    /// Whether anybody's reply depends on receipts rather than on durability.
    pub fn waits_for_receipts(&self) -> bool {
        let chunk_waits = |reply: &Reply| matches!(reply, Reply::Chunk(c) if c.needs.level == Ack::Received);
        let waits = |c: &Client| {
            matches!(c.wait, Wait::Copies { aof: false, .. }) || c.replies.iter().any(chunk_waits)
        };
        self.owed.iter().chain(&self.held).filter_map(|conn| self.map.get(conn)).any(waits)
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
        self.map.insert(conn, Client::new(conn, session, face, None));
    }

    /// Bytes from a client.
    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8], at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        at.cx.stats.net_input_bytes += bytes.len() as u64;
        if client.inbox.is_empty() && matches!(client.wait, Wait::No) {
            let taken = self.serve_all(&mut client, bytes, at);
            client.inbox.extend_from_slice(&bytes[taken..]);
        } else {
            client.inbox.extend_from_slice(bytes);
            self.serve_inbox(&mut client, at);
        }
        self.put_back(client, at);
    }

    /// What was sent to it last is out.
    pub fn sent(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        client.sending = false;
        if matches!(client.wait, Wait::Backlog) && client.has_reply_room() {
            client.wait = Wait::No;
            self.serve_inbox(&mut client, at);
        }
        self.put_back(client, at);
    }

    /// A client is gone.
    pub fn closed(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        if let Some(client) = self.map.remove(&conn) {
            self.tell_gone(&client, at);
        }
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
    fn put_back(&mut self, mut client: Client, at: &mut Serving<'_>) {
        let held = !matches!(client.wait, Wait::No);
        if held && !client.held {
            client.held = true;
            self.held.push(client.conn);
        }
        let owes = !client.replies.is_empty() || client.closing;
        if owes && !client.owed {
            client.owed = true;
            self.owed.push(client.conn);
        }
        let most = if client.stranger { STRANGER_BYTES } else { HELD_REQUEST_BYTES };
        let paused = held && client.inbox.len() > most;
        if paused != client.paused && client.forwarded.is_none() {
            client.paused = paused;
            at.cx.out.push(Command::ClientPause { conn: client.conn, paused });
        }
        self.map.insert(client.conn, client);
    }

    fn serve_inbox(&mut self, client: &mut Client, at: &mut Serving<'_>) {
        if !matches!(client.wait, Wait::No) || client.inbox.is_empty() {
            return;
        }
        let mut inbox = std::mem::take(&mut client.inbox);
        let taken = self.serve_all(client, &inbox, at);
        inbox.drain(..taken);
        client.inbox = inbox;
    }

    /// A value came from the disk for a held command.
    pub fn fetched(&mut self, conn: ConnId, value: ValueRead, at: &mut Serving<'_>) {
        let Some(mut client) = self.map.remove(&conn) else { return };
        if let Wait::Reads { outstanding, fetched } = &mut client.wait {
            fetched.push(value);
            *outstanding -= 1;
            if *outstanding == 0 {
                self.serve_again(&mut client, at);
            }
        }
        self.put_back(client, at);
    }

    /// Tries held requests again.
    pub fn retry_held(&mut self, at: &mut Serving<'_>) {
        for conn in std::mem::take(&mut self.held) {
            let Some(mut client) = self.map.remove(&conn) else { continue };
            client.held = false;
            match client.wait {
                Wait::No => self.serve_inbox(&mut client, at),
                Wait::Parked { .. } | Wait::Room => self.serve_again(&mut client, at),
                Wait::Users { since, seen } if at.metadata.is_due(at.cx.clock.now, since, seen) => {
                    self.serve_again(&mut client, at);
                }
                Wait::Copies { .. } => {
                    if count_copies(&mut client, at) {
                        client.wait = Wait::No;
                        self.serve_inbox(&mut client, at);
                    }
                }
                Wait::Backlog if client.has_reply_room() => {
                    client.wait = Wait::No;
                    self.serve_inbox(&mut client, at);
                }
                Wait::Reads { .. } | Wait::Backlog | Wait::Users { .. } => {}
            }
            self.put_back(client, at);
        }
    }

    fn serve_again(&mut self, client: &mut Client, at: &mut Serving<'_>) {
        let inbox = std::mem::take(&mut client.inbox);
        let taken = self.serve_all(client, &inbox, at);
        client.inbox = inbox;
        client.inbox.drain(..taken);
    }

    /// Hands over the replies whose conditions hold, in order.
    pub fn release(&mut self, at: &mut Serving<'_>) {
        let allowed = at.allowed();
        if at.lease_is_not_to_be_had() {
            self.reset_leaseless(at);
        }
        for conn in std::mem::take(&mut self.owed) {
            let Some(mut client) = self.map.remove(&conn) else { continue };
            client.owed = false;
            let bytes = release(&mut client, &allowed, at.cx.out);
            if !bytes.is_empty() {
                at.cx.stats.net_output_bytes += bytes.len() as u64;
                client.sending = true;
                at.cx.out.push(Command::ClientSend { conn, bytes });
            }
            if client.closing && client.replies.is_empty() {
                match &client.forwarded {
                    Some(origin) => {
                        self.forwarded.remove(&(origin.from, origin.conn));
                    }
                    None => at.cx.close_client(conn),
                }
                self.tell_gone(&client, at);
                continue;
            }
            self.put_back(client, at);
        }
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

    fn reset(&mut self, conn: ConnId, at: &mut Serving<'_>) {
        let Some(client) = self.map.remove(&conn) else { return };
        match &client.forwarded {
            None => {
                at.cx.close_client(conn);
                self.tell_gone(&client, at);
            }
            Some(forwarded) => {
                self.forwarded.remove(&(forwarded.from, forwarded.conn));
                for ticket in &forwarded.tickets {
                    let mail = Mail::Reply { conn: forwarded.conn, ticket: *ticket, bytes: None };
                    at.cx.out.push(Command::Mail { to: forwarded.from, mail: Box::new(mail) });
                }
            }
        }
    }

    pub fn close_all(&mut self, at: &mut Serving<'_>) {
        for conn in self.map.keys().copied().collect::<Vec<_>>() {
            self.reset(conn, at);
        }
    }

    /// A request of a client of another shard of this node.
    pub fn forwarded_request(&mut self, mail: ForwardedRequest, at: &mut Serving<'_>) {
        let ForwardedRequest { from, conn, ticket, session, bytes } = mail;
        let id = match self.forwarded.get(&(from, conn)) {
            Some(id) => *id,
            None => {
                self.next_forwarded += 1;
                let id = ConnId(self.next_forwarded);
                let origin = Forwarded { from, conn, tickets: VecDeque::new() };
                let client = Client::new(id, session.clone(), Face::AnyKey, Some(origin));
                self.map.insert(id, client);
                self.forwarded.insert((from, conn), id);
                id
            }
        };
        let Some(mut client) = self.map.remove(&id) else { return };
        client.session = session;
        if let Some(origin) = &mut client.forwarded {
            origin.tickets.push_back(ticket);
        }
        client.inbox.extend_from_slice(&bytes);
        self.serve_inbox(&mut client, at);
        self.put_back(client, at);
    }

    /// The reply of another shard; `None`: what became of the request is not known there.
    pub fn forwarded_reply(
        &mut self,
        conn: ConnId,
        ticket: u64,
        bytes: Option<Vec<u8>>,
        at: &mut Serving<'_>,
    ) {
        match bytes {
            None => self.reset(conn, at),
            Some(bytes) => {
                if let Some(client) = self.map.get_mut(&conn) {
                    client.fill(ticket, bytes);
                }
            }
        }
    }

    /// A client of another shard is gone.
    pub fn forwarded_gone(&mut self, lane: Lane) {
        if let Some(id) = self.forwarded.remove(&lane) {
            self.map.remove(&id);
        }
    }

    /// How many are connected, and how many of them wait for something that is theirs to wait for: copies of what
    /// they wrote.
    pub fn count(&self) -> (u64, u64) {
        let waits = |conn: &&ConnId| {
            self.map.get(conn).is_some_and(|client| matches!(client.wait, Wait::Copies { .. }))
        };
        (self.map.len() as u64, self.held.iter().filter(waits).count() as u64)
    }

    /// What must hold whenever a turn ends: see `Node::invariants`. The lists are as long as what waits, so they are
    /// gone through in debug builds only.
    pub fn invariants(&self) {
        assert!(self.forwarded.len() <= self.map.len(), "a forwarded client is listed and not there");
        if cfg!(debug_assertions) {
            for (list, is_listed) in [
                (&self.owed, (|client| client.owed) as fn(&Client) -> bool),
                (&self.held, |client| client.held),
            ] {
                // Who was reset since stays listed until the list is gone through.
                let listed: Vec<&ConnId> = list.iter().filter(|conn| self.map.contains_key(conn)).collect();
                assert!(listed.iter().all(|conn| is_listed(&self.map[conn])), "listed and not marked");
                let marked = self.map.values().filter(|client| is_listed(client)).count();
                assert_eq!(marked, listed.len(), "marked and not listed, or listed twice");
            }
            assert!(
                self.forwarded.values().all(|id| self.map.contains_key(id)),
                "a forwarded client is lost"
            );
            for client in self.map.values() {
                let waits = !matches!(client.wait, Wait::No);
                assert!(!waits || client.held, "{:?} waits for nobody", client.conn);
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
}
