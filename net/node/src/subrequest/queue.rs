//! Sub-requests that came here, in the lanes of their connections: how far each is, and what it still waits for.

use super::share::{MANY_BYTES, MANY_RESULTS};
use super::{NotServed, Report, Served, SubRequest, Work};
use crate::ids::{ConnId, Lane};
use crate::serving::Needs;
use crate::store::ValueRead;
use agency::ids::Nanos;
use faces::documents::{Done, Failure, ScanJob};
use faces::http::Response;
use faces::resp::Ack;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What came of a sub-request, to be thrown away.
pub(crate) type Spent = (Vec<Done>, Option<Box<ScanJob>>);
/// What of sub-requests takes long to free.
pub(crate) type Waste = (Work, Vec<Spent>);

/// Most bytes of documents that the sub-requests of one request bring back; what is asked for beyond is refused.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// And of the sub-requests of one that writes, while answers are crowded: what it has begun, it goes on with.
const CROWDED_ANSWER_BYTES: usize = 1 << 20;
/// Whether the next operation may still bring something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Fits,
    /// The answers of all connections are too many, and nothing was written for this one.
    Crowded,
    /// This answer is too large.
    TooLarge,
}

/// Why a sub-request does not go on.
pub(crate) enum Await {
    /// Nothing: it is to go on.
    Turn,
    Parked {
        since: Nanos,
    },
    /// Values from the disk; if none is outstanding, to go on with these.
    Reads {
        outstanding: usize,
        fetched: Vec<ValueRead>,
    },
    /// Blocks for its scan.
    Blocks,
    /// Carried out; its report waits for what it depends on.
    Needs,
}

/// A sub-request that came here.
pub(crate) struct Running {
    pub(super) id: u64,
    pub(super) subrequest: SubRequest,
    pub(super) state: Await,
    pub(super) done: Vec<Done>,
    /// Bytes of documents in `done`.
    pub(super) done_bytes: usize,
    pub(super) scan: Option<Box<ScanJob>>,
    /// What was done before it began anew, kept until somebody has the time to free it.
    pub(super) earlier: Vec<Spent>,
    pub(super) edited: Option<Response>,
    pub(super) outdated: bool,
    pub(super) rest: Option<NotServed>,
    pub(super) needs: Needs,
    pub(super) stale: bool,
    /// The metadata that all shards of the node must have.
    pub(super) version: u64,
}

impl Running {
    pub(super) fn new(id: u64, subrequest: SubRequest) -> Running {
        let needs = Needs::at(subrequest.ack);
        Running {
            id,
            subrequest,
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

    pub(super) fn refuse(&mut self, why: NotServed) {
        self.rest = Some(why);
        self.scan = None;
        self.state = Await::Needs;
    }

    /// Whether nothing of it was carried out yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.done.is_empty() && self.scan.is_none() && self.edited.is_none()
    }

    /// Whether there is something left of its operations, or its change.
    pub(super) fn has_more(&self) -> bool {
        match &self.subrequest.work {
            Work::Documents(ops) => self.done.len() < ops.len(),
            Work::Edit(_) => self.edited.is_none(),
            Work::Scan(_) | Work::Confirm { .. } => false,
        }
    }

    /// What its answer weighs, as one of `shards` shards that bring something back.
    pub(super) fn weigh(&self, shards: u16) -> Weight {
        if !matches!(self.subrequest.work, Work::Documents(_)) {
            return Weight::Fits;
        }
        let crowded = self.subrequest.answer.is_full();
        if crowded && !self.subrequest.write {
            return Weight::Crowded;
        }
        let room = if crowded { CROWDED_ANSWER_BYTES } else { MAX_ANSWER_BYTES };
        if self.done_bytes > room / usize::from(shards) { Weight::TooLarge } else { Weight::Fits }
    }

    /// The next operation was carried out.
    pub(super) fn note(&mut self, done: Done) {
        let bytes = done.bytes();
        self.done_bytes += bytes;
        self.subrequest.answer.add(bytes + size_of::<Done>());
        self.done.push(done);
    }

    /// The next operation is not carried out, because its answer would be too large.
    pub(super) fn answer_is_too_large(&mut self) {
        let Work::Documents(ops) = &self.subrequest.work else { return };
        let key = ops[self.done.len()].key.clone();
        self.done.push(Done::Failed { key, failure: Failure::AnswerTooLarge });
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
        self.subrequest.answer.set(0);
        self.scan = None;
        self.edited = None;
        self.outdated = false;
        self.rest = None;
        self.stale = false;
        self.needs = Needs::at(self.subrequest.ack);
        self.state = Await::Turn;
    }

    /// Whether freeing it takes long.
    fn is_heavy(&self) -> bool {
        let ops = match &self.subrequest.work {
            Work::Documents(ops) => ops.len(),
            Work::Scan(_) | Work::Confirm { .. } | Work::Edit(_) => 0,
        };
        ops > MANY_RESULTS || self.subrequest.answer.bytes() > MANY_BYTES || !self.earlier.is_empty()
    }

    /// What would take long to free, taken out of it.
    pub(super) fn strip(&mut self, waste: &mut Vec<Waste>) {
        if self.is_heavy() {
            let work = std::mem::replace(&mut self.subrequest.work, Work::Confirm { version: 0 });
            let last = (std::mem::take(&mut self.done), self.scan.take());
            self.earlier.push(last);
            waste.push((work, std::mem::take(&mut self.earlier)));
        }
    }

    pub(super) fn report(mut self, epoch: u64, lag: Option<Duration>, waste: &mut Vec<Waste>) -> Report {
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
                let spent = match self.subrequest.work {
                    Work::Documents(ops) => ops,
                    Work::Scan(_) | Work::Confirm { .. } | Work::Edit(_) => Vec::new(),
                };
                let answer = self.subrequest.answer;
                Report::Done(Box::new(Served { done, spent, rest, epoch, lag, stale, answer }))
            }
        }
    }
}

/// All sub-requests of a shard.
#[derive(Default)]
pub(crate) struct SubRequests {
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
    /// Reports for connections of this shard, for the node to hand over.
    pub(super) reports: VecDeque<(ConnId, u64, Option<Report>)>,
}

impl SubRequests {
    /// Whether the report of every sub-request that was carried out has left.
    pub fn all_reported(&self) -> bool {
        !self.lanes.values().flatten().any(|running| matches!(running.state, Await::Needs))
    }

    /// Whether any report depends on receipts rather than on durability.
    pub fn waits_for_receipts(&self) -> bool {
        self.lanes.values().flatten().any(|running| running.needs.level == Ack::Received)
    }

    /// Gives a lane its turn after all others, unless it waits for one already.
    pub(super) fn list(&mut self, lane: Lane) {
        if self.listed.insert(lane) {
            self.order.push_back(lane);
        }
    }

    /// What must hold whenever a turn ends: see `Node::invariants`.
    pub fn invariants(&self) {
        assert!(self.reports.is_empty(), "a report was not handed over");
        assert_eq!(self.order.len(), self.listed.len(), "lanes are listed twice");
        debug_assert!(self.lanes.keys().all(|lane| self.listed.contains(lane)), "a lane gets no turn");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer_budget::AnswerBudget;
    use engine::ids::{Revision, ShardId};
    use faces::documents::Body;

    #[test]
    fn the_bytes_of_an_answer_count_once() {
        let budget = AnswerBudget::default();
        let subrequest = SubRequest {
            from: ShardId(0),
            conn: ConnId(1),
            ticket: 1,
            work: Work::Documents(Vec::new()),
            write: false,
            stale: None,
            ack: Ack::Durable,
            answer: budget.open(),
            arrived: Nanos(0),
        };
        let mut running = Running::new(1, subrequest);
        let text = format!("{{\"text\":\"{}\"}}", "x".repeat(5000));
        let body = Body::from_map(&serde_json::from_str(&text).expect("it is an object"));
        let done = Done::Read { key: "k".into(), revision: Revision::default(), body };
        let bytes = done.bytes();
        assert!(bytes >= 5000);
        running.note(done);
        assert_eq!(running.done_bytes, bytes);
        assert_eq!(running.subrequest.answer.bytes(), bytes + size_of::<Done>());
        running.done_bytes = MAX_ANSWER_BYTES / 2;
        assert_eq!(running.weigh(2), Weight::Fits);
        running.done_bytes += 1;
        assert_eq!(running.weigh(2), Weight::TooLarge);
    }
}
