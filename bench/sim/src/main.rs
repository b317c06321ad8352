//! Runs seeds of the simulator, shows how far it is, and replays a failing one as a timeline.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::mutants::{self, Known};
use sim::{Report, Scenario, Trace, simulate};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
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
    /// Stop before this event (the number after # in the timeline) and show how things stand.
    #[arg(long)]
    stop_at: Option<u64>,
    /// Take this defence away: the run should fail. `all` says of each which seed noticed.
    #[arg(long)]
    mutant: Option<String>,
    /// Inflict the faults that bring this mutant to light, but take nothing away: the run should pass.
    #[arg(long, conflicts_with = "mutant")]
    faults_of: Option<String>,
    /// Print the hash of each run: two builds that behave alike have the same.
    #[arg(long)]
    hashes: bool,
    /// Go on after a violation.
    #[arg(long)]
    keep_going: bool,
}

struct Campaign {
    options: Options,
    known: Option<&'static Known>,
    next: AtomicU64,
    stop: AtomicBool,
    bar: ProgressBar,
    started: Instant,
    simulated: AtomicU64,
    failed: Mutex<Vec<u64>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.mutant.as_deref() == Some("all") {
        return hunt(&options);
    }
    let named = options.mutant.as_deref().or(options.faults_of.as_deref());
    let known = match named.map(|name| (name, Known::named(name))) {
        Some((name, None)) => {
            let names: Vec<&str> = mutants::ALL.iter().map(|known| known.mutant.name).collect();
            println!("there is no mutant {name}; there are: all, {}", names.join(", "));
            return ExitCode::from(2);
        }
        Some((_, known)) => known,
        None => None,
    };
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
        known,
        next: AtomicU64::new(options.seed),
        stop: AtomicBool::new(false),
        bar,
        started,
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
    for known in mutants::ALL {
        let started = Instant::now();
        let from = if options.seed == 1 { known.first } else { options.seed };
        let noticed = (from..from + options.seeds).find_map(|seed| {
            let scenario = Scenario::of_seed(seed, options.seconds * 1000).without(known);
            let run = || simulate(scenario, Trace::new(false, 0));
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(outcome) => outcome.violation.map(|violation| (seed, violation.checker)),
                Err(_) => Some((seed, "a panic of a core")),
            }
        });
        let ::mutants::Switch { name, rule } = known.mutant;
        let took = started.elapsed().as_secs_f64();
        match noticed {
            Some((seed, by)) => println!("rule {rule}: {name}: noticed by {by} in seed {seed} ({took:.1} s)"),
            None => {
                escaped += 1;
                println!("rule {rule}: {name}: NOT noticed in {} seeds ({took:.1} s)", options.seeds);
            }
        }
    }
    ExitCode::from(u8::from(escaped > 0))
}

/// The commit that this program was built from, as far as git knows; with a mark if files have changed since.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output =
            Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    if changed { format!("{commit} with changes") } else { commit }
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
            let mut trace = Trace::new(self.options.trace, from);
            if let Some(event) = self.options.stop_at {
                trace = trace.stop_at(event);
            }
            let mut scenario = Scenario::of_seed(seed, self.options.seconds * 1000);
            if let Some(known) = self.known {
                let lacks = self.options.mutant.is_some();
                scenario = if lacks { scenario.without(known) } else { scenario.with_faults_of(known) };
            }
            match catch_unwind(AssertUnwindSafe(|| simulate(scenario, trace))) {
                Ok(outcome) => self.note(&outcome),
                Err(_) => self.fails(seed, "a core panicked; see above"),
            }
            self.bar.inc(1);
        }
    }

    fn note(&self, outcome: &Report) {
        let all = self.simulated.fetch_add(outcome.simulated_ns, Ordering::Relaxed);
        let speed = all as f64 / 1e9 / self.started.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{} simulated s, {speed:.0} per second", all / 1_000_000_000));
        if self.options.trace {
            println!("{outcome:?}");
        }
        if self.options.hashes {
            self.bar.suspend(|| println!("seed {}: {:016x}", outcome.seed, outcome.hash));
        }
        if let Some(violation) = &outcome.violation {
            let at = violation.at as f64 / 1e9;
            self.fails(outcome.seed, &format!("{} at {at:.6}: {}", violation.checker, violation.what));
        }
    }

    fn fails(&self, seed: u64, what: &str) {
        self.bar.suspend(|| {
            let (seconds, commit) = (self.options.seconds, commit());
            let option = if self.options.mutant.is_some() { "mutant" } else { "faults-of" };
            let mutant =
                self.known.map_or(String::new(), |known| format!(" --{option} {}", known.mutant.name));
            println!("seed {seed}: {what}");
            println!(
                "  at commit {commit}, replay: cargo sim --seed {seed} --seconds {seconds}{mutant} --trace"
            );
        });
        if let Ok(mut failed) = self.failed.lock() {
            failed.push(seed);
        }
        if !self.options.keep_going {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
