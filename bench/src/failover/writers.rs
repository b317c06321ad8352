//! The load of a failover run: some writers, each with a connection, keys of its own, and an oracle that
//! remembers what it did.
//!
//! A writer sets a random one of its keys, or now and then reads one and has the oracle judge it at once
//! (so a stale read *during* the failover is found). A write that is redirected is tried again as the same
//! write; one whose connection failed is given up as in doubt, and the next is another write.
//!
//! [`Writers::pause`] stops them all between two attempts and hands out what they know, for checking.

use crate::failover::router::{Attempt, Endpoint, Router};
use crate::oracle::Oracle;
use crate::random::Random;
use crate::resp_client::Reply;
use crate::workload::{self, Stamp};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the writers do.
#[derive(Clone, Debug)]
pub struct WritersOptions {
    pub endpoints: Vec<Endpoint>,
    pub connections: usize,
    pub keys_per_writer: u64,
    pub value_bytes: usize,
    /// Begins every key: what an earlier run left in the group must not be taken for this one's.
    pub space: String,
    pub seed: u64,
    /// How long a writer waits for an answer before it tries another node.
    pub patience: Duration,
}

/// One in so many operations is a read.
const READ_ONE_IN: u64 = 8;
/// Pause of a writer that no node takes a connection from.
const UNREACHABLE_PAUSE: Duration = Duration::from_micros(200);
/// How often a wait for acknowledgements looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Unexpected errors kept word by word, per writer and round.
const ERRORS_KEPT: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Paused,
    Running,
    Stopped,
}

struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
    epoch: Instant,
    newest_ack: AtomicU64,
    writers: Vec<Mutex<Writer>>,
}

/// The threads. Dropping this without [`Writers::stop`] stops them too.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// All writers, standing still.
pub struct Quiet<'a> {
    writers: Vec<MutexGuard<'a, Writer>>,
    epoch: Instant,
}

/// One writer's state.
pub struct Writer {
    number: u32,
    options: WritersOptions,
    router: Router,
    random: Random,
    oracle: Oracle,
    sequence: u64,
    /// A write that was begun and has neither been acknowledged nor given up.
    pending: Option<(String, Stamp)>,
    acks: Vec<u64>,
    errors: Vec<String>,
    reported: u64,
}

impl Writers {
    /// Starts the threads, paused.
    pub fn start(options: WritersOptions) -> Writers {
        let writers = (0..options.connections as u32)
            .map(|number| {
                Mutex::new(Writer {
                    number,
                    router: Router::new(options.endpoints.clone(), options.patience),
                    random: Random::new(
                        options.seed.wrapping_mul(0x1000_0001).wrapping_add(u64::from(number)),
                    ),
                    options: options.clone(),
                    oracle: Oracle::new(),
                    sequence: 0,
                    pending: None,
                    acks: Vec::new(),
                    errors: Vec::new(),
                    reported: 0,
                })
            })
            .collect();
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Paused),
            changed: Condvar::new(),
            epoch: Instant::now(),
            newest_ack: AtomicU64::new(0),
            writers,
        });
        let threads = (0..options.connections)
            .map(|number| {
                let shared = shared.clone();
                std::thread::spawn(move || drive(&shared, number))
            })
            .collect();
        Writers { shared, threads }
    }

    /// Nanoseconds since the writers were started: their clock.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// A moment on the writers' clock.
    pub fn at(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.shared.epoch).as_nanos() as u64
    }

    /// Lets them run.
    pub fn resume(&self) {
        self.shared.set_phase(Phase::Running);
    }

    /// Waits until a write was acknowledged after `moment`; `false` if that takes longer than `limit`.
    pub fn wait_for_acks_after(&self, moment: u64, limit: Duration) -> bool {
        let begun = Instant::now();
        while self.shared.newest_ack.load(Ordering::Relaxed) <= moment {
            if begun.elapsed() > limit {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Stops every writer between two attempts; a write still under way is given up as in doubt.
    pub fn pause(&self) -> Quiet<'_> {
        self.shared.set_phase(Phase::Paused);
        let lock = |writer| {
            let mut writer: MutexGuard<'_, Writer> = lock(writer);
            writer.pending = None;
            writer
        };
        Quiet { writers: self.shared.writers.iter().map(lock).collect(), epoch: self.shared.epoch }
    }

    /// Ends the threads.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.shared.set_phase(Phase::Stopped);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer panicked");
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn set_phase(&self, phase: Phase) {
        *lock(&self.phase) = phase;
        self.changed.notify_all();
    }

    /// Waits while paused; `false` when stopped.
    fn may_go_on(&self) -> bool {
        let phase = lock(&self.phase);
        let phase = self.changed.wait_while(phase, |p| *p == Phase::Paused);
        *phase.expect("a writer panicked") == Phase::Running
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a writer panicked")
}

fn drive(shared: &Shared, number: usize) {
    while shared.may_go_on() {
        let outcome = lock(&shared.writers[number]).step(shared);
        if let Step::Unreachable = outcome {
            std::thread::sleep(UNREACHABLE_PAUSE);
        }
    }
}

enum Step {
    Done,
    Unreachable,
}

impl Writer {
    /// One attempt at one operation.
    fn step(&mut self, shared: &Shared) -> Step {
        if self.pending.is_none() && self.random.below(READ_ONE_IN) == 0 {
            return self.read(shared);
        }
        let (key, stamp) = self.pending.take().unwrap_or_else(|| {
            self.sequence += 1;
            let stamp = Stamp { writer: self.number, sequence: self.sequence };
            let key = self.pick();
            self.oracle.begin(&key, stamp, shared.now());
            (key, stamp)
        });
        let mut value = Vec::new();
        workload::value(&key, stamp, self.options.value_bytes, &mut value);
        match self.router.attempt(&[b"SET", key.as_bytes(), &value]) {
            Attempt::Answered(Reply::Simple(_)) => {
                let now = shared.now();
                self.oracle.acknowledge(&key, stamp, now);
                self.acks.push(now);
                shared.newest_ack.fetch_max(now, Ordering::Relaxed);
            }
            Attempt::Answered(reply) => self.note(format!("SET {key}: unexpected reply {reply:?}")),
            Attempt::Redirected => self.pending = Some((key, stamp)),
            Attempt::Unreachable => {
                self.pending = Some((key, stamp));
                return Step::Unreachable;
            }
            Attempt::InDoubt(_) => {}
            Attempt::Failed(text) => self.note(format!("SET {key}: {text}")),
        }
        Step::Done
    }

    fn read(&mut self, shared: &Shared) -> Step {
        let key = self.pick();
        let from = shared.now();
        let seen = match self.router.attempt(&[b"GET", key.as_bytes()]) {
            Attempt::Answered(Reply::Null) => None,
            Attempt::Answered(Reply::Bulk(value)) => match workload::stamp_of(&key, &value) {
                Ok(stamp) => Some(stamp),
                Err(error) => {
                    self.note(format!("GET {key}: {error}"));
                    return Step::Done;
                }
            },
            Attempt::Answered(reply) => {
                self.note(format!("GET {key}: unexpected reply {reply:?}"));
                return Step::Done;
            }
            Attempt::Failed(text) => {
                self.note(format!("GET {key}: {text}"));
                return Step::Done;
            }
            Attempt::Redirected | Attempt::InDoubt(_) => return Step::Done,
            Attempt::Unreachable => return Step::Unreachable,
        };
        if let Err(violation) = self.oracle.observe(&key, seen, from, shared.now()) {
            self.note(format!("under load: {violation}"));
        }
        Step::Done
    }

    fn pick(&mut self) -> String {
        let number = self.random.below(self.options.keys_per_writer);
        workload::key(&format!("{}:{}", self.options.space, self.number), number)
    }

    fn note(&mut self, error: String) {
        if self.errors.len() < ERRORS_KEPT {
            self.errors.push(format!("writer {}: {error}", self.number));
        }
    }
}

impl Quiet<'_> {
    /// Nanoseconds on the writers' clock.
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The moments of all acknowledgements since the last [`Quiet::settle`], rising.
    pub fn all_acks(&self) -> Vec<u64> {
        let mut all: Vec<u64> = self.acks_by_writer().flatten().copied().collect();
        all.sort_unstable();
        all
    }

    /// The same, writer by writer.
    pub fn acks_by_writer(&self) -> impl Iterator<Item = &[u64]> {
        self.writers.iter().map(|w| &w.acks[..])
    }

    /// The oracles, one per writer; each knows keys of its own.
    pub fn oracles(&mut self) -> impl Iterator<Item = &mut Oracle> {
        self.writers.iter_mut().map(|w| &mut w.oracle)
    }

    /// What went wrong under load since this was last asked.
    pub fn take_errors(&mut self) -> Vec<String> {
        self.writers.iter_mut().flat_map(|w| std::mem::take(&mut w.errors)).collect()
    }

    /// Redirects followed since this was last asked.
    pub fn take_redirects(&mut self) -> u64 {
        self.writers.iter_mut().map(|w| w.router.take_redirects()).sum()
    }

    /// Writes acknowledged since this was last asked.
    pub fn take_acknowledged(&mut self) -> u64 {
        let mut new = 0;
        for writer in &mut self.writers {
            let all = writer.oracle.acknowledged();
            new += all - std::mem::replace(&mut writer.reported, all);
        }
        new
    }

    /// Every key was observed and no request is on its way any more: see [`Oracle::settle`].
    pub fn settle(&mut self) {
        for writer in &mut self.writers {
            writer.oracle.settle();
            writer.acks.clear();
        }
    }
}
