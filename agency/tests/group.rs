//! A group of three wardens in virtual time: every way a leadership begins, passes on and ends.

mod common;

use agency::ballot::Ballot;
use agency::configuration::{Change, Configuration, EvictReason, Why};
use agency::events::{Command, Event};
use agency::ids::{Epoch, Incarnation, MAX_SHARDS, NodeSet, ShardId, Version};
use agency::message::{AcceptAnswer, MAX_DECIDED, Message};
use agency::shard::{Health, RequestStatus};
use common::{A, B, Fate, Group, W, ms};
use std::time::Duration;

const ONLY_B: NodeSet = NodeSet(0b10);

fn promoted_to_b(g: &Group) -> bool {
    g.config(B).leader == B
}

#[test]
fn a_group_is_founded_once_and_its_leader_gets_a_lease() {
    let g = Group::founded();
    for n in [A, B, W] {
        let c = g.config(n);
        assert_eq!((c.epoch, c.version, c.leader, c.in_sync.len()), (Epoch(1), Version(1), A, 2));
    }
    assert!(g.lease(A));
    assert!(!g.update(B).leader_lost);
}

#[test]
fn a_death_notice_promotes_in_one_round_trip() {
    let mut g = Group::founded();
    g.trace.clear();
    g.kill_node(A);
    let gap = g.time_until(promoted_to_b);
    // Notice, accept, and the answer: three links and one store.
    assert!(gap <= Duration::from_micros(3 * 20 + 50), "{gap:?}");
    let prepares = g.trace.iter().filter(|t| matches!(t.3, Message::Prepare(_)));
    assert_eq!(prepares.count(), 0, "the ballot was prepared ahead");
    let accepts = g.trace.iter().filter(|t| t.1 == B && matches!(t.3, Message::Accept(_)));
    assert_eq!(accepts.count(), 2, "all shards in one message to each other agent");
    let c = g.config(B);
    assert_eq!(
        (c.epoch, c.leader_incarnation, c.in_sync, c.why),
        (Epoch(2), Incarnation(1), ONLY_B, Why::LeaderDied)
    );
    let leased = g.time_until(|g| g.lease(B));
    assert!(leased < ms(1), "{leased:?}");
}

#[test]
fn a_hanging_node_is_killed_and_replaced() {
    let mut g = Group::founded();
    g.member(A).node.as_mut().unwrap().hangs = true;
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(45), "{gap:?}");
    assert_eq!(g.member(A).kills, 1);
    assert_eq!(g.config(B).why, Why::LeaderHung);
}

#[test]
fn a_silent_host_is_replaced_when_its_lease_ends() {
    let mut g = Group::founded();
    g.kill_host(A);
    let lost = g.time_until(|g| g.update(B).leader_lost);
    assert!(lost <= ms(50), "{lost:?}");
    let gap = g.time_until(promoted_to_b) + lost;
    assert!(gap >= ms(50) && gap <= ms(90), "{gap:?}");
    assert_eq!(g.config(B).why, Why::LeaseExpired);
}

#[test]
fn a_leader_cut_off_loses_its_lease_before_its_successor_leads() {
    let mut g = Group::founded();
    for n in [B, W] {
        g.cut.insert((A, n));
        g.cut.insert((n, A));
    }
    // The group's own check sees every moment in between.
    g.time_until(promoted_to_b);
    assert!(!g.lease(A));
}

#[test]
fn a_follower_cut_off_from_the_leader_alone_changes_nothing() {
    let mut g = Group::founded();
    g.cut.insert((A, B));
    g.cut.insert((B, A));
    g.run(ms(1000));
    assert_eq!(g.newest().version, Version(1));
    assert!(g.lease(A));
    // And what it tried is forgotten when it hears its leader again.
    g.cut.clear();
    g.run(ms(500));
    assert_eq!(g.newest().version, Version(1));
    assert!(g.lease(A) && !g.update(B).leader_lost);
}

#[test]
fn one_direction_dead_is_link_dead() {
    let mut g = Group::founded();
    // A is heard by all and hears nobody: it cannot be granted anything.
    g.cut.insert((B, A));
    g.cut.insert((W, A));
    g.time_until(promoted_to_b);
    assert!(!g.lease(A));
}

#[test]
fn everything_restarts_and_the_old_leader_takes_a_new_epoch() {
    let mut g = Group::founded();
    for n in [A, B, W] {
        g.kill_host(n);
    }
    g.run(ms(5));
    for n in [A, B, W] {
        g.start_warden(n);
    }
    g.start_node(A);
    g.start_node(B);
    g.time_until(|g| g.newest().epoch > Epoch(1));
    let c = g.newest();
    assert_eq!((c.epoch, c.leader, c.leader_incarnation), (Epoch(2), A, Incarnation(2)));
    assert_eq!((c.why, c.in_sync.len()), (Why::LeaderRestarted, 2));
}

#[test]
fn after_a_restart_of_all_the_longest_log_leads() {
    let mut g = Group::founded();
    for n in [A, B, W] {
        g.kill_host(n);
    }
    for n in [A, B, W] {
        g.start_warden(n);
    }
    g.start_node(A);
    g.start_node(B);
    g.member(B).node.as_mut().unwrap().written = 900;
    g.time_until(|g| g.newest().epoch > Epoch(1));
    assert_eq!(g.newest().leader, B);
}

#[test]
fn a_leader_that_restarts_alone_waits_for_nobody_long() {
    let mut g = Group::founded();
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(10));
    g.kill_host(B);
    g.kill_node(A);
    g.run(ms(200));
    assert_eq!(g.newest().version, Version(2), "nobody else may lead");
    g.start_node(A);
    let gap = g.time_until(|g| g.newest().epoch == Epoch(2));
    assert!(gap <= ms(20), "{gap:?}");
    assert_eq!(g.newest().leader, A);
}

#[test]
fn who_hears_no_majority_says_so() {
    let mut g = Group::founded();
    let majority = |g: &mut Group, n| g.member(n).overseer.as_ref().unwrap().view().majority;
    assert!([A, B, W].into_iter().all(|n| majority(&mut g, n)));
    g.cut.extend([(A, B), (B, A)]);
    g.run(ms(200));
    assert!(majority(&mut g, A), "the witness is heard");
    // It is heard, and hears nothing: one direction dead is link dead.
    g.cut.insert((A, W));
    g.run(ms(200));
    assert!(!majority(&mut g, A));
    assert!(majority(&mut g, B) && majority(&mut g, W));
    g.cut.clear();
    g.run(ms(200));
    let view = g.member(A).overseer.as_ref().unwrap().view();
    assert!(view.majority);
    assert!(g.now.since(view.told_at) <= ms(5), "{:?}", view.told_at);
}

#[test]
fn a_dead_follower_is_seen_at_once_and_evicted() {
    let mut g = Group::founded();
    g.kill_node(B);
    g.run(ms(1));
    let view = g.member(A).overseer.as_ref().unwrap().view();
    assert!(!view.nodes[1].up);
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    assert_eq!(g.update(A).outcome, RequestStatus::Pending);
    let gap = g.time_until(|g| g.update(A).outcome == RequestStatus::Decided);
    assert!(gap <= ms(1), "{gap:?}");
    assert_eq!(g.update(A).configuration.in_sync, NodeSet::of(&[A]));
    assert!(g.lease(A), "a change within the reign costs no lease");
}

#[test]
fn solo_and_promote_race_and_exactly_one_wins() {
    // SOLO first by a varying head start, from far too early to far too late.
    let (mut solos, mut promotions) = (0, 0);
    for head_start in (0..400).step_by(10) {
        let mut g = Group::founded();
        g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
        g.run(Duration::from_micros(head_start));
        g.kill_node(A);
        g.run(ms(400));
        let second = g.chosen[&(common::S, Version(2))];
        match second.why {
            Why::Evicted => {
                solos += 1;
                assert_eq!(g.newest().version, Version(2), "the evicted never leads");
            }
            Why::LeaderDied => {
                promotions += 1;
                assert_eq!(g.newest().leader, B);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(solos > 0 && promotions > 0, "{solos} {promotions}");
}

#[test]
fn an_evicted_node_never_leads_until_it_is_admitted() {
    let mut g = Group::founded();
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(20));
    g.kill_host(A);
    g.run(ms(2000));
    assert_eq!(g.newest().leader, A, "unavailable, never lossy");
    g.start_warden(A);
    g.start_node(A);
    g.time_until(|g| g.newest().epoch == Epoch(2));
    g.run(ms(50));
    g.request(A, Change::Admit(B));
    g.time_until(|g| g.update(A).outcome == RequestStatus::Decided);
    g.run(ms(100));
    g.kill_node(A);
    g.time_until(promoted_to_b);
}

#[test]
fn a_handoff_gives_the_lease_up_first_and_needs_no_waiting() {
    let mut g = Group::founded();
    g.request(A, Change::Handoff(B));
    let gap = g.time_until(promoted_to_b);
    assert!(gap <= ms(1), "{gap:?}");
    let c = g.newest();
    assert_eq!((c.epoch, c.why, c.in_sync.len()), (Epoch(2), Why::Handoff, 2));
    g.time_until(|g| g.lease(B));
    g.run(ms(10));
    assert_eq!(g.update(A).outcome, RequestStatus::Decided);
    assert!(!g.lease(A));
    g.request(B, Change::Handoff(A));
    g.time_until(|g| g.lease(A));
}

#[test]
fn a_handoff_to_nobody_is_refused() {
    let mut g = Group::founded();
    g.kill_node(B);
    g.run(ms(1));
    g.request(A, Change::Handoff(B));
    assert_eq!(g.update(A).outcome, RequestStatus::Refused);
    assert!(g.lease(A));
}

#[test]
fn a_request_on_top_of_the_past_is_refused() {
    let mut g = Group::founded();
    let past = g.config(A);
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(20));
    g.request += 1;
    let request = agency::shard::ShardRequest {
        id: g.request,
        on_top_of: past,
        change: Change::Evict(ONLY_B, EvictReason::Gone),
    };
    g.event(A, agency::events::Event::Request(common::S, request));
    assert_eq!(g.update(A).outcome, RequestStatus::Refused);
}

#[test]
fn a_lost_announcement_is_pulled() {
    let mut g = Group::founded();
    g.meddle =
        Box::new(
            |from, _, m| {
                if from == A && matches!(m, Message::Decided(_)) { Fate::Drop } else { Fate::Deliver }
            },
        );
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.time_until(|g| g.update(A).outcome == RequestStatus::Decided);
    g.meddle = Box::new(|_, _, _| Fate::Deliver);
    let gap = g.time_until(|g| g.config(B).version == Version(2) && g.config(W).version == Version(2));
    assert!(gap <= ms(15), "{gap:?}");
}

#[test]
fn an_outcome_nobody_heard_of_is_driven_to_a_decision() {
    let mut g = Group::founded();
    // The answers get lost, so the leader does not know that its eviction was accepted.
    g.meddle =
        Box::new(
            |_, to, m| {
                if to == A && matches!(m, Message::Accepted(_)) { Fate::Drop } else { Fate::Deliver }
            },
        );
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(5));
    assert_eq!(g.update(A).outcome, RequestStatus::Pending);
    g.meddle = Box::new(|_, _, _| Fate::Deliver);
    let gap = g.time_until(|g| g.update(A).outcome == RequestStatus::Decided);
    assert!(gap <= ms(50), "{gap:?}");
}

#[test]
fn a_wiped_node_is_suspected_and_does_not_lead() {
    let mut g = Group::founded();
    g.kill_host(B);
    g.run(ms(20));
    let b = g.member(B);
    b.disk_id = 999;
    b.image = None;
    g.start_warden(B);
    g.start_node(B);
    g.run(ms(30));
    assert!(g.member(A).overseer.as_ref().unwrap().view().nodes[1].suspect);
    assert!(g.member(B).overseer.as_ref().unwrap().view().nodes[1].suspect);
    g.kill_node(A);
    g.run(ms(1500));
    assert_eq!(g.newest().leader, A, "nobody leads rather than a node without its log");
    g.start_node(A);
    g.time_until(|g| g.newest().epoch == Epoch(2) && g.newest().leader == A);
    g.run(ms(100));
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(100));
    let suspected = |g: &mut Group| g.member(A).overseer.as_ref().unwrap().view().nodes[1].suspect;
    assert!(suspected(&mut g), "another shard still counts on it");
    g.request_of(ShardId(1), A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(100));
    assert!(!suspected(&mut g), "out of every set it may start over");
    g.request(A, Change::Admit(B));
    g.time_until(|g| g.update(A).outcome == RequestStatus::Decided);
}

#[test]
fn an_agent_that_lost_its_memory_votes_only_after_all_others_promised() {
    let mut g = Group::founded();
    g.kill_host(W);
    g.member(W).image = None;
    // B, who may know what the witness forgot, is away while it returns.
    g.kill_host(B);
    g.start_warden(W);
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(300));
    assert_eq!(g.update(A).outcome, RequestStatus::Pending, "the forgetful witness gives A no majority");
    g.start_warden(B);
    g.time_until(|g| g.update(A).outcome == RequestStatus::Decided);
    g.kill_host(B);
    g.run(ms(100));
    assert!(g.lease(A), "now it votes");
}

#[test]
fn a_damaged_leader_is_relieved() {
    let mut g = Group::founded();
    g.member(A).node.as_mut().unwrap().health = Health::Damaged;
    g.time_until(promoted_to_b);
}

#[test]
fn a_damaged_follower_is_not_promoted_before_it_is_whole() {
    let mut g = Group::founded();
    g.member(B).node.as_mut().unwrap().health = Health::Damaged;
    g.run(ms(50));
    g.kill_node(A);
    g.run(ms(1000));
    assert_eq!(g.newest().leader, A, "nobody may lead");
    assert!(g.update(B).leader_lost);
    g.member(B).node.as_mut().unwrap().health = Health::Ready;
    g.time_until(promoted_to_b);
}

#[test]
fn no_vote_counts_before_it_is_durable() {
    let mut g = Group::founded();
    g.store = Duration::from_secs(3600);
    g.trace.clear();
    g.kill_node(A);
    g.run(ms(300));
    assert_eq!(g.config(B).leader, A);
    assert!(g.trace.iter().any(|t| matches!(t.3, Message::Accept(_))), "it was tried");
    let votes = |m: &Message| matches!(m, Message::Accepted(items) if items.iter().any(|i| i.answer == AcceptAnswer::Accepted));
    assert!(!g.trace.iter().any(|t| votes(&t.3)));
}

#[test]
fn a_stall_of_the_whole_host_is_no_failover() {
    let mut g = Group::founded();
    // Nobody runs for two seconds; then everybody's late timers fire before a message of the leader arrives.
    g.meddle = Box::new(|from, _, _| if from == A { Fate::Late(ms(1)) } else { Fate::Deliver });
    g.now = g.now + ms(2000);
    g.run(ms(300));
    assert_eq!(g.newest().version, Version(1));
    assert!(g.lease(A));
}

#[test]
fn an_agent_that_restarts_still_makes_a_successor_wait() {
    let mut g = Group::founded();
    g.cut.extend([(A, B), (B, A)]);
    g.run(ms(59));
    assert!(g.lease(A), "the witness still grants it");
    g.cut.extend([(A, W), (W, A)]);
    g.kill_host(W);
    g.start_warden(W);
    g.run(ms(10));
    assert!(g.lease(A) && g.config(B).leader == A);
    // The group's own check sees every moment in between.
    g.time_until(promoted_to_b);
    assert!(!g.lease(A));
}

#[test]
fn what_a_dying_leader_wanted_does_not_shut_its_successor_out() {
    // SOLO is on its way to the agents, and lost; the dead leader's warden must not push it further.
    let mut g = Group::founded();
    g.cut.extend([(A, B), (A, W)]);
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(2));
    g.cut.clear();
    g.kill_node(A);
    g.run(ms(90));
    assert_eq!(g.newest().leader, B);
}

#[test]
fn a_handoff_whose_outcome_the_old_leader_never_hears_still_ends_its_lease_first() {
    let mut g = Group::founded();
    g.meddle = Box::new(|_, to, m| {
        let news = matches!(m, Message::Accepted(_) | Message::Decided(_));
        if to == A && news { Fate::Drop } else { Fate::Deliver }
    });
    g.request(A, Change::Handoff(B));
    let gap = g.time_until(promoted_to_b);
    assert!(gap < ms(40), "well within the lease that A had: {gap:?}");
}

#[test]
fn what_may_be_decided_is_settled_before_a_successor_is_chosen() {
    let mut g = Group::founded();
    // SOLO reaches a majority, A's agent and the witness, and nobody ever hears of it.
    g.meddle = Box::new(|from, to, m| {
        let to_b = from == A && to == B && matches!(m, Message::Accept(_) | Message::Decided(_));
        let answer = to == A && matches!(m, Message::Accepted(_));
        if to_b || answer { Fate::Drop } else { Fate::Deliver }
    });
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(1));
    g.kill_host(A);
    g.meddle = Box::new(|_, _, _| Fate::Deliver);
    g.run(ms(2000));
    assert_eq!(g.config(B).version, Version(2));
    assert_eq!((g.config(B).why, g.config(B).leader), (Why::Evicted, A));
}

#[test]
fn a_stored_image_releases_only_the_answers_it_holds() {
    let mut g = Group::founded();
    let now = g.now;
    let witness = g.member(W).overseer.as_mut().unwrap();
    let ballot = Ballot { round: 1000, node: A };
    let mut tell = |event| {
        let mut out = Vec::new();
        witness.handle(now, 0, event, &mut out);
        let ticket = out.iter().find_map(|c| match c {
            Command::Store { ticket, .. } => Some(*ticket),
            _ => None,
        });
        let promised = out.iter().filter(|c| matches!(c, Command::Send(_, Message::Promised(_)))).count();
        (ticket, promised)
    };
    let (first, none) = tell(Event::Message(A, Message::Prepare(vec![(ShardId(0), ballot)])));
    let (second, still_none) = tell(Event::Message(A, Message::Prepare(vec![(ShardId(1), ballot)])));
    assert!(first < second && none + still_none == 0);
    assert_eq!(tell(Event::Stored(first.unwrap())).1, 1);
    assert_eq!(tell(Event::Stored(first.unwrap())).1, 0);
    assert_eq!(tell(Event::Stored(second.unwrap())).1, 1);
}

#[test]
fn an_old_announcement_that_comes_late_changes_nothing() {
    let mut g = Group::founded();
    let old = g.config(B);
    g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
    g.run(ms(20));
    g.event(B, Event::Message(A, Message::Decided(vec![(ShardId(0), old)])));
    assert_eq!(g.config(B).version, Version(2));
}

#[test]
fn what_cannot_follow_is_not_believed() {
    let mut g = Group::founded();
    g.request(A, Change::Handoff(B));
    g.run(ms(50));
    let handed_over = g.config(W);
    assert_eq!((handed_over.epoch, handed_over.leader), (Epoch(2), B));
    let forgetful = Configuration { version: Version(7), epoch: Epoch(1), leader: A, ..handed_over };
    g.event(W, Event::Message(A, Message::Decided(vec![(ShardId(0), forgetful)])));
    assert_eq!(g.config(W), handed_over, "an epoch never comes back");
}

#[test]
fn answers_that_piled_up_leave_in_messages_that_the_other_side_reads() {
    let mut g = Group::founded();
    let now = g.now;
    let witness = g.member(W).overseer.as_mut().unwrap();
    let mut out = Vec::new();
    // The disk hangs, and A tries again and again.
    for round in 1000..6000 {
        let ballot = Ballot { round, node: A };
        let prepare = Message::Prepare(vec![(ShardId(0), ballot), (ShardId(1), ballot)]);
        witness.handle(now, 0, Event::Message(A, prepare), &mut out);
    }
    let newest = out.iter().filter_map(|c| match c {
        Command::Store { ticket, .. } => Some(*ticket),
        _ => None,
    });
    let newest = newest.max().unwrap();
    out.clear();
    witness.handle(now, 0, Event::Stored(newest), &mut out);
    let mut answers = 0;
    for command in &out {
        if let Command::Send(_, message) = command {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert!(matches!(Message::decode(&bytes), Ok(Some(_))));
            answers += if let Message::Promised(items) = message { items.len() } else { 0 };
        }
    }
    assert!((1_000..10_000).contains(&answers), "bounded, and none that was kept is lost: {answers}");
}

#[test]
fn a_pull_that_names_a_shard_again_and_again_is_answered_once() {
    let mut g = Group::founded();
    for _ in 0..150 {
        g.request(A, Change::Evict(ONLY_B, EvictReason::Gone));
        g.run(ms(5));
        g.request(A, Change::Admit(B));
        g.run(ms(5));
    }
    let now = g.now;
    let witness = g.member(W).overseer.as_mut().unwrap();
    let tallies = witness.view().tallies;
    assert!(tallies.iter().all(|t| t.count > 140) && tallies.len() == 2, "{tallies:?}");
    assert_eq!(witness.view().history.len(), 2, "the founding of each shard; what flaps is only counted");
    let mut out = Vec::new();
    let greedy = Message::Pull(vec![(ShardId(0), Version(0)); MAX_SHARDS]);
    witness.handle(now, 0, Event::Message(A, greedy), &mut out);
    let told: usize =
        out.iter().map(|c| if let Command::Send(_, Message::Decided(d)) = c { d.len() } else { 0 }).sum();
    assert!((200..=MAX_DECIDED).contains(&told), "{told}");
}
