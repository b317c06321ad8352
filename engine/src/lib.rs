//! The log, the index and the disk of one shard.
pub mod ids;
pub mod slot;
