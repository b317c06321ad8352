//! What can go wrong at the edges of the agency: one narrow enum per operation.

use std::time::Duration;
use thiserror::Error;

/// Why [`Timing::check`](crate::timing::Timing::check) refuses a set of timings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TimingError {
    #[error("{name} must be longer than zero")]
    Zero { name: &'static str },
    #[error("{shorter} ({is:?}) must be at most {longer} ({limit:?})")]
    Order { shorter: &'static str, is: Duration, longer: &'static str, limit: Duration },
    #[error("the leader's lease ({leader:?}) must end before a successor's wait ({successor:?}) does")]
    Overlap { leader: Duration, successor: Duration },
}

/// Why a configuration is none that the agency could have decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigurationError {
    #[error("nobody is in sync")]
    NobodyInSync,
    #[error("the leader is not in sync")]
    LeaderNotInSync,
    #[error("a node is in sync that is no member")]
    StrangerInSync,
    #[error("epoch {epoch} and version {version} cannot go together")]
    Numbers { epoch: u64, version: u64 },
}

/// Why a stored image of the agent's state cannot be used. The agent must not start without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ImageError {
    #[error("the image is not one of an agent")]
    Magic,
    #[error("the image has layout version {0}, this program reads {1}")]
    Layout(u8, u8),
    #[error("the image's checksum does not fit its bytes")]
    Checksum,
    #[error("the image is cut short or malformed")]
    Malformed,
    #[error("the image belongs to group {stored:032x}, not to {wanted:032x}")]
    Group { stored: u128, wanted: u128 },
    #[error("the image belongs to member {stored}, not to {wanted}")]
    Member { stored: u8, wanted: u8 },
    #[error("the image holds {stored} shards, the group has {wanted}")]
    Shards { stored: u16, wanted: u16 },
}

/// Why bytes from a peer are not a message. The link they came by is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    #[error("not a message of the agency")]
    Magic,
    #[error("the peer speaks protocol version {0}, this program speaks {1}")]
    Protocol(u8, u8),
    #[error("unknown kind of message: {0}")]
    Kind(u8),
    #[error("a message of {0} bytes is longer than the limit of {1}")]
    TooLong(usize, usize),
    #[error("the message's checksum does not fit its bytes")]
    Checksum,
    #[error("the message is malformed")]
    Malformed,
}
