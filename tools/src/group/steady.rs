//! A running group is left alone, and watched.

use super::RunningGroup;
use crate::processes::{self, Part};
use crate::status::table::reason;
use bench::failover::router::Endpoint;
use bench::failover::{Group, GroupError};
use bench::steady::{Look, SteadyGroup};
use node::status::{HistoryEntry, Status};

/// Reasons in the history by which a member leaves an in-sync set.
const LEAVES: [&str; 3] = ["evicted", "slow", "left"];

impl SteadyGroup for RunningGroup {
    fn endpoints(&self) -> Vec<Endpoint> {
        Group::endpoints(self)
    }

    fn look(&mut self) -> Result<Look, GroupError> {
        let mut look = look_of(&self.status()?);
        let peak = |name: String| self.pid(&name, Part::Node).ok().and_then(processes::peak_memory);
        look.peak_memory = self.names().into_iter().map(|name| peak(name).unwrap_or_default()).collect();
        Ok(look)
    }
}

/// What of a status shows whether a group is steady; without the memory of its processes.
pub fn look_of(status: &Status) -> Look {
    let line = |e: &HistoryEntry| {
        format!("{} shard {} epoch {} leader {}: {}", e.at, e.shard, e.epoch, e.leader, reason(e))
    };
    Look {
        versions: status.shards.iter().map(|s| s.version).collect(),
        epochs: status.shards.iter().map(|s| s.epoch).collect(),
        incarnations: status.nodes.iter().map(|n| n.incarnation).collect(),
        history: status.history.iter().map(line).collect(),
        evictions: status.history.iter().filter(|e| LEAVES.contains(&e.why.as_str())).map(|e| e.count).sum(),
        peak_memory: Vec::new(),
    }
}
