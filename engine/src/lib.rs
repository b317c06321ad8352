//! The log, the index and the disk of one shard.
//!
//! A pure core: bytes and completed disk operations go in, disk operations come out. Only `io` touches the
//! kernel. `docs/FORMAT.md` describes every byte on disk. Reading order: `frame`, `segment`, `log`, `shard`,
//! `write_path`, `flush`, `read_path`, `key_scan`, `mend`, `rewind`, `recover`.

mod cache;
pub mod disk;
pub mod error;
mod flush;
pub mod frame;
pub mod history;
pub mod ids;
mod index;
pub mod io;
pub mod key;
pub mod key_scan;
pub mod limits;
pub mod log;
pub mod mend;
mod pending;
pub mod pulse;
mod read_path;
mod receive;
pub mod recover;
mod rewind;
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
pub mod validate;
mod write_path;
