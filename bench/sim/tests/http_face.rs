//! The HTTP face's promises, each as a story of two nodes (see `replication.rs`). Shards are one: what goes
//! between shards is tested with real processes.

use agency::ids::NodeId;
use node::job::Job;
use sim::pair::{A, B, Pair};

const DIRTY: &str = "X-Arango-Allow-Dirty-Read: true\r\n";

/// A pair with the collection `users` and the document `users/ann`.
fn with_ann() -> Pair {
    let mut pair = Pair::up();
    assert!(
        pair.ask_http(A, "POST /_api/collection", "", r#"{"name":"users"}"#).starts_with("HTTP/1.1 200 ")
    );
    assert!(insert(&mut pair, A, "ann").starts_with("HTTP/1.1 201 "));
    pair.run_until("both to settle", |w| {
        let (a, b) = (w.cursors(A), w.cursors(B));
        a.0 == b.0 && a.2 == a.0 && b.2 == b.0
    });
    pair
}

fn insert(pair: &mut Pair, at: NodeId, key: &str) -> String {
    pair.ask_http(at, "POST /_api/document/users", "", &format!(r#"{{"_key":"{key}","n":1}}"#))
}

fn read(pair: &mut Pair, at: NodeId, key: &str, headers: &str) -> String {
    pair.ask_http(at, &format!("GET /_api/document/users/{key}"), headers, "")
}

fn etag(response: &str) -> &str {
    response.lines().find_map(|line| line.strip_prefix("Etag: ")).expect("the response has an Etag")
}

#[test]
fn a_document_is_on_both_disks_when_it_is_answered() {
    let mut pair = with_ann();
    pair.hosts[1].disk_delay = 20_000_000;
    pair.open_http(A);
    pair.request_http(A, "PUT /_api/document/users/ann", "", r#"{"n":2}"#);
    pair.run_ms(10);
    assert_eq!(pair.take_responses(A), "");
    // Nor may anybody read it yet.
    pair.open_http(A);
    pair.request_http(A, "GET /_api/document/users/ann", "", "");
    pair.run_ms(5);
    assert_eq!(pair.take_responses(A), "");
    pair.run_until("the response", |w| !w.hosts[0].responses.is_empty());
    assert!(pair.take_responses(A).contains(r#""n":2"#));
    let (tail, durable, _) = pair.cursors(B);
    assert_eq!(tail, durable);
}

#[test]
fn a_weaker_level_is_answered_sooner_and_says_so() {
    let mut pair = with_ann();
    pair.hosts[1].disk_delay = 50_000_000;
    let weak = "X-Baton-Ack: local\r\n";
    let response = pair.ask_http(A, "PATCH /_api/document/users/ann", weak, r#"{"n":2}"#);
    assert!(response.starts_with("HTTP/1.1 202 "), "{response}");
    let (_, durable, _) = pair.cursors(B);
    assert!(durable < pair.cursors(A).1, "the follower's disk is still at it");
    let forced = pair.ask_http(A, "PATCH /_api/document/users/ann?waitForSync=true", weak, r#"{"n":3}"#);
    assert!(forced.starts_with("HTTP/1.1 201 "), "{forced}");
}

#[test]
fn both_faces_see_the_same_data() {
    let mut pair = with_ann();
    assert_eq!(pair.ask(A, "GET users/ann"), "$7\r\n{\"n\":1}\r\n");
    pair.ask(A, r#"SET users/bob "{\"n\":7}""#);
    assert!(read(&mut pair, A, "bob", "").contains(r#""n":7"#));
}

#[test]
fn a_follower_refuses_at_once_and_names_the_leader() {
    let mut pair = with_ann();
    let before = pair.now;
    let response = insert(&mut pair, B, "bob");
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("X-Arango-Endpoint: http://127.0.0.1:7480\r\n"), "{response}");
    assert!(response.ends_with(r#"{"error":true,"code":503,"errorNum":1496,"errorMessage":"not a leader"}"#));
    assert!(read(&mut pair, B, "ann", "").starts_with("HTTP/1.1 503 "));
    assert!(pair.ask_http(B, "GET /_api/nothing", "", "").starts_with("HTTP/1.1 503 "));
    assert!(pair.now - before < 1_000_000, "not parked");
    for path in ["/_api/version", "/_api/cluster/endpoints", "/_admin/server/role", "/_admin/server/mode"] {
        let response = pair.ask_http(B, &format!("GET {path}"), "", "");
        assert!(response.starts_with("HTTP/1.1 200 "), "{path}: {response}");
    }
    let endpoints = pair.ask_http(B, "GET /_api/cluster/endpoints", "", "");
    let at = |port: &str| endpoints.find(port).expect("both are listed");
    assert!(at("7480") < at("7580"), "{endpoints}");
    assert!(pair.ask_http(B, "GET /_admin/server/availability", "", "").starts_with("HTTP/1.1 503 "));
    assert!(pair.ask_http(A, "GET /_admin/server/availability", "", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_follower_serves_dirty_reads_as_fresh_as_asked() {
    let mut pair = with_ann();
    let response = read(&mut pair, B, "ann", DIRTY);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.contains("X-Arango-Potential-Dirty-Read: true\r\n"), "{response}");
    assert!(response.contains("X-Baton-Epoch: 1\r\n"), "{response}");
    let fresh = "X-Baton-Max-Staleness: 50ms\r\n";
    assert!(read(&mut pair, B, "ann", fresh).starts_with("HTTP/1.1 200 "));
    pair.kill(A);
    pair.run_ms(100);
    let stale = read(&mut pair, B, "ann", fresh);
    assert!(stale.starts_with("HTTP/1.1 503 "), "{stale}");
    assert!(read(&mut pair, B, "ann", DIRTY).starts_with("HTTP/1.1 200 "));
    // Writes are never dirty.
    let write = pair.ask_http(B, "DELETE /_api/document/users/ann", DIRTY, "");
    assert!(write.starts_with("HTTP/1.1 503 "), "{write}");
}

#[test]
fn a_request_that_comes_during_the_failover_is_answered_by_the_new_leader() {
    let mut pair = with_ann();
    let revision = etag(&read(&mut pair, A, "ann", "")).to_owned();
    pair.kill(A);
    pair.run_ms(1);
    pair.open_http(B);
    pair.request_http(B, "GET /_api/document/users/ann", "", "");
    pair.request_http(B, "POST /_api/document/users", "", r#"{"_key":"bob"}"#);
    pair.run_ms(20);
    assert_eq!(pair.take_responses(B), "");
    pair.promote(B);
    pair.run_until("both responses", |w| {
        String::from_utf8_lossy(&w.hosts[1].responses).matches("HTTP/1.1 ").count() == 2
    });
    let responses = pair.take_responses(B);
    assert!(responses.starts_with("HTTP/1.1 200 "), "{responses}");
    assert_eq!(etag(&responses), revision, "revisions survive");
    assert!(responses.contains("HTTP/1.1 201 "), "{responses}");
}

#[test]
fn without_a_leader_a_request_is_refused_in_the_end_and_nobody_is_named() {
    let mut pair = with_ann();
    pair.kill(A);
    pair.leader_lost = true;
    pair.decide(|_| ());
    pair.run_ms(1);
    let response = insert(&mut pair, B, "bob");
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("X-Arango-Endpoint: \r\n") && response.contains("1495"), "{response}");
}

#[test]
fn a_deposed_leader_resets_whose_writes_are_uncertain_and_redirects_the_rest() {
    let mut pair = with_ann();
    pair.hosts[1].disk_delay = 50_000_000;
    pair.open_http(A);
    pair.request_http(A, "POST /_api/document/users", "", r#"{"_key":"bob"}"#);
    pair.run_ms(5);
    assert!(!pair.hosts[0].http_closed);
    pair.promote(B);
    pair.run_ms(1);
    assert!(pair.hosts[0].http_closed, "nobody here knows what became of the write");
    assert_eq!(pair.take_responses(A), "");
    let response = read(&mut pair, A, "ann", "");
    assert!(response.contains("X-Arango-Endpoint: http://127.0.0.1:7580\r\n"), "{response}");
}

#[test]
fn a_deposed_leader_tells_nothing_that_rests_on_its_reads() {
    let mut pair = with_ann();
    pair.open_http(A);
    // One is written, the other one is not there: that is a read, and waits for a lease.
    pair.hosts[0].lease_until = 0;
    pair.request_http(A, "PATCH /_api/document/users", "", r#"[{"_key":"ann"},{"_key":"none"}]"#);
    pair.run_ms(100);
    let (tail, _, committed) = pair.cursors(A);
    assert_eq!(tail, committed);
    assert_eq!(pair.take_responses(A), "");
    pair.promote(B);
    pair.run_ms(5);
    assert_eq!(pair.take_responses(A), "");
    assert!(pair.hosts[0].http_closed, "the other leader may have made that document by now");
}

#[test]
fn a_leader_without_a_lease_answers_no_read() {
    let mut pair = with_ann();
    pair.hosts[0].lease_until = 0;
    pair.open_http(A);
    pair.request_http(A, "GET /_api/document/users/ann", "", "");
    pair.run_ms(50);
    assert_eq!(pair.take_responses(A), "");
    pair.hosts[0].lease_until = u64::MAX;
    pair.run_until("the response", |w| !w.hosts[0].responses.is_empty());
    assert!(pair.take_responses(A).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_read_under_way_when_the_leadership_is_lost_is_redirected() {
    let mut pair = with_ann();
    // Executed under a lease that is over before the reply could leave.
    pair.hosts[1].disk_delay = 50_000_000;
    pair.open_http(A);
    pair.request_http(A, "PATCH /_api/document/users/ann", "", r#"{"n":9}"#);
    pair.open_http(A);
    pair.request_http(A, "GET /_api/document/users/ann", "", "");
    pair.run_ms(5);
    pair.promote(B);
    pair.run_until("the response", |w| !w.hosts[0].responses.is_empty());
    let response = pair.take_responses(A);
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("7580"), "{response}");
}

#[test]
fn a_handoff_lets_no_request_fail_but_with_a_redirection() {
    let mut pair = with_ann();
    pair.open_http(A);
    for key in 0..20 {
        pair.request_http(A, "POST /_api/document/users", "", &format!(r#"{{"_key":"k{key}"}}"#));
    }
    pair.hand_off(A);
    pair.request_http(A, "POST /_api/document/users", "", r#"{"_key":"late"}"#);
    pair.run_until("all responses", |w| {
        String::from_utf8_lossy(&w.hosts[0].responses).matches("HTTP/1.1 ").count() == 21
    });
    let responses = pair.take_responses(A);
    assert!(!pair.hosts[0].http_closed);
    assert_eq!(responses.matches("HTTP/1.1 201 ").count(), 20, "{responses}");
    assert_eq!(responses.matches("X-Arango-Endpoint: http://127.0.0.1:7580").count(), 1, "{responses}");
    pair.run_until("the new leader to serve", |w| w.configuration.leader == B);
    for key in 0..20 {
        assert!(read(&mut pair, B, &format!("k{key}"), "").starts_with("HTTP/1.1 200 "), "k{key}");
    }
}

#[test]
fn a_shutdown_hands_over_first() {
    let mut pair = with_ann();
    let response = pair.ask_http(A, "DELETE /_admin/shutdown", "", "");
    assert!(response.starts_with("HTTP/1.1 200 ") && response.ends_with("\"OK\""), "{response}");
    pair.run_until("the handoff", |w| w.configuration.leader == B);
    assert!(insert(&mut pair, B, "bob").starts_with("HTTP/1.1 201 "));
    assert!(read(&mut pair, B, "ann", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn nobody_promotes_without_a_word_of_the_loss() {
    let mut pair = with_ann();
    let path = "/_admin/baton/promote";
    for query in ["", "?accept-data-loss=false", "?accept-data-loss"] {
        let response = pair.ask_http(A, &format!("POST {path}{query}"), "", "");
        assert!(response.starts_with("HTTP/1.1 400 ") && response.contains("lost for good"), "{response}");
    }
    let response = pair.ask_http(A, &format!("GET {path}?accept-data-loss=true"), "", "");
    assert!(response.starts_with("HTTP/1.1 405 "), "{response}");
}

#[test]
fn a_read_whose_lease_ends_before_its_answer_leaves_is_refused_in_the_end() {
    let mut pair = with_ann();
    pair.hosts[1].disk_delay = 500_000_000;
    pair.open_http(A);
    pair.request_http(A, "PATCH /_api/document/users/ann", "", r#"{"n":9}"#);
    pair.open_http(A);
    // Carried out under the lease; its answer waits for the commit of what it read.
    pair.request_http(A, "GET /_api/document/users/ann", "", "");
    pair.run_ms(5);
    pair.hosts[0].lease_until = 0;
    pair.run_until("the response", |w| !w.hosts[0].responses.is_empty());
    let response = pair.take_responses(A);
    assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("1495"), "{response}");
}

#[test]
fn a_leader_that_gets_no_lease_refuses_what_only_a_lease_would_let_it_say() {
    let mut pair = with_ann();
    pair.ask_http(A, "POST /_api/collection", "", r#"{"name":"empty"}"#);
    pair.hosts[0].lease_until = 0;
    // What another leader may have changed meanwhile: that a key is there, or that nothing is.
    for request in ["POST /_api/document/users", "PUT /_api/collection/empty/truncate"] {
        let response = pair.ask_http(A, request, "", r#"{"_key":"ann","n":2}"#);
        assert!(response.starts_with("HTTP/1.1 503 ") && response.contains("1495"), "{request}: {response}");
    }
    assert!(insert(&mut pair, A, "bob").starts_with("HTTP/1.1 201 "), "writes need none");
    // One element was written, what became of the other cannot be told.
    pair.open_http(A);
    pair.request_http(A, "POST /_api/document/users", "", r#"[{"_key":"cyd"},{"_key":"ann"}]"#);
    pair.run_until("the end", |w| w.hosts[0].http_closed);
    assert_eq!(pair.take_responses(A), "");
}

#[test]
fn a_learner_says_what_it_is() {
    let mut pair = with_ann();
    let role = |pair: &mut Pair, node| pair.ask_http(node, "GET /_admin/server/role", "", "");
    assert!(role(&mut pair, A).contains(r#""role":"leader""#));
    assert!(role(&mut pair, B).contains(r#""role":"follower""#));
    pair.decides = false;
    pair.decide(|c| c.in_sync = c.in_sync.without(B));
    assert!(role(&mut pair, B).contains(r#""role":"learner""#));
}

#[test]
fn the_read_only_mode_holds_for_both_faces_and_survives_a_failover() {
    let mut pair = with_ann();
    let set = pair.ask_http(A, "PUT /_admin/server/mode", "", r#"{"mode":"readonly"}"#);
    assert!(set.starts_with("HTTP/1.1 200 ") && set.contains("readonly"), "{set}");
    pair.run_ms(20);
    pair.kill(A);
    pair.promote(B);
    pair.run_ms(5);
    let refused = insert(&mut pair, B, "bob");
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("1004"), "{refused}");
    assert!(pair.ask(B, "SET k v").starts_with("-READONLY "));
    assert!(read(&mut pair, B, "ann", "").starts_with("HTTP/1.1 200 "));
    assert!(pair.ask_http(B, "GET /_admin/server/mode", "", "").contains("readonly"));
    pair.ask_http(B, "PUT /_admin/server/mode", "", r#"{"mode":"default"}"#);
    assert!(insert(&mut pair, B, "bob").starts_with("HTTP/1.1 201 "));
}

#[test]
fn databases_and_collections_survive_a_restart_of_the_group() {
    let mut pair = with_ann();
    pair.kill(A);
    pair.kill(B);
    pair.start(A);
    pair.promote(A);
    pair.run_ms(20);
    assert!(read(&mut pair, A, "ann", "").starts_with("HTTP/1.1 200 "));
    assert!(pair.ask_http(A, "GET /_api/collection", "", "").contains(r#""name":"users""#));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut pair = with_ann();
    pair.open_http(A);
    let mut all = Vec::new();
    for n in 0..100 {
        let (head, tail) = ("POST /_api/document/users HTTP/1.1\r\nHost: x\r\nContent-Length: ", "\r\n\r\n");
        let body = format!(r#"{{"_key":"p{n}"}}"#);
        all.extend_from_slice(format!("{head}{}{tail}{body}", body.len()).as_bytes());
        all.extend_from_slice(format!("GET /_api/document/users/p{n} HTTP/1.1\r\nHost: x{tail}").as_bytes());
    }
    pair.send_http(A, &all);
    pair.run_until("all responses", |w| {
        String::from_utf8_lossy(&w.hosts[0].responses).matches("HTTP/1.1 ").count() == 200
    });
    let responses = pair.take_responses(A);
    let keys: Vec<&str> = responses.split(r#""_key":"p"#).skip(1).collect();
    for (place, rest) in keys.iter().enumerate() {
        assert!(rest.starts_with(&format!("{}\"", place / 2)), "{place}: {rest}");
    }
}

#[test]
fn no_collection_is_missing_while_it_is_read_after_a_restart() {
    let mut pair = with_ann();
    pair.kill(A);
    pair.kill(B);
    pair.start(A);
    pair.start(B);
    pair.hosts[0].disk_delay = 3_000_000;
    pair.promote(A);
    for _ in 0..200 {
        pair.open_http(A);
        pair.request_http(A, "GET /_api/collection/users", "", "");
        pair.request_http(A, "GET /_api/document/users/ann", "", "");
        pair.run_ms(1);
        let responses = pair.take_responses(A);
        for response in responses.split("HTTP/1.1 ").skip(1) {
            assert!(response.starts_with("200 ") || response.starts_with("503 "), "{response}");
        }
        if responses.matches("HTTP/1.1 200 ").count() == 2 {
            return;
        }
    }
    panic!("the collection never comes back");
}

#[test]
fn what_one_turn_does_not_plan_the_next_one_does() {
    let mut pair = with_ann();
    pair.open_http(A);
    let value = "x".repeat(12_000);
    let mut all = Vec::new();
    for n in 0..40 {
        let body = format!(r#"{{"n":{n},"v":"{value}"}}"#);
        let head = format!(
            "PUT /_api/document/users/ann?returnNew=true HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        all.extend_from_slice((head + &body).as_bytes());
    }
    pair.send_http(A, &all);
    pair.run_until("all responses", |w| {
        String::from_utf8_lossy(&w.hosts[0].responses).matches("HTTP/1.1 ").count() == 40
    });
    let responses = pair.take_responses(A);
    let numbers: Vec<&str> =
        responses.split(r#""n":"#).skip(1).filter_map(|rest| rest.split(',').next()).collect();
    assert_eq!(numbers, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn large_and_small_responses_keep_their_order() {
    let mut pair = with_ann();
    let value = "x".repeat(40_000);
    assert_eq!(pair.ask(A, &format!(r#"SET users/big "{{\"v\":\"{value}\"}}""#)), "+OK\r\n");
    pair.open_http(A);
    for _ in 0..3 {
        pair.request_http(A, "GET /_api/document/users/ann", "", "");
        pair.request_http(A, "PUT /_api/document/users?onlyget=true", "", r#"["big","big"]"#);
    }
    pair.run_until("all responses", |w| {
        let responses = String::from_utf8_lossy(&w.hosts[0].responses);
        responses.matches("HTTP/1.1 200 ").count() == 6 && responses.ends_with("\"}]")
    });
    let responses = pair.take_responses(A);
    let parts: Vec<&str> = responses.split("HTTP/1.1 200 ").skip(1).collect();
    for two in parts.chunks(2) {
        assert!(two[0].ends_with(r#""n":1}"#) && two[0].len() < 1000);
        assert!(two[1].ends_with("xxx\"}]") && two[1].len() > 80_000);
    }
}

#[test]
fn a_change_of_metadata_is_seen_by_the_next_request_on_the_connection() {
    let mut pair = Pair::up();
    pair.open_http(A);
    pair.request_http(A, "POST /_api/collection", "", r#"{"name":"c"}"#);
    pair.request_http(A, "POST /_api/document/c", "", "{}");
    pair.run_until("both responses", |w| {
        String::from_utf8_lossy(&w.hosts[0].responses).matches("HTTP/1.1 ").count() == 2
    });
    let responses = pair.take_responses(A);
    assert!(responses.contains("HTTP/1.1 201 "), "{responses}");
}

#[test]
fn slow_and_silent_clients_are_sent_away() {
    let mut pair = with_ann();
    pair.open_http(A);
    pair.send_http(A, b"GET /_api/version HT");
    for _ in 0..9 {
        pair.run_ms(1000);
        assert_eq!(pair.take_responses(A), "");
        pair.send_http(A, b"");
    }
    pair.run_ms(1500);
    let response = pair.take_responses(A);
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    pair.run_ms(1500);
    assert!(pair.hosts[0].http_closed);

    pair.open_http(A);
    pair.request_http(A, "GET /_api/version", "", "");
    pair.run_ms(299_000);
    assert!(!pair.hosts[0].http_closed);
    pair.run_ms(2_000);
    assert!(pair.hosts[0].http_closed, "nobody was there for five minutes");
}

#[test]
fn a_connection_ends_after_what_cannot_be_understood() {
    let mut pair = with_ann();
    pair.open_http(A);
    pair.request_http(A, "GET /_api/version", "", "");
    pair.send_http(A, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\nxxxx");
    pair.send_http(A, b"GET /_api/version HTTP/1.1\r\nHost: x\r\n\r\n");
    pair.run_ms(50);
    let responses = pair.take_responses(A);
    assert!(responses.starts_with("HTTP/1.1 200 ") && responses.contains("HTTP/1.1 413 "), "{responses}");
    assert_eq!(responses.matches("HTTP/1.1 ").count(), 2, "nothing after the refusal");
    assert!(!pair.hosts[0].http_closed, "the client may still be sending, and is to read the answer");
    pair.run_ms(1500);
    assert!(pair.hosts[0].http_closed);

    let close = pair.ask_http(A, "GET /_api/version", "Connection: close\r\n", "");
    assert!(close.contains("Connection: Close\r\n"), "{close}");
    assert!(pair.hosts[0].http_closed);
}

/// How many requests the node has begun.
fn begun(pair: &mut Pair) -> usize {
    let info = pair.ask(A, "INFO stats");
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.expect("INFO counts them").parse().unwrap()
}

/// A pair with a document `users/large` of some 60 KiB.
fn with_large() -> Pair {
    let mut pair = with_ann();
    let body = format!(r#"{{"_key":"large","text":"{}"}}"#, "x".repeat(60_000));
    assert!(
        pair.ask_http(A, "POST /_api/document/users?silent=true", "", &body).starts_with("HTTP/1.1 201 ")
    );
    pair
}

/// Asks for 240 KB: just not so much that the answer is put together elsewhere.
fn ask_for_much(pair: &mut Pair) {
    let keys = r#"["large","large","large","large"]"#;
    pair.request_http(A, "PUT /_api/document/users?onlyget=true", "", keys);
}

#[test]
fn a_client_that_does_not_read_is_not_worked_for() {
    let mut pair = with_large();
    pair.hosts[0].nobody_reads = true;
    let before = begun(&mut pair);
    pair.open_http(A);
    for _ in 0..30 {
        ask_for_much(&mut pair);
    }
    pair.run_ms(10);
    let done = begun(&mut pair) - before;
    assert!((16..20).contains(&done), "{done} requests were begun, of 4 MiB of answers");
    pair.hosts[0].nobody_reads = false;
    pair.read_http(A);
    pair.run_until("all responses", |w| {
        String::from_utf8_lossy(&w.hosts[0].responses).matches("HTTP/1.1 200 ").count() == 30
    });
}

#[test]
fn answers_that_fill_the_memory_meant_for_them_are_waited_for() {
    let mut pair = with_large();
    pair.hosts[0].nobody_reads = true;
    // More than is meant for all: 256 MiB.
    for _ in 0..80 {
        pair.open_http(A);
        for _ in 0..20 {
            ask_for_much(&mut pair);
        }
    }
    pair.run_ms(200);
    // What did not fit was refused as it was made; this is the last drop.
    pair.open_http(A);
    pair.request_http(A, "GET /_api/document/users/large", "", "");
    pair.run_ms(1);
    pair.hosts[0].nobody_reads = false;
    let refused = read(&mut pair, A, "ann", "");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: 1\r\n"), "{refused}");
    assert!(refused.contains("Connection: Keep-Alive\r\n"), "{refused}");
    assert!(pair.ask_http(A, "GET /_api/version", "", "").starts_with("HTTP/1.1 200 "), "brings nothing");
    pair.read_http(A);
    pair.run_ms(10);
    assert!(read(&mut pair, A, "ann", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_client_that_never_reads_is_cut_off_and_one_that_reads_slowly_is_not() {
    let mut pair = with_large();
    pair.hosts[0].nobody_reads = true;
    pair.open_http(A);
    for _ in 0..30 {
        ask_for_much(&mut pair);
    }
    // 7 MB, a MiB or so every 50 s.
    for _ in 0..5 {
        pair.run_ms(50_000);
        assert!(!pair.hosts[0].http_closed);
        pair.read_http(A);
    }
    pair.run_ms(59_000);
    assert!(!pair.hosts[0].http_closed);
    pair.run_ms(2_000);
    assert!(pair.hosts[0].http_closed, "for a minute nothing was read");

    // Nor may one stay that asked for the end.
    pair.open_http(A);
    pair.request_http(A, "GET /_api/document/users/large", "Connection: close\r\n", "");
    pair.run_ms(59_000);
    assert!(!pair.hosts[0].http_closed, "not all of the answer is out");
    pair.run_ms(2_000);
    assert!(pair.hosts[0].http_closed);
}

#[test]
fn a_body_is_waited_for_as_long_as_it_makes_progress() {
    let mut pair = with_ann();
    let head = "POST /_api/document/users HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n\r\n";
    let piece = vec![b' '; 500_000];
    pair.open_http(A);
    pair.send_http(A, head.as_bytes());
    for _ in 0..6 {
        pair.run_ms(29_000);
        assert_eq!(pair.take_responses(A), "", "as fast as it must be");
        pair.send_http(A, &piece);
    }
    pair.run_ms(29_000);
    pair.send_http(A, b" ");
    pair.run_ms(2_000);
    let response = pair.take_responses(A);
    assert!(response.starts_with("HTTP/1.1 408 "), "3 MB are no reason to wait for 3 minutes: {response}");
}

#[test]
fn a_leader_without_a_lease_does_not_say_how_fresh_it_is() {
    let mut pair = with_ann();
    assert!(read(&mut pair, A, "ann", DIRTY).contains("X-Baton-Lag: 0\r\n"));
    pair.hosts[0].lease_until = 0;
    let response = read(&mut pair, A, "ann", DIRTY);
    assert!(response.starts_with("HTTP/1.1 200 ") && !response.contains("X-Baton-Lag"), "{response}");
}

#[test]
fn responses_that_go_out_in_pieces_arrive_whole() {
    let mut pair = with_large();
    pair.hosts[0].nobody_reads = true;
    pair.open_http(A);
    // One at once, and the others together when that is out: more than a piece.
    for _ in 0..6 {
        ask_for_much(&mut pair);
    }
    pair.run_ms(10);
    pair.hosts[0].nobody_reads = false;
    pair.read_http(A);
    pair.run_until("all bytes", |w| w.hosts[0].responses.len() > 6 * 240_000);
    let responses = pair.take_responses(A);
    assert_eq!(responses.matches("HTTP/1.1 200 ").count(), 6);
    assert_eq!(responses.matches(r#""text":"xxx"#).count(), 24);
}

#[test]
fn large_requests_wait_in_a_queue_that_has_an_end() {
    let mut pair = with_ann();
    pair.works = false;
    let documents = format!("[{}{{}}]", "{},".repeat(30_000));
    for _ in 0..64 {
        pair.open_http(A);
        pair.request_http(A, "POST /_api/document/users?silent=true", "", &documents);
        assert_eq!(pair.take_responses(A), "");
    }
    assert_eq!(pair.jobs.len(), 64);
    let refused = pair.ask_http(A, "POST /_api/document/users?silent=true", "", &documents);
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: 1\r\n"), "{refused}");
    assert!(insert(&mut pair, A, "bob").starts_with("HTTP/1.1 201 "), "small ones are not held up");
}

#[test]
fn bodies_in_the_queue_are_counted_until_they_are_thrown_away() {
    let mut pair = with_ann();
    pair.works = false;
    let body = " ".repeat(8 << 20);
    let refused = |pair: &mut Pair| {
        pair.open_http(A);
        let head = format!("POST /_api/document/users HTTP/1.1\r\nHost: x\r\nContent-Length: {}", body.len());
        pair.send_http(A, format!("{head}\r\n\r\n{{").as_bytes());
        pair.send_http(A, &body.as_bytes()[1..]);
        pair.run_ms(1);
        let response = pair.take_responses(A);
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 503 "), "{response}");
        pair.close_http(A);
        !response.is_empty()
    };
    let taken = (0..40).take_while(|_| !refused(&mut pair)).count();
    assert!((30..=32).contains(&taken), "256 MiB, though every client is gone: {taken}");
    assert!(pair.jobs.iter().all(|(_, _, job)| job.is_abandoned()), "nobody waits for them");
    pair.do_jobs();
    pair.run_ms(1);
    assert!(!refused(&mut pair));
}

#[test]
fn what_takes_long_to_free_is_freed_elsewhere() {
    let mut pair = with_ann();
    pair.works = false;
    let discarded = |pair: &mut Pair| {
        let jobs = std::mem::take(&mut pair.jobs);
        jobs.iter().filter(|(_, _, job)| matches!(job, Job::Discard(_))).count()
    };
    let documents = format!("[{}{{}}]", "{},".repeat(1000));
    let refused = pair.ask_http(B, "POST /_api/document/users", "", &documents);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert_eq!(discarded(&mut pair), 2, "the operations that were refused, and what their answer was to be");

    pair.hosts[1].disk_delay = 50_000_000;
    pair.open_http(A);
    pair.request_http(A, "POST /_api/document/users", "", &documents);
    pair.run_ms(10);
    assert_eq!(pair.take_responses(A), "");
    assert_eq!(discarded(&mut pair), 0);
    pair.close_http(A);
    assert_eq!(discarded(&mut pair), 2, "the errand, and the place of its answer");

    pair.open_http(A);
    pair.request_http(A, "POST /_api/document/users", "", &documents);
    pair.run_ms(10);
    pair.promote(B);
    pair.run_ms(1);
    assert!(pair.hosts[0].http_closed);
    assert_eq!(discarded(&mut pair), 2, "what nobody knows the outcome of");

    let refused = pair.ask_http(A, "GET /_api/document/users/ann", "", "");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert_eq!(discarded(&mut pair), 0, "a small thing is freed where it is");
}
