//! Everything of the engine that touches the kernel.

pub mod cold;
pub mod dir;
pub mod medium;
mod open;
pub mod ring;
mod ring_buffers;

pub use open::{OpenError, ShardFiles, open_shard};
