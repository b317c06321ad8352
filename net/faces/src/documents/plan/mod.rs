//! From a request to what has to be done: every row of the table in `docs/DOCUMENTS.md`.
//!
//! Promises: one [`Plan`] for any request whatever, from the request, the metadata and the arguments alone. What
//! is wrong with a request is answered here, before anything is done.

mod collections;
mod databases;
mod documents;
mod elements;
mod flags;
mod handle;
mod import;
mod listings;
mod unsupported;

use super::failure::Failure;
use super::metadata::{Collection, Metadata, SYSTEM};
use super::names;
use super::once::{IDEMPOTENCY_KEY, MAX_ONCE_BYTES, is_once};
use super::op::{Done, Once, Op, Scan, Selection, Task};
use super::render::conclude;
use super::work::{Batch, Plan, Render, ScanBatch};
use crate::http::{Method, Request};
pub use databases::databases_of;
use engine::ids::GroupId;
use engine::key::KeyHasher;
use engine::slot::slot_of;
use flags::Flags;
use serde_json::{Map, Value};

/// Most documents of one request, bad ones included.
const MAX_OPS: usize = 100_000;

/// How a request is planned: a plan, or the failure that is its answer.
type Planned = Result<Plan, Failure>;

/// The database that a path names (`_system` if none) and the segments of the rest; `None` if it is not text.
pub fn database_of(request: &Request) -> Option<(String, Vec<String>)> {
    let mut segments = request.segments()?;
    if segments.first().is_some_and(|first| first == "_db") && segments.len() >= 2 {
        let rest = segments.split_off(2);
        return Some((segments.swap_remove(1), rest));
    }
    Some((SYSTEM.to_owned(), segments))
}

/// What has to be done for a request. `seed` is random, for the keys of documents that come without;
/// `wall_ms` is wall time, for those keys' order.
pub fn plan(request: &Request, metadata: &Metadata, seed: u64, wall_ms: u64) -> Plan {
    let planned = Planner::of(request, metadata, seed, wall_ms).and_then(|planner| planner.plan());
    planned.unwrap_or_else(|failure| Plan::Reply(failure.response()))
}

/// A request with what is known about it.
struct Planner<'a> {
    request: &'a Request,
    metadata: &'a Metadata,
    database: String,
    segments: Vec<String>,
    flags: Flags,
    /// The idempotency key and the request's hash.
    once: Option<Once>,
    seed: u64,
    wall_ms: u64,
}

impl<'a> Planner<'a> {
    fn of(
        request: &'a Request,
        metadata: &'a Metadata,
        seed: u64,
        wall_ms: u64,
    ) -> Result<Planner<'a>, Failure> {
        let not_text = || Failure::UnknownPath(request.path.clone());
        let (database, segments) = database_of(request).ok_or_else(not_text)?;
        let flags = Flags::of(request);
        Ok(Planner { request, metadata, database, segments, flags, once: None, seed, wall_ms })
    }

    fn plan(mut self) -> Planned {
        let segments = self.segments.clone();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        if !self.metadata.databases.contains_key(&self.database) {
            return Err(Failure::NoDatabase);
        }
        match path.as_slice() {
            ["_api", "document", rest @ ..] => {
                self.once = once(self.request)?;
                self.documents(rest)
            }
            ["_api", "import"] => {
                self.once = once(self.request)?;
                self.import()
            }
            ["_api", "collection", rest @ ..] => self.collections(rest),
            ["_api", "database", rest @ ..] => self.databases(rest),
            ["_api", "baton", "increment", name, key] => {
                self.once = once(self.request)?;
                self.increment(name, key)
            }
            ["_api", "simple", what] => {
                self.once = once(self.request)?;
                self.simple(what)
            }
            ["_api", "cursor", rest @ ..] => self.cursors(rest),
            ["_api", "index", rest @ ..] => self.indexes(rest),
            _ => match unsupported::instead(&path) {
                Some(text) => Err(Failure::NotImplemented(text)),
                None if is_not_mine(&path) => Ok(Plan::NotMine),
                None => Err(Failure::UnknownPath(self.request.path.clone())),
            },
        }
    }

    fn method(&self) -> &Method {
        &self.request.method
    }

    fn is_get(&self) -> bool {
        matches!(self.method(), Method::Get | Method::Head)
    }

    /// The body as JSON.
    fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.request.body).map_err(|error| Failure::CorruptJson(error.to_string()))
    }

    /// Whether the body is meant as an array.
    fn is_array(&self) -> bool {
        self.request.body.trim_ascii_start().starts_with(b"[")
    }

    /// The elements of the body, which must be an array.
    fn elements(&self) -> Result<Vec<Value>, Failure> {
        elements::elements(&self.request.body)
    }

    /// The body as a JSON object; an empty body is an empty one.
    fn object(&self) -> Result<Map<String, Value>, Failure> {
        if self.request.body.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        match self.json()? {
            Value::Object(object) => Ok(object),
            _ => Err(Failure::BadParameter("expecting a JSON object in the body".to_owned())),
        }
    }

    fn collection(&self, name: &str) -> Result<&'a Collection, Failure> {
        let found = self.metadata.collection(&self.database, name);
        found.ok_or_else(|| Failure::NoCollection(name.to_owned()))
    }

    fn store_key(&self, collection: &str, key: &str) -> Vec<u8> {
        names::store_key(&self.database, collection, key)
    }

    fn waits(&self, collection: &Collection) -> bool {
        self.flags.wait_for_sync || collection.wait_for_sync
    }

    fn scan(&self, collection: &str, task: Task, render: Render) -> Plan {
        let selection =
            Selection::Collection { database: self.database.clone(), collection: collection.to_owned() };
        scan(selection, task, self.flags.wait_for_sync, render)
    }
}

/// The same scan on every shard.
fn scan(selection: Selection, task: Task, wait_for_sync: bool, render: Render) -> Plan {
    let write = task == Task::Truncate;
    Plan::EveryShard(ScanBatch { write, wait_for_sync, scan: Scan { selection, task }, render })
}

/// A plan of these operations. If there are none, all is known already.
fn batch(write: bool, wait_for_sync: bool, ops: Vec<Op>, render: Render) -> Planned {
    if ops.len() > MAX_OPS {
        return Err(Failure::TooMany { limit: MAX_OPS });
    }
    if ops.is_empty() {
        return Ok(conclude(render, Vec::<Done>::new(), true));
    }
    let ops = ops.into_iter().map(|op| (slot_of(&op.store_key), op)).collect();
    Ok(Plan::Documents(Batch { write, wait_for_sync, ops, render }))
}

/// Whether a path without its database is about the node, the group and its users.
pub fn is_not_mine(path: &[&str]) -> bool {
    const API: [&str; 8] = ["version", "engine", "cluster", "replication", "wal", "user", "token", "baton"];
    match path {
        [] | [""] | ["_admin" | "_open", ..] => true,
        ["_api", what, ..] => API.contains(what),
        _ => false,
    }
}

/// The request's idempotency key.
fn once(request: &Request) -> Result<Option<Once>, Failure> {
    let Some(key) = request.headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    if !is_once(key) {
        return Err(Failure::BadOnce { limit: MAX_ONCE_BYTES });
    }
    let mut all = Vec::with_capacity(request.body.len() + request.path.len() + 64);
    for part in [request.method.as_str(), &request.path] {
        all.extend_from_slice(part.as_bytes());
        all.push(0);
    }
    for (name, value) in &request.query {
        all.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    all.extend_from_slice(&request.body);
    Ok(Some(Once { key: key.to_owned(), request: hash(&all) }))
}

/// A hash that is the same on every node and in every version.
fn hash(bytes: &[u8]) -> u128 {
    KeyHasher::new(GroupId(0)).hash(bytes)
}
