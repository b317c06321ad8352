//! Arrays of documents.

use super::*;

#[test]
fn an_array_is_answered_element_by_element() {
    let mut server = Server::with_c();
    let told = |key: &str| json!({"_id": format!("c/{key}"), "_key": key, "_rev": "*"});
    let failed = |number: u32| json!({"error": true, "errorNum": number, "errorMessage": "*"});
    let response = server.check(
        "POST /_api/document/c",
        json!([{"_key": "a", "n": 1}, {"_key": "a"}, {"_key": "b"}, 7, {"_key": "x y"}, {"_key": "b"}]),
        201,
        json!([told("a"), failed(1210), told("b"), failed(1227), failed(1221), failed(1210)]),
    );
    assert_eq!(header(&response, "X-Arango-Error-Codes"), Some(r#"{"1210":2,"1221":1,"1227":1}"#));
    let fine = server.check("POST /_api/document/c", json!([{"_key": "d"}]), 201, json!([told("d")]));
    assert_eq!(header(&fine, "X-Arango-Error-Codes"), None);

    let changed = |key: &str| json!({"_id": format!("c/{key}"), "_key": key, "_rev": "*", "_oldRev": "*"});
    let response = server.check(
        "PATCH /_api/document/c",
        json!([{"_key": "a", "m": 2}, {"_id": "c/b"}, {"_key": "none"}, {}, {"_id": "d/a"}]),
        201,
        json!([changed("a"), changed("b"), failed(1202), failed(1221), failed(1205)]),
    );
    assert_eq!(header(&response, "X-Arango-Error-Codes"), Some(r#"{"1202":1,"1205":1,"1221":1}"#));
    server.check(
        "PUT /_api/document/c?onlyget=1",
        json!(["a", "c/b", {"_key": "d"}, "none", 5]),
        200,
        json!([
            {"_id": "c/a", "_key": "a", "_rev": "*", "n": 1, "m": 2}, told("b"), told("d"), failed(1202), failed(1205)
        ]),
    );
    server.check("PUT /_api/document/c?onlyget=true", json!([]), 200, json!([]));
    server.check("PUT /_api/document/c?onlyget=true", json!([1]), 200, json!([failed(1205)]));
    server.check("PUT /_api/document/c", json!([{"_key": "a", "k": 1}]), 201, json!([changed("a")]));
    let rev = server.rev("a");
    server.check(
        "DELETE /_api/document/c?returnOld=true",
        json!(["a", {"_key": "b"}, "c/d", "a"]),
        200,
        json!([
            {"_id": "c/a", "_key": "a", "_rev": rev, "old": {"_id": "c/a", "_key": "a", "_rev": rev, "k": 1}},
            {"old": told("b"), "...": 0}, {"old": told("d"), "...": 0}, failed(1202)
        ]),
    );
    server.refused("DELETE /_api/document/c", json!({"_key": "a"}), 400, 10);
    server.refused("DELETE /_api/document/c", Value::Null, 400, 600);
}

#[test]
fn revisions_in_an_array_are_compared_if_asked() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!([{"_key": "a"}, {"_key": "b"}]), 201, Value::Null);
    let rev = server.rev("a");
    let elements = json!([{"_key": "a", "_rev": rev}, {"_key": "b", "_rev": "0-0"}]);
    let conflict = json!({"error": true, "errorNum": 1200, "errorMessage": "*"});
    for method in ["PATCH", "PUT", "DELETE"] {
        let elements = json!([{"_key": "a", "_rev": server.rev("a")}, {"_key": "b", "_rev": "0-0"}]);
        let line = format!("{method} /_api/document/c?ignoreRevs=false");
        let response = server.raw(&line, elements.to_string().as_bytes());
        let found = json_of(&response);
        assert_eq!(found[0]["_key"], "a", "{method}: {found}");
        assert!(is_like(&conflict, &found[1]), "{method}: {found}");
        assert_eq!(header(&response, "X-Arango-Error-Codes"), Some(r#"{"1200":1}"#));
    }
    server.check("POST /_api/document/c", json!([{"_key": "a"}]), 201, Value::Null);
    server.check("PATCH /_api/document/c", elements, 201, Value::Null);
}

#[test]
fn a_silent_array_tells_its_errors_alone() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c?silent=true", json!([{"_key": "a"}, {"_key": "b"}]), 201, json!({}));
    let failed = json!({"error": true, "errorNum": 1210, "errorMessage": "*"});
    let response = server.check(
        "POST /_api/document/c?silent=true",
        json!([{"_key": "z"}, {"_key": "a"}, {"_key": "y"}, {"_key": "b"}]),
        201,
        json!([failed, failed]),
    );
    assert_eq!(header(&response, "X-Arango-Error-Codes"), Some(r#"{"1210":2}"#));
    server.check("DELETE /_api/document/c?silent=true", json!(["a", "b", "y", "z"]), 200, json!({}));
}

#[test]
fn documents_by_their_keys() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!([{"_key": "a"}, {"_key": "b"}]), 201, Value::Null);
    let told = |key: &str| json!({"_id": format!("c/{key}"), "_key": key, "_rev": "*"});
    server.check(
        "PUT /_api/simple/lookup-by-keys",
        json!({"collection": "c", "keys": ["b", "none", "c/a", 5, "x y"]}),
        200,
        json!({"documents": [told("b"), told("a")], "error": false, "code": 200}),
    );
    server.check(
        "PUT /_api/simple/remove-by-keys",
        json!({"collection": "c", "keys": ["b", "none"], "options": {"returnOld": true}}),
        200,
        json!({"old": [told("b")], "removed": 1, "ignored": 1, "error": false, "code": 200}),
    );
    server.check(
        "PUT /_api/simple/remove-by-keys",
        json!({"collection": "c", "keys": ["a"], "options": null}),
        200,
        json!({"removed": 1, "ignored": 0, "error": false, "code": 200}),
    );
    server.refused("PUT /_api/simple/lookup-by-keys", json!({"collection": "c"}), 400, 10);
    server.refused("PUT /_api/simple/lookup-by-keys", json!({"keys": []}), 400, 1204);
}

#[test]
fn what_cannot_be_looked_up_or_removed_is_not_left_out() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!([{"_key": "a"}, {"_key": "b"}]), 201, Value::Null);
    server.put(b"c/text", b"no document", 0);
    let keys = json!({"collection": "c", "keys": ["text", "none", "a"]});
    let found = json!({"documents": [{"_key": "a", "...": 0}], "error": false, "code": 200});
    server.check("PUT /_api/simple/lookup-by-keys", keys.clone(), 200, found);
    server.full = true;
    server.refused("PUT /_api/simple/remove-by-keys", keys.clone(), 507, 1104);
    server.full = false;
    for (render, failure, status, number) in [
        (Render::Found { collection: "c".to_owned() }, Failure::AnswerTooLarge, 413, 32),
        (Render::Found { collection: "c".to_owned() }, Failure::NotLeader, 503, 1496),
        (Render::Removed { collection: "c".to_owned(), returns_old: true }, Failure::NotLeader, 503, 1496),
        (Render::Removed { collection: "c".to_owned(), returns_old: false }, Failure::DiskFull, 507, 1104),
    ] {
        let done = vec![Done::Failed { key: String::new(), failure }];
        let Plan::Reply(response) = conclude(render, done, true) else { panic!("an answer is expected") };
        assert_eq!((response.status, &json_of(&response)["errorNum"]), (status, &json!(number)));
    }
    // Sent again with its key, a removal is answered as it was, and leaves alone what came since.
    let line = "PUT /_api/simple/remove-by-keys\nIdempotency-Key: gone";
    server.check(line, keys.clone(), 200, json!({"removed": 2, "ignored": 1, "error": false, "code": 200}));
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    server.check(line, keys, 200, json!({"removed": 2, "ignored": 1, "error": false, "code": 200}));
    server.check("GET /_api/document/c/a", Value::Null, 200, Value::Null);
    server.refused(line, json!({"collection": "c", "keys": ["text"]}), 422, 10);
}

#[test]
fn bad_elements_count_towards_the_limit() {
    let mut server = Server::with_c();
    let most = 100_000;
    for (line, first, element, last) in [
        ("POST /_api/document/c", "[", "1,", "1]"),
        ("PUT /_api/document/c", "[", "1,", "1]"),
        ("DELETE /_api/document/c", "[", "1,", "1]"),
        ("PUT /_api/document/c?onlyget=true", "[", "1,", "1]"),
        ("POST /_api/import?collection=c&type=array", "[", "1,", "1]"),
        ("POST /_api/import?collection=c&type=documents", "", "1\n", "1\n"),
        ("POST /_api/import?collection=c", "[\"_key\"]\n", "1\n", "1\n"),
        ("PUT /_api/simple/lookup-by-keys", "{\"collection\":\"c\",\"keys\":[", "1,", "1]}"),
    ] {
        let body = |count: usize| [first, &element.repeat(count - 1), last].concat();
        let refused = server.raw(line, body(most + 1).as_bytes());
        assert_eq!((refused.status, &json_of(&refused)["errorNum"]), (413, &json!(32)), "{line}");
        let taken = server.raw(line, body(most).as_bytes());
        assert!(taken.status < 300, "{line}: {}", taken.status);
    }
    // What is wrong with the request itself is said once.
    server.refused("POST /_api/document/c?overwriteMode=maybe", json!([{}, {}]), 400, 10);
}
