//! Why a node's process cannot start or go on: one line each, that names the thing and the fix.

use crate::shard_loop::LoopError;
use engine::io::OpenError;
use engine::io::dir::DirError;
use engine::io::ring::RingError;
use std::io;
use std::net::SocketAddr;
use warden::page::PageError;

/// See the head of this file.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{name} is a witness: start it with `baton witness`")]
    Witness { name: String },
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("the warden expects {warden} shards, the configuration says shards = {configured}")]
    Shards { warden: u16, configured: u16 },
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Directory(#[from] DirError),
    #[error("shard {shard}: cannot see what kind of medium its files lie on: {source}")]
    Medium { shard: u16, source: io::Error },
    #[error(
        "cannot listen on {address} for {what}: {source}; stop whoever uses it or change port_base or bind"
    )]
    Listen { what: &'static str, address: SocketAddr, source: io::Error },
    #[error("shard {shard}: no memory for a log buffer of {bytes} bytes: {source}; lower log_buffer_bytes")]
    Buffer { shard: u16, bytes: u64, source: io::Error },
    #[error("shard {shard}: {source}")]
    Open { shard: u16, source: OpenError },
    #[error("shard {shard}: {source}")]
    Loop { shard: u16, source: LoopError },
    #[error("cannot start {what}: {reason}")]
    Thread { what: &'static str, reason: String },
    #[error("the thread of shard {shard} ended: {reason}")]
    Lost { shard: u16, reason: String },
}
