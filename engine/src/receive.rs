//! Receiving as a follower: the leader's bytes land in the log buffer at their place, are checked frame by
//! frame as they arrive, and become the log's end.
//!
//! Promises that the log's end moves over whole, checked frames only, and that no call of [`Shard::check_landed`] looks
//! at more bytes than it is told to: of a frame larger than that the running checksum is kept. What has arrived of
//! a frame that is not whole lies behind the end of the log; if its block is written with the end, it is a torn tail.

use crate::error::ReceiveError;
use crate::frame::{FrameKind, FrameView, HEADER_BYTES};
use crate::ids::{Epoch, Lsn};
use crate::landing::{Begun, Landing};
use crate::limits::FRAME_ALIGN;
use crate::log::BufferRange;
use crate::mutants::{Mutant, lacks};
use crate::segment::Location;
use crate::shard::Shard;
use crate::slot::slot_of;
use crate::validate::{FrameFault, check_begun};

/// How far what landed has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landed {
    /// More has arrived than was checked: call again.
    Unchecked,
    /// All that has arrived was checked; the range is not full yet.
    Awaited,
    /// The range was full, and all of it is in the log.
    Whole,
}

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
        self.give_up_begun();
        self.buffer.claim(range.end());
        self.landing = Some(Landing { range, arrived: at, begun: None });
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
        let landing = self.landing.as_ref().expect("a place was given for these bytes");
        assert!(landing.range.start == at && landing.range.len == len, "for these and no others");
        self.arrived((landing.range.end().0 - landing.arrived.0) as usize);
        while self.check_landed(epoch_limit, usize::MAX)? != Landed::Whole {}
        Ok(())
    }

    /// `len` bytes more of the range given by [`Shard::landing`] have arrived, right behind those before.
    ///
    /// # Panics
    /// If no range was given, or they are more than it takes.
    pub fn arrived(&mut self, len: usize) {
        let landing = self.landing.as_mut().expect("bytes arrive in a place that was given");
        landing.arrived = landing.arrived.advance(len as u64);
        assert!(landing.arrived <= landing.range.end(), "no more than there is room for");
    }

    /// Checks at most `most` bytes of what has arrived, and takes the frames that are whole into the log. They must be
    /// of epochs up to `epoch_limit`.
    ///
    /// # Errors
    /// At the first bad frame; the log then ends before it, and the range is no longer received into.
    ///
    /// # Panics
    /// If no range was given.
    pub fn check_landed(&mut self, epoch_limit: Epoch, most: usize) -> Result<Landed, ReceiveError> {
        let mut landing = self.landing.take().expect("a place was given for what is checked");
        assert!(!self.leading, "which ended the lead");
        let from = self.end;
        let result = self.check_some(&mut landing, epoch_limit, most as u64);
        assert!(from <= self.end && self.end <= landing.arrived, "the log ends in what has arrived");
        if let Ok(Landed::Unchecked | Landed::Awaited) = result {
            self.landing = Some(landing);
        } else {
            self.buffer.zero_block_rest(self.end);
        }
        result
    }

    fn check_some(
        &mut self,
        landing: &mut Landing,
        epoch_limit: Epoch,
        mut most: u64,
    ) -> Result<Landed, ReceiveError> {
        while self.end < landing.range.end() {
            let (here, rest) = (landing.arrived.0 - self.end.0, landing.range.end().0 - self.end.0);
            if here < rest.min(HEADER_BYTES as u64) {
                return Ok(Landed::Awaited);
            }
            let begun = match landing.begun.take() {
                Some(begun) => begun,
                None => self.begin_check(here, rest, epoch_limit)?,
            };
            let begun = landing.begun.insert(begun);
            let frame_end = self.end.advance(begun.len);
            let until = Lsn(frame_end.0.min(landing.arrived.0).min(begun.checked.0.saturating_add(most)));
            let bytes = self.buffer.bytes(begun.checked, (until.0 - begun.checked.0) as usize);
            begun.checksum.update(bytes);
            most -= bytes.len() as u64;
            begun.checked = until;
            if until < frame_end {
                let unchecked = until < landing.arrived;
                return Ok(if unchecked { Landed::Unchecked } else { Landed::Awaited });
            }
            let checksum = begun.checksum.clone().finalize();
            landing.begun = None;
            self.accept_frame(frame_end, checksum)?;
            if most == 0 && self.end < landing.arrived {
                return Ok(Landed::Unchecked);
            }
        }
        Ok(Landed::Whole)
    }

    /// Looks at the header of the frame at the log's end, of which `here` bytes have arrived; the range has `rest`
    /// bytes for it.
    fn begin_check(&self, here: u64, rest: u64, limit: Epoch) -> Result<Begun, ReceiveError> {
        let refuse = |why| ReceiveError::BadFrame { at: self.end, why };
        let bytes = self.buffer.ring().slice(self.end.0, here as usize);
        let len = check_begun(bytes, self.end, self.last_epoch(), limit).map_err(refuse)?;
        if len > self.options.max_frame() {
            return Err(refuse(FrameFault::DoesNotFit));
        }
        if len > rest {
            return Err(refuse(FrameFault::Short));
        }
        Ok(Begun { len, checked: self.end.advance(4), checksum: crc32fast::Hasher::new() })
    }

    /// The role changes: what lies behind the log's end and is no whole frame is forgotten.
    pub(crate) fn give_up_begun(&mut self) {
        self.append_cancel();
        if self.landing.take().is_some() {
            self.buffer.zero_block_rest(self.end);
        }
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

    /// The frame from the log's end to `end` has arrived, and its header was checked. Its bytes have this checksum.
    fn accept_frame(&mut self, end: Lsn, checksum: u32) -> Result<(), ReceiveError> {
        let lsn = self.end;
        let last = self.last_epoch();
        let refuse = |why| ReceiveError::BadFrame { at: lsn, why };
        let bytes = self.buffer.ring().slice(lsn.0, (end.0 - lsn.0) as usize);
        let frame = FrameView::of(bytes).ok_or(refuse(FrameFault::Malformed))?;
        if checksum != frame.header().crc.get() && !lacks(Mutant::AcceptsTornFrames) {
            return Err(refuse(FrameFault::Checksum));
        }
        if !frame.batch_is_sound() {
            return Err(refuse(FrameFault::Malformed));
        }
        let (kind, len) = (frame.kind(), frame.len() as u64);
        let epoch = Epoch(frame.header().epoch.get());
        let entries = frame.operations().count();
        let fill = self.segments.current().fill(lsn, self.options.segment_bytes);
        let fits = match kind {
            FrameKind::Seal => fill.filler_len() == len && lsn > Lsn(0),
            FrameKind::Pad => fill.filler_len() == len && fill.fits(len, 0, false),
            _ => fill.fits(len, entries, epoch > last),
        };
        if !fits {
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
