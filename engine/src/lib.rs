//! The log, the index and the disk of one shard.
//!
//! A pure core: bytes and completed disk operations go in, disk operations come out. Only `io` touches the
//! kernel. `docs/FORMAT.md` describes every byte on disk. Reading order: `frame`, `segment`, `log`, `shard`,
//! `write_path`, `flush`, `read_path`, `rewind`, `recover`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod disk;
pub mod error;
pub mod frame;
pub mod history;
pub mod ids;
pub mod io;
pub mod key;
pub mod limits;
pub mod log;
pub mod segment;
pub mod shard;
pub mod slot;
pub mod validate;
