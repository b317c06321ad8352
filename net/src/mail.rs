//! What the shards of one node say to each other: requests that came in by the any-key port for a key of
//! another shard, and their replies.
//!
//! A request travels as the client's own bytes and is executed by the owning shard as if the client were
//! connected there; each request yields exactly one reply, in order per (origin, connection).

use crate::resp::session::Session;
use crate::seam::ConnId;
use engine::ids::ShardId;

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
}
