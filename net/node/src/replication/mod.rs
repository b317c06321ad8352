//! Replication of raw frames from a leader to its followers; `docs/PROTOCOL.md` is the page of its bytes.

pub mod message;
pub mod peer;
