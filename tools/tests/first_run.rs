//! What a new user does first: start, write, read, look, stop, start again.

mod common;

use baton_tools::processes::{self, Part};
use common::*;
use rustix::process::Signal;

#[test]
fn a_group_keeps_what_it_was_given() {
    let mut group = TestGroup::start(20_000);
    let leader = group.leader().unwrap();
    assert_eq!(leader, "a");
    assert_eq!(redis_cli(group.resp("a"), &["set", "greeting", "hello"]), "OK");
    assert_eq!(redis_cli(group.resp("a"), &["get", "greeting"]), "hello");

    let document = output(BATON, &["status", "--json", "--http", group.http("b")]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    for (path, expected) in [
        ("/nodes/0/name", serde_json::json!("a")),
        ("/nodes/1/up", serde_json::json!(true)),
        ("/agents/2/name", serde_json::json!("w")),
        ("/shards/0/slots", serde_json::json!([0, 16383])),
        ("/shards/0/leader", serde_json::json!("a")),
        ("/shards/0/in_sync", serde_json::json!(["a", "b"])),
        ("/shards/0/nodes/b/role", serde_json::json!("follower")),
        ("/history/0/shard", serde_json::json!(0)),
    ] {
        assert_eq!(document.pointer(path), Some(&expected), "{path} in {document}");
    }
    for path in ["/nodes/0/pid", "/nodes/0/warden_pid", "/nodes/0/incarnation", "/shards/0/epoch"] {
        let number = document.pointer(path).and_then(|v| v.as_u64());
        assert!(number.is_some_and(|n| n > 0), "{path} in {document}");
    }
    let table = output(BATON, &["status", "--http", group.http("a")]);
    assert!(table.contains("in sync"), "{table}");

    group.stop();
    group.start_again();
    let leader = group.leader().unwrap();
    assert_eq!(redis_cli(group.resp(&leader), &["get", "greeting"]), "hello");
}

#[test]
fn a_killed_leader_is_replaced_and_rejoins() {
    let mut group = TestGroup::start(20_400);
    assert_eq!(redis_cli(group.resp("a"), &["set", "greeting", "hello"]), "OK");
    group.signal("a", Part::Node, Signal::KILL).unwrap();
    wait_until("b answers writes", || {
        let answer = run("redis-cli", &["-p", &group.resp("b").port().to_string(), "set", "more", "1"]);
        text(&answer).trim() == "OK"
    });
    assert_eq!(redis_cli(group.resp("b"), &["get", "greeting"]), "hello");
    let status = group
        .wait_for("a rejoins", LIMIT, |s| {
            s.shards[0].leader.as_deref() == Some("b") && s.troubles().is_empty()
        })
        .unwrap();
    let newest = status.history.iter().find(|c| c.leader == "b").expect("b's promotion");
    assert!(!newest.why.is_empty());
    assert!(status.shards[0].epoch > 1);
    group.wait_whole();
}

#[test]
fn flags_that_contradict_the_files_are_refused() {
    let mut group = TestGroup::start(20_800);
    group.stop();
    let dir = group.setup().dir.to_str().unwrap().to_owned();
    let refused = run(BATON, &["start", "--dir", &dir, "--shards", "7"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("--shards 7"), "{}", text(&refused));
}

#[test]
fn nothing_is_orphaned_when_start_is_killed() {
    let group = TestGroup::start(21_200);
    let configs: Vec<_> = ["a", "b", "w"].iter().map(|name| group.config_of(name)).collect();
    processes::signal(group.supervisor_pid(), Signal::KILL).unwrap();
    wait_until("every process ends", || {
        let runs = |part| configs.iter().any(|config| processes::find(part, config).is_some());
        !runs(Part::Warden) && !runs(Part::Node)
    });
}

#[test]
fn a_group_that_nobody_started_is_not_fine() {
    let asked = run(BATON, &["status", "--http", "127.0.0.1:1"]);
    assert_eq!(asked.status.code(), Some(1), "{}", text(&asked));
    let wrong = run(BATON, &["status", "--no-such-flag"]);
    assert_eq!(wrong.status.code(), Some(2));
}
