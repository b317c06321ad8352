//! The same commands to a real Redis 7.0 and to our executor: the replies must be the same bytes, in RESP2
//! and in RESP3.
//!
//! The server runs as a cluster of one node that owns all slots, on a free port of the loopback. It must be
//! installed: without it these tests fail. Left out are commands whose replies tell who answers (`INFO`,
//! `HELLO`, `COMMAND`, `CLIENT LIST`, `CLUSTER SLOTS`, …) and what `docs/CLIENT-RESP.md` lists as
//! different. Remaining times may differ by the time between the two runs of a command.

use faces::resp::{
    Ack, CROSS_SLOT, CommandOutcome, Context, Limits, NodeTopology, ParseState, Parsed, Route, Session,
    ShardRole, ShardTopology, Stats, Topology, execute, parse, route,
};
use faces::store::{Fetch, Store, Write as Change, WriteError};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Starting a server, or its becoming ready, takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far times may differ between the two runs of a command.
const CLOCK_TOLERANCE_MS: i64 = 5_000;
/// Absolute expiry times start here: later than any that a relative one comes to.
const ABSOLUTE_S: i64 = 4_000_000_000;
const SEEDS: u64 = 6;
const STEPS: usize = 2_500;

/// A Redis server of this test's own; it ends with this value.
struct Redis {
    process: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

/// One server starts at a time, so that two tests of this process never choose the same port.
static STARTING: Mutex<()> = Mutex::new(());
/// Another process may take a port between our choice and the server's bind: choose again.
const START_ATTEMPTS: usize = 10;

impl Redis {
    fn start() -> Redis {
        let _alone = STARTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let redis = (0..START_ATTEMPTS).find_map(|_| Redis::try_start()).expect("redis-server starts");
        let mut client = redis.connect().expect("it accepted a connection before");
        assert_eq!(client.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), b"+OK\r\n");
        let start = Instant::now();
        while client.ask(&["GET", "ready"]).starts_with(b"-CLUSTERDOWN") {
            assert!(start.elapsed() < PATIENCE, "the cluster of one node did not become ready");
        }
        redis
    }

    fn try_start() -> Option<Redis> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [port, bus] = free_ports();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--cluster-port", &bus.to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--cluster-enabled", "yes"])
            .arg("--dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server 7.0 must be installed for this test (Debian: redis-server)");
        let mut redis = Redis { process, port, _dir: dir };
        let start = Instant::now();
        while redis.process.try_wait().expect("our own child").is_none() {
            if redis.connect().is_some() {
                return Some(redis);
            }
            assert!(start.elapsed() < PATIENCE, "redis-server did not accept connections");
            std::thread::yield_now();
        }
        None
    }

    fn connect(&self) -> Option<Client> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Some(Client { stream: BufReader::new(stream) })
    }

    fn client(&self) -> Client {
        self.connect().expect("redis-server accepts connections")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        self.process.wait().expect("our own child can be waited for");
    }
}

/// Two ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket").port())
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn ask(&mut self, words: &[&str]) -> Vec<u8> {
        self.exchange(&encoded(words.iter().map(|word| word.as_bytes())))
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.stream.get_mut().write_all(request).expect("Redis takes the request");
        let mut reply = Vec::new();
        self.read_reply(&mut reply);
        reply
    }

    /// Append one whole reply, as it came.
    fn read_reply(&mut self, reply: &mut Vec<u8>) {
        let start = reply.len();
        self.stream.read_until(b'\n', reply).expect("Redis replies");
        let line = std::str::from_utf8(&reply[start..]).unwrap_or("-").trim_end().to_owned();
        let count = || line[1..].parse::<i64>().expect("a length");
        match line.as_bytes().first().expect("Redis does not close the connection") {
            b'$' | b'=' if count() >= 0 => {
                let mut body = vec![0; count() as usize + 2];
                self.stream.read_exact(&mut body).expect("Redis sends the whole reply");
                reply.extend_from_slice(&body);
            }
            b'*' | b'~' => (0..count()).for_each(|_| self.read_reply(reply)),
            b'%' => (0..count() * 2).for_each(|_| self.read_reply(reply)),
            _ => {}
        }
    }
}

fn encoded<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Data in memory. Each key has to be asked for twice within a command, as if it came from the disk.
#[derive(Default)]
struct Memory {
    data: HashMap<Vec<u8>, (Vec<u8>, u64)>,
    slow: bool,
    loaded: HashSet<Vec<u8>>,
    now_ms: u64,
}

impl Memory {
    fn live(&self, key: &[u8]) -> Option<&(Vec<u8>, u64)> {
        self.data.get(key).filter(|(_, expiry)| *expiry == 0 || *expiry > self.now_ms)
    }
}

impl Store for Memory {
    fn fetch(&mut self, key: &[u8]) -> Fetch<'_> {
        if self.slow && self.loaded.insert(key.to_vec()) {
            return Fetch::Pending;
        }
        match self.live(key) {
            Some((value, expiry_ms)) => {
                Fetch::Value { value, expiry_ms: *expiry_ms, revision: Default::default() }
            }
            None => Fetch::Missing,
        }
    }

    fn write(&mut self, writes: &[Change<'_>]) -> Result<(), WriteError> {
        for write in writes {
            match *write {
                Change::Put { key, value, expiry_ms } => {
                    self.data.insert(key.to_vec(), (value.to_vec(), expiry_ms));
                }
                Change::Delete { key } => {
                    self.data.remove(key);
                }
            }
        }
        Ok(())
    }

    fn wall_ms(&self) -> u64 {
        self.now_ms
    }

    fn key_count(&self) -> u64 {
        self.data.keys().filter(|key| self.live(key).is_some()).count() as u64
    }

    fn key_count_in_slot(&mut self, slot: u16) -> u64 {
        let here = |key: &&Vec<u8>| engine::slot::slot_of(key) == slot && self.live(key).is_some();
        self.data.keys().filter(here).count() as u64
    }
}

/// Our side: the little of the node that one shard with all slots needs.
struct Baton {
    topology: Topology,
    limits: Limits,
    state: ParseState,
    session: Session,
    store: Memory,
}

impl Baton {
    fn new(slow: bool) -> Baton {
        let node = NodeTopology {
            name: "a".into(),
            index: 0,
            host: "127.0.0.1".into(),
            any_port: 7400,
            shard_ports: vec![7401],
            up: true,
        };
        let shard = ShardTopology { id: 0, slots: (0, 16383), leader: Some(0), members: vec![0], epoch: 1 };
        Baton {
            topology: Topology { group: 1, shards: vec![shard], nodes: vec![node], me: 0 },
            limits: Limits::default(),
            state: ParseState::default(),
            session: Session::new(1, "127.0.0.1:1".into(), "127.0.0.1:2".into(), 0),
            store: Memory { slow, ..Memory::default() },
        }
    }

    /// Everything that `bytes` are answered with, and whether the connection is closed after it.
    fn exchange(&mut self, mut bytes: &[u8]) -> (Vec<u8>, bool) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        self.store.now_ms = now.as_millis() as u64;
        let mut out = Vec::new();
        loop {
            match parse(bytes, &self.limits, &mut self.state) {
                Parsed::Incomplete => return (out, false),
                Parsed::Unfinished | Parsed::Long { .. } => unreachable!("these have few arguments"),
                Parsed::Skipped { consumed } => bytes = &bytes[consumed..],
                Parsed::Bad { consumed, reply, fatal } => {
                    out.extend_from_slice(&reply);
                    bytes = &bytes[consumed..];
                    if fatal {
                        return (out, true);
                    }
                }
                Parsed::Request { consumed, request } => {
                    bytes = &bytes[consumed..];
                    match route(&request) {
                        Route::Error(reply) => {
                            out.extend_from_slice(&reply);
                            continue;
                        }
                        Route::Keys { keys, .. } if keys.same(|slot| slot).is_none() => {
                            out.extend_from_slice(CROSS_SLOT);
                            continue;
                        }
                        Route::Keys { .. } | Route::NoKeys => {}
                    }
                    let ctx = Context {
                        users: None,
                        verdict: None,
                        limits: &self.limits,
                        large_bytes: usize::MAX,
                        topology: &self.topology,
                        shard: 0,
                        role: ShardRole::Leader,
                        leader_link_up: false,
                        replicas: &[],
                        written_lsn: 0,
                        committed_lsn: 0,
                        default_ack: Ack::Durable,
                        port: 7401,
                        pid: 1,
                        uptime_s: 0,
                        version: "0",
                        other_keys: 0,
                        stats: &Stats::default(),
                        clients: &|_| {},
                    };
                    self.store.loaded.clear();
                    loop {
                        let before = (out.clone(), format!("{:?}", self.session));
                        match execute(&request, &mut self.session, &ctx, &mut self.store, &mut out) {
                            CommandOutcome::Blocked => {
                                assert_eq!((out.clone(), format!("{:?}", self.session)), before);
                            }
                            CommandOutcome::Close => return (out, true),
                            _ => break,
                        }
                    }
                }
            }
        }
    }
}

/// A small seeded generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }
}

/// What each command takes: `k` key, `v` value, `i` integer, `f` number, `s` relative seconds, `m` relative
/// ms, `S` and `M` absolute times, `x` options of SET, `g` options of GETEX, `c` conditions of EXPIRE, `w` any
/// word, `+` the part before may be repeated.
#[rustfmt::skip]
const COMMANDS: &[(&str, &str)] = &[
    ("GET", "k"), ("SET", "kv"), ("SET", "kvx"), ("SET", "kvx"), ("GETDEL", "k"), ("GETEX", "kg"),
    ("SETNX", "kv"), ("SETEX", "ksv"), ("PSETEX", "kmv"), ("GETSET", "kv"), ("MGET", "k+"), ("MSET", "kv+"),
    ("MSETNX", "kv+"), ("STRLEN", "k"), ("APPEND", "kv"), ("GETRANGE", "kii"), ("SUBSTR", "kii"),
    ("SETRANGE", "kiv"), ("INCR", "k"), ("DECR", "k"), ("INCRBY", "ki"), ("DECRBY", "ki"),
    ("INCRBYFLOAT", "kf"), ("INCRBYFLOAT", "kf"), ("DEL", "k+"), ("UNLINK", "k+"), ("EXISTS", "k+"),
    ("TOUCH", "k+"), ("TYPE", "k"), ("TTL", "k"), ("PTTL", "k"), ("EXPIRE", "ksc"), ("PEXPIRE", "kmc"),
    ("EXPIREAT", "kSc"), ("PEXPIREAT", "kMc"), ("EXPIREAT", "kSc"), ("EXPIREAT", "kSc"), ("EXPIREAT", "kSc"), ("EXPIRETIME", "k"), ("PEXPIRETIME", "k"), ("PERSIST", "k"),
    ("PING", ""), ("PING", "w"), ("ECHO", "w"), ("SELECT", "i"), ("AUTH", "w"), ("AUTH", "ww"),
    ("READONLY", ""), ("READWRITE", ""), ("CLIENT", "w"), ("CLUSTER", "w"), ("COMMAND", "ww"), ("NOSUCH", "ww"),
];

/// Commands that are sent as they are.
#[rustfmt::skip]
const FIXED: &[&str] = &[
    "CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT SETNAME", "CLIENT SETNAME a\u{e9}", "CLIENT NO-EVICT on",
    "CLIENT NO-EVICT maybe", "CLUSTER KEYSLOT foo{bar}", "CLUSTER COUNTKEYSINSLOT 99999",
    "CLUSTER COUNTKEYSINSLOT x", "CLUSTER GETKEYSINSLOT 1 -1", "COMMAND GETKEYS MSET a 1 b 2",
    "COMMAND GETKEYS GET a", "COMMAND GETKEYS PING", "COMMAND GETKEYS NOSUCH x", "COMMAND GETKEYS MSET a",
    "CONFIG GET nosuch*", "CONFIG GET appendonly-nosuch", "SELECT 0", "WAIT x 0", "WAIT 0 x", "WAIT 0 -1",
    "SHUTDOWN maybe", "SHUTDOWN ABORT", "SHUTDOWN SAVE NOSAVE", "HELLO 4", "HELLO x", "HELLO 3 SETNAME",
    "AUTH nobody secret", "RESET", "CLIENT LIST TYPE nosuch", "CLIENT LIST x", "CLUSTER REPLICAS",
];

const KEYS: [&str; 7] = ["{t}a", "{t}b", "{t}c", "{t}d", "plain", "other", ""];

/// What a value is made of.
#[rustfmt::skip]
const VALUES: &[&str] = &[
    "", "x", "hello world", "10", "-3", "3.25", "9223372036854775807", "-9223372036854775808", "1e5", "0.1",
    "a\r\nb", "\u{0}", "17179869184.000000001", "-0.00000001", "123456789012345678901234567890",
];
#[rustfmt::skip]
const INTEGERS: &[&str] = &[
    "0", "1", "-1", "2", "-5", "7", "100", "9223372036854775807", "-9223372036854775808", "-9999999999",
];
const NO_INTEGERS: &[&str] = &["", "abc", "1.5", " 1", "+1", "01", "-0", "9223372036854775808", "1e3"];
const NUMBERS: &[&str] = &["0.1", "-0.1", "1e10", "3", "-3.0e-3", ".5", "5.", "1e-17", "1e20", "+2"];
const NO_NUMBERS: &[&str] = &["", "abc", " 1", "1 ", "1e", ".", "1e5000", "--1", "1e400"];
/// Relative times so small that the key might or might not be there are of no use.
const NO_SPANS: &[&str] = &["0", "-1", "x", "9223372036854775807", "-9223372036854775808"];
const ODD_TIMES: &[&str] = &["0", "-1", "1", "1000", "x", "9223372036854775807", "-9223372036854775808"];

fn argument(random: &mut Random, kind: u8) -> Vec<String> {
    let rare = random.below(12) == 0;
    let one = |text: &str| vec![text.to_owned()];
    match kind {
        b'k' if rare => one(random.of(&KEYS)),
        b'k' => one(random.of(&KEYS[..4])),
        b'v' => one(random.of(VALUES)),
        b'i' if rare => one(random.of(NO_INTEGERS)),
        b'i' => one(random.of(INTEGERS)),
        b'f' if rare => one(random.of(NO_NUMBERS)),
        b'f' => match random.below(3) {
            0 => one(random.of(NUMBERS)),
            1 => vec![format!("{}e{}", random.next() as i64, random.below(60) as i64 - 40)],
            _ => vec![format!("{}.{}", random.below(1000), random.next())],
        },
        b's' | b'm' if rare => one(random.of(NO_SPANS)),
        b'S' | b'M' if rare => one(random.of(ODD_TIMES)),
        b's' => vec![(10_000 + random.below(1_000_000_000)).to_string()],
        b'm' => vec![(10_000_000 + random.below(1_000_000_000_000)).to_string()],
        b'S' => vec![(ABSOLUTE_S + random.below(2) as i64).to_string()],
        b'M' => vec![(ABSOLUTE_S * 1000 + random.below(4) as i64 * 500).to_string()],
        b'x' => options(random, &["NX", "xx", "GET", "Ex", "PX", "EXAT", "pxat", "KEEPTTL", "PERSIST"]),
        b'g' => options(random, &["EX", "PX", "EXAT", "PXAT", "PERSIST", "NX"]),
        b'c' if random.below(2) == 0 => Vec::new(),
        b'c' => {
            (0..1 + random.below(2)).map(|_| random.of(&["NX", "XX", "gt", "LT", "no"]).to_owned()).collect()
        }
        b'w' => one(random.of(&["", "word", "two words", "line\r\nbreak", "é"])),
        _ => panic!("{} stands for nothing", char::from(kind)),
    }
}

/// One or two of these options, those that take a time mostly with one.
fn options(random: &mut Random, words: &[&str]) -> Vec<String> {
    let mut options = Vec::new();
    for _ in 0..1 + random.below(2) {
        let word = random.of(words);
        options.push(word.to_owned());
        let time = match word.to_uppercase().as_str() {
            "EX" => b's',
            "PX" => b'm',
            "EXAT" => b'S',
            "PXAT" => b'M',
            _ => continue,
        };
        if random.below(20) > 0 {
            options.extend(argument(random, time));
        }
    }
    options
}

fn command(random: &mut Random) -> Vec<String> {
    if random.below(15) == 0 {
        return random.of(FIXED).split(' ').map(str::to_owned).collect();
    }
    let (name, pattern) = COMMANDS[random.below(COMMANDS.len())];
    let name = if random.below(4) == 0 { name.to_lowercase() } else { name.to_owned() };
    let mut args = vec![name];
    let (kinds, repeats) = match pattern.strip_suffix('+') {
        Some(kinds) => (kinds, 1 + random.below(4)),
        None => (pattern, 1),
    };
    for _ in 0..repeats {
        kinds.bytes().for_each(|kind| args.extend(argument(random, kind)));
    }
    match random.below(60) {
        0 => args.push("extra".to_owned()),
        1 if args.len() > 1 => drop(args.pop()),
        _ => {}
    }
    args
}

/// Whether the replies to `args` are the same, but for the time between the two runs. Times that were given
/// as absolute ones must be the same.
fn same(args: &[String], ours: &[u8], theirs: &[u8]) -> bool {
    let unit_ms = match args[0].to_uppercase().as_str() {
        "TTL" | "EXPIRETIME" => 1000,
        "PTTL" | "PEXPIRETIME" => 1,
        _ => return ours == theirs,
    };
    let number = |reply: &[u8]| {
        let seconds_or_ms = std::str::from_utf8(reply).ok()?.trim_end().strip_prefix(':')?.parse::<i64>();
        seconds_or_ms.ok().map(|value| value * unit_ms)
    };
    match (number(ours), number(theirs)) {
        (Some(ours), Some(theirs)) if (1..ABSOLUTE_S * 1000).contains(&ours) => {
            (ours - theirs).abs() <= CLOCK_TOLERANCE_MS
        }
        _ => ours == theirs,
    }
}

fn run(redis: &Redis, proto: &str, seed: u64) {
    let mut client = redis.client();
    let mut baton = Baton::new(seed.is_multiple_of(2));
    assert_eq!(client.ask(&["FLUSHALL"]), b"+OK\r\n");
    client.ask(&["HELLO", proto]);
    baton.exchange(&encoded([b"HELLO".as_slice(), proto.as_bytes()].into_iter()));
    let mut random = Random(seed);
    let mut errors = 0;
    let mut check = |args: &[String]| {
        let request = encoded(args.iter().map(|arg| arg.as_bytes()));
        let theirs = client.exchange(&request);
        let (ours, _) = baton.exchange(&request);
        assert!(
            same(args, &ours, &theirs),
            "RESP{proto}, seed {seed}: {args:?}\n ours:   {}\n theirs: {}",
            ours.escape_ascii(),
            theirs.escape_ascii()
        );
        errors += usize::from(theirs.starts_with(b"-"));
    };
    for step in 0..STEPS {
        check(&command(&mut random));
        if step % 100 == 0 {
            for key in KEYS {
                check(&["GET".to_owned(), key.to_owned()]);
                check(&["PEXPIRETIME".to_owned(), key.to_owned()]);
            }
            check(&["DBSIZE".to_owned()]);
        }
    }
    assert!(errors < STEPS / 2, "most commands must do something, but {errors} were refused");
}

#[test]
fn random_commands_get_the_same_replies() {
    let redis = Redis::start();
    for seed in 0..SEEDS {
        run(&redis, "2", seed);
        run(&redis, "3", seed);
    }
}

#[test]
fn long_doubles_are_printed_alike() {
    let redis = Redis::start();
    let (mut client, mut baton) = (redis.client(), Baton::new(false));
    let mut random = Random(7);
    let numbers: Vec<String> =
        ["1e4000", "1e4932", "1.18973149535723176502e4932", "3.4e-4932", "1e-30", "1e-4000"]
            .into_iter()
            .map(str::to_owned)
            .chain((0..2000).map(|_| {
                let (digits, exponent) =
                    (random.next() as i64 >> random.below(60), random.below(200) as i64 - 100);
                format!("{digits}.{}e{exponent}", random.next() >> random.below(60))
            }))
            .collect();
    for pair in numbers.windows(2) {
        for request in [vec!["SET", "k", &pair[0]], vec!["INCRBYFLOAT", "k", &pair[1]]] {
            let request = encoded(request.iter().map(|arg| arg.as_bytes()));
            let (theirs, (ours, _)) = (client.exchange(&request), baton.exchange(&request));
            assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{pair:?}");
        }
    }
}

#[test]
fn broken_streams_are_answered_and_closed_alike() {
    let redis = Redis::start();
    let long = "x".repeat(70_000);
    let cases = [
        "*x\r\n".to_owned(),
        "*1 \r\n".to_owned(),
        "*3000000000\r\n".to_owned(),
        "*1\r\nx\r\n".to_owned(),
        "*1\r\n\r\n".to_owned(),
        "*1\r\n$x\r\n".to_owned(),
        "*1\r\n$-1\r\n".to_owned(),
        "*1\r\n$600000000\r\n".to_owned(),
        "PING \"a\r\n".to_owned(),
        "PING 'a'b\r\n".to_owned(),
        format!("*{long}"),
        format!("*1\r\n${long}"),
        long.clone(),
        "\r\n*0\r\n*-1\r\nPING\r\n  PING  \"a\\x41\\n\\\"b\" \r\nPING 'it\\'s'\r\nPING\nQUIT\r\n".to_owned(),
        "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$3\r\na\r\n\r\n*1\r\n:4\r\n".to_owned(),
    ];
    for case in cases {
        let mut client = redis.client();
        client.stream.get_mut().write_all(case.as_bytes()).expect("Redis takes the bytes");
        let mut theirs = Vec::new();
        client.stream.read_to_end(&mut theirs).expect("Redis answers and closes");
        let (ours, closed) = Baton::new(false).exchange(case.as_bytes());
        let shown: String = case.chars().take(40).collect();
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{shown:?}");
        assert!(closed, "{shown:?}");
    }
}
