//! Memory with the shape that direct I/O wants. Nothing here reads or writes a file of the user's.

mod blocks;
mod mirror;

pub use blocks::AlignedBlocks;
pub use mirror::MirrorBuffer;
