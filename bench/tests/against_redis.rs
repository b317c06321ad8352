//! The load generator and the failover judge against a real Redis: what they call fine must be fine, and a
//! loss made on purpose must be found. A missing `redis-server` is a failure.

use bench::failover::router::Endpoint;
use bench::failover::{Blow, FailoverOptions, Group, GroupError, Standing};
use bench::load::runner::{self, LoadOptions};
use bench::resp_client::{Connection, Reply};
use bench::steady::{self, Look, SteadyGroup, SteadyOptions};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

struct Redis {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Redis {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", ""])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed for this test");
        let begun = Instant::now();
        while Connection::connect(address, LIMIT).is_err() {
            assert!(begun.elapsed() < LIMIT, "redis-server does not answer");
            std::thread::yield_now();
        }
        Redis { child, address, _dir: dir }
    }

    fn call(&self, words: &[&[u8]]) -> Reply {
        Connection::connect(self.address, LIMIT).unwrap().call(words).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One Redis as a "group" whose blows cut every connection, and lose all data if `forgetful`.
struct Stage {
    redis: Redis,
    epoch: u64,
    forgetful: bool,
}

impl Group for Stage {
    fn endpoints(&self) -> Vec<Endpoint> {
        let port = self.redis.address.port();
        vec![Endpoint { name: "a".to_owned(), any_key: self.redis.address, ports: port..=port }]
    }

    fn strike(&mut self, _: Blow) -> Result<Instant, GroupError> {
        let now = Instant::now();
        if self.forgetful {
            self.redis.call(&[b"FLUSHALL"]);
        }
        self.redis.call(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
        self.epoch += 1;
        Ok(now)
    }

    fn whole(&mut self, _: Duration) -> Result<Standing, GroupError> {
        Ok(Standing { leader: 0, epochs: vec![self.epoch] })
    }

    fn caught_up(&mut self, limit: Duration) -> Result<Standing, GroupError> {
        self.whole(limit)
    }
}

fn options(rounds: usize) -> FailoverOptions {
    FailoverOptions { rounds, warm_up: Duration::from_millis(50), ..FailoverOptions::default() }
}

#[test]
fn a_load_is_served_and_checked() {
    let redis = Redis::start();
    let report = runner::run(&LoadOptions {
        address: redis.address,
        connections: 7,
        pipeline: 16,
        requests: 20_001,
        value_bytes: 100,
        keys: 500,
        write_percent: 50,
        seed: 1,
        limit: LIMIT,
        progress: false,
    })
    .unwrap();
    assert_eq!(report.requests, 20_001);
    assert_eq!(report.writes.count + report.reads.count, 20_001);
    assert_eq!(report.errors, 0, "{:?}", report.first_error);
    assert_eq!(redis.call(&[b"DBSIZE"]), Reply::Integer(500));
}

#[test]
fn cut_connections_lose_nothing() {
    let mut stage = Stage { redis: Redis::start(), epoch: 1, forgetful: false };
    let mut rounds = 0;
    let report = bench::failover::run(&options(3), &mut stage, |_| rounds += 1).unwrap();
    assert!(report.fine(), "{report}\n{:?}", report.rounds);
    assert_eq!((rounds, report.gap.count), (3, 3));
    assert!(report.acknowledged > 0 && report.keys_checked > 0);
}

#[test]
fn a_loss_is_found() {
    let mut stage = Stage { redis: Redis::start(), epoch: 1, forgetful: true };
    let report = bench::failover::run(&options(1), &mut stage, |_| ()).unwrap();
    assert!(!report.fine(), "{report}");
}

#[test]
fn an_epoch_that_stands_still_is_found() {
    let mut stage = Stage { redis: Redis::start(), epoch: 1, forgetful: false };
    stage.epoch = u64::MAX - 1;
    let report = bench::failover::run(&options(1), &mut stage, |_| ()).unwrap();
    assert!(report.fine(), "rises by one: {report}");
    let mut stuck = Stuck(stage);
    let report = bench::failover::run(&options(1), &mut stuck, |_| ()).unwrap();
    assert_eq!((report.errors, report.violations), (0, 1), "{report}");
}

/// A group whose epochs never rise.
struct Stuck(Stage);

impl Group for Stuck {
    fn endpoints(&self) -> Vec<Endpoint> {
        self.0.endpoints()
    }

    fn strike(&mut self, blow: Blow) -> Result<Instant, GroupError> {
        self.0.epoch -= 1;
        self.0.strike(blow)
    }

    fn whole(&mut self, limit: Duration) -> Result<Standing, GroupError> {
        self.0.whole(limit)
    }

    fn caught_up(&mut self, limit: Duration) -> Result<Standing, GroupError> {
        self.0.caught_up(limit)
    }
}

/// One Redis as a group that is looked at, and that says at some look that its configuration changed.
struct Calm {
    redis: Redis,
    looks: u64,
    changes_at: Option<u64>,
}

impl SteadyGroup for Calm {
    fn endpoints(&self) -> Vec<Endpoint> {
        let port = self.redis.address.port();
        vec![Endpoint { name: "a".to_owned(), any_key: self.redis.address, ports: port..=port }]
    }

    fn look(&mut self) -> Result<Look, GroupError> {
        self.looks += 1;
        let version = 1 + u64::from(self.changes_at.is_some_and(|at| self.looks >= at));
        let (versions, epochs) = (vec![version], vec![1]);
        Ok(Look { versions, epochs, incarnations: vec![1], peak_memory: vec![0], ..Look::default() })
    }
}

fn steady(changes_at: Option<u64>) -> steady::report::Report {
    let mut calm = Calm { redis: Redis::start(), looks: 0, changes_at };
    let (busy, idle, bulk, seed) = (1, 200, 20_000, 1);
    let options = SteadyOptions { duration: Duration::from_secs(3), busy, neighbour: None, idle, bulk, seed };
    steady::run(&options, &mut calm, |_| ()).unwrap()
}

#[test]
fn every_load_is_fine_with_a_server_that_is() {
    let report = steady(None);
    assert!(report.fine() && report.redirects == 0, "{report}");
    for load in ["small GET", "small SET", "8 MiB", "many keys", "bulk load", "come and go", "idle"] {
        assert!(report.loads[load].summary().count > 0, "{load}: {report}");
    }
}

#[test]
fn a_change_without_a_cause_is_found() {
    let report = steady(Some(3));
    assert!(!report.fine() && (report.changes, report.errors) == (1, 0), "{report}");
}
