//! From what was done to what is answered, or to what is to be done next.
//!
//! Promises: exactly one [`Plan`] for each [`Render`], from the results in the order of the operations, or of
//! the shards. Status 201 (200 for removals) says that a write is durable, 202 that it is not yet.

use super::answer::{raw, success};
use super::body::push_identity;
use super::failure::Failure;
use super::lists::{found, page, removed};
use super::names;
use super::op::{Done, Effect, ScanFailure, Written};
use super::work::{BatchKind, ImportRender, Plan, Render};
use crate::http::Response;
use engine::ids::Revision;
use serde_json::json;
use std::collections::BTreeMap;

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

fn scan_failure(done: &Done) -> Option<Response> {
    let Done::ScanFailed(failure) = done else { return None };
    Some(match failure {
        ScanFailure::BadCursor => Failure::CursorNotFound.response(),
        ScanFailure::Refused(failure) => failure.response(),
        ScanFailure::Unreadable(_) => Failure::Unreadable(failure.to_string()).response(),
    })
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
    kind: BatchKind,
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
    assert!(done.next().is_none(), "a result without its operation");
    body.push(b']');
    let all_fine = codes.0.is_empty();
    let status = if kind == BatchKind::Read { 200 } else { write_status(kind == BatchKind::Remove, durable) };
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
    assert!(done.next().is_none(), "a result without its operation");
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
