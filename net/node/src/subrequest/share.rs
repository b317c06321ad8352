//! What an HTTP request wants of each shard, and what the shards brought back: sorted out and put together.
//!
//! Pure, and free of the node, because a large request is sorted by the control threads.

use super::Served;
use crate::answer_budget::AnswerShare;
use crate::settings::Settings;
use engine::ids::ShardId;
use faces::documents::{Batch, Done, Failure, Op, Plan, Render, ScanBatch};

/// Results, and bytes in them, above which a shard thread does not put them together itself.
pub const MANY_RESULTS: usize = 512;
pub const MANY_BYTES: usize = 256 << 10;

/// The operations for one shard, with their places among all.
#[derive(Debug)]
pub struct Share {
    pub shard: ShardId,
    pub ops: Vec<Op>,
    pub order: Vec<usize>,
}

/// A plan with its operations sorted by shard.
#[derive(Debug)]
pub enum Wanted {
    Documents {
        write: bool,
        wait_for_sync: bool,
        render: Render,
        count: usize,
        shares: Vec<Share>,
    },
    /// Anything but [`Plan::Documents`].
    Other(Plan),
}

impl Wanted {
    pub fn of(plan: Plan, settings: &Settings) -> Wanted {
        let Plan::Documents(Batch { write, wait_for_sync, ops, render }) = plan else {
            return Wanted::Other(plan);
        };
        let count = ops.len();
        let mut shares: Vec<Share> = Vec::new();
        for (number, (slot, op)) in ops.into_iter().enumerate() {
            let shard = ShardId(settings.shard_of_slot(slot).0);
            let known = shares.iter().position(|share| share.shard == shard);
            let at = known.unwrap_or_else(|| {
                shares.push(Share { shard, ops: Vec::new(), order: Vec::new() });
                shares.len() - 1
            });
            shares[at].ops.push(op);
            shares[at].order.push(number);
        }
        Wanted::Documents { write, wait_for_sync, render, count, shares }
    }

    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        match self {
            Wanted::Documents { write, .. } | Wanted::Other(Plan::EveryShard(ScanBatch { write, .. })) => {
                *write
            }
            Wanted::Other(Plan::Metadata(_) | Plan::WithUsers { .. }) => true,
            Wanted::Other(Plan::Documents(_) | Plan::Reply(_) | Plan::NotMine) => false,
        }
    }
}

/// What the shards brought back for one request.
#[derive(Debug)]
pub struct Results {
    count: usize,
    parts: Vec<(Vec<usize>, Vec<Done>)>,
    /// Thrown away together with this.
    spent: Vec<Vec<Op>>,
    /// What they weigh.
    weights: Vec<AnswerShare>,
}

impl Results {
    /// None yet, of `count`.
    pub fn new(count: usize) -> Results {
        Results { count, parts: Vec::new(), spent: Vec::new(), weights: Vec::new() }
    }

    /// Those of one shard. Some at the end may be missing.
    pub fn add(&mut self, order: Vec<usize>, served: Served) {
        self.parts.push((order, served.done));
        self.spent.push(served.spent);
        self.weights.push(served.answer);
    }

    /// Whether they are results of scans, which mean nothing if one is missing.
    pub fn of_scans(&self) -> bool {
        self.spent.iter().all(Vec::is_empty)
    }

    /// Whether making what `render` says of them takes long.
    pub fn are_many(&self, render: &Render) -> bool {
        let bytes = || self.parts.iter().flat_map(|(_, done)| done).map(Done::bytes).sum::<usize>();
        self.count.max(render.entries()) > MANY_RESULTS || bytes() > MANY_BYTES
    }

    /// All in order; an operation that was not carried out has a result that says so.
    pub fn in_order(self) -> Vec<Done> {
        let mut all: Vec<Option<Done>> = Vec::new();
        all.resize_with(self.count, || None);
        for (order, done) in self.parts {
            for (at, done) in order.into_iter().zip(done) {
                all[at] = Some(done);
            }
        }
        let missing = || Done::Failed { key: String::new(), failure: Failure::NotLeader };
        all.into_iter().map(|done| done.unwrap_or_else(missing)).collect()
    }
}
