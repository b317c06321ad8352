//! Does a shard's thread stand still, or does it merely wait for a CPU?
//!
//! Promises only a better guess for the hang detector: a thread that is runnable but got no CPU for a while
//! is starved, not stuck. Reads `/proc/PID/task/TID/{stat,schedstat}`, and only of shards whose turns did
//! not move since the look before, so that a busy node costs nothing.

use agency::ids::Nanos;
use agency::shard::ShardProgress;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A runnable thread whose CPU time has not grown for this long is starved. Above one scheduler tick at
/// 100 Hz: the kernel may not account what a running thread used before the tick.
pub(super) const STARVED_AFTER: Duration = Duration::from_millis(10);

/// The watch over one shard's thread.
#[derive(Default)]
pub(super) struct Stall {
    turns: u64,
    files: Option<(File, File)>,
    cpu: u64,
    cpu_moved: Nanos,
}

impl Stall {
    /// Looks at a shard that says `progress`; `thread` is its process and thread id. Whether it is starved.
    pub fn look(&mut self, progress: &ShardProgress, process: u32, thread: Option<u32>, now: Nanos) -> bool {
        if progress.turns != self.turns {
            self.turns = progress.turns;
            self.cpu_moved = now;
            return false;
        }
        let Some(thread) = thread else { return false };
        if self.files.is_none() {
            let open = |what| File::open(format!("/proc/{process}/task/{thread}/{what}"));
            self.files = open("stat").ok().zip(open("schedstat").ok());
        }
        let Some((stat, schedstat)) = &self.files else { return false };
        let mut buffer = [0; 512];
        let (Some(runnable), Some(cpu)) = (is_runnable(stat, &mut buffer), cpu_time(schedstat, &mut [0; 64]))
        else {
            return false;
        };
        self.judge(runnable, cpu, now)
    }

    /// The thread stands still; it is runnable or not and has used `cpu` in its life.
    fn judge(&mut self, runnable: bool, cpu: u64, now: Nanos) -> bool {
        if cpu != self.cpu {
            self.cpu = cpu;
            self.cpu_moved = now;
        }
        runnable && now.since(self.cpu_moved) >= STARVED_AFTER
    }
}

fn is_runnable(stat: &File, buffer: &mut [u8]) -> Option<bool> {
    let length = stat.read_at(buffer, 0).ok()?;
    state_of(&buffer[..length]).map(|state| state == b'R')
}

/// The state: what follows the name, which is in parentheses and may hold any byte.
fn state_of(stat: &[u8]) -> Option<u8> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    stat.get(end + 2).copied()
}

/// Nanoseconds on a CPU: the first number.
fn cpu_time(schedstat: &File, buffer: &mut [u8]) -> Option<u64> {
    let length = schedstat.read_at(buffer, 0).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_behind_any_name() {
        assert_eq!(state_of(b"12 (a) R 1 2"), Some(b'R'));
        assert_eq!(state_of(b"12 (x) R (y)) S 1"), Some(b'S'));
        assert_eq!(state_of(b"12 (cut"), None);
    }

    #[test]
    fn only_a_runnable_thread_without_cpu_is_starved() {
        let at = |ms: u64| Nanos(1_000_000_000 + ms * 1_000_000);
        let mut waits = Stall::default();
        assert!(!waits.judge(true, 500, at(0)));
        assert!(!waits.judge(true, 500, at(9)), "too early to say");
        assert!(waits.judge(true, 500, at(10)));
        assert!(!waits.judge(true, 501, at(15)), "it got a CPU and still did not move");
        let mut sleeps = Stall::default();
        assert!((0..100).all(|ms| !sleeps.judge(false, 500, at(ms))));
        let mut spins = Stall::default();
        assert!((0..100).all(|ms| !spins.judge(true, 500 + ms, at(ms))));
    }

    #[test]
    fn a_sleeping_thread_is_read_as_such_and_a_moving_one_not_at_all() {
        let (tid_sent, tid) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tid_sent.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            stopped.recv().unwrap();
        });
        let tid = tid.recv().unwrap();
        let stat = File::open(format!("/proc/self/task/{tid}/stat")).unwrap();
        while is_runnable(&stat, &mut [0; 512]).unwrap() {
            std::thread::yield_now();
        }
        let (mut stall, still) = (Stall::default(), ShardProgress { turns: 1, ..Default::default() });
        let mut look = |ms: u64| stall.look(&still, std::process::id(), Some(tid), Nanos(ms * 1_000_000));
        assert!([0, 5, 50, 500].into_iter().all(|ms| !look(ms)), "asleep, not starved");
        stop.send(()).unwrap();
        sleeper.join().unwrap();
        assert!(!look(1000), "gone, not starved");
        let moving = (1..9).map(|turns| ShardProgress { turns, ..Default::default() });
        let mut fresh = Stall::default();
        assert!(moving.into_iter().all(|p| !fresh.look(&p, 0, None, Nanos(p.turns))));
    }
}
