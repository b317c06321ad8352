//! The messages of the replication protocol: a struct for each kind, the 64-byte header that all of them have in
//! common, and the body of a hello.
//!
//! Promises: decoding never panics and accepts only what is whole and checksummed. Knows nothing of
//! connections or of what a message leads to.

use super::peer::Cursors;
use engine::history::EpochHistory;
use engine::ids::{Epoch, GroupId, Lsn, ShardId};
use engine::limits::{BLOCK, MAX_VALUE_BYTES, block_ceil, max_frame_bytes};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of every header.
pub const HEADER_BYTES: usize = 64;
/// Largest body: whatever a node stores fits into one.
pub const MAX_BODY_BYTES: usize = engine::limits::MAX_BODY_BYTES;
/// Most (epoch, start) pairs in a hello.
pub const MAX_HISTORY: usize = 4096;

const MAGIC: [u8; 4] = *b"BTNR";
const VERSION: u8 = 1;
const CHECKED_BYTES: usize = 60;
const HISTORY_ENTRY_BYTES: usize = 16;
/// Longest body of a hello.
pub const MAX_HISTORY_BYTES: usize = MAX_HISTORY * HISTORY_ENTRY_BYTES;

const _: () = assert!(MAX_HISTORY_BYTES <= MAX_BODY_BYTES);
// A frame as it is fetched: with the rest of the first block, of the last, and one more where it was cut.
const _: () = assert!(
    block_ceil(max_frame_bytes(MAX_VALUE_BYTES)) + 2 * BLOCK <= MAX_BODY_BYTES as u64,
    "a frame of the largest value is a body"
);

/// Flag of an append: the leader wants receipts, not only durability, acknowledged.
pub const EAGER: u8 = 1;
/// Flag of a hello: the follower found corruption before its durable mark.
pub const DAMAGED: u8 = 2;
/// Flag of an append: the leader's own disk stands still, and whoever could replace it is to show that its own moves.
pub const DOUBTS: u8 = 4;
/// Flag of an ack: the follower's disk stands still.
pub const STANDS: u8 = 8;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageKind {
    Hello = 1,
    Welcome = 2,
    Refuse = 3,
    Append = 4,
    Ack = 5,
    /// Asks for one frame by its name; on a connection of its own.
    Fetch = 6,
    /// The blocks that hold it, or no body.
    Fetched = 7,
    Farewell = 8,
    /// Asks for the frames of a lost log; on a connection of its own.
    Refill = 9,
    /// Some of them.
    Refilled = 10,
}

/// Why a leader refuses a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum RefusalReason {
    NotLeader = 1,
    LogGone = 2,
}

/// The fixed header as it lies on the wire. What `lsn`, `a`, `b` and `c` mean depends on the kind ([`Message`] knows). For
/// this module, and for tests that forge what no node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeader {
    pub kind: MessageKind,
    pub shard: ShardId,
    pub from: u8,
    pub flags: u8,
    pub body_bytes: usize,
    pub epoch: Epoch,
    pub lsn: Lsn,
    pub a: u64,
    pub b: u64,
    pub c: u32,
    pub group: u64,
}

/// Why bytes are not a header of this group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("not a replication message")]
    Magic,
    #[error("replication protocol version {0}, this node speaks {VERSION}")]
    Version(u8),
    #[error("header checksum does not match")]
    Checksum,
    #[error("unknown message kind {0}")]
    Kind(u8),
    #[error("body of {0} bytes, at most {MAX_BODY_BYTES} are allowed")]
    Body(u32),
    #[error("another group's node")]
    Group,
    #[error("unknown reason {0} of a refusal")]
    Reason(u64),
}

/// A follower presents itself: its log, and what follows as the body ([`encode_history`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The end of its log.
    pub end: Lsn,
    /// The end of what is on its disk.
    pub durable: Lsn,
    /// The epoch of its last frame.
    pub last_epoch: Epoch,
    /// It found corruption before its durable mark.
    pub damaged: bool,
    pub history_bytes: usize,
}

/// The leader takes a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The last point that both logs share: streaming starts here.
    pub common: Lsn,
    pub committed: Lsn,
}

/// Whoever was called does not take the follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refuse {
    pub reason: RefusalReason,
}

/// Whole frames follow as the body; without any it is a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append {
    /// The place of the first frame.
    pub at: Lsn,
    pub committed: Lsn,
    /// Receipts are to be acknowledged, not only durability.
    pub eager: bool,
    /// The leader's disk stands still: the follower is to show whether its own moves.
    pub doubts: bool,
    pub frames_bytes: usize,
}

/// How far a follower is, and how its disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub cursors: Cursors,
    pub disk: DiskSign,
}

/// How the disk of a node does, by its hot writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSign {
    /// How many ended well in this life; wraps.
    pub beats: u32,
    /// The oldest under way has been so for longer than a disk takes that moves.
    pub stands: bool,
}

/// Asks for one frame by its name; on a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub at: Lsn,
    /// The epoch of the frame.
    pub frame_epoch: Epoch,
    /// How many blocks it touches, as `engine::mend::FrameName` counts them.
    pub blocks: u8,
}

/// The blocks that hold the frame follow as the body, or nothing: it is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub at: Lsn,
    pub committed: Lsn,
    pub blocks_bytes: usize,
}

/// The leader ends in order, together with the whole group: its last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The end of the log, which the follower confirmed.
    pub end: Lsn,
    pub committed: Lsn,
}

/// Asks for what was lost with the log from `at` on; on a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    pub at: Lsn,
    /// The lost log is the one whose byte before `until` is of this epoch.
    pub lost_epoch: Epoch,
    pub until: Lsn,
}

/// Whole frames from `at` on follow as the body, or nothing: there are no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refilled {
    pub at: Lsn,
    pub committed: Lsn,
    /// The sender holds the log that was lost.
    pub holds: bool,
    pub frames_bytes: usize,
}

/// What one node says to another about a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    Hello(Hello),
    Welcome(Welcome),
    Refuse(Refuse),
    Append(Append),
    Ack(Ack),
    Fetch(Fetch),
    Fetched(Fetched),
    Farewell(Farewell),
    Refill(Refill),
    Refilled(Refilled),
}

/// Who says it, of which shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    pub shard: ShardId,
    /// The sender's number among the members.
    pub from: u8,
    /// See [`group_mark`].
    pub group: u64,
}

/// A message with what all of them carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub sender: Sender,
    /// The epoch that the sender knows for the shard.
    pub epoch: Epoch,
    pub message: Message,
}

impl Sender {
    /// The header of a message; its body follows.
    pub fn encode(self, epoch: Epoch, message: Message) -> Vec<u8> {
        Envelope { sender: self, epoch, message }.raw().encode()
    }
}

impl Envelope {
    /// Reads the header of a message of the group marked `group`.
    pub fn decode(bytes: &[u8], group: u64) -> Result<Envelope, HeaderError> {
        let raw = RawHeader::decode(bytes, group)?;
        let message = match raw.kind {
            MessageKind::Hello => Message::Hello(Hello {
                end: raw.lsn,
                durable: Lsn(raw.a),
                last_epoch: Epoch(raw.b),
                damaged: raw.flags & DAMAGED != 0,
                history_bytes: raw.body_bytes,
            }),
            MessageKind::Welcome => Message::Welcome(Welcome { common: raw.lsn, committed: Lsn(raw.a) }),
            MessageKind::Refuse => Message::Refuse(Refuse {
                reason: RefusalReason::of(raw.a).ok_or(HeaderError::Reason(raw.a))?,
            }),
            MessageKind::Append => Message::Append(Append {
                at: raw.lsn,
                committed: Lsn(raw.a),
                eager: raw.flags & EAGER != 0,
                doubts: raw.flags & DOUBTS != 0,
                frames_bytes: raw.body_bytes,
            }),
            MessageKind::Ack => Message::Ack(Ack {
                cursors: Cursors { received: raw.lsn, durable: Lsn(raw.a), applied: Lsn(raw.b) },
                disk: DiskSign { beats: raw.c, stands: raw.flags & STANDS != 0 },
            }),
            MessageKind::Fetch => Message::Fetch(Fetch {
                at: raw.lsn,
                frame_epoch: Epoch(raw.a),
                blocks: u8::try_from(raw.b).unwrap_or(u8::MAX),
            }),
            MessageKind::Fetched => {
                Message::Fetched(Fetched { at: raw.lsn, committed: Lsn(raw.a), blocks_bytes: raw.body_bytes })
            }
            MessageKind::Farewell => Message::Farewell(Farewell { end: raw.lsn, committed: Lsn(raw.a) }),
            MessageKind::Refill => {
                Message::Refill(Refill { at: raw.lsn, lost_epoch: Epoch(raw.a), until: Lsn(raw.b) })
            }
            MessageKind::Refilled => Message::Refilled(Refilled {
                at: raw.lsn,
                committed: Lsn(raw.a),
                holds: raw.b != 0,
                frames_bytes: raw.body_bytes,
            }),
        };
        let sender = Sender { shard: raw.shard, from: raw.from, group: raw.group };
        Ok(Envelope { sender, epoch: raw.epoch, message })
    }

    /// The fixed header that says the same.
    pub fn raw(&self) -> RawHeader {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let (kind, flags, body_bytes, lsn, a, b) = match self.message {
            Message::Hello(Hello { end, durable, last_epoch, damaged, history_bytes }) => {
                (MessageKind::Hello, flag(damaged, DAMAGED), history_bytes, end, durable.0, last_epoch.0)
            }
            Message::Welcome(Welcome { common, committed }) => {
                (MessageKind::Welcome, 0, 0, common, committed.0, 0)
            }
            Message::Refuse(Refuse { reason }) => (MessageKind::Refuse, 0, 0, Lsn(0), reason as u64, 0),
            Message::Append(Append { at, committed, eager, doubts, frames_bytes }) => {
                let flags = flag(eager, EAGER) | flag(doubts, DOUBTS);
                (MessageKind::Append, flags, frames_bytes, at, committed.0, 0)
            }
            Message::Ack(Ack { cursors: Cursors { received, durable, applied }, disk }) => {
                (MessageKind::Ack, flag(disk.stands, STANDS), 0, received, durable.0, applied.0)
            }
            Message::Fetch(Fetch { at, frame_epoch, blocks }) => {
                (MessageKind::Fetch, 0, 0, at, frame_epoch.0, blocks.into())
            }
            Message::Fetched(Fetched { at, committed, blocks_bytes }) => {
                (MessageKind::Fetched, 0, blocks_bytes, at, committed.0, 0)
            }
            Message::Farewell(Farewell { end, committed }) => {
                (MessageKind::Farewell, 0, 0, end, committed.0, 0)
            }
            Message::Refill(Refill { at, lost_epoch, until }) => {
                (MessageKind::Refill, 0, 0, at, lost_epoch.0, until.0)
            }
            Message::Refilled(Refilled { at, committed, holds, frames_bytes }) => {
                (MessageKind::Refilled, 0, frames_bytes, at, committed.0, holds.into())
            }
        };
        let c = if let Message::Ack(ack) = self.message { ack.disk.beats } else { 0 };
        let Sender { shard, from, group } = self.sender;
        RawHeader { kind, shard, from, flags, body_bytes, epoch: self.epoch, lsn, a, b, c, group }
    }
}

impl RefusalReason {
    fn of(code: u64) -> Option<RefusalReason> {
        match code {
            1 => Some(RefusalReason::NotLeader),
            2 => Some(RefusalReason::LogGone),
            _ => None,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    shard: U16,
    from: u8,
    flags: u8,
    reserved: [u8; 2],
    body_bytes: U32,
    epoch: U64,
    lsn: U64,
    a: U64,
    b: U64,
    group: U64,
    c: U32,
    checksum: U32,
}

const _: () = assert!(size_of::<Wire>() == HEADER_BYTES);

/// The half of a group's identity that headers carry.
pub fn group_mark(group: GroupId) -> u64 {
    group.0 as u64
}

impl RawHeader {
    /// The header's bytes.
    ///
    /// # Panics
    /// If it announces a larger body than any message has: whoever receives it would close.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.body_bytes <= MAX_BODY_BYTES, "a body of {} bytes", self.body_bytes);
        let mut wire = Wire {
            magic: MAGIC,
            version: VERSION,
            kind: self.kind as u8,
            shard: U16::new(self.shard.0),
            from: self.from,
            flags: self.flags,
            reserved: [0; 2],
            body_bytes: U32::new(self.body_bytes as u32),
            epoch: U64::new(self.epoch.0),
            lsn: U64::new(self.lsn.0),
            a: U64::new(self.a),
            b: U64::new(self.b),
            group: U64::new(self.group),
            c: U32::new(self.c),
            checksum: U32::new(0),
        };
        wire.checksum = U32::new(crc32fast::hash(&wire.as_bytes()[..CHECKED_BYTES]));
        wire.as_bytes().to_vec()
    }

    /// Reads a header of the group marked `group`.
    pub fn decode(bytes: &[u8], group: u64) -> Result<RawHeader, HeaderError> {
        let wire = Wire::ref_from_bytes(bytes).map_err(|_| HeaderError::Magic)?;
        if wire.magic != MAGIC {
            return Err(HeaderError::Magic);
        }
        if wire.version != VERSION {
            return Err(HeaderError::Version(wire.version));
        }
        if wire.checksum.get() != crc32fast::hash(&bytes[..CHECKED_BYTES]) {
            return Err(HeaderError::Checksum);
        }
        let kind = match wire.kind {
            1 => MessageKind::Hello,
            2 => MessageKind::Welcome,
            3 => MessageKind::Refuse,
            4 => MessageKind::Append,
            5 => MessageKind::Ack,
            6 => MessageKind::Fetch,
            7 => MessageKind::Fetched,
            8 => MessageKind::Farewell,
            9 => MessageKind::Refill,
            10 => MessageKind::Refilled,
            other => return Err(HeaderError::Kind(other)),
        };
        if wire.body_bytes.get() as usize > MAX_BODY_BYTES {
            return Err(HeaderError::Body(wire.body_bytes.get()));
        }
        if wire.group.get() != group {
            return Err(HeaderError::Group);
        }
        Ok(RawHeader {
            kind,
            shard: ShardId(wire.shard.get()),
            from: wire.from,
            flags: wire.flags,
            body_bytes: wire.body_bytes.get() as usize,
            epoch: Epoch(wire.epoch.get()),
            lsn: Lsn(wire.lsn.get()),
            a: wire.a.get(),
            b: wire.b.get(),
            c: wire.c.get(),
            group: wire.group.get(),
        })
    }
}

/// Which shard a new connection belongs to, from its first header: for the thread that accepts for all.
/// `None` if the bytes are no header at all; the shard's own thread does the full check.
pub fn shard_of(header: &[u8]) -> Option<ShardId> {
    let wire = Wire::ref_from_bytes(header).ok()?;
    (wire.magic == MAGIC).then(|| ShardId(wire.shard.get()))
}

/// Whether a connection begins with this header in order to fetch frames, not to follow.
pub fn is_fetch(header: &[u8]) -> bool {
    let fetches = |kind: u8| kind == MessageKind::Fetch as u8 || kind == MessageKind::Refill as u8;
    Wire::ref_from_bytes(header).is_ok_and(|wire| wire.magic == MAGIC && fetches(wire.kind))
}

/// A hello's body: the newest [`MAX_HISTORY`] entries of a log's history.
pub fn encode_history(history: &EpochHistory) -> Vec<u8> {
    let entries = history.entries();
    let newest = &entries[entries.len().saturating_sub(MAX_HISTORY)..];
    let mut body = Vec::with_capacity(newest.len() * HISTORY_ENTRY_BYTES);
    for (epoch, start) in newest {
        body.extend_from_slice(&epoch.0.to_le_bytes());
        body.extend_from_slice(&start.0.to_le_bytes());
    }
    body
}

/// Reads a hello's body; `None` if it is not one (wrong length, epochs or starts that do not rise).
pub fn decode_history(body: &[u8]) -> Option<EpochHistory> {
    if !body.len().is_multiple_of(HISTORY_ENTRY_BYTES) || body.len() > MAX_HISTORY_BYTES {
        return None;
    }
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let entries: Vec<(Epoch, Lsn)> = body
        .chunks_exact(HISTORY_ENTRY_BYTES)
        .map(|entry| (Epoch(word(&entry[..8])), Lsn(word(&entry[8..]))))
        .collect();
    EpochHistory::from_entries(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> RawHeader {
        RawHeader {
            kind: MessageKind::Append,
            shard: ShardId(3),
            from: 1,
            flags: EAGER,
            body_bytes: 4096,
            epoch: Epoch(7),
            lsn: Lsn(123_456),
            a: 99,
            b: 0,
            c: 0,
            group: 42,
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let bytes = sample().encode();
        assert_eq!(RawHeader::decode(&bytes, 42), Ok(sample()));
        assert_eq!(shard_of(&bytes), Some(ShardId(3)));
    }

    #[test]
    fn another_group_is_named() {
        assert_eq!(RawHeader::decode(&sample().encode(), 43), Err(HeaderError::Group));
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let lsn = || any::<u64>().prop_map(Lsn);
        let body = 0..=MAX_BODY_BYTES;
        prop_oneof![
            (lsn(), lsn(), any::<u64>(), any::<bool>(), body.clone()).prop_map(
                |(end, durable, epoch, damaged, history_bytes)| {
                    let last_epoch = Epoch(epoch);
                    Message::Hello(Hello { end, durable, last_epoch, damaged, history_bytes })
                }
            ),
            (lsn(), lsn()).prop_map(|(end, committed)| Message::Farewell(Farewell { end, committed })),
            (lsn(), any::<u64>(), lsn()).prop_map(|(at, epoch, until)| {
                Message::Refill(Refill { at, lost_epoch: Epoch(epoch), until })
            }),
            (lsn(), lsn(), any::<bool>(), body.clone()).prop_map(|(at, committed, holds, frames_bytes)| {
                Message::Refilled(Refilled { at, committed, holds, frames_bytes })
            }),
            (lsn(), lsn()).prop_map(|(common, committed)| Message::Welcome(Welcome { common, committed })),
            any::<bool>().prop_map(|gone| {
                let reason = if gone { RefusalReason::LogGone } else { RefusalReason::NotLeader };
                Message::Refuse(Refuse { reason })
            }),
            (lsn(), lsn(), any::<[bool; 2]>(), body.clone()).prop_map(
                |(at, committed, [eager, doubts], frames_bytes)| {
                    Message::Append(Append { at, committed, eager, doubts, frames_bytes })
                }
            ),
            (lsn(), lsn(), lsn(), any::<(u32, bool)>()).prop_map(
                |(received, durable, applied, (beats, stands))| {
                    let cursors = Cursors { received, durable, applied };
                    Message::Ack(Ack { cursors, disk: DiskSign { beats, stands } })
                }
            ),
            (lsn(), any::<u64>(), any::<u8>()).prop_map(|(at, epoch, blocks)| {
                Message::Fetch(Fetch { at, frame_epoch: Epoch(epoch), blocks })
            }),
            (lsn(), lsn(), body).prop_map(|(at, committed, blocks_bytes)| {
                Message::Fetched(Fetched { at, committed, blocks_bytes })
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_message_survives_its_bytes(message in any_message(), epoch: u64) {
            let sender = Sender { shard: ShardId(3), from: 1, group: 42 };
            let bytes = sender.encode(Epoch(epoch), message);
            let envelope = Envelope { sender, epoch: Epoch(epoch), message };
            prop_assert_eq!(Envelope::decode(&bytes, 42), Ok(envelope));
        }

        #[test]
        fn one_flipped_bit_is_noticed(bit in 0usize..HEADER_BYTES * 8) {
            let mut bytes = sample().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(RawHeader::decode(&bytes, 42).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Envelope::decode(&bytes, 42);
            let _ = decode_history(&bytes);
        }
    }
}
