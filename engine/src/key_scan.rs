//! Going through a shard's keys in the order of the log. The index holds no keys, so this reads the log.
//!
//! Promises what Redis promises of `SCAN`: a key that is there from the beginning of the scan to its end is
//! seen; one that is deleted, or was never there, is not seen at or after that; one that is written meanwhile
//! may be seen again at its new place. A scan ends where the log ended when it began, however fast that grows:
//! keys that were written since are told as [`Seen::Moved`]. A [`ScanPosition`] is a place in the log and nothing else: a scan can be
//! given up and taken up again there, by another process or another node. Pure: it says which blocks it needs
//! ([`KeyScan::next`]) and is given them ([`KeyScan::read`]). Costs one sequential read of the log. Expiry is
//! the caller's to judge, as with [`Shard::find`].

use crate::disk::ReadSpec;
use crate::frame::{self, FrameKind, FrameView, HEADER_BYTES, Operation};
use crate::ids::{Lsn, Revision};
use crate::shard::{Shard, View};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use thiserror::Error;

/// What is read from the disk at once; more if one frame is longer.
const READ_BYTES: usize = 64 << 10;
/// What is gone through in the log buffer at once: so little that it never holds up a shard's other work.
const WALK_BYTES: usize = 16 << 10;

/// An operation's place in the log: its frame, and its number inside the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanPosition {
    pub frame: Lsn,
    pub operation: u32,
}

/// A key with its newest value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveKey<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub expiry_ms: u64,
    pub revision: Revision,
    /// A scan from here on sees this key first.
    pub at: ScanPosition,
}

/// What a scan comes across.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    Live(LiveKey<'a>),
    /// This key has a newer value behind the end of the scan: ask [`Shard::find`] for that, or let the scan
    /// [go on](KeyScan::go_on) to it. It may be told several times.
    Moved(&'a [u8]),
}

/// What a scan needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanNeed {
    /// [`KeyScan::walk`]: the log goes on in the log buffer.
    Walk,
    /// [`KeyScan::read`] with these blocks.
    Read(ReadSpec),
    /// Nothing: the log ends here, or what the view shows of it.
    End,
}

/// Why a scan cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The position was made up, or the disk is damaged.
    #[error("no whole frame at LSN {0}")]
    NoFrame(Lsn),
}

/// A scan under way.
#[derive(Clone, Debug)]
pub struct KeyScan {
    at: ScanPosition,
    view: View,
    /// The frames from here on were not there when the scan began.
    until: Lsn,
    /// What one read must bring at least.
    stretch: usize,
    wait: Lsn,
}

impl KeyScan {
    /// A scan of what `view` shows, from a position on; the default one is the log's beginning.
    pub fn new(from: ScanPosition, view: View, shard: &Shard) -> KeyScan {
        let until = end(view, shard);
        KeyScan { at: from, view, until, stretch: READ_BYTES, wait: Lsn(0) }
    }

    /// Moves the end of the scan to where the log ends now.
    pub fn go_on(&mut self, shard: &Shard) {
        self.until = end(self.view, shard);
    }

    /// Everything before was gone through.
    pub fn position(&self) -> ScanPosition {
        self.at
    }

    /// What must be committed before the outcome of the scan so far may be told (rule 10).
    pub fn wait(&self) -> Lsn {
        self.wait
    }

    /// What the scan needs to go on.
    pub fn next(&mut self, shard: &Shard) -> ScanNeed {
        if self.at.frame < shard.oldest() {
            self.at = ScanPosition { frame: shard.oldest(), operation: 0 };
        }
        if self.at.frame >= self.until.min(end(self.view, shard)) {
            return ScanNeed::End;
        }
        if shard.in_buffer(self.at.frame) {
            return ScanNeed::Walk;
        }
        match shard.read_log(self.at.frame, self.stretch) {
            (_, _, 0) => ScanNeed::End,
            (spec, _, _) => ScanNeed::Read(spec),
        }
    }

    /// Goes through a stretch of the log buffer, until `each` breaks or the stretch ends. A key that `each`
    /// breaks at is seen again.
    ///
    /// # Errors
    /// See [`ScanError`].
    ///
    /// # Panics
    /// If [`KeyScan::next`] did not just ask for it.
    pub fn walk(
        &mut self,
        shard: &Shard,
        each: impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let from = self.at.frame;
        assert!(shard.in_buffer(from), "a walk where the log buffer does not reach");
        let bytes = shard.buffer.bytes(from, (end(self.view, shard).0 - from.0) as usize);
        self.frames(shard, bytes, WALK_BYTES, each)
    }

    /// Goes through the blocks that [`KeyScan::next`] asked for, as [`KeyScan::walk`]. The shard may have moved
    /// on since, but not have been rewound to before the position.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn read(
        &mut self,
        shard: &Shard,
        spec: ReadSpec,
        bytes: &[u8],
        each: impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let at = self.at.frame;
        let missing = ScanError::NoFrame(at);
        let segment = shard.segments.by_id(spec.segment).ok_or(missing)?;
        let offset = segment.offset_of(at).checked_sub(spec.offset).ok_or(missing)? as usize;
        // Not beyond the end of the log, where other bytes may lie in the block.
        let end = segment.end.unwrap_or(shard.durable()).min(end(self.view, shard));
        let all = bytes.get(offset..).ok_or(missing)?;
        let bytes = &all[..all.len().min(end.0.saturating_sub(at.0) as usize)];
        self.frames(shard, bytes, usize::MAX, each)
    }

    /// Goes through the frame at the [position](KeyScan::position) as another node has it: this disk's is damaged.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn mended(
        &mut self,
        shard: &Shard,
        frame: &[u8],
        each: impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        self.frames(shard, frame, usize::MAX, each)
    }

    fn frames(
        &mut self,
        shard: &Shard,
        bytes: &[u8],
        stretch: usize,
        mut each: impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> Result<(), ScanError> {
        let mut done = 0;
        while done < bytes.len().min(stretch) && self.at.frame < self.until {
            let missing = ScanError::NoFrame(self.at.frame);
            let rest = &bytes[done..];
            let len = frame::peek(rest).map_or(HEADER_BYTES, |header| header.len.get() as usize);
            if len > rest.len() && done > 0 {
                break;
            }
            if len > rest.len() && stretch == usize::MAX && self.stretch < len {
                // One frame longer than the read: read all of it.
                self.stretch = if len as u64 <= shard.options.max_frame() {
                    len
                } else {
                    return Err(missing);
                };
                break;
            }
            let sound = |frame: &FrameView<'_>| frame.revision().lsn == self.at.frame && frame.intact();
            let frame = FrameView::of(rest).filter(sound).ok_or(missing)?;
            if self.frame(shard, &frame, &mut each).is_break() {
                break;
            }
            done += len;
            self.at = ScanPosition { frame: self.at.frame.advance(len as u64), operation: 0 };
            self.stretch = READ_BYTES;
        }
        if self.at.frame > shard.committed() {
            self.wait = self.wait.max(self.at.frame);
        }
        Ok(())
    }

    fn frame(
        &mut self,
        shard: &Shard,
        frame: &FrameView<'_>,
        each: &mut impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let revision = frame.revision();
        let last = (frame.kind() == FrameKind::Batch).then(|| last_of_each_key(frame));
        for (number, operation) in (0u32..).zip(frame.operations()).skip(self.at.operation as usize) {
            self.at.operation = number;
            let overruled = last.as_ref().is_some_and(|last| last[operation.key] != number);
            if !operation.put || overruled {
                continue;
            }
            let (newest, wait) = shard.newest_place(operation.key, self.view);
            self.wait = self.wait.max(wait);
            let Operation { key, value, expiry_ms, .. } = operation;
            match newest {
                Some(lsn) if lsn == revision.lsn => {
                    each(Seen::Live(LiveKey { key, value, expiry_ms, revision, at: self.at }))?;
                }
                Some(lsn) if lsn >= self.until => each(Seen::Moved(key))?,
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// Where what `view` shows of the log ends.
fn end(view: View, shard: &Shard) -> Lsn {
    match view {
        View::Newest => shard.tail(),
        View::Committed => shard.committed().min(shard.tail()),
    }
}

/// A batch may name a key several times: the last operation counts.
fn last_of_each_key<'a>(frame: &FrameView<'a>) -> BTreeMap<&'a [u8], u32> {
    frame.operations().zip(0u32..).map(|(operation, number)| (operation.key, number)).collect()
}

impl Shard {
    /// Where the key's newest frame begins, if that is a put, and what must be committed before that may be
    /// told.
    fn newest_place(&self, key: &[u8], view: View) -> (Option<Lsn>, Lsn) {
        match self.newest(self.hasher.hash(key), view) {
            Some(newest) => (newest.put.then_some(newest.lsn), newest.wait),
            None => (None, Lsn(0)),
        }
    }
}
