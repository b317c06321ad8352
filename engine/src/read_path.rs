//! Reading: where a key's newest frame is, what the blocks of a frame hold, and stretches of the log for
//! followers. Nothing here changes the log.

use crate::disk::ReadSpec;
use crate::frame::{self, FrameView, HEADER_BYTES};
use crate::ids::{Lsn, Revision};
use crate::limits::{block_ceil, block_floor};
use crate::log::BufferRange;
use crate::mend::Examined;
use crate::parts::ValueParts;
use crate::segment::Location;
use crate::shard::{Decoded, Found, Shard, View};
use std::sync::Arc;

/// What the log last says about a key.
pub(crate) struct Newest {
    pub put: bool,
    pub at: Location,
    pub lsn: Lsn,
    /// What must be committed before that may be told; `Lsn(0)` if nothing.
    pub wait: Lsn,
}

impl Shard {
    /// What the log says about `key`. Expiry is the caller's to judge.
    pub fn find(&self, key: &[u8], view: View) -> Found<'_> {
        let hash = self.hasher.hash(key);
        match self.newest(hash, view) {
            Some(Newest { put: true, at, lsn, wait }) => self.found_at(at, lsn, key, hash, wait),
            Some(Newest { put: false, wait, .. }) => Found::Missing { wait },
            None => Found::Missing { wait: Lsn(0) },
        }
    }

    /// The key's newest operation that `view` shows: of the overlay, or else of the index.
    pub(crate) fn newest(&self, hash: u128, view: View) -> Option<Newest> {
        let bound = match view {
            View::Newest => Lsn(u64::MAX),
            View::Committed => self.committed,
        };
        if let Some(pending) = self.overlay.find(hash, bound) {
            let wait = if pending.end > self.committed { pending.end } else { Lsn(0) };
            return Some(Newest { put: pending.put, at: pending.location, lsn: pending.lsn, wait });
        }
        let at = self.keys.get(hash)?;
        let lsn = self.segments.lsn_of(at)?;
        Some(Newest { put: true, at, lsn, wait: Lsn(0) })
    }

    /// The large value of `key` at `at`, where [`Shard::find`] said it lies on the disk, if it was
    /// [kept](Shard::keep_parts): ask this before reading it.
    pub fn kept_parts(&self, at: Location, key: &[u8]) -> Option<Arc<ValueParts>> {
        self.cache.parts(self.segments.lsn_of(at)?, self.hasher.hash(key))
    }

    /// Keeps a large value of `key` that was read from the disk in the value cache: not a copy of it, the memory
    /// itself.
    pub fn keep_parts(&mut self, key: &[u8], parts: &Arc<ValueParts>) {
        let Revision { epoch, lsn } = parts.revision();
        if self.name_at(lsn).is_some_and(|name| name.epoch == epoch) {
            self.cache.put_parts(self.hasher.hash(key), parts);
        }
    }

    fn found_at(&self, at: Location, lsn: Lsn, key: &[u8], hash: u128, wait: Lsn) -> Found<'_> {
        if lsn >= self.buffer.low() && lsn < self.end {
            let bytes = self.buffer.bytes(lsn, (self.end.0 - lsn.0) as usize);
            let frame = FrameView::of(bytes);
            let said = frame.and_then(|frame| Some((frame.find(key)?, frame.revision())));
            return match said.filter(|(operation, _)| operation.put) {
                Some((operation, revision)) => {
                    Found::Here { value: operation.value, expiry_ms: operation.expiry_ms, revision, wait }
                }
                None => Found::Missing { wait },
            };
        }
        if let Some(cached) = self.cache.get(lsn, hash) {
            let revision = Revision { epoch: cached.epoch, lsn };
            return Found::Here { value: &cached.value, expiry_ms: cached.expiry_ms, revision, wait };
        }
        let spec = ReadSpec { segment: at.segment, offset: block_floor(at.offset), len: at.first_read_len() };
        Found::OnDisk { at, spec, wait }
    }

    /// Looks for `key` in the blocks that were read for `at`; a value found is cached.
    pub fn decode<'b>(&mut self, at: Location, key: &[u8], bytes: &'b [u8]) -> Decoded<'b> {
        let Some(name) = self.name_of(at) else { return Decoded::Missing };
        let frame = match self.examine(name, bytes) {
            Examined::Whole(frame) => frame,
            Examined::More(spec) => return Decoded::More(spec),
            Examined::Damaged => return Decoded::Corrupt,
        };
        match frame.find(key).filter(|operation| operation.put) {
            Some(operation) => {
                let revision = frame.revision();
                self.cache.put(revision, self.hasher.hash(key), operation.value, operation.expiry_ms);
                Decoded::Value { value: operation.value, expiry_ms: operation.expiry_ms, revision }
            }
            None => Decoded::Missing,
        }
    }

    /// Are all bytes from `from` to the log's end still in the log buffer?
    pub fn in_buffer(&self, from: Lsn) -> bool {
        from >= self.buffer.low() && from <= self.tail()
    }

    /// Whole frames of the log buffer from `from` (the start of a frame) on: at most `max` bytes unless the
    /// first frame alone is longer. `None` if there are none, or if no frame begins at `from`.
    pub fn send_range(&self, from: Lsn, max: usize) -> Option<BufferRange> {
        if !self.in_buffer(from) || from == self.tail() {
            return None;
        }
        let all = (self.tail().0 - from.0) as usize;
        let header = frame::peek(self.buffer.bytes(from, HEADER_BYTES.min(all)))?;
        let first = header.len.get() as usize;
        if header.lsn.get() != from.0 || !(HEADER_BYTES..=all).contains(&first) {
            return None;
        }
        let len = if all <= max { all } else { frame::whole_frames(self.buffer.bytes(from, max)).max(first) };
        Some(BufferRange { start: from, len })
    }

    /// Where to read the log from `from` on: the blocks, how many bytes to skip at their front, and how many
    /// bytes of the log they hold. Up to about `max` bytes, of one segment, all durable; 0 bytes if there are
    /// none. The bytes may end inside a frame ([`frame::whole_frames`]).
    pub fn read_log(&self, from: Lsn, max: usize) -> (ReadSpec, usize, usize) {
        let segment = &self.segments.live[self.segments.index_at(from)];
        let from_offset = segment.offset_of(from.max(segment.base));
        let end = segment.end.unwrap_or(self.durable()).min(self.durable());
        let len = if from < segment.base { 0 } else { end.0.saturating_sub(from.0).min(max as u64) };
        let offset = block_floor(from_offset);
        let blocks = if len == 0 { 0 } else { (block_ceil(from_offset + len) - offset) as u32 };
        let spec = ReadSpec { segment: segment.id, offset, len: blocks };
        (spec, (from_offset - offset) as usize, len as usize)
    }
}
