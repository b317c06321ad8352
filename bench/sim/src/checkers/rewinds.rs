//! Nothing is cut from a log that was not saved before (rule 13). What a crash left behind the log's end was
//! never acknowledged and may go.

use engine::frame::FrameView;
use engine::ids::SegmentId;
use engine::testing::{MemoryDisk, RewoundBytes};

/// A cut of `segment` back to `offset` is about to be carried out: if a frame stands there, some saved piece
/// must hold it in its place. `reached`: where the log of this life ended at most.
pub fn verdict(disk: &MemoryDisk, segment: SegmentId, offset: u64, reached: u64) -> Result<(), String> {
    let Some((_, file)) = disk.files().find(|(id, _)| *id == segment) else { return Ok(()) };
    let rest = &file[offset as usize..];
    let Some(frame) = FrameView::of(rest).filter(FrameView::intact) else { return Ok(()) };
    let (lsn, cut) = (frame.header().lsn.get(), &rest[..frame.len()]);
    if lsn >= reached {
        return Ok(());
    }
    let holds_it = |saved: &RewoundBytes| {
        let skip = lsn.checked_sub(saved.from.0).and_then(|skip| saved.bytes.get(skip as usize..));
        skip.is_some_and(|bytes| bytes.starts_with(cut))
    };
    if disk.rewound().iter().any(holds_it) {
        return Ok(());
    }
    Err(format!("the frame at LSN {lsn} is cut and was never saved"))
}
