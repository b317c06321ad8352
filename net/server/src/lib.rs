//! A node's process: rings, threads, configuration.
//!
//! `shard_loop` drives the pure node with one io_uring ring per shard thread; `control` answers
//! administrators; `post` is the way to a shard's thread. `config` reads the configuration file; `run` puts a node's
//! process together, and `recovery` opens a shard's log for it. `process` is what its threads share: `notices` to the operator, `descriptors`, and what the shard
//! loop gives away; `resources` looks at what all that uses.

pub mod config;
pub mod control;
pub mod descriptors;
pub mod error;
pub mod notices;
pub mod post;
pub mod process;
pub mod recovery;
mod resources;
mod run;
pub mod shard_loop;
mod threads;

pub use error::RunError;
pub use run::run_node;
