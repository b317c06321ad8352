//! Everything of the engine that touches the kernel.
pub mod buffers;
