//! What a group with users promises, and what strangers cannot do to it, each as a story of two nodes (see
//! `replication.rs`). Roles by both faces and real processes: `tools/tests/users.rs`.

use sim::pair::{A, B, PASSWORD, Pair};
use sim::shell::input::CLIENT_ADDRESS;

/// Base64 of `root:swordfish`.
const ROOT: &str = "Authorization: Basic cm9vdDpzd29yZGZpc2g=\r\n";

fn status(response: &str) -> &str {
    response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a response")
}

fn as_root(pair: &mut Pair, line: &str, body: &str) -> String {
    pair.ask_http(A, line, ROOT, body)
}

#[test]
fn a_large_body_is_refused_before_it_is_parsed_where_only_a_small_one_makes_sense() {
    let mut pair = Pair::with_users();
    for line in
        ["POST /_open/auth", "POST /_db/x/_api/user", "PATCH /_api/user/root", "PUT /_admin/server/mode"]
    {
        // Announced; and whole, in chunks of which nobody knows how many follow.
        pair.open_http(A);
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n\r\n");
        pair.send_http(A, head.as_bytes());
        pair.run_ms(1);
        let refused = pair.take_responses(A);
        assert_eq!(status(&refused), "413", "{line}: {refused}");
        pair.open_http(A);
        pair.send_http(
            A,
            format!("{line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
        );
        pair.send_http(A, &[b"11170\r\n".as_slice(), &[b' '; 70_000]].concat());
        pair.run_ms(1);
        assert_eq!(status(&pair.take_responses(A)), "413", "{line}");
        assert_eq!(status(&as_root(&mut pair, line, &" ".repeat(70_000))), "413", "{line}");
    }
    let large = format!(r#"{{"username":"root","password":"swordfish"{}}}"#, " ".repeat(15_000));
    assert_eq!(status(&pair.ask_http(A, "POST /_open/auth", "", &large)), "200");
}

#[test]
fn nobody_has_a_long_name_and_nothing_is_computed_about_it() {
    let mut pair = Pair::with_users();
    pair.works = false;
    let long = "x".repeat(129);
    pair.open_client(A);
    for line in
        [format!("AUTH {long} pw"), format!("HELLO 3 AUTH {long} pw"), format!("AUTH {}", "p".repeat(1025))]
    {
        assert!(pair.ask(A, &line).starts_with("-WRONGPASS "), "{line}");
    }
    let login = format!(r#"{{"username":"{long}","password":"pw"}}"#);
    assert_eq!(status(&pair.ask_http(A, "POST /_open/auth", "", &login)), "401");
    let basic = format!("Authorization: Basic {}\r\n", "eHh4".repeat(1000));
    assert_eq!(status(&pair.ask_http(A, "GET /_api/version", &basic, "")), "401");
    assert!(pair.jobs.is_empty());
}

#[test]
fn who_waits_for_a_verdict_looks_again_when_there_is_one_and_not_for_ever() {
    let mut pair = Pair::with_users();
    pair.works = false;
    pair.open_client(A);
    pair.send(A, "AUTH wrong");
    pair.open_http(A);
    pair.request_http(A, "GET /_api/version", "Authorization: Basic cm9vdDp3cm9uZw==\r\n", "");
    assert_eq!(pair.jobs.len(), 1, "one password, one job");
    pair.run_ms(4_900);
    assert_eq!((pair.take_replies(A), pair.take_responses(A)), (String::new(), String::new()));
    pair.run_ms(200);
    assert!(pair.take_replies(A).starts_with("-TRYAGAIN "));
    assert_eq!(status(&pair.take_responses(A)), "503");
    // Each turn of these five seconds would have been a command.
    pair.jobs.clear();
    pair.works = true;
    assert_eq!(pair.ask(A, &format!("AUTH {PASSWORD}")), "+OK\r\n");
    let info = pair.ask(A, "INFO stats");
    let count = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:")).unwrap();
    assert!(count.parse::<u32>().unwrap() < 20, "{count}");

    pair.works = false;
    pair.open_client(A);
    pair.send(A, "AUTH other");
    pair.run_ms(100);
    pair.do_jobs();
    pair.run_until("the verdict", |w| !w.hosts[0].replies.is_empty());
    assert!(pair.take_replies(A).starts_with("-WRONGPASS "));
}

/// A node that was killed before its pulse said that anything is committed.
#[test]
fn who_has_just_come_back_calls_no_right_password_wrong() {
    let mut pair = Pair::with_users();
    pair.kill(B);
    pair.kill(A);
    pair.start(B);
    pair.run_ms(20);
    let client = pair.open_resp(B);
    pair.send_on(B, client, format!("AUTH {PASSWORD}\r\n").as_bytes());
    pair.run_ms(500);
    let told = String::from_utf8(pair.take_told(B, client)).expect("a reply is text");
    assert!(!told.contains("WRONGPASS"), "{told}");
}

#[test]
fn strangers_are_given_little_memory_and_users_as_much_as_ever() {
    let mut pair = Pair::with_users();
    pair.open_client(A);
    assert!(pair.ask(A, "GET k").starts_with("-NOAUTH "));
    for (bytes, error) in [("*11\r\n", "multibulk"), ("*2\r\n$3\r\nGET\r\n$20000\r\n", "bulk")] {
        pair.open_client(A);
        pair.send_bytes(A, bytes.as_bytes());
        assert_eq!(pair.take_replies(A), format!("-ERR Protocol error: unauthenticated {error} length\r\n"));
        assert!(pair.hosts[0].client_closed);
    }

    // While a password is being judged, little is kept of what comes behind it; then nothing of it is lost.
    pair.open_client(A);
    pair.works = false;
    let value = "v".repeat(60_000);
    let sets: String = ["a", "b"]
        .iter()
        .map(|key| format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$60000\r\n{value}\r\n"))
        .collect();
    pair.send(A, &format!("AUTH {PASSWORD}2"));
    pair.send_bytes(A, sets.as_bytes());
    assert!(pair.hosts[0].client_paused);
    pair.do_jobs();
    pair.run_until("a refusal", |w| w.hosts[0].client_closed);
    assert!(pair.take_replies(A).ends_with("-ERR Protocol error: unauthenticated bulk length\r\n"));
    pair.open_client(A);
    pair.send(A, &format!("AUTH {PASSWORD}"));
    pair.send_bytes(A, sets.as_bytes());
    pair.do_jobs();
    pair.run_until("all replies", |w| w.hosts[0].replies.len() >= 15);
    assert_eq!(pair.take_replies(A), "+OK\r\n+OK\r\n+OK\r\n");
    assert!(!pair.hosts[0].client_paused);
}

#[test]
fn a_large_request_keeps_its_body_whatever_becomes_of_its_user_meanwhile() {
    let mut pair = Pair::with_users();
    assert_eq!(status(&as_root(&mut pair, "POST /_api/collection", r#"{"name":"c"}"#)), "200");
    let documents: String =
        (0..3000).map(|i| format!("{{\"_key\":\"k{i}\",\"n\":\"0123456789\"}}\n")).collect();
    let import = "POST /_api/import?type=documents&collection=c&overwrite=true";
    let created = |response: &str| response.contains(r#""created":3000,"#);
    assert!(created(&as_root(&mut pair, import, &documents)));

    pair.works = false;
    let conn = pair.open_http(A);
    pair.request_http(A, import, ROOT, &documents);
    pair.run_until("the request to be handed in", |w| !w.jobs.is_empty());
    let planning = std::mem::take(&mut pair.jobs);
    pair.works = true;
    // The same password again, but the verdict on it is gone.
    let changed = as_root(&mut pair, "PATCH /_api/user/root", r#"{"passwd":"swordfish"}"#);
    assert_eq!(status(&changed), "200");
    pair.listen_http(A, conn);
    pair.jobs = planning;
    pair.do_jobs();
    pair.run_until("a response", |w| !w.hosts[0].responses.is_empty());
    let response = pair.take_responses(A);
    assert!(created(&response), "{response}");
    let count = as_root(&mut pair, "GET /_api/collection/c/count", "");
    assert!(count.contains(r#""count":3000"#), "{count}");
}

fn token(pair: &mut Pair, user: &str, password: &str) -> String {
    let login = format!(r#"{{"username":"{user}","password":"{password}"}}"#);
    let answer = pair.ask_http(A, "POST /_open/auth", "", &login);
    let jwt = answer.split(r#""jwt":""#).nth(1).and_then(|rest| rest.split('"').next());
    jwt.unwrap_or_else(|| panic!("no token in {answer}")).to_owned()
}

fn version_by(pair: &mut Pair, token: &str) -> String {
    let answer = pair.ask_http(A, "GET /_api/version", &format!("Authorization: bearer {token}\r\n"), "");
    status(&answer).to_owned()
}

#[test]
fn a_new_password_ends_tokens_and_connections_and_so_does_a_new_user_of_the_same_name() {
    let mut pair = Pair::with_users();
    let ann = r#"{"user":"ann","passwd":"pw"}"#;
    assert_eq!(status(&as_root(&mut pair, "POST /_api/user", ann)), "201");
    let grant = "PUT /_api/user/ann/database/_system";
    assert_eq!(status(&as_root(&mut pair, grant, r#"{"grant":"ro"}"#)), "200");
    pair.open_client(A);
    assert_eq!(pair.ask(A, "AUTH ann pw"), "+OK\r\n");
    let first = token(&mut pair, "ann", "pw");
    // A right, and even the data that the application keeps, may change.
    assert_eq!(status(&as_root(&mut pair, "PATCH /_api/user/ann", r#"{"extra":{"a":1}}"#)), "200");
    assert_eq!(version_by(&mut pair, &first), "200");
    assert_eq!(pair.ask(A, "GET k"), "$-1\r\n");

    assert_eq!(status(&as_root(&mut pair, "PATCH /_api/user/ann", r#"{"passwd":"new"}"#)), "200");
    assert_eq!(version_by(&mut pair, &first), "401");
    assert!(pair.ask(A, "GET k").starts_with("-NOAUTH "));
    assert_eq!(pair.ask(A, "AUTH ann new"), "+OK\r\n");
    assert_eq!(pair.ask(A, "GET k"), "$-1\r\n");

    let second = token(&mut pair, "ann", "new");
    assert_eq!(version_by(&mut pair, &second), "200");
    assert_eq!(status(&as_root(&mut pair, "DELETE /_api/user/ann", "")), "202");
    assert_eq!(status(&as_root(&mut pair, "POST /_api/user", &ann.replace("pw", "new"))), "201");
    assert_eq!(version_by(&mut pair, &second), "401");
    assert!(pair.ask(A, "GET k").starts_with("-NOAUTH "));
}

#[test]
fn a_token_of_a_group_without_users_is_good_nowhere() {
    let mut pair = Pair::up();
    let jwt = token(&mut pair, "whoever", "whatever");
    let now_s = pair.now / 1_000_000_000;
    assert_eq!(faces::auth::token::verify(b"", &jwt, now_s), Err(faces::auth::token::TokenError::Signature));
    assert_eq!(version_by(&mut pair, &jwt), "200", "nobody looks at it");
    let mut users = Pair::with_users();
    assert_eq!(version_by(&mut users, &jwt), "401");
}

#[test]
fn a_web_page_cannot_make_a_browser_write() {
    let mut pair = Pair::up();
    let attack = "POST / HTTP/1.1\r\nHost: 127.0.0.1:7400\r\nContent-Length: 9\r\n\r\nSET k v\r\n";
    for bytes in [attack, &attack["POST / HTTP/1.1\r\n".len()..], "*1\r\n$4\r\npost\r\nSET k v\r\n"] {
        pair.open_client(A);
        pair.send_bytes(A, bytes.as_bytes());
        assert!(pair.hosts[0].client_closed && pair.take_replies(A).is_empty(), "{bytes}");
    }
    assert_eq!(pair.hosts[0].warnings.len(), 1, "told once a minute");
    assert!(pair.hosts[0].warnings[0].contains(CLIENT_ADDRESS));
    pair.open_client(A);
    assert_eq!(pair.ask(A, "GET k"), "$-1\r\n");

    let create = |pair: &mut Pair, origin: &str, name: &str| {
        let header = format!("Origin: {origin}\r\n");
        let answer = pair.ask_http(A, "POST /_api/collection", &header, &format!(r#"{{"name":"{name}"}}"#));
        status(&answer).to_owned()
    };
    // The pair's requests say `Host: x`.
    for origin in ["http://evil.example", "null", "http://x.evil.example", "http://x:81"] {
        assert_eq!(create(&mut pair, origin, "c"), "403", "{origin}");
    }
    assert_eq!(create(&mut pair, "http://X", "c"), "200");
    let read = pair.ask_http(A, "GET /_api/collection/c", "Origin: http://evil.example\r\n", "");
    assert_eq!(status(&read), "200");
    let mut users = Pair::with_users();
    let headers = format!("{ROOT}Origin: http://app.example\r\n");
    let create = users.ask_http(A, "POST /_api/collection", &headers, r#"{"name":"c"}"#);
    assert_eq!(status(&create), "200", "whoever has a password has it");
}

#[test]
fn a_new_database_comes_with_its_users_and_each_sees_only_its_own() {
    let mut pair = Pair::with_users();
    assert_eq!(status(&as_root(&mut pair, "POST /_api/user", r#"{"user":"ann","passwd":"pw"}"#)), "201");
    let shop = r#"{"name":"shop","users":[{"username":"ann"},{"username":"bob","passwd":"secret"}]}"#;
    let made = as_root(&mut pair, "POST /_api/database", shop);
    assert_eq!(status(&made), "201", "{made}");
    assert_eq!(status(&as_root(&mut pair, "POST /_api/database", r#"{"name":"bank"}"#)), "201");
    for (user, password) in [("ann", "pw"), ("bob", "secret")] {
        let bearer = format!("Authorization: bearer {}\r\n", token(&mut pair, user, password));
        let create =
            pair.ask_http(A, "POST /_db/shop/_api/collection", &bearer, &format!(r#"{{"name":"{user}"}}"#));
        assert_eq!(status(&create), "200", "{create}");
        let mine = pair.ask_http(A, "GET /_db/shop/_api/database/user", &bearer, "");
        assert!(mine.contains(r#""result":["shop"]"#), "{mine}");
    }
    let all = as_root(&mut pair, "GET /_api/database/user", "");
    assert!(all.contains(r#""result":["_system","bank","shop"]"#), "{all}");

    // All of it or nothing.
    for (users, expected) in [
        (r#"[{"username":"eve"},{"username":"eve"}]"#, "409"),
        (r#"[{"username":"eve"},{}]"#, "400"),
        (&format!("[{}{{}}]", "{},".repeat(16)), "400"),
        (r#"["eve"]"#, "400"),
        (r#"{"username":"eve"}"#, "400"),
        (r#"[{"username":"eve","passwd":7}]"#, "400"),
    ] {
        let body = format!(r#"{{"name":"other","users":{users}}}"#);
        assert_eq!(status(&as_root(&mut pair, "POST /_api/database", &body)), expected, "{users}");
    }
    assert_eq!(status(&as_root(&mut pair, "POST /_api/database", &shop.replace("bob", "eve"))), "409");
    assert_eq!(status(&as_root(&mut pair, "GET /_api/user/eve", "")), "404");
}
