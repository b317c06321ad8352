//! Workloads, the oracle that judges histories, and the load generator.
//!
//! Reading order: [`workload`] (values that say what they are), [`oracle`] (which values a reader may see),
//! [`resp_client`] (a small client that follows redirects), [`load`] (throughput and latency), [`failover`]
//! (kill something under load and measure what the clients felt), [`steady`] (kill nothing, and see that
//! nothing happens).
//!
//! Nothing here knows how a group is started or which bytes it keeps: this crate sees a group only through
//! the ports its clients use, so it can be pointed at a real Redis as well.

pub mod failover;
pub mod load;
pub mod oracle;
pub mod random;
pub mod resp_client;
pub mod steady;
pub mod workload;
