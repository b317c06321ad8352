//! A healthy group never hurts itself, and a hurt one heals: disks and nodes that stand still, orderly stops, and what
//! a person has to decide.

mod common;

use agency::configuration::{Change, EvictReason, Why};
use agency::events::Event;
use agency::ids::{Epoch, Incarnation, Nanos, NodeId, NodeSet, Version};
use agency::message::Message;
use agency::shard::{Health, RequestStatus, Standing};
use common::{A, B, Fate, Group, S, W, ms};

const ONLY_A: NodeSet = NodeSet(0b01);
const ONLY_B: NodeSet = NodeSet(0b10);

fn promoted_to_b(g: &Group) -> bool {
    g.config(B).leader == B
}

fn disk_stands(g: &mut Group, n: NodeId) {
    let now = g.now;
    g.member(n).disk_waiting_since = now;
}

#[test]
fn a_leader_yields_though_not_even_its_agent_can_store_anything() {
    let mut g = Group::founded();
    disk_stands(&mut g, A);
    g.member(A).store_stands = true;
    g.run(ms(80));
    g.trace.clear();
    g.request(A, Change::Yield(B));
    assert!(!g.lease(A), "the lease goes first");
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(1), "{gap:?}");
    let c = g.newest();
    assert_eq!((c.epoch, c.why, c.in_sync), (Epoch(2), Why::DiskStalled, ONLY_B));
    assert_eq!(c.leader_incarnation, Incarnation(1));
    g.time_until(|g| g.lease(B));
    g.run(ms(10));
    assert_eq!(g.update(A).outcome, RequestStatus::Decided);
    assert_eq!((g.member(A).kills, g.member(B).kills), (0, 0));
    // It follows, and is admitted when it has caught up.
    g.member(A).disk_waiting_since = Nanos(0);
    g.member(A).store_stands = false;
    g.request(B, Change::Admit(A));
    g.time_until(|g| g.update(B).outcome == RequestStatus::Decided);
}

#[test]
fn an_offer_that_nobody_takes_up_costs_the_lease_for_a_while_only() {
    let mut g = Group::founded();
    g.meddle = Box::new(|_, _, m| if matches!(m, Message::Yield(_)) { Fate::Drop } else { Fate::Deliver });
    g.request(A, Change::Yield(B));
    g.run(ms(500));
    assert!(!g.lease(A) && g.newest().version == Version(1));
    g.run(ms(700));
    assert_eq!(g.update(A).outcome, RequestStatus::Refused);
    assert!(g.lease(A) && g.newest().version == Version(1));
    // One that was lost once is repeated.
    g.request(A, Change::Yield(B));
    g.run(ms(5));
    g.meddle = Box::new(|_, _, _| Fate::Deliver);
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(12), "{gap:?}");
}

#[test]
fn an_offer_that_comes_late_does_not_shorten_a_lease_that_was_asked_for_since() {
    let mut g = Group::founded();
    g.meddle = Box::new(
        |_, _, m| if matches!(m, Message::Yield(_)) { Fate::Late(ms(1_050)) } else { Fate::Deliver },
    );
    g.request(A, Change::Yield(B));
    // The group's own check sees every moment: no lease of A's outlives what is decided.
    g.run(ms(1_500));
    assert!(g.lease(g.newest().leader));
}

#[test]
fn nobody_but_the_leader_offers_its_place() {
    let mut g = Group::founded();
    let value = g.config(B).apply(Change::Yield(B), Incarnation(1), 5).unwrap();
    let item = agency::message::YieldItem { shard: S, value, seq: u64::MAX };
    g.event(B, Event::Message(W, Message::Yield(vec![item])));
    g.run(ms(100));
    assert_eq!(g.newest().version, Version(1));
    let later = agency::configuration::Configuration { version: Version(7), epoch: Epoch(5), ..value };
    let item = agency::message::YieldItem { value: later, ..item };
    g.event(B, Event::Message(A, Message::Yield(vec![item])));
    g.run(ms(100));
    assert_eq!(g.newest().version, Version(1), "nor anything that does not follow");
}

#[test]
fn nobody_yields_to_who_cannot_lead() {
    let mut g = Group::founded();
    g.member(B).stopping = true;
    g.run(ms(20));
    for change in [Change::Yield(B), Change::Handoff(B), Change::Force(A), Change::Force(B)] {
        g.request(A, change);
        assert_eq!(g.update(A).outcome, RequestStatus::Refused, "{change:?}");
    }
    assert!(g.lease(A));
}

#[test]
fn a_leader_whose_disk_stands_loses_its_lease_after_a_while_and_is_never_killed() {
    let mut g = Group::founded();
    disk_stands(&mut g, A);
    g.run(ms(2_900));
    assert!(g.lease(A) && g.newest().version == Version(1), "yielding is the shard's to ask for");
    g.time_until(promoted_to_b);
    assert_eq!((g.newest().why, g.newest().in_sync), (Why::LeaseExpired, ONLY_B));
    // As a follower it is killed once its disk has stood for long.
    g.run(ms(26_500));
    assert_eq!(g.member(A).kills, 0);
    g.run(ms(1_000));
    assert_eq!(g.member(A).kills, 1);
}

#[test]
fn where_no_disk_moves_nobody_is_killed_and_nobody_is_promoted() {
    let mut g = Group::founded();
    disk_stands(&mut g, A);
    disk_stands(&mut g, B);
    g.run(ms(5_000));
    assert_eq!(g.newest().version, Version(1));
    assert!(!g.lease(A), "rule 15");
    for n in [A, B] {
        g.member(n).disk_waiting_since = Nanos(0);
    }
    g.run(ms(30));
    assert!(g.lease(A) && g.newest().version == Version(1), "everybody only waited");
}

#[test]
fn a_leader_that_is_alone_waits_for_its_disk_as_long_as_that_takes() {
    let mut g = Group::founded();
    g.request(A, Change::Evict(ONLY_B, EvictReason::Slow));
    g.run(ms(20));
    disk_stands(&mut g, A);
    g.run(ms(40_000));
    assert_eq!((g.newest().version, g.member(A).kills), (Version(2), 0));
    g.member(A).disk_waiting_since = Nanos(0);
    g.run(ms(30));
    assert!(g.lease(A));
}

#[test]
fn a_follower_whose_disk_is_back_first_leaves_the_leader_its_time() {
    let mut g = Group::founded();
    disk_stands(&mut g, A);
    disk_stands(&mut g, B);
    g.run(ms(4_500));
    g.member(B).disk_waiting_since = Nanos(0);
    g.run(ms(400));
    assert_eq!(g.newest().version, Version(1));
    g.member(A).disk_waiting_since = Nanos(0);
    g.run(ms(30));
    assert!(g.lease(A) && g.newest().version == Version(1));
    // A disk that alone stands on is another matter.
    disk_stands(&mut g, A);
    g.run(ms(3_200));
    assert!(promoted_to_b(&g));
}

#[test]
fn who_waits_for_its_disk_leaves_a_new_reign_to_who_does_not() {
    let mut g = Group::founded();
    for n in [A, B, W] {
        g.kill_host(n);
    }
    g.run(ms(5));
    for n in [A, B, W] {
        g.start_warden(n);
    }
    // Who led before would lead again, but for its disk.
    disk_stands(&mut g, A);
    g.run(ms(50));
    g.start_node(A);
    g.start_node(B);
    g.time_until(|g| g.newest().epoch > Epoch(1));
    assert_eq!((g.newest().leader, g.newest().why), (B, Why::LeaderDied));
}

#[test]
fn who_waits_for_its_disk_takes_over_on_proof_of_death() {
    let mut g = Group::founded();
    disk_stands(&mut g, B);
    g.run(ms(50));
    g.kill_node(A);
    assert!(g.time_until(promoted_to_b) <= ms(1));
    assert_eq!(g.newest().why, Why::LeaderDied);
}

#[test]
fn a_kill_that_takes_no_effect_costs_no_more_than_the_lease() {
    let mut g = Group::founded();
    g.member(A).unkillable = true;
    g.member(A).node.as_mut().unwrap().hangs = true;
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(110), "hang_after, a beat and the grant: {gap:?}");
    assert_eq!((g.newest().why, g.member(A).kills), (Why::LeaseExpired, 1));
    assert!(!g.lease(A) && g.time_until(|g| g.lease(B)) < ms(20));
    // Its warden tells of the death when it comes.
    g.kill_node(A);
    g.run(ms(100));
    assert_eq!(g.newest().leader, B);
}

#[test]
fn who_works_leads_on_and_who_is_stopped_does_not() {
    let mut g = Group::founded();
    g.member(A).standing = Standing::Working;
    g.member(A).node.as_mut().unwrap().hangs = true;
    g.run(ms(4_000));
    assert!(g.lease(A) && g.newest().version == Version(1) && g.member(A).kills == 0);
    g.member(A).standing = Standing::Stopped;
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(45), "{gap:?}");
    assert_eq!(g.newest().why, Why::LeaderHung);
}

#[test]
fn who_gets_no_cpu_is_not_killed_and_leads_on_where_nobody_gets_any() {
    let mut g = Group::founded();
    for n in [A, B] {
        g.member(n).standing = Standing::Starved;
        g.member(n).node.as_mut().unwrap().hangs = true;
    }
    g.run(ms(3_000));
    assert_eq!((g.newest().version, g.member(A).kills, g.member(B).kills), (Version(1), 0, 0));
    let b = g.member(B);
    (b.standing, b.node.as_mut().unwrap().hangs) = (Standing::Moving, false);
    g.time_until(promoted_to_b);
    assert_eq!((g.newest().why, g.member(A).kills), (Why::LeaseExpired, 0));
}

#[test]
fn that_a_node_stops_is_known_at_once() {
    let mut g = Group::founded();
    let stopping = |g: &Group| g.members[1].overseer.as_ref().unwrap().view().nodes[0].stopping;
    assert!(!stopping(&g));
    g.member(A).stopping = true;
    let gap = g.time_until(stopping);
    assert!(gap <= ms(6), "a tick and a link: {gap:?}");
    let b = g.member(B).overseer.as_mut().unwrap();
    assert!(b.view_changed());
    g.kill_node(A);
    g.run(ms(20));
    assert!(stopping(&g), "it ended as it had said");
    g.start_node(A);
    g.run(ms(50));
    assert!(!stopping(&g));
}

#[test]
fn a_leader_that_ends_as_it_said_with_all_confirmed_did_not_die() {
    let mut g = Group::founded();
    g.member(A).stopping = true;
    g.run(ms(20));
    g.kill_node(A);
    assert!(g.time_until(promoted_to_b) <= ms(1));
    assert_eq!(g.newest().why, Why::Left);
}

/// Every data node says that it stops; the leader ends first.
fn stop_group(g: &mut Group) {
    let before = g.newest();
    let (leader, other) = if before.leader == A { (A, B) } else { (B, A) };
    for n in [A, B] {
        g.member(n).stopping = true;
    }
    g.run(ms(20));
    g.kill_node(leader);
    g.run(ms(30));
    g.kill_host(leader);
    g.run(ms(300));
    g.kill_node(other);
    g.run(ms(30));
    g.kill_host(other);
    g.kill_host(W);
    g.run(ms(30));
    assert_eq!((g.newest(), g.newest().in_sync.len()), (before, 2), "nothing happened");
}

#[test]
fn a_group_that_stops_in_order_starts_as_it_was() {
    let mut g = Group::founded();
    stop_group(&mut g);
    for n in [A, B, W] {
        g.start_warden(n);
    }
    g.start_node(A);
    g.start_node(B);
    g.time_until(|g| g.newest().epoch > Epoch(1));
    let c = g.newest();
    assert_eq!((c.leader, c.why, c.in_sync.len()), (A, Why::LeaderRestarted, 2));
}

#[test]
fn a_group_that_stopped_in_order_comes_back_whole_whoever_recovers_first() {
    for (leader, first) in [(A, A), (A, B), (B, A), (B, B)] {
        for wait in [0, 20, 150, 400] {
            let mut g = Group::founded();
            if leader == B {
                g.request(A, Change::Handoff(B));
                g.time_until(promoted_to_b);
                g.run(ms(50));
            }
            stop_group(&mut g);
            let before = g.newest();
            for n in [A, B, W] {
                g.start_warden(n);
            }
            let later = if first == A { B } else { A };
            g.run(ms(300));
            g.trace.clear();
            g.start_node(A);
            g.start_node(B);
            g.member(later).node.as_mut().unwrap().health = Health::Starting;
            g.run(ms(wait));
            g.member(later).node.as_mut().unwrap().health = Health::Ready;
            g.time_until(|g| g.newest().epoch > before.epoch);
            let c = g.newest();
            let case = format!("{leader:?} led, {first:?} was first, by {wait} ms");
            assert_eq!((c.leader, c.why, c.in_sync.len()), (leader, Why::LeaderRestarted, 2), "{case}");
            let tries =
                |m: &Message| matches!(m, Message::Accept(items) if items.iter().any(|i| i.shard == S));
            let rivals = g.trace.iter().filter(|(_, from, _, m)| *from != leader && tries(m));
            assert_eq!(rivals.count(), 0, "{case}: the other does not even try");
        }
    }
}

#[test]
fn a_group_that_stopped_in_order_is_led_by_who_is_whole() {
    let mut g = Group::founded();
    stop_group(&mut g);
    for n in [A, B, W] {
        g.start_warden(n);
    }
    g.start_node(A);
    g.member(A).node.as_mut().unwrap().health = Health::Damaged;
    g.start_node(B);
    g.time_until(promoted_to_b);
    assert_eq!(g.newest().in_sync, ONLY_B);
    g.time_until(|g| g.lease(B));
}

#[test]
fn a_group_that_stopped_in_order_is_led_by_who_comes_back() {
    let mut g = Group::founded();
    stop_group(&mut g);
    for n in [B, W] {
        g.start_warden(n);
    }
    g.start_node(B);
    g.time_until(promoted_to_b);
}

#[test]
fn a_directory_that_was_wiped_under_its_warden_makes_a_stranger() {
    let mut g = Group::founded();
    g.kill_node(B);
    g.run(ms(20));
    g.member(B).disk_id = 999;
    g.start_node(B);
    g.run(ms(30));
    for n in [A, B] {
        assert!(g.member(n).overseer.as_ref().unwrap().view().nodes[1].suspect, "seen by {}", n.0);
    }
    g.kill_node(A);
    g.run(ms(1_500));
    assert_eq!(g.newest().leader, A, "nobody leads rather than a node without its log");
}

/// B was evicted, and the host of A is gone for good.
fn lost(reason: EvictReason) -> Group {
    let mut g = Group::founded();
    g.request(A, Change::Evict(ONLY_B, reason));
    g.request_of(agency::ids::ShardId(1), A, Change::Evict(ONLY_B, reason));
    g.run(ms(20));
    g.kill_host(A);
    g.run(ms(2_000));
    assert_eq!(g.newest().leader, A, "unavailable, never lossy");
    g
}

#[test]
fn a_person_makes_a_leader_of_who_is_left() {
    let mut g = lost(EvictReason::Slow);
    g.request(B, Change::Force(A));
    assert_eq!(g.update(B).outcome, RequestStatus::Refused, "another's node is not its to name");
    g.request(B, Change::Force(B));
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(5), "{gap:?}");
    assert_eq!(g.update(B).outcome, RequestStatus::Decided);
    let c = g.newest();
    assert_eq!((c.epoch, c.why, c.in_sync), (Epoch(2), Why::DataLossAccepted, ONLY_B));
    g.time_until(|g| g.lease(B));
    let history = g.member(B).overseer.as_ref().unwrap().view().history;
    assert!(history.iter().any(|(_, c)| c.why == Why::DataLossAccepted));
    // Who led before comes back as a learner.
    g.start_warden(A);
    g.start_node(A);
    g.run(ms(500));
    assert_eq!((g.config(A).leader, g.newest().version), (B, c.version));
}

#[test]
fn nobody_is_forced_where_somebody_leads_or_could_without_loss() {
    let mut g = Group::founded();
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(20));
    g.request(B, Change::Force(B));
    assert_eq!(g.update(B).outcome, RequestStatus::Refused, "A leads");
    g.event(B, Event::DataLossAccepted);
    g.run(ms(3_000));
    assert_eq!(g.newest().leader, A);
    // What was accepted once does not count for a loss that comes later.
    g.kill_host(A);
    g.run(ms(3_000));
    assert_eq!(g.newest().leader, A);
    g.cut.extend([(B, W), (W, B)]);
    g.run(ms(200));
    g.request(B, Change::Force(B));
    assert_eq!(g.update(B).outcome, RequestStatus::Refused, "no majority would hear of it");
}

#[test]
fn what_was_accepted_before_the_start_counts_for_what_nobody_leads() {
    let mut g = lost(EvictReason::Gone);
    g.kill_host(B);
    g.start_warden(B);
    g.event(B, Event::DataLossAccepted);
    g.start_node(B);
    g.run(ms(400));
    assert_eq!(g.newest().leader, A, "others have the time to come");
    g.time_until(promoted_to_b);
    assert_eq!(g.newest().why, Why::DataLossAccepted);
    g.time_until(|g| g.lease(B));
    g.run(ms(2_000));
    assert_eq!(g.newest().epoch, Epoch(2), "once");
}

#[test]
fn a_person_vouches_for_a_disk_that_nobody_knows() {
    let mut g = Group::founded();
    g.run(ms(20));
    // B is gone for good and A's disk was replaced.
    g.kill_host(B);
    g.kill_node(A);
    g.member(A).disk_id = 999;
    g.run(ms(100));
    g.start_node(A);
    g.run(ms(1_500));
    assert!(!g.lease(A));
    let suspect = |g: &Group| g.members[0].overseer.as_ref().unwrap().view().nodes[0].suspect;
    assert!(suspect(&g));
    g.request(A, Change::Force(A));
    g.run(ms(100));
    assert_eq!(g.newest().in_sync, ONLY_A);
    assert!(suspect(&g), "the other shard still counts on what it was");
    g.request_of(agency::ids::ShardId(1), A, Change::Force(A));
    g.run(ms(100));
    assert!(!suspect(&g) && g.lease(A));
}
