//! The virtual shell: what stands around a shard's core instead of threads, sockets and io_uring. The
//! simulator, the stories of two nodes ([`crate::pair`]) and the fuzz targets drive their nodes with it.
//!
//! Promises to keep the contract that the core expects of its shell, and to know neither time nor chance: when
//! something arrives, is done or fails is for the world around it to say.
//!
//! [`input`]: events that own their bytes. [`receiver`]: what arrives by a replication connection, and where it
//! lands. [`device`]: a disk. [`open`]: a node over what its disk holds.

pub mod device;
pub mod input;
pub mod open;
pub mod receiver;
