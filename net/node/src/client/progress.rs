//! How far a long request is, and what it holds meanwhile.

use crate::part::{Part, len_of};
use crate::store::{FetchedValue, ValueRead};
use agency::ids::Nanos;
use engine::ids::Revision;
use faces::resp::{LongRequest, Slicing};

/// A request that is carried out in slices (`long`).
pub(super) struct Long {
    pub request: LongRequest,
    /// When it came.
    pub arrived: Nanos,
    pub progress: Progress,
}

/// How far it is.
pub(super) struct Progress {
    pub slicing: Slicing,
    pub phase: Phase,
    /// The argument that is next.
    pub next: usize,
    /// Keys that were counted.
    pub count: i64,
    /// Something of it was changed.
    pub wrote: bool,
    /// What was read from the disk for the keys before `ahead_to`.
    pub fetched: Vec<ValueRead>,
    pub ahead_to: usize,
    pub copied: Option<Copied>,
    pub restarts: usize,
    pub others: Option<Others>,
}

#[derive(Clone, Copy)]
pub(super) enum Phase {
    New,
    /// The slots of the keys so far: the first one's, and whether all are in one slot, or of one shard.
    Check {
        slot: Option<u16>,
        one_slot: bool,
        one_shard: bool,
    },
    /// On this shard.
    Here {
        slot: u16,
    },
    /// On other shards of this node, this one among them.
    Others,
}

/// A value that is copied in pieces.
pub(super) struct Copied {
    pub revision: Revision,
    /// Where it begins in the chunk's bytes, its header included.
    pub start: usize,
    pub done: usize,
}

/// A slice that was sent to the shards that own its keys.
pub(super) struct Others {
    pub first_ticket: u64,
    pub answers: Vec<Option<Vec<Part>>>,
    /// Which keys of the slice each of them was asked for.
    pub places: Vec<Vec<usize>>,
    pub to: usize,
}

impl Long {
    /// A request that came at `arrived`, with what was read from the disk for it already.
    pub fn new(request: LongRequest, arrived: Nanos, fetched: Vec<ValueRead>) -> Long {
        let ahead_to = if fetched.is_empty() { 0 } else { request.len() };
        let progress = Progress {
            slicing: Slicing::Whole,
            phase: Phase::New,
            next: 1,
            count: 0,
            wrote: false,
            fetched,
            ahead_to,
            copied: None,
            restarts: 0,
            others: None,
        };
        Long { request, arrived, progress }
    }

    /// How many bytes of the inbox are its own.
    pub fn request_bytes(&self) -> usize {
        self.request.bytes()
    }

    /// Memory that it holds besides, in bytes, without what others answered.
    pub fn held_bytes(&self) -> usize {
        let read = |read: &ValueRead| match &read.found {
            FetchedValue::Value { value, .. } => value.len(),
            FetchedValue::OtherKey | FetchedValue::Failed(_) => 0,
        };
        self.request.held_bytes() + self.progress.fetched.iter().map(read).sum::<usize>()
    }

    /// Bytes that other shards answered.
    pub fn gathered_bytes(&self) -> usize {
        let others = self.progress.others.iter().flat_map(|others| others.answers.iter().flatten());
        others.map(|parts| len_of(parts)).sum()
    }

    /// The place of another shard's answer, if it is one of this request.
    pub fn part_of(&mut self, ticket: u64) -> Option<&mut Option<Vec<Part>>> {
        let others = self.progress.others.as_mut()?;
        let at = ticket.checked_sub(others.first_ticket)?;
        others.answers.get_mut(at as usize)
    }

    /// Whether all shards that were asked have answered.
    pub fn others_answered(&self) -> bool {
        self.progress.others.as_ref().is_some_and(|others| others.answers.iter().all(Option::is_some))
    }

    /// Whether it changes what it names.
    pub fn writes(&self) -> bool {
        self.progress.slicing == Slicing::Delete
    }
}
