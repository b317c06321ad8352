//! SIGKILL to the leader under load, again and again: nothing acknowledged is lost, nothing unwritten shows
//! up, epochs only rise. `BATON_ROUNDS=50` plays as many rounds as the acceptance asks for.

mod common;

use bench::failover::Blow;
use common::*;

#[test]
fn the_leader_is_killed_again_and_again() {
    let mut group = TestGroup::start(22_000);
    group.survive(Blow::Node, rounds(10));
}

#[test]
fn several_shards_move_together() {
    let mut group = TestGroup::start_with(22_400, |setup| {
        setup.flags.extend(["--shards", "4"].map(str::to_owned));
    });
    group.survive(Blow::Node, rounds(3).min(10));
}
