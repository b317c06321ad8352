//! HAProxy in front: it asks `/_admin/server/availability` who leads, and takes the writes there, also when
//! the leader changes.

mod common;

use common::drivers::{pip, through_blows};
use common::*;
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const PYTHON_ARANGO: &str = "python-arango==8.3.7";
const PORT: u16 = 16_390;

/// Killed when the test ends.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It runs in the foreground and is ours.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The configuration that `docs/DRIVERS.md` recommends.
fn configuration(group: &TestGroup) -> String {
    let servers: Vec<String> =
        group.names().iter().map(|name| format!("    server {name} {} check", group.http(name))).collect();
    format!(
        "defaults
    mode http
    timeout connect 100ms
    timeout check 500ms
    timeout client 30s
    timeout server 30s
    retries 10
    option redispatch 1

frontend arango
    bind 127.0.0.1:{PORT}
    default_backend leader

backend leader
    option httpchk GET /_admin/server/availability
    http-check expect status 200
    # A driver that is told where the leader is would leave the balancer behind.
    http-response del-header X-Arango-Endpoint
    default-server inter 50ms fastinter 10ms downinter 10ms fall 1 rise 1 on-marked-down shutdown-sessions
{}
",
        servers.join("\n")
    )
}

#[test]
fn writes_find_the_leader_through_haproxy() {
    let mut application = Command::new(pip(PYTHON_ARANGO).join("bin/python"));
    let mut group = TestGroup::start(16_000);
    group.wait_whole();
    let file = group.scratch().join("haproxy.cfg");
    fs::write(&file, configuration(&group)).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file).stdin(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| panic!("haproxy is needed for this test: {error}"));
    let _proxy = Proxy(child);
    wait_until("HAProxy listens", || TcpStream::connect(("127.0.0.1", PORT)).is_ok());

    application.arg("-B").arg(script("python_arango.py"));
    application.args(["loop", &format!("http://127.0.0.1:{PORT}")]);
    through_blows("python-arango through HAProxy", &mut group, &mut application, rounds(2));
}
