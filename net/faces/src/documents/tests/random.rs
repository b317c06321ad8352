//! Requests that nobody would send, and many that somebody might: no panic, no 500.

use super::*;
use crate::http::{Headers, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn method() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]).prop_map(str::to_owned),
        1 => "[A-Z]{1,6}",
    ]
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(vec![
            "c", "d", "a", "b", "none", "_api", "document", "collection", "database", "simple", "cursor", "import",
            "index", "all", "all-keys", "lookup-by-keys", "remove-by-keys", "count", "truncate", "properties",
            "revision", "current", "user", "_db", "_system", "_admin", "gharial", "rename", "c/a", "0",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,12}",
        1 => "\\PC{0,6}",
        1 => "(%[0-9a-f]{2}){0,4}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    let known = select(vec![
        "/_api/document/c",
        "/_api/document/c/a",
        "/_api/document/c/b",
        "/_api/baton/increment/c/a",
        "/_api/document/d",
        "/_api/import",
        "/_api/collection",
        "/_api/collection/c/count",
        "/_api/collection/c/truncate",
        "/_api/collection/d",
        "/_api/collection/c/properties",
        "/_api/collection/c/revision",
        "/_api/simple/all",
        "/_api/simple/all-keys",
        "/_api/simple/lookup-by-keys",
        "/_api/simple/remove-by-keys",
        "/_api/cursor",
        "/_api/database",
        "/_api/database/shop",
        "/_db/shop/_api/document/c",
        "/_db/shop/_api/collection",
    ]);
    prop_oneof![
        8 => known.prop_map(str::to_owned),
        2 => vec(segment(), 0..6).prop_map(|parts| format!("/{}", parts.join("/"))),
        1 => vec(segment(), 0..3).prop_map(|parts| format!("/_api/cursor/{}", parts.join("/"))),
    ]
}

fn query() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = select(vec![
        "returnNew",
        "returnOld",
        "silent",
        "overwrite",
        "overwriteMode",
        "waitForSync",
        "keepNull",
        "mergeObjects",
        "ignoreRevs",
        "onlyget",
        "collection",
        "type",
        "complete",
        "details",
        "onDuplicate",
        "excludeSystem",
        "versionAttribute",
        "x",
    ]);
    let value = prop_oneof![
        6 => select(vec![
            "true", "false", "1", "0", "undefined", "", "c", "documents", "auto", "list", "array", "ignore",
            "replace", "update", "conflict", "error",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,10}",
    ];
    vec((name.prop_map(str::to_owned), value), 0..5)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec!["a", "b", "c", "c/a", "d/a", "x y", "", "0-0", "key", "shop"]).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let name = prop_oneof![
            select(vec![
                "_key",
                "_id",
                "_rev",
                "name",
                "type",
                "collection",
                "keys",
                "skip",
                "limit",
                "batchSize",
                "query",
                "bindVars",
                "keyOptions",
                "options",
                "users",
                "waitForSync",
                "a",
                "b",
                "@collection",
            ])
            .prop_map(str::to_owned),
            "\\PC{0,5}",
        ];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name, inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => json_value().prop_map(|value| value.to_string().into_bytes()),
        2 => vec(json_value(), 0..6).prop_map(|lines| {
            lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
        }),
        2 => vec((select(vec!["a", "b", "e", "x y"]), json_value()), 0..8).prop_map(|all| {
            let all = all.into_iter().map(|(key, value)| json!({"_key": key, "v": value}));
            Value::Array(all.collect()).to_string().into_bytes()
        }),
        1 => vec(any::<u8>(), 0..200),
        1 => (0usize..300).prop_map(|n| format!("{}{}", "[".repeat(n), "]".repeat(n)).into_bytes()),
        1 => (0usize..90_000).prop_map(|n| json!({"v": "z".repeat(n)}).to_string().into_bytes()),
        1 => Just(Vec::new()),
    ]
}

fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
    let name =
        select(vec!["If-Match", "If-None-Match", "Idempotency-Key", "X-Other"]).prop_map(str::to_owned);
    let value = prop_oneof![
        select(vec!["\"0-0\"", "0-0", "*", "", "one", "two"]).prop_map(str::to_owned),
        "[ -~]{0,140}",
    ];
    vec((name, value), 0..3)
}

/// A document, or what stands in the place of one.
fn document() -> impl Strategy<Value = Value> {
    let key = select(vec!["a", "b", "e", "f", "x y"]);
    prop_oneof![
        6 => (key.clone(), json_value()).prop_map(|(key, v)| json!({"_key": key, "v": v, "n": 1})),
        2 => json_value().prop_map(|v| json!({"v": v})),
        2 => key.prop_map(Value::from),
        1 => json_value(),
    ]
}

/// A request that is mostly right.
fn likely() -> impl Strategy<Value = (String, String, Vec<u8>)> {
    let text = |value: Value| value.to_string().into_bytes();
    let at = |method: &'static str, path: &'static str| (method.to_owned(), path.to_owned());
    let whole = select(vec!["POST", "PUT", "PATCH", "DELETE"]);
    let single = select(vec!["GET", "HEAD", "PUT", "PATCH", "DELETE"]);
    let listing = select(vec!["/_api/simple/all", "/_api/simple/all-keys"]);
    let by_keys = select(vec!["/_api/simple/lookup-by-keys", "/_api/simple/remove-by-keys"]);
    let of_c = select(vec!["count", "revision", "properties"]);
    let lines = |all: Vec<Value>| all.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes();
    prop_oneof![
        (whole, vec(document(), 0..6)).prop_map(move |(m, all)| (
            m.to_owned(),
            "/_api/document/c".to_owned(),
            text(Value::from(all))
        )),
        document().prop_map(move |body| {
            let (m, p) = at("POST", "/_api/document/c");
            (m, p, text(body))
        }),
        (single, select(vec!["a", "b", "e", "none"]), document()).prop_map(move |(m, key, body)| (
            m.to_owned(),
            format!("/_api/document/c/{key}"),
            text(body)
        )),
        (listing, 0usize..4, prop::option::of(0u64..5), 0u64..3).prop_map(move |(p, batch, limit, skip)| {
            let body = json!({"collection": "c", "batchSize": batch, "limit": limit, "skip": skip});
            ("PUT".to_owned(), p.to_owned(), text(body))
        }),
        (by_keys, vec(select(vec!["a", "b", "c/e", "none"]), 0..5)).prop_map(move |(p, keys)| {
            ("PUT".to_owned(), p.to_owned(), text(json!({"collection": "c", "keys": keys})))
        }),
        of_c.prop_map(move |what| ("GET".to_owned(), format!("/_api/collection/c/{what}"), Vec::new())),
        vec(document(), 0..6).prop_map(move |all| {
            let (m, p) = at("POST", "/_api/import");
            (m, p, lines(all))
        }),
        (any::<i64>(), any::<bool>()).prop_map(move |(by, create)| {
            let (m, p) = at("POST", "/_api/baton/increment/c/a");
            (m, p, text(json!({"attribute": "n", "by": by, "create": create})))
        }),
        select(vec!["shop", "c", "none", "_system"]).prop_flat_map(move |name| {
            let body = text(json!({"name": name}));
            select(vec!["/_api/database", "/_api/collection", "/_db/shop/_api/collection"])
                .prop_map(move |p| ("POST".to_owned(), p.to_owned(), body.clone()))
        }),
        select(vec!["/_api/database/shop", "/_db/shop/_api/collection/c", "/_api/collection/d"])
            .prop_map(|p| ("DELETE".to_owned(), p.to_owned(), Vec::new())),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let parts = prop_oneof![
        2 => likely(),
        1 => (method(), path(), body()),
    ];
    (parts, query(), headers()).prop_map(|((method, path, body), mut query, named)| {
        if path == "/_api/import" {
            query.push(("collection".to_owned(), "c".to_owned()));
            query.push(("type".to_owned(), "documents".to_owned()));
        }
        let mut headers = Headers::default();
        named.iter().for_each(|(name, value)| headers.push(name, value));
        let path = path.replace(['?', ' '], "");
        Request { method: Method::of(&method), path, query, headers, body, keep_alive: true }
    })
}

/// What must hold of every answer.
fn is_sound(request: &Request, response: &Response) -> Result<(), TestCaseError> {
    let status = response.status;
    prop_assert!((200..600).contains(&status) && status != 500, "{request:?}: {response:?}");
    if status == 304 {
        prop_assert!(response.body.is_empty());
        return Ok(());
    }
    if status == 299 {
        return Ok(());
    }
    let body: Result<Value, _> = serde_json::from_slice(&response.body);
    prop_assert!(body.is_ok(), "{request:?}: {:?}", String::from_utf8_lossy(&response.body));
    if status >= 400 {
        let body = body.unwrap();
        prop_assert_eq!(&body["code"], &json!(status));
        prop_assert!(body["errorNum"].as_u64().is_some_and(|number| number > 0));
        prop_assert!(body["errorMessage"].as_str().is_some_and(|text| !text.is_empty()));
    }
    for (name, value) in &response.headers {
        prop_assert!(!value.contains(['\r', '\n']), "{name}: {value:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_request_has_a_sound_answer(requests in vec(request(), 1..40), text in any::<bool>()) {
        let mut server = Server::with_c();
        server.check("POST /_api/document/c", json!([{"_key": "a", "n": 1}, {"_key": "b"}]), 201, Value::Null);
        if text {
            server.put(b"c/b", b"no document", 0);
        }
        let mut cursor = None;
        for request in &requests {
            let mut request = request.clone();
            if let (true, Some(cursor)) = (request.path.starts_with("/_api/cursor/"), &cursor) {
                request.path = format!("/_api/cursor/{cursor}");
                request.method = Method::Put;
            }
            let response = server.send(&request);
            is_sound(&request, &response)?;
            let told: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            if told["hasMore"] == true {
                cursor = told["id"].as_str().map(str::to_owned);
            }
            // And through its bytes.
            let mut bytes = Vec::new();
            response.encode(request.method == Method::Head, true, &mut bytes);
            prop_assert!(bytes.starts_with(b"HTTP/1.1 "));
        }
    }

    #[test]
    fn generated_keys_are_distinct_and_allowed(seeds in vec(any::<u64>(), 1..20), many in 1usize..30) {
        let mut server = Server::with_c();
        let mut keys = BTreeSet::new();
        let distinct: BTreeSet<u64> = seeds.iter().copied().collect();
        for seed in distinct.iter().copied() {
            server.seed = seed;
            let body = Value::Array(vec![json!({}); many]);
            let told = json_of(&server.check("POST /_api/document/c", body, 201, Value::Null));
            keys.extend(told.as_array().unwrap().iter().map(|made| made["_key"].as_str().unwrap().to_owned()));
        }
        prop_assert_eq!(keys.len(), distinct.len() * many);
    }
}
