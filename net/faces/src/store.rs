//! What a client's operation may do to the data: the narrow interface between both faces and the node.
//!
//! Knows no protocol: RESP's commands and the operations on documents work through the same trait, and each face
//! words the errors for its own clients. An operation runs to its end in one step or not at all. Where a value
//! must first come from the disk, [`Fetch::Pending`] says so; where the log has no room for the moment,
//! [`WriteError::Busy`]: the operation says that it is blocked, without having changed anything, and is run again,
//! from its start, when what it lacked is there. Operations look at everything they need before they change
//! anything. Does not say who may serve a key, nor when a write is acknowledged.

use engine::ids::Revision;

/// The newest value of a key, or why there is none at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetch<'a> {
    /// The value, when it expires (ms since the epoch of Unix; 0: never), and the frame that holds it.
    Value { value: &'a [u8], expiry_ms: u64, revision: Revision },
    /// No such key, or it has expired.
    Missing,
    /// A read from the disk was started: the operation is blocked.
    Pending,
    /// The value is there and cannot be had.
    Failed(ReadFault),
}

/// Why a value that is there cannot be had. Its `Display` is for people, in no protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    #[error("the value's checksum does not match on this disk")]
    Checksum,
    #[error("the disk could not read the value")]
    Unreadable,
}

/// Why a write was not taken. Its `Display` is for people, in no protocol's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("value is larger than this group's limit of {limit} bytes")]
    ValueTooLarge { limit: usize },
    #[error("key is larger than {limit} bytes")]
    KeyTooLarge { limit: usize },
    #[error("the batch is larger than this group's limit of {limit} bytes")]
    BatchTooLarge { limit: usize },
    #[error("disk full: the log cannot grow, reads go on; free space on the device of the data directory")]
    DiskFull,
    /// The log has no room for the moment: the operation is blocked.
    #[error("the log buffer is full")]
    Busy,
}

/// One change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write<'a> {
    Put { key: &'a [u8], value: &'a [u8], expiry_ms: u64 },
    Delete { key: &'a [u8] },
}

/// The data of one shard as an operation sees it.
pub trait Store {
    /// The newest value of `key` for this operation.
    fn fetch(&mut self, key: &[u8]) -> Fetch<'_>;
    /// Apply all of these atomically (one frame). The answer waits for the frame's commit by itself.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing was written.
    fn write(&mut self, writes: &[Write<'_>]) -> Result<(), WriteError>;
    /// Wall time in ms since the epoch of Unix: one value for the whole turn.
    fn wall_ms(&self) -> u64;
    /// How many keys this shard holds.
    fn key_count(&self) -> u64;
    /// How many keys of this cluster slot this shard holds, and whether the count is exact.
    fn key_count_in_slot(&mut self, slot: u16) -> u64;
}
