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
    let header = begun_frame(bytes)?;
    let len = header.len.get() as usize;
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
    check_epoch(header, last, limit)?;
    if !frame.batch_is_sound() {
        return Err(FrameFault::Malformed);
    }
    Ok(frame)
}

/// Checks what can be told of the frame for the place `at` from its header alone; the rest need not be there. As
/// [`check_frame`]. Returns the frame's length.
pub(crate) fn check_begun(bytes: &[u8], at: Lsn, last: Epoch, limit: Epoch) -> Result<u64, FrameFault> {
    let header = begun_frame(bytes)?;
    if !header.is_sound() {
        return Err(FrameFault::Malformed);
    }
    if header.lsn.get() != at.0 {
        return Err(FrameFault::WrongPlace(Lsn(header.lsn.get())));
    }
    check_epoch(header, last, limit)?;
    Ok(header.len.get().into())
}

/// The header at the front of `bytes`, whose length is one.
fn begun_frame(bytes: &[u8]) -> Result<&FrameHeader, FrameFault> {
    let header = crate::frame::peek(bytes).ok_or(FrameFault::Short)?;
    let len = header.len.get() as usize;
    if len < HEADER_BYTES || !len.is_multiple_of(FRAME_ALIGN as usize) {
        return Err(if is_zero(header) { FrameFault::Empty } else { FrameFault::Malformed });
    }
    Ok(header)
}

fn check_epoch(header: &FrameHeader, last: Epoch, limit: Epoch) -> Result<(), FrameFault> {
    let found = Epoch(header.epoch.get());
    if found < last || found == Epoch(0) {
        return Err(FrameFault::EpochFell { found, last });
    }
    if found > limit {
        return Err(FrameFault::EpochTooHigh { found, limit });
    }
    let starts = matches!(FrameKind::from_byte(header.kind), Some(FrameKind::EpochStart | FrameKind::Seal));
    if found > last && !starts {
        return Err(FrameFault::EpochRose { found });
    }
    Ok(())
}

fn is_zero(header: &FrameHeader) -> bool {
    header.as_bytes().iter().all(|&byte| byte == 0)
}
