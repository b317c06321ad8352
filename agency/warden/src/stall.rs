//! What does a shard's thread do while its progress word stands still?
//!
//! Promises only a better guess for the hang detector: a thread that works, waits for a CPU or waits in the kernel
//! is told from one that is stopped or sleeps. Reads `/proc/PID/task/TID/{stat,schedstat}`, and only of shards whose
//! word did not move since the look before, so that a node that moves costs nothing.

use agency::ids::Nanos;
use agency::shard::{ShardProgress, Standing};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// A runnable thread whose CPU time has not grown for this long is starved. Above one scheduler tick at
/// 100 Hz: the kernel may not account what a running thread used before the tick. What a thread used before it went
/// to sleep is accounted at once.
pub(super) const STARVED_AFTER: Duration = Duration::from_millis(10);

/// The watch over one shard's thread.
#[derive(Default)]
pub(super) struct Stall {
    turns: u64,
    files: Option<(File, File)>,
    /// Its CPU time at the look before, if its word stood still then, too.
    cpu: Option<u64>,
    cpu_moved: Nanos,
}

impl Stall {
    /// Looks at a shard that says `progress`; `thread` is its process and thread id.
    pub fn look(
        &mut self,
        progress: &ShardProgress,
        process: u32,
        thread: Option<u32>,
        now: Nanos,
    ) -> Standing {
        if progress.turns != self.turns {
            self.turns = progress.turns;
            self.cpu = None;
            return Standing::Moving;
        }
        let Some(thread) = thread else { return Standing::Moving };
        if self.files.is_none() {
            let open = |what| File::open(format!("/proc/{process}/task/{thread}/{what}"));
            self.files = open("stat").ok().zip(open("schedstat").ok());
        }
        let Some((stat, schedstat)) = &self.files else { return Standing::Moving };
        match state(stat, &mut [0; 512]).zip(cpu_time(schedstat, &mut [0; 64])) {
            Some((state, cpu)) => self.judge(state, cpu, now),
            None => Standing::Moving,
        }
    }

    /// The word stands still; the thread is in this state and has used `cpu` in its life. Whoever used a CPU since
    /// the look before works, whatever it does at this very moment; but who is stopped is stopped.
    fn judge(&mut self, state: u8, cpu: u64, now: Nanos) -> Standing {
        let grew = self.cpu.is_some_and(|before| before != cpu);
        if self.cpu != Some(cpu) {
            (self.cpu, self.cpu_moved) = (Some(cpu), now);
        }
        match state {
            b'T' | b't' => Standing::Stopped,
            _ if grew => Standing::Working,
            b'R' if now.since(self.cpu_moved) >= STARVED_AFTER => Standing::Starved,
            b'R' => Standing::Working,
            b'D' => Standing::InKernel,
            _ => Standing::Asleep,
        }
    }
}

fn state(stat: &File, buffer: &mut [u8]) -> Option<u8> {
    let length = stat.read_at(buffer, 0).ok()?;
    state_of(&buffer[..length])
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
    use std::process::{Child, Command};

    #[test]
    fn the_state_is_found_behind_any_name() {
        assert_eq!(state_of(b"12 (a) R 1 2"), Some(b'R'));
        assert_eq!(state_of(b"12 (x) R (y)) S 1"), Some(b'S'));
        assert_eq!(state_of(b"12 (cut"), None);
    }

    fn at(ms: u64) -> Nanos {
        Nanos(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_thread_is_judged_by_its_state_and_by_the_cpu_it_used() {
        let mut waits = Stall::default();
        assert_eq!(waits.judge(b'R', 500, at(0)), Standing::Working);
        assert_eq!(waits.judge(b'R', 500, at(9)), Standing::Working, "too early to say");
        assert_eq!(waits.judge(b'R', 500, at(10)), Standing::Starved);
        assert_eq!(waits.judge(b'R', 501, at(15)), Standing::Working, "it got a CPU");
        let mut sleeps = Stall::default();
        assert!((0..100).all(|ms| sleeps.judge(b'S', 500, at(ms)) == Standing::Asleep));
        assert_eq!(sleeps.judge(b'S', 501, at(100)), Standing::Working, "it ran in between");
        assert_eq!(sleeps.judge(b'D', 501, at(105)), Standing::InKernel);
        assert_eq!(sleeps.judge(b'D', 502, at(110)), Standing::Working);
        let mut spins = Stall::default();
        assert!((0..100).all(|ms| spins.judge(b'R', 500 + ms, at(ms)) == Standing::Working));
        assert_eq!(spins.judge(b'T', 900, at(100)), Standing::Stopped, "whatever it did before");
        assert_eq!(spins.judge(b't', 900, at(105)), Standing::Stopped);
    }

    struct Shell(Child);

    impl Shell {
        fn start(script: &str) -> Shell {
            Shell(Command::new("sh").args(["-c", script]).spawn().unwrap())
        }

        fn signal(&self, signal: i32) {
            // SAFETY: a system call on numbers; the child is not reaped yet.
            assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
        }

        /// Looks every 5 ms until it stands like that.
        fn comes_to(&self, stall: &mut Stall, wanted: Standing) {
            let pid = self.0.id();
            let still = ShardProgress { turns: 1, ..Default::default() };
            for _ in 0..2_000 {
                let standing = stall.look(&still, pid, Some(pid), crate::clock::now());
                if standing == wanted {
                    return;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            panic!("it never was {wanted:?}");
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_real_thread_that_spins_is_stopped_and_goes_on() {
        let spins = Shell::start("while :; do :; done");
        let mut stall = Stall::default();
        let still = ShardProgress { turns: 1, ..Default::default() };
        let pid = spins.0.id();
        spins.comes_to(&mut stall, Standing::Working);
        // Other tests may take its CPU for a while; then it is starved, and never anything worse.
        for _ in 0..40 {
            let standing = stall.look(&still, pid, Some(pid), crate::clock::now());
            assert!(matches!(standing, Standing::Working | Standing::Starved), "{standing:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        spins.signal(libc::SIGSTOP);
        spins.comes_to(&mut stall, Standing::Stopped);
        spins.signal(libc::SIGCONT);
        spins.comes_to(&mut stall, Standing::Working);
    }

    #[test]
    fn a_real_thread_that_sleeps_is_asleep() {
        let sleeps = Shell::start("exec sleep 1000");
        let mut stall = Stall::default();
        sleeps.comes_to(&mut stall, Standing::Asleep);
        let (pid, still) = (sleeps.0.id(), ShardProgress { turns: 1, ..Default::default() });
        let mut look = |progress: &ShardProgress, ms| stall.look(progress, pid, Some(pid), at(ms));
        assert!((0..20).all(|ms| look(&still, ms) == Standing::Asleep));
        assert_eq!(look(&ShardProgress { turns: 2, ..still }, 20), Standing::Moving);
    }

    #[test]
    fn a_thread_that_napped_since_the_look_before_works() {
        let (tid_sent, tid) = std::sync::mpsc::channel();
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let over = std::sync::Arc::clone(&done);
        let naps = std::thread::spawn(move || {
            tid_sent.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let tid = tid.recv().unwrap();
        let (mut stall, still) = (Stall::default(), ShardProgress::default());
        let mut works = 0;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(20));
            let standing = stall.look(&still, std::process::id(), Some(tid), crate::clock::now());
            works += u32::from(standing == Standing::Working);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        naps.join().unwrap();
        assert!(works >= 15, "asleep nearly always, and still at work: {works} of 20");
        let gone = stall.look(&still, std::process::id(), Some(tid), crate::clock::now());
        assert_eq!(gone, Standing::Moving, "nothing is known of a thread that is gone");
    }
}
