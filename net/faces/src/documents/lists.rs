//! Answers that list documents: by their keys, or page by page.

use super::answer::raw;
use super::cursor::Cursor;
use super::failure::Failure;
use super::op::{Done, Item, Items, Scan, Selection, Task};
use super::work::{ListingRender, Plan, Render, ScanBatch};
use crate::http::Response;
use engine::key_scan::ScanPosition;
use serde_json::json;

const PAGES: &str = "this driver cannot follow the pages of a listing that does not fit into one: use arangojs 8.5 \
    or later, python-arango or python-arango-async, or skip and limit";

impl ListingRender {
    /// The scan whose results this is for.
    pub(super) fn scan(self) -> Plan {
        let ListingRender { cursor, skip, counts, .. } = &self;
        let room = cursor.left.map_or(cursor.batch, |left| left.min(cursor.batch as u64) as usize);
        let task = Task::Page {
            shard: cursor.shard,
            from: cursor.from,
            limit: skip + room,
            items: cursor.items,
            count: *counts,
        };
        let (database, collection) = (self.database.clone(), cursor.collection.clone());
        let scan = Scan { selection: Selection::Collection { database, collection }, task };
        let render = Render::Listing(Box::new(self));
        Plan::EveryShard(ScanBatch { write: false, wait_for_sync: false, scan, render })
    }
}

/// Put the parts between `start` and the end of an object.
fn object_with(start: &str, parts: Vec<Vec<u8>>, end: &str) -> Vec<u8> {
    let mut body = start.as_bytes().to_vec();
    body.extend_from_slice(&parts.join(b",".as_slice()));
    body.extend_from_slice(end.as_bytes());
    body
}

/// The documents that are there. What else is under a key, or nothing, is left out; any other failure is the
/// answer, because one that could not be read is there.
pub(super) fn found(collection: &str, done: Vec<Done>) -> Response {
    let mut documents = Vec::new();
    for done in done {
        match done {
            Done::Read { key, revision, body } => {
                let mut out = Vec::new();
                body.push_document(collection, &key, revision, &mut out);
                documents.push(out);
            }
            Done::Failed { failure: Failure::NotFound | Failure::NotADocument, .. } => {}
            Done::Failed { failure, .. } => return failure.response(),
            other => unreachable!("a lookup does not end as {other:?}"),
        }
    }
    raw(200, object_with("{\"documents\":[", documents, "],\"error\":false,\"code\":200}"))
}

/// How many were removed, and how many were not there. Any other failure is the answer.
pub(super) fn removed(collection: &str, returns_old: bool, done: Vec<Done>) -> Response {
    let (mut removed, mut ignored, mut old) = (0, 0, Vec::new());
    for done in done {
        match done {
            Done::Written(written) => {
                removed += 1;
                if let (Some(body), Some(revision)) = (&written.old, written.old_revision) {
                    let mut out = Vec::new();
                    body.push_document(collection, &written.key, revision, &mut out);
                    old.push(out);
                }
            }
            Done::Failed { failure: Failure::NotFound, .. } => ignored += 1,
            Done::Failed { failure, .. } => return failure.response(),
            other => unreachable!("a removal does not end as {other:?}"),
        }
    }
    let end = format!("\"removed\":{removed},\"ignored\":{ignored},\"error\":false,\"code\":200}}");
    match returns_old {
        true => raw(200, object_with("{\"old\":[", old, &format!("],{end}"))),
        false => raw(200, format!("{{{end}").into_bytes()),
    }
}

/// The page; or the scan for it goes on, if all that it has brought so far is to be skipped: drivers cannot bear an
/// empty page that is not the last.
pub(super) fn page(listing: ListingRender, done: Vec<Done>) -> Plan {
    let ListingRender { database, cursor, mut skip, first, counts, total: counted, whole } = listing;
    let asked = skip;
    let mut room = cursor.left.map_or(cursor.batch, |left| (cursor.batch as u64).min(left) as usize);
    let mut left = cursor.left;
    let mut parts = Vec::new();
    let mut next: Option<(u16, ScanPosition)> = None;
    let mut total = if counts { Some(0) } else { counted };
    for (shard, done) in (0u16..).zip(done) {
        let Done::Page(page) = done else { unreachable!("a page is no {done:?}") };
        if counts {
            total = total.map(|total| total + page.count.unwrap_or(0));
        }
        for item in page.items {
            if next.is_some() {
                break;
            }
            if skip > 0 {
                skip -= 1;
            } else if room == 0 {
                next = Some((shard, item.at));
            } else {
                room -= 1;
                left = left.map(|left| left - 1);
                parts.push(shown(&database, &cursor, item));
            }
        }
        next = next.or(page.next.map(|at| (shard, at)));
    }
    assert!(parts.len() <= cursor.batch, "a page is longer than it may be");
    let more = next.filter(|_| left != Some(0));
    if let Some(counted) = total {
        // From here on the total is without what is skipped.
        total = Some(counted.saturating_sub((asked - skip) as u64));
    }
    if let (1.., Some((shard, from))) = (skip, more) {
        let cursor = Cursor { shard, from, ..cursor };
        return ListingRender { database, cursor, skip, first, counts: false, total, whole }.scan();
    }
    if whole && more.is_some() {
        return Plan::Reply(Failure::NotImplemented(PAGES).response());
    }
    let count = match (first, total) {
        (true, Some(rest)) => Some(cursor.left.map_or(rest, |left| left.min(rest))),
        _ => cursor.count,
    };
    let mut tail = json!({ "hasMore": more.is_some(), "cached": false, "error": false });
    tail["code"] = if first { 201.into() } else { 200.into() };
    if let Some(count) = count {
        tail["count"] = count.into();
    }
    if let Some((shard, from)) = more {
        let name = Cursor { shard, from, left, count, ..cursor }.encode();
        // Some drivers go on with the newest name, some with the first one and this.
        tail["nextBatchId"] = name.as_str().into();
        tail["id"] = name.into();
    }
    let tail = tail.to_string();
    let status = if first { 201 } else { 200 };
    Plan::Reply(raw(status, object_with("{\"result\":[", parts, &format!("],{}", &tail[1..]))))
}

fn shown(database: &str, cursor: &Cursor, item: Item) -> Vec<u8> {
    let (collection, key) = (&cursor.collection, &item.key);
    match cursor.items {
        Items::Keys => format!("\"{key}\"").into_bytes(),
        Items::Ids => format!("\"{collection}/{key}\"").into_bytes(),
        Items::Paths => format!("\"/_db/{database}/_api/document/{collection}/{key}\"").into_bytes(),
        Items::Documents => {
            let mut out = Vec::new();
            let body = item.body.expect("documents were asked for");
            body.push_document(collection, key, item.revision, &mut out);
            out
        }
    }
}
