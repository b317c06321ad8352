//! A data directory as inspectors see it: never locked, never written, possibly in use.

use super::map::MappedFile;
use crate::cli::InspectShards;
use crate::failure::{Failure, not_fine};
use engine::ids::ShardId;
use engine::limits::BLOCK;
use engine::superblock::{Superblock, SuperblockBytes};
use std::fs;
use std::path::{Path, PathBuf};

/// A directory with a superblock.
pub struct Data {
    pub path: PathBuf,
    pub superblock: Superblock,
    /// What each of the superblock's two copies is.
    pub copies: Vec<SuperblockBytes>,
    /// The process named in the lock, if it is alive.
    pub process: Option<u32>,
}

impl Data {
    /// Reads what the directory is, and says on standard error if a process may be changing it.
    ///
    /// # Errors
    /// It is no data directory (wrong usage), or neither copy of its superblock can be read.
    pub fn open(path: &Path) -> Result<Data, Failure> {
        let file_path = path.join("superblock");
        let mut file = MappedFile::open(&file_path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", file_path.display())))?;
        let blocks = [0, BLOCK].map(|at| file.read(at, BLOCK).map(Superblock::from_blocks));
        let copies: Vec<_> =
            blocks.into_iter().map(|copy| copy.unwrap_or(SuperblockBytes::Damaged)).collect();
        let whole = copies.iter().find_map(|copy| match copy {
            SuperblockBytes::Valid(superblock) => Some(superblock.clone()),
            _ => None,
        });
        let Some(superblock) = whole else {
            let why = match copies.iter().find(|copy| matches!(copy, SuperblockBytes::Version(_))) {
                Some(SuperblockBytes::Version(version)) => format!("format version {version} is not known"),
                _ => "neither copy of the superblock is whole".to_owned(),
            };
            return Err(not_fine(format!("{}: {why}", path.display())));
        };
        let process = lock_holder(path);
        if let Some(pid) = process {
            let path = path.display();
            eprintln!(
                "{path}: process {pid} is named in its lock and alive; what is at the end may be changing"
            );
        }
        Ok(Data { path: path.to_owned(), superblock, copies, process })
    }

    /// Where the shard's files are.
    pub fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.path.join(format!("shard-{}", shard.0))
    }

    /// The shards asked for.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn shards(&self, asked: &InspectShards) -> Result<Vec<ShardId>, Failure> {
        let all = self.superblock.shards;
        match asked.shard {
            Some(shard) if shard >= all => {
                Err(Failure::Usage(format!("--shard {shard}: {} has {all}", self.path.display())))
            }
            Some(shard) => Ok(vec![ShardId(shard)]),
            None => Ok((0..all).map(ShardId).collect()),
        }
    }
}

fn lock_holder(path: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(path.join("lock")).ok()?.trim().parse().ok()?;
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}
