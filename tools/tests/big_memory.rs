//! A leader with much memory dies as fast as a small one: the kernel frees the memory after its robust
//! locks are released. `BATON_BALLAST_MIB=4096` is what the acceptance asks for.

mod common;

use bench::failover::Blow;
use common::*;

#[test]
fn a_big_leader_is_killed_again_and_again() {
    let ballast_mib = match std::env::var("BATON_BALLAST_MIB") {
        Ok(text) => text.parse().expect("BATON_BALLAST_MIB is a number"),
        Err(_) => 512,
    };
    let mut group = TestGroup::start_with(23_000, |setup| setup.ballast_mib = ballast_mib);
    println!("each node holds {ballast_mib} MiB");
    group.survive(Blow::Node, rounds(4));
}
