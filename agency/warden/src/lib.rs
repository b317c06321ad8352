//! The process beside each node: everything around the pure [`Overseer`] that touches the kernel.
//!
//! Promises that events reach the brain in the order they happened, that its commands are carried out in
//! order, that the loop never waits for a disk, a peer or its log, and that the road from a node's death to
//! the peers' knowledge of it has no stop on it. Decides nothing about who leads. `docs/WARDEN.md` tells
//! the whole story; reading order: `page`, `event_loop`, `watch`, `child`, `links`, `store`, `reset`.

mod child;
mod event_loop;
mod links;
mod log;
mod node_life;

pub mod page;
mod report;
mod reset;
mod sched;
mod signals;
mod stall;
pub mod store;
mod watch;

use agency::error::ImageError;
use agency::events::{ClusterView, Command, Event};
use agency::ids::{Incarnation, Nanos, NodeId};
use agency::overseer::Overseer;
use event_loop::EventLoop;
use log::Log;
use page::ChildFds;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use thiserror::Error;

/// The clock of everything in the warden: `CLOCK_BOOTTIME`.
pub fn now() -> Nanos {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Nanos(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// Another warden of the group.
#[derive(Clone, Debug)]
pub struct Peer {
    pub id: NodeId,
    /// For people.
    pub name: String,
    /// Where its agency port is.
    pub address: SocketAddr,
}

/// What a warden needs to know of its own node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Where the node listens (any key, shards, HTTP, replication): sockets with these local addresses are
    /// reset when it dies. An unspecified IP address stands for every address with that port.
    pub listens: Vec<SocketAddr>,
    /// How long after its end the node is started again; `None`: never. A node that keeps dying young waits
    /// longer each time, up to 10 s.
    pub respawn_after: Option<Duration>,
    /// How long an orderly stop may take before the node is killed.
    pub stop_timeout: Duration,
}

/// What a warden is told once, at its start.
#[derive(Clone, Debug)]
pub struct WardenConfig {
    /// For people.
    pub name: String,
    pub me: NodeId,
    /// Identity of the group; wardens of another one are refused.
    pub group: u128,
    pub shards: u16,
    /// Where this warden's agency port is.
    pub listen: SocketAddr,
    pub peers: Vec<Peer>,
    /// Directory of the agent's durable state; made if missing.
    pub dir: PathBuf,
    /// As in `Timing`.
    pub tick: Duration,
    /// As in `Timing`; ticks later than half of it are worth a line in the log.
    pub hang_after: Duration,
    /// `None`: a witness.
    pub node: Option<NodeOptions>,
}

/// Why a warden ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// It was told to stop (SIGTERM, SIGINT), and its node stopped in order (or there was none).
    Stopped,
    /// It was told to stop, and its node had to be killed.
    NodeKilled,
    /// The node stopped in order by itself (an administrator asked it to).
    NodeStopped,
}

impl ExitReason {
    fn words(self) -> &'static str {
        match self {
            ExitReason::Stopped => "stopped in order",
            ExitReason::NodeKilled => "stopped; the node did not stop in time and was killed",
            ExitReason::NodeStopped => "the node stopped in order",
        }
    }
}

/// Why a warden cannot start or go on.
#[derive(Debug, Error)]
pub enum WardenError {
    #[error("cannot listen on {address} for the agency: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("the agent's stored state cannot be used: {0}")]
    Image(#[from] ImageError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// What makes the command that starts the node. It is called on the warden's loop and must not block. The
/// warden adds the environment variable of [`ChildFds`] and what ties the child's life to its own.
pub type Spawn = Box<dyn FnMut(Incarnation, &ChildFds) -> io::Result<std::process::Command>>;

/// The brain that the loop serves; [`Overseer`] is the one, tests bring scripted ones.
pub trait Brain {
    /// See [`Overseer::handle`].
    fn handle(&mut self, now: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>);
    /// See [`Overseer::deadline`].
    fn deadline(&self) -> Nanos;
    /// See [`Overseer::view`].
    fn view(&self) -> ClusterView;
    /// See [`Overseer::view_changed`].
    fn view_changed(&mut self) -> bool;
}

impl Brain for Overseer {
    fn handle(&mut self, now: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>) {
        Overseer::handle(self, now, wall_ms, event, out);
    }
    fn deadline(&self) -> Nanos {
        Overseer::deadline(self)
    }
    fn view(&self) -> ClusterView {
        Overseer::view(self)
    }
    fn view_changed(&mut self) -> bool {
        Overseer::view_changed(self)
    }
}

/// Runs a warden until it is told to stop or its node stops in order. `make_brain` gets the stored image of
/// the agent's state and the time; `spawn` is needed where `config.node` is given.
///
/// Blocks the calling thread, and SIGTERM and SIGINT on it and on the threads it starts.
///
/// # Errors
/// It cannot start, or its disk failed: an agent that cannot remember must not answer.
pub fn run<B: Brain>(
    config: WardenConfig,
    make_brain: impl FnOnce(Option<&[u8]>, Nanos) -> Result<B, ImageError>,
    spawn: Option<Spawn>,
) -> Result<ExitReason, WardenError> {
    assert_eq!(config.node.is_some(), spawn.is_some(), "a node needs its command, a witness has none");
    // Before the first thread, the log's: they inherit the mask.
    let signals = signals::take().map_err(system("take signals"))?;
    let log = Arc::new(Log::start(&config.name).map_err(system("start a thread"))?);
    let result = start(config, make_brain, spawn, signals, &log);
    match &result {
        Ok(reason) => log.line(&format!("ends: {}", reason.words())),
        Err(error) => log.line(&format!("ends: {error}")),
    }
    log.finish();
    result
}

fn start<B: Brain>(
    config: WardenConfig,
    make_brain: impl FnOnce(Option<&[u8]>, Nanos) -> Result<B, ImageError>,
    spawn: Option<Spawn>,
    signals: OwnedFd,
    log: &Arc<Log>,
) -> Result<ExitReason, WardenError> {
    let store = Store::open(&config.dir, log)?;
    let image = &store.stored().image;
    let brain = make_brain(Some(image.as_slice()).filter(|i| !i.is_empty()), now())?;
    let mut event_loop = EventLoop::new(config, brain, store, spawn, signals, Arc::clone(log))?;
    // Last, so that all that was set up is locked with the rest.
    sched::lock_memory(log);
    sched::prioritize(sched::LOOP_PRIORITY, Some(log));
    event_loop.run()
}

/// Turns an error of the system into ours.
fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> WardenError {
    move |source| WardenError::System { what, source: source.into() }
}
