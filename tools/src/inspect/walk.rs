//! Frame by frame through a stretch of a file, with the engine's own checks, up to the first bad one.

use super::map::MappedFile;
use engine::frame::{self, FrameKind, FrameView, HEADER_BYTES};
use engine::ids::{Epoch, Lsn};
use engine::limits::{BLOCK, FRAME_ALIGN};
use engine::validate::{FrameFault, check_frame};
use std::ops::ControlFlow;

/// Where a walk came to its end, and why.
#[derive(Debug)]
pub struct Walked {
    /// The end of the last good frame.
    pub end: Lsn,
    pub frames: u64,
    /// The epoch of the last good frame.
    pub epoch: Epoch,
    pub sealed: bool,
    pub stop: Stop,
}

/// Why a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// A seal, the end of the stretch, or the visitor wanted no more.
    Done,
    /// No more frames: zeros.
    Empty,
    /// A bad frame at the end of the good ones.
    Bad(String),
}

/// Walks the frames from file offset `offset` on, where `base` should stand, after a frame of epoch `last`.
/// Ends after a seal if `until_seal`, else only at the end of the file.
pub fn walk(
    file: &mut MappedFile,
    (offset, base): (u64, Lsn),
    last: Epoch,
    until_seal: bool,
    visit: &mut dyn FnMut(FrameView<'_>) -> ControlFlow<()>,
) -> Walked {
    let mut walked = Walked { end: base, frames: 0, epoch: last, sealed: false, stop: Stop::Done };
    loop {
        let at = offset + (walked.end.0 - base.0);
        if at >= file.len() {
            return walked;
        }
        let len = match file.read(at, HEADER_BYTES as u64) {
            Ok(bytes) => frame::peek(bytes).map_or(0, |header| u64::from(header.len.get())),
            Err(error) => return Walked { stop: Stop::Bad(format!("it cannot be read: {error}")), ..walked },
        };
        let bytes = match file.read(at, len.max(HEADER_BYTES as u64)) {
            Ok(bytes) => bytes,
            Err(error) => return Walked { stop: Stop::Bad(format!("it cannot be read: {error}")), ..walked },
        };
        let frame = match check_frame(bytes, walked.end, walked.epoch, Epoch(u64::MAX)) {
            Ok(frame) => frame,
            Err(FrameFault::Empty) => return Walked { stop: Stop::Empty, ..walked },
            Err(fault) => return Walked { stop: Stop::Bad(fault.to_string()), ..walked },
        };
        let flow = visit(frame);
        walked.end = walked.end.advance(frame.len() as u64);
        walked.frames += 1;
        walked.epoch = Epoch(frame.header().epoch.get());
        walked.sealed = frame.kind() == FrameKind::Seal;
        if flow.is_break() || walked.sealed && until_seal {
            return walked;
        }
    }
}

/// The first intact frame at or after file offset `from`, and its offset. With `place` it must stand in its
/// place, too: `place` is what to add to an offset to get the LSN there. Unreadable blocks are passed over.
pub fn find_frame(file: &mut MappedFile, from: u64, place: Option<i64>) -> Option<(u64, Lsn)> {
    let mut at = from.next_multiple_of(FRAME_ALIGN);
    while at + HEADER_BYTES as u64 <= file.len() {
        let in_block = BLOCK - at % BLOCK;
        let Ok(bytes) = file.read(at, in_block + HEADER_BYTES as u64) else {
            at += in_block;
            continue;
        };
        let candidate = if bytes.iter().all(|&byte| byte == 0) {
            None
        } else {
            (0..in_block).step_by(FRAME_ALIGN as usize).find_map(|step| {
                let header = frame::peek(bytes.get(step as usize..)?)?;
                let lsn = header.lsn.get();
                let stands = place.is_none_or(|place| (at + step).checked_add_signed(place) == Some(lsn));
                let likely = FrameKind::from_byte(header.kind).is_some()
                    && header.len.get() as usize >= HEADER_BYTES
                    && lsn.is_multiple_of(FRAME_ALIGN);
                (stands && likely).then_some((at + step, lsn, u64::from(header.len.get())))
            })
        };
        let Some((found, lsn, len)) = candidate else {
            at += in_block;
            continue;
        };
        if let Ok(bytes) = file.read(found, len)
            && FrameView::of(bytes).is_some_and(|frame| frame.intact())
        {
            return Some((found, Lsn(lsn)));
        }
        at = found + FRAME_ALIGN;
    }
    None
}
