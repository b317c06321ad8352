//! The group as the nodes of a Redis Cluster: every shard of every data node is one cluster node with a port
//! and an id of its own.
//!
//! Promises: ids are stable for the life of the group, and every node derives the same ones. Does not find
//! out who leads: the node keeps it current.

/// A shard and where its copies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardTopology {
    /// The shard's number; its place in [`NodeTopology::shard_ports`] too.
    pub id: u16,
    /// First and last slot.
    pub slots: (u16, u16),
    /// The leader, if one is known: index into [`Topology::nodes`].
    pub leader: Option<usize>,
    /// All nodes that have a copy, the leader included: indexes into [`Topology::nodes`].
    pub members: Vec<usize>,
    /// The epoch of its leadership.
    pub epoch: u64,
}

/// A data node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTopology {
    pub name: String,
    /// Its number in the group's configuration.
    pub index: u8,
    /// As clients are to reach it: a host name or an address.
    pub host: String,
    /// Its port for any key.
    pub any_port: u16,
    /// Its port for each shard, by the shard's number.
    pub shard_ports: Vec<u16>,
    /// Whether it is known to live.
    pub up: bool,
}

/// The group as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The group's identity.
    pub group: u128,
    pub shards: Vec<ShardTopology>,
    pub nodes: Vec<NodeTopology>,
    /// This node: index into `nodes`.
    pub me: usize,
}

impl Topology {
    /// The 40 hexadecimal digits that name one shard of one node: group (32), node (4), shard (4).
    pub fn id_of(&self, node: usize, shard: &ShardTopology) -> String {
        format!("{:032x}{:04x}{:04x}", self.group, self.nodes[node].index, shard.id)
    }

    /// Host and port of one shard of one node.
    pub fn endpoint(&self, node: usize, shard: &ShardTopology) -> (&str, u16) {
        let node = &self.nodes[node];
        (&node.host, node.shard_ports[usize::from(shard.id)])
    }

    /// The shard's leader, if one is known and lives.
    pub fn live_leader(&self, shard: &ShardTopology) -> Option<usize> {
        shard.leader.filter(|node| self.nodes[*node].up)
    }

    /// The shard's other members, whether they live or not.
    pub fn followers<'t>(&'t self, shard: &'t ShardTopology) -> impl Iterator<Item = usize> + 't {
        shard.members.iter().copied().filter(|node| Some(*node) != shard.leader)
    }

    /// Whether this node leads some shards, and other nodes others.
    pub fn is_split(&self) -> bool {
        let leads =
            |me: bool| self.shards.iter().any(|s| s.leader.is_some_and(|node| (node == self.me) == me));
        leads(true) && leads(false)
    }

    /// The shard that owns `slot`: an index into `shards`.
    pub fn shard_of_slot(&self, slot: u16) -> Option<usize> {
        self.shards.iter().position(|shard| (shard.slots.0..=shard.slots.1).contains(&slot))
    }

    /// The highest epoch of any shard.
    pub fn epoch(&self) -> u64 {
        self.shards.iter().map(|shard| shard.epoch).max().unwrap_or(0)
    }

    /// Encoded `-MOVED`: the owner of `slot` to turn to, or `-CLUSTERDOWN` if none is known.
    pub fn moved(&self, slot: u16) -> Vec<u8> {
        let owner = self.shard_of_slot(slot).map(|i| &self.shards[i]);
        match owner.and_then(|shard| Some((shard, self.live_leader(shard)?))) {
            Some((shard, leader)) => {
                let (host, port) = self.endpoint(leader, shard);
                format!("-MOVED {slot} {host}:{port}\r\n").into_bytes()
            }
            None => CLUSTER_DOWN.to_vec(),
        }
    }
}

/// The encoded error when nobody leads the key's shard.
pub const CLUSTER_DOWN: &[u8] = b"-CLUSTERDOWN Hash slot not served\r\n";

/// The encoded error for keys that no single shard owns.
pub const CROSS_SLOT: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";

/// The encoded error for a request that should be sent again in a moment.
pub const TRY_AGAIN: &[u8] = b"-TRYAGAIN The shard is changing its leader\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_split_where_two_nodes_lead() {
        for (leaders, split) in [
            (vec![Some(0), Some(0)], false),
            (vec![Some(1), Some(1)], false),
            (vec![Some(0), None], false),
            (vec![None, None], false),
            (vec![Some(0), Some(1)], true),
            (vec![Some(1), None, Some(0)], true),
        ] {
            let shard = |(id, leader): (usize, &Option<usize>)| ShardTopology {
                id: id as u16,
                slots: (0, 0),
                leader: *leader,
                members: vec![0, 1],
                epoch: 1,
            };
            let shards = leaders.iter().enumerate().map(shard).collect();
            let topology = Topology { group: 7, shards, nodes: Vec::new(), me: 0 };
            assert_eq!(topology.is_split(), split, "{leaders:?}");
        }
    }
}
