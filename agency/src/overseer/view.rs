//! The group as this warden sees it, for status and the like.

use super::Overseer;
use crate::ids::NodeId;
use crate::view::{AgentView, ClusterView, NodeView, ShardView};
use std::time::Duration;

/// How often the view is renewed when nothing but positions changed.
pub(super) const VIEW_REFRESH: Duration = Duration::from_millis(100);

impl Overseer {
    /// What is known of the group.
    pub fn view(&self) -> ClusterView {
        ClusterView {
            told_at: self.now,
            majority: self.agents_up() >= self.quorum,
            nodes: self.options.data_nodes.iter().map(|n| self.node_view(n)).collect(),
            agents: self.options.agents.iter().map(|id| AgentView { id, up: self.agent_up(id) }).collect(),
            shards: self
                .shard_ids()
                .map(|s| ShardView { configuration: self.shard(s).decided, leader_lost: self.leader_lost(s) })
                .collect(),
            history: self.history.leaderships(),
            tallies: self.history.tallies().to_vec(),
        }
    }

    /// Whether the view changed since this was last asked.
    pub fn view_changed(&mut self) -> bool {
        std::mem::take(&mut self.view_dirty)
    }

    fn agent_up(&self, id: NodeId) -> bool {
        id == self.options.me || (self.peer(id).met && self.silence(id) < self.options.timing.lease)
    }

    fn node_view(&self, id: NodeId) -> NodeView {
        let up = self.node_up(id);
        let suspect = self.suspect(id);
        let stopping = self.stopping(id);
        if id == self.options.me {
            return NodeView {
                id,
                pid: if up { self.node.pid } else { 0 },
                warden_pid: self.options.warden_pid,
                incarnation: self.node.incarnation,
                up,
                suspect,
                stopping,
                progress: self.node.progress.clone(),
            };
        }
        let peer = self.peer(id);
        NodeView {
            id,
            pid: if up { peer.report.pid } else { 0 },
            warden_pid: peer.report.warden_pid,
            incarnation: peer.report.incarnation,
            up,
            suspect,
            stopping,
            progress: peer.progress.clone(),
        }
    }
}
