//! One document.

use super::*;

#[test]
fn a_document_is_written_read_and_removed() {
    let mut server = Server::with_c();
    let made = server.check(
        "POST /_api/document/c",
        json!({"_key": "alice", "name": "Alice", "_id": "x", "_rev": "y"}),
        201,
        json!({"_id": "c/alice", "_key": "alice", "_rev": "*"}),
    );
    let rev = json_of(&made)["_rev"].as_str().unwrap().to_owned();
    assert_eq!(header(&made, "Etag"), Some(format!("\"{rev}\"").as_str()));
    assert_eq!(header(&made, "Location"), Some("/_db/_system/_api/document/c/alice"));
    assert_eq!(server.get(b"c/alice").unwrap(), br#"{"name":"Alice"}"#, "what RESP sees");
    let whole = json!({"_id": "c/alice", "_key": "alice", "_rev": rev, "name": "Alice"});
    let read = server.check("GET /_api/document/c/alice", Value::Null, 200, whole.clone());
    assert_eq!(header(&read, "Etag"), Some(format!("\"{rev}\"").as_str()));
    server.check("HEAD /_db/_system/_api/document/c/alice", Value::Null, 200, whole);
    server.check(
        "DELETE /_api/document/c/alice?returnOld=true",
        Value::Null,
        200,
        json!({"_id": "c/alice", "_key": "alice", "_rev": rev,
               "old": {"_id": "c/alice", "_key": "alice", "_rev": rev, "name": "Alice"}}),
    );
    server.refused("GET /_api/document/c/alice", Value::Null, 404, 1202);
    server.refused("HEAD /_api/document/c/alice", Value::Null, 404, 1202);
    server.refused("DELETE /_api/document/c/alice", Value::Null, 404, 1202);
    server.refused("PUT /_api/document/c/alice", json!({}), 404, 1202);
    server.refused("PATCH /_api/document/c/alice", json!({}), 404, 1202);
    assert_eq!(server.get(b"c/alice"), None);
}

#[test]
fn what_is_wrong_with_a_request_is_said_by_its_number() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    for (line, body, status, number) in [
        ("POST /_api/document/c", json!({"_key": "a"}), 409, 1210),
        ("POST /_api/document/c", json!({"_key": "a b"}), 400, 1221),
        ("POST /_api/document/c", json!({"_key": 7}), 400, 1221),
        ("POST /_api/document/c", json!({"_key": ""}), 400, 1221),
        ("POST /_api/document/c", json!("text"), 400, 1227),
        ("POST /_api/document/c", Value::Null, 400, 600),
        ("POST /_api/document/none", json!({}), 404, 1203),
        ("GET /_api/document/none/a", Value::Null, 404, 1203),
        ("PUT /_api/document/none/a", json!({}), 404, 1203),
        ("POST /_api/document", json!({}), 400, 1204),
        ("GET /_api/document/c", Value::Null, 400, 1205),
        ("GET /_api/document/c/a/b", Value::Null, 400, 1205),
        ("GET /_api/document/c/a%20b", Value::Null, 400, 1221),
        ("GET /_api/document/c/a%2Fb", Value::Null, 400, 1221),
        ("GET /_api/document/c/%ff", Value::Null, 404, 404),
        ("PATCH /_api/document/c/a", json!([1]), 400, 1227),
        ("POST /_api/document/c/a", json!({}), 405, 405),
        ("BREW /_api/document/c/a", Value::Null, 405, 405),
        ("GET /_db/other/_api/document/c/a", Value::Null, 404, 1228),
        ("GET /_db/other/_admin/server/role", Value::Null, 404, 1228),
        ("GET /_api/unheard-of", Value::Null, 404, 404),
        ("GET /", Value::Null, 299, 0),
        ("POST /_api/document/c?overwriteMode=maybe", json!({}), 400, 10),
        ("PUT /_api/document/c/a?versionAttribute=v", json!({}), 501, 9),
    ] {
        if status == 299 {
            assert_eq!(server.raw(line, b"").status, 299, "not about documents");
        } else {
            server.refused(line, body, status, number);
        }
    }
    let long = format!("POST /_api/document/c?x={}", "y".repeat(100));
    server.refused(&long, json!({"v": "x".repeat(MAX_VALUE_BYTES)}), 413, 32);
    server.check("PUT /_api/document/c/a", json!({"v": "z".repeat(60_000)}), 201, Value::Null);
    let large = "z".repeat(2 << 20);
    server.refused("POST /_api/document/c", json!({"v": large}), 413, 32);
    server.refused("PUT /_api/document/c/a", json!({"v": large}), 413, 32);
    for line in ["PATCH /_api/document/c/a", "POST /_api/document/c?overwriteMode=update"] {
        server.refused(line, json!({"_key": "a", "v": &large[..210_000]}), 413, 32);
    }
    server.full = true;
    server.refused("POST /_api/document/c", json!({}), 507, 1104);
}

#[test]
fn booleans_come_in_every_shape() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!({"_key": "a", "n": 1}), 201, Value::Null);
    for line in ["silent=true", "silent=1", "silent=true&returnNew=true&x", "silent=1&returnOld=undefined"] {
        server.check(&format!("PATCH /_api/document/c/a?{line}"), json!({}), 201, json!({}));
    }
    for line in ["", "silent=undefined", "silent=0&returnNew=false", "silent", "silent=False"] {
        let told = json!({"_id": "c/a", "_key": "a", "_rev": "*", "_oldRev": "*"});
        server.check(&format!("PATCH /_api/document/c/a?{line}"), json!({}), 201, told);
    }
    server.check("GET /_api/document/c/a?", Value::Null, 200, json!({"n": 1, "...": 0}));
}

#[test]
fn inserts_meet_existing_documents_by_their_mode() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!({"_key": "a", "x": 1, "o": {"p": 1}}), 201, Value::Null);
    let rev = server.rev("a");
    for (query, body, status, expected) in [
        ("overwriteMode=conflict", json!({"x": 2}), 409, json!({"errorNum": 1210, "...": 0})),
        ("overwriteMode=ignore", json!({"x": 2}), 201, json!({"_id": "c/a", "_key": "a", "_rev": rev})),
        (
            "overwriteMode=update&returnNew=1&returnOld=1&keepNull=false",
            json!({"x": null, "o": {"q": 2}}),
            201,
            json!({"_id": "c/a", "_key": "a", "_rev": "*", "_oldRev": rev,
                   "new": {"_id": "c/a", "_key": "a", "_rev": "*", "o": {"p": 1, "q": 2}},
                   "old": {"_id": "c/a", "_key": "a", "_rev": rev, "x": 1, "o": {"p": 1}}}),
        ),
        (
            "overwrite=true&returnNew=true",
            json!({"y": 3}),
            201,
            json!({"new": {"_id": "c/a", "_key": "a", "_rev": "*", "y": 3}, "_oldRev": "*", "...": 0}),
        ),
        (
            "overwriteMode=replace&returnNew=true&overwrite=undefined",
            json!({"z": 4}),
            201,
            json!({"new": {"_id": "c/a", "_key": "a", "_rev": "*", "z": 4}, "...": 0}),
        ),
    ] {
        let mut body = body;
        body["_key"] = "a".into();
        server.check(&format!("POST /_api/document/c?{query}"), body, status, expected);
    }
    let fresh = json!({"_id": "c/new", "_key": "new", "_rev": "*"});
    server.check("POST /_api/document/c?overwrite=true&returnOld=true", json!({"_key": "new"}), 201, fresh);
}

#[test]
fn updates_merge_and_replacements_replace() {
    let mut server = Server::with_c();
    server.check(
        "POST /_api/document/c",
        json!({"_key": "a", "x": 1, "o": {"p": 1, "q": 2}}),
        201,
        Value::Null,
    );
    for (line, body, expected) in [
        ("PATCH", json!({"o": {"q": null, "r": 3}}), json!({"x": 1, "o": {"p": 1, "q": null, "r": 3}})),
        ("PATCH?keepNull=false", json!({"o": {"r": null}}), json!({"x": 1, "o": {"p": 1, "q": null}})),
        ("PATCH?mergeObjects=false", json!({"o": {"s": 1}}), json!({"x": 1, "o": {"s": 1}})),
        ("PATCH?keepNull=0&mergeObjects=0", json!({"x": null}), json!({"o": {"s": 1}})),
        ("PATCH?keepNull=undefined", json!({"_key": "other", "x": null}), json!({"o": {"s": 1}, "x": null})),
        (
            "PUT",
            json!({"_key": "other", "_id": "c/other", "z": [1, {"k": null}]}),
            json!({"z": [1, {"k": null}]}),
        ),
    ] {
        let (method, query) = line.split_once('?').unwrap_or((line, ""));
        let line = format!("{method} /_api/document/c/a?returnNew=true&{query}");
        let mut new = json!({"_id": "c/a", "_key": "a", "_rev": "*"});
        new.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        server.check(&line, body, 201, json!({"new": new, "_oldRev": "*", "...": 0}));
        server.check("GET /_api/document/c/a", Value::Null, 200, new);
    }
}

#[test]
fn revisions_are_compared_where_that_is_asked() {
    let mut server = Server::with_c();
    server.check("POST /_api/document/c", json!({"_key": "a", "n": 1}), 201, Value::Null);
    let rev = server.rev("a");
    let conflict = json!({"error": true, "code": 412, "errorNum": 1200, "errorMessage": "*",
                          "_id": "c/a", "_key": "a", "_rev": rev});
    for line in [
        "GET /_api/document/c/a\nIf-Match: \"0-0\"",
        "HEAD /_api/document/c/a\nif-match: 0-0",
        "DELETE /_api/document/c/a\nIf-Match: 0-0",
    ] {
        let response = server.check(line, Value::Null, 412, conflict.clone());
        assert_eq!(header(&response, "Etag"), Some(format!("\"{rev}\"").as_str()));
    }
    server.check("PATCH /_api/document/c/a\nIf-Match: 0-0", json!({}), 412, conflict.clone());
    server.check("PUT /_api/document/c/a?ignoreRevs=0", json!({"_rev": "0-0"}), 412, conflict.clone());
    server.check("GET /_api/document/c/a\nIf-None-Match: 0-0", Value::Null, 200, json!({"n": 1, "...": 0}));
    let same = server.raw(&format!("GET /_api/document/c/a\nIf-None-Match: \"{rev}\""), b"");
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(header(&same, "Etag"), Some(format!("\"{rev}\"").as_str()));
    // The default is not to compare.
    server.check("PATCH /_api/document/c/a", json!({"_rev": "0-0"}), 201, json!({"_oldRev": rev, "...": 0}));
    let rev = server.rev("a");
    server.check("PUT /_api/document/c/a?ignoreRevs=false", json!({"_rev": rev}), 201, Value::Null);
    let rev = server.rev("a");
    server.check(&format!("PUT /_api/document/c/a\nIf-Match: {rev}"), json!({}), 201, Value::Null);
    let rev = server.rev("a");
    server.check(&format!("DELETE /_api/document/c/a\nIf-Match: {rev}"), Value::Null, 200, Value::Null);
}

#[test]
fn what_is_not_durable_yet_is_only_accepted() {
    let mut server = Server::with_c();
    server.durable = false;
    server.check("POST /_api/document/c", json!({"_key": "a"}), 202, Value::Null);
    server.check("POST /_api/document/c?waitForSync=true", json!({"_key": "b"}), 201, Value::Null);
    server.check("PATCH /_api/document/c/a?waitForSync=false", json!({}), 202, Value::Null);
    server.check("DELETE /_api/document/c/a", Value::Null, 202, Value::Null);
    server.check("DELETE /_api/document/c/b?waitForSync=1", Value::Null, 200, Value::Null);
    server.check("PUT /_api/collection/c/properties", json!({"waitForSync": true}), 200, Value::Null);
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
}

#[test]
fn values_that_others_wrote_are_documents_if_they_are_objects() {
    let mut server = Server::with_c();
    server.put(b"c/object", br#" {"n": 1.0, "_key": "liar"} "#, 0);
    server.put(b"c/number", b"17", 0);
    server.put(b"c/gone", b"{}", NOW_MS - 1);
    server.put(b"c/leaving", b"{\"n\":1}", NOW_MS + 1000);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    server.put(b"c/deep", deep.as_bytes(), 0);
    let object = json!({"_id": "c/object", "_key": "object", "_rev": "*", "n": 1.0});
    server.check("GET /_api/document/c/object", Value::Null, 200, object);
    server.refused("GET /_api/document/c/number", Value::Null, 409, 1227);
    server.refused("PATCH /_api/document/c/number", json!({}), 409, 1227);
    server.refused("PATCH /_api/document/c/deep", json!({}), 409, 1227);
    assert_eq!(server.raw("GET /_api/document/c/deep", b"").status, 200);
    server.refused("GET /_api/document/c/gone", Value::Null, 404, 1202);
    server.check("PATCH /_api/document/c/leaving", json!({"m": 2}), 201, Value::Null);
    server.check("PUT /_api/document/c/number?returnOld=true", json!({"n": 17}), 201, Value::Null);
    server.check("GET /_api/document/c/number", Value::Null, 200, json!({"n": 17, "...": 0}));
    server.wall_ms += 1001;
    server.refused("GET /_api/document/c/leaving", Value::Null, 404, 1202);
}

#[test]
fn every_way_an_operation_ends_is_charged_for_what_it_looked_at() {
    let mut server = Server::with_c();
    let value = "z".repeat(40_000);
    server.check("POST /_api/document/c", json!({"_key": "a", "v": value}), 201, Value::Null);
    server.put(b"c/text", value.as_bytes(), 0);
    let rev = server.rev("a");
    for (line, body, least) in [
        ("GET /_api/document/c/a".to_owned(), "", 40_000),
        (format!("GET /_api/document/c/a\nIf-None-Match: {rev}"), "", 40_000),
        ("GET /_api/document/c/a\nIf-Match: 0-0".to_owned(), "", 40_000),
        ("GET /_api/document/c/text".to_owned(), "", 40_000),
        ("PATCH /_api/document/c/a\nIf-Match: 0-0".to_owned(), "{}", 40_000),
        ("PATCH /_api/document/c/text".to_owned(), "{}", 160_000),
        ("POST /_api/baton/increment/c/a".to_owned(), "{\"attribute\":\"v\"}", 160_000),
        ("PATCH /_api/document/c/a".to_owned(), "{}", 160_000),
    ] {
        server.looked = 0;
        server.raw(&line, body.as_bytes());
        assert!(server.looked >= least, "{line}: {}", server.looked);
    }
}

#[test]
fn numbers_and_the_order_of_attributes_stay() {
    let mut server = Server::with_c();
    let body = br#"{"_key":"n","z":1,"a":-0.5,"m":9007199254740993,"e":1e300,"b":18446744073709551615,"u":"\u00e4"}"#;
    assert_eq!(server.raw("POST /_api/document/c", body).status, 201);
    let shown = server.raw("GET /_api/document/c/n", b"").body;
    let shown = String::from_utf8(shown).unwrap();
    assert!(
        shown.ends_with(
            r#","z":1,"a":-0.5,"m":9007199254740993,"e":1e+300,"b":18446744073709551615,"u":"ä"}"#
        ),
        "{shown}"
    );
}

#[test]
fn databases_keep_their_documents_apart() {
    let mut server = Server::with_c();
    server.check("POST /_api/database", json!({"name": "shop"}), 201, Value::Null);
    server.check("POST /_db/shop/_api/collection", json!({"name": "c"}), 200, Value::Null);
    let made = server.check("POST /_db/shop/_api/document/c", json!({"_key": "a", "n": 2}), 201, Value::Null);
    assert_eq!(header(&made, "Location"), Some("/_db/shop/_api/document/c/a"));
    server.check("POST /_api/document/c", json!({"_key": "a", "n": 1}), 201, Value::Null);
    assert_eq!(server.get(b"shop/c/a").unwrap(), br#"{"n":2}"#);
    server.check("GET /_db/shop/_api/document/c/a", Value::Null, 200, json!({"n": 2, "...": 0}));
    server.check("GET /_api/document/c/a", Value::Null, 200, json!({"n": 1, "...": 0}));
}
