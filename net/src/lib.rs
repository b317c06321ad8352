//! The node: wire formats, replication, client faces, and the shard loop that drives them.
//!
//! The map, from the pure to the kernel: `seam` lists what can happen to a shard and what it can want;
//! `node` is the pure state machine between the two, over `resp` (the clients' protocol) and `replication`
//! (the followers'); `shard_loop` drives it with one io_uring ring per shard thread. `config` reads the
//! configuration file.

pub mod config;
mod config_units;
pub mod mail;
pub mod node;
pub mod replication;
pub mod resp;
pub mod seam;
pub mod shard_loop;
