//! What a shard holds of a large value that it appends in slices.

/// A frame behind the end of the log that is being filled.
#[derive(Debug)]
pub(crate) struct Growing {
    pub key: Box<[u8]>,
    /// The whole frame's length.
    pub len: usize,
    /// Where in the frame the value goes on, and where it ends.
    pub filled: usize,
    pub value_end: usize,
    pub checksum: crc32fast::Hasher,
}
