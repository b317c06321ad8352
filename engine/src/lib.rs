//! The log, the index and the disk of one shard.
//!
//! A pure core: bytes and answers of the disk go in, commands to the disk come out. Only `io` and `memory` ask
//! the kernel for anything. `docs/FORMAT.md` describes every byte on disk. Reading order: `frame`, `segment`,
//! `log`, `shard`, `invariants`, `write_path`, `append_large`, `receive`, `turn`, `flush`, `read_path`,
//! `large_read`, `large_copy`, `key_scan`, `mend`, `rewind`, `recover`.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

mod append_large;
mod cache;
pub mod disk;
pub mod error;
mod flights;
mod flush;
pub mod frame;
mod growing;
pub mod history;
pub mod ids;
mod index;
mod invariants;
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "the part that does the I/O")]
pub mod io;
pub mod key;
pub mod key_scan;
mod keys;
mod landing;
pub mod large_copy;
pub mod large_read;
pub mod limits;
pub mod log;
pub mod memory;
pub mod mend;
pub mod meter;
pub mod mutants;
pub mod parts;
mod pending;
pub mod pulse;
mod read_path;
pub mod receive;
pub mod recover;
mod rewind;
mod rewind_plan;
mod rewrite;
mod scan;
pub mod segment;
mod segments;
pub mod shard;
pub mod slot;
pub mod superblock;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod turn;
pub mod validate;
mod write_path;
