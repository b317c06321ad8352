//! `baton bench`: the load generator, and failover under load with a group of its own.

use crate::cli::{FailoverOptions, LoadOptions};
use crate::failure::{Failure, not_fine};
use crate::group::{RunningGroup, Setup};
use bench::failover::{self, report};
use bench::load::runner;
use std::time::Duration;

/// Longest wait for one answer of a node under load.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `baton bench load`.
pub fn load(options: &LoadOptions) -> Result<(), Failure> {
    let report = runner::run(&runner::LoadOptions {
        address: options.address(),
        connections: options.connections as usize,
        pipeline: options.pipeline as usize,
        requests: options.requests,
        value_bytes: options.value_bytes,
        keys: options.keys,
        write_percent: options.mix,
        seed: options.seed,
        limit: LIMIT,
        progress: !options.json,
    })
    .map_err(not_fine)?;
    if options.json {
        println!("{}", serde_json::to_string(&report).expect("plain data is JSON"));
    } else {
        print!("{report}");
    }
    match report.first_error {
        None => Ok(()),
        Some(first) => Err(not_fine(format!("{} requests were answered by errors: {first}", report.errors))),
    }
}

/// Runs `baton bench failover`.
pub fn failover(options: &FailoverOptions) -> Result<(), Failure> {
    let temporary = std::env::temp_dir().join(format!("baton-failover-{}", std::process::id()));
    let dir = options.dir.clone().unwrap_or_else(|| temporary.clone());
    let binary = std::env::current_exe().map_err(not_fine)?;
    let setup = Setup { ballast_mib: options.ballast_mib, ..Setup::new(binary, dir, options.port_base) };
    let mut group = RunningGroup::start(setup).map_err(not_fine)?;
    let wanted = failover::FailoverOptions {
        rounds: options.rounds,
        blow: options.kill,
        connections: options.connections,
        value_bytes: options.value_bytes,
        seed: options.seed,
        ..failover::FailoverOptions::default()
    };
    if !options.json {
        println!("{}", report::HEADING);
    }
    let report = failover::run(&wanted, &mut group, |round| {
        if !options.json {
            println!("{round}");
        }
    })
    .map_err(not_fine)?;
    group.stop().map_err(not_fine)?;
    if options.json {
        println!("{}", serde_json::to_string(&report).expect("plain data is JSON"));
    } else {
        println!("{report}");
    }
    if !report.fine() {
        let found = format!("{} errors and {} violations", report.errors, report.violations);
        return Err(not_fine(format!("{found}; the group's files are kept for you")));
    }
    if options.dir.is_none() {
        std::fs::remove_dir_all(&temporary).map_err(not_fine)?;
    }
    Ok(())
}
