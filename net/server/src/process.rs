//! What the threads of a node's process share: where notices go, who has how many descriptors, who frees
//! what is large, what was lost in system calls.

use crate::descriptors::Descriptors;
use crate::notices::Notices;
use crate::shard_loop::discard::Discard;
use crate::shard_loop::stalls::Lost;
use std::io::{self, Write};
use std::sync::Arc;

/// See the head of this file.
#[derive(Clone)]
pub struct Process {
    pub notices: Notices,
    pub descriptors: Arc<Descriptors>,
    pub discard: Discard,
    /// Time lost in `io_uring_enter`, over all shards.
    pub lost: Arc<Lost>,
}

impl Process {
    /// Start the threads behind it; they end with the last clone.
    ///
    /// # Errors
    /// No more threads.
    pub fn start(sink: impl Write + Send + 'static, descriptors: Descriptors) -> io::Result<Process> {
        Ok(Process {
            notices: Notices::start(sink)?,
            descriptors: Arc::new(descriptors),
            discard: Discard::start()?,
            lost: Arc::default(),
        })
    }
}
