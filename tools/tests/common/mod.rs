//! What the end-to-end tests share: a group in a temporary directory, and the clients that talk to it.
//!
//! One group runs at a time within a test binary, so that timings are not each other's noise. When a test
//! fails the ends of all logs are printed.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub mod calm;
pub mod drivers;
pub mod http;

use baton_tools::group::{RunningGroup, Setup};
use bench::failover::{self, Blow, FailoverOptions, report::Report};
use bench::resp_client::{Connection, Reply};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything that should be there soon.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The binary under test.
pub const BATON: &str = env!("CARGO_BIN_EXE_baton");

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits its turn; held as long as a test's group may run.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory on the file system of the build, which is a real one (a temporary one may be memory).
pub fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A running group of a test.
pub struct TestGroup {
    group: Option<RunningGroup>,
    setup: Setup,
    // After the group, so that it is removed after the last process is gone.
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl TestGroup {
    /// Two nodes and a witness with the first port `port_base`.
    pub fn start(port_base: u16) -> TestGroup {
        TestGroup::start_with(port_base, |_| ())
    }

    /// The same, with changes to how it is started.
    pub fn start_with(port_base: u16, change: impl FnOnce(&mut Setup)) -> TestGroup {
        let turn = turn();
        // What a build, an installation or an earlier test left to be written would stall the logs on the same
        // disk for longer than a node may wait for it (`timing.disk_hang_after`).
        rustix::fs::sync();
        let dir = directory();
        let mut setup = Setup::new(BATON.into(), dir.path().join("group"), port_base);
        change(&mut setup);
        let group = RunningGroup::start(setup.clone()).unwrap_or_else(|error| panic!("{error}"));
        TestGroup { group: Some(group), setup, dir, _turn: turn }
    }

    /// Stops the group in order; the files stay.
    pub fn stop(&mut self) {
        let group = self.group.take().expect("the group runs");
        group.stop().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Kills everything at once, as a power cut would.
    pub fn cut_power(&mut self) {
        drop(self.group.take().expect("the group runs"));
    }

    /// Starts it again on the same files.
    pub fn start_again(&mut self) {
        assert!(self.group.is_none(), "the group runs already");
        let group = RunningGroup::start(self.setup.clone()).unwrap_or_else(|error| panic!("{error}"));
        self.group = Some(group);
    }

    /// Stops it in order, changes every member's configuration file, and starts it again.
    pub fn reconfigure(&mut self, change: impl Fn(&str) -> String) {
        let mut members = self.names();
        members.push("w".to_owned());
        let files: Vec<PathBuf> = members.iter().map(|name| self.config_of(name)).collect();
        self.stop();
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, change(&text)).unwrap();
        }
        self.start_again();
    }

    /// How it is started.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Room for a test's other files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The address of a node for any key.
    pub fn resp(&self, name: &str) -> SocketAddr {
        let node = self.ready().nodes.iter().find(|n| n.name == name);
        node.expect("a node of the group").resp.parse().expect("an address")
    }

    /// A connection to a node.
    pub fn connect(&self, name: &str) -> Connection {
        Connection::connect(self.resp(name), LIMIT).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Waits until every node is up and in sync.
    pub fn wait_whole(&mut self) {
        failover::Group::whole(&mut **self, LIMIT).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Strikes it `rounds` times under load and asserts that nothing at all was wrong.
    pub fn survive(&mut self, blow: Blow, rounds: usize) -> Report {
        let options = FailoverOptions { rounds, blow, recovery_limit: LIMIT, ..FailoverOptions::default() };
        println!("{blow}, {rounds} rounds\n{}", failover::report::HEADING);
        let report = failover::run(&options, &mut **self, |round| println!("{round}"));
        let report = report.unwrap_or_else(|error| panic!("{error}"));
        println!("{report}");
        assert_eq!(report.rounds.len(), rounds);
        assert!(report.fine(), "{} errors, {} violations", report.errors, report.violations);
        report
    }
}

impl Deref for TestGroup {
    type Target = RunningGroup;
    fn deref(&self) -> &RunningGroup {
        self.group.as_ref().expect("the group runs")
    }
}

impl DerefMut for TestGroup {
    fn deref_mut(&mut self) -> &mut RunningGroup {
        self.group.as_mut().expect("the group runs")
    }
}

impl Drop for TestGroup {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(group) = &self.group
        {
            eprintln!("status: {:?}\n{}", group.status(), group.logs());
        }
    }
}

/// How many rounds a test plays: `BATON_ROUNDS`, or `usual`.
pub fn rounds(usual: usize) -> usize {
    match std::env::var("BATON_ROUNDS") {
        Ok(text) => text.parse().expect("BATON_ROUNDS is a number"),
        Err(_) => usual,
    }
}

/// Runs a program to its end; one that cannot be run is a failure of the test.
pub fn run(program: &str, words: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"))
}

/// What a program printed, asserting that it went well.
pub fn output(program: &str, words: &[&str]) -> String {
    let done = run(program, words);
    assert!(done.status.success(), "{program} {words:?}: {}\n{}", done.status, text(&done));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// All that a program printed.
pub fn text(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// `redis-cli` on a port of this machine.
pub fn redis_cli(address: SocketAddr, words: &[&str]) -> String {
    let port = address.port().to_string();
    let words: Vec<&str> = ["-p", &port].into_iter().chain(words.iter().copied()).collect();
    output("redis-cli", &words).trim_end().to_owned()
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// "OK", as a reply.
pub fn ok() -> Reply {
    Reply::Simple("OK".to_owned())
}

/// A bulk string, as a reply.
pub fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

/// Where scripts for other languages' clients lie.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}
