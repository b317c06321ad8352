//! A healthy pair stays as it is, and a slow one is not taken for a dead one (`docs/STEADY.md`).

use crate::{in_sync, settled};
use agency::configuration::{Change, EvictReason};
use agency::ids::NodeSet;
use engine::ids::Lsn;
use node::events::ConnId;
use sim::pair::{A, B, Pair};

const MS: u64 = 1_000_000;

fn evictions(pair: &Pair) -> usize {
    pair.asked.iter().filter(|(_, request)| matches!(request.change, Change::Evict(..))).count()
}

/// Runs until the condition holds, for up to `ms`; returns when that was, in ms from now on.
fn within(pair: &mut Pair, ms: u64, what: &str, condition: impl Fn(&Pair) -> bool) -> u64 {
    let begin = pair.now;
    while !condition(pair) {
        assert!(pair.now < begin + ms * MS, "waited {ms} ms in vain for {what}");
        pair.run_ms(1);
    }
    (pair.now - begin) / MS
}

fn is_answered(pair: &Pair) -> bool {
    !pair.hosts[0].replies.is_empty()
}

fn whole(pair: &Pair) -> bool {
    in_sync(pair) == NodeSet::of(&[A, B])
}

#[test]
fn a_slow_follower_keeps_its_place_and_writers_wait_for_it() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[1].disk_delay = 700 * MS;
    pair.send(A, "SET k slowly");
    let waited = within(&mut pair, 1_500, "the reply", is_answered);
    assert!(waited >= 690, "{waited} ms: it is on both disks");
    assert_eq!((pair.take_replies(A).as_str(), evictions(&pair)), ("+OK\r\n", 0));
}

#[test]
fn a_follower_that_answers_and_does_not_move_is_given_up_in_the_end_and_comes_back_calmly() {
    let mut pair = Pair::up();
    for calm in [100, 200, 400] {
        pair.ask(A, "SET k v");
        pair.run_until("both to settle", settled);
        pair.hosts[1].disk_delay = 1_500 * MS;
        pair.send(A, "SET k w");
        let slow = within(&mut pair, 1_200, "the eviction", |pair| evictions(pair) > 0);
        assert!(slow >= 990, "{slow} ms");
        assert!(is_answered(&pair), "what waited for it is acknowledged");
        pair.hosts[1].disk_delay = 50_000;
        within(&mut pair, 1_000, "its disk", |pair| pair.cursors(B).1 == pair.cursors(A).1);
        let back = within(&mut pair, 1_000, "the admission", whole);
        assert!((calm - 5..calm + 30).contains(&back), "{back} ms, not {calm}");
        pair.asked.clear();
        pair.take_replies(A);
    }
}

#[test]
fn a_stall_that_both_disks_share_evicts_nobody() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[0].disk_delay = 5_000 * MS;
    pair.hosts[1].disk_delay = 5_200 * MS;
    pair.send(A, "SET k w");
    within(&mut pair, 6_000, "the reply", is_answered);
    assert!(pair.asked.is_empty(), "{:?}", pair.asked);
}

#[test]
fn whose_warden_answers_is_slow_and_whose_node_died_is_gone() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.tell_who_is_up(&[A, B]);
    pair.kill(B);
    pair.send(A, "SET k w");
    pair.run_ms(500);
    assert_eq!(evictions(&pair), 0, "its warden says that it runs");
    pair.tell_who_is_up(&[A]);
    let gone = within(&mut pair, 100, "the eviction", |pair| evictions(pair) > 0);
    assert!(gone <= 1, "{gone} ms: death is proof");
    assert_eq!(pair.take_replies(A), "+OK\r\n");
}

#[test]
fn what_gathers_behind_a_slow_follower_is_bounded_by_the_log_buffer() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.run_until("both to settle", settled);
    pair.hosts[1].disk_delay = 300 * MS;
    let value = "x".repeat(60_000);
    for i in 0..40 {
        pair.send(A, &format!("SET big{i} {value}"));
    }
    let mut most = 0;
    let replies = |pair: &Pair| pair.hosts[0].replies.len();
    while replies(&pair) < 40 * "+OK\r\n".len() {
        pair.run_ms(1);
        let (tail, _, committed) = pair.cursors(A);
        most = most.max(tail - committed);
        assert!(pair.now < 20_000 * MS, "{} of replies", replies(&pair));
    }
    assert!(most <= 512 << 10, "{most} bytes gathered");
    assert!(most > 256 << 10, "{most} bytes: there was something to hold up");
    assert_eq!(evictions(&pair), 0);
}

#[test]
fn with_too_few_in_sync_writes_are_refused_and_reads_are_not() {
    let mut pair = Pair::configured(|config| config.copies.min_in_sync = 2);
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    let exposed = |pair: &mut Pair| {
        let info = pair.ask(A, "INFO replication");
        let line = info.lines().find_map(|line| line.strip_prefix("exposed_ms:").map(str::to_owned));
        line.unwrap_or_else(|| panic!("{info}")).parse::<u64>().unwrap()
    };
    assert_eq!(exposed(&mut pair), 0);
    pair.kill(B);
    pair.run_ms(100);
    assert_eq!(in_sync(&pair), NodeSet::of(&[A]));
    assert_eq!(pair.ask(A, "SET k w"), "-NOREPLICAS Not enough good replicas to write.\r\n");
    assert_eq!(pair.ask(A, "GET k"), "$1\r\nv\r\n");
    assert!(exposed(&mut pair) > 0);
    let refused = pair.ask_http(A, "POST /_api/collection", "", r#"{"name":"c"}"#);
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("min_in_sync"), "{refused}");
    pair.start(B);
    within(&mut pair, 1_000, "the admission", whole);
    assert_eq!(pair.ask(A, "SET k w"), "+OK\r\n");
    assert_eq!(exposed(&mut pair), 0);
}

#[test]
fn what_was_under_way_when_too_few_were_left_is_not_acknowledged_by_them() {
    let mut pair = Pair::configured(|config| config.copies.min_in_sync = 2);
    pair.ask(A, "SET k v");
    pair.kill(B);
    pair.send(A, "SET k w");
    pair.run_ms(500);
    assert_eq!((in_sync(&pair), pair.take_replies(A).as_str()), (NodeSet::of(&[A]), ""));
    pair.start(B);
    within(&mut pair, 1_000, "the reply", is_answered);
    assert!(whole(&pair));
    assert_eq!(pair.take_replies(A), "+OK\r\n");
}

#[test]
fn a_leader_whose_disk_stands_still_makes_way_for_a_follower_whose_disk_moves() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.run_until("both to settle", settled);
    pair.hosts[0].disk_delay = 3_000 * MS;
    pair.run_ms(500);
    assert!(pair.asked.is_empty(), "nothing shows whose disk moves: {:?}", pair.asked);
    pair.send(A, "SET k w");
    let gap = within(&mut pair, 200, "the new leader", |pair| pair.configuration.leader == B);
    assert!(gap <= 100, "{gap} ms");
    assert_eq!(in_sync(&pair), NodeSet::of(&[B]), "no commit waits for that disk");
    pair.run_ms(1);
    assert!(
        pair.hosts[0].client_closed && pair.take_replies(A).is_empty(),
        "the outcome is for the next leader"
    );
    assert_eq!(pair.ask(B, "GET k"), "$1\r\nw\r\n");
    assert_eq!(pair.ask(B, "SET k x"), "+OK\r\n");
    assert!(pair.hosts[0].failed.is_none(), "it is alive, and follows");
    pair.hosts[0].disk_delay = 50_000;
    within(&mut pair, 5_000, "its disk", |pair| pair.cursors(A).1 == pair.cursors(B).1);
    let calm = within(&mut pair, 1_000, "the admission", whole);
    assert!((90..150).contains(&calm), "{calm} ms");
    pair.run_until("both to settle", settled);
}

#[test]
fn who_just_yielded_does_not_yield_again_at_once() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[0].disk_delay = 300 * MS;
    pair.send(A, "SET k w");
    within(&mut pair, 500, "the new leader", |pair| pair.configuration.leader == B);
    pair.hosts[0].disk_delay = 50_000;
    within(&mut pair, 1_000, "the admission", whole);
    pair.hand_off(B);
    pair.run_until("the leader of before", |pair| pair.configuration.leader == A);
    pair.open_client(A);
    pair.asked.clear();
    pair.ask(A, "SET k x");
    pair.hosts[0].disk_delay = 95 * MS;
    pair.send(A, "SET k y");
    within(&mut pair, 500, "the reply", is_answered);
    assert!(pair.asked.is_empty(), "{:?}", pair.asked);
}

#[test]
fn a_disk_that_stands_still_has_not_failed() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.kill(B);
    pair.run_until("the eviction", |pair| in_sync(pair) == NodeSet::of(&[A]));
    let value = "x".repeat(60_000);
    for i in 0..3 {
        pair.ask(A, &format!("SET big{i} {value}"));
    }
    pair.hosts[0].disk_delay = 25_000 * MS;
    for i in 0..3 {
        pair.send(A, &format!("SET more{i} {value}"));
    }
    within(&mut pair, 120_000, "the replies", |pair| pair.hosts[0].replies.len() >= 15);
    assert_eq!(pair.hosts[0].failed, None);
}

/// A leader whose disk stood still, as its follower's did, for longer than its lease was renewed. Both are back just now;
/// the lease is not yet. Meanwhile this client came to read.
fn back_from_a_long_stall() -> (Pair, ConnId) {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.run_until("both to settle", settled);
    pair.hosts[0].disk_delay = 1_500 * MS;
    pair.hosts[1].disk_delay = 1_500 * MS;
    pair.send(A, "SET other w");
    pair.run_ms(1);
    pair.hosts[0].disk_delay = 50_000;
    pair.run_ms(500);
    pair.hosts[0].lease_until = pair.now;
    let reader = pair.open_resp(A);
    pair.send_on(A, reader, b"GET k\r\n");
    let stood = within(&mut pair, 2_000, "the disks", is_answered);
    assert!(stood > 900, "{stood} ms");
    assert!(pair.asked.is_empty(), "{:?}", pair.asked);
    (pair, reader)
}

#[test]
fn who_waited_for_a_disk_is_served_when_the_lease_comes_back_after_it() {
    let (mut pair, reader) = back_from_a_long_stall();
    pair.run_ms(20);
    pair.hosts[0].lease_until = u64::MAX;
    pair.run_ms(20);
    assert_eq!(String::from_utf8_lossy(&pair.take_told(A, reader)), "$1\r\nv\r\n");
}

#[test]
fn who_waited_for_a_disk_waits_no_longer_than_others_for_a_lease_that_does_not_come() {
    let (mut pair, reader) = back_from_a_long_stall();
    let waited = within(&mut pair, 250, "the refusal", |pair| !pair.hosts[0].told[&reader].is_empty());
    assert!(waited > 180, "{waited} ms");
    assert!(pair.take_told(A, reader).starts_with(b"-TRYAGAIN"));
}

#[test]
fn a_group_that_stops_as_a_whole_keeps_its_in_sync_set_whole() {
    for first in [A, B] {
        let second = if first == A { B } else { A };
        let mut pair = Pair::up();
        pair.tell_who_is_up(&[A, B]);
        for i in 0..20 {
            pair.ask(A, &format!("SET key{i} {i}"));
        }
        pair.hosts[1].disk_delay = 150 * MS;
        pair.send(A, "SET last one");
        pair.run_ms(1);
        pair.hosts[1].disk_delay = 50_000;
        pair.stop(first);
        pair.run_ms(30);
        pair.stop(second);
        within(&mut pair, 500, "both to stop", |pair| pair.hosts.iter().all(|host| host.stopped));
        assert!(pair.asked.is_empty() && whole(&pair), "{:?}", pair.asked);
        assert_eq!(pair.take_replies(A), "+OK\r\n");
        assert!(settled(&pair), "{:?} {:?}", pair.cursors(A), pair.cursors(B));
        pair.kill(A);
        pair.kill(B);
        pair.start(A);
        pair.start(B);
        pair.promote(B);
        assert_eq!(pair.ask(B, "GET last"), "$3\r\none\r\n");
    }
}

#[test]
fn a_follower_that_stops_is_let_go_once_it_holds_everything() {
    let mut pair = Pair::up();
    pair.tell_who_is_up(&[A, B]);
    pair.ask(A, "SET k v");
    pair.stop(B);
    for i in 0..50 {
        assert_eq!(pair.ask(A, &format!("SET key{i} {i}")), "+OK\r\n");
        assert!(!pair.hosts[1].stopped || !whole(&pair), "it leaves before it is let go");
        pair.run_ms(3);
    }
    assert!(pair.hosts[1].stopped);
    let change = Change::Evict(NodeSet::of(&[B]), EvictReason::Leaving);
    assert_eq!(pair.asked.iter().map(|(_, request)| request.change).collect::<Vec<_>>(), [change]);
    pair.kill(B);
    pair.tell_who_is_up(&[A]);
    assert_eq!(pair.ask(A, "GET key49"), "$2\r\n49\r\n");
}

#[test]
fn a_leader_that_stops_alone_hands_over_first() {
    let mut pair = Pair::up();
    pair.tell_who_is_up(&[A, B]);
    pair.ask(A, "SET k v");
    pair.stop(A);
    assert_eq!(pair.ask(A, "SET k w"), "+OK\r\n", "until it is known that nobody else stops, it serves");
    within(&mut pair, 300, "the new leader", |pair| pair.configuration.leader == B);
    within(&mut pair, 300, "the stop", |pair| pair.hosts[0].stopped);
    assert!(!pair.hosts[1].stopped);
    assert_eq!(pair.ask(B, "GET k"), "$1\r\nw\r\n");
}

#[test]
fn a_hello_that_ends_inside_a_frame_harms_nobody() {
    let mut pair = Pair::up();
    pair.kill(B);
    let value = "x".repeat(20_000);
    for i in 0..10 {
        assert_eq!(pair.ask(A, &format!("SET big{i} {value}")), "+OK\r\n");
    }
    let (tail, ..) = pair.cursors(A);
    for end in [8, 4096, 30_000, tail - 8, tail - 16, tail - 20_000, 3] {
        pair.forge_hello(B, A, Lsn(end));
        pair.run_ms(30);
        assert_eq!(pair.ask(A, "GET big9"), format!("$20000\r\n{value}\r\n"));
    }
    assert_eq!(pair.hosts[0].failed, None);
}

#[cfg(feature = "mutants")]
#[test]
fn each_missing_defence_is_noticed() {
    use node::mutants::Mutant;
    let stories: [(Mutant, fn()); 8] = [
        (Mutant::SlowIsGone, a_slow_follower_keeps_its_place_and_writers_wait_for_it),
        (Mutant::BlamesOthersForOwnDisk, a_stall_that_both_disks_share_evicts_nobody),
        (Mutant::BlamesOthersForOwnDisk, a_disk_that_stands_still_has_not_failed),
        (
            Mutant::AdmitsAtOnce,
            a_follower_that_answers_and_does_not_move_is_given_up_in_the_end_and_comes_back_calmly,
        ),
        (Mutant::IgnoresMinInSync, what_was_under_way_when_too_few_were_left_is_not_acknowledged_by_them),
        (Mutant::NeverYields, a_leader_whose_disk_stands_still_makes_way_for_a_follower_whose_disk_moves),
        (Mutant::YieldsToAnyone, a_leader_whose_disk_stands_still_makes_way_for_a_follower_whose_disk_moves),
        (Mutant::EvictsAtTheEnd, a_group_that_stops_as_a_whole_keeps_its_in_sync_set_whole),
    ];
    for (mutant, story) in stories {
        assert!(mutants::fails_without(mutant.switch(), story), "nobody notices {mutant:?}");
    }
}
