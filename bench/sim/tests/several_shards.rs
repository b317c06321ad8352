//! One node of two shards, of which the story plays the second: what the first asks it for, and what becomes of its
//! answers on the port for any key.

use engine::ids::ShardId;
use engine::slot::slot_of;
use node::events::{ConnId, Part};
use node::mail::Mail;
use sim::pair::{A, B, Pair};
use std::collections::BTreeMap;

/// Most keys that another shard is asked for at a time.
const SLICE_KEYS: usize = 256;

fn two_shards() -> Pair {
    Pair::configured(|config| config.shards = 2)
}

/// `count` keys of each shard, in turn.
fn keys_of_both(count: usize) -> Vec<String> {
    let of =
        |shard: bool| (0..).map(|n| format!("k{n}")).filter(move |key| is_second(key) == shard).take(count);
    of(false).zip(of(true)).flat_map(|(first, second)| [first, second]).collect()
}

/// Whether the key is of shard 1, which has the upper half of the slots.
fn is_second(key: &str) -> bool {
    slot_of(key.as_bytes()) >= 8192
}

fn words(request: &[u8]) -> Vec<String> {
    let text = String::from_utf8(request.to_vec()).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    match text.starts_with('*') {
        true => lines[1..].chunks_exact(2).map(|pair| pair[1].to_owned()).collect(),
        false => lines[0].split(' ').map(str::to_owned).collect(),
    }
}

/// Carries the mail of `A`'s shard 0: its own comes back to it, and `second` answers for shard 1.
fn carry_mail(pair: &mut Pair, second: &mut dyn FnMut(Vec<String>) -> Option<String>) {
    while !pair.mails.is_empty() {
        for (host, to, mail) in std::mem::take(&mut pair.mails) {
            if host != 0 {
                continue;
            }
            if to == ShardId(0) {
                pair.deliver_mail(A, *mail);
                continue;
            }
            let Mail::Request { conn, ticket, bytes, .. } = *mail else { continue };
            let answer = second(words(&bytes)).map(|answer| vec![Part::Owned(answer.into_bytes())]);
            pair.deliver_mail(A, Mail::Reply { conn, ticket, parts: answer });
        }
    }
}

/// Runs until `conn` was told something, carrying mail meanwhile.
fn answer(pair: &mut Pair, conn: ConnId, second: &mut dyn FnMut(Vec<String>) -> Option<String>) -> String {
    for _ in 0..2_000 {
        carry_mail(pair, second);
        if !pair.hosts[0].told[&conn].is_empty() {
            return String::from_utf8(pair.take_told(A, conn)).unwrap();
        }
        pair.run_ms(1);
    }
    panic!("no answer");
}

#[test]
fn requests_of_very_many_keys_of_both_shards_are_answered_as_by_one() {
    let mut pair = two_shards();
    let keys = keys_of_both(700);
    let mut model: BTreeMap<String, String> = BTreeMap::new();
    let client = pair.open_resp(A);
    for key in keys.iter().filter(|key| !key.ends_with('7')) {
        if is_second(key) {
            model.insert(key.clone(), format!("of {key}"));
        } else {
            pair.send_on(A, client, format!("SET {key} \"of {key}\"\r\n").as_bytes());
        }
    }
    pair.run_ms(50);
    pair.take_told(A, client);
    let mut asked = Vec::new();
    let mut second = |words: Vec<String>| {
        let keys = &words[1..];
        assert!(keys.len() <= SLICE_KEYS && keys.iter().all(|key| is_second(key)), "{words:?}");
        asked.push(keys.len());
        let bulk = |key: &String| match model.get(key) {
            Some(value) => format!("${}\r\n{value}\r\n", value.len()),
            None => "$-1\r\n".to_owned(),
        };
        Some(match words[0].as_str() {
            "MGET" => format!("*{}\r\n{}", keys.len(), keys.iter().map(bulk).collect::<String>()),
            "EXISTS" => format!(":{}\r\n", keys.iter().filter(|key| model.contains_key(*key)).count()),
            "DEL" => format!(":{}\r\n", keys.iter().filter(|key| model.remove(*key).is_some()).count()),
            other => panic!("{other}"),
        })
    };
    let there = keys.iter().filter(|key| !key.ends_with('7')).count();
    let value = |key: &String| match key.ends_with('7') {
        true => "$-1\r\n".to_owned(),
        false => format!("${}\r\nof {key}\r\n", key.len() + 3),
    };
    let values = format!("*{}\r\n{}", keys.len(), keys.iter().map(value).collect::<String>());
    let all = keys.join(" ");
    let nothing = format!("*{}\r\n{}", keys.len(), "$-1\r\n".repeat(keys.len()));
    for (command, expected) in [
        ("MGET", values),
        ("EXISTS", format!(":{there}\r\n")),
        ("DEL", format!(":{there}\r\n")),
        ("DEL", ":0\r\n".to_owned()),
        ("EXISTS", ":0\r\n".to_owned()),
        ("MGET", nothing),
    ] {
        // A key that is named twice counts twice, and is deleted once.
        let request = format!("{command} {all}\r\n");
        pair.send_on(A, client, request.as_bytes());
        assert_eq!(answer(&mut pair, client, &mut second), expected, "{command}");
    }
    assert_eq!(asked.iter().sum::<usize>(), 6 * 700);
    assert!(asked.len() >= 6 * 3, "{asked:?}");
}

#[test]
fn a_shard_that_fails_is_the_answer_of_all_and_one_that_does_not_know_ends_the_connection() {
    let mut pair = two_shards();
    let all = keys_of_both(2).join(" ");
    let client = pair.open_resp(A);
    pair.send_on(A, client, format!("MGET {all}\r\n").as_bytes());
    let down = "-CLUSTERDOWN Hash slot not served\r\n";
    assert_eq!(answer(&mut pair, client, &mut |_| Some(down.to_owned())), down);
    pair.send_on(A, client, format!("DEL {all}\r\n").as_bytes());
    carry_mail(&mut pair, &mut |_| None);
    pair.run_ms(5);
    assert_eq!(pair.hosts[0].ended, [client], "nobody knows what was deleted");
}

#[test]
fn the_least_copies_of_any_shard_are_the_answer() {
    let mut pair = two_shards();
    let first = keys_of_both(1)[0].clone();
    let client = pair.open_resp(A);
    pair.send_on(A, client, format!("SET {first} v\r\nWAIT 1 0\r\n").as_bytes());
    let mut second = |words: Vec<String>| (words[0] == "WAIT").then(|| ":0\r\n".to_owned());
    assert_eq!(answer(&mut pair, client, &mut second), "+OK\r\n:0\r\n");
    pair.send_on(A, client, b"WAITAOF 1 1 0\r\n");
    let mut second = |_| Some("*2\r\n:1\r\n:3\r\n".to_owned());
    assert_eq!(answer(&mut pair, client, &mut second), "*2\r\n:1\r\n:1\r\n");
    let mut second = |_| Some("*2\r\n:0\r\n:0\r\n".to_owned());
    pair.send_on(A, client, b"WAITAOF 0 0 0\r\n");
    assert_eq!(answer(&mut pair, client, &mut second), "*2\r\n:0\r\n:0\r\n");
}

#[test]
fn copies_are_counted_of_what_the_connections_own_shard_wrote() {
    let mut pair = two_shards();
    let first = keys_of_both(1)[0].clone();
    let client = pair.open_resp(A);
    // The follower has it, and not on its disk yet.
    pair.run_ms(10);
    pair.hosts[1].disk_delay = 300_000_000;
    let request = format!("BATON ACK local\r\nSET {first} v\r\nWAITAOF 0 1 0\r\n");
    pair.send_on(A, client, request.as_bytes());
    let mut second = |_| Some("*2\r\n:1\r\n:1\r\n".to_owned());
    let begun = pair.now;
    while pair.now < begun + 200_000_000 {
        carry_mail(&mut pair, &mut second);
        pair.run_ms(1);
    }
    let early = String::from_utf8(pair.take_told(A, client)).unwrap();
    assert_eq!(early, "+OK\r\n+OK\r\n", "the follower's disk is not there yet");
    assert_eq!(answer(&mut pair, client, &mut second), "*2\r\n:1\r\n:1\r\n");
}

#[test]
fn who_waits_for_copies_when_the_leadership_is_lost_is_not_left_waiting() {
    for shards in [1, 2] {
        let mut pair = Pair::configured(|config| config.shards = shards);
        let first = keys_of_both(1)[0].clone();
        let client = pair.open_resp(A);
        pair.send_on(A, client, format!("SET {first} v\r\nWAIT 2 0\r\n").as_bytes());
        let mut second = |_| Some(":2\r\n".to_owned());
        assert_eq!(answer(&mut pair, client, &mut second), "+OK\r\n");
        carry_mail(&mut pair, &mut second);
        pair.run_ms(100);
        assert!(pair.hosts[0].ended.is_empty() && pair.hosts[0].told[&client].is_empty());
        pair.promote(B);
        for _ in 0..5 {
            carry_mail(&mut pair, &mut second);
            pair.run_ms(5);
        }
        assert_eq!(pair.hosts[0].ended, [client], "{shards} shards");
    }
}
