//! How a warden ends, well or not.

use super::store::StoreError;
use agency::error::ImageError;
use std::io;
use std::net::SocketAddr;
use thiserror::Error;

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
    pub(super) fn words(self) -> &'static str {
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
    Store(#[from] StoreError),
    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// Turns an error of the system into ours.
pub(super) fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> WardenError {
    move |source| WardenError::System { what, source: source.into() }
}
