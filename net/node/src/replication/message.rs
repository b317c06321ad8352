//! The bytes of the replication protocol: the 64-byte header and the body of a hello.
//!
//! Promises: decoding never panics and accepts only what is whole and checksummed. Knows nothing of
//! connections or of what a message leads to.

use engine::history::EpochHistory;
use engine::ids::{Epoch, GroupId, Lsn, ShardId};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of every header.
pub const HEADER_BYTES: usize = 64;
/// Largest body: one frame of the largest value and its neighbours.
pub const MAX_BODY_BYTES: usize = 32 << 20;
/// Most (epoch, start) pairs in a hello.
pub const MAX_HISTORY: usize = 4096;

const MAGIC: [u8; 4] = *b"BTNR";
const VERSION: u8 = 1;
const CHECKED_BYTES: usize = 60;
const HISTORY_ENTRY_BYTES: usize = 16;
/// Longest body of a hello.
pub const MAX_HISTORY_BYTES: usize = MAX_HISTORY * HISTORY_ENTRY_BYTES;

/// Flag of an append: the leader wants receipts, not only durability, acknowledged.
pub const EAGER: u8 = 1;
/// Flag of a hello: the follower found corruption before its durable mark.
pub const DAMAGED: u8 = 2;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Welcome = 2,
    Refuse = 3,
    Append = 4,
    Ack = 5,
    /// Asks for one frame by its name; on a connection of its own.
    Fetch = 6,
    /// The blocks that hold it, or no body.
    Fetched = 7,
}

/// Why a leader refuses a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Refusal {
    NotLeader = 1,
    LogGone = 2,
}

/// A decoded header. What `lsn`, `a` and `b` mean depends on the kind: see the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: Kind,
    pub shard: ShardId,
    pub from: u8,
    pub flags: u8,
    pub body_bytes: usize,
    pub epoch: Epoch,
    pub lsn: Lsn,
    pub a: u64,
    pub b: u64,
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
    reserved2: [u8; 4],
    checksum: U32,
}

const _: () = assert!(size_of::<Wire>() == HEADER_BYTES);

/// The half of a group's identity that headers carry.
pub fn group_mark(group: GroupId) -> u64 {
    group.0 as u64
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
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
            reserved2: [0; 4],
            checksum: U32::new(0),
        };
        wire.checksum = U32::new(crc32fast::hash(&wire.as_bytes()[..CHECKED_BYTES]));
        wire.as_bytes().to_vec()
    }

    /// Reads a header of the group marked `group`.
    pub fn decode(bytes: &[u8], group: u64) -> Result<Header, HeaderError> {
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
            1 => Kind::Hello,
            2 => Kind::Welcome,
            3 => Kind::Refuse,
            4 => Kind::Append,
            5 => Kind::Ack,
            6 => Kind::Fetch,
            7 => Kind::Fetched,
            other => return Err(HeaderError::Kind(other)),
        };
        if wire.body_bytes.get() as usize > MAX_BODY_BYTES {
            return Err(HeaderError::Body(wire.body_bytes.get()));
        }
        if wire.group.get() != group {
            return Err(HeaderError::Group);
        }
        Ok(Header {
            kind,
            shard: ShardId(wire.shard.get()),
            from: wire.from,
            flags: wire.flags,
            body_bytes: wire.body_bytes.get() as usize,
            epoch: Epoch(wire.epoch.get()),
            lsn: Lsn(wire.lsn.get()),
            a: wire.a.get(),
            b: wire.b.get(),
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

/// Whether a connection begins with this header in order to fetch a frame, not to follow.
pub fn is_fetch(header: &[u8]) -> bool {
    Wire::ref_from_bytes(header).is_ok_and(|wire| wire.magic == MAGIC && wire.kind == Kind::Fetch as u8)
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

    fn sample() -> Header {
        Header {
            kind: Kind::Append,
            shard: ShardId(3),
            from: 1,
            flags: EAGER,
            body_bytes: 4096,
            epoch: Epoch(7),
            lsn: Lsn(123_456),
            a: 99,
            b: 0,
            group: 42,
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        let bytes = sample().encode();
        assert_eq!(Header::decode(&bytes, 42), Ok(sample()));
        assert_eq!(shard_of(&bytes), Some(ShardId(3)));
    }

    #[test]
    fn another_group_is_named() {
        assert_eq!(Header::decode(&sample().encode(), 43), Err(HeaderError::Group));
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_noticed(bit in 0usize..HEADER_BYTES * 8) {
            let mut bytes = sample().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Header::decode(&bytes, 42).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&bytes, 42);
            let _ = decode_history(&bytes);
        }
    }
}
