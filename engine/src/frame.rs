//! The bytes of one frame (`docs/FORMAT.md`): layout, encoding into a buffer, and views without copies.
//!
//! Whether a frame may stand at its place is `validate`'s business.

use crate::ids::{Epoch, Lsn, Revision};
use crate::limits::{FRAME_ALIGN, FRAME_HEADER_BYTES};
use crate::meter;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Length of [`FrameHeader`].
pub const HEADER_BYTES: usize = FRAME_HEADER_BYTES;
/// Length of [`BatchEntryHeader`].
pub const BATCH_ENTRY_BYTES: usize = size_of::<BatchEntryHeader>();

/// The first 48 bytes of each frame. Key, value and zeros up to a multiple of eight follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FrameHeader {
    /// CRC-32 (IEEE) over the frame without these four bytes.
    pub crc: U32,
    /// The whole frame's length: a multiple of 8.
    pub len: U32,
    /// A [`FrameKind`].
    pub kind: u8,
    /// Zero; for later use.
    pub flags: u8,
    pub key_len: U16,
    pub value_len: U32,
    pub epoch: U64,
    /// The frame's place in the log.
    pub lsn: U64,
    /// When the value expires, in ms since the epoch of Unix; 0 for never.
    pub expiry_ms: U64,
    /// The leader's clock when it wrote the frame, in ms since the epoch of Unix. For people, not for rules.
    pub wall_ms: U64,
}

const _: () = assert!(size_of::<FrameHeader>() == HEADER_BYTES);

impl FrameHeader {
    /// Do its lengths fit together, and is its kind known?
    pub fn is_sound(&self) -> bool {
        let payload = self.key_len.get() as usize + self.value_len.get() as usize;
        FrameKind::from_byte(self.kind).is_some() && self.len.get() as usize == padded(HEADER_BYTES + payload)
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    Put = 1,
    Delete = 2,
    /// Several puts and deletes that take effect together.
    Batch = 3,
    /// The first frame of a leader.
    EpochStart = 4,
    /// Zeros up to a block boundary, so that the next write starts on a block of its own.
    Pad = 5,
    /// The last frame of a segment: zeros up to a block boundary.
    Seal = 6,
}

impl FrameKind {
    pub fn from_byte(byte: u8) -> Option<FrameKind> {
        Some(match byte {
            1 => FrameKind::Put,
            2 => FrameKind::Delete,
            3 => FrameKind::Batch,
            4 => FrameKind::EpochStart,
            5 => FrameKind::Pad,
            6 => FrameKind::Seal,
            _ => return None,
        })
    }
}

/// The head of one operation inside a batch frame's value. Key, value and zeros up to a multiple of eight
/// follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BatchEntryHeader {
    /// [`FrameKind::Put`] or [`FrameKind::Delete`].
    pub kind: u8,
    pub flags: u8,
    pub key_len: U16,
    pub value_len: U32,
    pub expiry_ms: U64,
}

/// `len` rounded up to where the next frame may start.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(FRAME_ALIGN as usize)
}

/// Length of a put or delete frame.
pub const fn frame_len(key_len: usize, value_len: usize) -> usize {
    padded(HEADER_BYTES + key_len + value_len)
}

/// Length of one operation inside a batch.
pub const fn batch_entry_len(key_len: usize, value_len: usize) -> usize {
    padded(BATCH_ENTRY_BYTES + key_len + value_len)
}

/// What goes into a frame's header besides what follows from the payload.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub epoch: Epoch,
    pub lsn: Lsn,
    pub expiry_ms: u64,
    pub wall_ms: u64,
}

/// Writes a frame's header, without its checksum, and its key into `out`, whose length is theirs. The value and zeros
/// up to a multiple of eight follow, and the checksum in front.
pub(crate) fn encode_head(out: &mut [u8], kind: FrameKind, stamp: Stamp, key: &[u8], value_len: usize) {
    assert!(key.len() <= usize::from(u16::MAX), "a key's length has 16 bits");
    assert!(stamp.epoch > Epoch(0) && stamp.lsn.0.is_multiple_of(FRAME_ALIGN), "a frame has a place");
    let header = FrameHeader {
        crc: U32::ZERO,
        len: U32::new(padded(HEADER_BYTES + key.len() + value_len) as u32),
        kind: kind as u8,
        flags: 0,
        key_len: U16::new(key.len() as u16),
        value_len: U32::new(value_len as u32),
        epoch: U64::new(stamp.epoch.0),
        lsn: U64::new(stamp.lsn.0),
        expiry_ms: U64::new(stamp.expiry_ms),
        wall_ms: U64::new(stamp.wall_ms),
    };
    out[..HEADER_BYTES].copy_from_slice(header.as_bytes());
    out[HEADER_BYTES..].copy_from_slice(key);
}

/// Writes a whole frame into `out`, whose length is the frame's. `fill` writes the value into the zeroed
/// place it is given.
pub fn encode(
    out: &mut [u8],
    kind: FrameKind,
    stamp: Stamp,
    key: &[u8],
    value_len: usize,
    fill: impl FnOnce(&mut [u8]),
) {
    assert!(out.len() == padded(HEADER_BYTES + key.len() + value_len), "the frame fills its place");
    let value_at = HEADER_BYTES + key.len();
    encode_head(&mut out[..value_at], kind, stamp, key, value_len);
    fill(&mut out[value_at..value_at + value_len]);
    out[value_at + value_len..].fill(0);
    meter::bytes(out.len());
    let crc = crc32fast::hash(&out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Writes one operation of a batch into the front of `out` and returns its length.
pub fn encode_batch_entry(
    out: &mut [u8],
    kind: FrameKind,
    key: &[u8],
    value: &[u8],
    expiry_ms: u64,
) -> usize {
    assert!(matches!(kind, FrameKind::Put | FrameKind::Delete), "a batch holds puts and deletes");
    let header = BatchEntryHeader {
        kind: kind as u8,
        flags: 0,
        key_len: U16::new(key.len() as u16),
        value_len: U32::new(value.len() as u32),
        expiry_ms: U64::new(expiry_ms),
    };
    let len = batch_entry_len(key.len(), value.len());
    let value_at = BATCH_ENTRY_BYTES + key.len();
    out[..BATCH_ENTRY_BYTES].copy_from_slice(header.as_bytes());
    out[BATCH_ENTRY_BYTES..value_at].copy_from_slice(key);
    out[value_at..value_at + value.len()].copy_from_slice(value);
    out[value_at + value.len()..len].fill(0);
    len
}

/// The header at the front of `bytes`, unchecked; `None` if there are too few bytes.
pub fn peek(bytes: &[u8]) -> Option<&FrameHeader> {
    FrameHeader::ref_from_prefix(bytes).ok().map(|(header, _)| header)
}

/// One operation as a frame holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Put (else delete).
    pub put: bool,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub expiry_ms: u64,
}

/// A view of one whole, well-formed frame.
#[derive(Clone, Copy)]
pub struct FrameView<'a> {
    header: &'a FrameHeader,
    bytes: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// The frame at the front of `bytes` if it is whole and its lengths fit together. Neither the checksum
    /// nor the inside of a batch is looked at.
    pub fn of(bytes: &'a [u8]) -> Option<FrameView<'a>> {
        let header = peek(bytes)?;
        let len = header.len.get() as usize;
        let fits = header.is_sound() && len <= bytes.len();
        fits.then(|| FrameView { header, bytes: &bytes[..len] })
    }

    /// Does the checksum hold?
    pub fn intact(&self) -> bool {
        meter::bytes(self.bytes.len());
        crc32fast::hash(&self.bytes[4..]) == self.header.crc.get()
    }

    pub fn header(&self) -> &'a FrameHeader {
        self.header
    }

    pub fn revision(&self) -> Revision {
        Revision { epoch: Epoch(self.header.epoch.get()), lsn: Lsn(self.header.lsn.get()) }
    }

    pub fn kind(&self) -> FrameKind {
        FrameKind::from_byte(self.header.kind).expect("checked in `of`")
    }

    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn key(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..][..self.header.key_len.get() as usize]
    }

    pub fn value(&self) -> &'a [u8] {
        let value_at = HEADER_BYTES + self.header.key_len.get() as usize;
        &self.bytes[value_at..][..self.header.value_len.get() as usize]
    }

    /// The puts and deletes of this frame in order; none for the other kinds.
    pub fn operations(&self) -> Operations<'a> {
        match self.kind() {
            FrameKind::Put | FrameKind::Delete => Operations {
                single: Some(Operation {
                    put: self.kind() == FrameKind::Put,
                    key: self.key(),
                    value: self.value(),
                    expiry_ms: self.header.expiry_ms.get(),
                }),
                batch: &[],
            },
            FrameKind::Batch => Operations { single: None, batch: self.value() },
            FrameKind::EpochStart | FrameKind::Pad | FrameKind::Seal => {
                Operations { single: None, batch: &[] }
            }
        }
    }

    /// Is the inside of a batch well formed? True for the other kinds.
    pub fn batch_is_sound(&self) -> bool {
        let mut operations = self.operations();
        while operations.next().is_some() {}
        operations.batch.is_empty()
    }

    /// What the frame last says about `key`.
    pub fn find(&self, key: &[u8]) -> Option<Operation<'a>> {
        self.operations().filter(|operation| operation.key == key).last()
    }
}

/// Iterator of [`FrameView::operations`]. Stops, with bytes left over, at a malformed entry.
pub struct Operations<'a> {
    single: Option<Operation<'a>>,
    batch: &'a [u8],
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        if let Some(operation) = self.single.take() {
            return Some(operation);
        }
        let (header, _) = BatchEntryHeader::ref_from_prefix(self.batch).ok()?;
        let put = match FrameKind::from_byte(header.kind)? {
            FrameKind::Put => true,
            FrameKind::Delete => false,
            _ => return None,
        };
        let (key_len, value_len) = (header.key_len.get() as usize, header.value_len.get() as usize);
        let entry = self.batch.get(..batch_entry_len(key_len, value_len))?;
        self.batch = &self.batch[entry.len()..];
        let value_at = BATCH_ENTRY_BYTES + key_len;
        Some(Operation {
            put,
            key: &entry[BATCH_ENTRY_BYTES..value_at],
            value: &entry[value_at..value_at + value_len],
            expiry_ms: header.expiry_ms.get(),
        })
    }
}

/// Length of the longest prefix of `bytes` that consists of whole frames, going by their lengths alone.
pub fn whole_frames(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(header) = peek(&bytes[at..]) {
        let len = header.len.get() as usize;
        if len < HEADER_BYTES || !len.is_multiple_of(FRAME_ALIGN as usize) || len > bytes.len() - at {
            break;
        }
        at += len;
    }
    at
}
