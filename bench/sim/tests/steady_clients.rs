//! What clients do, a healthy node bears: each as a story of two nodes (see `replication.rs`). Turns are counted, not
//! timed: what one of them carries out is bounded, whatever was sent.

use node::events::ConnId;
use sim::pair::{A, B, Pair};

/// Most bytes that a turn may append: 2,048 small frames, and one request more of each connection.
const MOST_APPENDED: u64 = 2_300 * 160;

fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn many_keys(command: &str, count: usize) -> Vec<u8> {
    let keys: Vec<String> = (0..count).map(|at| format!("key{at}")).collect();
    let words: Vec<&[u8]> =
        std::iter::once(command.as_bytes()).chain(keys.iter().map(String::as_bytes)).collect();
    encoded(&words)
}

fn told(pair: &mut Pair, conn: ConnId, bytes: usize) -> Vec<u8> {
    let mut all = Vec::new();
    pair.run_until("all of the answer", |pair| pair.hosts[0].told[&conn].len() >= bytes);
    all.append(&mut pair.take_told(A, conn));
    all
}

#[test]
fn a_bulk_load_does_not_fill_a_turn() {
    let mut pair = Pair::up();
    let loader = pair.open_resp(A);
    let count = 20_000;
    let stream: Vec<u8> =
        (0..count).flat_map(|at| encoded(&[b"SET", format!("k{at}").as_bytes(), b"v"])).collect();
    let before = pair.hosts[0].turns;
    pair.send_on(A, loader, &stream);
    assert_eq!(told(&mut pair, loader, 5 * count), b"+OK\r\n".repeat(count));
    let most = pair.hosts[0].most_appended;
    assert!(most <= MOST_APPENDED, "a turn appended {most} bytes");
    assert!(pair.hosts[0].turns - before >= 10);
}

#[test]
fn one_who_sends_much_does_not_keep_others_waiting() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET small yes"), "+OK\r\n");
    let loaders: Vec<ConnId> = (0..20).map(|_| pair.open_resp(A)).collect();
    let late = pair.open_resp(A);
    // None of these is answered before it has its turn; the log is not touched.
    pair.send_with_others(A, &loaders, &b"EXISTS nosuch\r\n".repeat(20_000));
    let before = pair.hosts[0].turns;
    pair.send_on(A, late, b"GET small\r\n");
    pair.run_until("the small reply", |pair| !pair.hosts[0].told[&late].is_empty());
    let turns = pair.hosts[0].turns - before;
    assert!(turns <= 4, "a small request waited for {turns} turns");
    // And nobody is forgotten: the one who came last is not the last to be done.
    let served = loaders.iter().filter(|conn| !pair.hosts[0].told[conn].is_empty()).count();
    assert!(served >= 8, "{served} of 20 were served");
    for conn in &loaders {
        assert_eq!(told(&mut pair, *conn, 4 * 20_000), b":0\r\n".repeat(20_000));
    }
}

#[test]
fn commands_of_very_many_keys_are_carried_out_in_slices() {
    let mut pair = Pair::configured(|config| {
        config.segment_bytes = 4 << 20;
        config.max_value_bytes = 1 << 20;
        config.log_buffer_bytes = 8 << 20;
    });
    let client = pair.open_resp(A);
    for at in [0, 7, 4_999, 5_000, 19_999] {
        assert_eq!(pair.ask(A, &format!("SET key{at} value{at}")), "+OK\r\n");
    }
    let count = 20_000;
    let before = pair.hosts[0].turns;
    pair.send_on(A, client, &many_keys("MGET", count));
    let mut expected = format!("*{count}\r\n");
    for at in 0..count {
        match at {
            0 | 7 | 4_999 | 5_000 | 19_999 => {
                expected.push_str(&format!("${}\r\nvalue{at}\r\n", 5 + at.to_string().len()))
            }
            _ => expected.push_str("$-1\r\n"),
        }
    }
    assert_eq!(told(&mut pair, client, expected.len()), expected.as_bytes());
    assert!(pair.hosts[0].turns - before >= 10, "it took {} turns", pair.hosts[0].turns - before);
    pair.send_on(A, client, &many_keys("EXISTS", count));
    assert_eq!(told(&mut pair, client, 4), b":5\r\n");
    pair.send_on(A, client, &many_keys("DEL", count));
    assert_eq!(told(&mut pair, client, 4), b":5\r\n");
    pair.send_on(A, client, &many_keys("DEL", count));
    assert_eq!(told(&mut pair, client, 4), b":0\r\n");
    pair.send_on(A, client, &many_keys("MSET", 16_384));
    assert_eq!(told(&mut pair, client, 5), b"+OK\r\n");
    pair.send_on(A, client, &many_keys("MSET", 16_386));
    assert!(told(&mut pair, client, 5).starts_with(b"-ERR 'mset' takes at most 8192 keys"));
    let mut reserved = many_keys("DEL", 3_000);
    let at = reserved.windows(7).position(|window| window == b"key2999").unwrap();
    reserved[at] = 0;
    pair.send_on(A, client, &reserved);
    assert!(told(&mut pair, client, 5).starts_with(b"-ERR keys that begin with a zero byte"));
    assert_eq!(pair.ask(A, "EXISTS key0 key2 key4"), ":3\r\n", "nothing was deleted");
}

#[test]
fn a_large_value_is_copied_in_pieces_or_not_at_all() {
    let mut pair = Pair::configured(|config| {
        config.segment_bytes = 16 << 20;
        config.max_value_bytes = 4 << 20;
        config.log_buffer_bytes = 16 << 20;
    });
    let client = pair.open_resp(A);
    let value = vec![b'x'; 3 << 20];
    pair.send_on(A, client, &encoded(&[b"SET", b"big", &value]));
    assert_eq!(told(&mut pair, client, 5), b"+OK\r\n");
    pair.send_on(A, client, b"GET big\r\n");
    let answer = told(&mut pair, client, value.len() + 10);
    assert!(
        answer.starts_with(b"$3145728\r\nx")
            && answer.ends_with(b"x\r\n")
            && answer.len() == value.len() + 12
    );
    // From the disk, it is sent as it came.
    for at in 0..5 {
        pair.send_on(A, client, &encoded(&[b"SET", format!("other{at}").as_bytes(), &value]));
        assert_eq!(told(&mut pair, client, 5), b"+OK\r\n");
    }
    pair.hosts[0].largest_copy = 0;
    pair.send_on(A, client, b"GET big\r\n");
    assert_eq!(told(&mut pair, client, value.len() + 12), answer);
    assert!(pair.hosts[0].largest_copy < 4096, "{} bytes were copied", pair.hosts[0].largest_copy);
}

#[test]
fn one_who_does_not_read_is_held_back_and_then_reset() {
    let mut pair = Pair::configured(|config| {
        config.memory.output_soft = 1 << 20;
        config.memory.output_soft_time = std::time::Duration::from_millis(500);
        config.memory.output_hard = 3 << 20;
    });
    let value = "x".repeat(60_000);
    assert_eq!(pair.ask(A, &format!("SET v {value}")), "+OK\r\n");
    let keys = vec!["v"; 40].join(" ");
    let slow = pair.open_resp(A);
    pair.hosts[0].not_reading.push(slow);
    pair.send_on(A, slow, format!("MGET {keys}\r\n").as_bytes());
    pair.run_ms(300);
    assert!(pair.hosts[0].ended.is_empty(), "it has time to read");
    pair.reads_again(A, slow);
    pair.run_ms(600);
    assert!(pair.hosts[0].ended.is_empty(), "it has read");
    pair.hosts[0].not_reading.push(slow);
    pair.send_on(A, slow, format!("MGET {keys}\r\n").as_bytes());
    pair.run_ms(600);
    assert_eq!(pair.hosts[0].ended, [slow], "the soft limit, for too long");
    assert!(pair.ask(A, "INFO stats").contains("client_output_buffer_limit_disconnections:1\r\n"));
    // One answer beyond the hard limit is not made.
    let keys = vec!["v"; 60].join(" ");
    let other = pair.open_resp(A);
    pair.send_on(A, other, format!("MGET {keys}\r\nPING\r\n").as_bytes());
    let refused = String::from_utf8(told(&mut pair, other, 20)).unwrap();
    assert!(refused.starts_with("-ERR the answer would be larger"), "{}", &refused[..60]);
    assert!(refused.ends_with("+PONG\r\n"));
}

#[test]
fn who_sends_and_never_reads_is_left_unread() {
    let mut pair = Pair::with_users();
    let flood = pair.open_resp(A);
    pair.hosts[0].not_reading.push(flood);
    for _ in 0..100 {
        pair.send_on(A, flood, &b"PING\r\n".repeat(10_000));
        pair.run_ms(1);
    }
    assert!(pair.hosts[0].paused.contains(&flood), "its socket is left unread");
    let told = pair.hosts[0].told[&flood].len();
    assert!(told <= 80 << 10, "{told} bytes were made for a stranger");
}

#[test]
fn all_clients_together_hold_no_more_than_their_memory() {
    let mut pair = Pair::configured(|config| config.memory.all = 4 << 20);
    let value = "x".repeat(60_000);
    assert_eq!(pair.ask(A, &format!("SET v {value}")), "+OK\r\n");
    let clients: Vec<ConnId> = (0..6).map(|_| pair.open_resp(A)).collect();
    let keys = vec!["v"; 15].join(" ");
    for (at, conn) in clients.iter().enumerate() {
        pair.hosts[0].not_reading.push(*conn);
        let keys = if at == 2 { format!("{keys} v v") } else { keys.clone() };
        pair.send_on(A, *conn, format!("MGET {keys}\r\n").as_bytes());
        pair.run_ms(10);
    }
    assert_eq!(pair.hosts[0].ended.first(), Some(&clients[2]), "who holds most");
    assert!(pair.ask(A, "INFO").contains("evicted_clients:2\r\n"));
}

#[test]
fn an_isolated_leader_answers() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    pair.decides = false;
    pair.kill(B);
    pair.hosts[0].lease_until = pair.now;
    let writer = pair.open_resp(A);
    pair.send_on(A, writer, b"SET k lost\r\n");
    pair.send(A, "WAIT 2 0");
    pair.run_ms(1_500);
    assert!(pair.hosts[0].ended.is_empty(), "it may still come");
    pair.run_ms(1_000);
    assert_eq!(pair.hosts[0].ended, [writer], "nobody here knows what becomes of it");
    let late = pair.open_resp(A);
    pair.send_on(A, late, b"SET k w\r\n");
    pair.run_ms(5);
    let refused = String::from_utf8(pair.take_told(A, late)).unwrap();
    assert!(refused.starts_with("-CLUSTERDOWN"), "{refused}");
    assert!(pair.hosts[0].client_closed, "its WAIT would never be answered");
    let response = pair.ask_http(A, "POST /_db/_system/_api/document/c", "", "{}");
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(response.contains("X-Arango-Endpoint: \r\n"), "nobody is known: {response}");

    // What it hears of the group may be ahead of what it was told itself.
    pair.tell_who_leads(A, B);
    pair.send_on(A, late, b"SET k w\r\n");
    pair.run_ms(5);
    let moved = String::from_utf8(pair.take_told(A, late)).unwrap();
    assert!(moved.starts_with("-MOVED "), "{moved}");
    let response = pair.ask_http(A, "POST /_db/_system/_api/document/c", "", "{}");
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(response.contains("X-Arango-Endpoint: http://"), "{response}");
}

#[test]
fn what_waited_for_too_long_is_not_carried_out() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    // The reader of a cold value waits for the disk; the write behind it grows old.
    let value = "x".repeat(60_000);
    assert_eq!(pair.ask(A, &format!("SET cold {value}")), "+OK\r\n");
    for at in 0..30 {
        assert_eq!(pair.ask(A, &format!("SET other{at} {value}")), "+OK\r\n");
    }
    let client = pair.open_resp(A);
    pair.hosts[0].disk_delay = 4_000_000_000;
    pair.send_on(A, client, b"GET cold\r\nSET k zombie\r\n");
    pair.run_ms(1);
    pair.hosts[0].disk_delay = 50_000;
    pair.run_ms(4_100);
    let answers = String::from_utf8(pair.take_told(A, client)).unwrap();
    assert!(answers.contains("-TRYAGAIN the request waited for too long"), "{}", &answers[60_000..]);
    assert_eq!(pair.ask(A, "GET k"), "$1\r\nv\r\n");
}

#[test]
fn what_a_client_left_behind_that_has_gone_is_not_carried_out() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    pair.kill(A);
    pair.leader_lost = true;
    pair.decide(|_| ());
    let client = pair.open_resp(B);
    let mut stream = b"SET k zombie\r\n".to_vec();
    stream.extend_from_slice(&encoded(&[b"SET", b"x", &[b'y'; 30_000]]).repeat(40));
    pair.send_on(B, client, &stream);
    assert!(pair.hosts[1].paused.contains(&client));
    pair.half_close(B, client);
    pair.promote(B);
    assert_eq!(pair.ask(B, "GET k"), "$1\r\nv\r\n");
    assert_eq!(pair.hosts[1].ended, [client]);
}

#[test]
fn parked_requests_run_in_the_turn_that_commits_the_epoch_start() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    pair.run_ms(10);
    pair.kill(A);
    pair.leader_lost = true;
    pair.decide(|_| ());
    pair.send(B, "SET k w");
    let before = pair.cursors(B).2;
    pair.promote(B);
    pair.run_until("the epoch start's commit", |pair| pair.cursors(B).2 > before);
    let (tail, _, committed) = pair.cursors(B);
    assert!(tail > committed, "the parked write is appended in the same turn");
    pair.run_until("the reply", |pair| !pair.hosts[1].replies.is_empty());
    assert_eq!(pair.take_replies(B), "+OK\r\n");
}

#[cfg(feature = "mutants")]
#[test]
fn each_missing_defence_is_noticed() {
    use node::mutants::Mutant;
    let stories: [(Mutant, fn()); 4] = [
        (Mutant::KeepsAllOutput, one_who_does_not_read_is_held_back_and_then_reset),
        (Mutant::KeepsAllOutput, all_clients_together_hold_no_more_than_their_memory),
        (Mutant::CarriesOutZombies, what_waited_for_too_long_is_not_carried_out),
        (Mutant::CarriesOutZombies, what_a_client_left_behind_that_has_gone_is_not_carried_out),
    ];
    for (mutant, story) in stories {
        assert!(mutants::fails_without(mutant.switch(), story), "nobody notices {mutant:?}");
    }
}
