//! Everything of the engine that touches the kernel.

mod claim;
pub mod cold;
pub mod dir;
pub mod medium;
mod open;
pub mod ring;
mod ring_buffers;

pub use open::{OpenError, Opening, ShardFiles, open_shard};
