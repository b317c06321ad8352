//! Time that a shard's thread lost: in `io_uring_enter` without having waited for anything, which is
//! counted, and, for whoever looks for the cause, wherever it stood while a turn went on.

use crate::notices::{About, Notices};
use agency::ids::{Nanos, ShardId};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A system call that takes this much longer than it was told to wait is counted.
pub const STALL: Duration = Duration::from_millis(1);
/// Between two lines about them.
pub const STALL_LINES: Duration = Duration::from_secs(60);
/// Set to `1`, it makes the node print where a shard's thread stands whenever that stands too long.
pub const TRACE_VARIABLE: &str = "BATON_STALL_TRACE";
/// How often the sampler looks.
const SAMPLE: Duration = Duration::from_micros(250);

/// What all shards of the process lost.
#[derive(Debug, Default)]
pub struct Lost {
    /// Calls that took longer than they may.
    pub stalls: AtomicU64,
    /// The longest, in microseconds.
    pub longest_us: AtomicU64,
}

/// One shard thread's account.
pub(super) struct Stalls {
    lost: Arc<Lost>,
    notices: Notices,
    shard: ShardId,
    /// This thread's `schedstat`: how long it waited for a CPU is not the kernel's fault.
    schedstat: Option<File>,
    waited_for_cpu: Duration,
    told_at: Option<Nanos>,
    since_told: (u64, Duration),
}

impl Stalls {
    /// On the shard's thread.
    pub(super) fn new(lost: Arc<Lost>, notices: Notices, shard: ShardId) -> Stalls {
        let schedstat = File::open("/proc/thread-self/schedstat").ok();
        let (waited_for_cpu, since_told) = (Duration::ZERO, (0, Duration::ZERO));
        let mut this = Stalls { lost, notices, shard, schedstat, waited_for_cpu, told_at: None, since_told };
        this.tick();
        this
    }

    /// How long this thread has been ready to run and did not, so far.
    fn cpu_wait(&self) -> Duration {
        let mut text = [0; 64];
        let read = self.schedstat.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = read.and_then(|len| str::from_utf8(&text[..len]).ok()).unwrap_or_default();
        Duration::from_nanos(text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0))
    }

    /// Now and then: how long it waited for a CPU before is not counted against a later call.
    pub(super) fn tick(&mut self) {
        self.waited_for_cpu = self.cpu_wait();
    }

    /// A call took from `before` to `now` and was told to wait for `wait`.
    pub(super) fn called(&mut self, before: Nanos, now: Nanos, wait: Duration) {
        let took = Duration::from_nanos(now.0.saturating_sub(before.0));
        let Some(over) = took.checked_sub(wait).filter(|over| *over >= STALL) else { return };
        let before = self.waited_for_cpu;
        self.tick();
        let over = over.saturating_sub(self.waited_for_cpu.saturating_sub(before));
        if over < STALL {
            return;
        }
        self.lost.stalls.fetch_add(1, Relaxed);
        self.lost.longest_us.fetch_max(over.as_micros() as u64, Relaxed);
        self.since_told = (self.since_told.0 + 1, self.since_told.1.max(over));
        if self.told_at.is_none_or(|at| now.0 > at.0 + STALL_LINES.as_nanos() as u64) {
            self.told_at = Some(now);
            let (count, longest) = std::mem::take(&mut self.since_told);
            let (shard, longest) = (self.shard.0, longest.as_micros());
            self.notices.say(
                About::Stalls,
                &format!(
                    "shard {shard}: {count} system calls of its loop were held up by the kernel, for up to {longest} us; \
                     {TRACE_VARIABLE}=1 shows where; a disk, memory and cores of its own are what helps most"
                ),
            );
        }
    }
}

/// Where one shard's thread is, for the sampler.
#[derive(Debug, Default)]
pub struct Place {
    /// Twice the number of the turn, and one more while the thread is in its ring.
    turn: AtomicU64,
    thread: AtomicU64,
}

impl Place {
    /// From the shard's thread, once.
    pub(super) fn is_here(&self) {
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get() as u64, Relaxed);
    }

    pub(super) fn working(&self, turn: u64) {
        self.turn.store(2 * turn, Relaxed);
    }

    pub(super) fn in_ring(&self, turn: u64) {
        self.turn.store(2 * turn + 1, Relaxed);
    }
}

/// Start the sampler, if [`TRACE_VARIABLE`] asks for it. In its ring a thread waits for up to `longest_wait`.
///
/// # Errors
/// No more threads.
pub(crate) fn trace(places: Vec<Arc<Place>>, longest_wait: Duration) -> std::io::Result<()> {
    if std::env::var_os(TRACE_VARIABLE).is_none_or(|value| value != "1") {
        return Ok(());
    }
    let sample = move || {
        let mut seen: Vec<(u64, Instant)> = vec![(0, Instant::now()); places.len()];
        loop {
            std::thread::sleep(SAMPLE);
            for (shard, (place, (turn, since))) in places.iter().zip(&mut seen).enumerate() {
                let now = place.turn.load(Relaxed);
                // In the ring it may wait for as long as a turn may.
                let patience = if now % 2 == 1 { STALL + longest_wait } else { STALL };
                if now != *turn {
                    (*turn, *since) = (now, Instant::now());
                } else if since.elapsed() > patience && now > 0 {
                    describe(shard, place.thread.load(Relaxed), now, since.elapsed());
                }
            }
        }
    };
    std::thread::Builder::new().name("baton-sampler".into()).spawn(sample).map(drop)
}

fn describe(shard: usize, thread: u64, turn: u64, stood: Duration) {
    let read = |what: &str| {
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/{what}")).unwrap_or_default();
        text.trim().replace('\n', " < ")
    };
    let state = read("stat").rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
    let (turn, place) = (turn / 2, if turn % 2 == 1 { "in its ring" } else { "working" });
    let line = format!(
        "stall: shard {shard} turn {turn} {place} for {} us, state {state}, wchan {}, syscall {}, stack {}\n",
        stood.as_micros(),
        read("wchan"),
        read("syscall"),
        read("stack"),
    );
    let _ = std::io::stderr().write_all(line.as_bytes());
}
