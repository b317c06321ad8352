//! A node's process: rings, threads, configuration.
//!
//! `shard_loop` drives the pure node with one io_uring ring per shard thread; `control` answers
//! administrators; `config` reads the configuration file; `run` puts a node's process together.

pub mod config;
pub mod control;
pub mod error;
mod run;
pub mod shard_loop;

pub use error::RunError;
pub use run::run_node;
