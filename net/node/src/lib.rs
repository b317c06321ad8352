//! One shard of one node: replication, clients and leadership as a pure state machine.
//!
//! `seam` lists what can happen to a shard and what it can want; `node` is the state machine between the two,
//! over `faces` (what clients say) and `replication` (what followers are told). `mail` is what the shards of a
//! node say to each other, `job` what they ask of the control threads; `ledger` says what answers weigh;
//! `status` is what is told about a group; `settings` what a node knows of its configuration.

pub mod job;
pub mod ledger;
pub mod mail;
pub mod mutants;
pub mod node;
pub mod replication;
pub mod seam;
pub mod settings;
pub mod status;
pub mod units;
