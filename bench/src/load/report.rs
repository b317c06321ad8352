//! What a load run found, for people and as stable JSON.

use crate::load::histogram::{Summary, people};
use serde::Serialize;
use std::fmt;

/// The result of one run. The names of the fields are the JSON that `baton bench load --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Requests answered, without those of the warm-up.
    pub requests: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    pub requests_per_second: f64,
    /// Share of the requests that were writes, in percent.
    pub write_percent: u8,
    pub connections: usize,
    pub pipeline: usize,
    pub value_bytes: usize,
    /// Error replies, and the first of them.
    pub errors: u64,
    pub first_error: Option<String>,
    /// Reads that found nothing.
    pub misses: u64,
    /// From sending a pipeline to the answer of each request in it.
    pub writes: Summary,
    pub reads: Summary,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.2} s: {:.0} a second ({} connections, pipeline {}, {} byte values)",
            self.requests,
            self.seconds,
            self.requests_per_second,
            self.connections,
            self.pipeline,
            self.value_bytes
        )?;
        for (name, s) in [("writes", &self.writes), ("reads", &self.reads)] {
            if s.count > 0 {
                writeln!(
                    f,
                    "{name:>7} {:>9}: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                    s.count,
                    people(s.p50_us),
                    people(s.p90_us),
                    people(s.p99_us),
                    people(s.p999_us),
                    people(s.max_us)
                )?;
            }
        }
        if self.misses > 0 {
            writeln!(f, "{} reads found nothing", self.misses)?;
        }
        if let Some(first) = &self.first_error {
            writeln!(f, "{} error replies, the first: {first}", self.errors)?;
        }
        Ok(())
    }
}
