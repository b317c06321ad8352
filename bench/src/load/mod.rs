//! Load: how many requests a second, and how long each takes.
//!
//! Reading order: [`runner`] (connections and what they send), [`histogram`], [`report`]. The generator
//! checks every value that it reads; it does not follow redirects: point it at the node that leads, as one
//! would `redis-benchmark`.

pub mod histogram;
pub mod report;
pub mod runner;
