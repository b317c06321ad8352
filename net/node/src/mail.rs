//! What the shards of one node say to each other: requests for another shard and their replies, and what is
//! known of databases, collections and users.
//!
//! A request of RESP travels as the client's own bytes and is executed by the owning shard as if the client
//! were connected there; each request yields exactly one reply, in order per (origin, connection). What an
//! HTTP request wants of a shard travels as an [`SubRequest`]; each yields exactly one [`Report`].

use crate::ids::ConnId;
use crate::part::Part;
use crate::subrequest::{Report, SubRequest};
use agency::ids::Nanos;
use engine::ids::ShardId;
use faces::documents::Metadata;
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
        /// When they came from the client.
        arrived: Nanos,
    },
    /// The reply to the request of this ticket; `None`: the outcome is unknown, reset the client.
    Reply { conn: ConnId, ticket: u64, parts: Option<Vec<Part>> },
    /// The client of shard `from` is gone.
    Gone { from: ShardId, conn: ConnId },
    /// Do this for an HTTP client of another shard.
    SubRequest(Box<SubRequest>),
    /// The report on the sub-request of this ticket; `None`: its outcome is unknown, reset the client.
    Report { conn: ConnId, ticket: u64, report: Option<Report> },
    /// From shard 0: the newest committed metadata.
    Metadata(Arc<Metadata>),
    /// To shard 0: shard `from` has the metadata of this version.
    MetadataHeld { from: ShardId, version: u64 },
}
