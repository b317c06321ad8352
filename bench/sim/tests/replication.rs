//! The node's promises, each as a story of two nodes. Their shells are virtual; node and engine are the real ones.

mod repair;
mod steady;
use agency::configuration::Change;
use agency::ids::NodeSet;
use engine::testing::MemoryDisk;
use sim::pair::{A, B, Pair};
use sim::shell::device::Device;

fn in_sync(pair: &Pair) -> NodeSet {
    pair.configuration.in_sync
}

/// Both hold the same log and everything is committed.
fn settled(pair: &Pair) -> bool {
    let (a, b) = (pair.cursors(A), pair.cursors(B));
    a.0 == b.0 && a.1 == a.0 && b.1 == b.0 && a.2 == a.0 && b.2 == b.0
}

fn log_bytes(pair: &Pair, node: agency::ids::NodeId) -> Vec<u8> {
    let shard = pair.node(node).engine();
    let range = shard.send_range(shard.oldest(), usize::MAX).expect("the whole log is in the buffer");
    shard.bytes(range).to_vec()
}

#[test]
fn a_write_is_on_both_disks_when_it_is_acknowledged() {
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET greeting hello"), "+OK\r\n");
    let end = pair.cursors(A).2;
    assert!(pair.cursors(B).1 >= end, "the follower's disk has it");
    assert_eq!(pair.ask(A, "GET greeting"), "$5\r\nhello\r\n");
}

#[test]
fn nothing_is_acknowledged_before_the_follower_is_durable() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v0");
    pair.hosts[1].disk_delay = 20_000_000;
    pair.send(A, "SET k v1");
    pair.run_ms(10);
    assert_eq!(pair.take_replies(A), "");
    pair.run_until("the reply", |w| !w.hosts[0].replies.is_empty());
    let (tail, durable, _) = pair.cursors(B);
    assert_eq!(tail, durable);
}

#[test]
fn logs_are_byte_identical() {
    let mut pair = Pair::up();
    for i in 0..200 {
        pair.ask(A, &format!("SET key{i} value{i}"));
    }
    pair.run_until("both to settle", settled);
    assert_eq!(log_bytes(&pair, A), log_bytes(&pair, B));
}

#[test]
fn a_follower_serves_what_is_committed_to_readonly_clients_and_redirects_others() {
    let mut pair = Pair::up();
    pair.ask(A, "SET greeting hello");
    pair.run_until("both to settle", settled);
    assert!(pair.ask(B, "GET greeting").starts_with("-MOVED "));
    assert_eq!(pair.ask(B, "READONLY"), "+OK\r\n");
    assert_eq!(pair.ask(B, "GET greeting"), "$5\r\nhello\r\n");
    assert!(pair.ask(B, "SET greeting bye").starts_with("-MOVED "));
}

#[test]
fn a_promoted_follower_has_every_acknowledged_write() {
    let mut pair = Pair::up();
    for i in 0..50 {
        assert_eq!(pair.ask(A, &format!("SET key{i} value{i}")), "+OK\r\n");
    }
    pair.kill(A);
    pair.promote(B);
    for i in 0..50 {
        let value = format!("value{i}");
        assert_eq!(pair.ask(B, &format!("GET key{i}")), format!("${}\r\n{value}\r\n", value.len()));
    }
    assert_eq!(pair.ask(B, "SET more yes"), "+OK\r\n");
}

#[test]
fn a_new_leader_serves_nothing_before_its_epoch_start_is_committed() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.run_until("both to settle", settled);
    pair.kill(A);
    pair.hosts[1].disk_delay = 20_000_000;
    pair.promote(B);
    pair.send(B, "GET k");
    pair.run_ms(10);
    assert_eq!(pair.take_replies(B), "", "the epoch-start frame is not durable yet");
    pair.run_until("the reply", |w| !w.hosts[1].replies.is_empty());
    assert_eq!(pair.take_replies(B), "$1\r\nv\r\n");
}

#[test]
fn a_follower_that_was_away_catches_up_and_is_admitted() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.kill(B);
    // The write waits until the lost follower is evicted, and is then acknowledged.
    assert_eq!(pair.ask(A, "SET k alone"), "+OK\r\n");
    assert_eq!(in_sync(&pair), NodeSet::of(&[A]));
    let value = "x".repeat(20_000);
    for i in 0..100 {
        assert_eq!(pair.ask(A, &format!("SET big{i} {value}")), "+OK\r\n");
    }
    pair.start(B);
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    pair.kill(A);
    pair.promote(B);
    assert_eq!(pair.ask(B, "GET big99"), format!("${}\r\n{value}\r\n", value.len()));
    assert_eq!(pair.ask(B, "GET big0"), format!("${}\r\n{value}\r\n", value.len()));
    assert_eq!(pair.ask(B, "GET k"), "$5\r\nalone\r\n");
}

#[test]
fn a_learner_that_lacks_committed_frames_is_not_proposed() {
    let mut pair = Pair::up();
    pair.kill(B);
    assert_eq!(pair.ask(A, "SET k alone"), "+OK\r\n");
    pair.run_until("the eviction", |w| in_sync(w) == NodeSet::of(&[A]));
    pair.decides = false;
    pair.hosts[B.0 as usize].disk_delay = 3_000_000;
    pair.start(B);
    let admission = |w: &Pair| w.asked.iter().any(|(_, request)| request.change == Change::Admit(B));
    for i in 0..200 {
        pair.send(A, &format!("SET k{i} v"));
        pair.run_ms(1);
        if admission(&pair) {
            break;
        }
    }
    // It is asked for in the end, although writes never stop, but not before it holds what was acknowledged.
    assert!(admission(&pair));
    let (_, durable, _) = pair.cursors(B);
    let (_, _, committed) = pair.cursors(A);
    assert!(durable >= committed, "{durable} of {committed}");
}

#[test]
fn what_a_rejoining_leader_cuts_is_kept() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k committed");
    pair.run_until("both to settle", settled);
    // B is gone: A takes a write that can never be acknowledged.
    pair.decides = false;
    pair.kill(B);
    pair.send(A, "SET k lost");
    pair.run_ms(5);
    assert_eq!(pair.take_replies(A), "");
    pair.kill(A);
    pair.decides = true;
    pair.start(B);
    pair.promote(B);
    assert_eq!(pair.ask(B, "SET k kept"), "+OK\r\n");
    pair.start(A);
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    assert_eq!(pair.ask(A, "READONLY"), "+OK\r\n");
    assert_eq!(pair.ask(A, "GET k"), "$4\r\nkept\r\n");
    let rewound = pair.hosts[0].disk.memory.rewound();
    assert_eq!(rewound.len(), 1, "the cut was saved");
    assert!(rewound[0].bytes.windows(4).any(|w| w == b"lost"), "with the write that was cut");
}

#[test]
fn a_restarted_leader_does_not_continue_its_epoch() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.kill(A);
    pair.start(A);
    pair.send(A, "GET k");
    pair.run_ms(50);
    assert_eq!(pair.take_replies(A), "", "another incarnation leads nothing");
    pair.promote(A);
    pair.run_until("the reply", |w| !w.hosts[0].replies.is_empty());
    assert_eq!(pair.take_replies(A), "$1\r\nv\r\n");
    assert_eq!(pair.node(A).engine().last_epoch().0, 2);
}

#[test]
fn no_read_leaves_without_a_lease() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[0].lease_until = 0;
    pair.send(A, "GET k");
    pair.run_ms(50);
    assert_eq!(pair.take_replies(A), "");
    pair.hosts[0].lease_until = u64::MAX;
    pair.run_until("the reply", |w| !w.hosts[0].replies.is_empty());
    assert_eq!(pair.take_replies(A), "$1\r\nv\r\n");
    // Writes need no lease: no clock takes part in their safety.
    pair.hosts[0].lease_until = 0;
    assert_eq!(pair.ask(A, "SET k w"), "+OK\r\n");
}

#[test]
fn nobody_waits_for_ever_for_a_lease_that_does_not_come() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[0].lease_until = 0;
    // That the key is there is a read, and perhaps no longer true.
    pair.send(A, "SET k w NX");
    pair.run_ms(50);
    assert!(!pair.hosts[0].client_closed);
    pair.run_until("the end", |w| w.hosts[0].client_closed);
    assert_eq!(pair.take_replies(A), "");
}

#[test]
fn a_read_of_an_uncommitted_value_waits_for_its_commit() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k old");
    pair.hosts[1].disk_delay = 20_000_000;
    pair.send(A, "SET k new");
    pair.send(A, "GET k");
    pair.run_ms(10);
    assert_eq!(pair.take_replies(A), "");
    pair.run_until("the replies", |w| w.hosts[0].replies.len() > 5);
    assert_eq!(pair.take_replies(A), "+OK\r\n$3\r\nnew\r\n");
}

#[test]
fn a_deposed_leader_resets_clients_whose_writes_are_uncertain() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.decides = false;
    pair.hosts[1].disk_delay = 50_000_000;
    pair.send(A, "SET k uncertain");
    pair.run_ms(1);
    pair.promote(B);
    pair.run_ms(1);
    assert_eq!(pair.take_replies(A), "");
    assert!(pair.hosts[0].client_closed);
}

#[test]
fn a_handoff_drains_first_and_loses_nobody() {
    let mut pair = Pair::up();
    for i in 0..20 {
        pair.ask(A, &format!("SET key{i} {i}"));
    }
    pair.hand_off(A);
    pair.send(A, "SET late yes");
    pair.run_until("the new leader", |w| w.configuration.leader == B);
    pair.run_until("a redirection", |w| !w.hosts[0].replies.is_empty());
    assert!(pair.take_replies(A).starts_with("-MOVED "));
    assert!(!pair.hosts[0].client_closed);
    assert_eq!(in_sync(&pair), NodeSet::of(&[A, B]));
    assert_eq!(pair.ask(B, "SET late yes"), "+OK\r\n");
    assert_eq!(pair.ask(B, "GET key19"), "$2\r\n19\r\n");
}

#[test]
fn a_member_that_lacks_writes_leads_once_a_person_accepts_the_loss() {
    let forced = |pair: &Pair| pair.asked.iter().any(|(_, r)| matches!(r.change, Change::Force(_)));
    let mut pair = Pair::up();
    assert_eq!(pair.ask(A, "SET both 1"), "+OK\r\n");
    pair.accept_loss(A);
    pair.run_ms(10);
    assert!(!forced(&pair), "it leads without");
    pair.kill(B);
    pair.run_until("the eviction", |w| in_sync(w) == NodeSet::of(&[A]));
    assert_eq!(pair.ask(A, "SET lost 2"), "+OK\r\n");
    pair.kill(A);
    pair.start(B);
    // Its warden says that it may not.
    pair.decides = false;
    pair.accept_loss(B);
    pair.run_ms(100);
    assert_eq!(pair.asked.last().unwrap().1.change, Change::Force(B));
    pair.send(B, "GET both");
    pair.run_ms(10);
    assert!(!pair.take_replies(B).contains('$'), "what is asked for is not decided");
    pair.decides = true;
    pair.accept_loss(B);
    pair.run_until("the new leader", |w| w.configuration.leader == B);
    assert_eq!(in_sync(&pair), NodeSet::of(&[B]));
    pair.run_ms(10);
    pair.take_replies(B);
    assert_eq!(pair.ask(B, "GET both"), "$1\r\n1\r\n");
    assert_eq!(pair.ask(B, "EXISTS lost"), ":0\r\n");
    // Who has it comes back, and forgets it.
    pair.start(A);
    pair.run_until("the admission", |w| in_sync(w) == NodeSet::of(&[A, B]));
    pair.run_until("both to settle", settled);
    assert_eq!(log_bytes(&pair, A), log_bytes(&pair, B));
}

#[test]
fn a_follower_that_lost_acknowledged_frames_is_evicted_and_fed_anew() {
    let mut pair = Pair::up();
    for i in 0..20 {
        pair.ask(A, &format!("SET key{i} {i}"));
    }
    pair.run_until("both to settle", settled);
    pair.kill(B);
    pair.hosts[1].disk = Device::new(MemoryDisk::new(256 << 10));
    pair.start(B);
    pair.run_until("the admission", |w| {
        w.asked.iter().any(|(_, r)| matches!(r.change, Change::Evict(..)))
            && in_sync(w) == NodeSet::of(&[A, B])
    });
    pair.run_until("both to settle", settled);
    assert_eq!(log_bytes(&pair, A), log_bytes(&pair, B));
}

#[test]
fn a_failed_write_ends_the_node() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[0].disk_broken = true;
    pair.send(A, "SET k w");
    pair.run_ms(5);
    assert!(pair.hosts[0].failed.as_ref().is_some_and(|failure| failure.is_of_disk()));
    assert_eq!(pair.take_replies(A), "");
}

#[test]
fn values_larger_than_memory_come_from_the_disk() {
    let mut pair = Pair::up();
    let value = "y".repeat(30_000);
    for i in 0..60 {
        pair.ask(A, &format!("SET big{i} {value}"));
    }
    pair.run_until("both to settle", settled);
    pair.kill(A);
    pair.kill(B);
    pair.start(A);
    pair.start(B);
    pair.promote(A);
    assert_eq!(pair.ask(A, "GET big0"), format!("${}\r\n{value}\r\n", value.len()));
    assert_eq!(pair.ask(A, "APPEND big1 z"), ":30001\r\n");
    assert_eq!(pair.ask(A, "STRLEN big1"), ":30001\r\n");
}

#[test]
fn keys_that_were_written_by_one_command_come_from_the_disk_each_with_its_own_value() {
    let mut pair = Pair::up();
    let value = |i: usize| format!("{i:02}").repeat(3000);
    let pairs: Vec<String> = (0..10).map(|i| format!("k{i} {}", value(i))).collect();
    assert_eq!(pair.ask(A, &format!("MSET {}", pairs.join(" "))), "+OK\r\n");
    // The frame leaves the log buffer.
    let filler = "y".repeat(30_000);
    for i in 0..40 {
        pair.ask(A, &format!("SET filler{i} {filler}"));
    }
    pair.run_until("both to settle", settled);
    pair.kill(A);
    pair.kill(B);
    pair.start(A);
    pair.start(B);
    pair.promote(A);
    let keys: Vec<String> = (0..10).map(|i| format!("k{i}")).collect();
    let expected: String = (0..10).map(|i| format!("$6000\r\n{}\r\n", value(i))).collect();
    assert_eq!(pair.ask(A, &format!("MGET {}", keys.join(" "))), format!("*10\r\n{expected}"));
}

#[test]
fn weaker_levels_do_not_wait_for_the_follower() {
    let mut pair = Pair::up();
    pair.ask(A, "SET k v");
    pair.hosts[1].disk_delay = 50_000_000;
    assert_eq!(pair.ask(A, "BATON ACK received"), "+OK\r\n");
    let before = pair.now;
    assert_eq!(pair.ask(A, "SET k w"), "+OK\r\n");
    assert!(pair.now - before < 10_000_000);
    assert_eq!(pair.ask(A, "WAIT 1 0"), ":1\r\n");
}
