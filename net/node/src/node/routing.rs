//! The group as its clients see it: the topology from the configuration file and the warden's view.

use crate::settings::Settings;
use agency::configuration::Configuration;
use agency::ids::{NodeId, ShardId};
use agency::view::{ClusterView, NodeView};
use faces::resp::{NodeTopology, ShardTopology, Topology};

/// What `MOVED`, `CLUSTER SLOTS` and the like are answered from. `mine` is what was published for one shard.
pub(super) fn topology(
    settings: &Settings,
    me: NodeId,
    view: &ClusterView,
    mine: Option<(engine::ids::ShardId, Configuration)>,
) -> Topology {
    let data: Vec<NodeId> = settings.data_nodes().iter().collect();
    let place = |node: NodeId| data.iter().position(|n| *n == node);
    let nodes = data
        .iter()
        .filter_map(|node| {
            let member = settings.member(*node)?;
            Some(NodeTopology {
                name: member.name.clone(),
                index: node.0,
                host: member.host.clone(),
                any_port: member.any_key_port(),
                shard_ports: (0..settings.shards).map(|shard| member.shard_port(ShardId(shard))).collect(),
                up: *node == me || node_view(view, *node).is_none_or(|seen| seen.up),
            })
        })
        .collect();
    let shards = (0..settings.shards)
        .map(|id| {
            let seen = view.shards.get(id as usize).and_then(|shard| shard.configuration);
            let published = mine.filter(|(shard, _)| shard.0 == id).map(|(_, configuration)| configuration);
            let configuration = seen.into_iter().chain(published).max_by_key(|c| c.version);
            ShardTopology {
                id,
                slots: settings.slots(ShardId(id)),
                leader: configuration.and_then(|c| place(c.leader)),
                members: (0..data.len()).collect(),
                epoch: configuration.map_or(0, |c| c.epoch.0),
            }
        })
        .collect();
    Topology { group: settings.group.0, shards, nodes, me: place(me).unwrap_or(0) }
}

fn node_view(view: &ClusterView, node: NodeId) -> Option<&NodeView> {
    view.nodes.iter().find(|seen| seen.id == node)
}

/// Whether a follower is to be evicted at once: its own warden said that its process is dead, or was itself
/// silent for as long as a lease, or the agency knows the disk or the incarnation for a stranger (rule 8).
pub(super) fn is_gone(view: &ClusterView, node: NodeId) -> bool {
    node_view(view, node).is_some_and(|seen| seen.suspect || (!seen.up && seen.incarnation.0 != 0))
}
