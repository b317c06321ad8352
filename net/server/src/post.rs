//! The way from any thread of the node to a shard thread: a queue per shard and a bell.
//!
//! Promises: what was sent is seen, in order per sender; a bell is rung once, however much is sent before
//! it is heard. Queues are not bounded here: whoever sends bounds what is under way.

use agency::ids::NodeId;
use engine::disk::DiskDone;
use engine::ids::{SegmentId, ShardId};
use engine::io::ring::Ring;
use node::events::{LinkId, Resources};
use node::job::JobDone;
use node::mail::Mail;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a shard thread may find in its mailbox.
pub(crate) enum Parcel {
    /// From the core of another shard.
    Mail(Box<Mail>),
    /// Another node connected and asked for this shard with this first header.
    Link { socket: OwnedFd, header: Vec<u8> },
    /// A cold operation of the disk ended, perhaps with a new file.
    Cold { done: DiskDone, file: Option<(SegmentId, OwnedFd)> },
    /// The name of the node that this link is to was looked up.
    Resolved { link: LinkId, address: Option<SocketAddr> },
    /// The control threads did a job.
    Control { ticket: u64, done: Box<JobDone> },
    /// What the process uses.
    Resources(Resources),
    /// An administrator wants another leader.
    Handoff(Option<NodeId>),
    /// An administrator wants this node to lead with what it has.
    Promote,
    /// The node is to stop in order.
    Stop,
}

struct Entry {
    queue: Sender<Parcel>,
    /// Rung and not yet heard.
    rung: AtomicBool,
    bell: OwnedFd,
    /// The shard's ring, once it has one; negative before.
    ring: AtomicI32,
}

/// The mailboxes of all shards of this node.
#[derive(Clone)]
pub struct Post(Arc<Vec<Entry>>);

/// The end of a mailbox that belongs to the shard's thread.
pub struct Mailbox {
    pub(crate) shard: ShardId,
    queue: Receiver<Parcel>,
    pub(crate) post: Post,
}

impl Post {
    /// Mailboxes for this many shards.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn new(shards: u16) -> io::Result<(Post, Vec<Mailbox>)> {
        let (mut boxes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let (queue, end) = channel();
            // Blocking: the shard's ring waits for it by a read (see `engine::io::ring`).
            let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
            boxes.push(Entry { queue, rung: AtomicBool::new(false), bell, ring: AtomicI32::new(-1) });
            ends.push(end);
        }
        let post = Post(Arc::new(boxes));
        let numbered = ends.into_iter().enumerate();
        let mailboxes =
            numbered.map(|(n, queue)| Mailbox { shard: ShardId(n as u16), queue, post: post.clone() });
        Ok((post.clone(), mailboxes.collect()))
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.0.len() as u16
    }

    /// Put it into the queue; whether the bell must be rung.
    fn put(&self, to: ShardId, parcel: Parcel) -> bool {
        let Some(to) = self.0.get(to.0 as usize) else { return false };
        // A shard that has ended no longer reads: nothing is owed to it.
        to.queue.send(parcel).is_ok() && !to.rung.swap(true, Ordering::AcqRel)
    }

    /// From any thread without a ring.
    pub(crate) fn send(&self, to: ShardId, parcel: Parcel) {
        if self.put(to, parcel) {
            // Cannot block: that takes 2^64 - 2 unheard rings.
            let _ = rustix::io::write(&self.0[to.0 as usize].bell, &1u64.to_ne_bytes());
        }
    }

    /// From a shard thread: the bell is rung by its ring, with the turn's system call. `rang` names that operation.
    pub(crate) fn send_by_ring<T: Copy>(&self, to: ShardId, parcel: Parcel, ring: &mut Ring<T>, rang: T) {
        if self.put(to, parcel) {
            match self.0[to.0 as usize].ring.load(Ordering::Acquire) {
                other if other >= 0 => ring.ring_other(other, rang),
                _ => self.ring_bell(to, ring),
            }
        }
    }

    /// Ring the slower bell, where the other ring could not be rung.
    pub(crate) fn ring_bell<T: Copy>(&self, to: ShardId, ring: &mut Ring<T>) {
        ring.raise_eventfd(self.0[to.0 as usize].bell.as_raw_fd());
    }

    /// Ask every shard to stop in order.
    pub fn stop_all(&self) {
        for shard in 0..self.shards() {
            self.send(ShardId(shard), Parcel::Stop);
        }
    }
}

impl Mailbox {
    /// The shard whose mailbox it is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    pub(crate) fn bell(&self) -> RawFd {
        self.post.0[self.shard.0 as usize].bell.as_raw_fd()
    }

    /// From now on other shards ring this ring directly.
    pub(crate) fn attach<T: Copy>(&self, ring: &Ring<T>) {
        self.post.0[self.shard.0 as usize].ring.store(ring.raw_fd(), Ordering::Release);
    }

    /// Other shards must no longer ring the ring.
    pub(crate) fn detach(&self) {
        self.post.0[self.shard.0 as usize].ring.store(-1, Ordering::Release);
    }

    /// The bell was heard: what is sent from now on rings it again.
    pub(crate) fn heard(&self) {
        // A swap and not a store: it must see all that was sent before the ring it takes back.
        self.post.0[self.shard.0 as usize].rung.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn take(&self) -> Option<Parcel> {
        self.queue.try_recv().ok()
    }
}
