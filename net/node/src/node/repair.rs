//! Damaged frames: fetched from another member by their name, handed to whoever waits for them, and written
//! back (`docs/PROTOCOL.md`, *Repair of damaged frames*). The other side is `lend`.
//!
//! Promises that every repair ends, with the frame or with the error that there would have been, and that what
//! is handed out was checked here. A frame counts as repaired once it is durable in its place. Does not look
//! for damage by itself.

use super::access::{Fetched, FetchedValue};
use super::lanes::Lane;
use super::{Node, ReadFor, Reader, engine_epoch, routing};
use crate::replication::message::{self, HEADER_BYTES, Header, Kind};
use crate::seam::{Action, Landing, LinkId};
use agency::ids::{Nanos, NodeId};
use engine::ids::{Epoch, Lsn};
use engine::limits::{BLOCK, block_ceil, max_frame_bytes};
use engine::mend::{Examined, FrameName, Mend};
use engine::segment::Location;
use engine::shard::Decoded;
use faces::store::ReadFault;
use std::collections::{BTreeMap, VecDeque};

/// Most frames that are being fetched at a time; the others wait for their turn.
const MAX_FETCHES: usize = 4;
/// Frames fetched and not yet written back, in bytes. What is beyond is found again when it is read again.
const MEND_BACKLOG_BYTES: usize = 64 << 20;
/// A member that has not begun to answer for this long is given up.
const ANSWER_PATIENCE: Nanos = Nanos(200_000_000);
/// The same for the rest of its answer.
const BODY_PATIENCE: Nanos = Nanos(2_000_000_000);

/// How a frame was found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Checksum,
    Unreadable,
}

impl Fault {
    /// What a client is told if nobody can help.
    fn told(self) -> ReadFault {
        match self {
            Fault::Checksum => ReadFault::Checksum,
            Fault::Unreadable => ReadFault::Unreadable,
        }
    }
}

/// Who waits for a frame.
enum Waiting {
    Client {
        reader: Reader,
        at: Location,
        key: Box<[u8]>,
    },
    /// A scan of this lane's errand.
    Scan {
        lane: Lane,
        id: u64,
    },
    /// A follower that is fed from the disk.
    Follower {
        node: NodeId,
        link: LinkId,
    },
}

/// The member that is being asked.
struct Asking {
    link: LinkId,
    until: Nanos,
    /// The header of its answer is here, the blocks are on their way.
    body: Option<Header>,
}

/// A frame to be fetched.
struct Repair {
    name: FrameName,
    fault: Fault,
    waiting: Vec<Waiting>,
    /// Members that have not been asked yet, the last one next.
    untried: Vec<NodeId>,
    asking: Option<Asking>,
}

/// A frame to be written back.
struct Spare {
    name: FrameName,
    blocks: Vec<u8>,
    their_committed: Lsn,
}

#[derive(Default)]
enum Mending {
    #[default]
    Idle,
    /// The own blocks of the first spare are being read.
    Reading,
    Writing,
}

/// The repairs of a shard.
#[derive(Default)]
pub(super) struct Repairs {
    open: BTreeMap<Lsn, Repair>,
    spares: VecDeque<Spare>,
    mending: Mending,
    /// Connections on which another member fetches, and when each is closed.
    pub(super) served: BTreeMap<LinkId, Nanos>,
}

impl Repairs {
    /// Whether this connection is for a fetch, ours or another member's.
    pub(super) fn owns(&self, link: LinkId) -> bool {
        self.served.contains_key(&link) || self.asked_on(link).is_some()
    }

    /// When the next connection has taken too long.
    pub(super) fn deadline(&self) -> Nanos {
        let asked = self.open.values().filter_map(|repair| Some(repair.asking.as_ref()?.until));
        asked.chain(self.served.values().copied()).min().unwrap_or(Nanos(u64::MAX))
    }

    fn asked_on(&self, link: LinkId) -> Option<Lsn> {
        let on_it = |repair: &&Repair| repair.asking.as_ref().is_some_and(|asking| asking.link == link);
        self.open.values().find(on_it).map(|repair| repair.name.lsn)
    }
}

impl Node {
    /// A value that a client waits for cannot be read.
    pub(super) fn repair_value(
        &mut self,
        reader: Reader,
        at: Location,
        key: Box<[u8]>,
        fault: Fault,
        out: &mut Vec<Action>,
    ) {
        match self.shard.name_of(at) {
            Some(name) => self.repair(name, fault, Waiting::Client { reader, at, key }),
            None => {
                self.hand_over(reader, Fetched { at, key, found: FetchedValue::Failed(fault.told()) }, out)
            }
        }
    }

    /// A scan found no sound frame at `lsn`. Whether it can be repaired; if so, [`Node::scan_mended`] follows.
    pub(super) fn repair_scanned(&mut self, lane: Lane, id: u64, lsn: Lsn) -> bool {
        let Some(name) = self.shard.name_at(lsn) else { return false };
        self.repair(name, Fault::Checksum, Waiting::Scan { lane, id });
        true
    }

    /// No sound frame at `from`, where a follower is to be fed from the disk on: the frame is longer than what
    /// was read, or it is damaged.
    pub(super) fn catch_up_stopped(
        &mut self,
        node: NodeId,
        link: LinkId,
        from: Lsn,
        bytes: Option<&[u8]>,
        out: &mut Vec<Action>,
    ) {
        let Some(name) = self.shard.name_at(from) else { return };
        let skip = (from.0 % BLOCK) as usize;
        match bytes.map(|bytes| (bytes, self.shard.examine(name, bytes))) {
            Some((_, Examined::More(spec))) => {
                let durable = self.shard.durable().0.saturating_sub(from.0) as usize;
                let len = (spec.len as usize - skip).min(durable);
                let ticket = self.ticket();
                self.reads.insert(ticket, ReadFor::CatchUp { node, link, from, skip, len });
                return out.push(Action::Read { ticket, spec });
            }
            Some((bytes, Examined::Whole(frame))) => {
                return self.send_catch_up(node, link, from, &bytes[skip..skip + frame.len()], out);
            }
            Some((_, Examined::Damaged)) | None => {}
        }
        let fault = if bytes.is_some() { Fault::Checksum } else { Fault::Unreadable };
        self.repair(name, fault, Waiting::Follower { node, link });
    }

    fn repair(&mut self, name: FrameName, fault: Fault, waiting: Waiting) {
        self.clients.stats.damaged_frames += 1;
        if let Some(repair) = self.repairs.open.get_mut(&name.lsn) {
            return repair.waiting.push(waiting);
        }
        let untried = self.who_may_help();
        let repair = Repair { name, fault, waiting: vec![waiting], untried, asking: None };
        self.repairs.open.insert(name.lsn, repair);
    }

    /// The other members, in the reverse of the order in which they are asked.
    fn who_may_help(&self) -> Vec<NodeId> {
        let Some(configuration) = self.update.map(|update| update.configuration) else { return Vec::new() };
        let others = configuration.members.without(self.options.me);
        let mut members: Vec<NodeId> =
            others.iter().filter(|node| !routing::is_gone(&self.view, *node)).collect();
        members.sort_by_key(|node| (*node == configuration.leader, configuration.in_sync.contains(*node)));
        members
    }

    /// What is due at a turn's end.
    pub(super) fn repair_turn(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        for repair in self.repairs.open.values_mut() {
            if let Some(asking) = repair.asking.as_mut().filter(|asking| asking.until <= now) {
                asking.until = Nanos(u64::MAX);
                out.push(Action::LinkClose { link: asking.link });
            }
        }
        self.close_idle_borrowers(out);
        self.ask_next(out);
        self.mend_next(out);
    }

    /// Calls the next member for each frame that may be fetched now; gives up frames that nobody is left for.
    fn ask_next(&mut self, out: &mut Vec<Action>) {
        let mut asked = self.repairs.open.values().filter(|repair| repair.asking.is_some()).count();
        let idle = |repair: &Repair| repair.asking.is_none().then_some(repair.name.lsn);
        for lsn in self.repairs.open.values().filter_map(idle).collect::<Vec<_>>() {
            if asked == MAX_FETCHES {
                return;
            }
            let link = self.link();
            let until = Nanos(self.now.0 + ANSWER_PATIENCE.0);
            let repair = self.repairs.open.get_mut(&lsn).expect("it was just seen");
            match repair.untried.pop() {
                Some(to) => {
                    repair.asking = Some(Asking { link, until, body: None });
                    asked += 1;
                    out.push(Action::LinkConnect { link, to });
                }
                None => self.give_up(lsn, out),
            }
        }
    }

    /// The connection to a member stands: ask.
    pub(super) fn ask_member(&mut self, link: LinkId, out: &mut Vec<Action>) {
        let Some(lsn) = self.repairs.asked_on(link) else { return };
        let name = self.repairs.open[&lsn].name;
        let mut fetch = self.header(Kind::Fetch, self.known_epoch(), name.lsn, name.epoch.0);
        fetch.b = name.blocks.into();
        out.push(Action::LinkSend { link, bytes: fetch.encode() });
        out.push(Action::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
    }

    pub(super) fn known_epoch(&self) -> Epoch {
        self.update.map_or(Epoch(0), |update| engine_epoch(update.configuration.epoch))
    }

    /// Bytes on a connection for a fetch: a request, or a part of an answer.
    pub(super) fn repair_bytes(&mut self, link: LinkId, bytes: &[u8], out: &mut Vec<Action>) {
        let Some(lsn) = self.repairs.asked_on(link) else { return self.fetch_asked(link, bytes, out) };
        let group = message::group_mark(self.options.settings.group);
        let most = block_ceil(max_frame_bytes(self.shard.options().max_value_bytes)) + 2 * BLOCK;
        let repair = self.repairs.open.get_mut(&lsn).expect("it is asked for");
        let Some(asking) = &mut repair.asking else { return };
        if let Some(header) = asking.body {
            return self.blocks_came(lsn, link, Lsn(header.a), bytes, out);
        }
        match Header::decode(bytes, group) {
            Ok(header)
                if header.kind == Kind::Fetched
                    && header.lsn == lsn
                    && (1..=most as usize).contains(&header.body_bytes) =>
            {
                asking.body = Some(header);
                asking.until = Nanos(self.now.0 + BODY_PATIENCE.0);
                out.push(Action::LinkReceive { link, into: Landing::Memory(header.body_bytes) });
            }
            _ => out.push(Action::LinkClose { link }),
        }
    }

    /// What another member has at the frame's place.
    fn blocks_came(
        &mut self,
        lsn: Lsn,
        link: LinkId,
        their_committed: Lsn,
        blocks: &[u8],
        out: &mut Vec<Action>,
    ) {
        out.push(Action::LinkClose { link });
        let name = self.repairs.open[&lsn].name;
        let Examined::Whole(frame) = self.shard.examine(name, blocks) else { return };
        let skip = (lsn.0 % BLOCK) as usize;
        let frame_end = skip + frame.len();
        let Some(blocks) = blocks.get(..block_ceil(frame_end as u64) as usize) else { return };
        let repair = self.repairs.open.remove(&lsn).expect("it is asked for");
        let kept: usize = self.repairs.spares.iter().map(|spare| spare.blocks.len()).sum();
        if kept + blocks.len() <= MEND_BACKLOG_BYTES {
            self.repairs.spares.push_back(Spare { name, blocks: blocks.to_vec(), their_committed });
        }
        for waiting in repair.waiting {
            match waiting {
                Waiting::Client { reader, at, key } => {
                    let found = match self.shard.decode(at, &key, blocks) {
                        Decoded::Value { value, expiry_ms, revision } => {
                            FetchedValue::Value { value: value.to_vec(), expiry_ms, revision }
                        }
                        Decoded::Missing => FetchedValue::OtherKey,
                        Decoded::More(_) | Decoded::Corrupt => FetchedValue::Failed(repair.fault.told()),
                    };
                    self.hand_over(reader, Fetched { at, key, found }, out);
                }
                Waiting::Scan { lane, id } => {
                    self.scan_mended(lane, id, Some(&blocks[skip..frame_end]), out);
                }
                Waiting::Follower { node, link } => {
                    self.send_catch_up(node, link, lsn, &blocks[skip..frame_end], out);
                }
            }
        }
    }

    /// Nobody can help.
    fn give_up(&mut self, lsn: Lsn, out: &mut Vec<Action>) {
        let Some(repair) = self.repairs.open.remove(&lsn) else { return };
        for waiting in repair.waiting {
            match waiting {
                Waiting::Client { reader, at, key } => {
                    let found = FetchedValue::Failed(repair.fault.told());
                    self.hand_over(reader, Fetched { at, key, found }, out);
                }
                Waiting::Scan { lane, id } => self.scan_mended(lane, id, None, out),
                // A committed frame: the learner stays one, and its next call is the next attempt.
                Waiting::Follower { .. } if lsn < self.shard.committed() => {}
                // It may be the only copy. Recovery finds out what the log still is.
                Waiting::Follower { .. } => {
                    self.fail(format!("the disk failed: cannot read the log at LSN {lsn}"), out);
                }
            }
        }
    }

    /// A connection for a fetch is gone.
    pub(super) fn repair_link_closed(&mut self, link: LinkId) {
        self.repairs.served.remove(&link);
        if let Some(lsn) = self.repairs.asked_on(link) {
            self.repairs.open.get_mut(&lsn).expect("it is asked for").asking = None;
        }
    }

    /// Writes fetched frames back, one after the other.
    fn mend_next(&mut self, out: &mut Vec<Action>) {
        if matches!(self.repairs.mending, Mending::Writing) && !self.shard.mending() {
            self.clients.stats.repaired_frames += 1;
            self.repairs.mending = Mending::Idle;
        }
        if !matches!(self.repairs.mending, Mending::Idle) {
            return;
        }
        let Some(Spare { name, blocks, .. }) = self.repairs.spares.front() else { return };
        let len = blocks.len() as u32;
        let Some(spec) = self.shard.place_of(*name) else {
            self.repairs.spares.pop_front();
            return;
        };
        let ticket = self.ticket();
        self.repairs.mending = Mending::Reading;
        self.reads.insert(ticket, ReadFor::Mend);
        out.push(Action::Read { ticket, spec: engine::disk::ReadSpec { len, ..spec } });
    }

    /// The own blocks of the frame that is to be written back. They are read anew, because another frame in
    /// them may have been written back since.
    pub(super) fn mend_read(&mut self, ours: Option<&[u8]>) {
        let Some(Spare { name, blocks, their_committed }) = self.repairs.spares.pop_front() else { return };
        self.repairs.mending = match self.shard.mend(name, &blocks, ours, their_committed) {
            Mend::Writing => Mending::Writing,
            Mend::Sound | Mend::TooEarly => Mending::Idle,
        };
    }
}
