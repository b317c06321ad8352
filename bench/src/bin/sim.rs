//! Runs seeds of the simulator, shows how far it is, and replays a failing one as a timeline.

use bench::sim::mutants::{self, Mutant};
use bench::sim::{Outcome, Scenario, Trace, simulate};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The deterministic simulator: many seeds, or one as a timeline.
///
/// Example: cargo sim --seeds 1000 --seed 1
#[derive(Parser)]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults strike in each, in simulated seconds.
    #[arg(long, default_value_t = 45)]
    seconds: u64,
    /// Threads; as many as there are cores unless given.
    #[arg(long)]
    threads: Option<usize>,
    /// Print the timeline.
    #[arg(long)]
    trace: bool,
    /// Print the timeline from this simulated second on.
    #[arg(long, default_value_t = 0.0)]
    from: f64,
    /// Take this defence away: the run should fail. `all` says of each after how many seeds it was noticed.
    #[arg(long)]
    mutant: Option<String>,
    /// Go on after a violation.
    #[arg(long)]
    keep_going: bool,
}

struct Campaign {
    options: Options,
    mutant: Option<Mutant>,
    next: AtomicU64,
    stop: AtomicBool,
    bar: ProgressBar,
    simulated: AtomicU64,
    failed: Mutex<Vec<u64>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.mutant.as_deref() == Some("all") {
        return hunt(&options);
    }
    let mutant = options.mutant.as_deref().map(Mutant::named);
    if mutant == Some(None) {
        println!("no such mutant; there are {:?}", mutants::ALL);
        return ExitCode::from(2);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.trace { 1 } else { options.threads.unwrap_or(cores) };
    let bar = if options.trace { ProgressBar::hidden() } else { ProgressBar::new(options.seeds) };
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {elapsed}, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    let started = Instant::now();
    let campaign = Campaign {
        mutant: mutant.flatten(),
        next: AtomicU64::new(options.seed),
        stop: AtomicBool::new(false),
        bar,
        simulated: AtomicU64::new(0),
        failed: Mutex::new(Vec::new()),
        options,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| campaign.work());
        }
    });
    campaign.bar.finish();
    let seconds = campaign.simulated.load(Ordering::Relaxed) as f64 / 1e9;
    let took = started.elapsed().as_secs_f64();
    println!("{seconds:.0} simulated seconds in {took:.1} s: {:.0} per second", seconds / took.max(0.001));
    let failed = campaign.failed.into_inner().unwrap_or_default();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} of the seeds failed: {failed:?}", failed.len());
    ExitCode::from(1)
}

/// After how many seeds each mutant is noticed.
fn hunt(options: &Options) -> ExitCode {
    let mut escaped = 0;
    // A mutant may well make a core panic; that is a way to be noticed, too.
    std::panic::set_hook(Box::new(|_| {}));
    for mutant in mutants::ALL {
        let noticed = (options.seed..options.seed + options.seeds).find_map(|seed| {
            let scenario = Scenario::of_seed(seed, options.seconds * 1000).without(mutant);
            let run = || simulate(scenario, Trace::new(false, 0));
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(outcome) => outcome.violation.map(|violation| (seed, violation.checker)),
                Err(_) => Some((seed, "a panic of a core")),
            }
        });
        match noticed {
            Some((seed, by)) => println!("{mutant:?}: noticed by {by} in seed {seed}"),
            None => {
                escaped += 1;
                println!("{mutant:?}: NOT noticed in {} seeds", options.seeds);
            }
        }
    }
    ExitCode::from(u8::from(escaped > 0))
}

impl Campaign {
    fn work(&self) {
        let end = self.options.seed + self.options.seeds;
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let from = (self.options.from * 1e9) as u64;
            let trace = Trace::new(self.options.trace, from);
            let mut scenario = Scenario::of_seed(seed, self.options.seconds * 1000);
            if let Some(mutant) = self.mutant {
                scenario = scenario.without(mutant);
            }
            match catch_unwind(AssertUnwindSafe(|| simulate(scenario, trace))) {
                Ok(outcome) => self.note(&outcome),
                Err(_) => self.fails(seed, "a core panicked; see above"),
            }
            self.bar.inc(1);
        }
    }

    fn note(&self, outcome: &Outcome) {
        let all = self.simulated.fetch_add(outcome.simulated_ns, Ordering::Relaxed);
        self.bar.set_message(format!("{} simulated s", all / 1_000_000_000));
        if self.options.trace {
            println!("{outcome:?}");
        }
        if let Some(violation) = &outcome.violation {
            let at = violation.at as f64 / 1e9;
            self.fails(outcome.seed, &format!("{} at {at:.6}: {}", violation.checker, violation.what));
        }
    }

    fn fails(&self, seed: u64, what: &str) {
        self.bar.suspend(|| {
            println!("seed {seed}: {what}");
            println!("  replay: cargo sim --seed {seed} --seconds {} --trace", self.options.seconds);
        });
        if let Ok(mut failed) = self.failed.lock() {
            failed.push(seed);
        }
        if !self.options.keep_going {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
