//! The last resort: a member that lacks acknowledged writes leads, because a person says so.

mod common;

use baton_tools::processes::Part;
use common::*;
use rustix::process::Signal;
use std::fs;

fn promote(words: &[&str]) -> (Option<i32>, String) {
    let words: Vec<&str> = ["promote"].iter().chain(words).copied().collect();
    let done = run(BATON, &words);
    (done.status.code(), text(&done))
}

#[test]
fn a_member_leads_with_what_it_has_once_the_loss_is_accepted() {
    let mut group = TestGroup::start_with(14_400, |setup| {
        setup.flags = ["--segment-mib", "1", "--respawn-after", "never"].map(str::to_owned).to_vec();
    });
    let (leader, follower) = (group.leader().unwrap(), group.follower().unwrap());
    let mut connection = group.connect(&leader);
    assert_eq!(connection.call(&[b"SET", b"both", b"1"]).unwrap(), ok());
    group.signal(&follower, Part::Node, Signal::KILL).unwrap();
    // Acknowledged without the follower, and so on one disk only.
    assert_eq!(connection.call(&[b"SET", b"leader", b"2"]).unwrap(), ok());
    assert_eq!(connection.call(&[b"GET", b"leader"]).unwrap(), bulk("2"));

    // While somebody leads there is nothing to accept.
    let (code, said) = promote(&["--accept-data-loss", "--yes", "--http", group.http(&leader)]);
    assert!(code == Some(1) && said.contains("nothing to promote"), "{code:?} {said}");

    let home = |name: &str| group.config_of(name).parent().unwrap().to_owned();
    let (lost, kept) = (home(&leader), home(&follower));
    group.cut_power();
    // The leader's disk is gone.
    for entry in fs::read_dir(&lost).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap().is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false if path.ends_with("node.toml") => {}
            false => fs::remove_file(path).unwrap(),
        }
    }
    let dir = kept.to_str().unwrap();
    // Whoever only looks, or does not say what it costs, changes nothing.
    assert_eq!(promote(&[dir]).0, Some(2));
    let (code, said) = promote(&["--accept-data-loss", dir]);
    assert!(
        code == Some(1) && said.contains("the log up to LSN") && said.contains("nothing was changed"),
        "{said}"
    );
    let marker = kept.join("agent/promote-accepted");
    assert!(!marker.exists());
    let (code, said) = promote(&["--accept-data-loss", "--yes", dir]);
    assert!(code == Some(0) && marker.exists(), "{said}");

    group.start_again();
    group.wait_whole();
    assert_eq!(group.leader().unwrap(), follower);
    let mut connection = group.connect(&follower);
    assert_eq!(connection.call(&[b"GET", b"both"]).unwrap(), bulk("1"));
    assert_eq!(connection.call(&[b"EXISTS", b"leader"]).unwrap(), bench::resp_client::Reply::Integer(0));
    let history = group.status().unwrap().history;
    assert!(history.iter().any(|entry| entry.why == "data-loss-accepted"), "{history:?}");
    assert!(!marker.exists(), "a loss is accepted for one start");
}

#[test]
fn a_running_member_leads_with_what_it_has_once_the_loss_is_accepted() {
    let group = TestGroup::start_with(8_400, |setup| {
        setup.flags = ["--segment-mib", "1", "--respawn-after", "1s"].map(str::to_owned).to_vec();
    });
    let (leader, follower) = (group.leader().unwrap(), group.follower().unwrap());
    let mut connection = group.connect(&leader);
    assert_eq!(connection.call(&[b"SET", b"both", b"1"]).unwrap(), ok());
    group.signal(&follower, Part::Node, Signal::KILL).unwrap();
    // Acknowledged without the follower; and then its host is gone before the follower is back.
    assert_eq!(connection.call(&[b"SET", b"leader", b"2"]).unwrap(), ok());
    assert_eq!(connection.call(&[b"GET", b"leader"]).unwrap(), bulk("2"));
    group.signal(&leader, Part::Warden, Signal::KILL).unwrap();
    // The kernel kills the node with its warden; it may be gone already.
    let _ = group.signal(&leader, Part::Node, Signal::KILL);
    let leaderless = |group: &TestGroup| {
        let status = group.status_of(&follower);
        status.is_ok_and(|status| status.shards.iter().all(|shard| shard.leader.is_none()))
    };
    wait_until("the follower to be back, and nobody to lead", || leaderless(&group));
    let http = group.http(&follower).to_owned();
    let (code, said) = promote(&["--http", &http]);
    assert_eq!(code, Some(2), "{said}");
    assert!(leaderless(&group), "nobody accepted anything");

    let (code, said) = promote(&["--accept-data-loss", "--yes", "--http", &http]);
    assert!(code == Some(0) && said.contains("leads"), "{code:?} {said}");
    let mut connection = group.connect(&follower);
    assert_eq!(connection.call(&[b"GET", b"both"]).unwrap(), bulk("1"));
    assert_eq!(connection.call(&[b"EXISTS", b"leader"]).unwrap(), bench::resp_client::Reply::Integer(0));
    let history = group.status_of(&follower).unwrap().history;
    assert!(history.iter().any(|entry| entry.why == "data-loss-accepted"), "{history:?}");
    let (code, said) = promote(&["--accept-data-loss", "--yes", "--http", &http]);
    assert!(code == Some(1) && said.contains("nothing to promote"), "{code:?} {said}");
}
