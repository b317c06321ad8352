//! What has to be done for a request, and how the results become its answer.
//!
//! Plain data, made by `plan` and by `render`; the node carries it out and does not look into how it is answered.

use super::change::MetadataChange;
use super::cursor::Cursor;
use super::failure::Failure;
use super::op::{Op, Scan};
use crate::auth::api;
use crate::http::Response;
use serde_json::Value;

/// What has to be done for a request.
#[derive(Debug)]
pub enum Plan {
    /// Nothing more: this is the answer.
    Reply(Response),
    /// Each operation on the shard that owns its slot, in order; then [`conclude`](super::conclude).
    Documents(Batch),
    /// The same scan on every shard; then [`conclude`](super::conclude) with the results in the order of the
    /// shards.
    EveryShard(ScanBatch),
    /// [`change`](super::change()) on shard 0's leader; then its answer.
    Metadata(MetadataChange),
    /// The same with new users, whose passwords are hashed before; all of it or nothing.
    WithUsers { users: Vec<api::UserChange>, change: MetadataChange },
    /// Not about documents: administration, authentication, replication.
    NotMine,
}

impl Plan {
    /// Whether carrying it out changes no data.
    pub fn reads(&self) -> bool {
        match self {
            Plan::Reply(_) => true,
            Plan::Documents(batch) => !batch.write,
            Plan::EveryShard(batch) => !batch.write,
            Plan::Metadata(_) | Plan::WithUsers { .. } | Plan::NotMine => false,
        }
    }
}

/// Operations for one answer; there is at least one.
#[derive(Debug)]
pub struct Batch {
    pub write: bool,
    /// The client asked for a durable write, whatever the node's default is.
    pub wait_for_sync: bool,
    /// Each with the slot of its key.
    pub ops: Vec<(u16, Op)>,
    pub render: Render,
}

/// One scan for one answer.
#[derive(Debug)]
pub struct ScanBatch {
    pub write: bool,
    pub wait_for_sync: bool,
    pub scan: Scan,
    pub render: Render,
}

/// How the results become an answer.
#[derive(Debug)]
pub enum Render {
    /// Of one document.
    One { database: String, collection: String, silent: bool },
    /// Of an array of documents: failures known from the start at their places, results at the others.
    Many { collection: String, silent: bool, kind: BatchKind, known: Vec<Option<Failure>> },
    /// Of an import.
    Import(ImportRender),
    /// Go on with this if all of these keys are free.
    IfNoneExists(Box<Plan>),
    /// Go on with this if the scan was carried out.
    Then(Box<Plan>),
    /// Of `lookup-by-keys`.
    Found { collection: String },
    /// Of `remove-by-keys`.
    Removed { collection: String, returns_old: bool },
    /// A count, in this answer.
    Count(Value),
    /// A revision, in this answer.
    Revision(Value),
    /// This answer, if the scan was carried out.
    Fixed(Value),
    /// A page of a listing.
    Listing(Box<ListingRender>),
}

impl Render {
    /// How many documents it is about, besides those that were operated on: what a look at each would cost.
    pub fn entries(&self) -> usize {
        match self {
            Render::Many { known, .. } => known.len(),
            Render::Import(import) => import.known.len(),
            Render::IfNoneExists(next) | Render::Then(next) => match next.as_ref() {
                Plan::Documents(batch) => batch.ops.len().max(batch.render.entries()),
                _ => 0,
            },
            _ => 0,
        }
    }
}

/// What the operations of an array are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    Read,
    Write,
    Remove,
}

/// How the results of an import become its answer.
#[derive(Debug)]
pub struct ImportRender {
    pub complete: bool,
    pub details: bool,
    pub empty: u64,
    /// By line, from 1 on: failures known from the start; the others are of the operations.
    pub known: Vec<Option<Failure>>,
}

/// How the pages of the shards become one.
#[derive(Debug)]
pub struct ListingRender {
    pub database: String,
    pub cursor: Cursor,
    /// Documents to be left out at the beginning.
    pub skip: usize,
    /// Whether this is the first page.
    pub first: bool,
    /// Whether this scan counts.
    pub counts: bool,
    /// What an earlier scan for the same page counted.
    pub total: Option<u64>,
    /// The client cannot go on with a second page.
    pub whole: bool,
}
