//! The thread that resets a dead node's sockets. What a reset is: `reset`.

use super::clock::now;
use super::report::{Report, Reports, ResetDone};
use super::reset::Resetter;
use super::sched::{RESET_PRIORITY, prioritize};
use agency::ids::{Incarnation, Nanos};
use std::io;
use std::sync::mpsc::{Sender, channel};

/// The reset thread's front: started beforehand, so that a death finds it waiting.
pub(super) struct ResetThread {
    orders: Sender<(Incarnation, Nanos)>,
}

impl ResetThread {
    pub fn start(mut resetter: Resetter, reports: Reports) -> io::Result<ResetThread> {
        let (orders, waiting) = channel::<(Incarnation, Nanos)>();
        std::thread::Builder::new().name("warden-reset".into()).spawn(move || {
            prioritize(RESET_PRIORITY, None);
            while let Ok((incarnation, died_at)) = waiting.recv() {
                let start = now();
                let result = resetter.reset();
                let end = now();
                reports.send(Report::Reset(ResetDone {
                    incarnation,
                    sockets: *result.as_ref().unwrap_or(&0),
                    took: end.since(start),
                    since_death: end.since(died_at),
                    error: result.err(),
                }));
            }
        })?;
        Ok(ResetThread { orders })
    }

    /// Resets the sockets of this incarnation, which died at that time; [`Report::Reset`] follows.
    pub fn reset(&self, incarnation: Incarnation, died_at: Nanos) {
        self.orders.send((incarnation, died_at)).expect("the reset thread ends after its front");
    }
}
