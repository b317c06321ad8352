//! The node's promises, each as a story of two nodes. The world is virtual; node and engine are the real ones.

mod repair;
#[allow(dead_code, reason = "the stories of the HTTP face use the rest")]
mod world;

use agency::configuration::Change;
use agency::ids::NodeSet;
use world::{A, B, World};

fn in_sync(world: &World) -> NodeSet {
    world.configuration.in_sync
}

/// Both hold the same log and everything is committed.
fn settled(world: &World) -> bool {
    let (a, b) = (world.cursors(A), world.cursors(B));
    a.0 == b.0 && a.1 == a.0 && b.1 == b.0 && a.2 == a.0 && b.2 == b.0
}

fn log_bytes(world: &World, node: agency::ids::NodeId) -> Vec<u8> {
    let shard = world.node(node).engine();
    let range = shard.send_range(shard.oldest(), usize::MAX).expect("the whole log is in the buffer");
    shard.bytes(range).to_vec()
}

#[test]
fn a_write_is_on_both_disks_when_it_is_acknowledged() {
    let mut world = World::new();
    assert_eq!(world.ask(A, "SET greeting hello"), "+OK\r\n");
    let end = world.cursors(A).2;
    assert!(world.cursors(B).1 >= end, "the follower's disk has it");
    assert_eq!(world.ask(A, "GET greeting"), "$5\r\nhello\r\n");
}

#[test]
fn nothing_is_acknowledged_before_the_follower_is_durable() {
    let mut world = World::new();
    world.ask(A, "SET k v0");
    world.hosts[1].disk_delay = 20_000_000;
    world.send(A, "SET k v1");
    world.run_ms(10);
    assert_eq!(world.take_replies(A), "");
    world.run_until("the reply", |w| !w.hosts[0].replies.is_empty());
    let (tail, durable, _) = world.cursors(B);
    assert_eq!(tail, durable);
}

#[test]
fn logs_are_byte_identical() {
    let mut world = World::new();
    for i in 0..200 {
        world.ask(A, &format!("SET key{i} value{i}"));
    }
    world.run_until("both to settle", settled);
    assert_eq!(log_bytes(&world, A), log_bytes(&world, B));
}

#[test]
fn a_follower_serves_what_is_committed_to_readonly_clients_and_redirects_others() {
    let mut world = World::new();
    world.ask(A, "SET greeting hello");
    world.run_until("both to settle", settled);
    assert!(world.ask(B, "GET greeting").starts_with("-MOVED "));
    assert_eq!(world.ask(B, "READONLY"), "+OK\r\n");
    assert_eq!(world.ask(B, "GET greeting"), "$5\r\nhello\r\n");
    assert!(world.ask(B, "SET greeting bye").starts_with("-MOVED "));
}

#[test]
fn a_promoted_follower_has_every_acknowledged_write() {
    let mut world = World::new();
    for i in 0..50 {
        assert_eq!(world.ask(A, &format!("SET key{i} value{i}")), "+OK\r\n");
    }
    world.kill(A);
    world.promote(B);
    for i in 0..50 {
        let value = format!("value{i}");
        assert_eq!(world.ask(B, &format!("GET key{i}")), format!("${}\r\n{value}\r\n", value.len()));
    }
    assert_eq!(world.ask(B, "SET more yes"), "+OK\r\n");
}

#[test]
fn a_new_leader_serves_nothing_before_its_epoch_start_is_committed() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.run_until("both to settle", settled);
    world.kill(A);
    world.hosts[1].disk_delay = 20_000_000;
    world.promote(B);
    world.send(B, "GET k");
    world.run_ms(10);
    assert_eq!(world.take_replies(B), "", "the epoch-start frame is not durable yet");
    world.run_until("the reply", |w| !w.hosts[1].replies.is_empty());
    assert_eq!(world.take_replies(B), "$1\r\nv\r\n");
}

#[test]
fn a_follower_that_was_away_catches_up_and_is_admitted() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.kill(B);
    // The write waits until the lost follower is evicted, and is then acknowledged.
    assert_eq!(world.ask(A, "SET k alone"), "+OK\r\n");
    assert_eq!(in_sync(&world), NodeSet::of(&[A]));
    let value = "x".repeat(20_000);
    for i in 0..100 {
        assert_eq!(world.ask(A, &format!("SET big{i} {value}")), "+OK\r\n");
    }
    world.start(B);
    world.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    world.run_until("both to settle", settled);
    world.kill(A);
    world.promote(B);
    assert_eq!(world.ask(B, "GET big99"), format!("${}\r\n{value}\r\n", value.len()));
    assert_eq!(world.ask(B, "GET big0"), format!("${}\r\n{value}\r\n", value.len()));
    assert_eq!(world.ask(B, "GET k"), "$5\r\nalone\r\n");
}

#[test]
fn a_learner_that_lacks_committed_frames_is_not_proposed() {
    let mut world = World::new();
    world.kill(B);
    assert_eq!(world.ask(A, "SET k alone"), "+OK\r\n");
    world.run_until("the eviction", |w| in_sync(w) == NodeSet::of(&[A]));
    world.decides = false;
    world.hosts[B.0 as usize].disk_delay = 3_000_000;
    world.start(B);
    let admission = |w: &World| w.asked.iter().any(|(_, request)| request.change == Change::Admit(B));
    for i in 0..200 {
        world.send(A, &format!("SET k{i} v"));
        world.run_ms(1);
        if admission(&world) {
            break;
        }
    }
    // It is asked for in the end, although writes never stop, but not before it holds what was acknowledged.
    assert!(admission(&world));
    let (_, durable, _) = world.cursors(B);
    let (_, _, committed) = world.cursors(A);
    assert!(durable >= committed, "{durable} of {committed}");
}

#[test]
fn what_a_rejoining_leader_cuts_is_kept() {
    let mut world = World::new();
    world.ask(A, "SET k committed");
    world.run_until("both to settle", settled);
    // B is gone: A takes a write that can never be acknowledged.
    world.decides = false;
    world.kill(B);
    world.send(A, "SET k lost");
    world.run_ms(5);
    assert_eq!(world.take_replies(A), "");
    world.kill(A);
    world.decides = true;
    world.start(B);
    world.promote(B);
    assert_eq!(world.ask(B, "SET k kept"), "+OK\r\n");
    world.start(A);
    world.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    world.run_until("both to settle", settled);
    assert_eq!(world.ask(A, "READONLY"), "+OK\r\n");
    assert_eq!(world.ask(A, "GET k"), "$4\r\nkept\r\n");
    let rewound = world.hosts[0].disk.rewound();
    assert_eq!(rewound.len(), 1, "the cut was saved");
    assert!(rewound[0].bytes.windows(4).any(|w| w == b"lost"), "with the write that was cut");
}

#[test]
fn a_restarted_leader_does_not_continue_its_epoch() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.kill(A);
    world.start(A);
    world.send(A, "GET k");
    world.run_ms(50);
    assert_eq!(world.take_replies(A), "", "another incarnation leads nothing");
    world.promote(A);
    world.run_until("the reply", |w| !w.hosts[0].replies.is_empty());
    assert_eq!(world.take_replies(A), "$1\r\nv\r\n");
    assert_eq!(world.node(A).engine().last_epoch().0, 2);
}

#[test]
fn no_read_leaves_without_a_lease() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.hosts[0].lease_until = 0;
    world.send(A, "GET k");
    world.run_ms(50);
    assert_eq!(world.take_replies(A), "");
    world.hosts[0].lease_until = u64::MAX;
    world.run_until("the reply", |w| !w.hosts[0].replies.is_empty());
    assert_eq!(world.take_replies(A), "$1\r\nv\r\n");
    // Writes need no lease: no clock takes part in their safety.
    world.hosts[0].lease_until = 0;
    assert_eq!(world.ask(A, "SET k w"), "+OK\r\n");
}

#[test]
fn nobody_waits_for_ever_for_a_lease_that_does_not_come() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.hosts[0].lease_until = 0;
    // That the key is there is a read, and perhaps no longer true.
    world.send(A, "SET k w NX");
    world.run_ms(50);
    assert!(!world.hosts[0].client_closed);
    world.run_until("the end", |w| w.hosts[0].client_closed);
    assert_eq!(world.take_replies(A), "");
}

#[test]
fn a_read_of_an_uncommitted_value_waits_for_its_commit() {
    let mut world = World::new();
    world.ask(A, "SET k old");
    world.hosts[1].disk_delay = 20_000_000;
    world.send(A, "SET k new");
    world.send(A, "GET k");
    world.run_ms(10);
    assert_eq!(world.take_replies(A), "");
    world.run_until("the replies", |w| w.hosts[0].replies.len() > 5);
    assert_eq!(world.take_replies(A), "+OK\r\n$3\r\nnew\r\n");
}

#[test]
fn a_deposed_leader_resets_clients_whose_writes_are_uncertain() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.decides = false;
    world.hosts[1].disk_delay = 50_000_000;
    world.send(A, "SET k uncertain");
    world.run_ms(1);
    world.promote(B);
    world.run_ms(1);
    assert_eq!(world.take_replies(A), "");
    assert!(world.hosts[0].client_closed);
}

#[test]
fn a_handoff_drains_first_and_loses_nobody() {
    let mut world = World::new();
    for i in 0..20 {
        world.ask(A, &format!("SET key{i} {i}"));
    }
    world.hand_off(A);
    world.send(A, "SET late yes");
    world.run_until("the new leader", |w| w.configuration.leader == B);
    world.run_until("a redirection", |w| !w.hosts[0].replies.is_empty());
    assert!(world.take_replies(A).starts_with("-MOVED "));
    assert!(!world.hosts[0].client_closed);
    assert_eq!(in_sync(&world), NodeSet::of(&[A, B]));
    assert_eq!(world.ask(B, "SET late yes"), "+OK\r\n");
    assert_eq!(world.ask(B, "GET key19"), "$2\r\n19\r\n");
}

#[test]
fn a_follower_that_lost_acknowledged_frames_is_evicted_and_fed_anew() {
    let mut world = World::new();
    for i in 0..20 {
        world.ask(A, &format!("SET key{i} {i}"));
    }
    world.run_until("both to settle", settled);
    world.kill(B);
    world.hosts[1].disk = engine::testing::MemoryDisk::new(256 << 10);
    world.start(B);
    world.run_until("the admission", |w| {
        w.asked.iter().any(|(_, r)| matches!(r.change, Change::Evict(_)))
            && in_sync(w) == NodeSet::of(&[A, B])
    });
    world.run_until("both to settle", settled);
    assert_eq!(log_bytes(&world, A), log_bytes(&world, B));
}

#[test]
fn a_failed_write_ends_the_node() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.hosts[0].disk_broken = true;
    world.send(A, "SET k w");
    world.run_ms(5);
    assert!(world.hosts[0].failed.as_ref().is_some_and(|reason| reason.contains("disk failed")));
    assert_eq!(world.take_replies(A), "");
}

#[test]
fn values_larger_than_memory_come_from_the_disk() {
    let mut world = World::new();
    let value = "y".repeat(30_000);
    for i in 0..60 {
        world.ask(A, &format!("SET big{i} {value}"));
    }
    world.run_until("both to settle", settled);
    world.kill(A);
    world.kill(B);
    world.start(A);
    world.start(B);
    world.promote(A);
    assert_eq!(world.ask(A, "GET big0"), format!("${}\r\n{value}\r\n", value.len()));
    assert_eq!(world.ask(A, "APPEND big1 z"), ":30001\r\n");
    assert_eq!(world.ask(A, "STRLEN big1"), ":30001\r\n");
}

#[test]
fn keys_that_were_written_by_one_command_come_from_the_disk_each_with_its_own_value() {
    let mut world = World::new();
    let value = |i: usize| format!("{i:02}").repeat(3000);
    let pairs: Vec<String> = (0..10).map(|i| format!("k{i} {}", value(i))).collect();
    assert_eq!(world.ask(A, &format!("MSET {}", pairs.join(" "))), "+OK\r\n");
    // The frame leaves the log buffer.
    let filler = "y".repeat(30_000);
    for i in 0..40 {
        world.ask(A, &format!("SET filler{i} {filler}"));
    }
    world.run_until("both to settle", settled);
    world.kill(A);
    world.kill(B);
    world.start(A);
    world.start(B);
    world.promote(A);
    let keys: Vec<String> = (0..10).map(|i| format!("k{i}")).collect();
    let expected: String = (0..10).map(|i| format!("$6000\r\n{}\r\n", value(i))).collect();
    assert_eq!(world.ask(A, &format!("MGET {}", keys.join(" "))), format!("*10\r\n{expected}"));
}

#[test]
fn weaker_levels_do_not_wait_for_the_follower() {
    let mut world = World::new();
    world.ask(A, "SET k v");
    world.hosts[1].disk_delay = 50_000_000;
    assert_eq!(world.ask(A, "BATON ACK received"), "+OK\r\n");
    let before = world.now;
    assert_eq!(world.ask(A, "SET k w"), "+OK\r\n");
    assert!(world.now - before < 10_000_000);
    assert_eq!(world.ask(A, "WAIT 1 0"), ":1\r\n");
}
