//! What ArangoDB has and Baton has not, with what to use instead.

const QUERIES: &str =
    "Baton has no AQL: read documents by key, or list a collection with PUT /_api/simple/all";
const GRAPHS: &str = "Baton has no graphs: keep the identifiers of neighbours as attributes of documents";
const VIEWS: &str = "Baton has no views and no search: read documents by their keys";
const FOXX: &str = "Baton runs no JavaScript: put the service into a process of its own beside it";
const TRANSACTIONS: &str = "Baton has no transactions over several requests: one document is changed at a \
    time, with If-Match to see that nobody came in between; MSET over RESP writes several keys at once";
const JOBS: &str = "Baton answers each request at once: send it without x-arango-async";
const BATCHES: &str = "send several requests on one connection, or an array of documents in one request";
const EXPORT: &str = "list the collection with PUT /_api/simple/all";
const BACKUPS: &str = "Baton makes no backups: list each collection with PUT /_api/simple/all and keep that";

/// What to use instead of what is at this path, if it is something that Baton deliberately does not have.
pub(super) fn instead(path: &[&str]) -> Option<&'static str> {
    let what = match path {
        ["_api", what, ..] => *what,
        ["_admin", what @ ("foxx" | "aardvark" | "execute" | "routing" | "backup"), ..] => *what,
        _ => return None,
    };
    Some(match what {
        "query" | "query-cache" | "explain" | "query-plan-cache" => QUERIES,
        "aqlfunction" | "foxx" | "aardvark" | "execute" | "routing" | "tasks" => FOXX,
        "gharial" | "edges" | "traversal" | "control_pregel" | "pregel" => GRAPHS,
        "view" | "analyzer" => VIEWS,
        "transaction" => TRANSACTIONS,
        "job" => JOBS,
        "batch" => BATCHES,
        "export" => EXPORT,
        "backup" => BACKUPS,
        _ => return None,
    })
}
