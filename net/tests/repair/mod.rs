//! Damage on one node's disk, found by a read, by a follower that is fed, or by recovery: what the group does
//! about it (rule 12).

use crate::world::{A, B, World};
use crate::{in_sync, settled};
use agency::configuration::Change;
use agency::ids::{NodeId, NodeSet};
use engine::disk::ReadSpec;
use engine::ids::SegmentId;
use engine::limits::BLOCK;
use engine::shard::{Found, View};

const VALUES: usize = 60;

fn value(i: usize) -> String {
    format!("{i:05}").repeat(6000)
}

fn reply(i: usize) -> String {
    let value = value(i);
    format!("${}\r\n{value}\r\n", value.len())
}

/// Both nodes hold much more than their log buffers; they were restarted, so that all of it is read from disk.
fn cold_world() -> World {
    let mut world = World::new();
    for i in 0..VALUES {
        assert_eq!(world.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    restart(&mut world);
    world
}

fn restart(world: &mut World) {
    world.run_until("both to settle", settled);
    world.kill(A);
    world.kill(B);
    world.start(A);
    world.start(B);
    world.promote(A);
    world.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    world.run_until("both to settle", settled);
}

/// The blocks in which a node would look for a key.
fn blocks_of(world: &World, node: NodeId, key: &str) -> ReadSpec {
    match world.node(node).engine().find(key.as_bytes(), View::Committed) {
        Found::OnDisk { spec, .. } => spec,
        other => panic!("{key} is not on the disk: {other:?}"),
    }
}

/// Flips a bit in the middle of a key's value.
fn damage(world: &mut World, node: NodeId, key: &str) {
    let spec = blocks_of(world, node, key);
    let at = (spec.offset + u64::from(spec.len) / 2) as usize;
    world.hosts[node.0 as usize].disk.file_mut(spec.segment).unwrap()[at] ^= 4;
}

fn count(world: &mut World, node: NodeId, field: &str) -> u64 {
    let info = world.ask(node, "INFO persistence");
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} in {info}")).parse().unwrap()
}

fn wait_repaired(world: &mut World, node: NodeId, frames: u64) {
    while count(world, node, "baton_repaired_frames") < frames {
        world.run_ms(1);
        assert!(world.now < 60_000_000_000, "the frame is never written back");
    }
}

fn file(world: &mut World, node: NodeId, segment: SegmentId) -> Vec<u8> {
    world.hosts[node.0 as usize].disk.file_mut(segment).unwrap().clone()
}

#[test]
fn a_damaged_value_is_fetched_from_the_follower_and_written_back() {
    let mut world = cold_world();
    let segment = blocks_of(&world, A, "big3").segment;
    let before = file(&mut world, A, segment);
    damage(&mut world, A, "big3");
    damage(&mut world, A, "big4");
    // A frame that is counted as repaired is on the disk, however long that takes.
    world.hosts[0].disk_delay = 20_000_000;
    assert_eq!(world.ask(A, "GET big3"), reply(3));
    assert_eq!(world.ask(A, "GET big4"), reply(4));
    wait_repaired(&mut world, A, 2);
    assert!(file(&mut world, A, segment) == before, "byte for byte what it was");
    assert_eq!(count(&mut world, A, "baton_damaged_frames"), 2);
    assert!(world.hosts[0].failed.is_none());
}

#[test]
fn a_damaged_value_on_a_follower_is_fetched_from_its_leader() {
    let mut world = cold_world();
    let segment = blocks_of(&world, B, "big3").segment;
    let before = file(&mut world, B, segment);
    damage(&mut world, B, "big3");
    assert_eq!(world.ask(B, "READONLY"), "+OK\r\n");
    assert_eq!(world.ask(B, "GET big3"), reply(3));
    wait_repaired(&mut world, B, 1);
    assert!(file(&mut world, B, segment) == before);
}

#[test]
fn blocks_that_the_device_cannot_read_are_replaced_whole() {
    let mut world = cold_world();
    let spec = blocks_of(&world, A, "big3");
    let before = file(&mut world, A, spec.segment);
    // The first block also holds the end of the frame before.
    for at in [spec.offset, spec.offset + BLOCK] {
        world.hosts[0].unreadable.insert((spec.segment, at));
        let from = at as usize;
        world.hosts[0].disk.file_mut(spec.segment).unwrap()[from..from + BLOCK as usize].fill(0xee);
    }
    assert_eq!(world.ask(A, "GET big3"), reply(3));
    wait_repaired(&mut world, A, 1);
    assert!(world.hosts[0].unreadable.is_empty());
    assert!(file(&mut world, A, spec.segment) == before);
    assert_eq!(world.ask(A, "GET big2"), reply(2));
}

#[test]
fn a_command_that_writes_waits_for_the_repair_too() {
    let mut world = cold_world();
    damage(&mut world, A, "big3");
    assert_eq!(world.ask(A, "APPEND big3 x"), format!(":{}\r\n", value(3).len() + 1));
    assert_eq!(world.ask(A, "GET big3"), format!("${}\r\n{}x\r\n", value(3).len() + 1, value(3)));
}

#[test]
fn damage_that_nobody_can_mend_is_an_error_and_nothing_else() {
    let mut world = cold_world();
    damage(&mut world, A, "big3");
    damage(&mut world, B, "big3");
    let error = "-ERR the value's checksum does not match on this disk\r\n";
    assert_eq!(world.ask(A, "GET big3"), error);
    world.kill(B);
    assert_eq!(world.ask(A, "GET big3"), error);
    assert_eq!(world.ask(A, "GET big5"), reply(5));
    let spec = blocks_of(&world, A, "big6");
    world.hosts[0].unreadable.insert((spec.segment, spec.offset));
    assert_eq!(world.ask(A, "GET big6"), "-ERR the disk could not read the value\r\n");
    assert_eq!(world.ask(A, "SET k v"), "+OK\r\n");
    assert_eq!(count(&mut world, A, "baton_repaired_frames"), 0);
    assert!(world.hosts[0].failed.is_none());
}

#[test]
fn a_member_that_does_not_answer_is_given_up() {
    let mut world = cold_world();
    damage(&mut world, A, "big3");
    world.hosts[1].disk_delay = 30_000_000_000;
    assert!(world.ask(A, "GET big3").starts_with("-ERR the value's checksum"));
}

#[test]
fn a_leader_whose_copy_is_damaged_feeds_no_learner_with_it() {
    let mut world = World::new();
    world.kill(B);
    for i in 0..VALUES {
        assert_eq!(world.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    world.kill(A);
    world.start(A);
    world.promote(A);
    assert_eq!(world.ask(A, "SET k v"), "+OK\r\n");
    damage(&mut world, A, "big30");
    world.start(B);
    world.run_ms(700);
    assert_eq!(in_sync(&world), NodeSet::of(&[A]), "a copy with a hole is no copy");
    assert!(world.hosts[0].failed.is_none(), "{:?}", world.hosts[0].failed);
    assert!(world.cursors(B).0 < world.cursors(A).0);
    assert_eq!(world.ask(A, "GET big31"), reply(31));
    assert!(count(&mut world, A, "baton_damaged_frames") > 0, "the leader checks what it sends");
}

/// A frame that is longer than what is read at once, where the block it ends in is read with it and where not.
#[test]
fn a_frame_longer_than_one_read_reaches_a_learner() {
    for filler in ["", "SET f "] {
        let mut world = World::new();
        world.kill(B);
        if !filler.is_empty() {
            // The long frame begins on a block boundary.
            assert_eq!(world.ask(A, &format!("{filler}{}", "f".repeat(3999))), "+OK\r\n");
            assert_eq!(world.cursors(A).0, BLOCK);
        }
        let (key, long) = ("k".repeat(65_535), "v".repeat(65_536));
        let set = format!("*3\r\n$3\r\nSET\r\n$65535\r\n{key}\r\n$65536\r\n{long}");
        assert_eq!(world.ask(A, &set), "+OK\r\n");
        for i in 0..VALUES {
            assert_eq!(world.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
        }
        world.start(B);
        world.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
        assert!(world.hosts[0].failed.is_none());
    }
}

/// Damages the middle of the log's open segment, below what the pulse vouches for.
fn damage_open_segment(world: &mut World, node: NodeId) {
    let host = &mut world.hosts[node.0 as usize];
    let last = host.disk.files().filter(|(_, bytes)| bytes[..8] == *b"BatonSEG").map(|(id, _)| id).last();
    let file = host.disk.file_mut(last.unwrap()).unwrap();
    let used = file.iter().rposition(|byte| *byte != 0).unwrap();
    file[BLOCK as usize + (used - BLOCK as usize) / 2] ^= 1;
}

#[test]
fn a_node_that_recovery_found_damaged_is_evicted_and_fed_anew() {
    let mut world = World::new();
    for i in 0..20 {
        assert_eq!(world.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    world.run_until("both to settle", settled);
    world.run_ms(150);
    world.kill(B);
    damage_open_segment(&mut world, B);
    world.asked.clear();
    world.start(B);
    assert!(world.node(B).engine().damaged());
    world.run_until("the eviction", |w| w.asked.iter().any(|(_, r)| matches!(r.change, Change::Evict(_))));
    world.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    world.run_until("both to settle", settled);
    assert!(!world.node(B).engine().damaged());
    assert_eq!(world.hosts[1].disk.rewound().len(), 1, "what was left is kept");
    let segments: Vec<_> = world.hosts[0].disk.files().map(|(id, _)| id).collect();
    for segment in segments {
        assert!(file(&mut world, A, segment) == file(&mut world, B, segment), "{segment:?}");
    }
}

#[test]
fn a_damaged_node_does_not_lead_even_if_it_is_told_to() {
    let mut world = World::new();
    for i in 0..20 {
        assert_eq!(world.ask(A, &format!("SET big{i} {}", value(i))), "+OK\r\n");
    }
    world.run_until("both to settle", settled);
    world.run_ms(150);
    world.kill(A);
    world.kill(B);
    damage_open_segment(&mut world, A);
    world.start(A);
    world.promote(A);
    world.send(A, "GET big0");
    world.send(A, "SET k v");
    world.run_ms(100);
    assert!(!world.take_replies(A).contains(['+', '$']), "it neither reads nor writes");
    assert_eq!(world.node(A).engine().last_epoch().0, 1, "no epoch was begun");
    world.start(B);
    world.promote(B);
    world.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    world.promote(A);
    world.hosts[0].replies.clear();
    assert_eq!(world.ask(A, "GET big0"), reply(0));
}

#[test]
fn a_scan_that_meets_a_damaged_frame_goes_on_with_the_other_members() {
    let mut world = World::new();
    world.ask_http(A, "POST /_api/collection", "", r#"{"name":"c"}"#);
    for i in 0..VALUES {
        assert_eq!(world.ask(A, &format!("SET c/big{i} {}", value(i))), "+OK\r\n");
    }
    restart(&mut world);
    let segment = blocks_of(&world, A, "c/big3").segment;
    let before = file(&mut world, A, segment);
    damage(&mut world, A, "c/big3");
    damage(&mut world, A, "c/big4");
    let counted = world.ask_http(A, "GET /_api/collection/c/count", "", "");
    assert!(counted.contains(&format!("\"count\":{VALUES}")), "{counted}");
    wait_repaired(&mut world, A, 2);
    assert!(file(&mut world, A, segment) == before);
    // Nobody can help: it is said so, and ends.
    damage(&mut world, A, "c/big5");
    damage(&mut world, B, "c/big5");
    let failed = world.ask_http(A, "GET /_api/collection/c/count", "", "");
    assert!(failed.starts_with("HTTP/1.1 500 "), "{failed}");
}
