//! The segments of one shard in log order, each walked and judged as recovery would judge it.
//!
//! A place where no frame stands is the log's end, a torn tail, or damage. It is damage if the place is known
//! to have been durable: the pulse or a footer says so, or a whole frame stands further on than can have been
//! in flight at once (`docs/FORMAT.md`, "Where a log ends").

use super::data::Data;
use super::map::MappedFile;
use super::walk::{Stop, find_frame, walk};
use engine::frame::{self, FrameKind, FrameView, HEADER_BYTES};
use engine::ids::{Epoch, Lsn, SegmentId, ShardId};
use engine::key::KeyHasher;
use engine::limits::{BLOCK, MAX_BYTES_IN_FLIGHT};
use engine::pulse::Pulse;
use engine::segment::{
    DATA_START, FOOTER_ENTRY_BYTES, FooterEnd, FooterEntry, HeaderBlock, SegmentHeader, parse_file_name,
};
use engine::slot::slot_of;
use serde::Serialize;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use zerocopy::FromBytes;

/// Something about a segment that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where in the log, if that is known.
    pub lsn: Option<u64>,
    pub what: String,
    /// Known to have been durable and now wrong; else a torn tail or something unfinished.
    pub damage: bool,
    /// Where whole frames stand again in this segment.
    pub next_whole: Option<u64>,
}

/// A segment file before its frames are looked at.
pub struct SegmentFile {
    pub id: SegmentId,
    pub file: MappedFile,
    /// Where the log goes on in it; `None` if it holds no part of it that can be placed.
    pub base: Option<Lsn>,
    header: Option<SegmentHeader>,
    footer: Option<(FooterEnd, u64)>,
    blank: bool,
    findings: Vec<Finding>,
}

/// What a segment turned out to be.
#[derive(Clone, Debug, Serialize)]
pub struct Segment {
    pub shard: u16,
    pub segment: u32,
    /// `log`, `prepared` (not reached yet) or `unreadable`.
    pub state: &'static str,
    pub base: Option<u64>,
    /// The end of its last good frame.
    pub end: Option<u64>,
    /// Up to where it is known to have been written durably; never below `end`.
    pub extent: Option<u64>,
    /// The epoch before its first frame and that of its last good one.
    pub epoch_before: Option<u64>,
    pub epoch: Option<u64>,
    pub sealed: bool,
    pub footer: bool,
    pub frames: u64,
    /// Bytes of its good frames.
    pub bytes: u64,
    pub findings: Vec<Finding>,
}

/// Up to where the log surely was.
#[derive(Clone, Copy)]
struct Reached {
    /// Its frames were durable: the pulse or a footer says so.
    durable: Lsn,
    /// Its bytes were: what lies further on cannot have been in flight at once with what is before this.
    written: Lsn,
}

/// One shard of a data directory.
pub struct Shard {
    pub id: ShardId,
    pub pulse: Option<Pulse>,
    pub files: Vec<SegmentFile>,
    reached: Reached,
    hasher: KeyHasher,
}

fn damage(lsn: Option<u64>, what: impl Into<String>) -> Finding {
    Finding { lsn, what: what.into(), damage: true, next_whole: None }
}

impl Shard {
    /// Reads headers, footers and the pulse; no frame yet.
    ///
    /// # Errors
    /// The shard's directory cannot be read.
    pub fn open(data: &Data, id: ShardId) -> io::Result<Shard> {
        let dir = data.shard_dir(id);
        // First, since what it says stays true of the frames that are read after it.
        let pulse = MappedFile::open(&dir.join("pulse")).ok();
        let pulse = pulse.and_then(|mut file| Pulse::from_block(file.read(0, BLOCK).ok()?));
        let mut files = Vec::new();
        for (segment, path) in segment_paths(&dir)? {
            match MappedFile::open(&path) {
                Ok(file) => files.push(SegmentFile::open(data, id, segment, file)),
                // A running node rewinds: the file is gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort_by_key(|file| (file.base.is_none(), file.base, file.id));
        let noted = pulse.map_or(Lsn(0), |pulse| pulse.durable.max(pulse.repair_until));
        let closed = files.iter().filter_map(|file| Some(file.footer.as_ref()?.0.end)).max();
        let mut reached = Reached { durable: noted.max(closed.unwrap_or_default()), written: Lsn(0) };
        for file in &mut files {
            if let Some(base) = file.base
                && find_frame(&mut file.file, DATA_START, Some(base.0 as i64 - DATA_START as i64)).is_some()
            {
                let written = Lsn((base.0 + 1).saturating_sub(MAX_BYTES_IN_FLIGHT));
                reached.written = reached.written.max(written);
            }
        }
        Ok(Shard { id, pulse, files, reached, hasher: KeyHasher::new(data.superblock.group) })
    }

    /// Walks all segments in log order. `wanted` says by base and end (`None`: open end) whether a segment is
    /// walked; `visit` sees each good frame and may end the whole; `done` sees each segment after its frames.
    pub fn survey(
        &mut self,
        wanted: &dyn Fn(Lsn, Option<Lsn>) -> bool,
        visit: &mut dyn FnMut(SegmentId, FrameView<'_>) -> ControlFlow<()>,
        done: &mut dyn FnMut(&Segment) -> ControlFlow<()>,
    ) {
        let bases: Vec<Option<Lsn>> = self.files.iter().map(|file| file.base).collect();
        let (shard, reached, hasher) = (self.id, self.reached, self.hasher);
        // The end and the epoch of the segment before, if it was walked to a good end.
        let mut before = Some((Lsn(0), Epoch(0)));
        for (at, file) in self.files.iter_mut().enumerate() {
            let next_base = bases.get(at + 1).copied().flatten();
            let Some(base) = file.base else {
                if done(&file.without_frames(shard)).is_break() {
                    return;
                }
                continue;
            };
            if !wanted(base, next_base) {
                before = None;
                continue;
            }
            let mut ended = false;
            let segment = file.judge(shard, base, before, (reached, next_base), hasher, &mut |id, frame| {
                let flow = visit(id, frame);
                ended = flow.is_break();
                flow
            });
            if ended {
                return;
            }
            before =
                segment.sealed.then(|| (Lsn(segment.end.unwrap_or(0)), Epoch(segment.epoch.unwrap_or(0))));
            if done(&segment).is_break() {
                return;
            }
        }
    }
}

/// The length of the frame whose header stands at `at`, its place `lsn`, whole or not; 0 if none does. What was in
/// flight when a machine died may have begun as far on as that frame's end.
fn begun_frame_len(file: &mut MappedFile, at: u64, lsn: Lsn) -> u64 {
    let left = file.len() - at;
    let header = file.read(at, HEADER_BYTES as u64).ok().and_then(frame::peek);
    let header = header.filter(|header| header.lsn.get() == lsn.0);
    header.map(|header| u64::from(header.len.get())).filter(|&len| len <= left).unwrap_or(0)
}

/// The segment files of a shard's directory by number.
fn segment_paths(dir: &Path) -> io::Result<Vec<(SegmentId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(id) = entry.file_name().to_str().and_then(parse_file_name) {
            found.push((id, entry.path()));
        }
    }
    Ok(found)
}

impl SegmentFile {
    fn open(data: &Data, shard: ShardId, id: SegmentId, mut file: MappedFile) -> SegmentFile {
        let mut findings = Vec::new();
        let expected = data.superblock.segment_bytes;
        if file.len() != expected {
            findings.push(damage(None, format!("the file has {} bytes, not {expected}", file.len())));
        }
        let end_block = file.len().saturating_sub(BLOCK);
        let footer = file.read(end_block, BLOCK).ok().and_then(FooterEnd::from_block);
        let mut blank = false;
        let mut header = None;
        let why = match file.read(0, BLOCK).map(SegmentHeader::from_block) {
            Err(error) => Some(format!("the header block cannot be read: {error}")),
            Ok(HeaderBlock::Damaged) => Some("the header block is damaged".to_owned()),
            Ok(HeaderBlock::Version(version)) => Some(format!("format version {version} is not known")),
            Ok(HeaderBlock::Blank) => {
                blank = footer.is_none();
                footer.is_some().then(|| "the header block is gone".to_owned())
            }
            Ok(HeaderBlock::Valid(found)) => {
                let ours =
                    found.group == data.superblock.group && found.shard == shard && found.segment == id;
                let whose = || {
                    let SegmentHeader { group, shard, segment, .. } = found;
                    format!("it is segment {} of shard {} of group {group}", segment.0, shard.0)
                };
                header = ours.then_some(found);
                (!ours).then(whose)
            }
        };
        // A footer tells the base as well: what the header block held is not needed to read the frames.
        let base = header.map(|h| h.base).or(footer.as_ref().filter(|f| f.segment == id).map(|f| f.base));
        findings.extend(why.map(|why| damage(base.map(|base| base.0), why)));
        let footer = footer.and_then(|footer| {
            let start = footer.entries_start(id, base?, expected)?;
            Some((footer, start))
        });
        SegmentFile { id, file, base, header, footer, blank, findings }
    }

    fn without_frames(&self, shard: ShardId) -> Segment {
        Segment {
            shard: shard.0,
            segment: self.id.0,
            state: if self.blank { "prepared" } else { "unreadable" },
            base: None,
            end: None,
            extent: None,
            epoch_before: None,
            epoch: None,
            sealed: false,
            footer: false,
            frames: 0,
            bytes: 0,
            findings: self.findings.clone(),
        }
    }

    fn judge(
        &mut self,
        shard: ShardId,
        base: Lsn,
        before: Option<(Lsn, Epoch)>,
        (reached, next_base): (Reached, Option<Lsn>),
        hasher: KeyHasher,
        visit: &mut dyn FnMut(SegmentId, FrameView<'_>) -> ControlFlow<()>,
    ) -> Segment {
        let mut findings = self.findings.clone();
        let known = self.header.map(|header| header.epoch).or(before.map(|(_, epoch)| epoch));
        let epoch_before = known.or_else(|| first_epoch(&mut self.file)).unwrap_or_default();
        if let Some((end, epoch)) = before
            && (end != base || self.header.is_some_and(|header| header.epoch != epoch))
        {
            findings.push(Finding {
                lsn: Some(base.0),
                what: format!("it continues nothing: the log before it ends at LSN {end} in epoch {epoch}"),
                damage: end < reached.durable.max(reached.written),
                next_whole: None,
            });
        }
        let mut entries = self.footer.as_ref().map(|_| Vec::new());
        let walked = walk(&mut self.file, (DATA_START, base), epoch_before, true, &mut |frame| {
            if let Some(entries) = &mut entries {
                list_operations(entries, frame, base, hasher);
            }
            visit(self.id, frame)
        });
        let bad = match &walked.stop {
            Stop::Done => (!walked.sealed).then(|| "the file ends without a seal".to_owned()),
            Stop::Empty => Some("nothing but zeros".to_owned()),
            Stop::Bad(why) => Some(why.clone()),
        };
        if let Some(what) = bad {
            let place = base.0 as i64 - DATA_START as i64;
            let at = DATA_START + (walked.end.0 - base.0);
            let next_whole = find_frame(&mut self.file, at + 1, Some(place)).map(|(_, lsn)| lsn.0);
            let begun = begun_frame_len(&mut self.file, at, walked.end);
            let far = find_frame(&mut self.file, at + begun + MAX_BYTES_IN_FLIGHT, Some(place)).is_some();
            let damage = walked.end < reached.durable || walked.end.0 + begun < reached.written.0 || far;
            if damage || next_whole.is_some() || walked.stop != Stop::Empty {
                findings.push(Finding { lsn: Some(walked.end.0), what, damage, next_whole });
            }
        }
        if let (Some((footer, start)), Some(entries)) = (&self.footer, entries)
            && walked.sealed
        {
            findings.extend(check_footer(&mut self.file, footer, *start, walked.end, &entries));
        }
        let closed = self.footer.as_ref().map(|(footer, _)| footer.end);
        let room = Lsn(base.0 + self.file.len().saturating_sub(DATA_START));
        // An unsound end is known to go on as far as anything says that it was durable.
        let limit = closed.or(next_base).unwrap_or(room);
        let extent = walked.end.max(reached.durable.max(reached.written).min(limit));
        Segment {
            shard: shard.0,
            segment: self.id.0,
            state: "log",
            base: Some(base.0),
            end: Some(walked.end.0),
            extent: Some(extent.0),
            epoch_before: Some(epoch_before.0),
            epoch: Some(walked.epoch.0),
            sealed: walked.sealed,
            footer: self.footer.is_some(),
            frames: walked.frames,
            bytes: walked.end.0 - base.0,
            findings,
        }
    }
}

/// The epoch that the first frame claims, where nothing else tells.
fn first_epoch(file: &mut MappedFile) -> Option<Epoch> {
    let bytes = file.read(DATA_START, BLOCK).ok()?;
    engine::frame::peek(bytes).map(|header| Epoch(header.epoch.get()))
}

fn list_operations(entries: &mut Vec<FooterEntry>, frame: FrameView<'_>, base: Lsn, hasher: KeyHasher) {
    for operation in frame.operations() {
        let kind = if operation.put { FrameKind::Put } else { FrameKind::Delete };
        entries.push(FooterEntry {
            hash: hasher.hash(operation.key).into(),
            offset: (((frame.header().lsn.get() - base.0) / 8) as u32).into(),
            len: ((frame.len() / 8) as u32).into(),
            slot: u32::from(slot_of(operation.key)).into(),
            kind: (kind as u32).into(),
        });
    }
}

/// Does the footer say what the frames say?
fn check_footer(
    file: &mut MappedFile,
    footer: &FooterEnd,
    start: u64,
    end: Lsn,
    entries: &[FooterEntry],
) -> Option<Finding> {
    let at = Some(end.0);
    if footer.end != end {
        return Some(damage(at, format!("the footer says that the seal ends at LSN {}", footer.end)));
    }
    let bytes = match file.read(start, footer.entries * FOOTER_ENTRY_BYTES as u64) {
        Ok(bytes) => bytes,
        Err(error) => return Some(damage(at, format!("the footer cannot be read: {error}"))),
    };
    // Recovery passes such a footer over and reads the frames, so it is damage of the footer only.
    if crc32fast::hash(bytes) != footer.entries_crc {
        return Some(damage(at, "the footer's entries do not match their checksum"));
    }
    let listed = <[FooterEntry]>::ref_from_bytes(bytes).ok()?;
    let same = listed.len() == entries.len() && listed.iter().zip(entries).all(|(a, b)| a == b);
    (!same).then(|| damage(at, "the footer does not list the operations of the frames"))
}
