//! The warden's log: lines on stderr, `2026-01-31T12:00:00.000Z [warden a] …`.
//!
//! Promises that a line costs the caller no I/O (stderr may be a file on the very disk that hangs): a thread
//! writes them. Lines that pile up beyond [`BACKLOG`] are dropped, and their number is logged.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// Lines that may wait for the writer.
const BACKLOG: usize = 1024;

/// The log of one warden.
pub(super) struct Log {
    name: String,
    dropped: AtomicU64,
    writer: Mutex<Option<(SyncSender<String>, JoinHandle<()>)>>,
    lines: SyncSender<String>,
}

impl Log {
    /// Starts the writer.
    pub fn start(name: &str) -> std::io::Result<Log> {
        let (lines, waiting) = sync_channel::<String>(BACKLOG);
        let thread = std::thread::Builder::new().name("warden-log".into()).spawn(move || {
            // An empty line asks the writer to end.
            while let Ok(line) = waiting.recv() {
                if line.is_empty() {
                    return;
                }
                // Nobody is left to tell if stderr is gone.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
        })?;
        let writer = Mutex::new(Some((lines.clone(), thread)));
        Ok(Log { name: name.to_owned(), dropped: AtomicU64::new(0), writer, lines })
    }

    /// Logs one line; `text` has no line end.
    pub fn line(&self, text: &str) {
        let dropped = self.dropped.swap(0, Relaxed);
        let note =
            if dropped > 0 { format!(" ({dropped} lines before this were dropped)") } else { String::new() };
        let line = format!(
            "{} [warden {}] {text}{note}\n",
            humantime::format_rfc3339_millis(SystemTime::now()),
            self.name
        );
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(dropped + 1, Relaxed);
        }
    }

    /// Writes out what waits. Lines after this go nowhere.
    pub fn finish(&self) {
        let writer = self.writer.lock().ok().and_then(|mut w| w.take());
        if let Some((lines, thread)) = writer
            && lines.send(String::new()).is_ok()
        {
            let _ = thread.join();
        }
    }
}
