//! The data directory: made once, opened by one process at a time, and never mistaken for another.

use crate::ids::{DiskId, GroupId, ShardId};
use crate::io::cold::{open_direct, read_all, sync_dir, write_all};
use crate::limits::{BLOCK, MAX_SEGMENT_BYTES, MAX_SHARDS, MIN_SEGMENT_BYTES};
use crate::memory::AlignedBlocks;
use crate::segment::FORMAT_VERSION;
use crate::superblock::{MAX_NODE_NAME_BYTES, Superblock, SuperblockBytes};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fsync, ftruncate, open as open_file};
use rustix::io::{Errno, pread};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How long a lock whose holder is going away is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// Beginnings of the names that may lie in a directory before it is formatted: what an interrupted formatting
/// leaves, the file system's own, and the files of the warden and its configuration, which share it.
const MAY_BE_THERE: [&str; 10] = [
    "lock",
    "superblock.new",
    "shard-",
    "lost+found",
    "node",
    "agent",
    "warden",
    "incarnation",
    "register",
    "store",
];

/// What a new data directory is for.
#[derive(Clone, Debug)]
pub struct FormatOptions {
    pub group: GroupId,
    pub node_name: String,
    pub shards: u16,
    pub segment_bytes: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DirError {
    #[error("{path}: {what} is {found}, expected {expected}")]
    Mismatch { path: PathBuf, what: &'static str, found: String, expected: String },
    #[error("{path} is in use by process {pid}")]
    Locked { path: PathBuf, pid: u32 },
    #[error("{path}: no rights to it; run as its owner or change the owner")]
    NoRights { path: PathBuf },
    #[error("{path} is not empty and not a data directory; found {found}")]
    NotOurs { path: PathBuf, found: String },
    #[error("{path} is not a data directory yet")]
    NotFormatted { path: PathBuf },
    #[error("{path}: neither copy of the superblock is whole")]
    Damaged { path: PathBuf },
    #[error("{path}: {what} {found} is outside {min}..={max}")]
    Limit { path: PathBuf, what: &'static str, found: u64, min: u64, max: u64 },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// An open, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    superblock: Superblock,
    /// Holds the lock.
    _lock: OwnedFd,
}

impl DataDir {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    pub fn disk_id(&self) -> DiskId {
        self.superblock.disk
    }

    /// Where the shard's files are.
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        shard_dir(&self.path, shard.0)
    }
}

fn shard_dir(path: &Path, shard: u16) -> PathBuf {
    path.join(format!("shard-{shard}"))
}

fn io_error(path: &Path) -> impl FnOnce(Errno) -> DirError {
    std_error_at(path, |error: Errno| error.into())
}

fn std_error(path: &Path) -> impl FnOnce(std::io::Error) -> DirError {
    std_error_at(path, |error| error)
}

fn std_error_at<E>(path: &Path, into: impl FnOnce(E) -> std::io::Error) -> impl FnOnce(E) -> DirError {
    let path = path.to_owned();
    move |error| {
        let source = into(error);
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => DirError::NoRights { path },
            _ => DirError::Io { path, source },
        }
    }
}

/// Opens the directory, or makes it if it is missing or empty.
///
/// # Errors
/// As [`format`] and [`open`].
pub fn open_or_format(path: &Path, options: &FormatOptions) -> Result<DataDir, DirError> {
    match open(path, options) {
        Err(DirError::NotFormatted { .. }) => format(path, options),
        other => other,
    }
}

/// Makes a data directory of a missing or empty one, and opens it. The superblock is written last: a
/// directory without one was never used.
///
/// # Errors
/// The options are out of bounds, the directory holds something else, or the kernel refuses.
pub fn format(path: &Path, options: &FormatOptions) -> Result<DataDir, DirError> {
    let within = |what, found, min, max| {
        let path = path.to_owned();
        if (min..=max).contains(&found) {
            Ok(())
        } else {
            Err(DirError::Limit { path, what, found, min, max })
        }
    };
    within("the number of shards", options.shards.into(), 1, MAX_SHARDS.into())?;
    within("the segment size", options.segment_bytes, MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)?;
    within("the segment size modulo a block", options.segment_bytes % BLOCK, 0, 0)?;
    within("the length of the node's name", options.node_name.len() as u64, 1, MAX_NODE_NAME_BYTES as u64)?;
    make_dirs(path).map_err(std_error(path))?;
    let lock = lock(path)?;
    if let Some(found) = foreign_entry(path)? {
        return Err(DirError::NotOurs { path: path.to_owned(), found });
    }
    for shard in 0..options.shards {
        let dir = shard_dir(path, shard);
        make_dirs(&dir.join("rewound")).map_err(std_error(&dir))?;
        sync_dir(&dir).map_err(io_error(&dir))?;
    }
    let mut disk = [0; 16];
    getrandom(&mut disk, GetRandomFlags::empty()).map_err(io_error(path))?;
    let superblock = Superblock {
        group: options.group,
        disk: DiskId(u128::from_le_bytes(disk)),
        node_name: options.node_name.clone(),
        shards: options.shards,
        segment_bytes: options.segment_bytes,
    };
    let file_path = path.join("superblock");
    let unfinished = path.join("superblock.new");
    let file = open_direct(&unfinished, OFlags::CREATE | OFlags::TRUNC).map_err(io_error(&unfinished))?;
    write_all(&file, superblock.to_blocks().as_slice(), 0).map_err(io_error(&unfinished))?;
    fsync(&file).map_err(io_error(&unfinished))?;
    fs::rename(&unfinished, &file_path).map_err(std_error(&file_path))?;
    sync_dir(path).map_err(io_error(path))?;
    Ok(DataDir { path: path.to_owned(), superblock, _lock: lock })
}

/// Opens and locks a data directory that is what `expected` says.
///
/// # Errors
/// It is something else, in use, or cannot be read.
pub fn open(path: &Path, expected: &FormatOptions) -> Result<DataDir, DirError> {
    let file_path = path.join("superblock");
    let not_formatted = || DirError::NotFormatted { path: path.to_owned() };
    if !path.try_exists().map_err(std_error(path))? {
        return Err(not_formatted());
    }
    if !file_path.try_exists().map_err(std_error(&file_path))? {
        return match foreign_entry(path)? {
            Some(found) => Err(DirError::NotOurs { path: path.to_owned(), found }),
            None => Err(not_formatted()),
        };
    }
    let lock = lock(path)?;
    let superblock = read_superblock(path)?;
    let same = |what, found: String, expected: String| {
        let path = path.to_owned();
        if found == expected { Ok(()) } else { Err(DirError::Mismatch { path, what, found, expected }) }
    };
    same("the group", superblock.group.to_string(), expected.group.to_string())?;
    same("the node's name", superblock.node_name.clone(), expected.node_name.clone())?;
    same("the number of shards", superblock.shards.to_string(), expected.shards.to_string())?;
    same("the segment size", superblock.segment_bytes.to_string(), expected.segment_bytes.to_string())?;
    Ok(DataDir { path: path.to_owned(), superblock, _lock: lock })
}

/// Reads the superblock without locking the directory.
///
/// # Errors
/// There is none, or none that this version knows.
pub fn read_superblock(path: &Path) -> Result<Superblock, DirError> {
    let file_path = path.join("superblock");
    let file = open_file(&file_path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io_error(&file_path))?;
    let mut blocks = AlignedBlocks::zeroed(2 * BLOCK as usize);
    read_all(&file, blocks.as_mut_slice(), 0).map_err(io_error(&file_path))?;
    match Superblock::from_blocks(blocks.as_slice()) {
        SuperblockBytes::Valid(superblock) => Ok(superblock),
        SuperblockBytes::Damaged => Err(DirError::Damaged { path: path.to_owned() }),
        SuperblockBytes::Version(found) => Err(DirError::Mismatch {
            path: path.to_owned(),
            what: "the format version",
            found: found.to_string(),
            expected: FORMAT_VERSION.to_string(),
        }),
    }
}

/// Something in the directory that formatting does not leave behind when it is interrupted.
fn foreign_entry(path: &Path) -> Result<Option<String>, DirError> {
    for entry in fs::read_dir(path).map_err(std_error(path))? {
        let name = entry.map_err(std_error(path))?.file_name().to_string_lossy().into_owned();
        if !MAY_BE_THERE.iter().any(|known| name.starts_with(known)) {
            return Ok(Some(name));
        }
        let dir = path.join(&name);
        if name.starts_with("shard-") && fs::read_dir(&dir).map_err(std_error(&dir))?.count() > 1 {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Makes a directory with those above it, for its owner only.
fn make_dirs(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Takes the lock, waiting for a holder that is gone or about to be: the kernel gives a killed process's
/// files up late.
fn lock(path: &Path) -> Result<OwnedFd, DirError> {
    let file_path = path.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let file = open_file(&file_path, flags, Mode::RUSR | Mode::WUSR).map_err(io_error(&file_path))?;
    let started = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK) => {
                let pid = lock_holder(&file);
                if !is_going(pid) || started.elapsed() > LOCK_PATIENCE {
                    return Err(DirError::Locked { path: path.to_owned(), pid });
                }
                std::thread::sleep(LOCK_RETRY);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(io_error(&file_path)(error)),
        }
    }
    ftruncate(&file, 0).map_err(io_error(&file_path))?;
    write_all(&file, std::process::id().to_string().as_bytes(), 0).map_err(io_error(&file_path))?;
    Ok(file)
}

/// The process id in the lock file; 0 if its holder has not written it yet.
fn lock_holder(file: &OwnedFd) -> u32 {
    let mut text = [0; 16];
    let len = pread(file, &mut text, 0).unwrap_or(0);
    std::str::from_utf8(&text[..len]).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Is the process gone, a zombie, or being ended?
fn is_going(pid: u32) -> bool {
    if pid == 0 {
        return true;
    }
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true };
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default()
    };
    let ended_by = |mask: &str| u64::from_str_radix(mask, 16).is_ok_and(|mask| mask & 1 << 8 != 0);
    field("State:").starts_with(['Z', 'X'])
        || ended_by(field("ShdPnd:"))
        || ended_by(field("SigPnd:"))
        // A process that is exiting has given up its memory already.
        || !status.contains("VmSize:")
}
