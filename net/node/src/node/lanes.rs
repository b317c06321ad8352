//! Errands that came here, in the lanes of their connections: how far each is, and what it still waits for.

use super::access::Fetched;
use super::clients::Needs;
use super::shares::{MANY_BYTES, MANY_RESULTS};
use crate::mail::{Errand, Refusal, Report, Served, Work};
use crate::seam::ConnId;
use agency::ids::Nanos;
use engine::ids::ShardId;
use faces::documents::{Done, ScanJob};
use faces::http::Response;
use faces::resp::Ack;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The errands of one connection of one shard.
pub(super) type Lane = (ShardId, ConnId);

/// What came of an errand, to be thrown away.
pub(super) type Spent = (Vec<Done>, Option<Box<ScanJob>>);
/// What of errands takes long to free.
pub(super) type Waste = (Work, Vec<Spent>);

/// Why an errand does not go on.
pub(super) enum Await {
    /// Nothing: it is to go on.
    Turn,
    Parked {
        since: Nanos,
    },
    /// Values from the disk; if none is outstanding, to go on with these.
    Reads {
        outstanding: usize,
        fetched: Vec<Fetched>,
    },
    /// Blocks for its scan.
    Blocks,
    /// Carried out; its report waits for what it depends on.
    Needs,
}

/// An errand that came here.
pub(super) struct Running {
    pub(super) id: u64,
    pub(super) errand: Errand,
    pub(super) state: Await,
    pub(super) done: Vec<Done>,
    pub(super) done_bytes: usize,
    pub(super) scan: Option<Box<ScanJob>>,
    /// What was done before it began anew, kept until somebody has the time to free it.
    pub(super) earlier: Vec<Spent>,
    pub(super) edited: Option<Response>,
    pub(super) outdated: bool,
    pub(super) rest: Option<Refusal>,
    pub(super) needs: Needs,
    pub(super) stale: bool,
    /// The metadata that all shards of the node must have.
    pub(super) version: u64,
}

impl Running {
    pub(super) fn new(id: u64, errand: Errand) -> Running {
        let needs = Needs::at(errand.ack);
        Running {
            id,
            errand,
            state: Await::Turn,
            done: Vec::new(),
            done_bytes: 0,
            scan: None,
            earlier: Vec::new(),
            edited: None,
            outdated: false,
            rest: None,
            needs,
            stale: false,
            version: 0,
        }
    }

    pub(super) fn refuse(&mut self, why: Refusal) {
        self.rest = Some(why);
        self.scan = None;
        self.state = Await::Needs;
    }

    /// Begins anew; nothing was written. It gets a new number, so that what is still being read for it goes
    /// nowhere.
    pub(super) fn restart(&mut self, id: u64) {
        self.id = id;
        if self.is_heavy() {
            self.earlier.push((std::mem::take(&mut self.done), self.scan.take()));
        }
        self.done.clear();
        self.done_bytes = 0;
        self.errand.answer.set(0);
        self.scan = None;
        self.edited = None;
        self.outdated = false;
        self.rest = None;
        self.stale = false;
        self.needs = Needs::at(self.errand.ack);
        self.state = Await::Turn;
    }

    /// Whether freeing it takes long.
    fn is_heavy(&self) -> bool {
        let ops = match &self.errand.work {
            Work::Documents(ops) => ops.len(),
            Work::Scan(_) | Work::Confirm { .. } | Work::Edit(_) => 0,
        };
        ops > MANY_RESULTS || self.errand.answer.bytes() > MANY_BYTES || !self.earlier.is_empty()
    }

    /// What would take long to free, taken out of it.
    pub(super) fn strip(&mut self, waste: &mut Vec<Waste>) {
        if self.is_heavy() {
            let work = std::mem::replace(&mut self.errand.work, Work::Confirm { version: 0 });
            let last = (std::mem::take(&mut self.done), self.scan.take());
            self.earlier.push(last);
            waste.push((work, std::mem::take(&mut self.earlier)));
        }
    }

    pub(super) fn report(mut self, epoch: u64, lag: Option<Nanos>, waste: &mut Vec<Waste>) -> Report {
        match (self.edited.take(), self.rest.take()) {
            (Some(answer), _) => Report::Edited(Box::new(answer)),
            (None, _) if self.outdated => Report::Outdated,
            (None, Some(refusal)) if self.done.is_empty() => {
                self.strip(waste);
                Report::Refused(refusal)
            }
            (None, rest) => {
                if !self.earlier.is_empty() {
                    waste.push((Work::Confirm { version: 0 }, self.earlier));
                }
                let (done, stale) = (self.done, self.stale);
                let spent = match self.errand.work {
                    Work::Documents(ops) => ops,
                    Work::Scan(_) | Work::Confirm { .. } | Work::Edit(_) => Vec::new(),
                };
                let answer = self.errand.answer;
                Report::Done(Box::new(Served { done, spent, rest, epoch, lag, stale, answer }))
            }
        }
    }
}

/// All errands of a shard.
#[derive(Default)]
pub(super) struct Errands {
    pub(super) lanes: BTreeMap<Lane, VecDeque<Running>>,
    /// Lanes that hold something, in the order in which they get their turn, and some that held something.
    pub(super) order: VecDeque<Lane>,
    /// What is in `order`.
    pub(super) listed: BTreeSet<Lane>,
    /// Steps left in this turn.
    pub(super) steps: usize,
    /// Those of them that scans may take.
    pub(super) scan_steps: usize,
    /// Something is left to be done at once.
    pub(super) hungry: bool,
}

impl Errands {
    /// Whether the report of every errand that was carried out has left.
    pub(super) fn all_reported(&self) -> bool {
        !self.lanes.values().flatten().any(|running| matches!(running.state, Await::Needs))
    }

    /// Whether any report depends on receipts rather than on durability.
    pub(super) fn waits_for_receipts(&self) -> bool {
        self.lanes.values().flatten().any(|running| running.needs.level == Ack::Received)
    }

    /// Gives a lane its turn after all others, unless it waits for one already.
    pub(super) fn list(&mut self, lane: Lane) {
        if self.listed.insert(lane) {
            self.order.push_back(lane);
        }
    }

    /// Drops those that `lost` says so of, and returns where a report of that is due.
    pub(super) fn take_out(
        &mut self,
        waste: &mut Vec<Waste>,
        mut lost: impl FnMut(&mut Running) -> bool,
    ) -> Vec<(Lane, u64)> {
        let mut out = Vec::new();
        self.lanes.retain(|lane, queue| {
            queue.retain_mut(|running| {
                let is_lost = lost(running);
                if is_lost {
                    running.strip(waste);
                    out.push((*lane, running.errand.ticket));
                }
                !is_lost
            });
            !queue.is_empty()
        });
        out
    }
}
