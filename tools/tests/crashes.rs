//! Everybody else's death: the follower's, the witness's, both nodes' at once, and the whole host's.

mod common;

use bench::failover::Blow;
use common::*;
use std::fs;
use std::os::unix::fs::FileExt;

#[test]
fn a_dead_follower_costs_nothing() {
    TestGroup::start(27_000).survive(Blow::Follower, rounds(4).min(20));
}

#[test]
fn a_dead_witness_costs_nothing() {
    TestGroup::start(27_400).survive(Blow::Witness, rounds(4).min(20));
}

#[test]
fn both_nodes_dead_at_once_lose_nothing() {
    TestGroup::start(27_800).survive(Blow::Both, rounds(4).min(20));
}

/// Keys written before a power cut in the tests below.
const KEYS: usize = 2000;

fn write_keys(group: &TestGroup) {
    let leader = group.leader().unwrap();
    let mut connection = group.connect(&leader);
    for number in 0..KEYS {
        connection.push(&[b"SET", format!("k{number}").as_bytes(), format!("v{number}").as_bytes()]);
    }
    connection.flush().unwrap();
    for _ in 0..KEYS {
        assert_eq!(connection.receive().unwrap(), ok());
    }
}

fn check_keys(group: &TestGroup) {
    let leader = group.leader().unwrap();
    let mut connection = group.connect(&leader);
    for number in 0..KEYS {
        let value = connection.call(&[b"GET", format!("k{number}").as_bytes()]).unwrap();
        assert_eq!(value, bulk(&format!("v{number}")), "k{number}");
    }
}

#[test]
fn a_power_cut_loses_nothing() {
    let mut group = TestGroup::start(28_200);
    write_keys(&group);
    group.cut_power();
    group.start_again();
    check_keys(&group);
    group.wait_whole();
}

#[test]
fn a_half_written_frame_at_the_end_is_dropped() {
    let mut group = TestGroup::start(28_600);
    write_keys(&group);
    group.cut_power();
    for node in ["a", "b"] {
        let shard = group.setup().dir.join(node).join("shard-0");
        tear(&shard);
    }
    group.start_again();
    check_keys(&group);
    group.wait_whole();
}

/// Makes the log in this directory end in the first half of a frame: after its last byte that is not zero,
/// at the next place where a frame can begin, come the first bytes of an earlier part of the log.
fn tear(shard: &std::path::Path) {
    const FIRST_FRAME: usize = 4096;
    const HALF_A_FRAME: usize = 40;
    let mut torn = 0;
    for entry in fs::read_dir(shard).unwrap() {
        let path = entry.unwrap().path();
        let bytes =
            if path.extension().is_some_and(|e| e == "log") { fs::read(&path).unwrap() } else { continue };
        let Some(last) = bytes.iter().rposition(|byte| *byte != 0).filter(|last| *last > FIRST_FRAME) else {
            continue;
        };
        let end = (last + 1).next_multiple_of(8);
        if end + 2 * HALF_A_FRAME < bytes.len() {
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&bytes[FIRST_FRAME..FIRST_FRAME + HALF_A_FRAME], end as u64).unwrap();
            torn += 1;
        }
    }
    assert!(torn > 0, "no log to tear in {}", shard.display());
}
