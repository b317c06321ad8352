//! Memory with the shape that direct I/O wants. Nothing here reads or writes a file of the user's.

mod blocks;
mod mapping;
mod mirror;

pub use blocks::{AlignedBlocks, MAPPED_FROM};
pub use mirror::MirrorBuffer;
