//! One connection: its bytes, and the order of its replies.
//!
//! Promises: replies leave in the order of the requests; a reply leaves only when what it depends on holds
//! (commit, copies, lease). Knows what it holds of our memory (`weight`), and what of it was not read (`backlog`).

use super::ForwardedRequest;
use super::inbox::Inbox;
use super::progress::Long;
use super::wait::Wait;
use crate::events::{Command, Face, MAX_PARTS, Part};
use crate::ids::ConnId;
use crate::mail::Mail;
use crate::mutants::{Mutant, lacks};
use crate::part::len_of;
use crate::serving::{Allowed, Needs};
use crate::settings::ClientMemory;
use agency::ids::Nanos;
use engine::ids::{Lsn, ShardId};
use faces::resp::{Ack, Gather, ParseState, Session, gather};
use std::collections::VecDeque;
use std::sync::Arc;

/// Reply bytes that a client may leave unread before its further requests wait.
const REPLY_BACKLOG_BYTES: usize = 4 << 20;
/// The same of one who has yet to say who it is, and whose replies are short.
pub(super) const STRANGER_BYTES: usize = 64 << 10;
/// Requests of one client that are with other shards, and their bytes, above which its further requests wait.
const FORWARDED_REQUESTS: usize = 1024;
const FORWARDED_BYTES: usize = 16 << 20;
/// Parts of a reply that are not larger are joined with the one before.
const SMALL_PART_BYTES: usize = 4 << 10;

/// Most room that is made for replies before they are known.
const REPLY_ROOM_BYTES: usize = 4 << 10;

/// Replies of one turn with what they depend on.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// What comes before `bytes`.
    parts: Vec<Part>,
    pub(super) bytes: Vec<u8>,
    /// Bytes in `parts`, and those that `Client::backlog` knows of.
    parts_bytes: usize,
    counted: usize,
    turn: u64,
    pub(super) needs: Needs,
    /// The last request in it is not carried out to its end: it does not leave.
    pub(super) unfinished: bool,
}

impl Chunk {
    fn new(turn: u64, level: Ack, room: usize) -> Chunk {
        Chunk {
            parts: Vec::new(),
            bytes: Vec::with_capacity(room),
            parts_bytes: 0,
            counted: 0,
            turn,
            needs: Needs::at(level),
            unfinished: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parts_bytes + self.bytes.len()
    }

    /// Appends what is not copied.
    pub(super) fn push_shared(&mut self, bytes: Arc<Vec<u8>>) {
        if !self.bytes.is_empty() {
            self.parts_bytes += self.bytes.len();
            self.parts.push(Part::Owned(std::mem::take(&mut self.bytes)));
        }
        self.parts_bytes += bytes.len();
        self.parts.push(Part::Shared(bytes));
    }

    fn take_parts(&mut self) -> Vec<Part> {
        let mut parts = std::mem::take(&mut self.parts);
        if !self.bytes.is_empty() {
            parts.push(Part::Owned(std::mem::take(&mut self.bytes)));
        }
        parts
    }
}

/// A place in the order of replies.
pub(super) enum Reply {
    Chunk(Chunk),
    /// From other shards: parts by ticket, made one by `gather`.
    Remote {
        first_ticket: u64,
        parts: Vec<Option<Vec<Part>>>,
        gather: Option<Gather>,
        /// Bytes of the request, all copies of it.
        asked_bytes: usize,
    },
}

impl Reply {
    fn len(&self) -> usize {
        match self {
            Reply::Chunk(chunk) => chunk.len(),
            Reply::Remote { parts, .. } => parts.iter().flatten().map(|parts| len_of(parts)).sum(),
        }
    }
}

/// The connection of this client is with another shard of this node.
pub(super) struct Forwarded {
    pub(super) from: ShardId,
    pub(super) conn: ConnId,
    /// Replies owed, in order.
    pub(super) tickets: VecDeque<u64>,
    /// Requests behind the one in the inbox, each with the session as it was then.
    pub(super) waiting: VecDeque<ForwardedRequest>,
    /// When the one in the inbox came from the client.
    pub(super) arrived: Nanos,
}

/// One client.
pub(crate) struct Client {
    pub(super) conn: ConnId,
    pub(super) session: Session,
    pub(super) face: Face,
    pub(super) port: u16,
    pub(super) parse: ParseState,
    pub(super) wait: Wait,
    /// The request that is carried out in slices; its bytes are the front of the inbox.
    pub(super) long: Option<Box<Long>>,
    /// The end of the newest frame this client wrote here: what `WAIT` asks about.
    pub(super) last_write: Lsn,
    /// It has yet to say who it is, and is given little of our memory.
    pub(super) stranger: bool,
    /// No further request is executed; closes once the replies are out.
    pub(super) closing: bool,
    pub(super) forwarded: Option<Forwarded>,
    pub(super) inbox: Inbox,
    /// What is left of its share of this turn.
    pub(super) steps: usize,
    /// Something of the inbox can be carried out when it has its turn.
    pub(super) more: bool,
    pub(super) replies: VecDeque<Reply>,
    /// Reply bytes that it has not read: made, handed over and not out.
    pub(super) backlog: usize,
    /// Those of them that may leave, in order, and are not handed over yet; their bytes.
    outbox: VecDeque<Part>,
    outbox_bytes: usize,
    /// Those that were handed over.
    pub(super) in_flight: usize,
    /// Bytes of the newest chunk that left, at most [`REPLY_ROOM_BYTES`].
    last_reply_bytes: usize,
    /// Since when they are more than the soft limit.
    pub(super) soft_since: Option<Nanos>,
    /// Requests that are with other shards, and their bytes.
    pub(super) remote_requests: usize,
    pub(super) remote_bytes: usize,
    /// What it counts for in `Clients::memory`.
    pub(super) weight: usize,
    pub(super) sending: bool,
    pub(super) paused: bool,
    /// Is in `Clients::owed`.
    pub(super) owed: bool,
    /// Is in `Clients::held`.
    pub(super) held: bool,
    /// Is in `Clients::runnable`.
    pub(super) queued: bool,
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
            long: None,
            last_write: Lsn(0),
            stranger: false,
            closing: false,
            forwarded,
            inbox: Inbox::default(),
            steps: 0,
            more: false,
            replies: VecDeque::new(),
            backlog: 0,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            in_flight: 0,
            last_reply_bytes: 0,
            soft_since: None,
            remote_requests: 0,
            remote_bytes: 0,
            weight: 0,
            sending: false,
            paused: false,
            owed: false,
            held: false,
            queued: false,
            asked_others: false,
        }
    }

    /// Whether requests for other shards are to be forwarded: not for one that was forwarded itself.
    pub(super) fn forwards(&self) -> bool {
        self.face == Face::AnyKey && self.forwarded.is_none()
    }

    /// Whether it has read enough of its replies, and is owed few enough by other shards, to be given more.
    pub(super) fn has_reply_room(&self) -> bool {
        (self.backlog < if self.stranger { STRANGER_BYTES } else { REPLY_BACKLOG_BYTES }
            && self.remote_requests < FORWARDED_REQUESTS
            && self.remote_bytes < FORWARDED_BYTES)
            || lacks(Mutant::KeepsAllOutput)
    }

    /// Whether replies of it have not been handed over.
    pub(super) fn owes(&self) -> bool {
        !self.replies.is_empty() || !self.outbox.is_empty()
    }

    /// Takes up the next request of a client of another shard; `false`: there is none.
    pub(super) fn load_forwarded(&mut self) -> bool {
        let next = self.forwarded.as_mut().and_then(|forwarded| {
            let next = forwarded.waiting.pop_front()?;
            forwarded.arrived = next.arrived;
            Some(next)
        });
        let Some(ForwardedRequest { session, bytes, arrived, .. }) = next else { return false };
        self.session = session;
        self.inbox = Inbox::holding(arrived, bytes);
        true
    }

    /// Bytes of requests that wait behind the one that is carried out.
    pub(super) fn waiting_bytes(&self) -> usize {
        let under_way = self.long.as_ref().map_or(0, |long| long.request_bytes());
        self.inbox.len().saturating_sub(under_way)
    }

    /// What it holds of our memory, in bytes.
    pub(super) fn weigh(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| long.held_bytes());
        let waiting = self.forwarded.iter().flat_map(|forwarded| &forwarded.waiting);
        self.inbox.len()
            + self.parse.held_bytes()
            + long
            + self.backlog
            + self.remote_bytes
            + waiting.map(|request| request.bytes.len()).sum::<usize>()
    }

    /// Takes out the chunk that the next reply is written to; [`Client::close_chunk`] puts it back. Replies of
    /// one turn and level share one: they wait for the same disk write. A forwarded client's do not, because each of its
    /// replies is a mail of its own.
    pub(super) fn open_chunk(&mut self, turn: u64, level: Ack) -> Chunk {
        let shared = self.forwarded.is_none()
            && matches!(self.replies.back(), Some(Reply::Chunk(last))
                if last.turn == turn && last.needs.level == level && !last.unfinished);
        match if shared { self.replies.pop_back() } else { None } {
            Some(Reply::Chunk(chunk)) => chunk,
            _ => Chunk::new(turn, level, self.usual_room()),
        }
    }

    /// What a new chunk is given room for at once: as much as the last one needed. Only one chunk of a client is: more
    /// wait for one who does not read, and would be counted by their bytes, not by their room.
    fn usual_room(&self) -> usize {
        if self.replies.is_empty() && !self.sending { self.last_reply_bytes } else { 0 }
    }

    /// Takes out the unfinished chunk of a long request, or makes one of its own for it.
    pub(super) fn open_long_chunk(&mut self, turn: u64, level: Ack) -> Chunk {
        match self.replies.pop_back() {
            Some(Reply::Chunk(chunk)) if chunk.unfinished => return chunk,
            Some(other) => self.replies.push_back(other),
            None => {}
        }
        Chunk { unfinished: true, ..Chunk::new(turn, level, 0) }
    }

    /// Puts a chunk into the order of replies, unless nothing was written to it.
    pub(super) fn close_chunk(&mut self, mut chunk: Chunk) {
        let len = chunk.len();
        self.backlog = self.backlog + len - chunk.counted;
        chunk.counted = len;
        if len > 0 || chunk.unfinished {
            self.replies.push_back(Reply::Chunk(chunk));
        }
    }

    /// What is left of a long request's reply is thrown away.
    pub(super) fn drop_long(&mut self) {
        self.long = None;
        if matches!(self.replies.back(), Some(Reply::Chunk(chunk)) if chunk.unfinished) {
            self.replies.pop_back();
            self.count_backlog();
        }
    }

    /// A reply that depends on nothing.
    pub(super) fn reply(&mut self, turn: u64, bytes: &[u8]) {
        let mut chunk = self.open_chunk(turn, Ack::Durable);
        chunk.bytes.extend_from_slice(bytes);
        self.close_chunk(chunk);
    }

    /// Reserves the place of a reply that comes from other shards, which are sent `asked_bytes` in all.
    pub(super) fn expect_remote(
        &mut self,
        first_ticket: u64,
        parts: usize,
        gather: Option<Gather>,
        asked_bytes: usize,
    ) {
        self.asked_others = true;
        self.remote_requests += 1;
        self.remote_bytes += asked_bytes;
        self.replies.push_back(Reply::Remote { first_ticket, parts: vec![None; parts], gather, asked_bytes });
    }

    pub(super) fn fill(&mut self, ticket: u64, filled: Vec<Part>) {
        let from_long = self.long.as_mut().and_then(|long| long.part_of(ticket));
        let place = from_long.or_else(|| {
            self.replies.iter_mut().find_map(|reply| match reply {
                Reply::Remote { first_ticket, parts, .. } => {
                    ticket.checked_sub(*first_ticket).and_then(|at| parts.get_mut(at as usize))
                }
                Reply::Chunk(_) => None,
            })
        });
        if let Some(place) = place {
            self.backlog += len_of(&filled);
            *place = Some(filled);
        }
    }

    /// Counts anew what it has not read.
    pub(super) fn count_backlog(&mut self) {
        let long = self.long.as_ref().map_or(0, |long| long.gathered_bytes());
        self.backlog =
            self.in_flight + self.outbox_bytes + long + self.replies.iter().map(Reply::len).sum::<usize>();
    }

    /// Whether it has left too much unread, or for too long.
    pub(super) fn reads_too_slowly(&mut self, limits: &ClientMemory, now: Nanos) -> bool {
        if lacks(Mutant::KeepsAllOutput) {
            return false;
        }
        let soft = self.backlog > limits.output_soft;
        self.soft_since = self.soft_since.or(Some(now)).filter(|_| soft);
        self.backlog > limits.output_hard
            || self.soft_since.is_some_and(|since| now >= since + limits.output_soft_time)
    }
}

/// Takes the replies off the front that may leave. A forwarded client's go by mail; else those are returned that are to
/// be sent now: none, while an earlier send is still under way.
pub(super) fn release(client: &mut Client, allowed: &Allowed, out: &mut Vec<Command>) -> Vec<Part> {
    let mut waiting = Vec::new();
    while !client.sending
        && client.outbox.is_empty()
        && let Some(front) = client.replies.front_mut()
    {
        let parts = match front {
            Reply::Chunk(chunk) if !chunk.unfinished && allowed.allows(&chunk.needs) => {
                client.last_reply_bytes = chunk.bytes.len().min(REPLY_ROOM_BYTES);
                chunk.take_parts()
            }
            Reply::Remote { parts, gather: how, asked_bytes, .. } if parts.iter().all(Option::is_some) => {
                client.remote_requests -= 1;
                client.remote_bytes -= *asked_bytes;
                let parts = parts.iter_mut().filter_map(Option::take);
                match how {
                    Some(kind) => {
                        let answers: Vec<Vec<u8>> = parts.map(|parts| Part::join(&parts)).collect();
                        let mut joined = Vec::new();
                        gather(*kind, &answers, &mut joined);
                        vec![Part::Owned(joined)]
                    }
                    None => parts.flatten().collect(),
                }
            }
            Reply::Chunk(_) | Reply::Remote { .. } => break,
        };
        client.replies.pop_front();
        match &mut client.forwarded {
            Some(forwarded) => {
                if let Some(ticket) = forwarded.tickets.pop_front() {
                    let mail = Mail::Reply { conn: forwarded.conn, ticket, parts: Some(parts) };
                    out.push(Command::Mail { to: forwarded.from, mail: Box::new(mail) });
                }
            }
            None => append(&mut waiting, parts),
        }
    }
    let now = if client.outbox.is_empty() && waiting.len() <= MAX_PARTS {
        waiting
    } else {
        client.outbox_bytes += len_of(&waiting);
        client.outbox.extend(waiting);
        let count = if client.sending { 0 } else { client.outbox.len().min(MAX_PARTS) };
        let now: Vec<Part> = client.outbox.drain(..count).collect();
        client.outbox_bytes -= len_of(&now);
        now
    };
    client.in_flight += len_of(&now);
    client.count_backlog();
    now
}

/// Small parts next to each other become one.
fn append(all: &mut Vec<Part>, parts: Vec<Part>) {
    if all.is_empty() && parts.len() == 1 {
        *all = parts;
        return;
    }
    for part in parts {
        match (all.last_mut(), part) {
            (Some(Part::Owned(last)), Part::Owned(bytes)) if bytes.len() <= SMALL_PART_BYTES => {
                last.extend_from_slice(&bytes);
            }
            (_, part) => all.push(part),
        }
    }
}
