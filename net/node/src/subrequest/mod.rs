//! What an HTTP request wants of each shard: what is asked, and what is reported.
//!
//! - `share`: a plan sorted by shard, and the results put together.
//! - `queue`: those that came to this shard, in the lanes of their connections.
//! - `carry_out`: carrying them out here.

pub(crate) mod carry_out;
pub(crate) mod queue;
pub mod share;

use crate::answer_budget::AnswerShare;
use crate::ids::ConnId;
use engine::ids::ShardId;
use faces::auth::api::Sealed;
use faces::documents::{Done, MetadataChange, Op, Scan};
use faces::http::Response;
use faces::resp::Ack;
use std::time::Duration;

/// What an HTTP request wants of one shard.
#[derive(Debug)]
pub struct SubRequest {
    /// The shard that holds the connection.
    pub from: ShardId,
    /// The connection there.
    pub conn: ConnId,
    /// Which of the connection's sub-requests this is.
    pub ticket: u64,
    pub work: Work,
    /// Only a leader may do it.
    pub write: bool,
    /// A copy that may be behind will do, if it is this fresh.
    pub stale: Option<Staleness>,
    /// When its writes count as acknowledged.
    pub ack: Ack,
    /// What its results weigh.
    pub answer: AnswerShare,
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
    pub at_most: Option<Duration>,
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

/// How a sub-request ended.
#[derive(Debug)]
pub enum Report {
    Done(Box<Served>),
    /// [`Work::Confirm`]: the metadata is another; it has been sent before this.
    Outdated,
    /// [`Work::Edit`]
    Edited(Box<Response>),
    /// Nothing was done, or, of a truncation, only a part: done again at the right place it does the rest.
    Refused(NotServed),
}

/// What a shard did.
#[derive(Debug)]
pub struct Served {
    /// The results, in the order of the operations. Fewer if the shard lost its leadership on the way.
    pub done: Vec<Done>,
    /// The operations, to be thrown away by whoever has the time.
    pub spent: Vec<Op>,
    /// Why the operations without a result were not carried out.
    pub rest: Option<NotServed>,
    /// The epoch of the shard's leadership.
    pub epoch: u64,
    /// How far behind the leader the copy is; `None`: not known. 0 on the leader itself
    /// while its lease holds.
    pub lag: Option<Duration>,
    /// What was read may be older than what was acknowledged to others.
    pub stale: bool,
    /// What the results weigh.
    pub answer: AnswerShare,
}

/// Why a shard does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotServed {
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
    /// A write, and fewer nodes would acknowledge it than `min_in_sync` asks for.
    TooFewCopies,
    /// It needs several shards, and no node leads all of them.
    Split,
    /// What is under way fills the memory, or the queues, that are meant for it.
    Crowded,
}
