//! Imports.

use super::*;

fn import(server: &mut Server, query: &str, body: &str) -> (u16, Value) {
    let response = server.raw(&format!("POST /_api/import?collection=c&{query}"), body.as_bytes());
    (response.status, json_of(&response))
}

fn counts(created: u64, errors: u64, empty: u64, updated: u64, ignored: u64) -> Value {
    json!({"created": created, "errors": errors, "empty": empty, "updated": updated, "ignored": ignored,
           "error": false, "code": 201})
}

#[test]
fn documents_come_as_lines_or_as_an_array() {
    let mut server = Server::with_c();
    for (query, body, expected) in [
        ("type=documents", "{\"_key\":\"a\"}\n\n{\"_key\":\"b\"}\r\n{\"n\":1}\n", counts(3, 0, 1, 0, 0)),
        ("type=auto", "{\"_key\":\"c\"}\n{\"_key\":\"d\"}", counts(2, 0, 0, 0, 0)),
        ("type=auto", " [{\"_key\":\"e\"},{\"_key\":\"f\"}]", counts(2, 0, 0, 0, 0)),
        ("type=list", "[{\"_key\":\"g\"}, 7]", counts(1, 1, 0, 0, 0)),
        ("type=array&details=undefined", "[{\"_key\":\"h\"}]", counts(1, 0, 0, 0, 0)),
        ("type=", "[\"_key\",\"x\",\"y\"]\n[\"i\",1,null]\n[\"j\",2]\n", counts(1, 1, 0, 0, 0)),
        ("", "[\"_key\"]\n[\"k\"]", counts(1, 0, 0, 0, 0)),
        ("type=documents", "", counts(0, 0, 0, 0, 0)),
        ("type=documents", "{\"_key\":\"a\"}\nnonsense\n[1]\n{\"_key\":\"x y\"}", counts(0, 4, 0, 0, 0)),
    ] {
        assert_eq!(import(&mut server, query, body), (201, expected), "{query} {body}");
    }
    server.check(
        "GET /_api/document/c/i",
        Value::Null,
        200,
        json!({"_id": "c/i", "_key": "i", "_rev": "*", "x": 1}),
    );
    server.refused("POST /_api/import?type=documents", Value::Null, 400, 1204);
    server.refused("POST /_api/import?collection=none&type=documents", Value::Null, 404, 1203);
    server.refused("POST /_api/import?collection=c&type=other", json!([]), 400, 10);
    server.refused("POST /_api/import?collection=c&type=array", json!({}), 400, 10);
    server.refused("POST /_api/import?collection=c&type=array", Value::Null, 400, 600);
    server.refused("POST /_api/import?collection=c", Value::Null, 400, 10);
    server.refused("POST /_api/import?collection=c&type=array&onDuplicate=x", json!([]), 400, 10);
    server.refused("POST /_api/import?collection=c&type=array&fromPrefix=v", json!([]), 501, 9);
    server.refused("GET /_api/import?collection=c", Value::Null, 405, 405);
}

#[test]
fn duplicates_are_dealt_with_as_asked() {
    let mut server = Server::with_c();
    assert_eq!(import(&mut server, "type=documents", "{\"_key\":\"a\",\"x\":1}").1, counts(1, 0, 0, 0, 0));
    let line = "{\"_key\":\"a\",\"y\":2}";
    for (rule, expected, left) in [
        ("error", counts(0, 1, 0, 0, 0), json!({"x": 1})),
        ("ignore", counts(0, 0, 0, 0, 1), json!({"x": 1})),
        ("update", counts(0, 0, 0, 1, 0), json!({"x": 1, "y": 2})),
        ("replace", counts(0, 0, 0, 1, 0), json!({"y": 2})),
        ("undefined", counts(0, 1, 0, 0, 0), json!({"y": 2})),
    ] {
        assert_eq!(import(&mut server, &format!("type=documents&onDuplicate={rule}"), line), (201, expected));
        let mut whole = json!({"_id": "c/a", "_key": "a", "_rev": "*"});
        whole.as_object_mut().unwrap().extend(left.as_object().unwrap().clone());
        server.check("GET /_api/document/c/a", Value::Null, 200, whole);
    }
    let (_, told) =
        import(&mut server, "type=documents&details=true", "{\"_key\":\"a\"}\n7\n{\"_key\":\"b\"}");
    assert_eq!(told["details"].as_array().unwrap().len(), 2);
    assert!(told["details"][1].as_str().unwrap().starts_with("at position 2: "), "{told}");
}

#[test]
fn a_complete_import_is_made_as_a_whole_or_not_at_all() {
    let mut server = Server::with_c();
    assert_eq!(import(&mut server, "type=documents", "{\"_key\":\"a\"}").0, 201);
    for body in
        ["{\"_key\":\"b\"}\n{\"_key\":\"a\"}", "{\"_key\":\"b\"}\n7", "{\"_key\":\"b\"}\n{\"_key\":\"b\"}"]
    {
        let (status, told) = import(&mut server, "type=documents&complete=true", body);
        assert_eq!(
            (status, &told["error"], told.as_object().unwrap().len()),
            (409, &json!(true), 4),
            "{told}"
        );
    }
    server.refused("GET /_api/document/c/b", Value::Null, 404, 1202);
    let fine = import(&mut server, "type=documents&complete=true", "{\"_key\":\"b\"}\n{\"_key\":\"d\"}");
    assert_eq!(fine, (201, counts(2, 0, 0, 0, 0)));
    let fine = import(&mut server, "type=documents&complete=1&onDuplicate=ignore", "{\"_key\":\"b\"}");
    assert_eq!(fine, (201, counts(0, 0, 0, 0, 1)));
}

#[test]
fn an_overwriting_import_leaves_nothing_else() {
    let mut server = Server::with_c();
    assert_eq!(import(&mut server, "type=documents", "{\"_key\":\"a\"}\n{\"_key\":\"b\"}").0, 201);
    let fine = import(&mut server, "type=documents&overwrite=true&complete=true", "{\"_key\":\"a\",\"n\":1}");
    assert_eq!(fine, (201, counts(1, 0, 0, 0, 0)));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 1, "...": 0}));
    assert_eq!(import(&mut server, "type=documents&overwrite=true", "").1, counts(0, 0, 0, 0, 0));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 0, "...": 0}));
}
