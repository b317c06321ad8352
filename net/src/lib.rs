//! The node: wire formats, replication, client faces, and the shard loop that drives them.
pub mod config;
mod config_units;
pub mod mail;
pub mod seam;
pub mod shard_loop;
