//! How the warden's helper threads speak to its loop: a queue, and an eventfd that wakes it.

use super::child::Child;
use super::store::StoreError;
use agency::ids::Incarnation;
use rustix::event::EventfdFlags;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// What a helper thread has to say.
pub(super) enum Report {
    /// Watch thread: every shard's thread of this incarnation has ended.
    Died(Incarnation),
    /// Store thread: the image of this ticket is durable.
    Stored(u64),
    /// Store thread: this incarnation is durable and may be used.
    Raised(Incarnation),
    /// Store thread: the disk failed; nothing will be stored any more.
    StoreFailed(StoreError),
    /// Spawn thread: the process of this incarnation runs, or could not be started.
    Started(Incarnation, io::Result<Born>),
    /// Reset thread: done with the sockets of a dead node.
    Reset(ResetDone),
}

/// A process that was started, and the identity of the disk it found (rule 8).
pub(super) struct Born {
    pub child: Child,
    pub disk_id: u128,
}

/// What a reset did.
#[derive(Debug)]
pub(super) struct ResetDone {
    pub incarnation: Incarnation,
    /// Sockets destroyed.
    pub sockets: usize,
    /// From the order to the last reset, in the thread's own time.
    pub took: Duration,
    /// From the node's death notice to the last reset.
    pub since_death: Duration,
    pub error: Option<io::Error>,
}

/// The helpers' end.
#[derive(Clone)]
pub(super) struct Reports {
    queue: Sender<Report>,
    wake: Arc<OwnedFd>,
}

impl Reports {
    /// Queues a report and wakes the loop. A loop that has ended hears nothing any more.
    pub fn send(&self, report: Report) {
        if self.queue.send(report).is_ok() {
            wake(&self.wake);
        }
    }
}

/// A queue for helpers, the loop's end of it, and the eventfd to wait on.
pub(super) fn reports() -> io::Result<(Reports, Receiver<Report>, Arc<OwnedFd>)> {
    let wake = Arc::new(eventfd()?);
    let (queue, reports) = channel();
    Ok((Reports { queue, wake: Arc::clone(&wake) }, reports, wake))
}

/// A new eventfd, non-blocking and closed on exec.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

/// Makes an eventfd readable. It can fail only if the counter is full, and then it is readable.
pub(super) fn wake(eventfd: &OwnedFd) {
    let _ = rustix::io::write(eventfd, &1u64.to_ne_bytes());
}

/// Takes an eventfd's, timerfd's or signalfd's readiness away.
pub(super) fn drain(fd: &OwnedFd) {
    let mut buffer = [0; 512];
    // Nothing to read is what we want.
    let _ = rustix::io::read(fd, &mut buffer);
}
