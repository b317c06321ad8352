//! What cannot be compared with Redis: blocking, failing stores, the cluster's view, the session.
//! The replies of ordinary commands are compared with a real Redis in `tests/redis_differential.rs`.

use super::*;
use crate::auth::{ROOT, User, Users};
use crate::resp::context::{Replica, ShardRole, Stats};
use crate::resp::parse::Limits;
use crate::resp::permission::Verdict;
use crate::resp::reply::Proto;
use crate::resp::request::{Route, route};
use crate::resp::session::Ack;
use crate::resp::table::TABLE;
use crate::resp::topology::{NodeTopology, ShardTopology, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// Wall time of all tests.
const NOW_MS: u64 = 1_700_000_000_000;

/// Data in memory; what it refuses is set by the test.
#[derive(Default)]
struct Memory {
    data: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    /// Keys whose value is still on the disk; asked for once, they are here the next time.
    on_disk: BTreeSet<Vec<u8>>,
    refuse: Option<WriteError>,
    writes: usize,
}

impl Memory {
    fn with(keys: &[(&str, &str)]) -> Memory {
        let entry = |(key, value): &(&str, &str)| (key.as_bytes().to_vec(), (value.as_bytes().to_vec(), 0));
        Memory { data: keys.iter().map(entry).collect(), ..Memory::default() }
    }
}

impl Store for Memory {
    fn fetch(&mut self, key: &[u8]) -> Fetch<'_> {
        if self.on_disk.remove(key) {
            return Fetch::Pending;
        }
        match self.data.get(key) {
            Some((value, expiry_ms)) => {
                Fetch::Value { value, expiry_ms: *expiry_ms, revision: Default::default() }
            }
            None => Fetch::Missing,
        }
    }

    fn write(&mut self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        if let Some(error) = self.refuse.take() {
            return Err(error);
        }
        self.writes += 1;
        for write in writes {
            match *write {
                Write::Put { key, value, expiry_ms } => {
                    self.data.insert(key.to_vec(), (value.to_vec(), expiry_ms));
                }
                Write::Delete { key } => {
                    self.data.remove(key);
                }
            }
        }
        Ok(())
    }

    fn wall_ms(&self) -> u64 {
        NOW_MS
    }

    fn key_count(&self) -> u64 {
        self.data.len() as u64
    }

    fn key_count_in_slot(&mut self, slot: u16) -> u64 {
        self.data.keys().filter(|key| engine::slot::slot_of(key) == slot).count() as u64
    }
}

/// Two data nodes, two shards, both led by node `a`.
fn topology() -> Topology {
    let node = |name: &str, index: u8, base: u16| NodeTopology {
        name: name.to_owned(),
        index,
        host: "127.0.0.1".to_owned(),
        any_port: base,
        shard_ports: vec![base + 1, base + 2],
        up: true,
    };
    let shard = |id, slots| ShardTopology {
        id,
        slots,
        leader: Some(0),
        members: vec![0, 1],
        epoch: 3 + u64::from(id),
    };
    Topology {
        group: 0xabc,
        shards: vec![shard(0, (0, 8191)), shard(1, (8192, 16383))],
        nodes: vec![node("a", 0, 7400), node("b", 1, 7500)],
        me: 0,
    }
}

fn session() -> Session {
    Session::new(7, "127.0.0.1:5000".to_owned(), "127.0.0.1:7401".to_owned(), NOW_MS - 3000)
}

struct Bench {
    topology: Topology,
    session: Session,
    store: Memory,
    role: ShardRole,
    users: Option<Users>,
    verdict: Option<Verdict>,
}

impl Bench {
    fn new(store: Memory) -> Bench {
        let (users, verdict) = (None, None);
        Bench { topology: topology(), session: session(), store, role: ShardRole::Leader, users, verdict }
    }

    fn run(&mut self, line: &str) -> (CommandOutcome, String) {
        let request = Request::new(line.split(' ').map(str::as_bytes).collect());
        let ctx = Context {
            large_bytes: usize::MAX,
            limits: &Limits { max_value_bytes: 100, ..Limits::default() },
            users: self.users.as_ref(),
            verdict: self.verdict.as_ref(),
            topology: &self.topology,
            shard: 0,
            role: self.role,
            leader_link_up: true,
            replicas: &[Replica { node: 1, durable_lsn: 4096, in_sync: true }],
            written_lsn: 8192,
            committed_lsn: 4096,
            default_ack: Ack::Durable,
            port: 7401,
            pid: 99,
            uptime_s: 5,
            version: "0.1.0",
            other_keys: 10,
            stats: &Stats::default(),
            clients: &|lines| lines.push_str("id=8 addr=elsewhere\n"),
        };
        let mut out = b"before".to_vec();
        let outcome = execute(&request, &mut self.session, &ctx, &mut self.store, &mut out);
        let text = String::from_utf8(out).expect("test replies are text");
        (outcome, text.strip_prefix("before").expect("what was there stays").to_owned())
    }

    fn reply(&mut self, line: &str) -> String {
        let (outcome, reply) = self.run(line);
        assert_eq!(outcome, CommandOutcome::Done, "{line}");
        reply
    }
}

/// The arity in the table is what the handler indexes by, for every command and subcommand.
#[test]
fn every_command_runs_with_as_few_arguments_as_its_arity_allows() {
    for spec in TABLE.iter().flat_map(|spec| std::iter::once(spec).chain(spec.subs)) {
        let words: Vec<&str> = spec.full_name.split('|').collect();
        for arguments in 0..4 {
            let len = usize::from(spec.arity.unsigned_abs()).max(words.len()) + arguments;
            if !spec.takes(len) {
                continue;
            }
            for argument in ["1", "x"] {
                let mut line = words.clone();
                line.resize(len, argument);
                let mut bench = Bench::new(Memory::with(&[("1", "5")]));
                let (outcome, reply) = bench.run(&line.join(" "));
                assert_eq!(reply.is_empty(), !outcome.replies(), "{line:?}: {reply}");
            }
        }
    }
}

#[test]
fn a_blocked_command_has_done_nothing() {
    #[rustfmt::skip]
    let lines = [
        "GET a", "SET a 1 GET", "SET a 1 KEEPTTL", "GETDEL a", "GETEX a EX 5", "SETNX a 1", "GETSET a 1",
        "MGET b a c", "MSETNX c 1 a 2", "STRLEN a", "APPEND a x", "GETRANGE a 0 1", "SETRANGE a 1 x", "INCR a",
        "INCRBYFLOAT a 1", "DEL b a", "EXISTS b a", "TYPE a", "TTL a", "EXPIRE a 5", "PERSIST a",
    ];
    for line in lines {
        let data = [("a", "5"), ("b", "6")];
        let mut slow = Bench::new(Memory::with(&data));
        slow.store.on_disk.insert(b"a".to_vec());
        assert_eq!(slow.run(line), (CommandOutcome::Blocked, String::new()), "{line}");
        assert_eq!(slow.store.writes, 0, "{line}");
        assert_eq!(slow.session.last_command, "NULL", "{line}");
        let mut fast = Bench::new(Memory::with(&data));
        assert_eq!(slow.run(line), fast.run(line), "{line}");
        assert_eq!(slow.store.data, fast.store.data, "{line}");
    }
}

#[test]
fn several_keys_are_asked_of_the_disk_together() {
    let mut bench = Bench::new(Memory::with(&[("a", "1"), ("b", "2")]));
    bench.store.on_disk = ["a", "b"].map(|key| key.as_bytes().to_vec()).into();
    assert_eq!(bench.run("MGET a b").0, CommandOutcome::Blocked);
    assert!(bench.store.on_disk.is_empty());
    assert_eq!(bench.reply("MGET a b"), "*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
}

#[test]
fn a_full_log_buffer_blocks_and_a_full_disk_is_told() {
    let writes =
        ["SET a 1", "SET a 1 GET", "GETDEL a", "GETSET a 1", "MSET a 1 b 2", "APPEND a x", "INCR a", "DEL a"];
    for line in writes {
        let mut bench = Bench::new(Memory::with(&[("a", "5")]));
        bench.store.refuse = Some(WriteError::Busy);
        assert_eq!(bench.run(line), (CommandOutcome::Blocked, String::new()), "{line}");
        bench.store.refuse = Some(WriteError::DiskFull);
        assert!(bench.reply(line).starts_with("-OOM disk full"), "{line}");
        assert!(!bench.reply(line).starts_with('-'), "{line}");
    }
}

#[test]
fn reserved_keys_are_refused_wherever_they_stand() {
    for line in
        ["GET \0baton/metadata", "SET \0 1", "MGET a \0x", "DEL a b \0", "MSET a 1 \0x 2", "EXPIRE \0 5"]
    {
        let request = Request::new(line.split(' ').map(str::as_bytes).collect());
        let Route::Error(reply) = route(&request) else { panic!("{line:?} is routed") };
        assert_eq!(reply, b"-ERR keys that begin with a zero byte are reserved\r\n", "{line:?}");
    }
    let request = Request::new(["GET", "a\0"].iter().map(|arg| arg.as_bytes()).collect());
    assert!(matches!(route(&request), Route::Keys { .. }));
}

#[test]
fn values_do_not_grow_beyond_the_limit() {
    let mut bench = Bench::new(Memory::with(&[("a", "5")]));
    let refused = "-ERR value is larger than this group's limit of 100 bytes\r\n";
    assert_eq!(bench.reply("SETRANGE a 100 x"), refused);
    assert_eq!(bench.reply(&format!("APPEND a {}", "x".repeat(100))), refused);
    assert_eq!(bench.reply(&format!("APPEND a {}", "x".repeat(99))), ":100\r\n");
}

#[test]
fn routes_tell_keys_and_slots() {
    let of = |line: &str| {
        let request = Request::new(line.split(' ').map(str::as_bytes).collect());
        match route(&request) {
            Route::NoKeys => "none".to_owned(),
            Route::Keys { slot, keys, write } => {
                let all: Vec<_> = keys.map(String::from_utf8_lossy).collect();
                format!("{slot} {} {write} {:?}", all.join(","), keys.same(|slot| slot / 8192))
            }
            Route::Error(reply) => String::from_utf8(reply).expect("text"),
        }
    };
    assert_eq!(of("get foo"), "12182 foo false Some(1)");
    assert_eq!(of("MSET foo 1 bar 2"), "12182 foo,bar true None");
    assert_eq!(of("PING"), "none");
    assert_eq!(of("GET"), "-ERR wrong number of arguments for 'get' command\r\n");
    assert_eq!(of("CLIENT nope"), "-ERR unknown subcommand 'nope'. Try CLIENT HELP.\r\n");
    assert_eq!(of("FOO a b"), "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' \r\n");
}

#[test]
fn every_command_is_found_in_any_case() {
    for spec in crate::resp::table::TABLE {
        let found = crate::resp::table::find(spec.name.to_uppercase().as_bytes()).expect("in the table");
        assert_eq!(found.name, spec.name);
    }
    assert!(crate::resp::table::find(b"nosuch").is_none());
    assert!(crate::resp::table::find(b"").is_none());
}

#[test]
fn the_cluster_has_one_node_per_shard_and_data_node() {
    let mut bench = Bench::new(Memory::default());
    let id = |node: u8, shard: u8| format!("{:032x}{node:04x}{shard:04x}", 0xabc);
    let node = |node: u8, shard: u8, port: u16| {
        format!("*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n{}\r\n*0\r\n", id(node, shard))
    };
    let all = bench.reply("CLUSTER SLOTS");
    let first = format!("*4\r\n:0\r\n:8191\r\n{}{}", node(0, 0, 7401), node(1, 0, 7501));
    let second = format!("*4\r\n:8192\r\n:16383\r\n{}{}", node(0, 1, 7402), node(1, 1, 7502));
    assert_eq!(all, format!("*2\r\n{first}{second}"));
    assert_eq!(bench.reply("CLUSTER MYID"), format!("$40\r\n{}\r\n", id(0, 0)));

    let nodes = bench.reply("CLUSTER NODES");
    let lines: Vec<_> = nodes.lines().skip(1).collect();
    assert_eq!(lines[0], format!("{} 127.0.0.1:7401@17401 myself,master - 0 0 3 connected 0-8191", id(0, 0)));
    assert_eq!(lines[1], format!("{} 127.0.0.1:7501@17501 slave {} 0 0 3 connected", id(1, 0), id(0, 0)));
    assert_eq!(nodes.matches("master").count(), 2);
}

#[test]
fn dead_nodes_leave_the_view_at_once() {
    let mut bench = Bench::new(Memory::default());
    bench.topology.nodes[1].up = false;
    assert!(!bench.reply("CLUSTER SLOTS").contains(":7501"));
    assert!(bench.reply("CLUSTER NODES").contains("slave,fail"));
    bench.topology.nodes[1].up = true;
    bench.topology.nodes[0].up = false;
    assert_eq!(bench.reply("CLUSTER SLOTS"), "*0\r\n");
    assert!(bench.reply("CLUSTER INFO").contains("cluster_state:fail"));
    assert_eq!(bench.topology.moved(1), b"-CLUSTERDOWN Hash slot not served\r\n");
    bench.topology.shards[1].leader = Some(1);
    assert_eq!(bench.topology.moved(9000), b"-MOVED 9000 127.0.0.1:7502\r\n");
}

#[test]
fn hello_changes_the_protocol_only_if_all_of_it_is_right() {
    let mut bench = Bench::new(Memory::default());
    assert!(bench.reply("HELLO 3 SETNAME a\u{1}b").starts_with("-ERR Client names"));
    assert!(bench.reply("HELLO 3 AUTH nobody x").starts_with("-WRONGPASS"));
    assert_eq!(bench.session.proto, Proto::Resp2);
    assert!(bench.reply("HELLO 3 AUTH default any SETNAME me").starts_with("%7\r\n$6\r\nserver\r\n"));
    assert_eq!((bench.session.proto, bench.session.name.as_str()), (Proto::Resp3, "me"));
    assert_eq!(bench.reply("GET nothing"), "_\r\n");
    assert_eq!(bench.reply("RESET"), "+RESET\r\n");
    assert_eq!(bench.reply("GET nothing"), "$-1\r\n");
}

#[test]
fn the_acknowledgement_is_chosen_per_connection() {
    let mut bench = Bench::new(Memory::default());
    assert_eq!(bench.reply("BATON ACK"), "$7\r\ndurable\r\n");
    assert_eq!(bench.reply("baton ack LOCAL"), "+OK\r\n");
    assert_eq!(bench.session.ack, Some(Ack::Local));
    assert!(bench.reply("BATON ACK never").starts_with("-ERR"));
    assert_eq!(bench.reply("BATON ACK default"), "+OK\r\n");
    assert_eq!(bench.session.ack, None);
}

#[test]
fn what_the_node_has_to_do_itself() {
    let mut bench = Bench::new(Memory::default());
    assert_eq!(bench.run("WAIT 1 50").0, CommandOutcome::Wait { replicas: 1, timeout_ms: 50 });
    assert_eq!(bench.run("WAIT -1 0").0, CommandOutcome::Wait { replicas: 0, timeout_ms: 0 });
    assert_eq!(
        bench.run("WAITAOF 1 2 9").0,
        CommandOutcome::WaitAof { local: 1, replicas: 2, timeout_ms: 9 }
    );
    assert!(bench.reply("WAITAOF 2 2 9").starts_with("-ERR"));
    assert_eq!(bench.run("SHUTDOWN NOSAVE NOW"), (CommandOutcome::Shutdown, String::new()));
    assert_eq!(bench.run("QUIT"), (CommandOutcome::Close, "+OK\r\n".to_owned()));
}

#[test]
fn clients_are_listed_and_chosen_by_number() {
    let mut bench = Bench::new(Memory::default());
    bench.reply("CLIENT SETINFO LIB-NAME redis-py");
    let list = bench.reply("CLIENT LIST");
    assert!(list.contains("id=7 addr=127.0.0.1:5000 laddr=127.0.0.1:7401"), "{list}");
    assert!(list.contains("age=3 idle=0") && list.contains("lib-name=redis-py"), "{list}");
    assert!(list.contains("\nid=8 addr=elsewhere\n"), "{list}");
    let chosen = bench.reply("CLIENT LIST ID 8 9");
    assert!(!chosen.contains("id=7") && chosen.contains("id=8"), "{chosen}");
    assert!(bench.reply("CLIENT MAINT_NOTIFICATIONS ON").starts_with("-ERR unknown subcommand"));
}

#[test]
fn the_state_of_the_node_in_the_words_of_redis() {
    let mut bench = Bench::new(Memory::with(&[("a", "1")]));
    let info = bench.reply("INFO");
    for line in ["redis_mode:cluster", "tcp_port:7401", "role:master", "cluster_enabled:1", "db0:keys=11"] {
        assert!(info.lines().any(|l| l == line), "{line} in {info}");
    }
    assert_eq!(bench.reply("INFO cluster"), "$30\r\n# Cluster\r\ncluster_enabled:1\r\n\r\n");
    assert_eq!(bench.reply("DBSIZE"), ":11\r\n");
    let replica = "*3\r\n$9\r\n127.0.0.1\r\n$4\r\n7501\r\n$4\r\n4096\r\n";
    assert_eq!(bench.reply("ROLE"), format!("*3\r\n$6\r\nmaster\r\n:8192\r\n*1\r\n{replica}"));
    bench.role = ShardRole::Follower;
    assert_eq!(
        bench.reply("ROLE"),
        "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:7401\r\n$9\r\nconnected\r\n:8192\r\n"
    );
    assert_eq!(bench.reply("CONFIG GET sav*"), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert_eq!(bench.reply("TIME"), "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n");
}

#[test]
fn the_table_of_commands_is_printed_whole() {
    let mut bench = Bench::new(Memory::default());
    let count = crate::resp::table::TABLE.len();
    assert_eq!(bench.reply("COMMAND COUNT"), format!(":{count}\r\n"));
    assert!(bench.reply("COMMAND").starts_with(&format!("*{count}\r\n*10\r\n$3\r\nget\r\n:2\r\n")));
    let info = bench.reply("COMMAND INFO get nosuch");
    assert!(info.starts_with("*2\r\n*10\r\n$3\r\nget\r\n") && info.ends_with("*-1\r\n"), "{info}");
    assert_eq!(bench.reply("COMMAND GETKEYS MSET a 1 b 2"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_eq!(bench.reply("COMMAND LIST FILTERBY PATTERN mset*"), "*2\r\n$4\r\nmset\r\n$6\r\nmsetnx\r\n");
    assert!(bench.reply("COMMAND DOCS client").contains("client|setname"));
    assert!(bench.reply("CLIENT HELP").starts_with("*10\r\n+CLIENT <subcommand>"));
}

#[test]
fn a_password_is_judged_before_the_connection_has_a_user() {
    let mut bench = Bench::new(Memory::default());
    bench.users = Some(Users::from([(ROOT.to_owned(), User::administrator(String::new()))]));
    assert!(bench.reply("HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    for line in ["AUTH pw", "AUTH root pw", "HELLO 3 AUTH default pw"] {
        bench.session = session();
        bench.verdict = None;
        assert_eq!(bench.run(line), (CommandOutcome::Judge, String::new()), "{line}");
        let verdict = |right| Some(Verdict { user: ROOT.into(), right });
        bench.verdict = verdict(false);
        assert!(bench.reply(line).starts_with("-WRONGPASS"), "{line}");
        assert_eq!((bench.session.user.clone(), bench.session.proto), (None, Proto::Resp2), "{line}");
        bench.verdict = verdict(true);
        assert!(!bench.reply(line).starts_with('-'), "{line}");
        assert_eq!(bench.session.user.as_ref().map(|login| login.user()), Some(ROOT), "{line}");
    }
    assert!(bench.reply("HELLO 2").starts_with("*14\r\n"));
    assert!(bench.reply("CLIENT INFO").contains("user=root"));
    let changed = Users::from([(ROOT.to_owned(), User::administrator("another".to_owned()))]);
    let known = bench.users.replace(changed);
    assert!(bench.reply("HELLO 2").starts_with("-NOAUTH HELLO must be called"));
    bench.users = known;
    bench.reply("RESET");
    assert_eq!(bench.session.user, None);
}
