//! The process's file descriptors: how many there may be, and who gets them.
//!
//! Promises that clients never take those that the log, the links and the helper threads need, and that the
//! kernel's table of descriptors does not grow while the node serves: growing it makes whoever needs the next
//! descriptor wait for a grace period of the kernel, in a process of several threads.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Kept for links, those that did not yet say what they are, helper threads and what a library may open.
pub const RESERVE: usize = 128;
/// What a shard has open besides clients, links and segments: rings, bells, listeners, files, and connections
/// that are refused or not yet let in.
pub const PER_SHARD: usize = 96;
/// Kept for each segment: its file, and what is opened to prepare or to repair it.
pub const PER_SEGMENT: usize = 2;
/// Largest table that is asked for at once: 8 bytes a descriptor.
pub const LARGEST_TABLE: usize = 1 << 20;
/// What the table has room for beside the present use: segments to come.
const ROOM: usize = 4096;

/// Raise a limit as far as this process may, and say what it is then; `None` for none.
pub fn raise(resource: Resource) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(resource);
    if current != maximum {
        // Refused by some sandboxes; the old limit holds then.
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
    getrlimit(resource).current
}

/// Who has how many; shared by the shards' threads.
#[derive(Debug)]
pub struct Descriptors {
    limit: usize,
    shards: usize,
    segments: AtomicUsize,
    clients: AtomicUsize,
    refused: AtomicUsize,
}

impl Descriptors {
    /// Of a process with at most `limit` descriptors and so many shards.
    pub fn new(limit: usize, shards: usize) -> Descriptors {
        let none = || AtomicUsize::new(0);
        Descriptors { limit, shards, segments: none(), clients: none(), refused: none() }
    }

    fn reserve(&self) -> usize {
        RESERVE + PER_SHARD * self.shards + PER_SEGMENT * self.segments.load(Relaxed)
    }

    /// How many clients there may be.
    pub fn clients_limit(&self) -> usize {
        self.limit.saturating_sub(self.reserve())
    }

    /// A client came: whether there is a descriptor to spare for it. If so, [`Self::client_left`] follows.
    pub fn client_came(&self) -> bool {
        let may = self.clients.fetch_add(1, Relaxed) < self.clients_limit();
        if !may {
            self.clients.fetch_sub(1, Relaxed);
        }
        may
    }

    /// A client that was let in left.
    pub fn client_left(&self) {
        self.clients.fetch_sub(1, Relaxed);
    }

    /// A client was refused, for want of a descriptor or for another limit.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// How many were.
    pub fn refused_so_far(&self) -> usize {
        self.refused.load(Relaxed)
    }

    /// So many segments' files were opened.
    pub fn segments_opened(&self, count: usize) {
        self.segments.fetch_add(count, Relaxed);
    }

    /// So many were closed.
    pub fn segments_closed(&self, count: usize) {
        self.segments.fetch_sub(count, Relaxed);
    }

    /// Make the kernel's table as large as it has to be for `clients` clients. `any` is an open descriptor.
    ///
    /// # Errors
    /// No memory. Nothing depends on it but how long a later accept may take.
    pub fn grow_table(&self, any: impl AsFd, clients: usize) -> io::Result<()> {
        let wanted = (self.reserve() + clients + ROOM).next_multiple_of(1024);
        let last = wanted.min(self.limit).min(LARGEST_TABLE).saturating_sub(1);
        // The table stays as large as it once was.
        drop(rustix::io::fcntl_dupfd_cloexec(any, last as i32)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_never_get_what_is_kept() {
        let descriptors = Descriptors::new(RESERVE + PER_SHARD + 10, 1);
        descriptors.segments_opened(4);
        assert_eq!(descriptors.clients_limit(), 2);
        assert!(descriptors.client_came() && descriptors.client_came() && !descriptors.client_came());
        descriptors.client_left();
        descriptors.segments_opened(1);
        assert!(!descriptors.client_came(), "the segment's are kept");
        descriptors.segments_closed(1);
        assert!(descriptors.client_came());
        assert_eq!(Descriptors::new(10, 1).clients_limit(), 0);
    }

    #[test]
    fn the_table_grows_once() {
        let size = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("FDSize:")).unwrap();
            line["FDSize:".len()..].trim().parse::<usize>().unwrap()
        };
        let limit = raise(Resource::Nofile).unwrap_or(1 << 20) as usize;
        let before = size();
        let descriptors = Descriptors::new(limit, 1);
        descriptors.grow_table(std::io::stdin(), 2 * before).unwrap();
        assert!(size() >= (2 * before).min(limit), "{} after {before}, limit {limit}", size());
    }
}
