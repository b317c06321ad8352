//! Drives connections, one thread each, with pipelines of reads and writes.
//!
//! Promises: exactly the number of requests asked for is sent; every value read is checked to be a value
//! written for that key by this workload. Does not reconnect: a lost connection ends the run with an error.

use crate::load::histogram::Latencies;
use crate::load::report::Report;
use crate::random::Random;
use crate::resp_client::{ClientError, Connection, Reply};
use crate::workload::{self, Stamp, ValueError};
use indicatif::{ProgressBar, ProgressStyle};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;

/// What to send.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    pub address: SocketAddr,
    pub connections: usize,
    pub pipeline: usize,
    /// Requests in all, over all connections.
    pub requests: u64,
    pub value_bytes: usize,
    /// Number of keys that the requests are spread over, evenly.
    pub keys: u64,
    /// Share of writes in percent; the rest are reads.
    pub write_percent: u8,
    pub seed: u64,
    /// Longest wait for one answer.
    pub limit: Duration,
    /// Show a progress bar.
    pub progress: bool,
}

/// Why a run ended early.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("{address}: {source}")]
    Client { address: SocketAddr, source: ClientError },
    #[error("key {key}: {source}")]
    Value { key: String, source: ValueError },
    #[error("key {key}: an unexpected reply {reply:?}")]
    Reply { key: String, reply: Reply },
}

#[derive(Default)]
struct Tally {
    requests: u64,
    errors: u64,
    first_error: Option<String>,
    misses: u64,
    writes: Latencies,
    reads: Latencies,
}

/// The prefix of the keys that a load run uses.
const SPACE: &str = "load";

/// Runs the load to its end.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    let bar = if options.progress { ProgressBar::new(options.requests) } else { ProgressBar::hidden() };
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {percent:>3} % {per_sec}, {eta} to go")
            .expect("a constant template is valid"),
    );
    let begun = Instant::now();
    let share = options.requests / options.connections as u64;
    let rest = options.requests % options.connections as u64;
    let tallies: Vec<Result<Tally, LoadError>> = std::thread::scope(|scope| {
        let bar = &bar;
        let threads: Vec<_> = (0..options.connections as u64)
            .map(|number| {
                let requests = share + u64::from(number < rest);
                scope.spawn(move || drive(options, number as u32, requests, bar))
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("a load thread panicked")).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let mut all = Tally::default();
    for tally in tallies {
        let tally = tally?;
        all.requests += tally.requests;
        all.errors += tally.errors;
        all.first_error = all.first_error.or(tally.first_error);
        all.misses += tally.misses;
        all.writes.merge(&tally.writes);
        all.reads.merge(&tally.reads);
    }
    Ok(Report {
        requests: all.requests,
        seconds,
        requests_per_second: all.requests as f64 / seconds,
        write_percent: options.write_percent,
        connections: options.connections,
        pipeline: options.pipeline,
        value_bytes: options.value_bytes,
        errors: all.errors,
        first_error: all.first_error,
        misses: all.misses,
        writes: all.writes.summary(),
        reads: all.reads.summary(),
    })
}

/// One connection's share.
fn drive(options: &LoadOptions, writer: u32, requests: u64, bar: &ProgressBar) -> Result<Tally, LoadError> {
    let client = |source| LoadError::Client { address: options.address, source };
    let mut connection = Connection::connect(options.address, options.limit).map_err(client)?;
    let mut random = Random::new(options.seed ^ (u64::from(writer) << 32));
    let mut tally = Tally::default();
    let mut value = Vec::new();
    let mut batch: Vec<(String, bool)> = Vec::with_capacity(options.pipeline);
    let mut sequence = 0;
    while tally.requests < requests {
        batch.clear();
        for _ in 0..(requests - tally.requests).min(options.pipeline as u64) {
            let key = workload::key(SPACE, random.below(options.keys));
            let write = random.below(100) < u64::from(options.write_percent);
            if write {
                sequence += 1;
                workload::value(&key, Stamp { writer, sequence }, options.value_bytes, &mut value);
                connection.push(&[b"SET", key.as_bytes(), &value]);
            } else {
                connection.push(&[b"GET", key.as_bytes()]);
            }
            batch.push((key, write));
        }
        let sent = Instant::now();
        connection.flush().map_err(client)?;
        bar.inc(batch.len() as u64);
        for (key, write) in batch.drain(..) {
            let reply = connection.receive().map_err(client)?;
            let latencies = if write { &mut tally.writes } else { &mut tally.reads };
            latencies.record(sent.elapsed());
            tally.requests += 1;
            match reply {
                Reply::Simple(_) if write => {}
                Reply::Null if !write => tally.misses += 1,
                Reply::Bulk(value) if !write => {
                    workload::stamp_of(&key, &value).map_err(|source| LoadError::Value { key, source })?;
                }
                Reply::Error(text) => {
                    tally.errors += 1;
                    tally.first_error.get_or_insert(text);
                }
                reply => return Err(LoadError::Reply { key, reply }),
            }
        }
    }
    Ok(tally)
}
