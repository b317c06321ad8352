//! What commands may do to the data: the narrow interface between the command table and the node.
//!
//! A command runs to its end in one step or not at all. Where a value must first come from the disk,
//! [`Fetch::Pending`] says so; the command returns `Outcome::Blocked` without having changed anything and
//! is run again, from its start, when the value is here. Commands look at everything they need before
//! they change anything.

use engine::ids::Revision;

/// The newest value of a key, or why there is none at hand.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetch<'a> {
    /// The value, when it expires (ms since the epoch of Unix; 0: never), and the frame that holds it.
    Value { value: &'a [u8], expiry_ms: u64, revision: Revision },
    /// No such key, or it has expired.
    Missing,
    /// A read from the disk was started; return `Outcome::Blocked`.
    Pending,
    /// The value cannot be had: reply with this error text.
    Failed(&'static str),
}

/// Why a write was not taken. Its `Display` is the RESP error text (with its leading code).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("ERR value is larger than this group's limit of {limit} bytes")]
    ValueTooLarge { limit: usize },
    #[error("ERR key is larger than {limit} bytes")]
    KeyTooLarge { limit: usize },
    #[error("ERR the batch is larger than this group's limit of {limit} bytes")]
    BatchTooLarge { limit: usize },
    #[error(
        "OOM disk full: the log cannot grow, reads go on; free space on the device of the data directory"
    )]
    DiskFull,
    /// The log buffer is full for the moment: return `Outcome::Blocked`, it is run again.
    #[error("TRYAGAIN the log buffer is full")]
    Busy,
}

/// One change of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write<'a> {
    Put { key: &'a [u8], value: &'a [u8], expiry_ms: u64 },
    Delete { key: &'a [u8] },
}

/// The data of one shard as a command sees it.
pub trait Store {
    /// The newest value of `key` for this command.
    fn fetch(&mut self, key: &[u8]) -> Fetch<'_>;
    /// Apply all of these atomically (one frame). The reply waits for the frame's commit by itself.
    fn write(&mut self, writes: &[Write<'_>]) -> Result<(), WriteError>;
    /// Wall time in ms since the epoch of Unix: one value for the whole turn.
    fn wall_ms(&self) -> u64;
    /// How many keys this shard holds.
    fn key_count(&self) -> u64;
    /// How many keys of this cluster slot this shard holds, and whether the count is exact.
    fn key_count_in_slot(&mut self, slot: u16) -> u64;
}
