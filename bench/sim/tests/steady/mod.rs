//! A healthy pair stays as it is, and a slow one is not taken for a dead one (`docs/STEADY.md`).

use crate::{in_sync, settled};
use agency::configuration::Change;
use agency::ids::NodeSet;
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
