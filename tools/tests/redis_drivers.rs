//! Redis Cluster drivers, unchanged: an application that writes and reads while the leader is killed, stopped
//! and relieved.
//!
//! The drivers are installed in pinned versions into the build directory. `--nocapture` shows the longest gap
//! of each; no test asserts a time. `BATON_ROUNDS` plays each blow that many times.

mod common;

use common::drivers::{npm, pip, through_blows};
use common::*;
use std::process::Command;

const REDIS_PY: &str = "redis==8.1.0";
const VALKEY_PY: &str = "valkey==6.2.0";
const NODE_PACKAGES: [&str; 3] = ["ioredis@6.0.0", "redis@6.3.1", "@valkey/valkey-glide@2.5.2"];

fn python(package: &str) -> Command {
    let mut command = Command::new(pip(package).join("bin/python"));
    let (name, _) = package.split_once("==").expect("a pinned version");
    command.arg("-B").arg(script("redis_loop.py")).arg(name);
    command
}

fn node(driver: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", npm("redis-drivers", &NODE_PACKAGES).join("node_modules"));
    command.arg(script("redis_loop.js")).arg(driver);
    command
}

fn drive(port_base: u16, name: &str, mut driver: Command) {
    let mut group = TestGroup::start(port_base);
    group.wait_whole();
    let ports: Vec<String> = group.names().iter().map(|n| group.resp(n).port().to_string()).collect();
    driver.args(["loop", &ports.join(",")]);
    through_blows(name, &mut group, &mut driver, rounds(2));
}

#[test]
fn redis_py() {
    drive(10_000, "redis-py", python(REDIS_PY));
}

#[test]
fn valkey_py() {
    drive(10_400, "valkey-py", python(VALKEY_PY));
}

#[test]
fn ioredis() {
    drive(10_800, "ioredis", node("ioredis"));
}

#[test]
fn node_redis() {
    drive(11_200, "node-redis", node("node-redis"));
}

#[test]
fn node_redis_as_it_comes() {
    drive(11_600, "node-redis, defaults", node("node-redis-default"));
}

#[test]
fn valkey_glide() {
    drive(12_000, "valkey-glide", node("valkey-glide"));
}
