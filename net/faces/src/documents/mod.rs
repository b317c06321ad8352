//! ArangoDB's documents over the store: what a request means, what it does to a key, what is answered. Pure.
//!
//! Promises: the answers of `docs/DOCUMENTS.md`, status, headers and body. A document `c/k` of the database
//! `_system` is the key `c/k`, of another database `db` the key `db/c/k`; the value is the JSON object without
//! `_id`, `_key` and `_rev`; the revision follows from the frame that holds it. No I/O, no clock, no
//! randomness of its own. Does not decide who serves a key, nor who may: the node does.
//!
//! The path of a request: [`plan()`] (request to [`Plan`]) → the node carries the plan out, by [`execute()`] on
//! the shard that owns the key, by a [`ScanJob`] on every shard, or by [`change()`] on the shard that keeps the
//! metadata → [`conclude`] (what was done, to the next plan, mostly a [`Plan::Reply`]).
//!
//! Reading order: `names`, `metadata`, `op`, `work`, `plan`, `body`, `once`, `execute`, `scan`, `change`, `render`,
//! `lists`, `answer`; `failure` lists every error.

mod answer;
mod body;
mod change;
mod cursor;
mod execute;
mod failure;
mod lists;
mod metadata;
mod names;
mod once;
mod op;
mod plan;
mod render;
mod scan;
mod work;

#[cfg(test)]
mod tests;

pub use body::{Body, Merge};
pub use change::{Changed, CollectionSettings, MetadataChange, change, edit, with_users};
pub use cursor::Cursor;
pub use execute::{OpOutcome, execute};
pub use failure::Failure;
pub use metadata::{Collection, Database, KeyGenerator, METADATA_KEY, Metadata, MetadataError, SYSTEM};
pub use once::IDEMPOTENCY_KEY;
pub use op::{
    Action, Done, Effect, Expect, Item, Items, ListingPage, OnExisting, Once, Op, Returns, Scan, ScanFailure,
    Selection, Task, Written,
};
pub use plan::{database_of, databases_of, is_not_mine, plan};
pub use render::conclude;
pub use scan::{ScanJob, ScanStep};
pub use work::{Batch, BatchKind, ImportRender, ListingRender, Plan, Render, ScanBatch};
