//! Ordinary Redis clients, with an ordinary user's patience: they write and read across a leader kill.
//!
//! redis-benchmark and redis-cli must be installed; redis-py and ioredis are installed by this test, in
//! pinned versions, into the build directory. A client that cannot be had is a failure.

mod common;

use baton_tools::processes::Part;
use common::*;
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const REDIS_PY: &str = "redis==8.1.0";
const IOREDIS: &str = "ioredis@6.0.0";
/// Keys that each client writes and reads.
const KEYS: usize = 10_000;

/// A directory for installed clients that outlives the test run; `install` fills it once.
fn installed(name: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    let done = dir.join("installed");
    // An installation writes so much that a group beside it would wait for the disk.
    let _turn = turn();
    if !done.exists() {
        // What an interrupted installation left would only confuse the next.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        install(&dir);
        fs::write(done, "").unwrap();
    }
    dir
}

/// Runs a client script and kills the leader when it has written half of its keys.
fn across_a_kill(group: &TestGroup, command: &mut Command) {
    let leader = group.leader().unwrap();
    let mut client = command
        .args([group.resp(&leader).port().to_string(), KEYS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} is needed for this test: {error}"));
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines {
        let line = line.unwrap();
        if line == "half" {
            group.signal(&leader, Part::Node, Signal::KILL).unwrap();
        }
        seen.push(line);
    }
    let status = client.wait().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    assert_eq!(seen, ["half", "done"]);
    assert_ne!(group.leader().unwrap(), leader, "another node leads");
}

#[test]
fn redis_benchmark_completes() {
    let group = TestGroup::start(18_000);
    let leader = group.leader().unwrap();
    let port = group.resp(&leader).port().to_string();
    let words = ["-p", &port, "-t", "set,get", "-n", "200000", "-c", "50", "-P", "16", "--csv"];
    let said = output("redis-benchmark", &words);
    assert!(said.contains("\"SET\"") && said.contains("\"GET\""), "{said}");
    println!("{said}");
}

#[test]
fn redis_cli_writes_and_reads_across_a_kill() {
    const BATCH: usize = 250;
    let group = TestGroup::start(18_400);
    let leader = group.leader().unwrap();
    let ports: Vec<String> = group.names().iter().map(|n| group.resp(n).port().to_string()).collect();
    for (batch, first) in (0..KEYS).step_by(BATCH).enumerate() {
        let numbers = first..first + BATCH;
        let requests: String = numbers.clone().map(|n| format!("set cli:{n} value-{n}\n")).collect();
        let mut tries = ports.iter().cycle();
        // redis-cli does not know of other nodes than the one it was given: a user whose command failed
        // gives it again, to the other node.
        wait_until("a batch is written", || {
            if batch == KEYS / BATCH / 2 && group.leader().is_ok_and(|now| now == leader) {
                // It may be dying already.
                let _ = group.signal(&leader, Part::Node, Signal::KILL);
            }
            let said = redis_cli_batch(tries.next().unwrap(), &requests);
            said.lines().filter(|line| *line == "OK").count() == BATCH
        });
    }
    let requests: String = (0..KEYS).map(|n| format!("get cli:{n}\n")).collect();
    let said = redis_cli_batch(ports.last().unwrap(), &requests);
    let found: Vec<&str> = said.lines().filter(|line| line.contains("value-")).collect();
    assert_eq!(found.len(), KEYS);
    assert!((0..KEYS).all(|n| found[n] == format!("value-{n}")));
}

/// What `redis-cli -c` prints for these requests.
fn redis_cli_batch(port: &str, requests: &str) -> String {
    let mut client = Command::new("redis-cli")
        .args(["-c", "-p", port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-cli is needed for this test");
    let mut input = client.stdin.take().unwrap();
    let requests = requests.to_owned();
    // Fails if it ends early, and then its output says so.
    let feeder = std::thread::spawn(move || drop(input.write_all(requests.as_bytes())));
    let done = client.wait_with_output().unwrap();
    feeder.join().unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn redis_py_writes_and_reads_across_a_kill() {
    let home = installed("redis-py", |dir| {
        output("python3", &["-m", "venv", dir.to_str().unwrap()]);
        let pip = dir.join("bin/pip");
        output(pip.to_str().unwrap(), &["install", "--quiet", REDIS_PY]);
    });
    let group = TestGroup::start(18_800);
    across_a_kill(&group, Command::new(home.join("bin/python")).arg(script("redis_py.py")));
}

#[test]
fn ioredis_writes_and_reads_across_a_kill() {
    let home = installed("ioredis", |dir| {
        let prefix = dir.to_str().unwrap();
        output("npm", &["install", "--silent", "--no-audit", "--no-fund", "--prefix", prefix, IOREDIS]);
    });
    let group = TestGroup::start(19_200);
    let mut command = Command::new("node");
    across_a_kill(&group, command.env("NODE_PATH", home.join("node_modules")).arg(script("ioredis.js")));
}
