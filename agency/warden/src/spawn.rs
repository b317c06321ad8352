//! The thread that starts nodes, so that the loop does not wait while a program is loaded.
//!
//! The kernel ties a node's life to the *thread* that started it: this one ends with the loop.

use super::child::Child;
use super::config::Start;
use super::page::ChildFds;
use super::report::{Born, Report, Reports};
use agency::ids::Incarnation;
use rustix::fd::OwnedFd;
use std::io;
use std::sync::mpsc::{Sender, channel};

/// What the spawn thread needs to start one incarnation.
pub(super) struct Birth {
    pub incarnation: Incarnation,
    pub start: Start,
    /// All of them stay open until [`Report::Started`]; `page` is kept open by this.
    pub fds: ChildFds,
    pub page: OwnedFd,
}

/// The spawn thread's front.
pub(super) struct SpawnThread {
    births: Sender<Birth>,
}

impl SpawnThread {
    pub fn start(reports: Reports) -> io::Result<SpawnThread> {
        let (births, waiting) = channel::<Birth>();
        std::thread::Builder::new().name("warden-spawn".into()).spawn(move || {
            while let Ok(Birth { incarnation, start, fds, page }) = waiting.recv() {
                let Start { command, disk_id } = start;
                let born = disk_id().and_then(|disk_id| {
                    let child = Child::start(command, &fds)?;
                    Ok(Born { child, disk_id })
                });
                drop(page);
                reports.send(Report::Started(incarnation, born));
            }
        })?;
        Ok(SpawnThread { births })
    }

    /// Starts a process; [`Report::Started`] follows.
    pub fn spawn(&self, birth: Birth) {
        self.births.send(birth).expect("the spawn thread ends after its front");
    }
}
