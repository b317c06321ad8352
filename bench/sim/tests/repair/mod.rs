//! Damage on one node's disk, found by a read, by a follower that is fed, or by recovery: what the group does
//! about it (rule 12).

use crate::{in_sync, settled};
use agency::configuration::{Change, Why};
use agency::ids::{NodeId, NodeSet};
use agency::shard::Health;
use engine::disk::ReadSpec;
use engine::ids::SegmentId;
use engine::limits::BLOCK;
use engine::shard::{Found, View};
use sim::pair::{A, B, Pair};

const VALUES: usize = 60;

fn value(i: usize) -> String {
    format!("{i:05}").repeat(6000)
}

fn reply(i: usize) -> String {
    let value = value(i);
    format!("${}\r\n{value}\r\n", value.len())
}

/// Both nodes hold much more than their log buffers; they were restarted, so that all of it is read from disk.
fn cold_pair() -> Pair {
    let mut pair = Pair::up();
    for i in 0..VALUES {
        assert_eq!(pair.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    restart(&mut pair);
    pair
}

fn restart(pair: &mut Pair) {
    pair.run_until("both to settle", settled);
    pair.kill(A);
    pair.kill(B);
    pair.start(A);
    pair.start(B);
    pair.promote(A);
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
}

/// The blocks in which a node would look for a key.
fn blocks_of(pair: &Pair, node: NodeId, key: &str) -> ReadSpec {
    match pair.node(node).engine().find(key.as_bytes(), View::Committed) {
        Found::OnDisk { spec, .. } => spec,
        other => panic!("{key} is not on the disk: {other:?}"),
    }
}

/// Flips a bit in the middle of a key's value.
fn damage(pair: &mut Pair, node: NodeId, key: &str) {
    let spec = blocks_of(pair, node, key);
    let at = (spec.offset + u64::from(spec.len) / 2) as usize;
    pair.hosts[node.0 as usize].disk.memory.file_mut(spec.segment).unwrap()[at] ^= 4;
}

fn count(pair: &mut Pair, node: NodeId, field: &str) -> u64 {
    let info = pair.ask(node, "INFO persistence");
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {info}")).parse().unwrap()
}

fn wait_repaired(pair: &mut Pair, node: NodeId, frames: u64) {
    while count(pair, node, "baton_repaired_frames") < frames {
        pair.run_ms(1);
        assert!(pair.now < 60_000_000_000, "the frame is never written back");
    }
}

fn file(pair: &mut Pair, node: NodeId, segment: SegmentId) -> Vec<u8> {
    pair.hosts[node.0 as usize].disk.memory.file_mut(segment).unwrap().clone()
}

#[test]
fn a_damaged_value_is_fetched_from_the_follower_and_written_back() {
    let mut pair = cold_pair();
    let segment = blocks_of(&pair, A, "big3").segment;
    let before = file(&mut pair, A, segment);
    damage(&mut pair, A, "big3");
    damage(&mut pair, A, "big4");
    // A frame that is counted as repaired is on the disk, however long that takes.
    pair.hosts[0].disk_delay = 20_000_000;
    assert_eq!(pair.ask(A, "GET big3"), reply(3));
    assert_eq!(pair.ask(A, "GET big4"), reply(4));
    wait_repaired(&mut pair, A, 2);
    assert!(file(&mut pair, A, segment) == before, "byte for byte what it was");
    assert_eq!(count(&mut pair, A, "baton_damaged_frames"), 2);
    assert!(pair.hosts[0].failed.is_none());
}

#[test]
fn a_damaged_value_on_a_follower_is_fetched_from_its_leader() {
    let mut pair = cold_pair();
    let segment = blocks_of(&pair, B, "big3").segment;
    let before = file(&mut pair, B, segment);
    damage(&mut pair, B, "big3");
    assert_eq!(pair.ask(B, "READONLY"), "+OK\r\n");
    assert_eq!(pair.ask(B, "GET big3"), reply(3));
    wait_repaired(&mut pair, B, 1);
    assert!(file(&mut pair, B, segment) == before);
}

#[test]
fn blocks_that_the_device_cannot_read_are_replaced_whole() {
    let mut pair = cold_pair();
    let spec = blocks_of(&pair, A, "big3");
    let before = file(&mut pair, A, spec.segment);
    // The first block also holds the end of the frame before.
    for at in [spec.offset, spec.offset + BLOCK] {
        pair.hosts[0].disk.unreadable.insert((spec.segment, at));
        let from = at as usize;
        pair.hosts[0].disk.memory.file_mut(spec.segment).unwrap()[from..from + BLOCK as usize].fill(0xee);
    }
    assert_eq!(pair.ask(A, "GET big3"), reply(3));
    wait_repaired(&mut pair, A, 1);
    assert!(pair.hosts[0].disk.unreadable.is_empty());
    assert!(file(&mut pair, A, spec.segment) == before);
    assert_eq!(pair.ask(A, "GET big2"), reply(2));
}

#[test]
fn a_command_that_writes_waits_for_the_repair_too() {
    let mut pair = cold_pair();
    damage(&mut pair, A, "big3");
    assert_eq!(pair.ask(A, "APPEND big3 x"), format!(":{}\r\n", value(3).len() + 1));
    assert_eq!(pair.ask(A, "GET big3"), format!("${}\r\n{}x\r\n", value(3).len() + 1, value(3)));
}

#[test]
fn damage_that_nobody_can_mend_is_an_error_and_nothing_else() {
    let mut pair = cold_pair();
    damage(&mut pair, A, "big3");
    damage(&mut pair, B, "big3");
    let error = "-ERR the value's checksum does not match on this disk\r\n";
    assert_eq!(pair.ask(A, "GET big3"), error);
    pair.kill(B);
    assert_eq!(pair.ask(A, "GET big3"), error);
    assert_eq!(pair.ask(A, "GET big5"), reply(5));
    let spec = blocks_of(&pair, A, "big6");
    pair.hosts[0].disk.unreadable.insert((spec.segment, spec.offset));
    assert_eq!(pair.ask(A, "GET big6"), "-ERR the disk could not read the value\r\n");
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    assert_eq!(count(&mut pair, A, "baton_repaired_frames"), 0);
    assert!(pair.hosts[0].failed.is_none());
}

#[test]
fn a_member_that_does_not_answer_is_given_up() {
    let mut pair = cold_pair();
    damage(&mut pair, A, "big3");
    pair.hosts[1].disk_delay = 30_000_000_000;
    assert!(pair.ask(A, "GET big3").starts_with("-ERR the value's checksum"));
}

#[test]
fn a_leader_whose_copy_is_damaged_feeds_no_learner_with_it() {
    let mut pair = Pair::up();
    pair.kill(B);
    for i in 0..VALUES {
        assert_eq!(pair.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    pair.kill(A);
    pair.start(A);
    pair.promote(A);
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    damage(&mut pair, A, "big30");
    pair.start(B);
    pair.run_ms(700);
    assert_eq!(in_sync(&pair), NodeSet::of(&[A]), "a copy with a hole is no copy");
    assert!(pair.hosts[0].failed.is_none(), "{:?}", pair.hosts[0].failed);
    assert!(pair.cursors(B).0 < pair.cursors(A).0);
    assert_eq!(pair.ask(A, "GET big31"), reply(31));
    assert!(count(&mut pair, A, "baton_damaged_frames") > 0, "the leader checks what it sends");
}

/// A frame that is longer than what is read at once, where the block it ends in is read with it and where not.
#[test]
fn a_frame_longer_than_one_read_reaches_a_learner() {
    for filler in ["", "SET f "] {
        let mut pair = Pair::up();
        pair.kill(B);
        if !filler.is_empty() {
            // The long frame begins on a block boundary.
            assert_eq!(pair.ask(A, &format!("{filler}{}", "f".repeat(3999))), "+OK\r\n");
            assert_eq!(pair.cursors(A).0, BLOCK);
        }
        let (key, long) = ("k".repeat(65_535), "v".repeat(65_536));
        let set = format!("*3\r\n$3\r\nSET\r\n$65535\r\n{key}\r\n$65536\r\n{long}");
        assert_eq!(pair.ask(A, &set), "+OK\r\n");
        for i in 0..VALUES {
            assert_eq!(pair.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
        }
        pair.start(B);
        pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
        assert!(pair.hosts[0].failed.is_none());
    }
}

/// Damages the middle of the log's open segment, below what the pulse vouches for.
fn damage_open_segment(pair: &mut Pair, node: NodeId) {
    let host = &mut pair.hosts[node.0 as usize];
    let last =
        host.disk.memory.files().filter(|(_, bytes)| bytes[..8] == *b"BatonSEG").map(|(id, _)| id).last();
    let file = host.disk.memory.file_mut(last.unwrap()).unwrap();
    let used = file.iter().rposition(|byte| *byte != 0).unwrap();
    file[BLOCK as usize + (used - BLOCK as usize) / 2] ^= 1;
}

#[test]
fn a_node_that_recovery_found_damaged_is_evicted_and_fed_anew() {
    let mut pair = Pair::up();
    for i in 0..20 {
        assert_eq!(pair.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    pair.run_until("both to settle", settled);
    pair.run_ms(150);
    pair.kill(B);
    damage_open_segment(&mut pair, B);
    pair.asked.clear();
    pair.start(B);
    assert!(pair.node(B).engine().damaged());
    pair.run_until("the eviction", |w| w.asked.iter().any(|(_, r)| matches!(r.change, Change::Evict(..))));
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    assert!(!pair.node(B).engine().damaged());
    assert_eq!(pair.hosts[1].disk.memory.rewound().len(), 1, "what was left is kept");
    let segments: Vec<_> = pair.hosts[0].disk.memory.files().map(|(id, _)| id).collect();
    for segment in segments {
        assert!(file(&mut pair, A, segment) == file(&mut pair, B, segment), "{segment:?}");
    }
}

#[test]
fn a_damaged_node_does_not_lead_even_if_it_is_told_to() {
    let mut pair = Pair::up();
    for i in 0..20 {
        assert_eq!(pair.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    pair.run_until("both to settle", settled);
    pair.run_ms(150);
    pair.kill(A);
    pair.kill(B);
    damage_open_segment(&mut pair, A);
    pair.start(A);
    pair.promote(A);
    pair.send(A, "GET big0");
    pair.send(A, "SET k v");
    pair.run_ms(100);
    assert!(!pair.take_replies(A).contains(['+', '$']), "it neither reads nor writes");
    assert_eq!(pair.node(A).engine().last_epoch().0, 1, "no epoch was begun");
    pair.start(B);
    pair.promote(B);
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.promote(A);
    pair.hosts[0].replies.clear();
    assert_eq!(pair.ask(A, "GET big0"), reply(0));
}

#[test]
fn a_scan_that_meets_a_damaged_frame_goes_on_with_the_other_members() {
    let mut pair = Pair::up();
    pair.ask_http(A, "POST /_api/collection", "", r#"{"name":"c"}"#);
    for i in 0..VALUES {
        assert_eq!(pair.ask(A, &format!("SET c/big{i} {}", value(i))), "+OK\r\n");
    }
    restart(&mut pair);
    let segment = blocks_of(&pair, A, "c/big3").segment;
    let before = file(&mut pair, A, segment);
    damage(&mut pair, A, "c/big3");
    damage(&mut pair, A, "c/big4");
    let counted = pair.ask_http(A, "GET /_api/collection/c/count", "", "");
    assert!(counted.contains(&format!("\"count\":{VALUES}")), "{counted}");
    wait_repaired(&mut pair, A, 2);
    assert!(file(&mut pair, A, segment) == before);
    // Nobody can help: it is said so, and ends.
    damage(&mut pair, A, "c/big5");
    damage(&mut pair, B, "c/big5");
    let failed = pair.ask_http(A, "GET /_api/collection/c/count", "", "");
    assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
}

/// `A` is alone in the in-sync set, and damaged; both are down. `more` writes came after `B` had left.
fn damaged_alone(more: usize) -> Pair {
    let mut pair = Pair::up();
    for i in 0..20 {
        assert_eq!(pair.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    pair.run_until("both to settle", settled);
    pair.kill(B);
    pair.run_until("the eviction", |w| in_sync(w) == NodeSet::of(&[A]));
    for i in 0..more {
        assert_eq!(pair.ask(A, &format!("SET late{i} {}", value(i))), "+OK\r\n");
    }
    pair.run_ms(150);
    pair.kill(A);
    damage_open_segment(&mut pair, A);
    pair
}

fn ready(pair: &Pair, node: NodeId) -> bool {
    pair.node(node).progress().health == Health::Ready
}

#[test]
fn a_damaged_node_that_is_alone_in_sync_fetches_what_it_lost_and_leads() {
    let mut pair = damaged_alone(0);
    let end = {
        pair.start(A);
        pair.promote(A);
        pair.run_ms(500);
        assert!(!ready(&pair, A), "nobody can help yet");
        pair.start(B);
        pair.run_until("the repair", |pair| ready(pair, A));
        pair.cursors(B).0
    };
    assert_eq!(pair.cursors(A).0, end);
    assert_eq!(pair.node(A).engine().last_epoch().0, 1, "it led nothing meanwhile");
    pair.promote(A);
    for i in 0..20 {
        assert_eq!(pair.ask(A, &format!("GET big{i}")), reply(i));
    }
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    assert!(pair.hosts[0].failed.is_none() && pair.hosts[1].failed.is_none());
    // What it fetched is on its disk, and so is that it is whole.
    pair.run_ms(150);
    pair.kill(A);
    pair.start(A);
    assert!(!pair.node(A).engine().damaged());
}

#[test]
fn what_nobody_else_holds_is_not_replaced_by_less() {
    let mut pair = damaged_alone(3);
    pair.start(A);
    pair.start(B);
    pair.promote(A);
    pair.run_ms(900);
    assert!(!ready(&pair, A), "acknowledged writes are missing");
}

#[test]
fn a_damaged_node_leads_with_what_is_left_of_it_once_the_loss_is_accepted() {
    let mut pair = damaged_alone(3);
    pair.start(A);
    pair.start(B);
    pair.promote(A);
    pair.run_ms(900);
    assert!(!ready(&pair, A), "acknowledged writes are missing");
    pair.accept_loss(A);
    pair.run_until("the change", |w| w.configuration.why == Why::DataLossAccepted);
    assert!(ready(&pair, A), "else its warden gives it no lease");
    assert_eq!(pair.ask(A, "SET k v"), "+OK\r\n");
    assert_eq!(pair.ask(A, "GET big0"), reply(0));
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    assert!(pair.hosts[0].failed.is_none() && pair.hosts[1].failed.is_none());
    // That it is whole is on its disk.
    pair.run_ms(150);
    pair.kill(A);
    pair.start(A);
    assert!(!pair.node(A).engine().damaged());
}

#[test]
fn a_loss_that_was_accepted_is_not_accepted_for_the_next_one() {
    let mut pair = damaged_alone(3);
    pair.start(A);
    pair.accept_loss(A);
    pair.run_until("the change", |w| w.configuration.why == Why::DataLossAccepted);
    for i in 0..20 {
        assert_eq!(pair.ask(A, &format!("SET more{i} {}", value(i))), "+OK\r\n");
    }
    pair.run_ms(150);
    pair.kill(A);
    damage_open_segment(&mut pair, A);
    pair.start(A);
    assert!(pair.node(A).engine().damaged());
    pair.run_ms(500);
    assert_eq!(pair.configuration.why, Why::DataLossAccepted, "of its earlier life");
    assert!(!ready(&pair, A), "nobody was asked about this damage");
}

#[cfg(feature = "mutants")]
#[test]
fn a_loss_that_is_accepted_for_ever_is_noticed() {
    let story = a_loss_that_was_accepted_is_not_accepted_for_the_next_one;
    assert!(mutants::fails_without(node::mutants::Mutant::AcceptsEveryLoss.switch(), story));
}

#[test]
fn another_log_of_the_same_length_is_not_taken_for_the_one_that_was_lost() {
    let mut pair = Pair::up();
    pair.promote(B);
    for i in 0..3 {
        assert_eq!(pair.ask(B, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    // `B` writes what is never acknowledged; `A` takes over and writes something else there.
    pair.decides = false;
    pair.kill(A);
    for i in 0..3 {
        pair.send(B, &format!("SET lost{i} {}", value(i)));
    }
    pair.run_ms(20);
    pair.kill(B);
    pair.start(A);
    pair.promote(A);
    assert_eq!(pair.ask(A, &format!("SET kept {}", value(7))), "+OK\r\n");
    pair.run_ms(150);
    pair.kill(A);
    damage_open_segment(&mut pair, A);
    pair.start(A);
    assert!(pair.node(A).engine().damaged());
    pair.start(B);
    assert!(pair.cursors(B).1 > 5 * 30_000);
    pair.run_ms(3_000);
    assert!(!ready(&pair, A), "what it would lead with is not what it acknowledged");
}

#[cfg(feature = "mutants")]
#[test]
fn a_refill_from_any_log_is_noticed() {
    let story = another_log_of_the_same_length_is_not_taken_for_the_one_that_was_lost;
    assert!(mutants::fails_without(node::mutants::Mutant::RefillsFromAnyLog.switch(), story));
}
