//! What one command sees of the data: the newest frames for a leader, committed ones for a stale reader.
//!
//! Notes what the command touched, so that its reply waits for the right things: for the commit of what it
//! wrote or read (rule 10), and for a lease if it only read (rule 9).

use crate::mutants::{Mutant, lacks};
use engine::disk::ReadSpec;
use engine::error::AppendError;
use engine::ids::{Lsn, Revision};
use engine::segment::Location;
use engine::shard::{Found, Op, Shard, View};
use faces::store::{Fetch, ReadFault, Store, Write, WriteError};
use std::sync::Arc;

/// Bytes that one command reads from the disk at a time; more is read when these have come.
const READ_WINDOW_BYTES: usize = 4 << 20;

/// A value that was read from the disk for a blocked command.
#[derive(Debug)]
pub(crate) struct ValueRead {
    pub at: Location,
    /// All keys that one command wrote share a frame, and so its place.
    pub key: Box<[u8]>,
    pub found: FetchedValue,
}

/// What the disk held.
#[derive(Debug)]
pub(crate) enum FetchedValue {
    Value {
        value: Arc<Vec<u8>>,
        expiry_ms: u64,
        revision: Revision,
    },
    /// The frame there is another key's: an index entry with the same fingerprint.
    OtherKey,
    Failed(ReadFault),
}

/// A value that must be read from the disk before a command can run.
#[derive(Debug)]
pub(crate) struct WantedRead {
    pub at: Location,
    pub spec: ReadSpec,
    pub key: Box<[u8]>,
}

/// The data of a shard, for the time of one command.
pub(crate) struct ShardStore<'n> {
    shard: &'n mut Shard,
    view: View,
    wall_ms: u64,
    /// Values read for this command when it was blocked before.
    fetched: &'n [ValueRead],
    /// Keys found to have expired; the leader deletes them at the turn's end.
    expired: &'n mut Vec<Box<[u8]>>,
    /// What was missing; empty when the command ran to its end.
    pub wanted: Vec<WantedRead>,
    wanted_bytes: usize,
    /// The newest frame that the command read: what must be committed before the reply may leave.
    pub wait: Lsn,
    /// The end of the newest frame that the command wrote.
    pub wrote: Option<Lsn>,
    /// The log buffer is full for the moment.
    pub no_room: bool,
}

impl<'n> ShardStore<'n> {
    pub fn new(
        shard: &'n mut Shard,
        view: View,
        wall_ms: u64,
        fetched: &'n [ValueRead],
        expired: &'n mut Vec<Box<[u8]>>,
    ) -> ShardStore<'n> {
        let (wanted, wanted_bytes, wait, wrote, no_room) = (Vec::new(), 0, Lsn(0), None, false);
        ShardStore { shard, view, wall_ms, fetched, expired, wanted, wanted_bytes, wait, wrote, no_room }
    }
}

impl ShardStore<'_> {
    /// What must be committed before the reply may leave, because it was read.
    pub fn must_be_committed(&self) -> Lsn {
        if lacks(Mutant::ServesUncommitted) { Lsn(0) } else { self.wait }
    }
}

impl Store for ShardStore<'_> {
    fn fetch(&mut self, key: &[u8]) -> Fetch<'_> {
        let (value, expiry_ms, revision) = match self.shard.find(key, self.view) {
            Found::Missing { wait } => {
                self.wait = self.wait.max(wait);
                return Fetch::Missing;
            }
            Found::Here { value, expiry_ms, revision, wait } => {
                self.wait = self.wait.max(wait);
                (value, expiry_ms, revision)
            }
            Found::OnDisk { at, spec, wait } => {
                self.wait = self.wait.max(wait);
                let same = |fetched: &&ValueRead| {
                    fetched.at == at && (*fetched.key == *key || lacks(Mutant::MixesUpValues))
                };
                match self.fetched.iter().find(same).map(|fetched| &fetched.found) {
                    Some(FetchedValue::Value { value, expiry_ms, revision }) => {
                        (value.as_slice(), *expiry_ms, *revision)
                    }
                    Some(FetchedValue::OtherKey) => return Fetch::Missing,
                    Some(FetchedValue::Failed(fault)) => return Fetch::Failed(*fault),
                    // The rest of what is missing is read when this much has come.
                    None if self.wanted_bytes >= READ_WINDOW_BYTES => return Fetch::Pending,
                    None => {
                        self.wanted_bytes += spec.len as usize;
                        self.wanted.push(WantedRead { at, spec, key: key.into() });
                        return Fetch::Pending;
                    }
                }
            }
        };
        if expiry_ms != 0 && expiry_ms <= self.wall_ms {
            if self.view == View::Newest {
                self.expired.push(key.into());
            }
            return Fetch::Missing;
        }
        Fetch::Value { value, expiry_ms, revision }
    }

    fn write(&mut self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        let result = match writes {
            [one] => self.shard.append(&[op(one)], self.wall_ms),
            many => self.shard.append(&many.iter().map(op).collect::<Vec<_>>(), self.wall_ms),
        };
        match result {
            Ok(end) => {
                self.wrote = Some(end);
                Ok(())
            }
            Err(AppendError::ValueTooLarge { limit }) => Err(WriteError::ValueTooLarge { limit }),
            Err(AppendError::KeyTooLarge { limit }) => Err(WriteError::KeyTooLarge { limit }),
            Err(AppendError::BatchTooLarge { limit }) => Err(WriteError::BatchTooLarge { limit }),
            Err(AppendError::DiskFull) => Err(WriteError::DiskFull),
            Err(
                AppendError::BufferFull
                | AppendError::Busy
                | AppendError::NoSegment
                | AppendError::Rewinding
                | AppendError::NotLeading
                | AppendError::OldEpoch { .. },
            ) => {
                self.no_room = true;
                Err(WriteError::Busy)
            }
        }
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    fn key_count(&self) -> u64 {
        self.shard.key_count()
    }

    fn key_count_in_slot(&mut self, slot: u16) -> u64 {
        self.shard.key_count_in_slot(slot)
    }
}

fn op<'w>(write: &Write<'w>) -> Op<'w> {
    match *write {
        Write::Put { key, value, expiry_ms } => Op::Put { key, value, expiry_ms },
        Write::Delete { key } => Op::Delete { key },
    }
}
