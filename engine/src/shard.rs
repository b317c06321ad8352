//! One shard's log and index. (First version: the signatures.)
#![allow(unused_variables, clippy::unimplemented)]

use crate::disk::{DiskDone, DiskError, DiskOp, ReadSpec};
use crate::error::{AppendError, ReceiveError, RewindError};
use crate::history::EpochHistory;
use crate::ids::{Epoch, GroupId, Lsn, ShardId};
use crate::io::buffers::MirrorBuffer;
use crate::limits::{DEFAULT_CACHE_BYTES, DEFAULT_MAX_VALUE_BYTES, DEFAULT_SEGMENT_BYTES};
use crate::log::BufferRange;
use crate::segment::Location;

/// How a shard is set up.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    pub group: GroupId,
    pub shard: ShardId,
    pub segment_bytes: u64,
    pub max_value_bytes: usize,
    /// The value cache's budget.
    pub cache_bytes: usize,
    /// May several log writes be in flight?
    pub pipeline_writes: bool,
}

impl ShardOptions {
    /// The defaults for this shard.
    pub fn new(group: GroupId, shard: ShardId) -> ShardOptions {
        ShardOptions {
            group,
            shard,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            cache_bytes: DEFAULT_CACHE_BYTES,
            pipeline_writes: true,
        }
    }
}

/// One operation to be appended.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    /// `expiry_ms`: in ms since the epoch of Unix, 0 for never.
    Put {
        key: &'a [u8],
        value: &'a [u8],
        expiry_ms: u64,
    },
    Delete {
        key: &'a [u8],
    },
}

/// Which writes a read sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All of the log: the leader's.
    Newest,
    /// The committed part: for reads that may be stale.
    Committed,
}

/// What [`Shard::find`] found. `wait` is the LSN that must be committed before a reply may leave (rule 10);
/// `Lsn(0)` if none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Missing {
        wait: Lsn,
    },
    Here {
        value: &'a [u8],
        expiry_ms: u64,
        wait: Lsn,
    },
    /// Read `spec`, then [`Shard::decode`].
    OnDisk {
        at: Location,
        spec: ReadSpec,
        wait: Lsn,
    },
}

/// What the blocks read from disk hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'b> {
    Value {
        value: &'b [u8],
        expiry_ms: u64,
    },
    Missing,
    /// The frame is longer than what was read: read this (it begins at the same place), then decode again.
    More(ReadSpec),
    /// The frame is damaged: fetch the value from a peer.
    Corrupt,
}

/// One shard's log, index and disk cursors.
pub struct Shard {}

impl Shard {
    pub fn tail(&self) -> Lsn {
        unimplemented!()
    }
    pub fn durable(&self) -> Lsn {
        unimplemented!()
    }
    pub fn committed(&self) -> Lsn {
        unimplemented!()
    }
    pub fn applied(&self) -> Lsn {
        unimplemented!()
    }
    pub fn last_epoch(&self) -> Epoch {
        unimplemented!()
    }
    pub fn history(&self) -> &EpochHistory {
        unimplemented!()
    }
    pub fn oldest(&self) -> Lsn {
        unimplemented!()
    }
    pub fn damaged(&self) -> bool {
        unimplemented!()
    }
    /// The node was repaired from a peer: it holds all that it ever acknowledged.
    pub fn repaired(&mut self) {
        unimplemented!()
    }
    pub fn begin_epoch(&mut self, epoch: Epoch, wall_ms: u64) -> Result<Lsn, AppendError> {
        unimplemented!()
    }
    pub fn append(&mut self, ops: &[Op<'_>], wall_ms: u64) -> Result<Lsn, AppendError> {
        unimplemented!()
    }
    pub fn landing(&mut self, at: Lsn, len: usize) -> Result<BufferRange, ReceiveError> {
        unimplemented!()
    }
    pub fn landed(&mut self, at: Lsn, len: usize, epoch_limit: Epoch) -> Result<(), ReceiveError> {
        unimplemented!()
    }
    pub fn poll_disk(&mut self) -> Option<DiskOp> {
        unimplemented!()
    }
    pub fn disk_done(&mut self, done: DiskDone) -> Result<(), DiskError> {
        unimplemented!()
    }
    pub fn retry_prepare(&mut self) {
        unimplemented!()
    }
    pub fn disk_full(&self) -> bool {
        unimplemented!()
    }
    pub fn pulse(&mut self) -> Option<DiskOp> {
        unimplemented!()
    }
    pub fn commit_to(&mut self, lsn: Lsn) {
        unimplemented!()
    }
    pub fn find(&self, key: &[u8], view: View) -> Found<'_> {
        unimplemented!()
    }
    pub fn decode<'b>(&mut self, at: Location, key: &[u8], bytes: &'b [u8]) -> Decoded<'b> {
        unimplemented!()
    }
    pub fn key_count(&self) -> u64 {
        unimplemented!()
    }
    pub fn key_count_in_slot(&self, slot: u16) -> u64 {
        unimplemented!()
    }
    pub fn in_buffer(&self, from: Lsn) -> bool {
        unimplemented!()
    }
    pub fn send_range(&self, from: Lsn, max: usize) -> Option<BufferRange> {
        unimplemented!()
    }
    pub fn hold(&mut self, lowest: Option<Lsn>) {
        unimplemented!()
    }
    pub fn read_log(&self, from: Lsn, max: usize) -> (ReadSpec, usize, usize) {
        unimplemented!()
    }
    pub fn whole_frames(bytes: &[u8]) -> usize {
        crate::frame::whole_frames(bytes)
    }
    pub fn bytes(&self, range: BufferRange) -> &[u8] {
        unimplemented!()
    }
    pub fn buffer(&self) -> &MirrorBuffer {
        unimplemented!()
    }
    pub fn rewind_to(&mut self, lsn: Lsn, wall_ms: u64) -> Result<(), RewindError> {
        unimplemented!()
    }
    pub fn rewinding(&self) -> bool {
        unimplemented!()
    }
}
