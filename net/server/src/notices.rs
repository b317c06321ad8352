//! What a node's process tells its operator: lines on the standard error, which its warden's log may be.
//!
//! Promises that saying something neither waits nor fails, whatever the other end of the pipe or the disk
//! below the log does: a line is handed to a thread by a bounded queue. What does not fit, what cannot be
//! written, and what one kind of notice has too much of is left out, counted, and the count is told.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Lines that may wait for the thread.
pub const QUEUED_LINES: usize = 256;
/// Longest line in bytes; longer ones are cut.
pub const LINE_BYTES: usize = 2048;
/// Lines of one kind in [`PERIOD`].
pub const LINES_PER_PERIOD: u32 = 20;
/// See [`LINES_PER_PERIOD`].
pub const PERIOD: Duration = Duration::from_secs(10);
/// How long the last line of a process is waited for.
const LAST_LINE: Duration = Duration::from_millis(2);

/// What a notice is about: each kind has a bound of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// What the core warns of.
    Core,
    /// What the process was given: limits, memory.
    Start,
    /// Time lost in system calls.
    Stalls,
    /// Files that could not be opened.
    Descriptors,
    /// The end.
    End,
}

const KINDS: usize = About::End as usize + 1;

#[derive(Default)]
struct Bucket {
    /// When the period began, in ms since the start.
    since_ms: AtomicU64,
    said: AtomicU32,
}

struct Inner {
    queue: SyncSender<String>,
    start: Instant,
    buckets: [Bucket; KINDS],
    left_out: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

/// Where notices are handed in; see the head of this file.
#[derive(Clone)]
pub struct Notices(Arc<Inner>);

impl Notices {
    /// Start the thread that writes to `sink`.
    ///
    /// # Errors
    /// No more threads.
    pub fn start(sink: impl Write + Send + 'static) -> std::io::Result<Notices> {
        let (queue, lines) = sync_channel(QUEUED_LINES);
        let (left_out, written) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let writer = Writer { sink, left_out: Arc::clone(&left_out), written: Arc::clone(&written) };
        std::thread::Builder::new().name("baton-notices".into()).spawn(move || writer.work(&lines))?;
        let buckets = std::array::from_fn(|_| Bucket::default());
        Ok(Notices(Arc::new(Inner { queue, start: Instant::now(), buckets, left_out, written })))
    }

    /// Say a line, if there is room for it.
    pub fn say(&self, about: About, text: &str) {
        if !self.may(about) || self.0.queue.try_send(line_of(text)).is_err() {
            self.0.left_out.fetch_add(1, Relaxed);
        }
    }

    /// Say the process's last line, and give it [`LAST_LINE`] to get out.
    pub fn say_last(&self, text: &str) {
        let (start, before) = (Instant::now(), self.0.written.load(Relaxed));
        self.say(About::End, text);
        while self.0.written.load(Relaxed) == before && start.elapsed() < LAST_LINE {
            std::thread::sleep(LAST_LINE / 20);
        }
    }

    /// Lines that were left out and not yet told of.
    pub fn left_out(&self) -> u64 {
        self.0.left_out.load(Relaxed)
    }

    fn may(&self, about: About) -> bool {
        let bucket = &self.0.buckets[about as usize];
        let now = self.0.start.elapsed().as_millis() as u64;
        if now >= bucket.since_ms.load(Relaxed) + PERIOD.as_millis() as u64 {
            bucket.since_ms.store(now, Relaxed);
            bucket.said.store(0, Relaxed);
        }
        bucket.said.fetch_add(1, Relaxed) < LINES_PER_PERIOD
    }
}

/// One line: control characters, line ends among them, become spaces.
fn line_of(text: &str) -> String {
    let mut line = String::from("baton: ");
    for character in text.chars() {
        if line.len() >= LINE_BYTES {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line.push('\n');
    line
}

struct Writer<W> {
    sink: W,
    left_out: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl<W: Write> Writer<W> {
    fn work(mut self, lines: &Receiver<String>) {
        loop {
            match lines.recv_timeout(PERIOD) {
                Ok(line) => self.write(&line, 1),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            match self.left_out.swap(0, Relaxed) {
                0 => {}
                1 => self.write("baton: a line was left out here\n", 1),
                count => self.write(&format!("baton: {count} lines were left out here\n"), count),
            }
        }
    }

    /// Write a line that stands for `count`, or count them.
    fn write(&mut self, line: &str, count: u64) {
        match self.sink.write_all(line.as_bytes()) {
            Ok(()) => self.written.fetch_add(1, Relaxed),
            Err(_) => self.left_out.fetch_add(count, Relaxed),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn wait_for(what: impl Fn() -> bool) {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_kind_does_not_drown_the_others() {
        let sink = Sink::default();
        let notices = Notices::start(sink.clone()).unwrap();
        for _ in 0..1000 {
            notices.say(About::Core, "again\nand again");
        }
        notices.say(About::Start, "once");
        let text = || String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        wait_for(|| text().contains("once"));
        assert_eq!(text().matches("baton: again and again\n").count(), LINES_PER_PERIOD as usize);
        wait_for(|| text().contains("left out"));
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let (_reader, pipe) = std::io::pipe().unwrap();
        let notices = Notices::start(pipe).unwrap();
        let start = Instant::now();
        let text = "x".repeat(LINE_BYTES);
        for _ in 0..5_000 {
            // Past the bound of a kind, which would hide what is tested.
            notices.0.buckets[About::Core as usize].said.store(0, Relaxed);
            notices.say(About::Core, &text);
        }
        notices.say_last("the end");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert!(notices.left_out() > 4_000);
    }

    #[test]
    fn a_closed_pipe_fails_nobody() {
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        let notices = Notices::start(pipe).unwrap();
        notices.say(About::Core, "to nobody");
        wait_for(|| notices.left_out() > 0);
    }
}
