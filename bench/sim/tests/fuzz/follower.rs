//! A node among peers that say anything: real messages, mutated ones, in any order, on connections of either
//! direction, over a disk that loses bits and cannot read. Nothing panics, what the node's log holds is a prefix
//! of what its leader wrote, a client gets a value as it was written or an error, and no peer can make the node
//! receive more than a message may have.

use crate::dice::Dice;
use crate::headers::{KINDS, seal};
use agency::configuration::{Configuration, Why};
use agency::ids::{Incarnation, Nanos, NodeId, NodeSet, Version};
use agency::shard::{RequestStatus, ShardUpdate};
use engine::history::EpochHistory;
use engine::ids::{Epoch, GroupId, Lsn, ShardId};
use engine::limits::BLOCK;
use engine::shard::{Op, Shard};
use engine::testing::MemoryDisk;
use node::Node;
use node::events::{Command, ConnId, Face, Landing, Lease, LinkId, Part};
use node::replication::message::{DAMAGED, EAGER, MessageKind, RawHeader, encode_history, group_mark};
use sim::host_config::HostConfig;
use sim::shell::device::Device;
use sim::shell::input::Input;
use sim::shell::open;
use sim::shell::receiver::Receiver;
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: GroupId = GroupId(0xba70);
const ME: NodeId = NodeId(0);
const LEADER: NodeId = NodeId(1);
const CLIENT: ConnId = ConnId(1 << 40);
const SEGMENT_BYTES: u64 = 256 << 10;
const KEYS: usize = 40;
/// Largest body that this scene's nodes have a use for: the longest frame and its neighbours' blocks.
const MOST_RECEIVED: usize = 160 << 10;

fn value(key: usize) -> Vec<u8> {
    vec![b'a' + (key % 26) as u8; 100 + key * 211]
}

fn config() -> Arc<HostConfig> {
    let mut config = open::config_of_two(GROUP);
    config.segment_bytes = SEGMENT_BYTES;
    config.max_value_bytes = 16 << 10;
    config.log_buffer_bytes = 256 << 10;
    config.cache_bytes = 16 << 10;
    config.into()
}

fn engine_over(disk: &MemoryDisk) -> Shard {
    open::engine(&config(), ShardId(0), disk).expect("a disk of our own")
}

fn settle(shard: &mut Shard, disk: &mut MemoryDisk) {
    while let Some(op) = shard.poll_disk() {
        let done = disk.run(&op, shard);
        shard.disk_done(done).expect("the disk in memory does not fail");
    }
}

/// The leader's log: its bytes, where its frames end, and a disk that holds its beginning.
fn leaders_log(dice: &mut Dice) -> (Vec<u8>, Vec<usize>, MemoryDisk) {
    let mut disk = MemoryDisk::new(SEGMENT_BYTES);
    let mut shard = engine_over(&disk);
    settle(&mut shard, &mut disk);
    let (mut log, mut ends, mut kept) = (Vec::new(), vec![0], None);
    shard.begin_epoch(Epoch(1), 1).expect("room");
    for turn in 0..KEYS + dice.below(60) {
        let key = (turn % KEYS).to_le_bytes();
        let put = Op::Put { key: &key, value: &value(turn % KEYS), expiry_ms: 0 };
        shard.append(&[put], 1).expect("room");
        settle(&mut shard, &mut disk);
        shard.commit_to(shard.durable());
        shard.apply_some(2);
        if kept.is_none() && dice.one_in(60) {
            kept = Some(disk.clone());
        }
    }
    let op = shard.pulse().expect("none is under way");
    disk.run(&op, &shard);
    while log.len() < shard.durable().0 as usize {
        let (spec, skip, len) = shard.read_log(Lsn(log.len() as u64), 1 << 20);
        log.extend_from_slice(&disk.read_blocks(spec)[skip..skip + len]);
    }
    while let Some(header) = engine::frame::peek(&log[ends[ends.len() - 1]..]) {
        ends.push(ends[ends.len() - 1] + header.len.get() as usize);
    }
    (log, ends, kept.unwrap_or(disk))
}

struct Scene {
    dice: Dice,
    node: Node,
    disk: Device,
    now: u64,
    configuration: Configuration,
    /// Open connections.
    links: BTreeMap<LinkId, Receiver>,
    /// Frames that the node asked for: the connection and the LSN.
    fetches: BTreeMap<LinkId, Lsn>,
    next_link: u64,
    replies: Vec<u8>,
    failed: bool,
    log: Vec<u8>,
    ends: Vec<usize>,
    /// The disk has lost bits.
    hurt: bool,
}

pub fn case(dice: &mut Dice) {
    let (log, ends, disk) = leaders_log(dice);
    let leads = dice.one_in(4);
    let configuration = Configuration {
        epoch: agency::ids::Epoch(2),
        version: Version(1),
        leader: if leads { ME } else { LEADER },
        leader_incarnation: Incarnation(1),
        in_sync: if leads && dice.one_in(2) { NodeSet::of(&[ME]) } else { NodeSet::of(&[ME, LEADER]) },
        members: NodeSet::of(&[ME, LEADER]),
        why: Why::Founded,
        at_ms: 0,
    };
    let node = open::node(&config(), ME, Incarnation(1), 0, engine_over(&disk));
    let mut scene = Scene {
        dice: Dice::new(dice.word()),
        node,
        disk: Device::new(disk),
        now: 1_000_000,
        configuration,
        links: BTreeMap::new(),
        fetches: BTreeMap::new(),
        next_link: 1 << 32,
        replies: Vec::new(),
        failed: false,
        log,
        ends,
        hurt: false,
    };
    scene.handle(Input::ClientOpened { conn: CLIENT, face: Face::AnyKey, port: 7400 });
    scene.handle(Input::ClientBytes { conn: CLIENT, bytes: b"READONLY\r\n".to_vec() });
    scene.publish();
    scene.replies.clear();
    for _ in 0..40 + dice.below(160) {
        scene.step();
        if scene.failed {
            break;
        }
    }
    if !leads {
        scene.check_log();
    }
}

impl Scene {
    fn publish(&mut self) {
        let configuration = self.configuration;
        let update =
            ShardUpdate { configuration, request: 0, outcome: RequestStatus::None, leader_lost: false };
        self.handle(Input::Update(update));
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0 => self.now += self.dice.below(300_000_000) as u64,
            1 => self.call(),
            2 => self.ask(),
            3 => self.hurt(),
            4 if self.dice.one_in(4) => {
                self.configuration.version.0 += 1;
                self.configuration.epoch.0 += 1;
                self.publish();
            }
            5 if !self.links.is_empty() => {
                let link = self.any_link();
                self.close(link);
            }
            _ => self.talk(),
        }
        self.now += 100_000;
        self.turn(Vec::new());
    }

    fn any_link(&mut self) -> LinkId {
        let place = self.dice.below(self.links.len());
        *self.links.keys().nth(place).expect("inside")
    }

    fn close(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.fetches.remove(&link);
        self.handle(Input::LinkClosed { link });
    }

    /// A peer connects.
    fn call(&mut self) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        let kind = if self.dice.one_in(2) { MessageKind::Fetch } else { MessageKind::Hello };
        let bytes = self.message(kind, Lsn(0));
        self.links.insert(link, Receiver::default());
        self.handle(Input::LinkAccepted { link, header: bytes });
    }

    /// A client reads.
    fn ask(&mut self) {
        let key = self.dice.below(KEYS);
        let mut request = b"*2\r\n$3\r\nGET\r\n$8\r\n".to_vec();
        request.extend_from_slice(&key.to_le_bytes());
        request.extend_from_slice(b"\r\n");
        self.handle(Input::ClientBytes { conn: CLIENT, bytes: request });
    }

    fn hurt(&mut self) {
        let ids: Vec<_> = self.disk.memory.files().map(|(id, _)| id).collect();
        let id = *self.dice.pick(&ids);
        let file = self.disk.memory.file_mut(id).expect("listed");
        let used = file.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let at = self.dice.below(used);
        // Headers and footers are read when the node starts, and the last block is still being written.
        let data = BLOCK as usize..used.saturating_sub(2 * BLOCK as usize);
        if data.contains(&at) {
            file[at] ^= 1 << self.dice.below(8);
            self.hurt = true;
        }
    }

    /// Something arrives on a connection on which the node receives.
    fn talk(&mut self) {
        let open: Vec<_> =
            self.links.iter().filter_map(|(link, receiver)| Some((*link, receiver.wanted()?))).collect();
        if open.is_empty() {
            return;
        }
        let (link, into) = *self.dice.pick(&open);
        let bytes = match into {
            Landing::Log(range) => {
                let from = (range.start.0 as usize).min(self.log.len());
                let mut bytes = self.log[from..(from + range.len).min(self.log.len())].to_vec();
                bytes.resize(range.len, 0);
                if self.dice.one_in(6) {
                    let at = self.dice.below(bytes.len());
                    bytes[at] ^= 1 << self.dice.below(8);
                }
                bytes
            }
            Landing::Memory(64) => {
                let wanted = self.fetches.get(&link).copied();
                let likely =
                    [MessageKind::Welcome, MessageKind::Append, MessageKind::Append, MessageKind::Ack];
                let kind = match wanted {
                    Some(_) if !self.dice.one_in(6) => MessageKind::Fetched,
                    _ if self.dice.one_in(6) => *self.dice.pick(&KINDS),
                    _ => *self.dice.pick(&likely),
                };
                self.message(kind, wanted.unwrap_or_default())
            }
            Landing::Memory(len) => self.body(link, len),
        };
        let receiver = self.links.get_mut(&link).expect("open");
        receiver.arrive(bytes);
        let input = receiver.fill(link, Some(&mut self.node), false).expect("all that is wanted");
        self.handle(input);
    }

    /// A body that was announced: the blocks of a frame, or a history.
    fn body(&mut self, link: LinkId, len: usize) -> Vec<u8> {
        let mut bytes = match self.fetches.get(&link) {
            Some(lsn) => {
                let from = (lsn.0 / BLOCK * BLOCK) as usize;
                self.log[from.min(self.log.len())..(from + len).min(self.log.len())].to_vec()
            }
            None => {
                let entries = vec![(Epoch(1), Lsn(0)), (Epoch(2), Lsn(self.dice.odd_number().max(8)))];
                encode_history(&EpochHistory::from_entries(entries).expect("both rise"))
            }
        };
        bytes.resize(len, 0);
        if self.dice.one_in(4) {
            let at = self.dice.below(len);
            bytes[at] ^= 1 << self.dice.below(8);
        }
        bytes
    }

    /// A header that makes sense, or nearly so.
    fn message(&mut self, kind: MessageKind, wanted: Lsn) -> Vec<u8> {
        let shard = self.node.engine();
        let (tail, durable) = (shard.tail(), shard.durable());
        let epoch = Epoch(self.configuration.epoch.0);
        let (mut lsn, mut a, mut b, mut body) = (tail, durable.0, 0, 0);
        match kind {
            MessageKind::Hello => {
                lsn = Lsn(self.ends[self.dice.below(self.ends.len())] as u64);
                body = if self.dice.one_in(4) { self.dice.below(1 << 22) } else { 16 * self.dice.below(3) };
            }
            MessageKind::Append => {
                let at = self.ends.partition_point(|end| (*end as u64) < tail.0);
                let next = self.ends.get(at + 1 + self.dice.below(4)).copied();
                body = next.unwrap_or(self.log.len()).saturating_sub(tail.0 as usize);
                a = self.dice.below(tail.0 as usize + 1) as u64;
            }
            MessageKind::Ack => b = durable.0.min(a),
            MessageKind::Fetch => {
                lsn = Lsn(self.ends[self.dice.below(self.ends.len())] as u64);
                a = 1 + self.dice.below(2) as u64;
                b = self.dice.below(9) as u64;
            }
            MessageKind::Fetched => {
                lsn = wanted;
                let end =
                    self.ends.iter().find(|end| **end as u64 > lsn.0).copied().unwrap_or_default() as u64;
                body = end.next_multiple_of(BLOCK).saturating_sub(lsn.0 / BLOCK * BLOCK) as usize;
                a = self.dice.below(self.log.len()) as u64;
            }
            MessageKind::Farewell => a = tail.0,
            MessageKind::Refill => {
                lsn = Lsn(self.ends[self.dice.below(self.ends.len())] as u64);
                b = lsn.0 + self.dice.below(1 << 16) as u64;
                a = epoch.0;
            }
            MessageKind::Refilled => {
                lsn = wanted;
                body = self.dice.below(self.log.len());
                b = self.dice.below(2) as u64;
            }
            MessageKind::Welcome | MessageKind::Refuse => {}
        }
        let group = group_mark(GROUP);
        let flags = *self.dice.pick(&[0, 0, EAGER, DAMAGED]);
        let header = RawHeader {
            kind,
            shard: ShardId(0),
            from: 1,
            flags,
            body_bytes: body,
            epoch,
            lsn,
            a,
            b,
            c: 0,
            group,
        };
        let mut bytes = header.encode();
        match self.dice.below(12) {
            0 => {
                let at = self.dice.below(bytes.len());
                bytes[at] ^= 1 << self.dice.below(8);
            }
            1 | 2 => {
                let field = 8 * (1 + self.dice.below(5));
                // Where a follower rewinds to is a frame's end: it takes its leader's word for that.
                let rewind = kind == MessageKind::Welcome && field == 24;
                let word = if !rewind && self.dice.one_in(2) {
                    self.dice.odd_number()
                } else {
                    self.ends[self.dice.below(self.ends.len())] as u64
                };
                bytes[field..field + 8].copy_from_slice(&word.to_le_bytes());
                seal(&mut bytes);
            }
            _ => {}
        }
        bytes
    }

    fn handle(&mut self, input: Input) {
        if self.failed {
            return;
        }
        let mut actions = Vec::new();
        input.hand_to(&mut self.node, Nanos(self.now), &mut actions);
        self.turn(actions);
    }

    fn turn(&mut self, mut actions: Vec<Command>) {
        if self.failed {
            return;
        }
        let lease = Lease { epoch: self.configuration.epoch, until: Nanos(u64::MAX) };
        self.node.finish_turn(Nanos(self.now), self.now / 1_000_000, lease, &mut actions);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Command) {
        match action {
            Command::ClientSend { conn, parts } => {
                self.replies.extend_from_slice(&Part::join(&parts));
                self.check_reply();
                self.handle(Input::ClientSent { conn });
            }
            Command::LinkConnect { link, .. } => {
                self.links.insert(link, Receiver::default());
                self.handle(Input::LinkConnected { link });
            }
            Command::LinkReceive { link, into } => {
                if let Landing::Memory(len) = into {
                    assert!(len <= MOST_RECEIVED, "a peer makes the node receive {len} bytes");
                }
                if let Some(receiver) = self.links.get_mut(&link) {
                    receiver.want(into);
                }
            }
            Command::LinkSend { link, bytes } => {
                if let Ok(header) = RawHeader::decode(&bytes[..64], group_mark(GROUP))
                    && header.kind == MessageKind::Fetch
                {
                    self.fetches.insert(link, header.lsn);
                }
            }
            Command::LinkSendLog { link, range, .. } => self.handle(Input::LinkSentLog { link, range }),
            Command::LinkClose { link } if self.links.contains_key(&link) => self.close(link),
            Command::Disk(op) => {
                let flight = self.disk.submit(op, self.node.engine(), false);
                let done = self.disk.finish(flight).expect("just submitted");
                self.handle(Input::Disk(done));
            }
            Command::Read { ticket, spec } => {
                let fails = self.dice.one_in(24);
                self.hurt |= fails;
                let bytes = self.disk.read(spec).filter(|_| !fails);
                self.handle(Input::ReadDone { ticket, bytes });
            }
            Command::Fail { .. } => self.failed = true,
            Command::LinkClose { .. }
            | Command::ClientPause { .. }
            | Command::ClientClose { .. }
            | Command::ClientReset { .. }
            | Command::Request(_)
            | Command::Mail { .. }
            | Command::Stopped
            | Command::StopNode
            | Command::Warn { .. }
            | Command::Control { .. } => {}
        }
    }

    /// A value that a client got is one that was written. Every key has but one value, and says which.
    fn check_reply(&mut self) {
        for reply in std::mem::take(&mut self.replies).split(|byte| *byte == b'\n') {
            let text = reply.strip_suffix(b"\r").unwrap_or(reply);
            let is_value = text.len() >= 100 && text.iter().all(|byte| *byte == text[0]);
            if is_value {
                let known = (0..KEYS).any(|key| value(key) == text);
                assert!(known, "{} bytes of {}", text.len(), text[0]);
            } else {
                assert!(
                    text.is_empty() || b"$-+*:".contains(&text[0]),
                    "neither a value nor an error: {}",
                    text.escape_ascii()
                );
            }
        }
    }

    /// The node's log is the leader's, as far as it goes.
    fn check_log(&self) {
        let shard = self.node.engine();
        assert!(shard.tail().0 as usize <= self.log.len() && self.ends.contains(&(shard.tail().0 as usize)));
        let mut at = 0;
        while at < shard.durable().0 && !self.hurt && !shard.rewinding() {
            let (spec, skip, len) = shard.read_log(Lsn(at), 1 << 20);
            let bytes = self.disk.memory.read_blocks(spec);
            let same = bytes[skip..skip + len] == self.log[at as usize..at as usize + len];
            assert!(same, "another log than the leader's at {at}");
            at += len as u64;
        }
    }
}
