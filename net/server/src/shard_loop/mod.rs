//! One shard thread: the ring's completions become events, the core answers with commands, the commands
//! become operations of the ring. One system call per turn, and the thread never waits for anything else.
//!
//! A turn: reap what completed, hand it to the core, end the core's turn, carry out its commands, publish
//! the progress, then enter the kernel once, to submit and to wait. The loop waits nowhere but in its own
//! ring (`docs/decisions/0003-ring-and-glommio.md`); what may block runs on the shard's helper thread.
//!
//! What is one turn's is bounded: completions, their bytes, parcels, connections. What is left is the next
//! turn's, which follows at once.
//!
//! Reading order: `core` (what is driven), this file, `clients`, `links`, `doors`, `greet`, `disk`,
//! `sockets`, `discard`, `stalls`. It knows nothing of replication, protocols or leadership: those are the core's.

mod clients;
pub mod core;
pub mod discard;
mod disk;
mod doors;
mod greet;
mod links;
pub mod sockets;
pub mod stalls;
mod turn;

use crate::control::Desk;
use crate::notices::About;
use crate::post::Mailbox;
use crate::process::Process;
use agency::ids::{Nanos, NodeId};
use core::Core;
use engine::ids::ShardId;
use engine::io::ring::{Completion, LogMemory, Ring, RingError};
use node::events::{ConnId, Event, Face, LinkId};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use warden::page::SharedPage;

pub use disk::{DiskSetup, RunCold};
pub use doors::{ACCEPTS, ROLE_PATIENCE};
pub use greet::{GREETING_TIMEOUT, Greeting, MAX_GREETINGS};
pub use links::SEND_ZC_THRESHOLD;

/// Longest wait of one turn. Small sends that did not end at once may delay other news this long
/// (`Ring::enter`).
pub const LONGEST_WAIT: Duration = Duration::from_millis(1);
/// Most completions of the ring that one turn hands to the core.
pub const TURN_COMPLETIONS: usize = 256;
/// With this many bytes of clients, links and the disk handed to the core, the turn takes no more.
pub const TURN_BYTES: usize = 1 << 20;
/// Most parcels of the mailbox that one turn hands to the core.
pub const TURN_PARCELS: usize = 256;
/// A turn happens at least this often, so that the warden sees the thread move.
pub const IDLE_TURN: Duration = Duration::from_millis(5);
/// How long an orderly stop waits for the last replies to leave.
pub const STOP_DRAIN: Duration = Duration::from_millis(100);
/// Exit status of a node whose core gave up ([`Command::Fail`](node::events::Command)).
pub const EXIT_FAILED: i32 = 70;

/// The name of an operation of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// On the listener with this number.
    Accept(usize),
    ClientReceive(ConnId),
    /// Waiting for the other end to close.
    ClientWatch(ConnId),
    ClientSend(ConnId),
    Greeting(u64),
    LinkConnect(LinkId),
    LinkReceive(LinkId),
    /// With the serial number of the range, if it is a zero-copy send.
    LinkSend(LinkId, Option<u64>),
    Disk {
        ticket: u64,
        wanted: i32,
    },
    Read {
        ticket: u64,
        wanted: u32,
    },
    /// The warden published something.
    WardenBell,
    /// Somebody without a ring put something into the mailbox.
    Bell,
    /// That shard's ring was rung.
    Rang(ShardId),
    Tick,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Clients(Face),
    Replication,
}

/// Where another node's replication port is.
#[derive(Clone, Debug)]
pub struct PeerAddress {
    pub node: NodeId,
    /// A name or an address.
    pub host: String,
    pub port: u16,
}

/// All that a shard thread is given.
pub struct Setup {
    /// Claimed ([`sockets::claim`]) and not yet listened on.
    pub listeners: Vec<(Door, OwnedFd)>,
    pub greeting: Greeting,
    pub peers: Vec<PeerAddress>,
    pub max_clients: usize,
    /// The log buffer, which the core owns.
    pub log: LogMemory,
    pub disk: DiskSetup,
    pub mailbox: Mailbox,
    pub page: Arc<SharedPage>,
    /// What the shards' threads share.
    pub process: Process,
    /// Where this thread says what it does.
    pub place: Arc<stalls::Place>,
    /// Where jobs for the control threads are handed in.
    pub desk: Desk,
    /// Written by the warden when it published something.
    pub warden_bell: OwnedFd,
    /// To be written when something was asked of the warden.
    pub wake_warden: Arc<OwnedFd>,
}

/// Why a shard thread cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("cannot start the shard's helper thread: {0}")]
    Helper(io::Error),
    #[error("io_uring_enter failed: {0}")]
    Enter(io::Error),
    #[error("cannot listen: {0}; stop whoever uses one of the node's ports or change port_base or bind")]
    Listen(io::Error),
}

/// Something that happened without the kernel's doing: it is told at the next turn.
enum Later {
    LinkClosed(LinkId),
    Disk(engine::disk::DiskDone),
    ReadFailed(u64),
}

/// A shard thread's state; see the head of this file.
pub(crate) struct ShardLoop<C: Core> {
    ring: Ring<Op>,
    shard: agency::ids::ShardId,
    doors: doors::Doors,
    clients: clients::Clients,
    links: links::Links,
    accepted_links: u64,
    guests: greet::Guests,
    disk: disk::Disk,
    peers: Vec<PeerAddress>,
    mailbox: Mailbox,
    page: Arc<SharedPage>,
    desk: Desk,
    process: Process,
    stalls: stalls::Stalls,
    seen_update: u64,
    seen_view: u64,
    warden_bell: OwnedFd,
    wake_warden: Arc<OwnedFd>,
    later: VecDeque<Later>,
    /// Links whose peer's name is being looked up.
    resolving: Vec<LinkId>,
    commands: Vec<node::events::Command>,
    completions: VecDeque<Completion<Op>>,
    /// The mailbox may hold parcels that no bell will tell of.
    parcels_left: bool,
    now: Nanos,
    turns: u64,
    /// The progress word: raised with every event.
    steps: u64,
    stopped_at: Option<Nanos>,
    /// Last, because it owns the log buffer: it must not be dropped before the ring.
    core: C,
}

/// Run a shard until its core says [`Command::Stopped`](node::events::Command), on the thread that stays the
/// shard's.
///
/// `opened` is called once, when the thread is about to take its first turn.
///
/// # Errors
/// Only what a thread cannot go on without; failures of sockets and disks are events.
pub fn run<C: Core>(core: C, setup: Setup, opened: impl FnOnce()) -> Result<(), LoopError> {
    let place = Arc::clone(&setup.place);
    place.is_here();
    let mut shard = ShardLoop::new(core, setup)?;
    opened();
    loop {
        place.working(shard.turns);
        shard.open_doors()?;
        shard.turn();
        if shard.may_end() {
            shard.mailbox.detach();
            // The process ends with its shards. To unmap the log buffer and the index before would only keep the
            // threads of the others waiting; and the kernel may still work on the buffer for the ring.
            let ShardLoop { core, ring, .. } = shard;
            std::mem::forget((core, ring));
            return Ok(());
        }
        let (patience, before) = (shard.patience(), warden::now());
        place.in_ring(shard.turns);
        shard.ring.enter(patience).map_err(LoopError::Enter)?;
        shard.now = warden::now();
        shard.stalls.called(before, shard.now, patience.unwrap_or_default());
    }
}

impl<C: Core> ShardLoop<C> {
    fn new(core: C, setup: Setup) -> Result<ShardLoop<C>, LoopError> {
        let ring = Ring::new(setup.log)?;
        let shard = agency::ids::ShardId(setup.mailbox.shard().0);
        setup.page.shard(shard).hold_alive();
        setup.mailbox.attach(&ring);
        let disk =
            disk::Disk::start(setup.disk, setup.mailbox.shard(), setup.mailbox.post.clone(), &setup.process)
                .map_err(LoopError::Helper)?;
        setup.process.descriptors.segments_opened(disk.segments());
        let steps = setup.page.shard(shard).progress().turns;
        let stalls =
            stalls::Stalls::new(Arc::clone(&setup.process.lost), setup.process.notices.clone(), shard);
        let mut this = ShardLoop {
            core,
            ring,
            shard,
            doors: doors::Doors::new(setup.listeners),
            clients: clients::Clients::new(setup.max_clients, setup.process.clone()),
            links: links::Links::new(setup.process.discard.clone()),
            accepted_links: 0,
            guests: greet::Guests::new(setup.greeting),
            disk,
            peers: setup.peers,
            mailbox: setup.mailbox,
            page: setup.page,
            desk: setup.desk,
            process: setup.process,
            stalls,
            seen_update: 0,
            seen_view: 0,
            warden_bell: setup.warden_bell,
            wake_warden: setup.wake_warden,
            later: VecDeque::new(),
            resolving: Vec::new(),
            commands: Vec::new(),
            completions: VecDeque::new(),
            parcels_left: false,
            now: warden::now(),
            turns: 0,
            steps,
            stopped_at: None,
        };
        if !this.ring.log_registered() {
            this.say_unregistered();
        }
        this.ring.tick(IDLE_TURN, Op::Tick);
        this.ring.read_eventfd(this.mailbox.bell(), Op::Bell);
        this.ring.read_eventfd(this.warden_bell.as_raw_fd(), Op::WardenBell);
        // What the warden published before this thread listened.
        this.read_page();
        Ok(this)
    }

    /// How long the turn's system call may wait.
    fn patience(&mut self) -> Option<Duration> {
        let left = Duration::from_nanos(self.core.deadline().0.saturating_sub(self.now.0));
        (!self.has_leftovers() && !left.is_zero()).then_some(LONGEST_WAIT.min(left))
    }

    /// Whether the turn left something for the next.
    fn has_leftovers(&mut self) -> bool {
        let untold = !self.later.is_empty() || !self.completions.is_empty() || self.parcels_left;
        untold || !self.commands.is_empty() || self.stopped_at.is_some() || self.ring.has_completed()
    }

    fn may_end(&self) -> bool {
        let drained = |at: Nanos| !self.clients.sending() || self.now.0 > at.0 + STOP_DRAIN.as_nanos() as u64;
        self.stopped_at.is_some_and(drained)
    }

    fn open_doors(&mut self) -> Result<(), LoopError> {
        let (ready, knows_role) = (self.page.node_ready(), self.seen_update > 0);
        self.doors.open(&mut self.ring, self.now, ready, knows_role)
    }

    /// Without registered memory everything goes on, only at a higher price.
    fn say_unregistered(&self) {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
        let limit = limit.map_or("none".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
        self.process.notices.say(
            About::Start,
            &format!(
                "shard {}: the log buffer could not be registered with io_uring (limit on locked memory: {limit}): \
                 writes and sends cost more; raise the limit (ulimit -l, LimitMEMLOCK=)",
                self.shard.0
            ),
        );
    }

    /// Tell the core what the warden published.
    fn read_page(&mut self) {
        if let Some(update) = self.page.shard(self.shard).update(&mut self.seen_update) {
            self.core.handle(self.now, Event::Update(update), &mut self.commands);
        }
        if let Some(view) = self.page.view(&mut self.seen_view) {
            self.core.handle(self.now, Event::View(Arc::new(view)), &mut self.commands);
        }
    }
}
