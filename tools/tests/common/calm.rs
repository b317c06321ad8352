//! Watches a group while something is done to it that is no fault: nothing may change, no other client may see
//! an error, and memory stays within its bound.

use super::{LIMIT, TestGroup};
use baton_tools::processes::{self, Part};
use bench::resp_client::{ClientError, Connection, Reply};
use bench::steady::SteadyGroup;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{hint, sync::Arc};

/// After the last request of an act: what a group does to itself takes a moment to happen and to show.
const AFTERMATH: Duration = Duration::from_millis(500);
/// Pause of the client that watches.
const PROBE_PAUSE: Duration = Duration::from_millis(2);

/// What came of several acts, for one verdict at the end: each is seen, also after one that went wrong.
#[derive(Default)]
pub struct Verdict {
    wrong: Vec<String>,
}

impl Verdict {
    /// Has `act` done to the group; its error is one of the group. `most_mib` bounds how much more memory than
    /// before a node may take for it.
    pub fn during(
        &mut self,
        group: &mut TestGroup,
        name: &str,
        most_mib: u64,
        act: impl FnOnce(&TestGroup, SocketAddr) -> Result<(), String>,
    ) {
        group.wait_whole();
        let leader = group.leader().expect("a whole group has a leader");
        let (names, address) = (group.names(), group.resp(&leader));
        let pids: Vec<u32> = names.iter().map(|n| group.pid(n, Part::Node).expect("it runs")).collect();
        pids.iter().for_each(|pid| processes::forget_peak_memory(*pid).expect("it runs"));
        let before = group.look().expect("a whole group");
        let begun = Instant::now();
        let probe = Probe::start(address);
        let done = act(group, address);
        thread::sleep(AFTERMATH);
        let (asked, probed) = probe.end();
        let mut wrong: Vec<String> = done.err().into_iter().chain(probed).collect();
        group.wait_whole();
        let after = group.look().expect("a whole group");
        for line in after.history.difference(&before.history) {
            wrong.push(line.clone());
        }
        if (&after.versions, &after.incarnations) != (&before.versions, &before.incarnations) {
            let changes: u64 = after.versions.iter().zip(&before.versions).map(|(a, b)| a - b).sum();
            wrong.push(format!("{changes} changes of configuration, incarnations {:?}", after.incarnations));
        }
        for (at, node) in names.iter().enumerate() {
            let (was, peak) = (before.peak_memory[at] >> 20, after.peak_memory[at] >> 20);
            println!("{name}: {node} took {was} MiB before, at most {peak} MiB, may take {}", was + most_mib);
            if peak > was + most_mib {
                wrong.push(format!("{node} took {peak} MiB, {was} before: more than {most_mib} more"));
            }
        }
        let verdict = if wrong.is_empty() { "steady" } else { "NOT STEADY" };
        println!("{name}: {verdict} ({:.1} s, {asked} requests beside it)", begun.elapsed().as_secs_f64());
        wrong.truncate(12);
        wrong.iter().for_each(|line| println!("      {line}"));
        self.wrong.extend(wrong.into_iter().map(|line| format!("{name}: {line}")));
    }

    /// Fails the test if anything went wrong.
    pub fn give(self) {
        assert!(self.wrong.is_empty(), "not steady:\n{}", self.wrong.join("\n"));
    }
}

/// A client with small requests on a connection of its own: what others do must not be felt but in time.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Option<String>)>,
}

impl Probe {
    /// Begins at once.
    pub fn start(address: SocketAddr) -> Probe {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut asked = 0;
            let mut ask = || -> Result<(), String> {
                let said = |error: ClientError| error.to_string();
                let mut connection = Connection::connect(address, LIMIT).map_err(said)?;
                while !stopped.load(Ordering::Relaxed) {
                    for words in [&[&b"SET"[..], b"probe", b"1"][..], &[b"GET", b"probe"]] {
                        match connection.call(words).map_err(said)? {
                            Reply::Error(text) => return Err(text),
                            _ => asked += 1,
                        }
                    }
                    thread::sleep(PROBE_PAUSE);
                }
                Ok(())
            };
            let error = ask().err().map(|error| format!("a client beside it: {error}"));
            (asked, error)
        });
        Probe { stop, thread }
    }

    /// How many requests were answered, and the error that ended it early.
    pub fn end(self) -> (u64, Option<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the probe panicked")
    }
}

/// Threads that burn time until they are dropped.
pub struct Busy {
    stop: Arc<AtomicBool>,
}

impl Busy {
    /// So many.
    pub fn start(threads: usize) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stopped = stop.clone();
            thread::spawn(move || {
                let mut number = 0u64;
                while !stopped.load(Ordering::Relaxed) {
                    number = hint::black_box(number.wrapping_mul(31).wrapping_add(1));
                }
            });
        }
        Busy { stop }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
