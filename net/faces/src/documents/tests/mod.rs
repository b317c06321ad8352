//! Whole requests through plan, execution and answer, on two shards of the real engine with disks in memory.

mod collections;
mod documents;
mod import;
mod listings;
mod many;
mod once;
mod random;

use super::*;
use crate::http::{Method, Request, Response};
use crate::store::{Fetch, Store, Write, WriteError};
use engine::error::AppendError;
use engine::ids::{Epoch, GroupId, Revision, ShardId};
use engine::memory::MirrorBuffer;
use engine::recover::recover;
use engine::shard::{Decoded, Found, Op as EngineOp, Shard, ShardOptions, View};
use engine::testing::MemoryDisk;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SHARDS: u16 = 2;
const SEGMENT_BYTES: u64 = 512 << 10;
const MAX_VALUE_BYTES: usize = 64 << 10;
const BUFFER_BYTES: usize = 512 << 10;
const NOW_MS: u64 = 1_700_000_000_000;

/// One shard of a node.
struct Part {
    shard: Shard,
    disk: MemoryDisk,
}

impl Part {
    fn new(id: u16) -> Part {
        let mut disk = MemoryDisk::new(SEGMENT_BYTES);
        let mut options = ShardOptions::new(GroupId(7), ShardId(id));
        options.segment_bytes = SEGMENT_BYTES;
        options.max_value_bytes = MAX_VALUE_BYTES;
        options.cache_bytes = 1 << 20;
        let mut shard = recover(&options, MirrorBuffer::new(BUFFER_BYTES).unwrap(), &disk).unwrap();
        settle(&mut shard, &mut disk);
        shard.begin_epoch(Epoch(3), NOW_MS).unwrap();
        Part { shard, disk }
    }
}

fn settle(shard: &mut Shard, disk: &mut MemoryDisk) {
    while let Some(op) = shard.poll_disk() {
        let done = disk.run(&op, shard);
        shard.disk_done(done).unwrap();
    }
    shard.commit_to(shard.durable());
    shard.apply_some(usize::MAX);
}

/// The data of one shard for one operation. The first look at a key says that it is on the disk.
struct Data<'s> {
    part: &'s mut Part,
    wall_ms: u64,
    blocks: bool,
    looked: &'s mut BTreeSet<Vec<u8>>,
    held: Vec<u8>,
    full: bool,
}

impl Store for Data<'_> {
    fn fetch(&mut self, key: &[u8]) -> Fetch<'_> {
        if self.blocks && self.looked.insert(key.to_vec()) {
            return Fetch::Pending;
        }
        let (at, mut spec) = match self.part.shard.find(key, View::Newest) {
            Found::Missing { .. } => return Fetch::Missing,
            Found::Here { expiry_ms, .. } if expiry_ms != 0 && expiry_ms <= self.wall_ms => {
                return Fetch::Missing;
            }
            Found::Here { value, expiry_ms, revision, .. } => {
                self.held = value.to_vec();
                return Fetch::Value { value: &self.held, expiry_ms, revision };
            }
            Found::OnDisk { at, spec, .. } => (at, spec),
        };
        loop {
            let bytes = self.part.disk.read_blocks(spec);
            match self.part.shard.decode(at, key, &bytes) {
                Decoded::Value { value, expiry_ms, revision } => {
                    self.held = value.to_vec();
                    if expiry_ms != 0 && expiry_ms <= self.wall_ms {
                        return Fetch::Missing;
                    }
                    return Fetch::Value { value: &self.held, expiry_ms, revision };
                }
                Decoded::Missing => return Fetch::Missing,
                Decoded::More(more) => spec = more,
                Decoded::Corrupt => panic!("corrupt"),
            }
        }
    }

    fn write(&mut self, writes: &[Write<'_>]) -> Result<(), WriteError> {
        if self.full {
            return Err(WriteError::DiskFull);
        }
        let ops: Vec<EngineOp<'_>> = writes
            .iter()
            .map(|write| match *write {
                Write::Put { key, value, expiry_ms } => EngineOp::Put { key, value, expiry_ms },
                Write::Delete { key } => EngineOp::Delete { key },
            })
            .collect();
        match self.part.shard.append(&ops, self.wall_ms) {
            Ok(_) => Ok(()),
            Err(AppendError::ValueTooLarge { limit }) => Err(WriteError::ValueTooLarge { limit }),
            Err(AppendError::BatchTooLarge { limit }) => Err(WriteError::BatchTooLarge { limit }),
            Err(AppendError::BufferFull | AppendError::NoSegment) => Err(WriteError::Busy),
            Err(other) => panic!("{other}"),
        }
    }

    fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    fn key_count(&self) -> u64 {
        self.part.shard.key_count()
    }

    fn key_count_in_slot(&mut self, slot: u16) -> u64 {
        self.part.shard.key_count_in_slot(slot)
    }
}

/// A node as far as documents are concerned.
struct Server {
    parts: Vec<Part>,
    metadata: Metadata,
    seed: u64,
    wall_ms: u64,
    /// Values come from the disk.
    blocks: bool,
    /// Writes are acknowledged when they are durable everywhere.
    durable: bool,
    full: bool,
    /// Bytes that operations went through.
    looked: usize,
    /// Keys that are written anew before each step of a scan, on the shards that have them.
    meanwhile: Vec<String>,
    /// The next request breaks off after so many writes.
    only: Option<usize>,
}

impl Server {
    fn new() -> Server {
        Server {
            parts: (0..SHARDS).map(Part::new).collect(),
            metadata: Metadata::default(),
            seed: 1,
            wall_ms: NOW_MS,
            blocks: true,
            durable: true,
            full: false,
            looked: 0,
            meanwhile: Vec::new(),
            only: None,
        }
    }

    /// A server with the collection `c`.
    fn with_c() -> Server {
        let mut server = Server::new();
        server.check("POST /_api/collection", json!({"name": "c"}), 200, Value::Null);
        server
    }

    fn shard_of(&self, slot: u16) -> usize {
        usize::from(slot / (16384 / SHARDS))
    }

    /// Runs something on a shard until it does not block.
    fn run<T>(&mut self, shard: usize, mut f: impl FnMut(&mut dyn Store) -> Option<T>) -> T {
        let mut looked = BTreeSet::new();
        for _ in 0..100 {
            let (wall_ms, blocks, full) = (self.wall_ms, self.blocks, self.full);
            let part = &mut self.parts[shard];
            let mut data = Data { part, wall_ms, blocks, looked: &mut looked, held: Vec::new(), full };
            let done = f(&mut data);
            let Part { shard, disk } = &mut self.parts[shard];
            settle(shard, disk);
            if let Some(done) = done {
                return done;
            }
        }
        panic!("it is blocked for ever");
    }

    fn scan(&mut self, shard: usize, scan: &Scan) -> Done {
        let wall_ms = self.wall_ms;
        let Part { shard, disk } = &mut self.parts[shard];
        let mut job = ScanJob::new(scan.clone(), shard, View::Newest, wall_ms);
        for step in 0.. {
            assert!(step < 10_000, "the scan never ends");
            for key in &self.meanwhile {
                let key = key.as_bytes();
                if !matches!(shard.find(key, View::Newest), Found::Missing { .. }) {
                    let value = json!({"v": "w".repeat(8000), "step": step}).to_string();
                    let op = EngineOp::Put { key, value: value.as_bytes(), expiry_ms: 0 };
                    shard.append(&[op], wall_ms).unwrap();
                    settle(shard, disk);
                }
            }
            match job.step(shard, wall_ms) {
                ScanStep::Read(spec) => {
                    let bytes = disk.read_blocks(spec);
                    job.blocks(shard, Some(&bytes));
                }
                ScanStep::Damaged(_) => job.mended(shard, None),
                ScanStep::Again | ScanStep::NoRoom => settle(shard, disk),
                ScanStep::Done { done, .. } => {
                    settle(shard, disk);
                    return done;
                }
            }
        }
        unreachable!("steps are bounded")
    }

    fn carry_out(&mut self, mut plan: Plan) -> Response {
        loop {
            plan = match plan {
                Plan::Reply(response) => return response,
                Plan::NotMine => return Response::empty(299),
                Plan::Documents(Batch { ops, render, wait_for_sync, .. }) => {
                    let mut all = Vec::new();
                    let writes = |op: &Op| !matches!(op.action, Action::Look | Action::Read { .. });
                    for (slot, op) in &ops {
                        if writes(op) && self.only.is_some_and(|only| all.len() == only) {
                            self.only = None;
                            return Response::empty(599);
                        }
                        let shard = self.shard_of(*slot);
                        let (done, looked) = self.run(shard, |store| match execute(op, store) {
                            OpOutcome::Done { done, looked } => Some((done, looked)),
                            OpOutcome::Blocked => None,
                        });
                        self.looked += looked;
                        all.push(done);
                    }
                    conclude(render, all, self.durable || wait_for_sync)
                }
                Plan::EveryShard(ScanBatch { scan, render, wait_for_sync, .. }) => {
                    let all = (0..self.parts.len()).map(|shard| self.scan(shard, &scan)).collect();
                    conclude(render, all, self.durable || wait_for_sync)
                }
                Plan::WithUsers { users, change: wanted } => {
                    let sealed: Vec<_> = users.into_iter().map(|user| user.seal(&[1; 16])).collect();
                    let (answer, changed) =
                        self.run(0, |store| match with_users(&sealed, Some(&wanted), store) {
                            Changed::Done { answer, metadata } => Some((answer, metadata)),
                            Changed::Blocked => None,
                        });
                    if let Some(changed) = changed {
                        self.metadata = *changed;
                    }
                    return answer;
                }
                Plan::Metadata(wanted) => {
                    let (answer, changed) = self.run(0, |store| match change(&wanted, store) {
                        Changed::Done { answer, metadata } => Some((answer, metadata)),
                        Changed::Blocked => None,
                    });
                    if let Some(changed) = changed {
                        self.metadata = *changed;
                    }
                    return answer;
                }
            };
        }
    }

    fn send(&mut self, request: &Request) -> Response {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        let plan = plan(request, &self.metadata, self.seed, self.wall_ms);
        self.carry_out(plan)
    }

    /// `line` is `METHOD target`, then `name: value` lines.
    fn raw(&mut self, line: &str, body: &[u8]) -> Response {
        let mut lines = line.lines();
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::new(Method::of(method), target);
        for header in lines {
            let (name, value) = header.split_once(": ").unwrap();
            request.headers.push(name.trim(), value);
        }
        request.body = body.to_vec();
        self.send(&request)
    }

    /// Sends a request (no body if it is null) and compares status and body (if that is not null).
    fn check(&mut self, line: &str, body: Value, status: u16, expected: Value) -> Response {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let response = self.raw(line, &body);
        let found: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        assert_eq!(response.status, status, "{line}: {found}");
        if !expected.is_null() {
            assert!(is_like(&expected, &found), "{line}\n expected {expected}\n found    {found}");
        }
        response
    }

    /// An error: status, number, and the four attributes alone.
    fn refused(&mut self, line: &str, body: Value, status: u16, number: u32) {
        let error = json!({"error": true, "code": status, "errorNum": number, "errorMessage": "*"});
        self.check(line, body, status, error);
    }

    fn put(&mut self, key: &[u8], value: &[u8], expiry_ms: u64) {
        let shard = self.shard_of(engine::slot::slot_of(key));
        self.run(shard, |store| store.write(&[Write::Put { key, value, expiry_ms }]).ok());
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let shard = self.shard_of(engine::slot::slot_of(key));
        self.run(shard, |store| match store.fetch(key) {
            Fetch::Value { value, .. } => Some(Some(value.to_vec())),
            Fetch::Missing => Some(None),
            Fetch::Pending => None,
            Fetch::Failed(fault) => panic!("{fault}"),
        })
    }

    fn rev(&mut self, key: &str) -> String {
        let response = self.raw(&format!("GET /_api/document/c/{key}"), b"");
        json_of(&response)["_rev"].as_str().unwrap().to_owned()
    }
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap()
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}

/// Whether `found` is `expected`, where `"*"` stands for any text and `{"...": 0}` allows more attributes.
fn is_like(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::String(any), Value::String(_)) if any == "*" => true,
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().zip(found).all(|(e, f)| is_like(e, f))
        }
        (Value::Object(expected), Value::Object(found)) => {
            let open = expected.contains_key("...");
            let wanted = || expected.iter().filter(|(name, _)| *name != "...");
            (open || wanted().count() == found.len())
                && wanted().all(|(name, e)| found.get(name).is_some_and(|f| is_like(e, f)))
        }
        _ => expected == found,
    }
}

#[test]
fn everything_that_travels_is_send() {
    fn travels<T: Send + std::fmt::Debug + 'static>() {}
    travels::<Plan>();
    travels::<Op>();
    travels::<Scan>();
    travels::<Done>();
    travels::<MetadataChange>();
    travels::<Metadata>();
    assert_eq!(Revision::default().epoch, Epoch(0));
}
