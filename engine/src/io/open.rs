//! Opening one shard of a data directory: its files, its recovery, and a prepared spare segment.

use crate::disk::{DiskError, DiskWork, LogStorage};
use crate::error::{RecoverError, SegmentFault};
use crate::ids::{SegmentId, ShardId};
use crate::io::claim::{CLAIM_PATIENCE, claim};
use crate::io::cold::{self, ColdContext, disk_error, open_direct, read_all, write_all};
use crate::io::dir::DataDir;
use crate::limits::BLOCK;
use crate::memory::{AlignedBlocks, MirrorBuffer};
use crate::recover::{RecoveryProgress, recover_telling};
use crate::segment::parse_file_name;
use crate::shard::{Shard, ShardOptions};
use rustix::fs::{OFlags, fdatasync, fstat, fsync, unlink};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The open files of one shard, all for direct I/O, and each claimed: as long as a write through one of these
/// descriptors is under way, even if this process is gone, no other opens the shard.
#[derive(Debug)]
pub struct ShardFiles {
    pub segments: HashMap<SegmentId, OwnedFd>,
    pub pulse: OwnedFd,
}

/// Why a shard could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}: an earlier process's writes to it are still under way after {seconds} s")]
    StillWritten { path: PathBuf, seconds: u64 },
    #[error("{path}: no space for a segment of {bytes} bytes")]
    NoSpace { path: PathBuf, bytes: u64 },
    #[error("{path}: {source}")]
    Recover { path: PathBuf, source: RecoverError },
}

/// What an opening tells whoever waits for it, so that long can be told from stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening<'a> {
    /// Writes of an earlier process are still under way to this file: they are waited for.
    Draining { path: &'a Path },
    /// What is there is being synced and read.
    Recovering(RecoveryProgress),
}

struct Files(ShardFiles);

impl LogStorage for Files {
    fn segments(&self) -> Result<Vec<SegmentId>, DiskError> {
        Ok(self.0.segments.keys().copied().collect())
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let file =
            self.0.segments.get(&segment).ok_or(DiskError::Failed { errno: Errno::NOENT.raw_os_error() })?;
        read_all(file, into, offset).map_err(disk_error)
    }

    fn pulse(&self) -> Result<Option<AlignedBlocks>, DiskError> {
        let mut block = AlignedBlocks::zeroed(BLOCK as usize);
        read_all(&self.0.pulse, block.as_mut_slice(), 0).map_err(disk_error)?;
        Ok(Some(block))
    }
}

/// Opens and recovers `shard` of `dir`. Afterwards a prepared spare segment is there.
///
/// Whatever is found is synced first: a write that an earlier process did not see completed may be readable
/// and yet not be durable. And before that, the writes that an earlier process left under way are waited for: what
/// is read is what stays. `tell` is called whenever there is progress, and while something is waited for.
///
/// # Errors
/// The files cannot be used, an earlier process's writes do not end, or there is no space for a first segment.
pub fn open_shard(
    dir: &DataDir,
    shard: ShardId,
    options: &ShardOptions,
    buffer: MirrorBuffer,
    tell: &mut dyn FnMut(Opening<'_>),
) -> Result<(Shard, ShardFiles), OpenError> {
    let context = ColdContext { dir: dir.shard_dir(shard), segment_bytes: options.segment_bytes };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: Errno| OpenError::File { path, source: error.into() }
    };
    let pulse_path = context.dir.join("pulse");
    let pulse = open_direct(&pulse_path, OFlags::CREATE).map_err(failed(&pulse_path))?;
    drain(&pulse, &pulse_path, tell)?;
    if fstat(&pulse).map_err(failed(&pulse_path))?.st_size < BLOCK as i64 {
        // So that no later write of it changes the file's size.
        write_all(&pulse, AlignedBlocks::zeroed(BLOCK as usize).as_slice(), 0)
            .map_err(failed(&pulse_path))?;
    }
    let mut segments = HashMap::new();
    let names = std::fs::read_dir(&context.dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>, _>>())
        .map_err(|source| OpenError::File { path: context.dir.clone(), source })?;
    for name in names.iter().filter_map(|name| name.to_str()) {
        let path = context.dir.join(name);
        if name.ends_with(".new") {
            unlink(&path).map_err(failed(&path))?;
        }
        let Some(id) = parse_file_name(name) else { continue };
        let file = open_direct(&path, OFlags::empty()).map_err(failed(&path))?;
        drain(&file, &path, tell)?;
        let len = fstat(&file).map_err(failed(&path))?.st_size as u64;
        if len != options.segment_bytes {
            let why = SegmentFault::FileSize { found: len, expected: options.segment_bytes };
            let source = RecoverError::Segment { segment: id, why };
            return Err(OpenError::Recover { path, source });
        }
        fdatasync(&file).map_err(failed(&path))?;
        segments.insert(id, file);
        let bytes_total = segments.len() as u64 * options.segment_bytes;
        tell(Opening::Recovering(RecoveryProgress { bytes_done: 0, bytes_total }));
    }
    fsync(&pulse).map_err(failed(&pulse_path))?;
    cold::sync_dir(&context.dir).map_err(failed(&context.dir))?;

    let files = Files(ShardFiles { segments, pulse });
    let mut told = |progress| tell(Opening::Recovering(progress));
    let mut shard = recover_telling(options, buffer, &files, &mut told)
        .map_err(|source| OpenError::Recover { path: context.dir.clone(), source })?;
    let mut files = files.0;
    // The first segment of an empty log and the spare behind the last.
    while let Some(command) = shard.poll_prepare() {
        let DiskWork::PrepareSegment { segment } = command.work else {
            unreachable!("asked for preparations")
        };
        let (made, done) = cold::run(&context, &command);
        if let Err(error) = &done.result {
            let path = context.dir.join(crate::segment::file_name(segment));
            return Err(match error {
                DiskError::NoSpace => OpenError::NoSpace { path, bytes: options.segment_bytes },
                DiskError::Failed { errno } => {
                    OpenError::File { path, source: std::io::Error::from_raw_os_error(*errno) }
                }
            });
        }
        files.segments.extend(made);
        shard.disk_done(done).expect("it succeeded");
    }
    Ok((shard, files))
}

/// Waits until no write of an earlier process is under way to the file, and claims it.
fn drain(file: &OwnedFd, path: &Path, tell: &mut dyn FnMut(Opening<'_>)) -> Result<(), OpenError> {
    let mut waits = || tell(Opening::Draining { path });
    claim(file, CLAIM_PATIENCE, &mut waits).map_err(|error| {
        let path = path.to_owned();
        match error {
            Errno::WOULDBLOCK => OpenError::StillWritten { path, seconds: CLAIM_PATIENCE.as_secs() },
            other => OpenError::File { path, source: other.into() },
        }
    })
}
