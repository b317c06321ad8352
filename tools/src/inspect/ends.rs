//! How far the logs of a data directory reach: what a member has that would lead alone.

use super::data::Data;
use super::survey::Shard;
use crate::cli::InspectShards;
use crate::failure::{Failure, not_fine};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

/// One shard's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    pub shard: u16,
    /// Behind the last whole frame.
    pub end: u64,
    /// Places known to be damaged before that or after it.
    pub damaged: usize,
    /// When the node last noted how far its log is durable, by the clock of its machine.
    pub noted: Option<SystemTime>,
}

/// How far each shard's log reaches.
///
/// # Errors
/// It is no data directory (wrong usage), or a shard's directory cannot be read.
pub fn ends(dir: &Path) -> Result<Vec<LogEnd>, Failure> {
    let data = Data::open(dir)?;
    let end_of = |id| {
        let path = data.shard_dir(id);
        let mut shard =
            Shard::open(&data, id).map_err(|error| not_fine(format!("{}: {error}", path.display())))?;
        let noted = fs::metadata(path.join("pulse")).and_then(|pulse| pulse.modified()).ok();
        let mut found = LogEnd { shard: id.0, end: 0, damaged: 0, noted };
        shard.survey(&|_, _| true, &mut |_, _| ControlFlow::Continue(()), &mut |segment| {
            found.end = found.end.max(segment.end.unwrap_or_default());
            found.damaged += segment.findings.iter().filter(|finding| finding.damage).count();
            ControlFlow::Continue(())
        });
        Ok(found)
    };
    data.shards(&InspectShards { shard: None })?.into_iter().map(end_of).collect()
}
