//! The process beside each node: everything around the pure [`agency::overseer`] that touches the kernel.
//!
//! Promises that events reach the brain in the order they happened, that its commands are carried out in
//! order, that the loop never waits for a disk, a peer or its log, and that the road from a node's death to
//! the peers' knowledge of it has no stop on it. Decides nothing about who leads. `docs/WARDEN.md` tells
//! the whole story; reading order: `page`, `event_loop`, `watch`, `node_life`, `child`, `links`, `store`, `reset`.

mod brain;
mod child;
mod clock;
mod config;
mod error;
mod event_loop;
mod links;
mod log;
mod node_life;
pub mod page;
mod report;
mod reset;
mod reset_thread;
mod sched;
mod signals;
mod spawn;
mod stall;
pub mod store;
mod store_thread;
mod watch;

pub use brain::Brain;
pub use clock::now;
pub use config::{NodeOptions, Peer, Spawn, Start, WardenConfig};
pub use error::{ExitReason, WardenError};

use agency::error::ImageError;
use agency::ids::Nanos;
use error::system;
use event_loop::EventLoop;
use log::Log;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use store::Store;

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
    let accepted = store::take_acceptance(&config.dir)?;
    let image = &store.stored().image;
    let brain = make_brain(Some(image.as_slice()).filter(|i| !i.is_empty()), now())?;
    let mut event_loop = EventLoop::new(config, brain, store, spawn, signals, Arc::clone(log))?;
    // Last, so that all that was set up is locked with the rest.
    sched::lock_memory(log);
    sched::prioritize(sched::LOOP_PRIORITY, Some(log));
    event_loop.run(accepted)
}
