//! `baton inspect segments`: one line per segment file, and what is wrong with it.

use super::data::Data;
use super::out::{Out, finding_text};
use super::survey::{Segment, Shard};
use crate::cli::InspectLog;
use crate::failure::{Failure, not_fine};
use engine::ids::SegmentId;
use serde_json::to_value;
use std::ops::ControlFlow;

/// Runs the subcommand.
pub fn run(options: &InspectLog) -> Result<(), Failure> {
    let data = Data::open(&options.dir)?;
    let shards = data.shards(&options.shards)?;
    let mut out = Out::new(options.json);
    for id in shards {
        let mut shard = Shard::open(&data, id)
            .map_err(|error| not_fine(format!("{}: {error}", data.shard_dir(id).display())))?;
        shard.survey(&|_, _| true, &mut |_, _| ControlFlow::Continue(()), &mut |segment| {
            out.line(|| text(segment), || to_value(segment).expect("plain data"));
            if !options.json {
                for finding in &segment.findings {
                    out.line(|| finding_text(id, SegmentId(segment.segment), finding), Default::default);
                }
            }
            out.count(&segment.findings);
            ControlFlow::Continue(())
        });
    }
    out.end()
}

fn text(segment: &Segment) -> String {
    let begins = format!("shard {}  segment {}", segment.shard, segment.segment);
    let (Some(base), Some(end), Some(epoch)) = (segment.base, segment.end, segment.epoch) else {
        return format!("{begins}  {}", segment.state);
    };
    let closed = match (segment.sealed, segment.footer) {
        (true, true) => "sealed",
        (true, false) => "sealed, no footer yet",
        (false, true) => "footer without seal",
        (false, false) => "open",
    };
    let whole = match segment.findings.iter().filter(|finding| finding.damage).count() {
        0 => "no damage".to_owned(),
        1 => "1 damage".to_owned(),
        places => format!("{places} damages"),
    };
    format!(
        "{begins}  base {base}  end {end}  epoch {epoch}  {closed}  {} frames  {} bytes  {whole}",
        segment.frames, segment.bytes
    )
}
