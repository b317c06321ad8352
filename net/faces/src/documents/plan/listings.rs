//! Listings of a collection: `/_api/simple/…`, and the cursors that their pages go on with.
//!
//! `POST /_api/cursor` is AQL, which Baton does not have. But the drivers' plain `all`, `keys` and `ids` are
//! sent as queries by some of them; [`plain_query`] knows these and no others.

use super::super::answer::success;
use super::super::cursor::{Cursor, DEFAULT_BATCH, MAX_BATCH};
use super::super::op::Items;
use super::super::work::ListingRender;
use super::super::work::Plan;
use super::handle::text;
use super::{Failure, Planned, Planner};
use crate::http::Method;
use engine::key_scan::ScanPosition;
use serde_json::{Map, Value, json};

/// Drivers that follow the pages of a listing, as they name themselves.
const PAGING_DRIVERS: [&str; 3] = ["arangojs/", "python-arango/", "arangoasync/"];
/// Most documents that a listing skips.
const MAX_SKIP: u64 = 10_000;

const AQL: &str = "Baton has no AQL: read documents by key (GET /_api/document/c/k, PUT /_api/document/c?onlyget), \
    list a collection with PUT /_api/simple/all or all-keys; of queries only `FOR d IN c LIMIT m, n RETURN d`, \
    `d._key` or `d._id` is understood";
const EXAMPLES: &str = "Baton does not search documents: read them by key (PUT /_api/simple/lookup-by-keys), or \
    list the collection (PUT /_api/simple/all)";

/// What is to be listed.
struct Listing {
    collection: String,
    items: Items,
    skip: u64,
    limit: Option<u64>,
    batch: usize,
    count: bool,
}

impl Planner<'_> {
    pub fn simple(&self, what: &str) -> Planned {
        if *self.method() != Method::Put {
            return Err(Failure::MethodNotAllowed);
        }
        match what {
            "lookup-by-keys" => self.by_keys(false),
            "remove-by-keys" => self.by_keys(true),
            "all" | "all-keys" => {
                let object = self.object()?;
                let collection = text(&object, "collection").or(self.request.parameter("collection"));
                let collection = collection.ok_or(Failure::CollectionMissing)?.to_owned();
                let items = match (what, text(&object, "type")) {
                    ("all", _) => Items::Documents,
                    (_, Some("id")) => Items::Ids,
                    (_, Some("key")) => Items::Keys,
                    (_, Some("path") | None) => Items::Paths,
                    (_, Some(other)) => {
                        let text = format!("type must be id, key or path, not {other:?}");
                        return Err(Failure::BadParameter(text));
                    }
                };
                let skip = number(&object, "skip")?.unwrap_or(0);
                let limit = number(&object, "limit")?;
                let batch = batch_size(&object)?;
                self.listing(Listing { collection, items, skip, limit, batch, count: true })
            }
            _ => Err(Failure::NotImplemented(EXAMPLES)),
        }
    }

    pub fn cursors(&self, path: &[&str]) -> Planned {
        match (path, self.method()) {
            ([], Method::Post) => {
                let object = self.object()?;
                let query = text(&object, "query").unwrap_or_default();
                let bound = object.get("bindVars").and_then(Value::as_object);
                let plain = plain_query(query, bound).ok_or(Failure::NotImplemented(AQL))?;
                let count = object.get("count").and_then(Value::as_bool).unwrap_or(false);
                self.listing(Listing { batch: batch_size(&object)?, count, ..plain })
            }
            // The last part says where the page begins: the cursor's own name, or `nextBatchId`.
            ([place] | [_, place], Method::Post | Method::Put) => self.next_page(place),
            ([id], Method::Delete) => {
                let cursor = Cursor::decode(id).ok_or(Failure::CursorNotFound)?;
                Ok(Plan::Reply(success(202, json!({ "id": cursor.encode() }))))
            }
            ([] | [_] | [_, _], _) => Err(Failure::MethodNotAllowed),
            _ => Err(Failure::UnknownPath(self.request.path.clone())),
        }
    }

    fn listing(&self, listing: Listing) -> Planned {
        let Listing { collection, items, skip, limit, batch, count } = listing;
        self.collection(&collection)?;
        if skip > MAX_SKIP {
            return Err(Failure::BadParameter(format!(
                "skip may be {MAX_SKIP}: go on with the cursor instead"
            )));
        }
        let from = ScanPosition::default();
        let batch = if self.follows_pages() { batch } else { MAX_BATCH };
        let cursor = Cursor { collection, items, shard: 0, from, batch, left: limit, count: None };
        Ok(self.page(cursor, skip as usize, true, count))
    }

    /// Whether the client goes on with the name, or the `nextBatchId`, that the newest page gave it. Other
    /// drivers repeat the first name, which would be the first page again and again.
    fn follows_pages(&self) -> bool {
        let header = |name| self.request.headers.get(name);
        match (header("x-arango-driver"), header("x-arango-version")) {
            (Some(driver), _) => PAGING_DRIVERS.iter().any(|known| driver.starts_with(known)),
            (None, old_arangojs) => old_arangojs.is_none(),
        }
    }

    fn next_page(&self, id: &str) -> Planned {
        let cursor = Cursor::decode(id).ok_or(Failure::CursorNotFound)?;
        self.collection(&cursor.collection)?;
        Ok(self.page(cursor, 0, false, false))
    }

    fn page(&self, cursor: Cursor, skip: usize, first: bool, counts: bool) -> Plan {
        let database = self.database.clone();
        let whole = first && !self.follows_pages();
        ListingRender { database, cursor, skip, first, counts, total: None, whole }.scan()
    }
}

fn number(object: &Map<String, Value>, name: &str) -> Result<Option<u64>, Failure> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::BadParameter(format!("{name} must be a number that is not negative"))),
        },
    }
}

fn batch_size(object: &Map<String, Value>) -> Result<usize, Failure> {
    match number(object, "batchSize")? {
        None => Ok(DEFAULT_BATCH),
        Some(0) => Err(Failure::BadParameter("batchSize must not be 0".to_owned())),
        Some(size) => Ok(size.min(MAX_BATCH as u64) as usize),
    }
}

/// The listing that a query is, if it is `FOR d IN c [LIMIT [m,] n] RETURN d`, `d._key` or `d._id`, with the
/// collection by its name or as a bound parameter.
fn plain_query(query: &str, bound: Option<&Map<String, Value>>) -> Option<Listing> {
    let spaced = query.replace(',', " , ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let [fors, variable, within, source, rest @ ..] = words.as_slice() else { return None };
    if !fors.eq_ignore_ascii_case("for") || !within.eq_ignore_ascii_case("in") {
        return None;
    }
    let (skip, limit, rest) = match rest {
        [word, skip, ",", limit, rest @ ..] if word.eq_ignore_ascii_case("limit") => {
            (skip.parse().ok()?, amount(limit)?, rest)
        }
        [word, limit, rest @ ..] if word.eq_ignore_ascii_case("limit") => (0, amount(limit)?, rest),
        rest => (0, None, rest),
    };
    let [returns, shown] = rest else { return None };
    if !returns.eq_ignore_ascii_case("return") {
        return None;
    }
    let items = match shown.strip_prefix(variable)? {
        "" => Items::Documents,
        "._key" => Items::Keys,
        "._id" => Items::Ids,
        _ => return None,
    };
    let collection = match source.strip_prefix('@') {
        // `@@name` is bound as `@name`.
        Some(name) => bound?.get(name)?.as_str()?.to_owned(),
        None => source.trim_matches('`').to_owned(),
    };
    Some(Listing { collection, items, skip, limit, batch: DEFAULT_BATCH, count: false })
}

/// A limit: a number, or `null` for none.
fn amount(word: &str) -> Option<Option<u64>> {
    if word.eq_ignore_ascii_case("null") { Some(None) } else { word.parse().ok().map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_queries_of_the_drivers_are_known_and_no_others() {
        let bound = json!({ "@collection": "users", "v": 1 });
        let bound = bound.as_object();
        for (query, expected) in [
            (
                "\n  FOR doc IN @@collection\n  \n LIMIT 0, null\n RETURN doc\n",
                Some((Items::Documents, 0, None)),
            ),
            ("FOR doc IN @@collection LIMIT 5, 10 RETURN doc", Some((Items::Documents, 5, Some(10)))),
            ("for d in users limit 3 return d._id", Some((Items::Ids, 0, Some(3)))),
            ("FOR doc IN @@collection RETURN doc._key", Some((Items::Keys, 0, None))),
            ("FOR d IN `users` RETURN d", Some((Items::Documents, 0, None))),
            ("FOR doc IN @@other RETURN doc", None),
            ("FOR doc IN @@collection SORT RAND() LIMIT 1 RETURN doc", None),
            ("FOR doc IN @@collection FILTER doc.a == @v LIMIT 0, null RETURN doc", None),
            ("FOR doc IN @@collection LIMIT 1,2,3 RETURN doc", None),
            ("FOR doc IN @@collection RETURN doc.name", None),
            ("FOR doc IN @@collection RETURN document", None),
            ("RETURN 1", None),
            ("", None),
        ] {
            let found = plain_query(query, bound);
            assert!(found.iter().all(|listing| listing.collection == "users"), "{query}");
            assert_eq!(found.map(|l| (l.items, l.skip, l.limit)), expected, "{query}");
        }
        assert!(plain_query("FOR d IN @@collection RETURN d", None).is_none());
    }
}
