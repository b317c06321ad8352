//! The thread that writes the agent's state, so that the loop never waits for a disk. Gives out the node's
//! incarnations, each of them durable before it is used.

use super::clock::{now, wall_ms};
use super::log::Log;
use super::report::{Report, Reports};
use super::sched::{STORE_PRIORITY, prioritize};
use super::store::{Store, StoreError};
use agency::ids::Incarnation;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long nothing is stored before the older copy is brought up to the newer one: not at once, so that the
/// next write of a round of votes need not wait for it.
const TWIN_AFTER: Duration = Duration::from_millis(200);
/// A write that takes longer is worth a line in the log: a promotion may be waiting for it.
const SLOW: Duration = Duration::from_millis(20);

enum Job {
    Image { ticket: u64, image: Vec<u8> },
    RaiseIncarnation,
}

/// The store thread's front.
pub(super) struct StoreThread {
    jobs: Sender<Job>,
}

impl StoreThread {
    pub fn start(store: Store, reports: Reports, log: Arc<Log>) -> io::Result<StoreThread> {
        let (jobs, waiting) = channel();
        std::thread::Builder::new().name("warden-store".into()).spawn(move || {
            prioritize(STORE_PRIORITY, None);
            if let Err(error) = work(store, &waiting, &reports, &log) {
                log.line(&format!("the agent's state cannot be stored: {error}"));
                reports.send(Report::StoreFailed(error));
            }
        })?;
        Ok(StoreThread { jobs })
    }

    /// Makes an image durable; [`Report::Stored`] follows. It supersedes all before.
    pub fn put(&self, ticket: u64, image: Vec<u8>) {
        self.send(Job::Image { ticket, image });
    }

    /// Takes the next incarnation, durably; [`Report::Raised`] follows.
    pub fn raise_incarnation(&self) {
        self.send(Job::RaiseIncarnation);
    }

    fn send(&self, job: Job) {
        // A thread that gave up has reported so; the loop ends the warden when it gets to that.
        let _ = self.jobs.send(job);
    }
}

/// The incarnation after `last`. It is at least the wall time in ms, so that a store that was rolled back or
/// lost does not give an incarnation a second time (rule 18); a clock that is set back does no harm as long as
/// the store remembers.
fn successor(last: Incarnation, wall_ms: u64) -> Incarnation {
    Incarnation((last.0 + 1).max(wall_ms))
}

fn work(mut store: Store, waiting: &Receiver<Job>, reports: &Reports, log: &Log) -> Result<(), StoreError> {
    loop {
        let timeout = if store.twin_differs() { TWIN_AFTER } else { Duration::MAX };
        let first = match waiting.recv_timeout(timeout) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                store.copy_to_twin()?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return store.copy_to_twin(),
        };
        // Everything that waits becomes one write.
        let before = store.stored().incarnation;
        let (mut incarnation, mut newest, mut done) = (before, None, Vec::new());
        let mut last_ticket = 0;
        for job in std::iter::once(first).chain(waiting.try_iter()) {
            match job {
                Job::Image { ticket, image } => {
                    assert!(ticket > last_ticket, "images come in the order of their tickets");
                    last_ticket = ticket;
                    newest = Some(image);
                    done.push(Report::Stored(ticket));
                }
                Job::RaiseIncarnation => {
                    incarnation = successor(incarnation, wall_ms());
                    assert!(incarnation > before, "no incarnation is given twice (rule 18)");
                    done.push(Report::Raised(incarnation));
                }
            }
        }
        let image = newest.unwrap_or_else(|| store.stored().image.clone());
        let start = now();
        store.put(incarnation, image)?;
        let took = now().since(start);
        if took > SLOW {
            log.line(&format!("the disk took {} us to store the agent's state", took.as_micros()));
        }
        done.into_iter().for_each(|report| reports.send(report));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_incarnation_is_given_twice_though_the_store_was_rolled_back() {
        let first = successor(Incarnation(0), 1_700_000_000_000);
        assert_eq!(successor(first, 1_700_000_000_000), Incarnation(first.0 + 1), "twice in one ms");
        let rolled_back = Incarnation(7);
        assert!(successor(rolled_back, 1_700_000_000_001) > first);
        assert_eq!(successor(first, 0), Incarnation(first.0 + 1), "the clock was set back");
    }
}
