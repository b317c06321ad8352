//! Does a healthy group leave itself alone? Every kind of load at once, for as long as one likes, and nothing
//! else: no blow falls. Whatever the group does to itself meanwhile is a fault of the group.
//!
//! Reading order: [`client`] (one connection that counts what goes wrong), [`loads`] (what is sent), [`crowd`]
//! (connections that come, go and stay), [`neighbours`] (busy cores, a busy disk), [`report`].
//!
//! [`run`] knows a group only by the trait [`SteadyGroup`]; who implements it looks at its processes.

pub mod client;
mod crowd;
mod loads;
mod neighbours;
pub mod report;

use crate::failover::GroupError;
use crate::failover::router::Endpoint;
use client::Client;
use report::{Load, Report};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;

/// What a look from outside shows of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Configurations decided so far, per shard.
    pub versions: Vec<u64>,
    /// Per shard.
    pub epochs: Vec<u64>,
    /// How often each node was started, in the order of [`SteadyGroup::endpoints`].
    pub incarnations: Vec<u64>,
    /// One line for each change of configuration that is still known.
    pub history: BTreeSet<String>,
    /// Members that were taken out of an in-sync set, as far as the history tells.
    pub evictions: u64,
    /// Most memory that each node had in use at once, in bytes, in the order of [`SteadyGroup::endpoints`].
    pub peak_memory: Vec<u64>,
}

/// A group that runs and is whole.
pub trait SteadyGroup {
    /// The data nodes, in an order that never changes; the first that answers is asked who leads.
    fn endpoints(&self) -> Vec<Endpoint>;
    /// Looks at it now.
    fn look(&mut self) -> Result<Look, GroupError>;
}

/// What to run.
#[derive(Clone, Debug)]
pub struct SteadyOptions {
    pub duration: Duration,
    /// Threads that do nothing but burn time.
    pub busy: usize,
    /// Where to write and sync large files meanwhile; `None`: nowhere.
    pub neighbour: Option<PathBuf>,
    /// Connections that stand idle.
    pub idle: usize,
    /// Writes of one bulk load.
    pub bulk: u64,
    pub seed: u64,
}

/// Why a run could not be made. What went wrong within it is no such reason: it is in the report.
#[derive(Debug, Error)]
pub enum SteadyError {
    #[error("the group cannot be looked at: {0}")]
    Group(#[from] GroupError),
    #[error("before the load: {0}")]
    Prepare(String),
}

/// Between two looks at the group.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The run ends with an error if nobody could look at the group for so long.
const BLIND_LIMIT: Duration = Duration::from_secs(30);
/// Errors kept word by word.
const ERRORS_KEPT: usize = 20;

/// What all threads of a run share.
pub struct Shared {
    pub endpoints: Vec<Endpoint>,
    pub seed: u64,
    stop: AtomicBool,
    requests: AtomicU64,
    errors: AtomicU64,
    redirects: AtomicU64,
    first_errors: Mutex<Vec<String>>,
}

impl Shared {
    /// Nothing sent yet.
    pub fn new(endpoints: Vec<Endpoint>, seed: u64) -> Shared {
        let zero = || AtomicU64::new(0);
        Shared {
            endpoints,
            seed,
            stop: AtomicBool::new(false),
            requests: zero(),
            errors: zero(),
            redirects: zero(),
            first_errors: Mutex::default(),
        }
    }

    /// Whether the load goes on.
    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Sleeps, unless the end comes first.
    pub fn pause(&self, pause: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let until = Instant::now() + pause;
        while self.goes_on() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(STEP)),
                _ => return,
            }
        }
    }

    /// Counts requests answered as they should be.
    pub fn answered(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::Relaxed);
    }

    /// Counts a request sent elsewhere: in a group that is steady its leader stays the same.
    pub fn redirected(&self) {
        self.redirects.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what no client of a healthy group should see.
    pub fn wrong(&self, load: &str, error: impl std::fmt::Display) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_errors.lock().expect("a load panicked");
        if first.len() < ERRORS_KEPT {
            first.push(format!("{load}: {error}"));
        }
    }
}

/// How a run stands, for people who wait for its end.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub elapsed: Duration,
    pub requests: u64,
    pub errors: u64,
    pub redirects: u64,
    /// Changes of configuration since the beginning.
    pub changes: u64,
}

/// Fills the group with what the loads read, runs all loads, and says what came of it. `each` is told how it
/// stands about once a second.
pub fn run(
    options: &SteadyOptions,
    group: &mut dyn SteadyGroup,
    mut each: impl FnMut(&Progress),
) -> Result<Report, SteadyError> {
    let shared = Shared::new(group.endpoints(), options.seed);
    let before = group.look()?;
    loads::prepare(&mut Client::new(&shared, "prepare"));
    if let Some(first) = shared.first_errors.lock().expect("no load runs").first() {
        return Err(SteadyError::Prepare(first.clone()));
    }
    let begun = Instant::now();
    let (watched, loads) = std::thread::scope(|scope| {
        let threads = spawn(scope, &shared, options);
        let watched = watch(options, group, &shared, &before, begun, &mut each);
        shared.stop.store(true, Ordering::Relaxed);
        let loads = threads.into_iter().filter_map(|t| t.join().expect("a load panicked")).collect();
        (watched, loads)
    });
    let mut report = watched?;
    report.seconds = begun.elapsed().as_secs_f64();
    report.take(loads);
    report.requests = shared.requests.load(Ordering::Relaxed);
    report.errors = shared.errors.load(Ordering::Relaxed);
    report.redirects = shared.redirects.load(Ordering::Relaxed);
    report.first_errors = shared.first_errors.into_inner().expect("no load runs");
    (report.busy, report.neighbour) = (options.busy, options.neighbour.is_some());
    Ok(report)
}

type Threads<'scope> = Vec<std::thread::ScopedJoinHandle<'scope, Option<Load>>>;

fn spawn<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    shared: &'env Shared,
    options: &'env SteadyOptions,
) -> Threads<'scope> {
    let mut threads: Threads<'scope> =
        loads::ALL.iter().map(|load| scope.spawn(move || Some(load(shared)))).collect();
    threads.push(scope.spawn(move || Some(loads::bulk(shared, options.bulk))));
    threads.push(scope.spawn(move || Some(crowd::idle(shared, options.idle))));
    threads.push(scope.spawn(move || Some(crowd::come_and_go(shared))));
    for _ in 0..options.busy {
        threads.push(scope.spawn(move || {
            neighbours::burn(shared);
            None
        }));
    }
    if let Some(dir) = &options.neighbour {
        threads.push(scope.spawn(move || {
            neighbours::write_and_sync(shared, dir);
            None
        }));
    }
    threads
}

/// Looks at the group until the time is over; the report has what the looks showed.
fn watch(
    options: &SteadyOptions,
    group: &mut dyn SteadyGroup,
    shared: &Shared,
    before: &Look,
    begun: Instant,
    each: &mut impl FnMut(&Progress),
) -> Result<Report, SteadyError> {
    let mut report = Report::default();
    let mut seen = Instant::now();
    loop {
        match group.look() {
            Ok(look) => {
                seen = Instant::now();
                report.saw(before, &look);
            }
            Err(error) if seen.elapsed() > BLIND_LIMIT => return Err(error.into()),
            // A node that is busy or gone for a moment: what happened shows in the next look.
            Err(_) => {}
        }
        let elapsed = begun.elapsed();
        each(&Progress {
            elapsed,
            requests: shared.requests.load(Ordering::Relaxed),
            errors: shared.errors.load(Ordering::Relaxed),
            redirects: shared.redirects.load(Ordering::Relaxed),
            changes: report.changes,
        });
        let Some(left) = options.duration.checked_sub(elapsed) else { break };
        std::thread::sleep(left.min(LOOK_EVERY));
    }
    let names = shared.endpoints.iter().map(|e| e.name.clone());
    for (node, name) in report.nodes.iter_mut().zip(names) {
        node.name = name;
    }
    Ok(report)
}
