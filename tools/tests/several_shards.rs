//! The port for any key of a group of several shards: one request for the keys of all of them.

mod common;

use baton_tools::processes::Part;
use bench::resp_client::{Connection, Reply};
use common::*;
use rustix::process::Signal;

/// More than what one shard is asked for at a time, for each of them.
const KEYS: usize = 3_000;

/// A command with these keys.
fn call(connection: &mut Connection, command: &str, keys: &[String]) -> Reply {
    let words: Vec<&[u8]> =
        std::iter::once(command.as_bytes()).chain(keys.iter().map(String::as_bytes)).collect();
    connection.call(&words).unwrap()
}

#[test]
fn many_keys_and_their_copies_are_answered_as_by_one() {
    let mut group =
        TestGroup::start_with(13_300, |setup| setup.flags.extend(["--shards".into(), "3".into()]));
    group.wait_whole();
    let leader = group.leader().unwrap();
    let mut connection = group.connect(&leader);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    // Every third key is missing.
    let there = |n: &usize| !n.is_multiple_of(3);
    let written = (0..KEYS).filter(there).count();
    for n in (0..KEYS).filter(there) {
        connection.push(&[b"SET", keys[n].as_bytes(), format!("of {n}").as_bytes()]);
    }
    connection.flush().unwrap();
    (0..written).for_each(|_| assert_eq!(connection.receive().unwrap(), ok()));

    assert_eq!(connection.call(&[b"WAIT", b"1", b"0"]).unwrap(), Reply::Integer(1));
    let both = Reply::Array(vec![Reply::Integer(1), Reply::Integer(1)]);
    assert_eq!(connection.call(&[b"WAITAOF", b"1", b"1", b"0"]).unwrap(), both);
    let value = |n: usize| if there(&n) { bulk(&format!("of {n}")) } else { Reply::Null };
    assert_eq!(call(&mut connection, "MGET", &keys), Reply::Array((0..KEYS).map(value).collect()));
    // What is named twice counts twice, and is deleted once.
    let twice: Vec<String> = keys.iter().chain(&keys).cloned().collect();
    assert_eq!(call(&mut connection, "EXISTS", &twice), Reply::Integer(2 * written as i64));
    assert_eq!(call(&mut connection, "DEL", &twice), Reply::Integer(written as i64));
    assert_eq!(call(&mut connection, "EXISTS", &keys), Reply::Integer(0));

    // Nobody else holds anything while the follower is down: the time is over, or the copies are none.
    let follower = group.follower().unwrap();
    group.signal(&follower, Part::Warden, Signal::TERM).unwrap();
    wait_until("the follower is gone", || {
        connection.call(&[b"WAIT", b"1", b"50"]).unwrap() == Reply::Integer(0)
    });
}
