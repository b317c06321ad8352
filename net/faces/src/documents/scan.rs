//! Counting, listing and truncating a collection on one shard, in steps that never take long.
//!
//! The index holds no keys, so this goes through the log (`engine::key_scan`), and what that promises is what
//! is promised here: a document that is there all the while is counted and listed; one that is written
//! meanwhile may be twice. A job is driven like everything pure: [`ScanJob::step`] says what it wants. It does
//! not know whether it may still serve: the node asks that before each step, and drops the job if not.

use super::body::Body;
use super::failure::Failure;
use super::names;
use super::op::{Done, Item, Items, ListingPage, Scan, ScanFailure, Selection, Task};
use engine::disk::ReadSpec;
use engine::error::AppendError;
use engine::ids::{Lsn, Revision};
use engine::key_scan::{KeyScan, LiveKey, ScanError, ScanNeed, ScanPosition, Seen};
use engine::shard::{Found, Op, Shard, View};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Most documents removed in one step.
const REMOVED_PER_STEP: usize = 256;
/// And most bytes of their keys.
const REMOVED_BYTES_PER_STEP: usize = 32 << 10;
/// Most bytes of keys that are noted because they were written since the scan began.
const MOVED_BYTES: usize = 1 << 20;
/// How many of them are looked up in one step.
const MOVED_PER_STEP: usize = 64;
/// And with how many bytes of values.
const MOVED_BYTES_PER_STEP: usize = 64 << 10;
/// A page ends early when its documents have this many bytes.
const PAGE_BYTES: usize = 8 << 20;

/// What a scan wants after a step.
#[derive(Debug)]
pub enum ScanStep {
    /// Read these blocks and hand them over with [`ScanJob::blocks`], then step again.
    Read(ReadSpec),
    /// The frame there is damaged: fetch it, hand it over with [`ScanJob::mended`], then step again.
    Damaged(Lsn),
    /// A step's work is done: let others have their turn, then step again.
    Again,
    /// The log has no room for the removals: step again when it has.
    NoRoom,
    /// The end. The answer waits for the commit of `read_upto`, and of `wrote_upto` if anything was written.
    Done { done: Done, read_upto: Lsn, wrote_upto: Option<Lsn> },
}

/// A scan under way on one shard.
#[derive(Debug)]
pub struct ScanJob {
    scan: Scan,
    keys: KeyScan,
    wall_ms: u64,
    /// The page is full: what follows is only counted.
    full: bool,
    page: ListingPage,
    page_bytes: usize,
    counted: u64,
    /// Documents found and not yet removed.
    doomed: Vec<Vec<u8>>,
    doomed_bytes: usize,
    /// Documents that were written since the scan began, and are found when it has come to its end.
    moved: BTreeSet<Vec<u8>>,
    moved_bytes: usize,
    view: View,
    /// What must be committed before these are told.
    wait: Lsn,
    wrote_upto: Option<Lsn>,
    asked: Option<ReadSpec>,
    damaged: Option<Lsn>,
    failed: Option<ScanFailure>,
    /// The page has nothing of this shard.
    passed: bool,
}

impl ScanJob {
    /// A scan of what `view` shows of this shard. `wall_ms`: wall time, which decides what has expired.
    pub fn new(scan: Scan, shard: &Shard, view: View, wall_ms: u64) -> ScanJob {
        let mine = shard.options().shard.0;
        let (from, passed) = match scan.task {
            Task::Page { shard, from, .. } if shard == mine => (from, false),
            Task::Page { shard, .. } => (ScanPosition::default(), shard > mine),
            Task::Count | Task::Truncate | Task::Tail => (ScanPosition::default(), false),
        };
        ScanJob {
            scan,
            keys: KeyScan::new(from, view, shard),
            wall_ms,
            full: false,
            page: ListingPage { items: Vec::new(), next: None, count: None },
            page_bytes: 0,
            counted: 0,
            doomed: Vec::new(),
            doomed_bytes: 0,
            moved: BTreeSet::new(),
            moved_bytes: 0,
            view,
            wait: Lsn(0),
            wrote_upto: None,
            asked: None,
            damaged: None,
            failed: None,
            passed,
        }
    }

    /// Whether it changes anything, so that only a leader may run it.
    pub fn writes(&self) -> bool {
        self.scan.task == Task::Truncate
    }

    /// Bytes of the documents that it found for its page.
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The blocks that a [`ScanStep::Read`] asked for; `None` if the device failed.
    pub fn blocks(&mut self, shard: &Shard, bytes: Option<&[u8]>) {
        let Some(spec) = self.asked.take() else { return };
        let mut keys = self.keys.clone();
        let result = match bytes {
            Some(bytes) => keys.read(shard, spec, bytes, |seen| self.see(seen)),
            None => Err(ScanError::NoFrame(keys.position().frame)),
        };
        self.moved(keys, result);
    }

    /// The frame that a [`ScanStep::Damaged`] named; `None` if nobody has it.
    pub fn mended(&mut self, shard: &Shard, frame: Option<&[u8]>) {
        let mut keys = self.keys.clone();
        let lsn = keys.position().frame;
        match frame.map(|frame| keys.mended(shard, frame, |seen| self.see(seen))) {
            Some(Ok(())) => self.keys = keys,
            Some(Err(_)) | None => self.failed = Some(ScanFailure::Unreadable(lsn)),
        }
    }

    /// Does a bounded piece of work.
    pub fn step(&mut self, shard: &mut Shard, wall_ms: u64) -> ScanStep {
        if let Some(failure) = self.failed.take() {
            return self.end(Done::ScanFailed(failure));
        }
        if let Some(lsn) = self.damaged.take() {
            return ScanStep::Damaged(lsn);
        }
        if self.scan.task == Task::Tail {
            let (epoch, lsn) = (shard.last_epoch(), shard.tail());
            return self.end(Done::Tail(Revision { epoch, lsn }));
        }
        if !self.doomed.is_empty() {
            return self.remove(shard, wall_ms);
        }
        let need = if self.passed || self.is_over() { ScanNeed::End } else { self.keys.next(shard) };
        match need {
            ScanNeed::End if self.passed || self.is_over() || self.moved.is_empty() => self.finish(),
            ScanNeed::End => {
                self.find_moved(shard);
                ScanStep::Again
            }
            ScanNeed::Read(spec) => {
                self.asked = Some(spec);
                ScanStep::Read(spec)
            }
            ScanNeed::Walk => {
                let mut keys = self.keys.clone();
                let result = keys.walk(shard, |seen| self.see(seen));
                self.moved(keys, result);
                ScanStep::Again
            }
        }
    }

    /// A page is over when the document after it is found, unless all are counted.
    fn is_over(&self) -> bool {
        matches!(self.scan.task, Task::Page { count: false, .. }) && self.full
    }

    fn moved(&mut self, keys: KeyScan, result: Result<(), ScanError>) {
        self.keys = keys;
        if let Err(ScanError::NoFrame(lsn)) = result {
            // The first frame of a page comes from a cursor, which may be made up.
            let first = matches!(self.scan.task, Task::Page { from, .. } if from.frame == lsn);
            match first {
                true => self.failed = Some(ScanFailure::BadCursor),
                false => self.damaged = Some(lsn),
            }
        }
    }

    fn see(&mut self, seen: Seen<'_>) -> ControlFlow<()> {
        match seen {
            Seen::Live(live) => self.take(live),
            Seen::Moved(key) => {
                if self.moved_bytes <= MOVED_BYTES
                    && self.scan.selection.document(key).is_some()
                    && self.moved.insert(key.to_vec())
                {
                    self.moved_bytes += key.len();
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// Looks up some of those that were written since the scan began. If there are too many, or the disk has
    /// one, the scan goes on to where the log ends now, and comes across them there.
    fn find_moved(&mut self, shard: &Shard) {
        let at = ScanPosition { operation: 0, ..self.keys.position() };
        let mut goes_on = self.moved_bytes > MOVED_BYTES;
        let mut bytes = 0;
        for _ in 0..MOVED_PER_STEP {
            if goes_on || bytes > MOVED_BYTES_PER_STEP {
                break;
            }
            let Some(key) = self.moved.pop_first() else { break };
            let wait = match shard.find(&key, self.view) {
                Found::Missing { wait } => wait,
                Found::Here { value, expiry_ms, revision, wait } => {
                    bytes += value.len();
                    if self.take(LiveKey { key: &key, value, expiry_ms, revision, at }).is_break() {
                        self.moved.insert(key);
                        break;
                    }
                    wait
                }
                Found::OnDisk { wait, .. } => {
                    goes_on = true;
                    wait
                }
            };
            self.wait = self.wait.max(wait);
        }
        if goes_on {
            self.moved.clear();
            self.moved_bytes = 0;
            self.keys.go_on(shard);
        }
    }

    fn take(&mut self, live: LiveKey<'_>) -> ControlFlow<()> {
        let Some(key) = self.scan.selection.document(live.key) else { return ControlFlow::Continue(()) };
        if live.expiry_ms != 0 && live.expiry_ms <= self.wall_ms {
            return ControlFlow::Continue(());
        }
        match self.scan.task {
            Task::Tail => ControlFlow::Continue(()),
            Task::Count => {
                self.counted += 1;
                ControlFlow::Continue(())
            }
            Task::Truncate => {
                if self.doomed.len() == REMOVED_PER_STEP || self.doomed_bytes > REMOVED_BYTES_PER_STEP {
                    return ControlFlow::Break(());
                }
                self.doomed_bytes += live.key.len();
                self.doomed.push(live.key.to_vec());
                ControlFlow::Continue(())
            }
            Task::Page { limit, items, count, .. } => {
                let body = match items {
                    Items::Documents => match Body::from_stored(live.value) {
                        Some(body) => Some(body),
                        None => return ControlFlow::Continue(()),
                    },
                    Items::Keys | Items::Ids | Items::Paths => None,
                };
                self.counted += 1;
                if self.full {
                    return ControlFlow::Continue(());
                }
                if self.page.items.len() == limit || self.page_bytes >= PAGE_BYTES {
                    self.full = true;
                    self.page.next = Some(live.at);
                    return if count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
                }
                self.page_bytes += key.len() + body.as_ref().map_or(0, |body| body.bytes().len());
                let key = key.to_owned();
                self.page.items.push(Item { at: live.at, key, revision: live.revision, body });
                ControlFlow::Continue(())
            }
        }
    }

    fn remove(&mut self, shard: &mut Shard, wall_ms: u64) -> ScanStep {
        assert!(self.doomed.len() <= REMOVED_PER_STEP, "a step removes no more than it may");
        let ops: Vec<Op<'_>> = self.doomed.iter().map(|key| Op::Delete { key }).collect();
        match shard.append(&ops, wall_ms) {
            Ok(end) => {
                self.wrote_upto = Some(end);
                self.counted += self.doomed.len() as u64;
                self.doomed.clear();
                self.doomed_bytes = 0;
                ScanStep::Again
            }
            Err(AppendError::DiskFull) => {
                let refused = ScanFailure::Refused(Failure::DiskFull);
                self.end(Done::ScanFailed(refused))
            }
            Err(
                AppendError::BufferFull
                | AppendError::Busy
                | AppendError::NoSegment
                | AppendError::Rewinding
                | AppendError::NotLeading
                | AppendError::OldEpoch { .. },
            ) => ScanStep::NoRoom,
            Err(
                error @ (AppendError::ValueTooLarge { .. }
                | AppendError::KeyTooLarge { .. }
                | AppendError::BatchTooLarge { .. }),
            ) => unreachable!("a bounded batch of deletes: {error}"),
        }
    }

    fn finish(&mut self) -> ScanStep {
        let done = match self.scan.task {
            Task::Count => Done::Count(self.counted),
            Task::Truncate => Done::Truncated(self.counted),
            Task::Page { count, limit, .. } => {
                let mut page = std::mem::replace(
                    &mut self.page,
                    ListingPage { items: Vec::new(), next: None, count: None },
                );
                assert!(page.items.len() <= limit, "a page is longer than was asked for");
                assert!(page.items.len() as u64 <= self.counted, "what is listed was counted");
                page.count = count.then_some(self.counted);
                Done::Page(page)
            }
            Task::Tail => unreachable!("dealt with in `step`"),
        };
        self.end(done)
    }

    fn end(&mut self, done: Done) -> ScanStep {
        ScanStep::Done { done, read_upto: self.keys.wait().max(self.wait), wrote_upto: self.wrote_upto }
    }
}

impl Selection {
    /// The document's key, if this key of the store is one of the selected documents'.
    fn document<'k>(&self, store_key: &'k [u8]) -> Option<&'k str> {
        let key = match self {
            Selection::Collection { database, collection } => {
                store_key.strip_prefix(names::prefix(database, collection).as_slice())?
            }
            Selection::Database(database) => {
                let rest = store_key.strip_prefix(database.as_bytes())?.strip_prefix(b"/")?;
                let slash = rest.iter().position(|b| *b == b'/')?;
                &rest[slash + 1..]
            }
        };
        let text = std::str::from_utf8(key).ok()?;
        names::is_key(key).then_some(text)
    }
}
