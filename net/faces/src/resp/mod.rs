//! The Redis Cluster face: RESP2 and RESP3, pure.
//!
//! Promises: what Redis 7.0 answers, byte for byte, for the commands in `table`; the differences are
//! listed in `docs/CLIENT-RESP.md`. No I/O, no clock: bytes and a [`Store`](crate::store::Store) come in, bytes and
//! a [`CommandOutcome`] go out. Does not decide who serves a key: the node does, from [`route`] and the topology.
//!
//! The path of a request: [`parse()`] (bytes to [`Request`]) → [`route`] (which slots, read or write) → the
//! node decides (here, another shard, `MOVED`, several shards) → [`execute`] (against the shard's store).
//!
//! Reading order: `parse`, `request`, `table`, `commands`; then `reply`, `session`, `permission`,
//! `context`, `topology`, `scatter`.

mod arguments;
mod commands;
pub mod context;
pub mod long;
mod long_double;
mod number;
pub mod parse;
pub mod permission;
pub mod reply;
pub mod request;
pub mod scatter;
pub mod session;
mod table;
pub mod topology;

pub use arguments::{Arguments, SHORT_ARGS};
pub use commands::{CommandOutcome, execute};
pub use context::{Context, Replica, ShardRole, Stats};
pub use long::{LongRequest, MAX_WRITE_KEYS, Slicing};
pub use parse::{Limits, ParseState, Parsed, parse};
pub use permission::{Verdict, claimed, refusal};
pub use reply::{Proto, Reply};
pub use request::{Keys, RESERVED_KEY, Request, Route, is_reserved, route};
pub use scatter::{Gather, elements, gather, integer_of, scatter_to_all};
pub use session::{Ack, Session};
pub use topology::{CLUSTER_DOWN, CROSS_SLOT, NodeTopology, ShardTopology, TRY_AGAIN, Topology};
