//! Why a client's next request is held back. Who looks at it again, and when, is `connection`'s business.

use crate::store::ValueRead;
use agency::ids::Nanos;
use engine::ids::Lsn;

/// Why a client's next request is not executed yet.
#[derive(Debug, Default)]
pub(crate) enum Wait {
    #[default]
    No,
    /// Nobody can serve it at this moment.
    Parked { since: Nanos, asks: ParkedFor },
    /// Values are on their way from the disk.
    Reads { outstanding: usize, fetched: Vec<ValueRead> },
    /// It is not known yet who may connect, or a password is being judged; `seen` is what was known.
    Users { since: Nanos, seen: u64 },
    /// The log buffer is full.
    Room,
    /// The client reads its replies too slowly, or is owed too many by other shards.
    Backlog,
    /// A slice of it is with other shards.
    Others,
    /// `WAIT` or `WAITAOF`: already taken from the inbox, its reply is due.
    Copies { lsn: Lsn, local: u32, replicas: u32, aof: bool, until: Option<Nanos> },
}

/// What a parked request is parked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ParkedFor {
    /// That this node serves its keys, or knows who does.
    Keys { write: bool },
    /// That somebody leads each shard.
    Leaders,
}

impl Wait {
    /// Whether it has to be looked at whether it may go on: nothing that happens says so.
    pub fn is_looked_at(&self) -> bool {
        matches!(self, Wait::Parked { .. } | Wait::Users { .. } | Wait::Room | Wait::Copies { .. })
    }

    /// Since when it is parked, if it is.
    pub fn parked_since(&self) -> Option<Nanos> {
        match self {
            Wait::Parked { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// Since when it waits for what is known of users, if it does.
    pub fn for_users(&self) -> Option<Nanos> {
        match self {
            Wait::Users { since, .. } => Some(*since),
            _ => None,
        }
    }
}
