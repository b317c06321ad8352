//! Everything of the engine that touches the kernel.

pub mod buffers;
pub mod cold;
pub mod dir;
mod open;
pub mod probe;

pub use open::{OpenError, ShardFiles, open_shard};
