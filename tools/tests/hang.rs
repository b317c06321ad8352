//! A leader that hangs, a host that goes silent, a warden that dies with its node.

mod common;

use baton_tools::http_client;
use baton_tools::processes::{self, Part};
use bench::failover::Blow;
use bench::resp_client::Reply;
use common::*;
use rustix::process::Signal;

#[test]
fn a_stopped_node_is_ended_by_its_warden() {
    let mut group = TestGroup::start(24_000);
    group.survive(Blow::Stop, rounds(4).min(20));
}

#[test]
fn a_silent_host_is_replaced() {
    let mut group = TestGroup::start(24_400);
    group.survive(Blow::Silence, rounds(2).min(10));
}

#[test]
fn warden_and_node_die_together() {
    let mut group = TestGroup::start(24_800);
    group.survive(Blow::WardenAndNode, rounds(4).min(20));
}

#[test]
fn a_leader_that_wakes_up_acknowledges_nothing_and_serves_nothing_stale() {
    let mut group = TestGroup::start(25_200);
    let (old, new) = (group.leader().unwrap(), group.follower().unwrap());
    let mut writer = group.connect(&old);
    let mut reader = group.connect(&old);
    assert_eq!(writer.call(&[b"SET", b"k", b"before"]).unwrap(), ok());
    assert_eq!(reader.call(&[b"GET", b"k"]).unwrap(), bulk("before"));

    let (warden, node) = (group.pid(&old, Part::Warden).unwrap(), group.pid(&old, Part::Node).unwrap());
    processes::signal(warden, Signal::STOP).unwrap();
    processes::signal(node, Signal::STOP).unwrap();
    // These wait in the sleeping node's sockets.
    writer.push(&[b"SET", b"k", b"late"]);
    writer.flush().unwrap();
    reader.push(&[b"GET", b"k"]);
    reader.flush().unwrap();
    wait_until("the other node takes over", || {
        group.connect(&new).call(&[b"SET", b"k", b"after"]).is_ok_and(|reply| reply == ok())
    });
    processes::signal(node, Signal::CONT).unwrap();
    processes::signal(warden, Signal::CONT).unwrap();

    // A redirect, another error or a closed connection are all honest.
    let answer = writer.receive();
    assert!(matches!(answer, Err(_) | Ok(Reply::Error(_))), "a late write was answered {answer:?}");
    let answer = reader.receive();
    assert!(
        matches!(&answer, Err(_) | Ok(Reply::Error(_))) || answer.as_ref().is_ok_and(|a| *a == bulk("after")),
        "a late read was answered {answer:?}"
    );
    group.wait_whole();
    let leader = group.leader().unwrap();
    assert_eq!(group.connect(&leader).call(&[b"GET", b"k"]).unwrap(), bulk("after"));
}

#[test]
fn a_node_that_sees_no_majority_says_so() {
    let group = TestGroup::start(25_600);
    let majority = |name: &str| group.status_of(name).is_ok_and(|status| status.majority);
    wait_until("both see everybody", || majority("a") && majority("b"));
    let wardens = [group.pid("b", Part::Warden).unwrap(), group.pid("w", Part::Warden).unwrap()];
    for warden in wardens {
        processes::signal(warden, Signal::STOP).unwrap();
    }
    wait_until("a hears nobody", || !majority("a"));
    wait_until("b, whose warden stands still, knows nothing new", || !majority("b"));
    let said = run(BATON, &["status", "--http", group.http("a")]);
    let lines = text(&said);
    assert_eq!(said.status.code(), Some(1), "{lines}");
    assert!(lines.starts_with("this node sees no majority: what it says of others may be old\n"), "{lines}");
    let said = text(&run(BATON, &["status", "--json", "--http", group.http("a")]));
    assert!(said.contains("\"majority\":false"), "{said}");
    let metrics = http_client::request("GET", group.http("a"), "/_admin/metrics", LIMIT).unwrap();
    assert!(metrics.body.contains("\nbaton_majority 0\n"), "{}", metrics.body);
    for warden in wardens {
        processes::signal(warden, Signal::CONT).unwrap();
    }
    wait_until("both see everybody again", || majority("a") && majority("b"));
}
