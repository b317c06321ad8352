//! The warden's log: lines on stderr, `2026-01-31T12:00:00.000Z [warden a] …`.
//!
//! Promises that a line costs the caller no I/O (stderr may be a file on the very disk that hangs): a thread
//! writes them. Lines that pile up beyond [`BACKLOG`] are dropped, and their number is logged.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

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
        let line = format!("{} [warden {}] {text}{note}\n", timestamp(wall_ms()), self.name);
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

/// Wall time in ms since the epoch of Unix; for people only.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// RFC 3339 in UTC. Days to date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn timestamp(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", in_day % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(timestamp(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(timestamp(1_772_323_200_001), "2026-03-01T00:00:00.001Z");
    }
}
