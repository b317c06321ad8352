//! Appending as the leader: frames into the log buffer, and their operations into the overlay.
//!
//! Nothing here waits or touches the disk; the bytes become durable by `flush`. Frames are built in place.

use crate::error::AppendError;
use crate::frame::{self, FrameKind, HEADER_BYTES, Stamp};
use crate::ids::{Epoch, Lsn};
use crate::limits::{MAX_BATCH_OPS, MAX_KEY_BYTES, block_ceil};
use crate::segment::{DATA_START, Fill, Location};
use crate::segments::FileState;
use crate::shard::{Op, Shard};
use crate::slot::slot_of;

impl<'a> Op<'a> {
    fn parts(&self) -> (FrameKind, &'a [u8], &'a [u8], u64) {
        match *self {
            Op::Put { key, value, expiry_ms } => (FrameKind::Put, key, value, expiry_ms),
            Op::Delete { key } => (FrameKind::Delete, key, &[], 0),
        }
    }
}

impl Shard {
    /// Begins to lead `epoch`: appends its first frame and returns where that ends. The caller must have been
    /// promoted into the epoch, which no one else ever leads.
    ///
    /// # Errors
    /// As [`Shard::append`]; the epoch must be above the log's.
    pub fn begin_epoch(&mut self, epoch: Epoch, wall_ms: u64) -> Result<Lsn, AppendError> {
        if self.rewind.is_some() {
            return Err(AppendError::Rewinding);
        }
        let last = self.last_epoch();
        if epoch <= last {
            return Err(AppendError::OldEpoch { epoch, last });
        }
        self.give_up_begun();
        // What was received but is not known to be committed may fill the log buffer, and only this epoch can
        // commit it: from here on it need not stay there.
        self.opened_at = self.end;
        self.make_room(epoch, HEADER_BYTES as u64, 0, true, wall_ms)?;
        self.leading = true;
        let stamp = Stamp { epoch, lsn: self.end, expiry_ms: 0, wall_ms };
        Ok(self.push_frame(FrameKind::EpochStart, stamp, HEADER_BYTES, &[], 0, |_| ()))
    }

    /// Appends one operation, or several that take effect together, and returns where their frame ends.
    ///
    /// # Errors
    /// The input is too large, or there is no room at the moment; nothing was appended.
    ///
    /// # Panics
    /// If `ops` is empty.
    pub fn append(&mut self, ops: &[Op<'_>], wall_ms: u64) -> Result<Lsn, AppendError> {
        self.may_append()?;
        let epoch = self.last_epoch();
        let mut batch_value = 0;
        for op in ops {
            let (_, key, value, _) = op.parts();
            if key.len() > MAX_KEY_BYTES {
                return Err(AppendError::KeyTooLarge { limit: MAX_KEY_BYTES });
            }
            if value.len() > self.options.max_value_bytes {
                return Err(AppendError::ValueTooLarge { limit: self.options.max_value_bytes });
            }
            batch_value += frame::batch_entry_len(key.len(), value.len());
        }
        let [op] = ops else {
            assert!(!ops.is_empty(), "an append without operations");
            return self.append_batch(ops, batch_value, epoch, wall_ms);
        };
        let (kind, key, value, expiry_ms) = op.parts();
        let len = frame::frame_len(key.len(), value.len());
        self.make_room(epoch, len as u64, 1, false, wall_ms)?;
        let lsn = self.end;
        let stamp = Stamp { epoch, lsn, expiry_ms, wall_ms };
        let end = self.push_frame(kind, stamp, len, key, value.len(), |place| place.copy_from_slice(value));
        self.register(key, lsn, end, kind == FrameKind::Put);
        Ok(end)
    }

    /// Can anything be appended at the moment?
    pub(crate) fn may_append(&self) -> Result<(), AppendError> {
        if self.rewind.is_some() {
            return Err(AppendError::Rewinding);
        }
        if !self.leading {
            return Err(AppendError::NotLeading);
        }
        if self.growing.is_some() { Err(AppendError::Busy) } else { Ok(()) }
    }

    fn append_batch(
        &mut self,
        ops: &[Op<'_>],
        value_len: usize,
        epoch: Epoch,
        wall_ms: u64,
    ) -> Result<Lsn, AppendError> {
        let len = frame::frame_len(0, value_len);
        let limit = self.options.max_frame();
        let segment =
            Fill { segment_bytes: self.options.segment_bytes, offset: DATA_START, entries: 0, epochs: 0 };
        if len as u64 > limit || ops.len() > MAX_BATCH_OPS || !segment.fits(len as u64, ops.len(), false) {
            return Err(AppendError::BatchTooLarge { limit: limit as usize });
        }
        self.make_room(epoch, len as u64, ops.len(), false, wall_ms)?;
        let lsn = self.end;
        let stamp = Stamp { epoch, lsn, expiry_ms: 0, wall_ms };
        let end = self.push_frame(FrameKind::Batch, stamp, len, &[], value_len, |mut place| {
            for op in ops {
                let (kind, key, value, expiry_ms) = op.parts();
                let entry = frame::encode_batch_entry(place, kind, key, value, expiry_ms);
                place = &mut place[entry..];
            }
        });
        for op in ops {
            let (kind, key, ..) = op.parts();
            self.register(key, lsn, end, kind == FrameKind::Put);
        }
        Ok(end)
    }

    /// Makes sure that a frame of `len` bytes can be appended at the end of the log, sealing the segment if
    /// it is full. The seal carries the epoch of the frame that needs it: a new leader's, if it is the epoch
    /// start (rule 18).
    pub(crate) fn make_room(
        &mut self,
        epoch: Epoch,
        len: u64,
        entries: usize,
        starts_epoch: bool,
        wall_ms: u64,
    ) -> Result<(), AppendError> {
        let fill = self.segments.current().fill(self.end, self.options.segment_bytes);
        let fits = fill.fits(len, entries, starts_epoch);
        let seal = if fits { 0 } else { fill.filler_len() };
        if !self.buffer.has_room(self.keep_from(), self.end.advance(seal + len)) {
            return Err(AppendError::BufferFull);
        }
        if fits {
            return Ok(());
        }
        // The one before may have gone in this very turn.
        self.segments.want_spare();
        match self.segments.spares.front().map(|spare| spare.file) {
            Some(FileState::Ready) => {}
            Some(FileState::NoSpace) => return Err(AppendError::DiskFull),
            Some(FileState::Wanted | FileState::Preparing { .. }) => return Err(AppendError::NoSegment),
            // The most segments are alive.
            None => return Err(AppendError::DiskFull),
        }
        self.push_filler(FrameKind::Seal, epoch, wall_ms);
        Ok(())
    }

    /// Appends a frame of zeros up to a block boundary.
    pub(crate) fn push_filler(&mut self, kind: FrameKind, epoch: Epoch, wall_ms: u64) {
        let fill = self.segments.current().fill(self.end, self.options.segment_bytes);
        let len = fill.filler_len() as usize;
        let stamp = Stamp { epoch, lsn: self.end, expiry_ms: 0, wall_ms };
        self.push_frame(kind, stamp, len, &[], len - HEADER_BYTES, |place| place.fill(0));
    }

    fn push_frame(
        &mut self,
        kind: FrameKind,
        stamp: Stamp,
        len: usize,
        key: &[u8],
        value_len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Lsn {
        assert!(stamp.lsn == self.end, "a frame continues the log");
        assert!(stamp.epoch >= self.last_epoch() && self.rewind.is_none(), "in its epoch or a new one");
        let end = stamp.lsn.advance(len as u64);
        assert!(self.buffer.has_room(self.keep_from(), end), "room was made");
        self.buffer.claim(end);
        let fresh_block = block_ceil(end.0) > block_ceil(stamp.lsn.0);
        frame::encode(self.buffer.bytes_mut(stamp.lsn, len), kind, stamp, key, value_len, fill);
        if fresh_block {
            self.buffer.zero_block_rest(end);
        }
        self.note_frame(kind, stamp.epoch, stamp.lsn, end);
        end
    }

    /// The frame at `lsn` is now the end of the log.
    pub(crate) fn note_frame(&mut self, kind: FrameKind, epoch: Epoch, lsn: Lsn, end: Lsn) {
        assert!(lsn == self.end && lsn < end, "frames follow one another");
        if epoch > self.history.last_epoch() {
            self.history.begin(epoch, lsn);
            self.segments.current_mut().epochs.push((epoch, lsn));
        }
        self.end = end;
        if kind == FrameKind::Seal {
            self.segments.current_mut().end = Some(end);
            let epoch = *self.history.entries().last().expect("a seal is not a log's first frame");
            self.segments.open_next(end, epoch);
        }
    }

    /// Notes an operation of the frame from `lsn` to `end` for the footer and the overlay.
    pub(crate) fn register(&mut self, key: &[u8], lsn: Lsn, end: Lsn, put: bool) {
        let (hash, slot) = (self.hasher.hash(key), slot_of(key));
        let segment = self.segments.current_mut();
        let len = end.0 - lsn.0;
        segment.add_entry(hash, lsn, len, slot, put);
        let location = Location::of_frame(segment.id, segment.offset_of(lsn), len);
        self.overlay.push(hash, location, lsn, end, slot, put);
    }
}
