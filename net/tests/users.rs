//! What a group with users promises, and what strangers cannot do to it, each as a story of two nodes (see
//! `replication.rs`). Roles by both faces and real processes: `tools/tests/users.rs`.

#[allow(dead_code, reason = "the other stories use the rest")]
mod world;

use world::{A, World};

/// Base64 of `root:swordfish`.
const ROOT: &str = "Authorization: Basic cm9vdDpzd29yZGZpc2g=\r\n";

fn status(response: &str) -> &str {
    response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("a response")
}

fn as_root(world: &mut World, line: &str, body: &str) -> String {
    world.ask_http(A, line, ROOT, body)
}

#[test]
fn a_large_body_is_refused_before_it_is_parsed_where_only_a_small_one_makes_sense() {
    let mut world = World::with_users();
    for line in
        ["POST /_open/auth", "POST /_db/x/_api/user", "PATCH /_api/user/root", "PUT /_admin/server/mode"]
    {
        // Announced; and whole, in chunks of which nobody knows how many follow.
        world.open_http(A);
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 70000\r\n\r\n");
        world.send_http(A, head.as_bytes());
        world.run_ms(1);
        let refused = world.take_responses(A);
        assert_eq!(status(&refused), "413", "{line}: {refused}");
        world.open_http(A);
        world.send_http(
            A,
            format!("{line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
        );
        world.send_http(A, &[b"11170\r\n".as_slice(), &[b' '; 70_000]].concat());
        world.run_ms(1);
        assert_eq!(status(&world.take_responses(A)), "413", "{line}");
        assert_eq!(status(&as_root(&mut world, line, &" ".repeat(70_000))), "413", "{line}");
    }
    let large = format!(r#"{{"username":"root","password":"swordfish"{}}}"#, " ".repeat(60_000));
    assert_eq!(status(&world.ask_http(A, "POST /_open/auth", "", &large)), "200");
}
