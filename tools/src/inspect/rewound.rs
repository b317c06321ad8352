//! `baton inspect rewound`: the frames that rewinds cut off.
//!
//! A file saved after damage holds headers, footers and whatever else lay there: stretches that are no frames
//! are reported and passed over, zeros silently.

use super::data::Data;
use super::map::MappedFile;
use super::out::{Out, frame_json, frame_text};
use super::survey::Finding;
use super::walk::{Stop, find_frame, walk};
use crate::cli::InspectLog;
use crate::failure::{Failure, not_fine};
use engine::frame;
use engine::ids::{Epoch, ShardId};
use engine::io::cold::RewoundFile;
use engine::limits::BLOCK;
use node::status::rfc3339;
use serde_json::json;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Runs the subcommand.
pub fn run(options: &InspectLog) -> Result<(), Failure> {
    let data = Data::open(&options.dir)?;
    let shards = data.shards(&options.shards)?;
    let mut out = Out::new(options.json);
    for id in shards {
        let dir = data.shard_dir(id).join("rewound");
        let failed = |error| not_fine(format!("{}: {error}", dir.display()));
        let entries: Result<Vec<_>, _> = fs::read_dir(&dir).map_err(failed)?.collect();
        let mut paths: Vec<_> = entries.map_err(failed)?.iter().map(fs::DirEntry::path).collect();
        paths.sort();
        for path in paths {
            show(&mut out, id, &path);
        }
    }
    out.end()
}

fn show(out: &mut Out, id: ShardId, path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fault = |out: &mut Out, at: u64, what: String, damage: bool| {
        let text = || format!("shard {}  {name}  byte {at}  {what}", id.0);
        let object = || json!({"shard": id.0, "file": name, "offset": at, "fault": what, "damage": damage});
        out.line(text, object);
        out.count(&[Finding { lsn: None, what: what.clone(), damage, next_whole: None }]);
    };
    let mut file = match MappedFile::open(path) {
        Ok(file) => file,
        Err(error) => return fault(out, 0, format!("it cannot be read: {error}"), true),
    };
    let head = file.read(0, BLOCK).ok().and_then(RewoundFile::from_block);
    match head {
        Some(head) => {
            let RewoundFile { from, to, wall_ms, bytes } = head;
            let when = rfc3339(wall_ms);
            let text = || format!("shard {}  {name}  cut lsn {from} to {to}  on {when}  {bytes} bytes", id.0);
            let object = || json!({"shard": id.0, "file": name, "from": from.0, "to": to.0, "wall_ms": wall_ms, "bytes": bytes});
            out.line(text, object);
            if file.len() != BLOCK + bytes {
                fault(
                    out,
                    file.len(),
                    format!("{} bytes follow the first block", file.len().saturating_sub(BLOCK)),
                    true,
                );
            }
        }
        None => fault(out, 0, "the first block is damaged".to_owned(), true),
    }
    let mut at = BLOCK;
    while at < file.len() {
        let Some((start, lsn)) = find_frame(&mut file, at, None) else {
            gap(&mut file, (at, u64::MAX), |what| fault(out, at, what, false));
            return;
        };
        if start > at {
            gap(&mut file, (at, start), |what| fault(out, at, what, false));
        }
        let epoch = file.read(start, BLOCK).ok().and_then(frame::peek).map_or(0, |h| h.epoch.get());
        let walked = walk(&mut file, (start, lsn), Epoch(epoch), false, &mut |frame| {
            let text = || format!("shard {}  {}", id.0, frame_text(&frame));
            let object = || {
                let mut object = frame_json(id, &frame);
                object["file"] = json!(name);
                object
            };
            out.line(text, object);
            ControlFlow::Continue(())
        });
        let end = start + (walked.end.0 - lsn.0);
        if walked.stop == Stop::Done {
            return;
        }
        // An intact frame that may not stand here, as of epoch 0, is passed over like other bytes.
        at = end;
        if end == start {
            fault(out, start, format!("an intact frame that no log can hold: LSN {lsn}"), false);
            at = start + engine::limits::FRAME_ALIGN;
        }
    }
}

/// Reports a stretch that is no frame unless it is zeros.
fn gap(file: &mut MappedFile, (from, to): (u64, u64), report: impl FnOnce(String)) {
    let to = to.min(file.len());
    let mut at = from;
    while at < to {
        let len = BLOCK.min(to - at);
        match file.read(at, len) {
            Ok(bytes) if bytes.iter().all(|&byte| byte == 0) => at += len,
            Ok(_) => return report(format!("{} bytes that are no frame", to - from)),
            Err(error) => return report(format!("{} bytes that cannot be read: {error}", to - from)),
        }
    }
}
