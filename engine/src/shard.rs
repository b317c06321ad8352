//! One shard: the log, the index, the disk's cursors, and what ties them together.
//!
//! Pure: it reads no clock and does no I/O. The driving contract: change it (`write_path`, `receive`), then
//! call [`Shard::poll_disk`] until it has nothing more, and answer each command with
//! [`Shard::disk_done`]. The cursors keep this order at all times:
//! `applied <= durable <= tail` and `applied <= committed <= tail`.

use crate::cache::ValueCache;
use crate::disk::ReadSpec;
use crate::flights::Flights;
use crate::growing::Growing;
use crate::history::EpochHistory;
use crate::ids::{Epoch, GroupId, Lsn, Revision, ShardId};
use crate::key::KeyHasher;
use crate::keys::Keys;
use crate::landing::Landing;
use crate::limits::{
    DEFAULT_CACHE_BYTES, DEFAULT_MAX_VALUE_BYTES, DEFAULT_SEGMENT_BYTES, SizeError, check_sizes,
    max_frame_bytes,
};
use crate::log::{BufferRange, LogBuffer};
use crate::memory::MirrorBuffer;
use crate::pending::Overlay;
use crate::pulse::Pulse;
use crate::rewind_plan::Rewind;
use crate::rewrite::Rewrite;
use crate::segment::Location;
use crate::segments::Segments;

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
        revision: Revision,
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
        revision: Revision,
    },
    Missing,
    /// The frame is longer than what was read: read this (it begins at the same place), then decode again.
    More(ReadSpec),
    /// The frame is damaged: fetch the value from a peer.
    Corrupt,
}

/// One shard's log, index and disk cursors.
pub struct Shard {
    pub(crate) options: ShardOptions,
    pub(crate) hasher: KeyHasher,
    pub(crate) buffer: LogBuffer,
    pub(crate) segments: Segments,
    pub(crate) history: EpochHistory,
    pub(crate) overlay: Overlay,
    pub(crate) keys: Keys,
    pub(crate) cache: ValueCache,
    /// The end of the log in memory.
    pub(crate) end: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) committed: Lsn,
    pub(crate) applied: Lsn,
    /// Where the log ended when the shard was opened or began to lead: what is before is applied from its
    /// place on disk and may leave the log buffer once it is durable.
    pub(crate) opened_at: Lsn,
    /// Sends need the log buffer from here on.
    pub(crate) hold: Option<Lsn>,
    pub(crate) leading: bool,
    pub(crate) flights: Flights,
    /// A large value that is being appended.
    pub(crate) growing: Option<Growing>,
    /// What is being received.
    pub(crate) landing: Option<Landing>,
    pub(crate) rewind: Option<Rewind>,
    pub(crate) mending: Option<Rewrite>,
    /// Not whole before the log reaches this; see [`Shard::damaged`].
    pub(crate) repair_until: Lsn,
    /// The epoch that the lost log had there or further on; 0 if that is not known.
    pub(crate) repair_epoch: Epoch,
}

impl ShardOptions {
    /// Do these and a log buffer of `buffer_bytes` fit together?
    ///
    /// # Errors
    /// As of [`check_sizes`].
    pub fn check(&self, buffer_bytes: usize) -> Result<(), SizeError> {
        check_sizes(self.max_value_bytes as u64, self.segment_bytes, buffer_bytes as u64)
    }

    /// The largest frame.
    pub(crate) fn max_frame(&self) -> u64 {
        max_frame_bytes(self.max_value_bytes)
    }
}

impl Shard {
    /// The end of the log: of what was appended or received, or where it is being rewound to.
    pub fn tail(&self) -> Lsn {
        self.rewind.as_ref().map_or(self.end, |rewind| rewind.to)
    }

    /// Everything below is on this node's disk; the end of a frame.
    pub fn durable(&self) -> Lsn {
        self.durable.min(self.tail())
    }

    /// Everything below is known to be committed by the group.
    pub fn committed(&self) -> Lsn {
        self.committed
    }

    /// Everything below is in the index.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    pub fn last_epoch(&self) -> Epoch {
        self.history.last_epoch()
    }

    pub fn history(&self) -> &EpochHistory {
        &self.history
    }

    /// The first LSN that is still held in segments.
    pub fn oldest(&self) -> Lsn {
        self.segments.live[0].base
    }

    /// Was something that had been durable found missing or damaged when the shard was opened, and is it not
    /// repaired yet? Such a shard must not lead (rule 12). It is whole again when its log has been received up
    /// to where it had been, or when [`Shard::repaired`] is called.
    pub fn damaged(&self) -> bool {
        self.durable() < self.repair_until
    }

    /// What proves that another log is the one that was lost here: whose byte before this LSN is of this epoch holds all
    /// of that, because an epoch has one writer (rule 18). `None`: nothing was lost, or that is not known.
    pub fn lost(&self) -> Option<(Epoch, Lsn)> {
        (self.repair_until > Lsn(0) && self.repair_epoch > Epoch(0))
            .then_some((self.repair_epoch, self.repair_until))
    }

    /// The shard caught up with a leader: it holds everything that is committed.
    pub fn repaired(&mut self) {
        self.repair_until = Lsn(0);
        self.repair_epoch = Epoch(0);
    }

    /// Keys in the index, also those that have expired.
    pub fn key_count(&self) -> u64 {
        self.keys.count()
    }

    /// Keys in the index that belong to this slot.
    pub fn key_count_in_slot(&self, slot: u16) -> u64 {
        self.keys.count_in_slot(slot)
    }

    /// Memory of the index in bytes.
    pub fn index_bytes(&self) -> usize {
        self.keys.memory_bytes()
    }

    pub fn options(&self) -> &ShardOptions {
        &self.options
    }

    /// The memory of the log buffer.
    pub fn buffer(&self) -> &MirrorBuffer {
        self.buffer.ring()
    }

    /// The bytes of a range of the log buffer.
    pub fn bytes(&self, range: BufferRange) -> &[u8] {
        self.buffer.ring().slice(range.start.0, range.len)
    }

    /// Sends are outstanding or wanted from `lowest` on: keep the log buffer from there.
    pub fn hold(&mut self, lowest: Option<Lsn>) {
        self.hold = lowest;
    }

    /// The group has committed everything below `lsn`. Readers see it at once; the index is brought up to it by
    /// [`Shard::apply_some`].
    pub fn commit_to(&mut self, lsn: Lsn) {
        self.committed = self.committed.max(lsn.min(self.tail()));
        self.note_applied();
        assert!(
            self.applied <= self.committed && self.committed <= self.tail(),
            "the cursors keep their order"
        );
    }

    /// Is an operation both committed and durable, and not in the index yet?
    pub fn unapplied(&self) -> bool {
        self.overlay.oldest().is_some_and(|(_, end)| end <= self.appliable())
    }

    /// Brings the index up to what is both committed and durable, by at most `steps` operations
    /// ([`crate::limits::APPLY_STEPS`] in a turn). Returns whether there is more to be done. No reader can tell: what
    /// is not in the index is in the overlay, in which all look first. The log buffer keeps what is not applied, so
    /// that who is too slow here slows the writers down.
    pub fn apply_some(&mut self, steps: usize) -> bool {
        let bound = self.appliable();
        for _ in 0..steps {
            let Some(pending) = self.overlay.pop(bound) else { break };
            self.keys.apply(pending.hash, pending.location, pending.slot, pending.put);
        }
        self.note_applied();
        self.unapplied()
    }

    /// What is applied reaches up to the oldest operation that is not. A batch of which a part is applied counts when
    /// all of it is.
    pub(crate) fn note_applied(&mut self) {
        let bound = self.appliable();
        let applied = self.overlay.oldest().map_or(bound, |(lsn, _)| lsn.min(bound));
        self.applied = self.applied.max(applied);
        assert!(self.applied <= bound, "applied {} does not pass {bound}", self.applied);
    }

    fn appliable(&self) -> Lsn {
        self.committed.min(self.durable())
    }

    /// What the pulse says now.
    pub(crate) fn pulse_note(&self) -> Pulse {
        let durable = self.durable();
        let last = Lsn(durable.0.saturating_sub(1));
        let (repair_epoch, repair_until) =
            if self.damaged() { (self.repair_epoch, self.repair_until) } else { Default::default() };
        Pulse {
            epoch: self.history.epoch_at(last).map_or(Epoch(0), |(epoch, _)| epoch),
            durable,
            committed: self.committed.min(durable),
            repair_until,
            repair_epoch,
        }
    }

    /// The log buffer must keep the bytes from here on.
    pub(crate) fn keep_from(&self) -> Lsn {
        let unapplied = self.applied.max(self.opened_at);
        self.durable.min(unapplied).min(self.hold.unwrap_or(Lsn(u64::MAX)))
    }
}
