//! What the shards of one node say to each other: requests for another shard and their replies, and what is
//! known of databases, collections and users.
//!
//! A request of RESP travels as the client's own bytes and is executed by the owning shard as if the client
//! were connected there; each request yields exactly one reply, in order per (origin, connection). What an
//! HTTP request wants of a shard travels as an [`Errand`]; each yields exactly one [`Report`].

use crate::ledger::Entry;
use crate::seam::ConnId;
use agency::ids::Nanos;
use engine::ids::ShardId;
use faces::auth::api::Sealed;
use faces::documents::{Done, Metadata, MetadataChange, Op, Scan};
use faces::http::Response;
use faces::resp::Ack;
use faces::resp::session::Session;
use std::sync::Arc;

/// Mail between two shard threads of one node.
#[derive(Debug)]
pub enum Mail {
    /// Execute this for a client of shard `from`.
    Request {
        /// The shard that holds the connection.
        from: ShardId,
        /// The connection there.
        conn: ConnId,
        /// Which of the connection's replies this is for.
        ticket: u64,
        /// The session as it is now: protocol version, `READONLY`, acknowledgement level.
        session: Session,
        /// The request's bytes, one whole request.
        bytes: Vec<u8>,
    },
    /// The reply to the request of this ticket; `None`: the outcome is unknown, reset the client.
    Reply { conn: ConnId, ticket: u64, bytes: Option<Vec<u8>> },
    /// The client of shard `from` is gone.
    Gone { from: ShardId, conn: ConnId },
    /// Do this for an HTTP client of another shard.
    Errand(Box<Errand>),
    /// The report on the errand of this ticket; `None`: its outcome is unknown, reset the client.
    Report { conn: ConnId, ticket: u64, report: Option<Report> },
    /// From shard 0: the newest committed metadata.
    Metadata(Arc<Metadata>),
    /// To shard 0: shard `from` has the metadata of this version.
    MetadataHeld { from: ShardId, version: u64 },
}

/// What an HTTP request wants of one shard.
#[derive(Debug)]
pub struct Errand {
    /// The shard that holds the connection.
    pub from: ShardId,
    /// The connection there.
    pub conn: ConnId,
    /// Which of the connection's errands this is.
    pub ticket: u64,
    pub work: Work,
    /// Only a leader may do it.
    pub write: bool,
    /// A copy that may be behind will do, if it is this fresh.
    pub stale: Option<Staleness>,
    /// When its writes count as acknowledged.
    pub ack: Ack,
    /// What its results weigh.
    pub answer: Entry,
}

/// What is to be done.
#[derive(Debug)]
pub enum Work {
    /// These operations in order; each stands for itself.
    Documents(Vec<Op>),
    Scan(Scan),
    /// Of shard 0: is the metadata still of this version? An answer made from it may leave then.
    Confirm {
        version: u64,
    },
    /// Of shard 0: change the metadata.
    Edit(Edit),
}

/// How fresh a copy must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// It must show everything that was committed this long ago; `None`: however old.
    pub at_most: Option<Nanos>,
}

/// A change of the metadata.
#[derive(Debug)]
pub enum Edit {
    Documents(MetadataChange),
    /// Users, and what is changed together with them.
    Users {
        users: Vec<Sealed>,
        then: Option<MetadataChange>,
    },
    /// Whether clients may only read.
    ReadOnly(bool),
    /// Make the user root with this password hash, and sign tokens with this key, unless there are users.
    FirstUser {
        root_password_hash: String,
        token_key: String,
    },
}

/// How an errand ended.
#[derive(Debug)]
pub enum Report {
    Done(Box<Served>),
    /// [`Work::Confirm`]: the metadata is another; it has been sent before this.
    Outdated,
    /// [`Work::Edit`]
    Edited(Box<Response>),
    /// Nothing was done, or, of a truncation, only a part: done again at the right place it does the rest.
    Refused(Refusal),
}

/// What a shard did.
#[derive(Debug)]
pub struct Served {
    /// The results, in the order of the operations. Fewer if the shard lost its leadership on the way.
    pub done: Vec<Done>,
    /// The operations, to be thrown away by whoever has the time.
    pub spent: Vec<Op>,
    /// Why the operations without a result were not carried out.
    pub rest: Option<Refusal>,
    /// The epoch of the shard's leadership.
    pub epoch: u64,
    /// How far behind the leader the copy is; `None`: not known. 0 on the leader itself
    /// while its lease holds.
    pub lag: Option<Nanos>,
    /// What was read may be older than what was acknowledged to others.
    pub stale: bool,
    /// What the results weigh.
    pub answer: Entry,
}

/// Why a shard does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This node leads it: its place in the topology.
    LedBy(usize),
    /// Nobody is known to lead it.
    NoLeader,
    /// This node leads it and cannot serve yet, or no longer.
    NotNow,
    /// The copy is not as fresh as was asked; this node leads, if known.
    TooStale(Option<usize>),
    /// Clients may only read.
    ReadOnly,
    /// It needs several shards, and no node leads all of them.
    Split,
    /// What is under way fills the memory, or the queues, that are meant for it.
    Crowded,
}
