//! The watch over a node's life: a thread that waits for the robust locks of its shards.
//!
//! Promises that `Report::Died` comes only when the thread of *every* shard of that incarnation has ended,
//! and comes before the kernel has freed the node's memory (which for large nodes takes long; an exit
//! notice by pidfd waits for it). Needs a page whose locks are all held.

use super::page::SharedPage;
use super::report::{Report, Reports};
use super::sched::{WATCH_PRIORITY, prioritize};
use agency::ids::ShardId;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// The watch thread's front. The thread ends with it, once the node it watches is dead.
pub(super) struct Watch {
    pages: Sender<Arc<SharedPage>>,
}

impl Watch {
    pub fn start(reports: Reports) -> io::Result<Watch> {
        let (pages, to_watch) = channel::<Arc<SharedPage>>();
        std::thread::Builder::new().name("warden-watch".into()).spawn(move || {
            prioritize(WATCH_PRIORITY, None);
            while let Ok(page) = to_watch.recv() {
                // One after the other is no slower than all at once: death takes them all, and a lock that
                // is already free costs no wait.
                if (0..page.shards()).all(|s| page.shard(ShardId(s)).wait_for_death()) {
                    reports.send(Report::Died(page.incarnation()));
                }
            }
        })?;
        Ok(Watch { pages })
    }

    /// Watches this page's locks, all of which are held.
    pub fn watch(&self, page: Arc<SharedPage>) {
        self.pages.send(page).expect("the watch thread ends after its front");
    }
}
