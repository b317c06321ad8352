//! Requests that come again with the same idempotency key.

use super::*;

const ONCE: &str = "\nIdempotency-Key: order 17";

#[test]
fn an_insert_that_comes_again_is_answered_and_not_done_again() {
    let mut server = Server::with_c();
    let line = format!("POST /_api/document/c?returnNew=true{ONCE}");
    let first = server.check(&line, json!({"n": 1}), 201, Value::Null);
    let again = server.check(&line, json!({"n": 1}), 201, json_of(&first));
    assert_eq!(header(&first, "Idempotent-Replayed"), None);
    assert_eq!(header(&again, "Idempotent-Replayed"), Some("true"));
    assert_eq!(header(&again, "Etag"), header(&first, "Etag"));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 1, "...": 0}));
    // Another collection, or another key, is another request.
    server.check("POST /_api/collection", json!({"name": "d"}), 200, Value::Null);
    server.check(&format!("POST /_api/document/d{ONCE}"), json!({"n": 1}), 201, Value::Null);
    server.check("POST /_api/document/c\nIdempotency-Key: other", json!({"n": 1}), 201, Value::Null);
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 2, "...": 0}));
    // The same key for something else is a mistake.
    server.refused(&format!("POST /_api/document/c{ONCE}"), json!({"n": 2}), 422, 10);
    server.refused("POST /_api/document/c\nIdempotency-Key: ", json!({}), 400, 10);
    let long = format!("POST /_api/document/c\nIdempotency-Key: {}", "k".repeat(129));
    server.refused(&long, json!({}), 400, 10);
}

#[test]
fn every_kind_of_write_is_remembered() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!({"_key": "a", "n": 1}), 201, Value::Null);
    for (method, body) in [("PATCH", json!({"n": 2})), ("PUT", json!({"n": 3})), ("DELETE", Value::Null)] {
        let line = format!("{method} /_api/document/c/a\nIdempotency-Key: {method}");
        let status = if method == "DELETE" { 200 } else { 201 };
        let first = server.check(&line, body.clone(), status, Value::Null);
        let again = server.check(&line, body.clone(), status, json_of(&first));
        assert_eq!(header(&again, "Idempotent-Replayed"), Some("true"));
    }
    // Also when the document was written since.
    server.check("POST /_api/document/c", json!({"_key": "a", "n": 4}), 201, Value::Null);
    let rev = server.rev("a");
    server.check(
        "PATCH /_api/document/c/a?returnNew=1\nIdempotency-Key: late",
        json!({"n": 5}),
        201,
        json!({"_oldRev": rev, "...": 0}),
    );
    server.check("PUT /_api/document/c/a", json!({"n": 6}), 201, Value::Null);
    let told = json!({"_id": "c/a", "_key": "a", "_rev": "*", "_oldRev": rev});
    server.check("PATCH /_api/document/c/a?returnNew=1\nIdempotency-Key: late", json!({"n": 5}), 201, told);
    server.check("GET /_api/document/c/a", Value::Null, 200, json!({"n": 6, "...": 0}));
}

#[test]
fn what_failed_is_not_remembered_and_what_is_old_is_forgotten() {
    let mut server = Server::with_c();
    let line = format!("PATCH /_api/document/c/a{ONCE}");
    server.refused(&line, json!({"n": 1}), 404, 1202);
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    server.check(&line, json!({"n": 1}), 201, Value::Null);
    server.check("PUT /_api/document/c/a", json!({}), 201, Value::Null);
    server.wall_ms += 10 * 60 * 1000;
    let done = server.check(&line, json!({"n": 1}), 201, Value::Null);
    assert_eq!(header(&done, "Idempotent-Replayed"), None);
    server.check("GET /_api/document/c/a", Value::Null, 200, json!({"n": 1, "...": 0}));
}

#[test]
fn the_elements_of_an_array_are_remembered_one_by_one() {
    let mut server = Server::with_c();
    let line = format!("POST /_api/document/c{ONCE}");
    let body = json!([{"n": 1}, {"n": 2}, {"_key": "own"}]);
    let first = server.check(&line, body.clone(), 201, Value::Null);
    server.check(&line, body, 201, json_of(&first));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 3, "...": 0}));
    let line = format!("POST /_api/import?collection=c&type=documents&complete=true{ONCE}");
    for _ in 0..2 {
        let answer = server.raw(&line, b"{\"_key\":\"i\"}\n{\"_key\":\"j\"}\n");
        assert_eq!(json_of(&answer)["created"], 2);
    }
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 5, "...": 0}));
}

#[test]
fn a_complete_import_with_a_key_is_made_as_a_whole_or_not_at_all() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    let line = format!("POST /_api/import?collection=c&type=documents&complete=true{ONCE}");
    let body = b"{\"_key\":\"b\"}\n{\"_key\":\"a\"}\n{\"_key\":\"d\"}\n";
    let refused = server.raw(&line, body);
    assert_eq!((refused.status, &json_of(&refused)["errorNum"]), (409, &json!(1210)));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 1, "...": 0}));
    // Broken off in the middle and sent again, it meets its own documents, and goes on.
    server.check("DELETE /_api/document/c/a", Value::Null, 200, Value::Null);
    server.only = Some(1);
    server.raw(&line, body);
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 1, "...": 0}));
    assert_eq!(json_of(&server.raw(&line, body))["created"], 3);
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 3, "...": 0}));
    // Of another request, they are in the way.
    server.refused(&line, json!({"_key": "b", "n": 1}), 422, 10);
}

#[test]
fn a_counter_counts_once() {
    let mut server = Server::with_c();
    let line = "POST /_api/baton/increment/c/visits";
    server.refused(line, json!({"attribute": "n"}), 404, 1202);
    let create = json!({"attribute": "n", "create": true});
    server.check(line, create, 201, json!({"_id": "c/visits", "_key": "visits", "_rev": "*", "value": 1}));
    let once = format!("{line}{ONCE}");
    for _ in 0..3 {
        let told = json!({"value": 6, "_oldRev": "*", "...": 0});
        server.check(&once, json!({"attribute": "n", "by": 5}), 201, told);
    }
    server.check(line, json!({"attribute": "n", "by": 0.5}), 201, json!({"value": 6.5, "...": 0}));
    server.check(&once, json!({"attribute": "n", "by": 5}), 201, json!({"value": 6, "...": 0}));
    let patch = json!({"t": "x", "m": u64::MAX, "i": i64::MAX, "j": i64::MIN});
    server.check("PATCH /_api/document/c/visits", patch, 201, Value::Null);
    for (attribute, by) in [("t", 1), ("m", 1), ("j", -1)] {
        server.refused(line, json!({"attribute": attribute, "by": by}), 409, 1504);
    }
    for (attribute, by, value) in [
        ("i", json!(1), json!(1u64 << 63)),
        ("m", json!(-1), json!(u64::MAX - 1)),
        ("j", json!(u64::MAX), json!(i64::MAX)),
    ] {
        server.check(line, json!({"attribute": attribute, "by": by}), 201, json!({"value": value, "...": 0}));
    }
    let long = "a".repeat(1025);
    for body in [
        json!({"attribute": long}),
        json!({}),
        json!({"attribute": "_rev"}),
        json!({"attribute": "n", "by": "1"}),
    ] {
        server.refused(line, body, 400, 10);
    }
    server.refused("GET /_api/baton/increment/c/visits", Value::Null, 405, 405);
    server.check("GET /_api/document/c/visits", Value::Null, 200, json!({"n": 6.5, "...": 0}));
}

#[test]
fn an_overwriting_import_that_comes_again_does_not_empty_the_collection() {
    let mut server = Server::with_c();
    let line = "POST /_api/import?collection=c&type=documents&overwrite=true";
    let body = b"{\"_key\":\"i\"}\n{\"_key\":\"j\"}\n";
    let refused = server.raw(&format!("{line}{ONCE}"), body);
    assert_eq!((refused.status, &json_of(&refused)["errorNum"]), (400, &json!(10)));
    for _ in 0..2 {
        assert_eq!(json_of(&server.raw(line, body))["created"], 2);
        server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 2, "...": 0}));
    }
}

#[test]
fn records_are_no_documents() {
    let mut server = Server::with_c();
    server.check(&format!("POST /_api/document/c{ONCE}"), json!({"_key": "a"}), 201, Value::Null);
    server.check(
        "PUT /_api/simple/all-keys",
        json!({"collection": "c", "type": "key"}),
        201,
        json!({"result": ["a"], "count": 1, "hasMore": false, "...": 0}),
    );
    server.check("PUT /_api/collection/c/truncate", Value::Null, 200, Value::Null);
    // The write is remembered all the same: the answer is the old one.
    server.check(&format!("POST /_api/document/c{ONCE}"), json!({"_key": "a"}), 201, Value::Null);
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 0, "...": 0}));
}
