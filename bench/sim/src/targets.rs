//! Where a fault may strike without asking more of the group than it promises.

use crate::world::World;
use agency::ids::NodeId;

impl World {
    /// Whether this host must not be taken away: another one's damage is still to be found out by comparing.
    pub fn spared(&self, host: usize) -> bool {
        self.checkers.damage.spares(host)
    }

    /// Whether every shard has a whole copy in sync besides this host's, and nothing else is damaged.
    pub fn dispensable(&self, host: usize) -> bool {
        let node = NodeId(host as u8);
        !self.checkers.damage.any_stands()
            && (0..self.scenario.shards).all(|shard| {
                self.checkers
                    .configurations
                    .newest(shard)
                    .is_some_and(|c| !c.in_sync.without(node).is_empty())
            })
    }

    /// Whether nothing is wrong right now: everybody is up and moves, and is reached.
    pub fn calm(&self) -> bool {
        let still = |until: u64| until > self.now;
        self.hosts.iter().enumerate().all(|(place, host)| {
            let warden = host.warden.as_ref().is_some_and(|warden| !still(warden.paused_until));
            let node = host.node.as_ref().is_some_and(|node| node.listens() && !still(node.paused_until));
            warden
                && !still(host.clock.stands_until())
                && (node || place >= self.scenario.data_nodes)
                && host.disks.iter().all(|disk| disk.works(self.now))
        }) && self.network.whole(self.hosts.len(), self.now)
            && self.nemesis.noise_until < self.now
            && self.nemesis.traps.is_empty()
    }

    /// Whether this host follows, in sync, in all shards, and its leaders are the nodes that run.
    pub fn follows(&self, host: usize) -> bool {
        let node = NodeId(host as u8);
        self.calm()
            && (0..self.scenario.shards).all(|shard| {
                self.checkers.configurations.newest(shard).is_some_and(|c| {
                    let leader = self.hosts[usize::from(c.leader.0)].node.as_ref();
                    c.in_sync.contains(node)
                        && c.leader != node
                        && leader.is_some_and(|n| n.incarnation == c.leader_incarnation)
                })
            })
    }
}
