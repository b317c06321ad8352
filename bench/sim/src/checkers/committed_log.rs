//! There is one committed log per shard: whatever any node holds to be committed is byte-equal to what any
//! other does, and no acknowledged write is missing from it.
//!
//! It keeps of each frame its place, length and checksum, and of each key the values it had, which is what
//! other checkers compare with.

use engine::frame::{FrameKind, FrameView, HEADER_BYTES, peek};
use engine::ids::{Lsn, ShardId};
use engine::log::BufferRange;
use engine::shard::Shard;
use engine::testing::MemoryDisk;
use std::collections::BTreeMap;

const READ_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    lsn: u64,
    len: u32,
    crc: u32,
    epoch: u64,
}

/// A change of a key: the end of its frame, and the checksum of the new value (`None`: deleted).
pub type Change = (u64, Option<u32>);

#[derive(Default)]
pub struct Log {
    frames: Vec<Frame>,
    end: u64,
    pub keys: BTreeMap<Vec<u8>, Vec<Change>>,
}

/// Why a stretch of a node's log is not as it should be.
#[derive(Debug)]
pub enum Flaw {
    /// No whole frame stands there.
    Damaged(String),
    /// Frames before it have not been seen on any node: the one that has them cannot be read there.
    Unseen(String),
    /// A frame stands there that is not the one that was committed.
    Wrong(String),
}

/// The committed log of each shard.
pub struct CommittedLog {
    pub shards: Vec<Log>,
    /// Up to where each node's committed part was compared.
    compared: BTreeMap<(usize, ShardId), u64>,
}

/// What stands for a value.
pub fn digest(value: &[u8]) -> u32 {
    crc32fast::hash(value)
}

impl Flaw {
    /// What a checker says of it. `damaged`: this host's copy is known to be, and may have no whole frame in a
    /// place. `any`: some host's is, so that not all of the log has been seen.
    pub fn judged(self, damaged: bool, any: bool) -> Result<(), String> {
        match self {
            Flaw::Damaged(_) if damaged => Ok(()),
            Flaw::Unseen(_) if any => Ok(()),
            Flaw::Damaged(what) | Flaw::Unseen(what) | Flaw::Wrong(what) => Err(what),
        }
    }
}

impl Log {
    /// Up to where it is known.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// A committed frame of a node's log.
    fn frame(&mut self, host: usize, lsn: u64, bytes: &[u8]) -> Result<(), Flaw> {
        let Some(view) = FrameView::of(bytes) else {
            return Err(Flaw::Damaged(format!("host {host}: no frame at LSN {lsn}")));
        };
        if !view.intact() {
            return Err(Flaw::Damaged(format!("host {host} committed a damaged frame at LSN {lsn}")));
        }
        let header = view.header();
        let frame = Frame { lsn, len: header.len.get(), crc: header.crc.get(), epoch: header.epoch.get() };
        if lsn < self.end {
            let at = self.frames.binary_search_by_key(&lsn, |frame| frame.lsn);
            let known = at.map(|at| self.frames[at]);
            return match known {
                Ok(known) if known == frame => Ok(()),
                _ => Err(Flaw::Wrong(format!(
                    "host {host} committed {frame:?} where {known:?} was committed before"
                ))),
            };
        }
        if lsn > self.end {
            let known = self.end;
            return Err(Flaw::Unseen(format!(
                "host {host} committed {frame:?}; the log is only known up to {known}"
            )));
        }
        if let Some(last) = self.frames.last().filter(|last| last.epoch > frame.epoch) {
            return Err(Flaw::Wrong(format!("host {host} committed {frame:?} after {last:?}")));
        }
        self.frames.push(frame);
        self.end = lsn + u64::from(frame.len);
        if matches!(view.kind(), FrameKind::Put | FrameKind::Delete | FrameKind::Batch) {
            for operation in view.operations() {
                let value = if operation.put { Some(digest(operation.value)) } else { None };
                self.keys.entry(operation.key.to_vec()).or_default().push((self.end, value));
            }
        }
        Ok(())
    }
}

impl CommittedLog {
    pub fn new(shards: u16) -> CommittedLog {
        CommittedLog { shards: (0..shards).map(|_| Log::default()).collect(), compared: BTreeMap::new() }
    }

    pub fn forget(&mut self, host: usize, shard: ShardId) {
        self.compared.remove(&(host, shard));
    }

    /// Compares what a node has newly committed: from its log buffer, or, what it recovered, from its disk.
    pub fn look(
        &mut self,
        host: usize,
        shard: ShardId,
        engine: &Shard,
        disk: &MemoryDisk,
    ) -> Result<(), Flaw> {
        let committed = engine.committed().0;
        // A life starts with what its disk says; the bytes below are compared when the run is over.
        let mut compared = *self.compared.entry((host, shard)).or_insert(committed);
        while compared < committed {
            let next = if engine.in_buffer(Lsn(compared)) {
                let len = (committed - compared) as usize;
                let bytes = engine.bytes(BufferRange { start: Lsn(compared), len });
                self.compare(host, shard, compared, committed, bytes)?
            } else {
                let (spec, skip, len) = engine.read_log(Lsn(compared), READ_BYTES);
                let blocks = disk.read_blocks(spec);
                self.compare(host, shard, compared, committed, &blocks[skip..skip + len])?
            };
            if next == compared {
                return Err(Flaw::Damaged(format!(
                    "host {host}: commits up to {committed}, but has no whole frame at {compared}"
                )));
            }
            compared = next;
        }
        self.compared.insert((host, shard), compared);
        Ok(())
    }

    /// Compares a stretch of a node's committed log as it is on its disk. Returns where it ended.
    pub fn compare(
        &mut self,
        host: usize,
        shard: ShardId,
        from: u64,
        to: u64,
        bytes: &[u8],
    ) -> Result<u64, Flaw> {
        let log = &mut self.shards[usize::from(shard.0)];
        let mut at = 0usize;
        while let Some(header) = bytes.get(at..at + HEADER_BYTES).and_then(peek) {
            let len = header.len.get() as usize;
            if len < HEADER_BYTES || at + len > bytes.len() || from + (at + len) as u64 > to {
                break;
            }
            log.frame(host, from + at as u64, &bytes[at..at + len])?;
            at += len;
        }
        Ok(from + at as u64)
    }
}
