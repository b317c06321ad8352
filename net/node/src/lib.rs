//! One shard of one node: replication, clients and leadership as a pure state machine.
//!
//! `events` lists what can happen to a shard and what it can want; `node` is the state machine between the two. Its
//! parts, each a type of its own: `client` (RESP), `http`, `subrequest` (what HTTP wants of each shard), `metadata`
//! (databases, collections, users), `replication` (leader, follower, repair). They stand on `shared`; `serving` is
//! what the execution of requests sees. `mail` is what the shards of a node say to each other, `job` what they ask
//! of the control threads; `answer_budget` says what answers weigh, `budget` what a turn may cost; `status` is what is told about a group;
//! `settings` what a node knows of its configuration.

#![cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]

pub mod answer_budget;
pub mod budget;
mod client;
mod disk;
pub mod events;
pub mod failure;
mod group;
mod http;
pub mod ids;
pub mod job;
pub mod mail;
mod metadata;
pub mod mutants;
mod node;
mod options;
mod part;
mod rates;
mod reads;
pub mod replication;
mod serving;
pub mod settings;
mod shared;
pub mod status;
mod store;
pub mod subrequest;
pub mod units;

pub use node::Node;
pub use options::NodeOptions;
