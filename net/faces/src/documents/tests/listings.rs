//! Listings, page by page.

use super::*;

fn fill(server: &mut Server, count: usize) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|n| format!("k{n:04}")).collect();
    let documents: Vec<Value> = keys.iter().map(|key| json!({"_key": key, "v": "x".repeat(50)})).collect();
    server.check("POST /_api/document/c?silent=true", Value::Array(documents), 201, json!({}));
    keys
}

/// All pages of a listing, going on with `method`.
fn pages(server: &mut Server, line: &str, body: Value, method: &str) -> Vec<Value> {
    let mut page = json_of(&server.check(line, body, 201, Value::Null));
    let mut all = vec![page.clone()];
    while page["hasMore"] == true {
        let line = format!("{method} /_api/cursor/{}", page["id"].as_str().unwrap());
        page = json_of(&server.check(&line, Value::Null, 200, Value::Null));
        assert!(!page["result"].as_array().unwrap().is_empty(), "drivers cannot bear an empty page");
        all.push(page.clone());
    }
    assert!(page.get("id").is_none() && page.get("nextBatchId").is_none());
    all
}

fn results(pages: &[Value]) -> Vec<Value> {
    pages.iter().flat_map(|page| page["result"].as_array().unwrap().clone()).collect()
}

#[test]
fn keys_are_listed_in_pages_in_every_form() {
    let mut server = Server::with_c();
    let keys = fill(&mut server, 25);
    for (kind, form) in [("key", ""), ("id", "c/"), ("path", "/_db/_system/_api/document/c/")] {
        for batch in [1, 2, 7, 24, 25, 26, 1000] {
            let body = json!({"collection": "c", "type": kind, "batchSize": batch});
            let pages = pages(&mut server, "PUT /_api/simple/all-keys", body, "PUT");
            assert!(pages.iter().all(|page| page["count"] == 25));
            let mut found: Vec<String> =
                results(&pages).iter().map(|item| item.as_str().unwrap().to_owned()).collect();
            found.sort();
            assert_eq!(found, keys.iter().map(|key| format!("{form}{key}")).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_drivers_own_listings_are_served() {
    let mut server = Server::with_c();
    fill(&mut server, 10);
    let bind = json!({"@collection": "c"});
    let all = "\n FOR doc IN @@collection\n LIMIT 0, null\n RETURN doc\n";
    let body = json!({"query": all, "bindVars": bind, "count": true, "batchSize": 3});
    let listed = pages(&mut server, "POST /_api/cursor", body, "POST");
    assert!(listed.iter().all(|page| page["count"] == 10));
    let documents = results(&listed);
    assert_eq!(documents.len(), 10);
    let one = json!({"_id": "*", "_key": "*", "_rev": "*", "v": "*"});
    assert!(documents.iter().all(|document| is_like(&one, document)));
    let body = json!({"query": "FOR doc IN @@collection RETURN doc._key", "bindVars": bind});
    let listed = pages(&mut server, "POST /_api/cursor", body, "POST");
    assert_eq!(results(&listed).len(), 10);
    assert!(listed[0].get("count").is_none());
    for (skip, limit, expected) in
        [(0, 4, 4), (3, 4, 4), (8, 4, 2), (10, 5, 0), (12, 5, 0), (0, 0, 0), (0, 10, 10)]
    {
        let query = format!("FOR doc IN @@collection LIMIT {skip}, {limit} RETURN doc._id");
        for batch in [1, 3, 100] {
            let body = json!({"query": query, "bindVars": bind, "count": true, "batchSize": batch});
            let listed = pages(&mut server, "POST /_api/cursor", body, "POST");
            assert_eq!(results(&listed).len(), expected, "{query}");
            assert_eq!(listed[0]["count"], expected);
        }
        let body = json!({"collection": "c", "skip": skip, "limit": limit});
        let listed = pages(&mut server, "PUT /_api/simple/all", body, "PUT");
        assert_eq!(results(&listed).len(), expected);
    }
}

#[test]
fn an_empty_collection_is_listed_in_one_page() {
    let mut server = Server::with_c();
    server.check(
        "PUT /_api/simple/all",
        json!({"collection": "c"}),
        201,
        json!({"result": [], "hasMore": false, "cached": false, "count": 0, "error": false, "code": 201}),
    );
}

#[test]
fn values_that_are_no_documents_show_their_key_alone() {
    let mut server = Server::with_c();
    server.put(b"c/text", b"hello", 0);
    server.put(b"c/gone", b"{}", NOW_MS - 1);
    server.put(b"c/a/b", b"{}", 0);
    server.put(b"c/not a key", b"{}", 0);
    server.put(b"c/", b"{}", 0);
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    let mut keys =
        results(&[json_of(&server.raw("PUT /_api/simple/all-keys", br#"{"collection":"c","type":"key"}"#))]);
    keys.sort_by_key(Value::to_string);
    assert_eq!(keys, [json!("a"), json!("text")]);
    server.check(
        "PUT /_api/simple/all",
        json!({"collection": "c"}),
        201,
        json!({"result": [{"_key": "a", "...": 0}], "count": 1, "...": 0}),
    );
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 2, "...": 0}));
}

#[test]
fn large_documents_make_short_pages() {
    let mut server = Server::with_c();
    server.blocks = false;
    for n in 0..300 {
        let body = json!({"_key": format!("k{n}"), "v": "y".repeat(60_000)});
        server.check("POST /_api/document/c?silent=1", body, 201, Value::Null);
    }
    let listed = pages(&mut server, "PUT /_api/simple/all", json!({"collection": "c"}), "PUT");
    assert!(listed.len() > 1);
    assert_eq!(results(&listed).len(), 300);
}

#[test]
fn a_scan_ends_although_others_write_faster_than_it_reads() {
    let mut server = Server::with_c();
    let keys = fill(&mut server, 40);
    server.meanwhile = keys.iter().take(6).map(|key| format!("c/{key}")).collect();
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 40, "...": 0}));
    for batch in [7, 1000] {
        let body = json!({"collection": "c", "batchSize": batch});
        let mut page =
            json_of(&server.check("PUT /_api/simple/all", body, 201, json!({"count": 40, "...": 0})));
        let mut seen = results(std::slice::from_ref(&page));
        let mut pages = 0;
        while page["hasMore"] == true {
            pages += 1;
            assert!(pages < 50, "a listing ends, too");
            let line = format!("PUT /_api/cursor/{}", page["id"].as_str().unwrap());
            page = json_of(&server.check(&line, Value::Null, 200, Value::Null));
            seen.extend(results(std::slice::from_ref(&page)));
        }
        for key in &keys {
            assert!(seen.iter().any(|document| document["_key"] == json!(key)), "{key} is listed");
        }
    }
    server.check("PUT /_api/collection/c/truncate", Value::Null, 200, Value::Null);
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 0, "...": 0}));
}

#[test]
fn what_is_skipped_may_be_more_than_a_page_holds() {
    let mut server = Server::with_c();
    server.blocks = false;
    for n in 0..600 {
        let body = json!({"_key": format!("k{n}"), "v": "y".repeat(60_000)});
        server.check("POST /_api/document/c?silent=1", body, 201, Value::Null);
    }
    let mut all = BTreeSet::new();
    for (skip, left) in [(0, 600), (200, 400), (300, 300), (590, 10), (600, 0), (700, 0)] {
        let body = json!({"collection": "c", "skip": skip});
        let listed = pages(&mut server, "PUT /_api/simple/all", body, "PUT");
        let found: BTreeSet<String> = results(&listed).iter().map(|one| one["_key"].to_string()).collect();
        assert_eq!(found.len(), left, "{skip} are skipped");
        assert_eq!((&listed[0]["count"], listed[0]["code"].as_u64()), (&json!(left), Some(201)));
        if skip == 0 {
            all = found;
        } else {
            assert!(found.is_subset(&all));
        }
    }
}

#[test]
fn writes_between_pages_hide_nothing() {
    let mut server = Server::with_c();
    let keys = fill(&mut server, 40);
    let body = json!({"collection": "c", "type": "key", "batchSize": 5});
    let mut page = json_of(&server.check("PUT /_api/simple/all-keys", body, 201, Value::Null));
    let mut seen = results(std::slice::from_ref(&page));
    let mut turn = 0;
    while page["hasMore"] == true {
        let key = &keys[(turn * 7) % keys.len()];
        server.check(&format!("PATCH /_api/document/c/{key}"), json!({"t": turn}), 201, Value::Null);
        turn += 1;
        let line = format!("PUT /_api/cursor/{}", page["id"].as_str().unwrap());
        page = json_of(&server.check(&line, Value::Null, 200, Value::Null));
        seen.extend(results(std::slice::from_ref(&page)));
    }
    assert!(keys.iter().all(|key| seen.contains(&json!(key))));
}

#[test]
fn drivers_go_on_in_their_own_ways() {
    let mut server = Server::with_c();
    fill(&mut server, 10);
    // arangojs keeps the first name and takes the newest `nextBatchId`.
    let line = "PUT /_api/simple/all-keys\nx-arango-driver: arangojs/8.8.1 (cloud)";
    let body = json!({"collection": "c", "type": "key", "batchSize": 3});
    let mut page = json_of(&server.check(line, body.clone(), 201, Value::Null));
    let first = page["id"].clone();
    let mut seen = results(std::slice::from_ref(&page));
    while page["hasMore"] == true {
        let (id, next) = (first.as_str().unwrap(), page["nextBatchId"].as_str().unwrap());
        page =
            json_of(&server.check(&format!("POST /_api/cursor/{id}/{next}"), Value::Null, 200, Value::Null));
        seen.extend(results(std::slice::from_ref(&page)));
    }
    assert_eq!(seen.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), 10);
    assert_eq!(seen.len(), 10);
    // arangojs 7 and unknown drivers have the first name alone: they get all at once.
    for header in ["x-arango-version: 30400", "x-arango-driver: other/1"] {
        let line = format!("PUT /_api/simple/all-keys\n{header}");
        let whole = json!({"count": 10, "hasMore": false, "...": 0});
        let page = json_of(&server.check(&line, body.clone(), 201, whole));
        assert_eq!(page["result"].as_array().unwrap().len(), 10);
    }
    server.blocks = false;
    for n in 0..11 {
        let many = (0..1000).map(|m| json!({"_key": format!("m{n}-{m}")})).collect();
        server.check("POST /_api/document/c?silent=1", Value::Array(many), 201, json!({}));
    }
    server.refused("PUT /_api/simple/all-keys\nx-arango-version: 30400", body, 501, 9);
}

#[test]
fn a_cursor_that_is_none_is_not_found() {
    let mut server = Server::with_c();
    fill(&mut server, 10);
    let body = json!({"collection": "c", "batchSize": 2});
    let page = json_of(&server.check("PUT /_api/simple/all", body, 201, Value::Null));
    let id = page["id"].as_str().unwrap();
    server.refused(&format!("POST /_api/cursor/{id}/7"), Value::Null, 404, 1600);
    server.check(&format!("POST /_api/cursor/{id}/{id}"), Value::Null, 200, Value::Null);
    server.check(
        &format!("DELETE /_api/cursor/{id}"),
        Value::Null,
        202,
        json!({"id": id, "error": false, "code": 202}),
    );
    for line in ["PUT /_api/cursor/12345", "DELETE /_api/cursor/12345", "PUT /_api/cursor/zz"] {
        server.refused(line, Value::Null, 404, 1600);
    }
    let mut made_up = Cursor::decode(id).unwrap();
    made_up.from.frame.0 += 8;
    server.refused(&format!("PUT /_api/cursor/{}", made_up.encode()), Value::Null, 404, 1600);
    for body in [json!({"collection": "c", "batchSize": 0}), json!({"collection": "c", "skip": -1})] {
        server.refused("PUT /_api/simple/all", body, 400, 10);
    }
    server.refused("PUT /_api/simple/all", json!({"collection": "c", "skip": 10_001}), 400, 10);
    server.refused("PUT /_api/simple/all", json!({}), 400, 1204);
    server.refused("PUT /_api/simple/all", json!({"collection": "none"}), 404, 1203);
    server.refused("PUT /_api/simple/all-keys", json!({"collection": "c", "type": "x"}), 400, 10);
    server.refused("GET /_api/simple/all", Value::Null, 405, 405);
}
