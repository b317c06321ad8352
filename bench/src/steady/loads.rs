//! What is sent: each load is a thread with one connection, and a pace that leaves the disk room for a long run.

use crate::random::Random;
use crate::resp_client::{Connection, Reply, encode};
use crate::steady::Shared;
use crate::steady::client::Client;
use crate::steady::report::{GET_NAME, Load, SET_NAME};
use crate::workload::{self, Stamp};
use std::io::Write;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Requests of one pipeline.
const PIPELINE: usize = 16;
const SMALL_BYTES: usize = 100;
const MEDIUM_BYTES: usize = 64 << 10;
const LARGE_BYTES: usize = 8 << 20;
/// Keys of each size. The large ones together are more than a node keeps in memory unless told to (log buffer
/// and cache, 64 MiB each), so that most reads of them come from the disk.
const SMALL_KEYS: u64 = 50_000;
const MEDIUM_KEYS: u64 = 256;
const LARGE_KEYS: u64 = 40;
const MANY_KEYS: u64 = 10_000;
/// Keys of the largest request of many keys, which is every [`LARGEST_ONE_IN`]-th.
const LARGEST_MANY: u64 = 100_000;
const LARGEST_ONE_IN: u64 = 20;
/// Keys written and deleted by one request.
const MANY_WRITTEN: u64 = 1_000;
/// One in so many requests for a large value is a write.
const LARGE_WRITE_ONE_IN: u64 = 16;
/// Answers that a slow reader lets wait.
const SLOW_REQUESTS: usize = 64;
/// Pause of a slow reader before it reads at all, and before each further answer.
const SLOW_START: Duration = Duration::from_millis(500);
const SLOW_PAUSE: Duration = Duration::from_millis(20);
/// Writes of a bulk load sent at once, and the pause between two bulk loads.
const BULK_PIECE: u64 = 1_000;
const BULK_PAUSE: Duration = Duration::from_secs(30);

/// The loads that need to be told nothing. The first two are the measure: one small request at a time.
pub const ALL: [fn(&Shared) -> Load; 9] =
    [small_get, small_set, pipeline, pipeline, medium, large, many_keys, slow_reader, slow_reader];

const SMALL: &str = "small";
const MEDIUM: &str = "medium";
const LARGE: &str = "large";
const MANY: &str = "many";

fn is_ok(reply: &Reply) -> Result<(), String> {
    match reply {
        Reply::Simple(text) if text == "OK" => Ok(()),
        other => Err(format!("answered {}", brief(other))),
    }
}

/// Whether a value is one that was written for this key.
fn is_of(key: &str, reply: &Reply) -> Result<(), String> {
    match reply {
        Reply::Bulk(value) => workload::stamp_of(key, value).map(|_| ()).map_err(|e| format!("{key}: {e}")),
        other => Err(format!("{key}: answered {}", brief(other))),
    }
}

/// The beginning of a reply, for people.
fn brief(reply: &Reply) -> String {
    format!("{reply:?}").chars().take(80).collect()
}

fn made(key: &str, sequence: u64, bytes: usize) -> Vec<u8> {
    let mut value = Vec::new();
    workload::value(key, Stamp { writer: 0, sequence }, bytes, &mut value);
    value
}

fn set(client: &mut Client<'_>, key: &str, sequence: u64, bytes: usize) -> bool {
    let value = made(key, sequence, bytes);
    client.call(&[b"SET", key.as_bytes(), &value], is_ok)
}

fn get(client: &mut Client<'_>, key: &str) -> bool {
    client.call(&[b"GET", key.as_bytes()], |reply| is_of(key, reply))
}

/// Writes every key that is read later; stops at the first error, which is counted.
pub fn prepare(client: &mut Client<'_>) {
    client.find_leader();
    let all: Vec<u64> = (0..SMALL_KEYS).collect();
    for chunk in all.chunks(256) {
        let keys: Vec<String> = chunk.iter().map(|n| workload::key(SMALL, *n)).collect();
        let push = |connection: &mut Connection| {
            keys.iter().for_each(|k| connection.push(&[b"SET", k.as_bytes(), &made(k, 1, SMALL_BYTES)]));
        };
        if !client.ask(keys.len(), push, |_, reply| is_ok(reply)) {
            return;
        }
    }
    for (space, keys, bytes) in [(MEDIUM, MEDIUM_KEYS, MEDIUM_BYTES), (LARGE, LARGE_KEYS, LARGE_BYTES)] {
        for number in 0..keys {
            if !set(client, &workload::key(space, number), 1, bytes) {
                return;
            }
        }
    }
}

/// Runs `step` again and again, a pause between, until the end.
fn paced(
    shared: &Shared,
    name: &'static str,
    pause: Duration,
    mut step: impl FnMut(&mut Client<'_>, &mut Random, u64),
) -> Load {
    let mut client = Client::new(shared, name);
    client.find_leader();
    let mut random = Random::new(shared.seed ^ u64::from(crc32fast::hash(name.as_bytes())));
    let mut number = 1;
    while shared.goes_on() {
        number += 1;
        step(&mut client, &mut random, number);
        shared.pause(pause);
    }
    client.done()
}

fn small_get(shared: &Shared) -> Load {
    paced(shared, GET_NAME, Duration::from_millis(1), |client, random, _| {
        get(client, &workload::key(SMALL, random.below(SMALL_KEYS)));
    })
}

fn small_set(shared: &Shared) -> Load {
    paced(shared, SET_NAME, Duration::from_millis(1), |client, random, number| {
        set(client, &workload::key(SMALL, random.below(SMALL_KEYS)), number, SMALL_BYTES);
    })
}

fn pipeline(shared: &Shared) -> Load {
    paced(shared, "pipeline of 16", Duration::from_millis(1), |client, random, number| {
        let draw = |_| (workload::key(SMALL, random.below(SMALL_KEYS)), random.below(2) == 0);
        let batch: Vec<(String, bool)> = (0..PIPELINE).map(draw).collect();
        let push = |connection: &mut Connection| {
            for (key, write) in &batch {
                match write {
                    true => connection.push(&[b"SET", key.as_bytes(), &made(key, number, SMALL_BYTES)]),
                    false => connection.push(&[b"GET", key.as_bytes()]),
                }
            }
        };
        let judge = |at: usize, reply: &Reply| match &batch[at] {
            (_, true) => is_ok(reply),
            (key, false) => is_of(key, reply),
        };
        client.ask(PIPELINE, push, judge);
    })
}

fn medium(shared: &Shared) -> Load {
    paced(shared, "64 KiB", Duration::from_millis(20), |client, random, number| {
        let key = workload::key(MEDIUM, random.below(MEDIUM_KEYS));
        match random.below(2) {
            0 => set(client, &key, number, MEDIUM_BYTES),
            _ => get(client, &key),
        };
    })
}

fn large(shared: &Shared) -> Load {
    paced(shared, "8 MiB", Duration::from_millis(250), |client, random, number| {
        let key = workload::key(LARGE, random.below(LARGE_KEYS));
        match random.below(LARGE_WRITE_ONE_IN) {
            0 => set(client, &key, number, LARGE_BYTES),
            _ => get(client, &key),
        };
    })
}

fn many_keys(shared: &Shared) -> Load {
    paced(shared, "many keys", Duration::from_millis(200), |client, random, number| {
        let keys = |from: u64, count: u64| -> Vec<String> {
            (from..from + count).map(|n| workload::key(MANY, n)).collect()
        };
        let written = keys(random.below(MANY_KEYS - MANY_WRITTEN), MANY_WRITTEN);
        let values: Vec<Vec<u8>> = written.iter().map(|k| made(k, number, SMALL_BYTES)).collect();
        let mut mset: Vec<&[u8]> = vec![b"MSET"];
        for (key, value) in written.iter().zip(&values) {
            mset.extend([key.as_bytes(), value]);
        }
        client.call(&mset, is_ok);
        let asked = keys(0, if number.is_multiple_of(LARGEST_ONE_IN) { LARGEST_MANY } else { MANY_KEYS });
        client.call(&of_keys(b"MGET", &asked), |reply| match reply {
            Reply::Array(items) if items.len() == asked.len() => {
                let mut there = asked.iter().zip(items).filter(|(_, item)| **item != Reply::Null);
                there.try_for_each(|(key, item)| is_of(key, item))
            }
            other => Err(format!("MGET answered {}", brief(other))),
        });
        let is_count = |reply: &Reply| match reply {
            Reply::Integer(0..) => Ok(()),
            other => Err(format!("a count of keys is {}", brief(other))),
        };
        client.call(&of_keys(b"EXISTS", &asked), is_count);
        client.call(&of_keys(b"DEL", &written[..written.len() / 2]), is_count);
    })
}

fn of_keys<'a>(command: &'a [u8], keys: &'a [String]) -> Vec<&'a [u8]> {
    std::iter::once(command).chain(keys.iter().map(String::as_bytes)).collect()
}

/// Asks for more than it soon reads, and reads all of it in the end.
fn slow_reader(shared: &Shared) -> Load {
    paced(shared, "slow reader", SLOW_PAUSE, |client, random, _| {
        let draw = |_| workload::key(MEDIUM, random.below(MEDIUM_KEYS));
        let keys: Vec<String> = (0..SLOW_REQUESTS).map(draw).collect();
        let push = |connection: &mut Connection| {
            keys.iter().for_each(|key| connection.push(&[b"GET", key.as_bytes()]));
        };
        client.ask(SLOW_REQUESTS, push, |at, reply| {
            shared.pause(if at == 0 { SLOW_START } else { SLOW_PAUSE });
            is_of(&keys[at], reply)
        });
    })
}

/// Bulk loads of `writes` each: everything is sent as fast as the socket takes it, as `redis-cli --pipe` does,
/// while the answers are read beside. What is recorded is the duration of a whole bulk load.
pub fn bulk(shared: &Shared, writes: u64) -> Load {
    let mut client = Client::new(shared, "bulk load");
    client.find_leader();
    while shared.goes_on() {
        let begun = Instant::now();
        if let Some(connection) = client.connection() {
            match pipe(shared, connection, writes) {
                Ok(None) => client.record(begun.elapsed()),
                Ok(Some(refusal)) => client.refused(&refusal),
                Err(error) => client.lost(error),
            }
        }
        shared.pause(BULK_PAUSE);
    }
    client.done()
}

/// One bulk load; the first error reply, if there was one. Cut short by the end of the run.
fn pipe(
    shared: &Shared,
    connection: &mut Connection,
    writes: u64,
) -> Result<Option<String>, crate::resp_client::ClientError> {
    let mut out = connection.sender()?;
    std::thread::scope(|scope| {
        let (sender, sent) = mpsc::channel();
        let writer = scope.spawn(move || {
            for piece in 0..writes.div_ceil(BULK_PIECE) {
                let mut bytes = Vec::new();
                for number in piece * BULK_PIECE..(piece + 1) * BULK_PIECE {
                    encode(
                        &[b"SET", format!("bulk:{number:08}").as_bytes(), b"a value of a bulk load"],
                        &mut bytes,
                    );
                }
                out.write_all(&bytes)?;
                let reads_on = sender.send(BULK_PIECE).is_ok();
                if !shared.goes_on() || !reads_on {
                    break;
                }
            }
            Ok::<(), std::io::Error>(())
        });
        let mut refusal = None;
        for count in sent {
            for _ in 0..count {
                match connection.receive()? {
                    Reply::Error(text) => {
                        refusal.get_or_insert(text);
                    }
                    _ => shared.answered(1),
                }
            }
        }
        writer.join().expect("the sender panicked")?;
        Ok(refusal)
    })
}
