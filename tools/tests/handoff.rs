//! Planned changes of leadership: no client sees an error but a redirect.

mod common;

use bench::failover::Blow;
use common::*;

#[test]
fn handoff_under_load_is_only_felt_as_redirects() {
    let mut group = TestGroup::start(26_000);
    let report = group.survive(Blow::Handoff, rounds(10));
    assert!(report.redirects > 0, "somebody was redirected");
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut group = TestGroup::start(26_200);
    group.survive(Blow::Terminate, rounds(4));
}

#[test]
fn the_command_says_who_leads_now() {
    let mut group = TestGroup::start(26_400);
    group.wait_whole();
    let said = output(BATON, &["handoff", "--to", "b", "--http", group.http("a")]);
    assert!(said.contains("shard 0 is led by b"), "{said}");
    assert_eq!(group.leader().unwrap(), "b");
    let again = output(BATON, &["handoff", "--to", "b", "--http", group.http("a")]);
    assert!(again.contains("led by b"), "{again}");
    let wrong = run(BATON, &["handoff", "--to", "nobody", "--http", group.http("a")]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
}
