//! Malformed and oversized requests: an error for them, and life goes on for everybody else.

mod common;

use bench::resp_client::{Connection, Reply};
use common::*;

fn is_error(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(_))
}

fn alive(connection: &mut Connection) {
    assert_eq!(connection.call(&[b"PING"]).unwrap(), Reply::Simple("PONG".to_owned()));
}

#[test]
fn bad_requests_hurt_nobody_else() {
    let group = TestGroup::start_with(29_000, |setup| {
        setup.flags.extend(["--max-value-kib", "64"].map(str::to_owned));
    });
    let leader = group.leader().unwrap();
    let mut other = group.connect(&leader);
    let mut connection = group.connect(&leader);

    // An unknown command and a wrong number of words.
    assert!(is_error(&connection.call(&[b"FROBNICATE", b"x"]).unwrap()));
    assert!(is_error(&connection.call(&[b"GET"]).unwrap()));
    alive(&mut connection);

    // A value beyond the limit: refused, and the requests before and after it in the pipeline are served.
    let large = vec![b'x'; (64 << 10) + 1];
    connection.push(&[b"SET", b"small", b"1"]);
    connection.push(&[b"SET", b"large", &large]);
    connection.push(&[b"GET", b"small"]);
    connection.flush().unwrap();
    assert_eq!(connection.receive().unwrap(), ok());
    let refused = connection.receive().unwrap();
    assert!(is_error(&refused), "{refused:?}");
    assert_eq!(connection.receive().unwrap(), bulk("1"));
    assert_eq!(connection.call(&[b"EXISTS", b"large"]).unwrap(), Reply::Integer(0));

    // What is not RESP: requests before it are answered, then comes an error, then the end.
    for bad in [&b"*1\r\n+PING\r\n"[..], b"*-5x\r\n", b"*2\r\n$3\r\nGET\r\n$-7\r\n", b"*99999999999\r\n"] {
        let mut broken = group.connect(&leader);
        broken.push(&[b"PING"]);
        broken.flush().unwrap();
        broken.send_raw(bad).unwrap();
        assert_eq!(broken.receive().unwrap(), Reply::Simple("PONG".to_owned()));
        let answer = broken.receive().unwrap();
        assert!(matches!(&answer, Reply::Error(text) if text.contains("Protocol error")), "{answer:?}");
        assert!(broken.receive().is_err(), "the connection is closed");
    }

    // A request that never ends and a client that goes away in the middle of one.
    let mut half = group.connect(&leader);
    half.send_raw(b"*3\r\n$3\r\nSET\r\n$5\r\nhal").unwrap();
    drop(half);
    alive(&mut other);
    alive(&mut connection);
    assert_eq!(other.call(&[b"GET", b"small"]).unwrap(), bulk("1"));
}
