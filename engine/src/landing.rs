//! What a shard holds of the bytes that it receives as a follower, and of how far they were checked.

use crate::ids::Lsn;
use crate::log::BufferRange;

/// A range of the log buffer that is being received into.
#[derive(Debug)]
pub(crate) struct Landing {
    pub range: BufferRange,
    /// What is before has arrived.
    pub arrived: Lsn,
    pub begun: Option<Begun>,
}

/// The frame at the log's end, as far as it was checked.
#[derive(Debug)]
pub(crate) struct Begun {
    pub len: u64,
    /// The checksum covers what is before.
    pub checked: Lsn,
    pub checksum: crc32fast::Hasher,
}
