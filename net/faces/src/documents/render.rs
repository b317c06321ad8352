//! From what was done to what is answered, or to what is to be done next.
//!
//! Promises: exactly one [`Plan`] for each [`Render`], from the results in the order of the operations, or of
//! the shards. Status 201 (200 for removals) says that a write is durable, 202 that it is not yet.

use super::body::push_identity;
use super::failure::Failure;
use super::lists::{ListingRender, found, page, removed};
use super::metadata::{Collection, KeyGenerator};
use super::names;
use super::op::{Done, Effect, Plan, ScanFailure, Written};
use crate::http::Response;
use engine::ids::Revision;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How the results become an answer.
#[derive(Debug)]
pub enum Render {
    /// Of one document.
    One { database: String, collection: String, silent: bool },
    /// Of an array of documents: failures known from the start at their places, results at the others.
    Many { collection: String, silent: bool, kind: Kind, known: Vec<Option<Failure>> },
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
pub enum Kind {
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

/// From what was done to what is answered, or to be done next. `durable`: the writes were acknowledged by all
/// nodes that must hold them.
pub fn conclude(render: Render, done: Vec<Done>, durable: bool) -> Plan {
    if let Some(failure) = done.iter().find_map(scan_failure) {
        return Plan::Reply(failure);
    }
    let response = match render {
        Render::One { database, collection, silent } => {
            let [done] = <[Done; 1]>::try_from(done).expect("one operation has one result");
            one(&database, &collection, silent, done, durable)
        }
        Render::Many { collection, silent, kind, known } => {
            many(&collection, silent, kind, known, done, durable)
        }
        Render::Import(import) => imported(import, done),
        Render::IfNoneExists(next) => {
            let refused = done.into_iter().find_map(|done| match done {
                Done::Failed { failure, .. } => Some(failure).filter(|failure| *failure != Failure::NotFound),
                other => unreachable!("a look does not end as {other:?}"),
            });
            match refused {
                None => return *next,
                Some(failure) => failure.response(),
            }
        }
        Render::Then(next) => return *next,
        Render::Found { collection } => found(&collection, done),
        Render::Removed { collection, returns_old } => removed(&collection, returns_old, done),
        Render::Count(mut answer) => {
            answer["count"] = done.iter().map(count).sum::<u64>().into();
            success(200, answer)
        }
        Render::Revision(mut answer) => {
            let ends = done.iter().map(|done| match done {
                Done::Tail(revision) => names::revision(*revision),
                other => unreachable!("the end of a log is no {other:?}"),
            });
            answer["revision"] = ends.collect::<Vec<_>>().join("_").into();
            success(200, answer)
        }
        Render::Fixed(answer) => success(200, answer),
        Render::Listing(listing) => return page(*listing, done),
    };
    Plan::Reply(response)
}

/// A JSON object as an answer.
pub(super) fn success(status: u16, mut body: Value) -> Response {
    body["error"] = false.into();
    body["code"] = status.into();
    Response::json(status, &body)
}

/// What a list of collections says of each.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'c> {
    id: String,
    name: &'c str,
    status: u8,
    r#type: u8,
    is_system: bool,
    globally_unique_id: String,
}

impl Summary<'_> {
    fn of<'c>(name: &'c str, collection: &Collection) -> Summary<'c> {
        let (id, is_system) = (collection.id.to_string(), collection.system);
        let globally_unique_id = format!("baton/{id}");
        Summary { id, name, status: 3, r#type: 2, is_system, globally_unique_id }
    }
}

pub(super) fn summary(name: &str, collection: &Collection) -> Value {
    serde_json::to_value(Summary::of(name, collection)).expect("a summary is plain data")
}

/// A list of collections. There may be thousands: their text is made at once.
pub(super) fn summaries<'c>(all: impl Iterator<Item = (&'c String, &'c Collection)>) -> Response {
    #[derive(Serialize)]
    struct Summaries<'c> {
        result: Vec<Summary<'c>>,
        error: bool,
        code: u16,
    }
    let result = all.map(|(name, collection)| Summary::of(name, collection)).collect();
    Response::json(200, &Summaries { result, error: false, code: 200 })
}

/// All that is told of a collection.
pub(super) fn properties(name: &str, collection: &Collection) -> Value {
    let generator = match collection.generator {
        KeyGenerator::Traditional => "traditional",
        KeyGenerator::Padded => "padded",
        KeyGenerator::Uuid => "uuid",
    };
    let mut all = summary(name, collection);
    all["statusString"] = "loaded".into();
    all["waitForSync"] = collection.wait_for_sync.into();
    all["keyOptions"] = json!({ "type": generator, "allowUserKeys": collection.user_keys });
    all["cacheEnabled"] = false.into();
    all["syncByRevision"] = false.into();
    all["schema"] = Value::Null;
    all["computedValues"] = Value::Null;
    all
}

fn scan_failure(done: &Done) -> Option<Response> {
    let Done::ScanFailed(failure) = done else { return None };
    Some(match failure {
        ScanFailure::BadCursor => Failure::CursorNotFound.response(),
        ScanFailure::Refused(failure) => failure.response(),
        ScanFailure::Unreadable(_) => Failure::Unreadable(failure.to_string()).response(),
    })
}

pub(super) fn raw(status: u16, body: Vec<u8>) -> Response {
    let mut response = Response::json(status, &Value::Null);
    response.body = body;
    response
}

fn etag(response: &mut Response, revision: Revision) {
    response.headers.push(("Etag", format!("\"{}\"", names::revision(revision))));
}

fn one(database: &str, collection: &str, silent: bool, done: Done, durable: bool) -> Response {
    let mut body = Vec::new();
    match done {
        Done::Read { key, revision, body: document } => {
            document.push_document(collection, &key, revision, &mut body);
            let mut response = raw(200, body);
            etag(&mut response, revision);
            response
        }
        Done::NotModified { revision } => {
            let mut response = raw(304, body);
            etag(&mut response, revision);
            response
        }
        Done::Failed { key, failure: failure @ Failure::Conflict(revision) } => {
            let (status, number) = failure.codes();
            let id = format!("{collection}/{key}");
            let mut response = Response::json(
                status,
                &json!({
                    "error": true, "code": status, "errorNum": number, "errorMessage": failure.to_string(),
                    "_id": id, "_key": key, "_rev": names::revision(revision),
                }),
            );
            etag(&mut response, revision);
            response
        }
        Done::Failed { failure, .. } => failure.response(),
        Done::Written(written) => {
            if silent {
                body.extend_from_slice(b"{}");
            } else {
                push_written(collection, &written, &mut body);
            }
            let mut response = raw(write_status(written.effect == Effect::Removed, durable), body);
            etag(&mut response, written.revision);
            if written.effect != Effect::Removed {
                let location = format!("/_db/{database}/_api/document/{collection}/{}", written.key);
                response.headers.push(("Location", location));
            }
            if written.replayed {
                response.headers.push(("Idempotent-Replayed", "true".to_owned()));
            }
            response
        }
        other => unreachable!("an operation on a document does not end as {other:?}"),
    }
}

fn write_status(removal: bool, durable: bool) -> u16 {
    match (removal, durable) {
        (_, false) => 202,
        (true, true) => 200,
        (false, true) => 201,
    }
}

fn push_written(collection: &str, written: &Written, out: &mut Vec<u8>) {
    let Written { key, revision, old_revision, new, old, value, .. } = written;
    push_identity(collection, key, *revision, out);
    if let Some(old) = old_revision.filter(|_| written.effect != Effect::Removed) {
        out.extend_from_slice(format!(",\"_oldRev\":\"{}\"", names::revision(old)).as_bytes());
    }
    if let Some(value) = value {
        out.extend_from_slice(format!(",\"value\":{value}").as_bytes());
    }
    if let Some(new) = new {
        out.extend_from_slice(b",\"new\":");
        new.push_document(collection, key, *revision, out);
    }
    if let (Some(old), Some(revision)) = (old, old_revision) {
        out.extend_from_slice(b",\"old\":");
        old.push_document(collection, key, *revision, out);
    }
    out.push(b'}');
}

/// How often each error occurs, for the header that tells it.
#[derive(Default)]
struct ErrorCodes(BTreeMap<u32, u64>);

impl ErrorCodes {
    /// Append the entry of an array for a failure, which never has an `_id`.
    fn push(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        let (_, number) = failure.codes();
        *self.0.entry(number).or_default() += 1;
        let message = serde_json::to_string(&failure.to_string()).expect("a text has a JSON text");
        let entry = format!("{{\"error\":true,\"errorNum\":{number},\"errorMessage\":{message}}}");
        out.extend_from_slice(entry.as_bytes());
    }

    fn header(self, response: &mut Response) {
        if !self.0.is_empty() {
            let counts = serde_json::to_string(&self.0).expect("numbers by numbers");
            response.headers.push(("X-Arango-Error-Codes", counts));
        }
    }
}

fn many(
    collection: &str,
    silent: bool,
    kind: Kind,
    known: Vec<Option<Failure>>,
    done: Vec<Done>,
    durable: bool,
) -> Response {
    let mut body = vec![b'['];
    let mut codes = ErrorCodes::default();
    let mut done = done.into_iter();
    for known in known {
        let before = body.len();
        match known.map_or_else(|| done.next().expect("one result for each operation"), failed) {
            Done::Failed { failure, .. } => codes.push(&failure, &mut body),
            Done::Written(_) if silent => continue,
            Done::Written(written) => push_written(collection, &written, &mut body),
            Done::Read { key, revision, body: document } => {
                document.push_document(collection, &key, revision, &mut body);
            }
            other => unreachable!("an operation on a document does not end as {other:?}"),
        }
        if before > 1 {
            body.insert(before, b',');
        }
    }
    body.push(b']');
    let all_fine = codes.0.is_empty();
    let status = if kind == Kind::Read { 200 } else { write_status(kind == Kind::Remove, durable) };
    let mut response = if silent && all_fine { raw(status, b"{}".to_vec()) } else { raw(status, body) };
    codes.header(&mut response);
    response
}

fn failed(failure: Failure) -> Done {
    Done::Failed { key: String::new(), failure }
}

fn imported(import: ImportRender, done: Vec<Done>) -> Response {
    let (mut created, mut updated, mut ignored) = (0u64, 0u64, 0u64);
    let mut errors = Vec::new();
    let mut done = done.into_iter();
    for (line, known) in (1..).zip(import.known) {
        match known.map_or_else(|| done.next().expect("one result for each operation"), failed) {
            Done::Failed { failure, .. } => errors.push((line, failure)),
            Done::Written(written) => match written.effect {
                Effect::Created => created += 1,
                Effect::Ignored => ignored += 1,
                Effect::Replaced | Effect::Updated | Effect::Removed => updated += 1,
            },
            other => unreachable!("an imported document does not end as {other:?}"),
        }
    }
    if let Some((_, failure)) = errors.first().filter(|_| import.complete) {
        let (_, number) = failure.codes();
        return Response::error(409, number, &failure.to_string());
    }
    let mut answer = json!({
        "created": created, "errors": errors.len(), "empty": import.empty, "updated": updated,
        "ignored": ignored,
    });
    if import.details {
        let told = errors.iter().map(|(line, failure)| format!("at position {line}: {failure}"));
        answer["details"] = told.collect::<Vec<_>>().into();
    }
    success(201, answer)
}

fn count(done: &Done) -> u64 {
    match done {
        Done::Count(count) => *count,
        other => unreachable!("a count is no {other:?}"),
    }
}
