//! The node: wire formats, replication, client faces, and the shard loop that drives them.
//!
//! The map, from the pure to the kernel: `seam` lists what can happen to a shard and what it can want;
//! `node` is the pure state machine between the two, over `resp` (the clients' protocol) and `replication`
//! (the followers'); `shard_loop` drives it with one io_uring ring per shard thread; `control` answers
//! administrators; `http` is the other protocol of the clients and `documents` what is said in it;
//! `ledger` says what its answers weigh; `auth` knows the users; `run` puts a node's process together. `config` reads the configuration file,
//! `status` is what is told about a group.

pub mod auth;
pub mod config;
mod config_http;
mod config_units;
pub mod control;
pub mod documents;
pub mod error;
pub mod http;
pub mod ledger;
pub mod mail;
pub mod mutants;
pub mod node;
pub mod replication;
pub mod resp;
mod run;
pub mod seam;
pub mod shard_loop;
pub mod status;

pub use error::RunError;
pub use run::run_node;
