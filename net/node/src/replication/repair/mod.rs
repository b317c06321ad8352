//! Damaged frames: fetched from another member by their name, handed to whoever waits for them, and written
//! back (`docs/PROTOCOL.md`, *Repair of damaged frames*). The other side is `serve`.
//!
//! Promises that every repair ends, with the frame or with the error that there would have been, and that what
//! is handed out was checked here. A frame counts as repaired once it is durable in its place. Does not look
//! for damage by itself.

pub(crate) mod refill;
mod serve;

use super::links::LinkOwner;
use super::message::{self, Envelope, Fetch, Fetched, HEADER_BYTES, Message};
use crate::events::{Command, Landing};
use crate::failure::Failure;
use crate::ids::{Lane, LinkId};
use crate::reads::{ReadFor, Reader};
use crate::shared::Context;
use crate::store::{FetchedValue, ValueRead};
use agency::ids::{Nanos, NodeId};
use engine::ids::Lsn;
use engine::limits::{BLOCK, block_ceil, max_frame_bytes};
use engine::mend::{Examined, FrameName, Mend};
use engine::segment::Location;
use engine::shard::Decoded;
use faces::store::ReadFault;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Most frames that are being fetched at a time; the others wait for their turn.
const MAX_FETCHES: usize = 4;
/// Frames fetched and not yet written back, in bytes. What is beyond is found again when it is read again.
const MEND_BACKLOG_BYTES: usize = 64 << 20;
/// A member that has not begun to answer for this long is given up.
const ANSWER_PATIENCE: Duration = Duration::from_millis(200);
/// The same for the rest of its answer.
const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// How a frame was found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
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
#[derive(Debug)]
enum Waiting {
    Value {
        reader: Reader,
        at: Location,
        key: Box<[u8]>,
    },
    /// A scan of this lane's sub-request.
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

/// What came of a repair, for one who waited for it.
#[derive(Debug)]
pub(crate) enum Repaired {
    Value {
        reader: Reader,
        value: ValueRead,
    },
    /// `None`: nobody has the frame.
    Scan {
        lane: Lane,
        id: u64,
        frame: Option<Vec<u8>>,
    },
    /// The sound frame at this LSN, for a follower.
    Frames {
        node: NodeId,
        link: LinkId,
        from: Lsn,
        frame: Vec<u8>,
    },
}

/// The member that is being asked.
struct Asking {
    link: LinkId,
    until: Nanos,
    /// The header of its answer is here, the blocks are on their way.
    answer: Option<Fetched>,
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
pub(crate) struct Repairs {
    open: BTreeMap<Lsn, Repair>,
    spares: VecDeque<Spare>,
    mending: Mending,
    /// Connections on which another member fetches, and when each is closed.
    served: BTreeMap<LinkId, Nanos>,
    /// What came of repairs, for the node to hand over.
    ready: VecDeque<Repaired>,
}

impl Repairs {
    /// When the next connection has taken too long.
    pub fn deadline(&self) -> Nanos {
        let asked = self.open.values().filter_map(|repair| Some(repair.asking.as_ref()?.until));
        asked.chain(self.served.values().copied()).min().unwrap_or(Nanos(u64::MAX))
    }

    /// The next result that is to be handed over.
    pub fn take_ready(&mut self) -> Option<Repaired> {
        self.ready.pop_front()
    }

    /// A value that somebody waits for cannot be read.
    pub fn value(
        &mut self,
        reader: Reader,
        at: Location,
        key: Box<[u8]>,
        fault: Fault,
        cx: &mut Context<'_>,
    ) {
        match cx.shard.name_of(at) {
            Some(name) => self.begin(name, fault, Waiting::Value { reader, at, key }, cx),
            None => {
                let value = ValueRead { at, key, found: FetchedValue::Failed(fault.told()) };
                self.ready.push_back(Repaired::Value { reader, value });
            }
        }
    }

    /// A scan found no sound frame at `lsn`. Whether it can be repaired; if so, [`Repaired::Scan`] follows.
    pub fn scanned(&mut self, lane: Lane, id: u64, lsn: Lsn, cx: &mut Context<'_>) -> bool {
        let Some(name) = cx.shard.name_at(lsn) else { return false };
        self.begin(name, Fault::Checksum, Waiting::Scan { lane, id }, cx);
        true
    }

    /// No sound frame at `from`, where a follower is to be fed from the disk on: the frame is longer than what
    /// was read, or it is damaged.
    pub fn catch_up_stopped(
        &mut self,
        node: NodeId,
        link: LinkId,
        from: Lsn,
        bytes: Option<&[u8]>,
        cx: &mut Context<'_>,
    ) {
        let Some(name) = cx.shard.name_at(from) else { return };
        let skip = (from.0 % BLOCK) as usize;
        match bytes.map(|bytes| (bytes, cx.shard.examine(name, bytes))) {
            Some((_, Examined::More(spec))) => {
                let durable = cx.shard.durable().0.saturating_sub(from.0) as usize;
                let len = (spec.len as usize - skip).min(durable);
                return cx.read(ReadFor::CatchUp { node, link, from, skip, len }, spec);
            }
            Some((bytes, Examined::Whole(frame))) => {
                let frame = bytes[skip..skip + frame.len()].to_vec();
                return self.ready.push_back(Repaired::Frames { node, link, from, frame });
            }
            Some((_, Examined::Damaged)) | None => {}
        }
        let fault = if bytes.is_some() { Fault::Checksum } else { Fault::Unreadable };
        self.begin(name, fault, Waiting::Follower { node, link }, cx);
    }

    fn begin(&mut self, name: FrameName, fault: Fault, waiting: Waiting, cx: &mut Context<'_>) {
        cx.stats.damaged_frames += 1;
        if let Some(repair) = self.open.get_mut(&name.lsn) {
            return repair.waiting.push(waiting);
        }
        let untried = who_may_help(cx);
        let repair = Repair { name, fault, waiting: vec![waiting], untried, asking: None };
        self.open.insert(name.lsn, repair);
    }

    /// What is due at a turn's end.
    pub fn turn(&mut self, cx: &mut Context<'_>) {
        let now = cx.clock.now;
        for repair in self.open.values_mut() {
            if let Some(asking) = repair.asking.as_mut().filter(|asking| asking.until <= now) {
                asking.until = Nanos(u64::MAX);
                cx.out.push(Command::LinkClose { link: asking.link });
            }
        }
        self.close_idle_askers(cx);
        self.ask_next(cx);
        self.mend_next(cx);
    }

    /// Calls the next member for each frame that may be fetched now; gives up frames that nobody is left for.
    fn ask_next(&mut self, cx: &mut Context<'_>) {
        let mut asked = self.open.values().filter(|repair| repair.asking.is_some()).count();
        let idle = |repair: &Repair| repair.asking.is_none().then_some(repair.name.lsn);
        for lsn in self.open.values().filter_map(idle).collect::<Vec<_>>() {
            if asked == MAX_FETCHES {
                return;
            }
            let repair = self.open.get_mut(&lsn).expect("it was just seen");
            match repair.untried.pop() {
                Some(to) => {
                    let link = cx.tickets.link();
                    let until = cx.clock.now + ANSWER_PATIENCE;
                    repair.asking = Some(Asking { link, until, answer: None });
                    cx.links.own(link, LinkOwner::Repair(lsn));
                    asked += 1;
                    cx.out.push(Command::LinkConnect { link, to });
                }
                None => self.give_up(lsn, cx),
            }
        }
    }

    /// The repair that asks on this connection, if it still does.
    fn asked_on(&mut self, link: LinkId, lsn: Lsn) -> Option<&mut Repair> {
        let on_it = |repair: &&mut Repair| repair.asking.as_ref().is_some_and(|asking| asking.link == link);
        self.open.get_mut(&lsn).filter(on_it)
    }

    /// The connection to a member stands: ask.
    pub fn connected(&mut self, link: LinkId, lsn: Lsn, cx: &mut Context<'_>) {
        let Some(FrameName { lsn, epoch, blocks }) = self.asked_on(link, lsn).map(|repair| repair.name)
        else {
            return;
        };
        let fetch = Message::Fetch(Fetch { at: lsn, frame_epoch: epoch, blocks });
        cx.out.push(Command::LinkSend { link, bytes: super::header(cx.group.epoch(), fetch, cx) });
        cx.out.push(Command::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
    }

    /// A part of an answer.
    pub fn answered(&mut self, link: LinkId, lsn: Lsn, bytes: &[u8], cx: &mut Context<'_>) {
        let group = message::group_mark(cx.options.settings.group);
        let most = block_ceil(max_frame_bytes(cx.shard.options().max_value_bytes)) + 2 * BLOCK;
        let Some(asking) = self.asked_on(link, lsn).and_then(|repair| repair.asking.as_mut()) else { return };
        if let Some(answer) = asking.answer {
            return self.blocks_came(lsn, link, answer.committed, bytes, cx);
        }
        match Envelope::decode(bytes, group).map(|envelope| envelope.message) {
            Ok(Message::Fetched(answer))
                if answer.at == lsn && (1..=most as usize).contains(&answer.blocks_bytes) =>
            {
                asking.answer = Some(answer);
                asking.until = cx.clock.now + BODY_PATIENCE;
                cx.out.push(Command::LinkReceive { link, into: Landing::Memory(answer.blocks_bytes) });
            }
            _ => cx.out.push(Command::LinkClose { link }),
        }
    }

    /// What another member has at the frame's place.
    fn blocks_came(
        &mut self,
        lsn: Lsn,
        link: LinkId,
        their_committed: Lsn,
        blocks: &[u8],
        cx: &mut Context<'_>,
    ) {
        cx.out.push(Command::LinkClose { link });
        let name = self.open[&lsn].name;
        let Examined::Whole(frame) = cx.shard.examine(name, blocks) else { return };
        let skip = (lsn.0 % BLOCK) as usize;
        let frame_end = skip + frame.len();
        let Some(blocks) = blocks.get(..block_ceil(frame_end as u64) as usize) else { return };
        let repair = self.open.remove(&lsn).expect("it is asked for");
        let kept: usize = self.spares.iter().map(|spare| spare.blocks.len()).sum();
        if kept + blocks.len() <= MEND_BACKLOG_BYTES {
            self.spares.push_back(Spare { name, blocks: blocks.to_vec(), their_committed });
        }
        let frame = &blocks[skip..frame_end];
        for waiting in repair.waiting {
            self.ready.push_back(match waiting {
                Waiting::Value { reader, at, key } => {
                    let found = match cx.shard.decode(at, &key, blocks) {
                        Decoded::Value { value, expiry_ms, revision } => FetchedValue::Value {
                            value: std::sync::Arc::new(value.to_vec()),
                            expiry_ms,
                            revision,
                        },
                        Decoded::Missing => FetchedValue::OtherKey,
                        Decoded::More(_) | Decoded::Corrupt => FetchedValue::Failed(repair.fault.told()),
                    };
                    Repaired::Value { reader, value: ValueRead { at, key, found } }
                }
                Waiting::Scan { lane, id } => Repaired::Scan { lane, id, frame: Some(frame.to_vec()) },
                Waiting::Follower { node, link } => {
                    Repaired::Frames { node, link, from: lsn, frame: frame.to_vec() }
                }
            });
        }
    }

    /// Nobody can help.
    fn give_up(&mut self, lsn: Lsn, cx: &mut Context<'_>) {
        let Some(repair) = self.open.remove(&lsn) else { return };
        for waiting in repair.waiting {
            match waiting {
                Waiting::Value { reader, at, key } => {
                    let value = ValueRead { at, key, found: FetchedValue::Failed(repair.fault.told()) };
                    self.ready.push_back(Repaired::Value { reader, value });
                }
                Waiting::Scan { lane, id } => self.ready.push_back(Repaired::Scan { lane, id, frame: None }),
                // A committed frame: the learner stays one, and its next call is the next attempt.
                Waiting::Follower { .. } if lsn < cx.shard.committed() => {}
                // It may be the only copy. Recovery finds out what the log still is.
                Waiting::Follower { .. } => cx.fail(Failure::LogUnreadable { at: lsn }),
            }
        }
    }

    /// A connection for a fetch of ours is gone.
    pub fn link_closed(&mut self, link: LinkId, lsn: Lsn) {
        if let Some(repair) = self.asked_on(link, lsn) {
            repair.asking = None;
        }
    }

    /// Writes fetched frames back, one after the other.
    fn mend_next(&mut self, cx: &mut Context<'_>) {
        if matches!(self.mending, Mending::Writing) && !cx.shard.mending() {
            cx.stats.repaired_frames += 1;
            self.mending = Mending::Idle;
        }
        if !matches!(self.mending, Mending::Idle) {
            return;
        }
        let Some(Spare { name, blocks, .. }) = self.spares.front() else { return };
        let len = blocks.len() as u32;
        let Some(spec) = cx.shard.place_of(*name) else {
            self.spares.pop_front();
            return;
        };
        self.mending = Mending::Reading;
        cx.read(ReadFor::Mend, engine::disk::ReadSpec { len, ..spec });
    }

    /// The own blocks of the frame that is to be written back. They are read anew, because another frame in
    /// them may have been written back since.
    pub fn mend_read(&mut self, ours: Option<&[u8]>, cx: &mut Context<'_>) {
        let Some(Spare { name, blocks, their_committed }) = self.spares.pop_front() else { return };
        self.mending = match cx.shard.mend(name, &blocks, ours, their_committed) {
            Mend::Writing => Mending::Writing,
            Mend::Sound | Mend::TooEarly => Mending::Idle,
        };
    }

    /// What must hold whenever a turn ends: see `Node::invariants`.
    pub fn invariants(&self) {
        let asked = self.open.values().filter(|repair| repair.asking.is_some()).count();
        assert!(asked <= MAX_FETCHES, "{asked} frames are fetched at a time");
        assert!(self.served.len() <= serve::MAX_SERVED, "{} members are served", self.served.len());
        assert!(self.ready.is_empty(), "what came of a repair was not handed over");
        let kept: usize = self.spares.iter().map(|spare| spare.blocks.len()).sum();
        assert!(kept <= MEND_BACKLOG_BYTES, "{kept} bytes wait to be written back");
    }
}

/// The other members, in the reverse of the order in which they are asked.
fn who_may_help(cx: &Context<'_>) -> Vec<NodeId> {
    let Some(configuration) = cx.group.configuration() else { return Vec::new() };
    let others = configuration.members.without(cx.options.me);
    let mut members: Vec<NodeId> = others.iter().filter(|node| !cx.group.is_gone(*node)).collect();
    members.sort_by_key(|node| (*node == configuration.leader, configuration.in_sync.contains(*node)));
    members
}
