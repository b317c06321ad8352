//! `baton inspect frames`: one line per frame, and one for each place where none stands that should.

use super::data::Data;
use super::out::{Out, finding_json, finding_text, frame_json, frame_text};
use super::survey::Shard;
use crate::cli::InspectFrames;
use crate::failure::{Failure, not_fine};
use engine::ids::SegmentId;
use std::cell::RefCell;
use std::ops::ControlFlow;

/// Runs the subcommand.
pub fn run(options: &InspectFrames) -> Result<(), Failure> {
    let InspectFrames { log, from, limit } = options;
    let data = Data::open(&log.dir)?;
    let shards = data.shards(&log.shards)?;
    // Frames and findings are printed in turn by two closures.
    let out = RefCell::new(Out::new(log.json));
    let mut left = limit.unwrap_or(u64::MAX);
    for id in shards {
        if left == 0 {
            break;
        }
        let mut shard = Shard::open(&data, id)
            .map_err(|error| not_fine(format!("{}: {error}", data.shard_dir(id).display())))?;
        let wanted = |_, end: Option<engine::ids::Lsn>| end.is_none_or(|end| end.0 > *from);
        shard.survey(
            &wanted,
            &mut |_, frame| {
                if frame.header().lsn.get() < *from {
                    return ControlFlow::Continue(());
                }
                let text = || format!("shard {}  {}", id.0, frame_text(&frame));
                out.borrow_mut().line(text, || frame_json(id, &frame));
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
            &mut |segment| {
                let mut out = out.borrow_mut();
                for finding in &segment.findings {
                    let at = SegmentId(segment.segment);
                    out.line(|| finding_text(id, at, finding), || finding_json(id, at, finding));
                }
                out.count(&segment.findings);
                ControlFlow::Continue(())
            },
        );
    }
    out.into_inner().end()
}
