//! The node: wire formats, replication, client faces, and the shard loop that drives them.
pub mod config;
mod config_units;
pub mod control;
pub mod error;
pub mod mail;
pub mod run;
pub mod seam;
pub mod shard_loop;
pub mod status;
