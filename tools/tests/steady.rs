//! What clients and neighbours do is no fault: nobody leads in another's place for it, no copy is given up, and
//! no other client sees an error.

mod common;

use baton_tools::group::disks::Disk;
use baton_tools::group::{RunningGroup, Setup};
use bench::failover::Group;
use bench::resp_client::{Connection, Reply, encode};
use bench::steady::{Look, SteadyGroup};
use common::calm::{Busy, Verdict};
use common::http::ask;
use common::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// What a node touches of its log buffer and its cache only when it first needs it.
const BUFFERS_MIB: u64 = 128;

/// SETs of one bulk load: `BATON_BULK`, or so many as take some seconds.
fn bulk_writes() -> u64 {
    std::env::var("BATON_BULK").map_or(300_000, |text| text.parse().expect("BATON_BULK is a number"))
}

fn open(address: SocketAddr) -> Result<Connection, String> {
    Connection::connect(address, LIMIT).map_err(|error| error.to_string())
}

/// One request, whose answer is no error.
fn call(connection: &mut Connection, words: &[&[u8]]) -> Result<Reply, String> {
    match connection.call(words) {
        Ok(Reply::Error(text)) => Err(text),
        Ok(reply) => Ok(reply),
        Err(error) => Err(error.to_string()),
    }
}

/// Nothing was decided and nobody was started again between two looks.
fn unchanged(before: &Look, after: &Look) {
    let new: Vec<_> = after.history.difference(&before.history).take(12).collect();
    assert_eq!((&after.versions, &after.incarnations), (&before.versions, &before.incarnations), "{new:#?}");
}

fn large_cold_reads(_: &TestGroup, address: SocketAddr) -> Result<(), String> {
    // More than the log buffer and the cache hold, so that the first ones are on the disk only.
    const VALUES: usize = 20;
    let mut connection = open(address)?;
    let value = |n: usize| vec![b'a' + n as u8; 8 * MIB];
    for n in 0..VALUES {
        call(&mut connection, &[b"SET", format!("large:{n}").as_bytes(), &value(n)])?;
    }
    for n in 0..4 {
        let reply = call(&mut connection, &[b"GET", format!("large:{n}").as_bytes()])?;
        if reply != Reply::Bulk(value(n)) {
            return Err(format!("large:{n} came back as something else"));
        }
    }
    Ok(())
}

fn bulk_load(group: &TestGroup, address: SocketAddr) -> Result<(), String> {
    let path = group.scratch().join("bulk");
    let mut bytes = Vec::new();
    for n in 0..bulk_writes() {
        encode(&[b"SET", format!("bulk:{n:08}").as_bytes(), b"a value"], &mut bytes);
    }
    fs::write(&path, bytes).unwrap();
    let mut command = Command::new("redis-cli");
    command.args(["-p", &address.port().to_string(), "--pipe"]).stdin(File::open(&path).unwrap());
    let done = command.output().expect("redis-cli is needed for this test");
    let said = text(&done);
    let wanted = format!("errors: 0, replies: {}", bulk_writes());
    if done.status.success() && said.contains(&wanted) { Ok(()) } else { Err(said.trim().to_owned()) }
}

fn read_many_keys(_: &TestGroup, address: SocketAddr) -> Result<(), String> {
    const KEYS: usize = 500_000;
    let keys: Vec<String> = (0..KEYS).map(|n| format!("bulk:{n:08}")).collect();
    let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain(keys.iter().map(String::as_bytes)).collect();
    let mut connection = open(address)?;
    match call(&mut connection, &words)? {
        Reply::Array(items) if items.len() == KEYS => Ok(()),
        _ => Err("MGET is answered by something else".to_owned()),
    }
}

fn crowd(_: &TestGroup, address: SocketAddr) -> Result<(), String> {
    const CONNECTIONS: usize = 3_000;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before }).unwrap();
    let mut all = Vec::new();
    let mut open = || -> std::io::Result<()> {
        for _ in 0..CONNECTIONS {
            all.push(TcpStream::connect_timeout(&address, LIMIT)?);
        }
        for stream in &mut all {
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"PING\r\n")?;
            stream.read_exact(&mut [0; b"+PONG\r\n".len()])?;
        }
        Ok(())
    };
    let opened = open();
    let reached = all.len();
    drop(all);
    // The groups of other tests begin with the limits of this process.
    setrlimit(Resource::Nofile, before).unwrap();
    opened.map_err(|error| format!("at connection {reached}: {error}"))
}

fn writes_of_a_mebibyte(_: &TestGroup, address: SocketAddr) -> Result<(), String> {
    const WRITERS: usize = 4;
    let write = |writer: usize| {
        let mut connection = open(address)?;
        let value = vec![b'v'; MIB];
        (0..75).try_for_each(|n| {
            call(&mut connection, &[b"SET", format!("mib:{writer}:{}", n % 4).as_bytes(), &value]).map(drop)
        })
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap())
    })
}

fn asks_and_never_reads(_: &TestGroup, address: SocketAddr) -> Result<(), String> {
    let mut connection = TcpStream::connect(address).map_err(|error| error.to_string())?;
    connection.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // 4,000 values of 8 MiB. Being paused is right, and so is being reset.
    let mut requests = Vec::new();
    (0..4_000).for_each(|n| encode(&[b"GET", format!("large:{}", n % 20).as_bytes()], &mut requests));
    let _ = connection.write_all(&requests);
    thread::sleep(Duration::from_secs(3));
    Ok(())
}

fn mixed_benchmarks(_: &TestGroup, address: SocketAddr) -> Result<(), String> {
    let _busy = Busy::start(2);
    let port = address.port().to_string();
    let loads: [&[&str]; 3] = [
        &["-t", "set", "-P", "16", "-c", "20", "-r", "100000"],
        &["-t", "get", "-c", "20", "-r", "100000"],
        &["-t", "set", "-d", "65536", "-c", "4", "-r", "500"],
    ];
    let mut running: Vec<_> = loads
        .iter()
        .map(|words| {
            let mut command = Command::new("redis-benchmark");
            command.args(["-p", &port, "-q", "-l"]).args(*words);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().expect("redis-benchmark is needed for this test")
        })
        .collect();
    thread::sleep(Duration::from_secs(12));
    let mut ended = Ok(());
    for mut child in running.drain(..) {
        // It goes on for ever, unless the server let it down.
        if let Some(status) = child.try_wait().unwrap() {
            ended = Err(format!("redis-benchmark ended: {status}"));
        }
        let _ = child.kill();
        let said = child.wait_with_output().unwrap();
        if !said.stderr.is_empty() {
            ended = Err(String::from_utf8_lossy(&said.stderr).trim().to_owned());
        }
    }
    ended
}

#[test]
fn clients_do_not_unsettle_a_group() {
    let mut group = TestGroup::start_with(12_000, |setup| setup.flags.clear());
    let mut verdict = Verdict::default();
    verdict.during(&mut group, "large cold reads", BUFFERS_MIB + 64, large_cold_reads);
    verdict.during(&mut group, "writes of 1 MiB", BUFFERS_MIB + 64, writes_of_a_mebibyte);
    verdict.during(&mut group, "a bulk load", BUFFERS_MIB + 128, bulk_load);
    verdict.during(&mut group, "500,000 keys in one request", BUFFERS_MIB + 128, read_many_keys);
    verdict.during(&mut group, "3,000 connections", BUFFERS_MIB + 256, crowd);
    verdict.during(&mut group, "a client that never reads", BUFFERS_MIB + 256, asks_and_never_reads);
    verdict.during(&mut group, "mixed benchmarks", BUFFERS_MIB + 128, mixed_benchmarks);
    verdict.give();
}

#[test]
fn who_has_not_said_who_it_is_does_not_unsettle_a_group() {
    let passwords = directory();
    let file = passwords.path().join("password");
    fs::write(&file, "swordfish\n").unwrap();
    let mut group = TestGroup::start_with(12_400, |setup| {
        let file = file.to_str().unwrap();
        setup.flags = ["--auth", "--root-password-file", file].map(str::to_owned).to_vec();
    });
    let leader = group.leader().unwrap();
    let (names, address) = (group.names(), group.resp(&leader));
    let before = group.look().unwrap();
    let mut flood = TcpStream::connect(address).unwrap();
    flood.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let pings = b"*1\r\n$4\r\nPING\r\n".repeat(480_000);
    match flood.write_all(&pings) {
        // Paused, or reset: both are right.
        Ok(()) => {}
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
            ),
            "{error}"
        ),
    }
    thread::sleep(Duration::from_secs(2));
    group.wait_whole();
    let after = group.look().unwrap();
    unchanged(&before, &after);
    for (at, name) in names.iter().enumerate() {
        let (was, peak) = (before.peak_memory[at] >> 20, after.peak_memory[at] >> 20);
        println!("a flood before AUTH: {name} took {was} MiB before, at most {peak} MiB");
        assert!(peak <= was + 16, "{name} took {peak} MiB, {was} before");
    }
    let mut other = group.connect(&leader);
    assert_eq!(other.call(&[b"AUTH", b"root", b"swordfish"]).unwrap(), ok());
    assert_eq!(other.call(&[b"SET", b"k", b"v"]).unwrap(), ok());
}

#[test]
fn a_file_system_with_a_journal_does_not_unsettle_a_group() {
    let place = directory();
    let _disk = Disk::mount(&place.path().join("disk"), &place.path().join("mount")).unwrap();
    let mut group = TestGroup::start_with(12_800, |setup| {
        setup.dir = place.path().join("mount/group");
        setup.flags = ["--segment-mib", "16"].map(str::to_owned).to_vec();
    });
    let mut verdict = Verdict::default();
    verdict.during(&mut group, "values of 100 kB, segments of 16 MiB, ext4", BUFFERS_MIB, |_, address| {
        let mut connection = open(address)?;
        let value = vec![b'v'; 100_000];
        (0..3_000).try_for_each(|n| {
            call(&mut connection, &[b"SET", format!("k{}", n % 50).as_bytes(), &value]).map(drop)
        })
    });
    verdict.give();
}

/// What a driver's tests do: many short connections, a few requests each, by both faces.
fn drive(resp: SocketAddr, http: &str, number: usize, until: Instant) -> Result<(), String> {
    let collection = format!("tests{number}");
    let created = |method, path: &str, body| match ask(method, http, path, &[], &body) {
        Ok(answer) if answer.status < 300 => Ok(()),
        other => Err(format!("{method} {path}: {other:?}")),
    };
    created("POST", "/_api/collection", json!({"name": collection}))?;
    let mut round = 0;
    while Instant::now() < until {
        round += 1;
        let mut connection = open(resp)?;
        for n in 0..20 {
            let key = format!("driver:{number}:{n}");
            call(&mut connection, &[b"SET", key.as_bytes(), format!("{round}").as_bytes()])?;
            if call(&mut connection, &[b"GET", key.as_bytes()])? != bulk(&format!("{round}")) {
                return Err(format!("{key} is not {round}"));
            }
        }
        let key = format!("d{round}");
        created("POST", &format!("/_api/document/{collection}"), json!({"_key": key, "round": round}))?;
        created("GET", &format!("/_api/document/{collection}/{key}"), json!(null))?;
        created("DELETE", &format!("/_api/document/{collection}/{key}"), json!(null))?;
    }
    Ok(())
}

#[test]
fn two_groups_do_not_unsettle_each_other() {
    const DRIVERS: usize = 3;
    let mut one = TestGroup::start(13_200);
    let place = directory();
    let other = Setup::new(BATON.into(), place.path().join("group"), 13_600);
    let mut other = RunningGroup::start(other).unwrap_or_else(|error| panic!("{error}"));
    other.whole(LIMIT).unwrap();
    let before = (one.look().unwrap(), other.look().unwrap());
    let _busy = Busy::start(2);
    let until = Instant::now() + Duration::from_secs(12);
    let errors: Vec<String> = thread::scope(|scope| {
        let mut drivers = Vec::new();
        for group in [&*one, &other] {
            let leader = group.leader().unwrap();
            let node = group.ready().nodes.iter().find(|n| n.name == leader).unwrap();
            let resp: SocketAddr = node.resp.parse().unwrap();
            drivers.extend((0..DRIVERS).map(|n| scope.spawn(move || drive(resp, &node.http, n, until))));
        }
        drivers.into_iter().filter_map(|driver| driver.join().unwrap().err()).collect()
    });
    one.wait_whole();
    other.whole(LIMIT).unwrap();
    let after = (one.look().unwrap(), other.look().unwrap());
    unchanged(&before.0, &after.0);
    unchanged(&before.1, &after.1);
    assert_eq!(errors, Vec::<String>::new());
    other.stop().unwrap();
}

/// Flips a bit in each of these bytes' places in the files of a directory; how many were found.
fn flip(dir: &std::path::Path, marks: &[String]) -> usize {
    let mut flipped = 0;
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            flipped += flip(&entry.path(), marks);
            continue;
        }
        let mut bytes = fs::read(entry.path()).unwrap();
        let mut places = Vec::new();
        for mark in marks {
            places.extend(bytes.windows(mark.len()).position(|w| w == mark.as_bytes()));
        }
        places.iter().for_each(|at| bytes[*at] ^= 1);
        if !places.is_empty() {
            flipped += places.len();
            fs::write(entry.path(), bytes).unwrap();
        }
    }
    flipped
}

#[test]
fn after_an_orderly_stop_a_damaged_disk_costs_nothing() {
    const KEYS: usize = 2_000;
    let mut group = TestGroup::start_with(14_000, |setup| {
        setup.flags = ["--segment-mib", "1"].map(str::to_owned).to_vec()
    });
    let leader = group.leader().unwrap();
    let value = |n: usize| format!("<value number {n:06}>");
    let mut connection = group.connect(&leader);
    for n in 0..KEYS {
        assert_eq!(
            connection.call(&[b"SET", format!("k{n}").as_bytes(), value(n).as_bytes()]).unwrap(),
            ok()
        );
    }
    let history = group.look().unwrap().history;
    let log = group.config_of(&leader).with_file_name("shard-0");
    group.stop();
    let marks: Vec<String> = [3, 700, 1_990].map(value).to_vec();
    assert_eq!(flip(&log, &marks), marks.len(), "in {}", log.display());
    group.start_again();
    group.wait_whole();
    let leader = group.leader().unwrap();
    let mut connection = group.connect(&leader);
    for n in 0..KEYS {
        assert_eq!(connection.call(&[b"GET", format!("k{n}").as_bytes()]).unwrap(), bulk(&value(n)));
    }
    let after = group.look().unwrap().history;
    let new: Vec<_> = after.difference(&history).collect();
    assert!(!new.iter().any(|line| line.ends_with("evicted")), "an orderly stop evicts nobody: {new:#?}");
}
