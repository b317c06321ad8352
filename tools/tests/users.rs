//! A group that asks for passwords: who may do what, by both faces, before and after a failover.

mod common;

use baton_tools::processes::Part;
use common::http::{Answer, ask};
use common::*;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Base64 of `root:swordfish`.
const ROOT: (&str, &str) = ("Authorization", "Basic cm9vdDpzd29yZGZpc2g=");
const PASSWORD: &str = "swordfish";

fn as_root(method: &str, address: &str, path: &str, body: Value) -> Answer {
    ask(method, address, path, &[ROOT], &body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn token(address: &str, user: &str, password: &str) -> Answer {
    let body = json!({ "username": user, "password": password });
    ask("POST", address, "/_open/auth", &[], &body).unwrap()
}

fn cli(address: SocketAddr, user: &str, password: &str, words: &[&str]) -> String {
    let port = address.port().to_string();
    let login = ["-p", &port, "--no-auth-warning", "--user", user, "--pass", password];
    let said = run("redis-cli", &login.into_iter().chain(words.iter().copied()).collect::<Vec<_>>());
    // A login that failed is told on standard error.
    text(&said).trim_end().to_owned()
}

fn with_password(port_base: u16) -> TestGroup {
    let file = directory();
    let path = file.path().join("password");
    std::fs::write(&path, format!("{PASSWORD}\n")).unwrap();
    let flags = ["--auth", "--root-password-file", path.to_str().unwrap()].map(str::to_owned);
    TestGroup::start_with(port_base, |setup| setup.flags.extend(flags))
}

#[test]
fn users_are_the_same_by_both_faces_and_on_the_next_leader() {
    let mut group = with_password(32_000);
    group.wait_whole();
    let (leader, follower) = (group.leader().unwrap(), group.follower().unwrap());
    let (http, resp) = (group.http(&leader).to_owned(), group.resp(&leader));

    // Nobody in particular may ask who is available, and log in.
    let open = ask("GET", &http, "/_admin/server/availability", &[], &Value::Null).unwrap();
    assert_eq!(open.status, 200);
    let nobody = ask("GET", &http, "/_api/version", &[], &Value::Null).unwrap();
    assert_eq!((nobody.status, &nobody.body["errorNum"]), (401, &json!(11)), "{nobody:?}");
    let wrong = ("Authorization", "Basic cm9vdDp3cm9uZw==");
    assert_eq!(ask("GET", &http, "/_api/version", &[wrong], &Value::Null).unwrap().status, 401);
    assert_eq!(token(&http, "root", "wrong").status, 401);
    assert_eq!(redis_cli(resp, &["get", "k"]), "NOAUTH Authentication required.");
    assert!(cli(resp, "root", "wrong", &["get", "k"]).contains("WRONGPASS"));

    // Root makes two users: one who reads, one who writes in a database of its own.
    assert_eq!(as_root("GET", &http, "/_api/version", Value::Null).status, 200);
    assert_eq!(as_root("POST", &http, "/_api/collection", json!({ "name": "users" })).status, 200);
    let alice = as_root("POST", &http, "/_api/document/users", json!({ "_key": "alice", "age": 30 }));
    assert!(alice.status == 201 || alice.status == 202, "{alice:?}");
    assert_eq!(as_root("POST", &http, "/_api/database", json!({ "name": "shop" })).status, 201);
    for (user, database, grant) in [("reader", "_system", "ro"), ("clerk", "shop", "rw")] {
        let made = as_root("POST", &http, "/_api/user", json!({ "user": user, "passwd": "pw" }));
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/_api/user/{user}/database/{database}");
        assert_eq!(as_root("PUT", &http, &path, json!({ "grant": grant })).status, 200);
    }

    // What they may do is the same by HTTP and by RESP.
    let jwt = token(&http, "reader", "pw").body["jwt"].as_str().expect("a token").to_owned();
    let bearer = format!("bearer {jwt}");
    let reader = [("Authorization", bearer.as_str())];
    let read = ask("GET", &http, "/_api/document/users/alice", &reader, &Value::Null).unwrap();
    assert_eq!((read.status, &read.body["age"]), (200, &json!(30)));
    let write = ask("POST", &http, "/_api/document/users", &reader, &json!({ "_key": "eve" })).unwrap();
    assert_eq!((write.status, &write.body["errorNum"]), (403, &json!(11)), "{write:?}");
    assert_eq!(ask("DELETE", &http, "/_admin/shutdown", &reader, &Value::Null).unwrap().status, 403);
    assert_eq!(ask("GET", &http, "/_api/user", &reader, &Value::Null).unwrap().status, 403);
    assert_eq!(cli(resp, "reader", "pw", &["get", "users/alice"]), r#"{"age":30}"#);
    assert!(cli(resp, "reader", "pw", &["set", "users/eve", "{}"]).starts_with("NOPERM "));
    assert!(cli(resp, "reader", "pw", &["get", "shop/orders/1"]).starts_with("NOPERM "));
    assert_eq!(cli(resp, "clerk", "pw", &["set", "shop/orders/1", "{}"]), "OK");
    assert!(cli(resp, "clerk", "pw", &["get", "users/alice"]).starts_with("NOPERM "));
    assert_eq!(redis_cli(resp, &["-3", "-a", PASSWORD, "--no-auth-warning", "set", "k", "v"]), "OK");

    // The next leader knows them all, and the tokens.
    group.signal(&leader, Part::Node, Signal::KILL).unwrap();
    let (http, resp) = (group.http(&follower).to_owned(), group.resp(&follower));
    wait_until("the follower leads", || {
        let read = ask("GET", &http, "/_api/document/users/alice", &reader, &Value::Null);
        read.is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(
        ask("DELETE", &http, "/_api/document/users/alice", &reader, &Value::Null).unwrap().status,
        403
    );
    assert_eq!(as_root("GET", &http, "/_api/user", Value::Null).body["result"].as_array().unwrap().len(), 3);
    assert_eq!(cli(resp, "reader", "pw", &["get", "users/alice"]), r#"{"age":30}"#);

    // A new password is good and the old one is not, at once and on every node.
    group.wait_whole();
    let changed = as_root("PATCH", &http, "/_api/user/reader", json!({ "passwd": "new" }));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(cli(resp, "reader", "pw", &["get", "users/alice"]).contains("WRONGPASS"));
    assert_eq!(cli(resp, "reader", "new", &["get", "users/alice"]), r#"{"age":30}"#);
    wait_until("the other node knows the new password", || {
        token(group.http(&leader), "reader", "new").status == 200
    });
    assert_eq!(token(group.http(&leader), "reader", "pw").status, 401);
    assert_eq!(as_root("DELETE", &http, "/_api/user/reader", Value::Null).status, 202);
    assert_eq!(ask("GET", &http, "/_api/document/users/alice", &reader, &Value::Null).unwrap().status, 401);
}

#[test]
fn administrators_hand_over_and_others_do_not() {
    let mut group = with_password(32_400);
    group.wait_whole();
    let http = group.http("a").to_owned();
    let refused = run(BATON, &["handoff", "--to", "b", "--http", &http]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    let file = group.scratch().join("root");
    std::fs::write(&file, PASSWORD).unwrap();
    let file = file.to_str().unwrap();
    let said = output(BATON, &["handoff", "--to", "b", "--http", &http, "--password-file", file]);
    assert!(said.contains("shard 0 is led by b"), "{said}");
    output(BATON, &["status", "--http", &http]);
}
