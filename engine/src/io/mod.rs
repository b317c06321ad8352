//! Everything of the engine that touches the kernel.
pub mod buffers;
pub mod ring;
mod ring_buffers;
