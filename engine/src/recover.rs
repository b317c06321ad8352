//! Opening a shard from what is on its disk (rules 12 and 20).
//!
//! Sealed segments are read by their footers, the others frame by frame (`scan`). The log ends at the first
//! place where no valid frame stands. That is a torn tail unless something shows that the place had been
//! durable: the pulse says so, or a valid frame stands further on than anything that can have been in flight
//! at once. Then the shard is *damaged*: it comes up with the part before, saves the part after, and does not
//! lead until it is repaired.

use crate::cache::ValueCache;
use crate::disk::LogStorage;
use crate::error::{RecoverError, SegmentFault, Unreadable};
use crate::flights::Flights;
use crate::history::EpochHistory;
use crate::ids::{Epoch, Lsn, SegmentId};
use crate::key::KeyHasher;
use crate::keys::Keys;
use crate::limits::{BLOCK, MAX_BYTES_IN_FLIGHT, OWED_FOOTER_BYTES, block_floor};
use crate::log::LogBuffer;
use crate::memory::{AlignedBlocks, MirrorBuffer};
use crate::mutants::{Mutant, lacks};
use crate::pending::Overlay;
use crate::pulse::Pulse;
use crate::rewind_plan::Rewind;
pub use crate::scan::RecoveryProgress;
use crate::scan::{Scanned, Scanner};
use crate::segment::{DATA_START, FOOTER_ENTRY_BYTES, FooterEntry, HeaderBlock, Location, SegmentHeader};
use crate::segments::{FOOTER_PENDING, FileState, FooterState, LiveSegment, Segments, Spare};
use crate::shard::{Shard, ShardOptions};
use std::collections::VecDeque;

/// A segment file with its header.
struct Headed {
    id: SegmentId,
    header: SegmentHeader,
}

/// The files sorted out by their headers.
struct Found {
    /// By base.
    headed: Vec<Headed>,
    blank: Vec<SegmentId>,
    unreadable: Vec<SegmentId>,
}

/// Opens the shard that `storage` holds; an empty one if it holds nothing.
///
/// The shard's first operations may tidy away files that the log does not reach ([`Shard::rewinding`]). Besides the
/// index and what is not known to be committed, it holds a fixed amount of memory: one segment's list of
/// operations, and [`OWED_FOOTER_BYTES`].
///
/// # Errors
/// The options do not fit together, the files belong to something else, or reading failed. Damage to the log
/// is no error.
pub fn recover(
    options: &ShardOptions,
    buffer: MirrorBuffer,
    storage: &dyn LogStorage,
) -> Result<Shard, RecoverError> {
    recover_telling(options, buffer, storage, &mut |_| ())
}

/// As [`recover`]; `tell` is called after each read, so that whoever waits for it can tell long from stuck.
///
/// # Errors
/// As of [`recover`].
pub fn recover_telling(
    options: &ShardOptions,
    buffer: MirrorBuffer,
    storage: &dyn LogStorage,
    tell: &mut dyn FnMut(RecoveryProgress),
) -> Result<Shard, RecoverError> {
    options.check(buffer.capacity())?;
    let failed = |what| move |source| RecoverError::Read { what, source };
    let pulse = storage.pulse().map_err(failed(Unreadable::Pulse))?;
    let pulse = pulse.and_then(|block| Pulse::from_block(block.as_slice())).unwrap_or_default();
    let ids = storage.segments().map_err(failed(Unreadable::Directory))?;
    let mut scanner = Scanner::new(options, storage, ids.len(), tell);
    let found = sort_out(options, &mut scanner, &ids)?;

    let mut chain = Chain::new(options, pulse.committed);
    let mut orphans = found.unreadable;
    let mut strays = Vec::new();
    for headed in found.headed {
        if chain.takes(&headed) {
            chain.scan(&headed, &mut scanner)?;
        } else {
            strays.push(headed);
        }
        scanner.pass();
    }
    let end = chain.end;
    let repair_until = evidence(&mut scanner, &chain, &strays, &pulse)?;
    // Nothing is left to be saved where an earlier opening has seen to it.
    let rest = chain.live.back().filter(|segment| segment.end.is_none() && repair_until.is_some());
    let rest = rest.map(|segment| (segment.id, segment.offset_of(end)));
    let blank = rest.map(|(id, offset)| scanner.blank_from(id, offset)).transpose()?;
    let save_rest = blank == Some(false);
    orphans.extend(strays.iter().rev().map(|stray| stray.id));
    let last_live = chain.live.back().map(|segment| segment.id);
    let (spares, passed): (Vec<_>, Vec<_>) = found.blank.into_iter().partition(|&id| Some(id) > last_live);
    orphans.extend(passed);

    let next_id = ids.iter().max().map_or(SegmentId(0), |id| SegmentId(id.0 + 1));
    let epoch = chain.history.entries().last().copied().unwrap_or_default();
    let segments = with_current(chain.live, spares, next_id, (end, epoch));
    let block = last_block(&mut scanner, &segments, end)?;

    let committed = pulse.committed.min(end);
    let tidies = !orphans.is_empty() || save_rest;
    let rewind = tidies.then(|| Rewind::new(end, chain.wall_ms, orphans, repair_until.is_some()));
    Ok(Shard {
        options: options.clone(),
        hasher: KeyHasher::new(options.group),
        buffer: LogBuffer::new(buffer, end, block.as_slice()),
        segments,
        history: chain.history,
        overlay: chain.overlay,
        keys: chain.keys,
        cache: ValueCache::new(options.cache_bytes),
        end,
        durable: end,
        committed,
        applied: committed,
        opened_at: end,
        hold: None,
        leading: false,
        flights: Flights::new(end),
        growing: None,
        landing: None,
        rewind,
        mending: None,
        repair_until: repair_until.map_or(Lsn(0), |(_, until)| until),
        repair_epoch: repair_until.map_or(Epoch(0), |(epoch, _)| epoch),
    })
}

/// The log's segments and the spares, and one that takes the next frame.
fn with_current(
    live: VecDeque<LiveSegment>,
    spares: Vec<SegmentId>,
    next_id: SegmentId,
    (end, epoch): (Lsn, (Epoch, Lsn)),
) -> Segments {
    let spares = spares.into_iter().map(|id| Spare { id, file: FileState::Ready }).collect();
    let mut segments = Segments::new(live, spares, next_id);
    if segments.live.back().is_none_or(|segment| segment.end.is_some()) {
        segments.open_next(end, epoch);
    }
    segments
}

fn sort_out(
    options: &ShardOptions,
    scanner: &mut Scanner<'_>,
    ids: &[SegmentId],
) -> Result<Found, RecoverError> {
    let mut found = Found { headed: Vec::new(), blank: Vec::new(), unreadable: Vec::new() };
    for &id in ids {
        let refuse = |why| Err(RecoverError::Segment { segment: id, why });
        match SegmentHeader::from_block(scanner.read(id, 0, BLOCK)?) {
            // Rule 20: a file whose header was lost still holds frames and a footer, and must not be filled anew.
            HeaderBlock::Blank if scanner.blank_from(id, 0)? => {
                found.blank.push(id);
                scanner.pass();
            }
            HeaderBlock::Blank | HeaderBlock::Damaged => {
                found.unreadable.push(id);
                scanner.pass();
            }
            HeaderBlock::Version(version) => return refuse(SegmentFault::Version(version)),
            HeaderBlock::Valid(header) if header.group != options.group => {
                return refuse(SegmentFault::Group { found: header.group, expected: options.group });
            }
            HeaderBlock::Valid(header) if header.shard != options.shard || header.segment != id => {
                return refuse(SegmentFault::Name { segment: header.segment, shard: header.shard });
            }
            HeaderBlock::Valid(header) if header.segment_bytes != options.segment_bytes => {
                let (found, expected) = (header.segment_bytes, options.segment_bytes);
                return refuse(SegmentFault::HeaderSize { found, expected });
            }
            HeaderBlock::Valid(header) => found.headed.push(Headed { id, header }),
        }
    }
    found.headed.sort_by_key(|headed| (headed.header.base, headed.id));
    found.blank.sort();
    found.unreadable.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

/// The segments that follow one another from the log's beginning, and what their operations say about the keys.
struct Chain<'a> {
    options: &'a ShardOptions,
    /// Operations up to here go into the index, the others into the overlay.
    committed: Lsn,
    live: VecDeque<LiveSegment>,
    history: EpochHistory,
    keys: Keys,
    overlay: Overlay,
    /// Kept for footers that are missing, in bytes.
    owed: usize,
    end: Lsn,
    wall_ms: u64,
}

impl<'a> Chain<'a> {
    fn new(options: &'a ShardOptions, committed: Lsn) -> Chain<'a> {
        Chain {
            options,
            committed,
            live: VecDeque::new(),
            history: EpochHistory::new(),
            keys: Keys::new(),
            overlay: Overlay::new(),
            owed: 0,
            end: Lsn(0),
            wall_ms: 0,
        }
    }

    fn last_epoch(&self) -> Epoch {
        self.history.last_epoch()
    }

    /// Does this segment continue the log?
    fn takes(&self, next: &Headed) -> bool {
        let follows = match self.live.back() {
            Some(last) => last.end == Some(next.header.base) && last.id < next.id,
            None => next.header.base == Lsn(0),
        };
        follows && next.header.epoch == self.last_epoch()
    }

    /// Goes through the segment, which continues the log.
    fn scan(&mut self, headed: &Headed, scanner: &mut Scanner<'_>) -> Result<(), RecoverError> {
        let (id, base, last) = (headed.id, headed.header.base, self.last_epoch());
        let scanned = scanner.segment(id, base, last, self.committed, |entry| self.apply(id, base, entry))?;
        self.add(headed, scanned);
        Ok(())
    }

    /// Brings an operation into the index, or, if it is not known to be committed, into the overlay. They come in
    /// the order of the log, so that the highest (epoch, LSN) wins.
    fn apply(&mut self, id: SegmentId, base: Lsn, entry: &FooterEntry) {
        let lsn = base.advance(entry.data_offset());
        let end = lsn.advance(entry.frame_len());
        let location = Location::of_frame(id, DATA_START + entry.data_offset(), entry.frame_len());
        let (hash, slot) = (entry.hash.get(), entry.slot.get() as u16);
        if end <= self.committed {
            self.keys.apply(hash, location, slot, entry.is_put());
        } else {
            self.overlay.push(hash, location, lsn, end, slot, entry.is_put());
        }
    }

    fn add(&mut self, headed: &Headed, mut scanned: Scanned) {
        for &(epoch, start) in &scanned.epochs {
            self.history.begin(epoch, start);
        }
        self.end = scanned.end;
        self.wall_ms = self.wall_ms.max(scanned.wall_ms);
        assert!(
            scanned.end.0 - headed.header.base.0 <= self.options.segment_bytes,
            "frames lie inside files"
        );
        let footer = self.footer_of(&scanned);
        if footer == FooterState::Left {
            scanned.entries = Vec::new();
        }
        self.live.push_back(LiveSegment {
            id: headed.id,
            base: headed.header.base,
            end: scanned.sealed.then_some(scanned.end),
            epoch: (headed.header.epoch, headed.header.epoch_start),
            file: FileState::Ready,
            headed: true,
            footer,
            entry_count: scanned.entry_count,
            entries: scanned.entries,
            epochs: scanned.epochs,
        });
    }

    /// How far the footer of a segment with these contents is.
    fn footer_of(&mut self, scanned: &Scanned) -> FooterState {
        let bytes = scanned.entry_count * FOOTER_ENTRY_BYTES;
        let settled = scanned.sealed && scanned.end <= self.committed;
        if scanned.by_footer {
            FooterState::Written
        } else if settled && self.owed + bytes > OWED_FOOTER_BYTES {
            FooterState::Left
        } else {
            self.owed += if settled { bytes } else { 0 };
            FOOTER_PENDING
        }
    }
}

/// Up to where the log is known to have been durable, if that is beyond its recovered end, and the epoch that it had
/// there or further on.
fn evidence(
    scanner: &mut Scanner<'_>,
    chain: &Chain<'_>,
    strays: &[Headed],
    pulse: &Pulse,
) -> Result<Option<(Epoch, Lsn)>, RecoverError> {
    let (mut until, mut epoch) = (pulse.durable, pulse.epoch);
    if pulse.repair_until > until {
        (until, epoch) = (pulse.repair_until, pulse.repair_epoch);
    }
    let tail = chain.live.back().filter(|segment| segment.end.is_none());
    // A frame this far on cannot have been in flight together with what is missing at the end: that is the
    // frame's header, or, where the header is there, something up to the frame's end.
    let begun = match tail {
        Some(segment) => scanner.begun_frame_len(segment.id, segment.base, chain.end)?,
        None => 0,
    };
    let beyond = chain.end.advance(begun + MAX_BYTES_IN_FLIGHT);
    let rest_of_tail = tail.map(|segment| (segment.id, segment.base));
    for (id, base) in rest_of_tail.into_iter().chain(strays.iter().map(|stray| (stray.id, stray.header.base)))
    {
        if let Some((at, seen)) = scanner.find_frame(id, base, beyond.max(base))? {
            let least = Lsn(at.0 - MAX_BYTES_IN_FLIGHT + 1);
            if least > until {
                (until, epoch) = (least, seen);
            }
        }
    }
    if lacks(Mutant::TornTailAlways) {
        return Ok(None);
    }
    Ok((until > chain.end).then_some((epoch, until)))
}

/// The log from the last block boundary to its end: the next write begins there.
fn last_block(
    scanner: &mut Scanner<'_>,
    segments: &Segments,
    end: Lsn,
) -> Result<AlignedBlocks, RecoverError> {
    let mut block = AlignedBlocks::zeroed(BLOCK as usize);
    let segment = segments.current();
    let offset = segment.offset_of(end);
    if offset > block_floor(offset) && offset > DATA_START {
        block.as_mut_slice().copy_from_slice(scanner.read(segment.id, block_floor(offset), BLOCK)?);
    }
    Ok(block)
}
