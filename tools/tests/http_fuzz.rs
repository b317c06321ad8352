//! The HTTP face against a client without manners: random methods, paths, headers, JSON and sizes, cut off,
//! pipelined and chunked. No crash, no hang, no 500, and others are served as before.
//!
//! The same seed sends the same bytes; `BATON_ROUNDS` sends that many thousand requests.

mod common;

use baton_tools::processes::Part;
use common::http::ask;
use common::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const SEED: u64 = 0x00ba_70f0;
/// Requests unless `BATON_ROUNDS` says otherwise, in thousands.
const THOUSANDS: usize = 15;
/// Clients at a time.
const CLIENTS: usize = 64;
/// Longest wait for the end of a conversation of whole requests.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long the node may say something to requests that are not whole, before the client goes away.
const PATIENCE: Duration = Duration::from_millis(5);
/// Bytes of a conversation that a failure shows.
const SHOWN_BYTES: usize = 2000;
/// The last request of a conversation that is to end by itself.
const LAST: &[u8] = b"GET /_api/version HTTP/1.1\r\nHost: fuzz\r\nConnection: close\r\n\r\n";
/// Most bytes of a random body, now and then.
const LARGE_BODY: usize = 1 << 20;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.roll() >> 33) as usize % limit
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "get", "A-VERY-LONG-METHOD"];

// Nothing that stops the node or hands over: what happens then is tested elsewhere.
const PATHS: [&str; 44] = [
    "/",
    "",
    "*",
    "//",
    "/_api",
    "/_api/version",
    "/_api/collection",
    "/_api/collection/fuzz",
    "/_api/collection/fuzz/count",
    "/_api/collection/fuzz/properties",
    "/_api/collection/fuzz/revision",
    "/_api/collection/fuzz/truncate",
    "/_api/collection/%00",
    "/_api/collection/fuzz/nonsense",
    "/_api/document/fuzz",
    "/_api/document/fuzz/k",
    "/_api/document/fuzz/%2f%2e%2e",
    "/_api/document/fuzz/k/more",
    "/_api/document/nothing/k",
    "/_api/document/%ff%fe/k",
    "/_api/import",
    "/_api/import?collection=fuzz&type=documents",
    "/_api/import?collection=fuzz&type=list&complete=true",
    "/_api/import?collection=fuzz&type=array&details=1&onDuplicate=update",
    "/_api/import?collection=fuzz&type=auto&overwrite=undefined",
    "/_api/import?collection=fuzz&type=",
    "/_api/database",
    "/_api/database/user",
    "/_api/database/current",
    "/_api/cluster/endpoints",
    "/_api/replication/applier-state",
    "/_api/user",
    "/_api/user/fuzz",
    "/_api/user/fuzz/database/_system",
    "/_api/simple/all-keys",
    "/_api/cursor",
    "/_api/gharial",
    "/_admin/server/availability",
    "/_admin/server/role",
    "/_admin/cluster/health",
    "/_admin/statistics",
    "/_admin/baton/status",
    "/_db/_system/_api/document/fuzz/k",
    "/_db/%zz/_api/version",
];

const QUERIES: [&str; 16] = [
    "",
    "?",
    "?returnNew=true&returnOld=1",
    "?silent=true",
    "?overwrite=undefined",
    "?overwriteMode=replace",
    "?overwriteMode=nonsense",
    "?keepNull=false&mergeObjects=0",
    "?ignoreRevs=false",
    "?waitForSync=true",
    "?onlyget=1",
    "?%",
    "?%zz=%00",
    "?a&b&&&=c",
    "?limit=99999999999999999999",
    "?returnNew=true&returnNew=false",
];

const HEADERS: [&str; 24] = [
    "X-Arango-Allow-Dirty-Read: true",
    "If-Match: \"x\"",
    "If-Match: x",
    "If-None-Match: *",
    "X-Baton-Max-Staleness: 50ms",
    "X-Baton-Max-Staleness: -1",
    "Idempotency-Key: fuzz",
    "Idempotency-Key: ",
    "Authorization: Basic !!!!",
    "Authorization: bearer a.b.c",
    "Accept-Encoding: gzip",
    "Content-Type: text/plain",
    "Content-Encoding: deflate",
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Upgrade: h2c",
    "X-Arango-Async: store",
    "X-HTTP-Method-Override: DELETE",
    "Host: a",
    "Cookie: \u{e9}",
    "X-Empty:",
    "no-colon",
    " folded: line",
    "X-Arango-Trx-Id: 1",
];

fn json_text(dice: &mut Dice, depth: usize) -> String {
    let number = |dice: &mut Dice| match dice.below(5) {
        0 => "1e999".to_owned(),
        1 => "-0".to_owned(),
        2 => i64::MIN.to_string(),
        _ => dice.below(100).to_string(),
    };
    let keys =
        ["_key", "_id", "_rev", "_from", "name", "type", "a", "", "user", "passwd", "grant", "\u{1F600}"];
    match dice.below(if depth > 4 { 5 } else { 8 }) {
        0 => "null".to_owned(),
        1 => dice.pick(&["true", "false"]).to_owned(),
        2 => number(dice),
        3 => format!("\"k{}\"", dice.below(20)),
        4 => {
            dice.pick(&["\"\"", "\"\\u0000\"", "\"\\ud800\"", "\"fuzz/k\"", "\"../x\"", "\"a b\""]).to_owned()
        }
        5 => {
            let parts: Vec<String> = (0..dice.below(4)).map(|_| json_text(dice, depth + 1)).collect();
            format!("[{}]", parts.join(","))
        }
        _ => {
            let count = dice.below(5);
            let part = |dice: &mut Dice| format!("\"{}\":{}", dice.pick(&keys), json_text(dice, depth + 1));
            let parts: Vec<String> = (0..count).map(|_| part(dice)).collect();
            format!("{{{}}}", parts.join(","))
        }
    }
}

fn body(dice: &mut Dice) -> Vec<u8> {
    match dice.below(40) {
        0 => vec![b'['; 100_000],
        1 => "{\"a\":".repeat(50_000).into_bytes(),
        2 => format!("{{\"_key\":\"large\",\"v\":\"{}\"}}", "x".repeat(dice.below(LARGE_BODY))).into_bytes(),
        3 => (0..dice.below(2000)).map(|_| dice.roll() as u8).collect(),
        4 => {
            let lines: Vec<String> = (0..dice.below(50)).map(|_| json_text(dice, 1)).collect();
            lines.join("\r\n").into_bytes()
        }
        5..10 => Vec::new(),
        _ => {
            let mut text = json_text(dice, 0).into_bytes();
            if dice.one_in(6) && !text.is_empty() {
                let at = dice.below(text.len());
                text[at] = dice.roll() as u8;
            }
            text
        }
    }
}

/// What an application would send, so that the random rest of the request reaches beyond the first check.
fn sensible(dice: &mut Dice) -> (&'static str, String, Vec<u8>) {
    let key = format!("k{}", dice.below(20));
    let document =
        |dice: &mut Dice| format!("{{\"_key\":\"k{}\",\"n\":{}}}", dice.below(20), json_text(dice, 3));
    let several = |dice: &mut Dice| {
        let parts: Vec<String> = (0..dice.below(6)).map(|_| document(dice)).collect();
        parts
    };
    let name = dice.pick(&["fuzz", "other", "f\u{fc}zz", "_system"]);
    match dice.below(12) {
        // Random requests drop it all the time.
        0..2 => ("POST", "/_api/collection".to_owned(), b"{\"name\":\"fuzz\"}".to_vec()),
        2 => ("POST", "/_api/collection".to_owned(), format!("{{\"name\":\"{name}\"}}").into_bytes()),
        3 => ("POST", "/_api/document/fuzz".to_owned(), document(dice).into_bytes()),
        4 => {
            let method = dice.pick(&["POST", "PUT", "PATCH", "DELETE"]);
            (method, "/_api/document/fuzz".to_owned(), format!("[{}]", several(dice).join(",")).into_bytes())
        }
        5 => {
            let method = dice.pick(&["PUT", "PATCH"]);
            (method, format!("/_api/document/fuzz/{key}"), document(dice).into_bytes())
        }
        6 => (dice.pick(&["GET", "HEAD", "DELETE"]), format!("/_api/document/fuzz/{key}"), Vec::new()),
        7 => {
            let how = dice.pick(&["documents", "auto", "list&complete=1", "documents&onDuplicate=replace"]);
            let lines = several(dice).join("\n").into_bytes();
            ("POST", format!("/_api/import?collection=fuzz&details=true&type={how}"), lines)
        }
        8 => {
            ("PUT", "/_api/simple/all-keys".to_owned(), b"{\"collection\":\"fuzz\",\"batchSize\":3}".to_vec())
        }
        9 => {
            let user = format!("{{\"user\":\"u{}\",\"passwd\":\"p\"}}", dice.below(3));
            ("POST", "/_api/user".to_owned(), user.into_bytes())
        }
        10 => {
            ("POST", "/_api/database".to_owned(), format!("{{\"name\":\"d{}\"}}", dice.below(3)).into_bytes())
        }
        _ => (dice.pick(&["DELETE", "PUT", "GET"]), format!("/_api/collection/{name}/count"), Vec::new()),
    }
}

struct Sent {
    bytes: Vec<u8>,
    /// Nothing more belongs to it: an answer or the end of the connection must come.
    whole: bool,
}

fn request(dice: &mut Dice) -> Sent {
    let mut bytes = Vec::new();
    if dice.one_in(80) {
        let junk = dice.below(300);
        bytes.extend((0..junk).map(|_| dice.roll() as u8));
        return Sent { bytes, whole: false };
    }
    let (method, path, body) = if dice.one_in(3) {
        (dice.pick(&METHODS), dice.pick(&PATHS).to_owned(), body(dice))
    } else {
        sensible(dice)
    };
    let query = if path.contains('?') || dice.one_in(2) { "" } else { dice.pick(&QUERIES) };
    let version =
        if dice.one_in(60) { dice.pick(&["HTTP/1.0", "HTTP/2.0", "HTTP/9", ""]) } else { "HTTP/1.1" };
    bytes.extend(format!("{method} {path}{query} {version}\r\nHost: fuzz\r\n").bytes());
    for _ in 0..dice.below(5).saturating_sub(2) {
        bytes.extend(dice.pick(&HEADERS).bytes());
        bytes.extend(b"\r\n");
    }
    if dice.one_in(100) {
        bytes.extend(format!("X-Large: {}\r\n", "y".repeat(dice.below(100_000))).bytes());
    }
    let mut whole = true;
    match dice.below(40) {
        0 => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for part in body.chunks(1 + dice.below(5000)) {
                bytes.extend(format!("{:x}\r\n", part.len()).bytes());
                bytes.extend(part);
                bytes.extend(b"\r\n");
            }
            bytes.extend(if dice.one_in(5) { &b"zz\r\n"[..] } else { b"0\r\n\r\n" });
        }
        1 => {
            let wrong = dice.pick(&["-1", "abc", "18446744073709551616", "99999999999", "1, 2"]);
            bytes.extend(format!("Content-Length: {wrong}\r\n\r\n").bytes());
            bytes.extend(&body);
            whole = false;
        }
        2 => {
            let more = body.len() + 1 + dice.below(100);
            bytes.extend(format!("Expect: 100-continue\r\nContent-Length: {more}\r\n\r\n").bytes());
            bytes.extend(&body);
            whole = false;
        }
        _ => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(&body);
        }
    }
    if dice.one_in(50) {
        bytes.truncate(dice.below(bytes.len()));
        whole = false;
    }
    Sent { bytes, whole }
}

/// Sends some requests on one connection and reads what comes back; the statuses it held.
fn converse(dice: &mut Dice, address: &str, before: &mut String) -> Vec<u16> {
    let stream = TcpStream::connect(address);
    let mut stream = stream.unwrap_or_else(|error| panic!("{error}, after this:\n{before}"));
    let sent: Vec<Sent> = (0..1 + dice.below(4)).map(|_| request(dice)).collect();
    let whole = sent.iter().all(|one| one.whole);
    let mut bytes: Vec<u8> = sent.iter().flat_map(|one| one.bytes.iter().copied()).collect();
    if whole {
        bytes.extend(LAST);
    }
    stream.set_read_timeout(Some(if whole { ANSWER_LIMIT } else { PATIENCE })).unwrap();
    stream.set_write_timeout(Some(ANSWER_LIMIT)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    // In a thread of its own: both sides may be writing at once.
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES)]).into_owned();
    before.clone_from(&shown);
    let feeder = std::thread::spawn(move || {
        // The node may well have hung up on this.
        let _ = writer.write_all(&bytes);
        // The node takes that for the end of the conversation, and what it has not said yet is not said. A client
        // that it refused is kept for a second to read why: that is long for each of thousands.
        if !whole {
            let _ = writer.shutdown(Shutdown::Write);
        }
    });
    let mut answer = Vec::new();
    let begun = Instant::now();
    let read = stream.read_to_end(&mut answer);
    // A feeder that still writes gives up.
    let _ = stream.shutdown(Shutdown::Both);
    feeder.join().unwrap();
    if let Err(error) = &read {
        let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!whole || !late, "no end after {:?} to:\n{shown}", begun.elapsed());
    }
    let text = String::from_utf8_lossy(&answer);
    let statuses: Vec<u16> =
        text.split("HTTP/1.1 ").skip(1).filter_map(|part| part.get(..3)?.parse().ok()).collect();
    assert!(!statuses.contains(&500), "500 to:\n{shown}\n{text}");
    if whole && read.is_ok() {
        assert!(!statuses.is_empty(), "whole requests got no answer:\n{shown}");
    }
    statuses
}

#[test]
fn a_client_without_manners_hurts_nobody() {
    let mut group = TestGroup::start(16_400);
    // A busy machine, or its disk, may hold a node for longer than the usual limits; a loop or a deadlock holds
    // it for good.
    group.reconfigure(|text| {
        let longer = |text: String, usual: &str, limit: &str| {
            assert!(text.contains(usual), "{usual} is not in:\n{text}");
            text.replace(usual, limit)
        };
        longer(text.to_owned(), "\nhang_after = \"25ms\"", "\nhang_after = \"2s\"")
    });
    group.wait_whole();
    let (leader, follower) = (group.leader().unwrap(), group.follower().unwrap());
    let pids = [&leader, &follower].map(|name| group.pid(name, Part::Node).unwrap());
    let http = group.http(&leader).to_owned();
    let made = ask("POST", &http, "/_api/collection", &[], &json!({ "name": "fuzz" })).unwrap();
    assert_eq!(made.status, 200, "{made:?}");

    // The node keeps a refused connection for a moment, for its answer to be read: others go on meanwhile.
    let conversations = rounds(THOUSANDS) * 1000 / 2 / CLIENTS;
    let addresses = [&leader, &follower].map(|name| group.http(name).to_owned());
    let client = |number: usize| {
        let (mut dice, mut before) = (Dice(SEED + number as u64), String::new());
        let mut seen = BTreeMap::<u16, usize>::new();
        for conversation in 0..conversations {
            let address = &addresses[usize::from(conversation % 8 == 0)];
            for status in converse(&mut dice, address, &mut before) {
                *seen.entry(status).or_default() += 1;
            }
        }
        seen
    };
    let mut seen = BTreeMap::<u16, usize>::new();
    std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        for one in clients {
            let answers = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            answers.into_iter().for_each(|(status, times)| *seen.entry(status).or_default() += times);
        }
    });
    println!("answers by status: {seen:?}");
    for status in [200, 201, 400, 404, 405, 409, 412, 413, 431, 501, 503, 505] {
        assert!(seen.contains_key(&status), "the requests reach all parts, but {status} is not in {seen:?}");
    }

    // Nobody died, nobody else noticed.
    assert_eq!(pids, [&leader, &follower].map(|name| group.pid(name, Part::Node).unwrap()));
    assert_eq!(group.leader().unwrap(), leader);
    let saved = ask("POST", &http, "/_api/collection", &[], &json!({ "name": "after" })).unwrap();
    assert_eq!(saved.status, 200, "{saved:?}");
    let saved = ask("POST", &http, "/_api/document/after", &[], &json!({ "_key": "k", "n": 1 })).unwrap();
    assert_eq!(saved.status, 201, "{saved:?}");
    assert_eq!(redis_cli(group.resp(&leader), &["get", "after/k"]), r#"{"n":1}"#);
}
