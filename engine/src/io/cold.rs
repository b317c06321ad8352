//! Cold disk operations: blocking, on a helper thread, each durable before it reports success.

use crate::disk::{DiskCommand, DiskDone, DiskError, DiskWork, KeptBlock};
use crate::ids::{Lsn, SegmentId};
use crate::io::claim::claim;
use crate::limits::{BLOCK, block_ceil, block_floor};
use crate::memory::AlignedBlocks;
use crate::segment::file_name;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fsync, open, rename, unlink};
use rustix::io::{Errno, pread, pwrite};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What is zeroed or copied at once. No more than may be in flight: a crash leaves at most this much undecided.
const CHUNK_BYTES: u64 = 1 << 20;
const REWOUND_MAGIC: [u8; 8] = *b"BatonRWD";

/// Where a shard's files are.
#[derive(Clone, Debug)]
pub struct ColdContext {
    /// The directory `shard-N`.
    pub dir: PathBuf,
    pub segment_bytes: u64,
}

/// What the first block of a file in `rewound/` says; the cut pieces of segment files follow, in log order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewoundFile {
    /// The first LSN that was cut.
    pub from: Lsn,
    /// The end of the log that was cut.
    pub to: Lsn,
    /// When it was cut, in ms since the epoch of Unix.
    pub wall_ms: u64,
    /// Bytes that follow the first block.
    pub bytes: u64,
}

impl RewoundFile {
    /// Reads the first block; `None` if it is not whole or of another format version.
    pub fn from_block(block: &[u8]) -> Option<RewoundFile> {
        let (raw, _) = RewoundHeader::ref_from_prefix(block).ok()?;
        let good = raw.magic == REWOUND_MAGIC
            && raw.crc.get() == crc32fast::hash(&raw.as_bytes()[12..])
            && raw.version.get() == crate::segment::FORMAT_VERSION;
        good.then(|| RewoundFile {
            from: Lsn(raw.from.get()),
            to: Lsn(raw.to.get()),
            wall_ms: raw.wall_ms.get(),
            bytes: raw.bytes.get(),
        })
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RewoundHeader {
    magic: [u8; 8],
    crc: U32,
    version: U32,
    from: U64,
    to: U64,
    wall_ms: U64,
    bytes: U64,
}

/// Carries out a cold operation. For a prepared segment its file is handed over, opened for direct I/O.
///
/// # Panics
/// At a hot operation.
pub fn run(context: &ColdContext, command: &DiskCommand) -> (Option<(SegmentId, OwnedFd)>, DiskDone) {
    let outcome = match &command.work {
        DiskWork::PrepareSegment { segment } => {
            prepare_segment(context, *segment).map(|file| Some((*segment, file)))
        }
        DiskWork::SaveRewound { from, to, pieces, wall_ms } => {
            save_rewound(context, *from, *to, pieces, *wall_ms).map(|()| None)
        }
        DiskWork::Cut { segment, offset, remove, pulse, kept } => {
            cut(context, *segment, *offset, remove, pulse, kept).map(|()| None)
        }
        DiskWork::WriteLog { .. } | DiskWork::WriteBlocks { .. } | DiskWork::Pulse { .. } => {
            panic!("a hot operation does not run on the helper thread")
        }
    };
    match outcome {
        Ok(file) => (file, DiskDone { ticket: command.ticket, result: Ok(()) }),
        Err(error) => (None, DiskDone { ticket: command.ticket, result: Err(disk_error(error)) }),
    }
}

/// What an error of the kernel means to the shard.
pub(crate) fn disk_error(error: Errno) -> DiskError {
    match error {
        Errno::NOSPC | Errno::DQUOT => DiskError::NoSpace,
        other => DiskError::Failed { errno: other.raw_os_error() },
    }
}

/// Files hold data and users: nobody but their owner reads them.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens a file, for direct I/O where the file system knows it.
pub(crate) fn open_direct(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDWR | OFlags::CLOEXEC;
    match open(path, flags | OFlags::DIRECT, PRIVATE) {
        Err(Errno::INVAL) => open(path, flags, PRIVATE),
        other => other,
    }
}

/// Makes names created or removed in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Errno> {
    fsync(open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(&file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills all of `into`; a file that ends before is an error.
pub(crate) fn read_all(file: impl AsFd, into: &mut [u8], offset: u64) -> Result<(), Errno> {
    let mut done = 0;
    while done < into.len() {
        match pread(&file, &mut into[done..], offset + done as u64) {
            Ok(0) => return Err(Errno::IO),
            Ok(read) => done += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A segment file appears under its name only when it is whole: zeroed and durable. The descriptor has
/// [claimed](crate::io::claim) it.
pub(crate) fn prepare_segment(context: &ColdContext, segment: SegmentId) -> Result<OwnedFd, Errno> {
    let name = context.dir.join(file_name(segment));
    let unfinished = name.with_extension("new");
    let made = (|| {
        let file = open_direct(&unfinished, OFlags::CREATE | OFlags::TRUNC)?;
        claim(&file, Duration::ZERO, &mut || ())?;
        match fallocate(&file, FallocateFlags::empty(), 0, context.segment_bytes) {
            // Writing the zeros allocates as well, just less evenly.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
        let zeros = AlignedBlocks::zeroed(CHUNK_BYTES as usize);
        let mut offset = 0;
        while offset < context.segment_bytes {
            let len = CHUNK_BYTES.min(context.segment_bytes - offset);
            write_all(&file, &zeros.as_slice()[..len as usize], offset)?;
            offset += len;
        }
        fsync(&file)?;
        rename(&unfinished, &name)?;
        sync_dir(&context.dir)?;
        Ok(file)
    })();
    if made.is_err() {
        // What was allocated is given back; if even that fails, the next attempt truncates it.
        let _ = unlink(&unfinished);
    }
    made
}

fn save_rewound(
    context: &ColdContext,
    from: Lsn,
    to: Lsn,
    pieces: &[(SegmentId, u64, u64)],
    wall_ms: u64,
) -> Result<(), Errno> {
    let dir = context.dir.join("rewound");
    let path = dir.join(format!("rewound-{:020}-{:020}-{wall_ms}.log", from.0, to.0));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let file = open(&path, flags, PRIVATE)?;
    let mut header = RewoundHeader {
        magic: REWOUND_MAGIC,
        crc: U32::ZERO,
        version: U32::new(crate::segment::FORMAT_VERSION),
        from: U64::new(from.0),
        to: U64::new(to.0),
        wall_ms: U64::new(wall_ms),
        bytes: U64::new(pieces.iter().map(|piece| piece.2).sum()),
    };
    header.crc = U32::new(crc32fast::hash(&header.as_bytes()[12..]));
    let mut block = AlignedBlocks::zeroed(BLOCK as usize);
    block.as_mut_slice()[..size_of::<RewoundHeader>()].copy_from_slice(header.as_bytes());
    write_all(&file, block.as_slice(), 0)?;
    let mut at = BLOCK;
    let mut chunk = AlignedBlocks::zeroed((CHUNK_BYTES + 2 * BLOCK) as usize);
    for &(segment, start, len) in pieces {
        let source = open_direct(&context.dir.join(file_name(segment)), OFlags::empty())?;
        let mut offset = start;
        while offset < start + len {
            let end = (offset + CHUNK_BYTES).min(start + len);
            let first = block_floor(offset);
            let blocks = &mut chunk.as_mut_slice()[..(block_ceil(end) - first) as usize];
            read_all(&source, blocks, first)?;
            let wanted = &blocks[(offset - first) as usize..(end - first) as usize];
            write_all(&file, wanted, at)?;
            at += wanted.len() as u64;
            offset = end;
        }
    }
    fsync(&file)?;
    sync_dir(&dir)
}

fn cut(
    context: &ColdContext,
    segment: SegmentId,
    offset: u64,
    remove: &[SegmentId],
    pulse: &AlignedBlocks,
    kept: &KeptBlock,
) -> Result<(), Errno> {
    let pulse_file = open_direct(&context.dir.join("pulse"), OFlags::CREATE)?;
    write_all(&pulse_file, pulse.as_slice(), 0)?;
    fsync(&pulse_file)?;
    for &id in remove {
        match unlink(context.dir.join(file_name(id))) {
            Ok(()) | Err(Errno::NOENT) => sync_dir(&context.dir)?,
            Err(error) => return Err(error),
        }
    }
    let file = open_direct(&context.dir.join(file_name(segment)), OFlags::empty())?;
    let zeros = AlignedBlocks::zeroed(CHUNK_BYTES as usize);
    write_all(&file, &zeros.as_slice()[..BLOCK as usize], context.segment_bytes - BLOCK)?;
    fsync(&file)?;
    let whole_from = block_ceil(offset);
    let mut end = context.segment_bytes - BLOCK;
    while end > whole_from {
        let start = end.saturating_sub(CHUNK_BYTES).max(whole_from);
        write_all(&file, &zeros.as_slice()[..(end - start) as usize], start)?;
        fsync(&file)?;
        end = start;
    }
    if whole_from > offset {
        let mut block = AlignedBlocks::zeroed(BLOCK as usize);
        read_all(&file, block.as_mut_slice(), block_floor(offset))?;
        block.as_mut_slice()[(offset % BLOCK) as usize..].fill(0);
        write_all(&file, block.as_slice(), block_floor(offset))?;
        fsync(&file)?;
        kept.put(block);
    }
    Ok(())
}
