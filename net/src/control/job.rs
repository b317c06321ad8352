//! What the shard threads ask of the control threads, and what they are told.

use crate::auth::Claim;
use crate::auth::api::{Change, Sealed};
use crate::documents::{Metadata, MetadataChange, Render};
use crate::http::{Request, Response};
use crate::node::shares::{Results, Wanted};
use crate::status::Status;
use std::sync::Arc;

/// Something that is not for a shard thread: it waits, looks at the whole node, or computes for long.
#[derive(Debug)]
pub enum Job {
    /// The group as this node sees it.
    Status,
    /// Give leadership away: of one shard or of all, to this member or to the best one. The texts are the
    /// client's. Answered when it has happened.
    HandOver { to: Option<String>, shard: Option<String> },
    /// Whether a password is right.
    Judge(Claim),
    /// Hash the passwords that changes of users set. `then` is what is changed together with them.
    Seal { users: Vec<Change>, then: Option<MetadataChange> },
    /// Plan a large request. `seed` and `wall_ms`: as for `documents::plan`.
    Plan { request: Box<Request>, metadata: Arc<Metadata>, seed: u64, wall_ms: u64 },
    /// Make the answer of many results.
    Conclude { render: Box<Render>, results: Results, durable: bool },
}

/// What came of it.
#[derive(Debug)]
pub enum JobDone {
    Status(Box<Status>),
    HandedOver(Box<Response>),
    Judged { claim: Claim, right: bool },
    Sealed { users: Vec<Sealed>, then: Option<MetadataChange> },
    Planned { request: Box<Request>, wanted: Box<Wanted> },
    Concluded(Box<Wanted>),
}
