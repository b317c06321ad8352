//! Lines on standard output, for people or as JSON, and how frames are described in both.

use super::survey::Finding;
use crate::failure::{Failure, not_fine};
use engine::frame::{FrameKind, FrameView};
use engine::ids::{Lsn, SegmentId, ShardId};
use node::status::rfc3339;
use serde_json::{Value, json};
use std::io::{self, BufWriter, StdoutLock, Write};

/// The most keys of a batch that its line for people names.
const BATCH_KEYS_SHOWN: usize = 4;

/// Standard output. A reader that goes away ends the process quietly, as `head` expects.
pub struct Out {
    json: bool,
    to: BufWriter<StdoutLock<'static>>,
    damaged: usize,
}

impl Out {
    pub fn new(json: bool) -> Out {
        Out { json, to: BufWriter::new(io::stdout().lock()), damaged: 0 }
    }

    /// Prints one of the two as a line.
    pub fn line(&mut self, text: impl FnOnce() -> String, object: impl FnOnce() -> Value) {
        let written =
            if self.json { writeln!(self.to, "{}", object()) } else { writeln!(self.to, "{}", text()) };
        Out::gone(written);
    }

    fn gone(written: io::Result<()>) {
        if let Err(error) = written {
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("baton: standard output: {error}");
            }
            std::process::exit(1);
        }
    }

    /// Counts what is damaged, for the exit code.
    pub fn count(&mut self, findings: &[Finding]) {
        self.damaged += findings.iter().filter(|finding| finding.damage).count();
    }

    /// # Errors
    /// Something was counted as damaged.
    pub fn end(mut self) -> Result<(), Failure> {
        Out::gone(self.to.flush());
        match self.damaged {
            0 => Ok(()),
            1 => Err(not_fine("1 place is damaged")),
            places => Err(not_fine(format!("{places} places are damaged"))),
        }
    }
}

/// A key as text: what is not printable ASCII as `\xNN`, quotes and backslashes with a backslash before them.
pub fn escaped(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}

fn kind_name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Put => "put",
        FrameKind::Delete => "delete",
        FrameKind::Batch => "batch",
        FrameKind::EpochStart => "epoch-start",
        FrameKind::Pad => "pad",
        FrameKind::Seal => "seal",
    }
}

/// A frame in words.
pub fn frame_text(frame: &FrameView<'_>) -> String {
    let header = frame.header();
    let kind = kind_name(frame.kind());
    let what = match frame.kind() {
        FrameKind::Put | FrameKind::Delete => format!(" \"{}\"", escaped(frame.key())),
        FrameKind::Batch => {
            let keys: Vec<_> = frame.operations().map(|o| format!("\"{}\"", escaped(o.key))).collect();
            let shown = keys[..keys.len().min(BATCH_KEYS_SHOWN)].join(" ");
            let more = if keys.len() > BATCH_KEYS_SHOWN { " ..." } else { "" };
            format!(" of {} operations {shown}{more}", keys.len())
        }
        FrameKind::EpochStart | FrameKind::Pad | FrameKind::Seal => String::new(),
    };
    let expiry = match header.expiry_ms.get() {
        0 => "never".to_owned(),
        ms => rfc3339(ms),
    };
    format!(
        "lsn {}  epoch {}  {kind}{what}  value {} bytes  expires {expiry}  written {}",
        header.lsn,
        header.epoch,
        header.value_len,
        rfc3339(header.wall_ms.get())
    )
}

/// A frame as JSON.
pub fn frame_json(shard: ShardId, frame: &FrameView<'_>) -> Value {
    let header = frame.header();
    let mut object = json!({
        "shard": shard.0,
        "lsn": header.lsn.get(),
        "end": header.lsn.get() + frame.len() as u64,
        "epoch": header.epoch.get(),
        "kind": kind_name(frame.kind()),
        "key": escaped(frame.key()),
        "value_len": header.value_len.get(),
        "expiry_ms": header.expiry_ms.get(),
        "wall_ms": header.wall_ms.get(),
    });
    if frame.kind() == FrameKind::Batch {
        let operation = |o: engine::frame::Operation<'_>| {
            let kind = if o.put { "put" } else { "delete" };
            json!({"kind": kind, "key": escaped(o.key), "value_len": o.value.len(), "expiry_ms": o.expiry_ms})
        };
        object["operations"] = frame.operations().map(operation).collect();
    }
    object
}

/// A finding in words.
pub fn finding_text(shard: ShardId, segment: SegmentId, finding: &Finding) -> String {
    let sort = if finding.damage { "DAMAGE" } else { "unfinished" };
    let at = finding.lsn.map(|lsn| format!("  lsn {lsn}")).unwrap_or_default();
    let again = finding.next_whole.map(|lsn| format!("; whole frames again from LSN {}", Lsn(lsn)));
    let again = again.unwrap_or_default();
    format!("shard {}  segment {}{at}  {sort}: {}{again}", shard.0, segment.0, finding.what)
}

/// A finding as a JSON line of its own.
pub fn finding_json(shard: ShardId, segment: SegmentId, finding: &Finding) -> Value {
    json!({
        "shard": shard.0,
        "segment": segment.0,
        "lsn": finding.lsn,
        "fault": finding.what,
        "damage": finding.damage,
        "next_whole": finding.next_whole,
    })
}
