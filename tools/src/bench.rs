//! `baton bench`: the load generator; failover under load, and load without any failover, with a group of its own.

use crate::cli::{FailoverOptions, LoadOptions, SteadyOptions};
use crate::failure::{Failure, not_fine};
use crate::group::{RunningGroup, Setup};
use bench::failover::{self, Blow, report};
use bench::load::runner;
use bench::steady::{self, Progress};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    let own_disks = options.kill == Blow::Disk;
    let setup =
        Setup { ballast_mib: options.ballast_mib, own_disks, ..Setup::new(binary, dir, options.port_base) };
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

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Runs `baton bench steady`.
pub fn steady(options: &SteadyOptions) -> Result<(), Failure> {
    let temporary = std::env::temp_dir().join(format!("baton-steady-{}", std::process::id()));
    let dir = options.dir.clone().unwrap_or_else(|| temporary.clone());
    let binary = std::env::current_exe().map_err(not_fine)?;
    // With default settings: what is to be shown is what users get.
    let setup = Setup { flags: Vec::new(), ..Setup::new(binary, dir.clone(), options.port_base) };
    let mut group = RunningGroup::start(setup).map_err(not_fine)?;
    // After the start, so that the group has the limits it would have anyway.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).map_err(not_fine)?;
    let wanted = steady::SteadyOptions {
        duration: Duration::from_secs_f64(options.minutes * 60.0),
        busy: options.busy.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        neighbour: options.neighbour.then_some(dir),
        idle: options.idle,
        bulk: options.bulk,
        seed: options.seed,
    };
    let mut told = Duration::ZERO;
    let report = steady::run(&wanted, &mut group, |progress| {
        if !options.json && progress.elapsed >= told {
            told += PROGRESS_EVERY;
            println!("{}", line(progress));
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
        return Err(not_fine("the group was not steady; its files are kept for you"));
    }
    if options.dir.is_none() {
        std::fs::remove_dir_all(&temporary).map_err(not_fine)?;
    }
    Ok(())
}

fn line(progress: &Progress) -> String {
    format!(
        "{:>6.0} s: {} requests, {} errors, {} redirects, {} changes of configuration",
        progress.elapsed.as_secs_f64(),
        progress.requests,
        progress.errors,
        progress.redirects,
        progress.changes
    )
}
