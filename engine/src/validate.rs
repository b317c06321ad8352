//! Which frame may stand where: the one check that receiving, recovering and inspecting share (rule 20).

use crate::frame::{FrameHeader, FrameKind, FrameView, HEADER_BYTES};
use crate::ids::{Epoch, Lsn};
use crate::limits::FRAME_ALIGN;
use crate::mutants::{Mutant, lacks};
use thiserror::Error;
use zerocopy::IntoBytes;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameFault {
    #[error("nothing but zeros")]
    Empty,
    #[error("the frame is not whole")]
    Short,
    #[error("its lengths or its kind make no sense")]
    Malformed,
    #[error("its checksum does not hold")]
    Checksum,
    #[error("it belongs to LSN {0}")]
    WrongPlace(Lsn),
    #[error("its epoch {found} is below its predecessor's {last}")]
    EpochFell { found: Epoch, last: Epoch },
    #[error("its epoch rises without an epoch start")]
    EpochRose { found: Epoch },
    #[error("its epoch {found} is above {limit}")]
    EpochTooHigh { found: Epoch, limit: Epoch },
    #[error("it does not fit into its segment")]
    DoesNotFit,
}

/// Checks the frame at the front of `bytes` for the place `at`, after frames up to epoch `last`, with no epoch
/// above `limit`.
///
/// An epoch rises with an epoch start, or with the seal that a new leader writes because its epoch start no
/// longer fits into the segment: its predecessor's epoch is not its to write in (rule 18).
pub fn check_frame(bytes: &[u8], at: Lsn, last: Epoch, limit: Epoch) -> Result<FrameView<'_>, FrameFault> {
    let Some(header) = crate::frame::peek(bytes) else { return Err(FrameFault::Short) };
    let len = header.len.get() as usize;
    if len < HEADER_BYTES || !len.is_multiple_of(FRAME_ALIGN as usize) {
        return Err(if is_zero(header) { FrameFault::Empty } else { FrameFault::Malformed });
    }
    if len > bytes.len() {
        return Err(FrameFault::Short);
    }
    let frame = FrameView::of(bytes).ok_or(FrameFault::Malformed)?;
    if header.lsn.get() != at.0 {
        return Err(FrameFault::WrongPlace(Lsn(header.lsn.get())));
    }
    if !frame.intact() && !lacks(Mutant::AcceptsTornFrames) {
        return Err(FrameFault::Checksum);
    }
    let found = Epoch(header.epoch.get());
    if found < last || found == Epoch(0) {
        return Err(FrameFault::EpochFell { found, last });
    }
    if found > limit {
        return Err(FrameFault::EpochTooHigh { found, limit });
    }
    if found > last && !matches!(frame.kind(), FrameKind::EpochStart | FrameKind::Seal) {
        return Err(FrameFault::EpochRose { found });
    }
    if frame.kind() == FrameKind::Batch && !frame.batch_is_sound() {
        return Err(FrameFault::Malformed);
    }
    Ok(frame)
}

fn is_zero(header: &FrameHeader) -> bool {
    header.as_bytes().iter().all(|&byte| byte == 0)
}
