//! One connection: its bytes, and the order of its replies.
//!
//! Promises: replies leave in the order of the requests; a reply leaves only when what it depends on holds
//! (commit, copies, lease).

use super::wait::Wait;
use crate::events::{Command, Face};
use crate::ids::ConnId;
use crate::mail::Mail;
use crate::serving::{Allowed, Needs};
use engine::ids::{Lsn, ShardId};
use faces::resp::{Ack, Gather, ParseState, Session, gather};
use std::collections::VecDeque;

/// Reply bytes that a client may leave unread before its further requests wait.
const REPLY_BACKLOG_BYTES: usize = 4 << 20;
/// The same of one who has yet to say who it is, and whose replies are short.
pub(super) const STRANGER_BYTES: usize = 64 << 10;

/// Replies of one turn with what they depend on.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(super) bytes: Vec<u8>,
    turn: u64,
    pub(super) needs: Needs,
}

/// A place in the order of replies.
pub(super) enum Reply {
    Chunk(Chunk),
    /// From other shards: parts by ticket, made one by `gather`.
    Remote {
        first_ticket: u64,
        parts: Vec<Option<Vec<u8>>>,
        gather: Option<Gather>,
    },
}

/// The connection of this client is with another shard of this node.
pub(super) struct Forwarded {
    pub(super) from: ShardId,
    pub(super) conn: ConnId,
    /// Replies owed, in order.
    pub(super) tickets: VecDeque<u64>,
}

/// One client.
pub(crate) struct Client {
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
    pub(super) forwarded: Option<Forwarded>,
    pub(super) inbox: Vec<u8>,
    pub(super) replies: VecDeque<Reply>,
    pub(super) backlog: usize,
    pub(super) sending: bool,
    pub(super) paused: bool,
    /// Is in `Clients::owed`.
    pub(super) owed: bool,
    /// Is in `Clients::held`.
    pub(super) held: bool,
    pub(super) asked_others: bool,
}

impl Client {
    pub(super) fn new(conn: ConnId, session: Session, face: Face, forwarded: Option<Forwarded>) -> Client {
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
            forwarded,
            inbox: Vec::new(),
            replies: VecDeque::new(),
            backlog: 0,
            sending: false,
            paused: false,
            owed: false,
            held: false,
            asked_others: false,
        }
    }

    /// Whether requests for other shards are to be forwarded: not for one that was forwarded itself.
    pub(super) fn forwards(&self) -> bool {
        self.face == Face::AnyKey && self.forwarded.is_none()
    }

    /// Whether it has read enough of its replies to be given more.
    pub(super) fn has_reply_room(&self) -> bool {
        self.backlog < if self.stranger { STRANGER_BYTES } else { REPLY_BACKLOG_BYTES }
    }

    /// Takes out the chunk that the next reply is written to; [`Client::close_chunk`] puts it back. Replies of
    /// one turn and level share one: they wait for the same disk write. A forwarded client's do not, because each of its
    /// replies is a mail of its own.
    pub(super) fn open_chunk(&mut self, turn: u64, level: Ack) -> Chunk {
        let shared = self.forwarded.is_none()
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
        self.asked_others = true;
        self.replies.push_back(Reply::Remote { first_ticket, parts: vec![None; parts], gather });
    }

    pub(super) fn fill(&mut self, ticket: u64, bytes: Vec<u8>) {
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

/// Takes the replies off the front that may leave. A forwarded client's go by mail; else they are returned as bytes,
/// unless an earlier send is still under way.
pub(super) fn release(client: &mut Client, allowed: &Allowed, out: &mut Vec<Command>) -> Vec<u8> {
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
        match &mut client.forwarded {
            Some(forwarded) => {
                if let Some(ticket) = forwarded.tickets.pop_front() {
                    let mail = Mail::Reply { conn: forwarded.conn, ticket, bytes: Some(part) };
                    out.push(Command::Mail { to: forwarded.from, mail: Box::new(mail) });
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
