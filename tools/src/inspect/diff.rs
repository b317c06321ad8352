//! `baton inspect diff`: are two nodes' logs the same bytes over the LSNs that both hold?

use super::data::Data;
use super::out::{Out, frame_text};
use super::survey::{Finding, Shard};
use super::walk::{Stop, walk};
use crate::cli::InspectDiff;
use crate::failure::{Failure, not_fine};
use engine::ids::{Epoch, Lsn, ShardId};
use engine::segment::DATA_START;
use serde_json::json;
use std::ops::ControlFlow;

/// What is compared at once.
const CHUNK_BYTES: u64 = 256 << 10;

/// Where a stretch of the log lies.
struct Stretch {
    file: usize,
    base: Lsn,
    end: Lsn,
    epoch: Epoch,
}

/// One side's log of a shard.
struct Side {
    shard: Shard,
    stretches: Vec<Stretch>,
    damage: Vec<Finding>,
}

/// Runs the subcommand.
pub fn run(options: &InspectDiff) -> Result<(), Failure> {
    let (a, b) = (Data::open(&options.a)?, Data::open(&options.b)?);
    if a.superblock.group != b.superblock.group {
        return Err(Failure::Usage(format!(
            "{} belongs to group {}, {} to group {}",
            a.path.display(),
            a.superblock.group,
            b.path.display(),
            b.superblock.group
        )));
    }
    let shards = a.shards(&options.shards)?;
    let mut out = Out::new(options.json);
    let mut different = Vec::new();
    for id in shards {
        let (mut left, mut right) = (Side::open(&a, id)?, Side::open(&b, id)?);
        let (start, end) = (left.start().max(right.start()), left.end().min(right.end()).max(left.start()));
        let at = first_difference(&mut left, &mut right, start, end);
        let (ours, theirs) = (at.map(|at| left.describe(at)), at.map(|at| right.describe(at)));
        let committed = [&left, &right].map(|side| side.shard.pulse.map_or(0, |pulse| pulse.committed.0));
        let text = || {
            let ends = format!("shard {}  a ends at LSN {}, b at LSN {}", id.0, left.end(), right.end());
            match (at, &ours, &theirs) {
                (Some(at), Some(ours), Some(theirs)) => {
                    let open = at.0 >= committed[0].max(committed[1]);
                    let open = if open { " (beyond what either knew to be committed)" } else { "" };
                    format!("{ends}  DIFFERENT at LSN {at}{open}\n  a: {ours}\n  b: {theirs}")
                }
                _ => format!("{ends}  identical from LSN {start} to {end}"),
            }
        };
        let object = || {
            json!({
                "shard": id.0, "from": start.0, "to": end.0, "a_end": left.end().0, "b_end": right.end().0,
                "a_committed": committed[0], "b_committed": committed[1], "identical": at.is_none(),
                "difference": at.map(|at| json!({"lsn": at.0, "a": ours, "b": theirs})),
                "a_damage": left.damage, "b_damage": right.damage,
            })
        };
        out.line(text, object);
        if !options.json {
            for (name, finding) in
                left.damage.iter().map(|f| ("a", f)).chain(right.damage.iter().map(|f| ("b", f)))
            {
                let lsn = finding.lsn.map(|lsn| format!(" at LSN {lsn}")).unwrap_or_default();
                out.line(|| format!("  {name} is damaged{lsn}: {}", finding.what), Default::default);
            }
        }
        out.count(&left.damage);
        out.count(&right.damage);
        if at.is_some() {
            different.push(id.0.to_string());
        }
    }
    out.end()?;
    match different.is_empty() {
        true => Ok(()),
        false => Err(not_fine(format!("different: shard {}", different.join(", ")))),
    }
}

impl Side {
    fn open(data: &Data, id: ShardId) -> Result<Side, Failure> {
        let mut shard = Shard::open(data, id)
            .map_err(|error| not_fine(format!("{}: {error}", data.shard_dir(id).display())))?;
        let (mut stretches, mut damage, mut file) = (Vec::new(), Vec::new(), 0);
        shard.survey(&|_, _| true, &mut |_, _| ControlFlow::Continue(()), &mut |segment| {
            if let (Some(base), Some(end), Some(epoch)) = (segment.base, segment.extent, segment.epoch_before)
            {
                stretches.push(Stretch { file, base: Lsn(base), end: Lsn(end), epoch: Epoch(epoch) });
            }
            damage.extend(segment.findings.iter().filter(|finding| finding.damage).cloned());
            file += 1;
            ControlFlow::Continue(())
        });
        Ok(Side { shard, stretches, damage })
    }

    fn start(&self) -> Lsn {
        self.stretches.first().map_or(Lsn(0), |stretch| stretch.base)
    }

    fn end(&self) -> Lsn {
        self.stretches.last().map_or(Lsn(0), |stretch| stretch.end)
    }

    fn stretch_at(&self, at: Lsn) -> Option<&Stretch> {
        self.stretches.iter().rev().find(|stretch| stretch.base <= at && at < stretch.end)
    }

    /// The log from `at` on, at most `len` bytes and not beyond a segment; `None` if this side has nothing
    /// readable there.
    fn bytes(&mut self, at: Lsn, len: u64) -> Option<Vec<u8>> {
        let Stretch { file, base, end, .. } = *self.stretch_at(at)?;
        let offset = DATA_START + (at.0 - base.0);
        let bytes = self.shard.files[file].file.read(offset, len.min(end.0 - at.0)).ok()?;
        (!bytes.is_empty()).then(|| bytes.to_vec())
    }

    /// What stands at `at`.
    fn describe(&mut self, at: Lsn) -> String {
        let Some(&Stretch { file, base, epoch, .. }) = self.stretch_at(at) else {
            return format!("nothing readable at LSN {at}");
        };
        let mut found = None;
        let file = &mut self.shard.files[file].file;
        let walked = walk(file, (DATA_START, base), epoch, true, &mut |frame| {
            if frame.header().lsn.get() + frame.len() as u64 <= at.0 {
                return ControlFlow::Continue(());
            }
            found = Some(frame_text(&frame));
            ControlFlow::Break(())
        });
        found.unwrap_or_else(|| match walked.stop {
            Stop::Bad(why) => format!("a bad frame at LSN {}: {why}", walked.end),
            Stop::Empty | Stop::Done => format!("the log's frames end at LSN {}", walked.end),
        })
    }
}

fn first_difference(a: &mut Side, b: &mut Side, start: Lsn, end: Lsn) -> Option<Lsn> {
    let mut at = start;
    while at < end {
        let wanted = CHUNK_BYTES.min(end.0 - at.0);
        let (Some(ours), Some(theirs)) = (a.bytes(at, wanted), b.bytes(at, wanted)) else { return Some(at) };
        if let Some(place) = ours.iter().zip(&theirs).position(|(x, y)| x != y) {
            return Some(at.advance(place as u64));
        }
        at = at.advance(ours.len().min(theirs.len()) as u64);
    }
    None
}
