//! What travels to the shards and back: operations, scans, and what became of them.
//!
//! Plain data; all of it is `Send`, so that it can go to the shard thread that owns a key and back.

use super::body::{Body, Merge};
use super::failure::Failure;
use engine::ids::{Lsn, Revision};
use engine::key_scan::ScanPosition;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// One operation on one document.
#[derive(Clone, Debug)]
pub struct Op {
    /// The key of the store.
    pub store_key: Vec<u8>,
    /// The document's own key.
    pub key: String,
    pub action: Action,
    pub returns: Returns,
    /// Do it once, however often it comes.
    pub once: Option<Once>,
}

/// What to do with the document.
#[derive(Clone, Debug)]
pub enum Action {
    Read {
        expect: Expect,
    },
    /// Whether an insert finds the key taken (`KeyExists`) or free (`NotFound`). It is free, too, if this very
    /// request has written there before.
    Look,
    Insert {
        body: Body,
        existing: OnExisting,
        expect: Expect,
    },
    Replace {
        body: Body,
        expect: Expect,
    },
    Update {
        patch: Body,
        merge: Merge,
        expect: Expect,
    },
    Remove {
        expect: Expect,
    },
    /// Add to a number. `create`: a document that does not exist is made, a number that is not there is 0.
    Increment {
        attribute: String,
        by: Number,
        create: bool,
    },
}

/// What an insert does when the key exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExisting {
    Fail,
    /// Leave the document alone and call it success.
    Ignore,
    Replace,
    Update(Merge),
}

/// Which revision the document must, or must not, have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    /// `If-Match`, or `_rev` with `ignoreRevs=false`.
    Is(String),
    /// `If-None-Match`, for reads.
    IsNot(String),
}

/// Which bodies the answer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    pub new: bool,
    pub old: bool,
}

/// An idempotency key for one operation, and a hash of the request it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    pub key: String,
    pub request: u128,
}

/// What became of one operation, or of a scan on one shard.
#[derive(Debug)]
pub enum Done {
    Read {
        key: String,
        revision: Revision,
        body: Body,
    },
    /// The document has the revision that the client knows already.
    NotModified {
        revision: Revision,
    },
    Written(Written),
    Failed {
        key: String,
        failure: Failure,
    },
    Count(u64),
    /// How many documents were removed.
    Truncated(u64),
    Page(ListingPage),
    /// Where the shard's log ends.
    Tail(Revision),
    ScanFailed(ScanFailure),
}

impl Done {
    /// Bytes of the documents in it.
    pub fn bytes(&self) -> usize {
        let of = |body: &Option<Body>| body.as_ref().map_or(0, |body| body.bytes().len());
        match self {
            Done::Read { body, .. } => body.bytes().len(),
            Done::Written(written) => of(&written.new) + of(&written.old),
            Done::Page(page) => page.items.iter().map(|item| item.key.len() + of(&item.body)).sum(),
            _ => 0,
        }
    }
}

/// What a write did.
#[derive(Debug)]
pub struct Written {
    pub key: String,
    pub effect: Effect,
    /// The document's revision now; of a removed document, its last.
    pub revision: Revision,
    pub old_revision: Option<Revision>,
    pub new: Option<Body>,
    pub old: Option<Body>,
    /// What the number is after an increment.
    pub value: Option<Number>,
    /// It had been done before, with this idempotency key.
    pub replayed: bool,
}

/// What happened to the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Created,
    Replaced,
    Updated,
    /// It existed and was left alone.
    Ignored,
    Removed,
}

/// What a scan looks for, and what it does with what it finds.
#[derive(Clone, Debug)]
pub struct Scan {
    pub selection: Selection,
    pub task: Task,
}

/// Which documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    Collection {
        database: String,
        collection: String,
    },
    /// All of a database but `_system`.
    Database(String),
}

/// What a scan does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Count,
    Truncate,
    /// Up to `limit` documents from a place on: of shard `shard` from `from` on, of later shards from their
    /// beginning, of earlier ones none. With `count`, goes on to the end to count them all.
    Page {
        shard: u16,
        from: ScanPosition,
        limit: usize,
        items: Items,
        count: bool,
    },
    /// Where the log ends; looks at nothing.
    Tail,
}

/// What a listing shows of each document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Items {
    /// `k`
    Keys,
    /// `c/k`
    Ids,
    /// `/_db/db/_api/document/c/k`
    Paths,
    Documents,
}

/// A stretch of a listing on one shard.
#[derive(Debug)]
pub struct ListingPage {
    pub items: Vec<Item>,
    /// Where the first document that follows is, if there is one.
    pub next: Option<ScanPosition>,
    /// All documents of the shard, if they were counted.
    pub count: Option<u64>,
}

/// One document of a listing.
#[derive(Debug)]
pub struct Item {
    pub at: ScanPosition,
    pub key: String,
    pub revision: Revision,
    /// If documents were asked for; a value that is no document is left out of such a listing.
    pub body: Option<Body>,
}

/// Why a scan came to no end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanFailure {
    /// No frame begins where the cursor points: it is not from this group.
    #[error("the cursor does not belong to this log")]
    BadCursor,
    #[error("the log cannot be read at LSN {0}")]
    Unreadable(Lsn),
    #[error("{0}")]
    Refused(Failure),
}
