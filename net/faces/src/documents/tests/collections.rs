//! Collections, databases, and what Baton does not have.

use super::*;

#[test]
fn a_collection_is_created_described_and_dropped() {
    let mut server = Server::new();
    let settings = json!({"name": "c", "type": 2, "waitForSync": true, "isSystem": false,
                          "keyOptions": {"type": "uuid", "allowUserKeys": false}, "numberOfShards": 3, "schema": null});
    let told = json!({"error": false, "code": 200, "name": "c", "id": "2", "status": 3, "type": 2,
                      "isSystem": false, "globallyUniqueId": "*", "waitForSync": true,
                      "keyOptions": {"type": "uuid", "allowUserKeys": false}, "...": 0});
    server.check("POST /_api/collection?waitForSyncReplication=1", settings.clone(), 200, told.clone());
    server.check("GET /_api/collection/c/properties", Value::Null, 200, told);
    server.refused("POST /_api/collection", settings, 409, 1207);
    let short = json!({"error": false, "code": 200, "id": "2", "name": "c", "status": 3, "type": 2,
                       "isSystem": false, "globallyUniqueId": "*"});
    server.check("GET /_api/collection/c", Value::Null, 200, short);
    server.check(
        "PUT /_api/collection/c/properties",
        json!({"waitForSync": false}),
        200,
        json!({"waitForSync": false, "...": 0}),
    );
    let first =
        server.check("GET /_api/collection/c/revision", Value::Null, 200, json!({"revision": "*", "...": 0}));
    server.refused("POST /_api/document/c", json!({"_key": "mine"}), 400, 1222);
    let made = server.check("POST /_api/document/c", json!({"n": 1}), 201, Value::Null);
    let key = json_of(&made)["_key"].as_str().unwrap().to_owned();
    assert_eq!(key.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let later = server.check("GET /_api/collection/c/revision", Value::Null, 200, Value::Null);
    assert_ne!(json_of(&first)["revision"], json_of(&later)["revision"]);
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 1, "...": 0}));
    server.check(
        "DELETE /_api/collection/c",
        Value::Null,
        200,
        json!({"id": "2", "error": false, "code": 200}),
    );
    for line in ["GET /_api/collection/c", "DELETE /_api/collection/c", "PUT /_api/collection/c/truncate"] {
        server.refused(line, Value::Null, 404, 1203);
    }
    server.refused(&format!("GET /_api/document/c/{key}"), Value::Null, 404, 1203);
    // One of the same name is empty.
    server.check("POST /_api/collection", json!({"name": "c"}), 200, json!({"id": "3", "...": 0}));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 0, "...": 0}));
    server.refused(&format!("GET /_api/document/c/{key}"), Value::Null, 404, 1202);
}

#[test]
fn collections_are_listed() {
    let mut server = Server::new();
    for (name, system) in [("users", false), ("_jobs", true), ("alpha", false)] {
        server.check("POST /_api/collection", json!({"name": name, "isSystem": system}), 200, Value::Null);
    }
    for (query, names) in [
        ("", vec!["_jobs", "alpha", "users"]),
        ("?excludeSystem=true", vec!["alpha", "users"]),
        ("?", vec!["_jobs", "alpha", "users"]),
    ] {
        let found = json_of(&server.raw(&format!("GET /_api/collection{query}"), b""));
        let listed: Vec<_> = found["result"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        assert_eq!(listed, names);
    }
    for name in ["", "_private", "1st", "a b", "a/b", "ü"] {
        server.refused("POST /_api/collection", json!({"name": name}), 400, 1208);
    }
    server.refused("POST /_api/collection", json!({}), 400, 1208);
    server.refused("POST /_api/collection", json!([]), 400, 10);
    server.refused("POST /_api/collection", json!({"name": "e", "type": 7}), 400, 10);
    server.refused("POST /_api/collection", json!({"name": "e", "keyOptions": {"type": "x"}}), 400, 10);
    server.refused("PATCH /_api/collection", Value::Null, 405, 405);
}

#[test]
fn truncating_removes_all_documents_of_one_collection() {
    let mut server = Server::with_c();
    server.check("POST /_api/collection", json!({"name": "cc"}), 200, Value::Null);
    server.check("POST /_api/database", json!({"name": "c"}), 201, Value::Null);
    server.check("POST /_db/c/_api/collection", json!({"name": "c"}), 200, Value::Null);
    server.check("POST /_api/document/cc", json!({"_key": "stays"}), 201, Value::Null);
    server.check("POST /_db/c/_api/document/c", json!({"_key": "stays"}), 201, Value::Null);
    server.put(b"c", b"a key beside", 0);
    let many: Vec<Value> = (0..700).map(|n| json!({"n": n})).collect();
    server.check("POST /_api/document/c?silent=1", Value::Array(many), 201, json!({}));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 700, "...": 0}));
    server.check("PUT /_api/collection/c/truncate", Value::Null, 200, json!({"name": "c", "...": 0}));
    server.check("GET /_api/collection/c/count", Value::Null, 200, json!({"count": 0, "...": 0}));
    assert!(
        server.get(b"cc/stays").is_some() && server.get(b"c/c/stays").is_some() && server.get(b"c").is_some()
    );
}

#[test]
fn databases_come_and_go() {
    let mut server = Server::with_c();
    let fine = json!({"result": true, "error": false, "code": 201});
    server.check(
        "POST /_api/database",
        json!({"name": "shop", "users": [{"username": "nobody"}], "options": {}}),
        201,
        fine,
    );
    server.refused("POST /_api/database", json!({"name": "shop"}), 409, 1207);
    for name in ["", "_x", "1", "a b"] {
        server.refused("POST /_api/database", json!({"name": name}), 400, 1229);
    }
    server.check("GET /_api/database", Value::Null, 200, json!({"result": ["_system", "shop"], "...": 0}));
    server.check(
        "GET /_api/database/user",
        Value::Null,
        200,
        json!({"result": ["_system", "shop"], "...": 0}),
    );
    server.refused("GET /_db/shop/_api/database", Value::Null, 403, 1230);
    server.check(
        "GET /_db/shop/_api/database/current",
        Value::Null,
        200,
        json!({"result": {"name": "shop", "id": "*", "path": "*", "isSystem": false}, "error": false, "code": 200}),
    );
    server.check("POST /_db/shop/_api/collection", json!({"name": "c"}), 200, Value::Null);
    server.check("POST /_db/shop/_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    server.check("POST /_api/document/c", json!({"_key": "a"}), 201, Value::Null);
    server.check("DELETE /_api/database/shop", Value::Null, 200, json!({"result": true, "...": 0}));
    server.refused("DELETE /_api/database/shop", Value::Null, 404, 1228);
    server.refused("GET /_db/shop/_api/collection", Value::Null, 404, 1228);
    server.refused("DELETE /_api/database/_system", Value::Null, 403, 11);
    assert!(server.get(b"shop/c/a").is_none() && server.get(b"c/a").is_some());
}

#[test]
fn what_baton_does_not_have_is_said_with_what_to_use_instead() {
    let mut server = Server::with_c();
    for (line, body) in [
        ("POST /_api/cursor", json!({"query": "RETURN 1"})),
        ("POST /_api/query", json!({})),
        ("POST /_api/explain", json!({})),
        ("GET /_api/gharial", Value::Null),
        ("GET /_api/edges/c?vertex=c/a", Value::Null),
        ("POST /_api/index?collection=c", json!({"type": "hash"})),
        ("DELETE /_api/index/c/1", Value::Null),
        ("POST /_api/transaction/begin", json!({})),
        ("GET /_api/view", Value::Null),
        ("GET /_api/analyzer", Value::Null),
        ("GET /_api/foxx", Value::Null),
        ("GET /_api/tasks", Value::Null),
        ("PUT /_api/simple/by-example", json!({"collection": "c"})),
        ("PUT /_api/simple/any", json!({"collection": "c"})),
        ("POST /_api/export?collection=c", Value::Null),
        ("PUT /_api/collection/c/rename", json!({"name": "d"})),
        ("GET /_api/collection/c/figures", Value::Null),
        ("GET /_api/collection/c/checksum", Value::Null),
        ("POST /_api/collection", json!({"name": "e", "type": 3})),
        ("POST /_api/collection", json!({"name": "e", "schema": {"rule": {}}})),
        ("POST /_api/collection", json!({"name": "e", "keyOptions": {"type": "autoincrement"}})),
    ] {
        server.refused(line, body, 501, 9);
    }
    server.check(
        "GET /_api/index?collection=c",
        Value::Null,
        200,
        json!({"indexes": [{"type": "primary", "id": "c/0", "...": 0}], "...": 0}),
    );
    for line in ["PUT /_api/collection/c/load", "PUT /_api/collection/c/recalculateCount"] {
        server.check(line, Value::Null, 200, Value::Null);
    }
    for line in
        ["GET /_api/version", "GET /_admin/server/role", "POST /_open/auth", "GET /_api/cluster/endpoints"]
    {
        assert_eq!(server.raw(line, b"").status, 299, "{line} is the node's");
        assert_eq!(server.raw(&line.replace(" /", " /_db/_system/"), b"").status, 299);
    }
}

#[test]
fn changes_survive_in_the_store() {
    let mut server = Server::with_c();
    let kept = server.run(0, |store| match store.fetch(METADATA_KEY) {
        Fetch::Value { value, .. } => Some(value.to_vec()),
        _ => None,
    });
    assert_eq!(Metadata::decode(&kept).unwrap(), server.metadata);
    let broken = Write::Put { key: METADATA_KEY, value: b"broken", expiry_ms: 0 };
    server.run(0, |store| store.write(&[broken]).ok());
    server.refused("POST /_api/collection", json!({"name": "d"}), 500, 4);
    assert!(server.metadata.collection("_system", "d").is_none());
}

#[test]
fn databases_and_collections_are_bounded() {
    let mut metadata = Server::with_c().metadata;
    let collection = metadata.collection(SYSTEM, "c").unwrap().clone();
    for n in 2..256 {
        metadata.databases.insert(format!("d{n}"), Database { id: n, ..Database::default() });
    }
    let found = metadata.databases.get_mut("d7").unwrap();
    for n in 1..2047 {
        // As large as a name may be.
        found.collections.insert(format!("{:c<256}", format!("c{n}-")), collection.clone());
    }
    assert_eq!(Metadata::decode(&metadata.encode()).unwrap(), metadata);
    let full = |wanted: MetadataChange, metadata: &mut Metadata| {
        let answer = wanted.apply(metadata);
        (answer.status, json_of(&answer)["errorNum"].clone())
    };
    let create = |name: &str| MetadataChange::CreateCollection {
        database: SYSTEM.to_owned(),
        name: name.to_owned(),
        settings: CollectionSettings::default(),
    };
    let database = |name: &str| MetadataChange::CreateDatabase { name: name.to_owned(), users: Vec::new() };
    assert_eq!(full(create("last"), &mut metadata).0, 200);
    assert_eq!(full(create("more"), &mut metadata), (403, json!(32)));
    assert_eq!(full(database("last"), &mut metadata).0, 201);
    assert_eq!(full(database("more"), &mut metadata), (403, json!(32)));
    assert_eq!(full(create("c"), &mut metadata), (409, json!(1207)));
}
