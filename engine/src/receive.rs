//! Receiving as a follower: the leader's bytes land in the log buffer at their place, are checked frame by
//! frame, and become the log's end.

use crate::error::ReceiveError;
use crate::frame::FrameKind;
use crate::ids::{Epoch, Lsn};
use crate::limits::FRAME_ALIGN;
use crate::log::BufferRange;
use crate::segment::Location;
use crate::shard::Shard;
use crate::slot::slot_of;
use crate::validate::{FrameFault, check_frame};

impl Shard {
    /// The place in the log buffer for the next `len` bytes, which begin at `at`. They are the caller's until
    /// it calls [`Shard::landed`]; until then the log buffer must not be asked for another place.
    ///
    /// # Errors
    /// There is no room yet, or the bytes do not continue the log.
    pub fn landing(&mut self, at: Lsn, len: usize) -> Result<BufferRange, ReceiveError> {
        self.check_landing(at, len)?;
        let range = BufferRange { start: at, len };
        if !self.buffer.has_room(self.keep_from(), range.end()) {
            return Err(ReceiveError::Full);
        }
        self.leading = false;
        self.buffer.claim(range.end());
        Ok(range)
    }

    /// Fills a range given by [`Shard::landing`], for a caller that has no kernel to receive into it.
    pub fn fill_landing(&mut self, range: BufferRange, bytes: &[u8]) {
        self.buffer.bytes_mut(range.start, range.len).copy_from_slice(bytes);
    }

    /// The range given by [`Shard::landing`] is filled with whole frames of epochs up to `epoch_limit`.
    ///
    /// # Errors
    /// At the first bad frame; the log then ends before it.
    pub fn landed(&mut self, at: Lsn, len: usize, epoch_limit: Epoch) -> Result<(), ReceiveError> {
        self.check_landing(at, len)?;
        let until = at.advance(len as u64);
        assert!(!self.leading, "a place was given for these bytes, which ended the lead");
        let mut result = Ok(());
        while self.end < until && result.is_ok() {
            result = self.accept_frame(until, epoch_limit);
        }
        assert!(self.end <= until && result.is_ok() == (self.end == until), "all was taken, or why not");
        self.buffer.zero_block_rest(self.end);
        result
    }

    fn check_landing(&self, at: Lsn, len: usize) -> Result<(), ReceiveError> {
        if self.rewind.is_some() {
            return Err(ReceiveError::Rewinding);
        }
        if at != self.end {
            return Err(ReceiveError::NotAtTail { at, tail: self.end });
        }
        let whole = len > 0 && (len as u64).is_multiple_of(FRAME_ALIGN);
        // Half the ring: a longer range might never find room.
        if !whole || len as u64 > self.buffer.capacity() / 2 {
            return Err(ReceiveError::BadLength { len });
        }
        Ok(())
    }

    fn accept_frame(&mut self, until: Lsn, limit: Epoch) -> Result<(), ReceiveError> {
        let lsn = self.end;
        let last = self.last_epoch();
        let refuse = |why| ReceiveError::BadFrame { at: lsn, why };
        let bytes = self.buffer.ring().slice(lsn.0, (until.0 - lsn.0) as usize);
        let frame = check_frame(bytes, lsn, last, limit).map_err(refuse)?;
        let (kind, len) = (frame.kind(), frame.len() as u64);
        let epoch = Epoch(frame.header().epoch.get());
        let end = lsn.advance(len);
        let entries = frame.operations().count();
        let fill = self.segments.current().fill(lsn, self.options.segment_bytes);
        let fits = match kind {
            FrameKind::Seal => fill.filler_len() == len && lsn > Lsn(0),
            FrameKind::Pad => fill.filler_len() == len && fill.fits(len, 0, false),
            _ => fill.fits(len, entries, epoch > last),
        };
        if !fits || len > self.options.max_frame() {
            return Err(refuse(FrameFault::DoesNotFit));
        }
        // The overlay, the footer and the hasher are other parts of the shard than the log buffer, which the
        // frame's bytes lie in; registering goes through the parts.
        let segment = self.segments.current_mut();
        for operation in frame.operations() {
            let (hash, slot) = (self.hasher.hash(operation.key), slot_of(operation.key));
            segment.add_entry(hash, lsn, len, slot, operation.put);
            let location = Location::of_frame(segment.id, segment.offset_of(lsn), len);
            self.overlay.push(hash, location, lsn, end, slot, operation.put);
        }
        self.note_frame(kind, epoch, lsn, end);
        Ok(())
    }
}
