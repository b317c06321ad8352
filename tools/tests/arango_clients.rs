//! ArangoDB's official drivers, unchanged: every operation that the HTTP face promises, and then an
//! application that writes and reads while the leader is killed, stopped and relieved.
//!
//! The drivers are installed in pinned versions into the build directory. `--nocapture` shows the longest gap
//! of each; no test asserts a time. `BATON_ROUNDS` plays each blow that many times.

mod common;

use common::drivers::{Gaps, npm, pip, through_blows};
use common::*;
use std::process::Command;

const ARANGOJS: [&str; 4] = [
    "arangojs-7@npm:arangojs@7.8.0",
    "arangojs-8@npm:arangojs@8.8.1",
    "arangojs-9@npm:arangojs@9.3.0",
    "arangojs-10@npm:arangojs@10.4.0",
];
const PYTHON_ARANGO: &str = "python-arango==8.3.7";
const PYTHON_ARANGO_ASYNC: &str = "python-arango-async==1.2.7";

fn arangojs(version: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", npm("arangojs", &ARANGOJS).join("node_modules"));
    command.arg(script("arangojs.js")).arg(version);
    command
}

fn python(package: &str, name: &str) -> Command {
    let mut command = Command::new(pip(package).join("bin/python"));
    // Nothing is left in the source tree.
    command.arg("-B").arg(script(name));
    command
}

fn url(group: &TestGroup, name: &str) -> String {
    format!("http://{}", group.http(name))
}

/// Every operation of the HTTP face; the script tells on standard error what was not as it should be.
fn every_operation(group: &TestGroup, mut driver: Command) {
    let (leader, follower) = (group.leader().unwrap(), group.follower().unwrap());
    driver.args(["operations", &url(group, &leader), &url(group, &follower)]);
    let done = driver.output().unwrap_or_else(|error| panic!("{driver:?} is needed for this test: {error}"));
    assert!(done.status.success(), "{driver:?}: {}\n{}", done.status, text(&done));
}

fn drive(port_base: u16, name: &str, driver: impl Fn() -> Command) -> Gaps {
    // Both before the group: making the first one installs the driver.
    let (operations, mut writer) = (driver(), driver());
    let mut group = TestGroup::start(port_base);
    group.wait_whole();
    every_operation(&group, operations);
    let urls: Vec<String> = group.names().iter().map(|name| url(&group, name)).collect();
    let gaps = through_blows(name, &mut group, writer.args(["loop", &urls.join(",")]), rounds(2));
    // The same data by the other face.
    let leader = group.leader().unwrap();
    assert_eq!(redis_cli(group.resp(&leader), &["get", "loop/k7"]), r#"{"n":7}"#);
    gaps
}

#[test]
fn arangojs_7() {
    drive(13_000, "arangojs 7", || arangojs("arangojs-7"));
}

#[test]
fn arangojs_8() {
    drive(13_400, "arangojs 8", || arangojs("arangojs-8"));
}

#[test]
fn arangojs_9() {
    drive(13_800, "arangojs 9", || arangojs("arangojs-9"));
}

#[test]
fn arangojs_10() {
    drive(14_200, "arangojs 10", || arangojs("arangojs-10"));
}

#[test]
fn python_arango() {
    drive(14_600, "python-arango", || python(PYTHON_ARANGO, "python_arango.py"));
}

#[test]
fn python_arango_async() {
    drive(15_000, "python-arango-async", || python(PYTHON_ARANGO_ASYNC, "python_arango_async.py"));
}

/// The same with users: the drivers log in, and their tokens are good on whoever leads.
#[test]
fn with_passwords() {
    let drivers = [arangojs("arangojs-10"), python(PYTHON_ARANGO, "python_arango.py")];
    let mut group = TestGroup::start_with(15_400, |setup| setup.flags.push("--auth".to_owned()));
    group.wait_whole();
    let password = group.ready().root_password.clone().expect("a first start makes up a password");
    for mut driver in drivers {
        driver.env("PASSWORD", &password);
        every_operation(&group, driver);
    }
}
