//! The group as this shard knows it: the newest configuration that was published, the warden's view, and the
//! topology that clients are told, made of both.
//!
//! Promises that a configuration never goes back. Decides nothing.

use crate::options::NodeOptions;
use crate::settings::Settings;
use agency::configuration::Configuration;
use agency::ids::{NodeId, ShardId};
use agency::shard::ShardUpdate;
use agency::view::{ClusterView, NodeView};
use engine::ids::Epoch;
use faces::resp::{NodeTopology, ShardTopology, Topology};
use std::sync::Arc;

/// See the head of this file.
pub(crate) struct Group {
    update: Option<ShardUpdate>,
    /// Wall time since when members have been missing from the in-sync set, ms since the epoch of Unix.
    exposed_since_ms: Option<u64>,
    view: Arc<ClusterView>,
    topology: Topology,
}

/// Turns the agency's epoch into the engine's: here the two meet.
pub(crate) fn engine_epoch(epoch: agency::ids::Epoch) -> Epoch {
    Epoch(epoch.0)
}

impl Group {
    /// Nothing is known but the settings.
    pub fn new(options: &NodeOptions) -> Group {
        let topology = topology(&options.settings, options.me, &ClusterView::default(), None);
        Group { update: None, exposed_since_ms: None, view: Arc::default(), topology }
    }

    /// Takes what was published; `false`: something newer is known already.
    pub fn take_update(&mut self, update: ShardUpdate, options: &NodeOptions) -> bool {
        if let Some(known) = self.update.map(|update| update.configuration) {
            if update.configuration.version < known.version {
                return false;
            }
            assert!(
                update.configuration.epoch >= known.epoch,
                "a newer configuration has an older epoch: {:?} after {known:?}",
                update.configuration
            );
        }
        let Configuration { in_sync, members, at_ms, .. } = update.configuration;
        self.exposed_since_ms = (in_sync != members).then_some(self.exposed_since_ms.unwrap_or(at_ms));
        self.update = Some(update);
        self.refresh(options);
        true
    }

    /// Takes what the wardens told each other. It may be older than what was published for this shard.
    pub fn take_view(&mut self, view: Arc<ClusterView>, options: &NodeOptions) {
        self.view = view;
        self.refresh(options);
    }

    fn refresh(&mut self, options: &NodeOptions) {
        let mine = self.update.map(|update| (options.shard, update.configuration));
        self.topology = topology(&options.settings, options.me, &self.view, mine);
    }

    /// What was published last.
    pub fn update(&self) -> Option<ShardUpdate> {
        self.update
    }

    /// The newest configuration of this shard.
    pub fn configuration(&self) -> Option<Configuration> {
        self.update.map(|update| update.configuration)
    }

    /// Its epoch; 0 while nothing is known.
    pub fn epoch(&self) -> Epoch {
        self.configuration().map_or(Epoch(0), |configuration| engine_epoch(configuration.epoch))
    }

    /// For how long writes have been acknowledged on fewer nodes than the group has; 0 if they are not.
    pub fn exposed_ms(&self, wall_ms: u64) -> u64 {
        self.exposed_since_ms.map_or(0, |since| wall_ms.saturating_sub(since).max(1))
    }

    /// What the wardens told each other.
    pub fn view(&self) -> &ClusterView {
        &self.view
    }

    /// What clients are told.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Who leads a shard, if it lives and is not this node.
    pub fn other_leader(&self, shard: engine::ids::ShardId) -> Option<usize> {
        let shard = &self.topology.shards[usize::from(shard.0)];
        self.topology.live_leader(shard).filter(|node| *node != self.topology.me)
    }

    /// Whether a follower is to be evicted at once: its own warden said that its process is dead, or was itself
    /// silent for as long as a lease, or the agency knows the disk or the incarnation for a stranger (rule 8).
    pub fn is_gone(&self, node: NodeId) -> bool {
        node_view(&self.view, node).is_some_and(|seen| seen.suspect || (!seen.up && seen.incarnation.0 != 0))
    }

    /// Whether a node said that it stops in order. It stays so after its end, until it is started again.
    pub fn stops(&self, node: NodeId) -> bool {
        node_view(&self.view, node).is_some_and(|seen| seen.stopping)
    }

    /// Whether every other data node stops in order, too, or is known not to be up.
    pub fn all_others_stop(&self, options: &NodeOptions) -> bool {
        let others = options.settings.data_nodes().without(options.me);
        let down = |node| node_view(&self.view, node).is_some_and(|seen| !seen.up);
        others.iter().all(|node| self.stops(node) || down(node))
    }

    /// Whether a node's warden says that its process runs: it is slow then, and not gone, whatever its connections do.
    pub fn warden_answers_for(&self, node: NodeId) -> bool {
        node_view(&self.view, node).is_some_and(|seen| seen.up && !seen.suspect)
    }
}

/// What `MOVED`, `CLUSTER SLOTS` and the like are answered from. `mine` is what was published for one shard.
fn topology(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Ack, CopySettings, HttpSettings, Settings};
    use agency::configuration::Why;
    use agency::ids::{Incarnation, NodeSet, Version};
    use agency::shard::RequestStatus;
    use engine::ids::GroupId;
    use std::time::Duration;

    fn options() -> NodeOptions {
        let second = Duration::from_secs(1);
        let settings = Settings {
            group: GroupId(1),
            name: "a".into(),
            shards: 1,
            ack: Ack::Durable,
            auth: false,
            root_password_hash: None,
            max_value_bytes: 1 << 20,
            max_clients: 1,
            memory: Default::default(),
            evict_after: second,
            copies: CopySettings::default(),
            http: HttpSettings {
                not_leader_error: 1496,
                max_body_bytes: 1,
                head_timeout: second,
                body_timeout: second,
                idle_timeout: second,
            },
            members: Vec::new(),
        };
        NodeOptions {
            me: NodeId(0),
            shard: engine::ids::ShardId(0),
            settings: Arc::new(settings),
            incarnation: Incarnation(1),
            pid: 1,
            started_ms: 0,
            secret: [0; 32],
        }
    }

    fn update(epoch: u64, version: u64) -> ShardUpdate {
        let configuration = Configuration {
            epoch: agency::ids::Epoch(epoch),
            version: Version(version),
            leader: NodeId(0),
            leader_incarnation: Incarnation(1),
            in_sync: NodeSet::of(&[NodeId(0)]),
            members: NodeSet::of(&[NodeId(0)]),
            why: Why::Founded,
            at_ms: 0,
        };
        ShardUpdate { configuration, request: 0, outcome: RequestStatus::None, leader_lost: false }
    }

    #[test]
    fn what_is_known_never_goes_back() {
        let options = options();
        let mut group = Group::new(&options);
        assert!(group.take_update(update(2, 5), &options));
        assert!(!group.take_update(update(1, 4), &options));
        assert_eq!(group.epoch(), Epoch(2));
    }

    #[test]
    #[should_panic(expected = "has an older epoch")]
    fn a_newer_configuration_of_an_older_epoch_stops_the_node() {
        let options = options();
        let mut group = Group::new(&options);
        assert!(group.take_update(update(2, 5), &options));
        group.take_update(update(1, 6), &options);
    }
}
