//! The doors of one shard thread: sockets that are bound from the start, so that nobody else gets the port,
//! and listened on only when whoever comes in can be served.
//!
//! Promises that a connection is not accepted by the kernel before that (it is refused, and what its client
//! sends is never found and carried out later), and that one turn lets in at most [`ACCEPTS`] by each door.

use super::{Door, LoopError, Op, sockets};
use agency::ids::Nanos;
use engine::io::ring::Ring;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Connections that one door lets in at a time. Accepting costs a system call's time for each, and a
/// descriptor before it is known whether one may be spent.
pub const ACCEPTS: usize = 8;
/// A shard that can serve waits this long to be told its role before clients may come in nevertheless: where
/// the majority is missing, they and the administrator are answered so.
pub const ROLE_PATIENCE: Duration = Duration::from_secs(2);

struct Entry {
    door: Door,
    /// `None` once it is shut.
    socket: Option<OwnedFd>,
    listening: bool,
    /// Accepts that the kernel has of this door.
    accepts: usize,
}

/// All doors of a shard thread.
pub(super) struct Doors {
    entries: Vec<Entry>,
    /// Since when all shards of the node are recovered.
    ready: Option<Nanos>,
    all_open: bool,
}

impl Doors {
    pub(super) fn new(listeners: Vec<(Door, OwnedFd)>) -> Doors {
        let entry = |(door, socket)| Entry { door, socket: Some(socket), listening: false, accepts: 0 };
        Doors { entries: listeners.into_iter().map(entry).collect(), ready: None, all_open: false }
    }

    /// What the door with this number is for.
    pub(super) fn door(&self, number: usize) -> Door {
        self.entries[number].door
    }

    /// Open those whose time has come: `node_ready` says that every shard of the node is recovered,
    /// `knows_role` that the warden told this one who leads.
    ///
    /// # Errors
    /// Somebody else listens there.
    pub(super) fn open(
        &mut self,
        ring: &mut Ring<Op>,
        now: Nanos,
        node_ready: bool,
        knows_role: bool,
    ) -> Result<(), LoopError> {
        if self.all_open || !node_ready {
            return Ok(());
        }
        let since = *self.ready.get_or_insert(now);
        let clients = knows_role || now.0 > since.0 + ROLE_PATIENCE.as_nanos() as u64;
        for (number, entry) in self.entries.iter_mut().enumerate() {
            let may = clients || entry.door == Door::Replication;
            if let Some(socket) = entry.socket.as_ref().filter(|_| may && !entry.listening) {
                sockets::open(socket).map_err(LoopError::Listen)?;
                entry.listening = true;
                entry.accept(ring, number);
            }
        }
        self.all_open = clients;
        Ok(())
    }

    /// The kernel's word on one accept. If it brought nobody, the next waits for [`Self::tick`]: there may be
    /// no descriptor, say.
    pub(super) fn accepted(&mut self, ring: &mut Ring<Op>, number: usize, brought_one: bool) {
        let entry = &mut self.entries[number];
        entry.accepts -= 1;
        if brought_one {
            entry.accept(ring, number);
        }
    }

    /// Ask for what was not asked for.
    pub(super) fn tick(&mut self, ring: &mut Ring<Op>) {
        for (number, entry) in self.entries.iter_mut().enumerate() {
            entry.accept(ring, number);
        }
    }

    /// Nobody else may come in: an orderly stop has begun. Other nodes still may.
    pub(super) fn shut_clients(&mut self, ring: &mut Ring<Op>) {
        for entry in self.entries.iter_mut().filter(|entry| entry.door != Door::Replication) {
            if let Some(socket) = entry.socket.take() {
                ring.cancel_all_on(socket.as_raw_fd());
                ring.close(socket);
            }
        }
    }
}

impl Entry {
    fn accept(&mut self, ring: &mut Ring<Op>, number: usize) {
        let Some(socket) = self.socket.as_ref().filter(|_| self.listening) else { return };
        while self.accepts < ACCEPTS {
            self.accepts += 1;
            ring.accept(socket.as_raw_fd(), Op::Accept(number));
        }
    }
}
