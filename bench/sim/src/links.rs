//! A node's replication connections: what it sends, what lands where, and how they end.

use crate::mutants::distort;
use crate::network::{Owner, Packet};
use crate::shell::input::Input;
use crate::world::{What, World};
use engine::ids::ShardId;
use engine::log::BufferRange;
use node::events::LinkId;
use node::replication::message;

/// The kernel needs sent bytes for up to this long.
const RELEASE: u64 = 200_000;

impl World {
    pub fn link_send(&mut self, host: usize, shard: ShardId, link: LinkId, mut bytes: Vec<u8>) {
        distort(&mut bytes, message::group_mark(self.configs[host].group));
        if let Some((connection, side)) = self.link_side(host, shard, link) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    /// Sends a header and a range of the log buffer, which the kernel needs for a while.
    pub fn link_send_log(
        &mut self,
        host: usize,
        shard: ShardId,
        link: LinkId,
        mut header: Vec<u8>,
        range: BufferRange,
    ) {
        let life = self.hosts[host].node_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        let actor = &mut node.shards[usize::from(shard.0)];
        let Some(core) = &actor.core else { return };
        let bytes = core.engine().bytes(range);
        let crc = crc32fast::hash(bytes);
        header.extend_from_slice(bytes);
        let at = self.now + 1 + self.dice.below(RELEASE);
        if let Some(entry) = actor.links.get_mut(&link) {
            entry.released_at = entry.released_at.max(at);
        }
        self.at(at, What::SentLog { host, life, shard, link, range, crc });
        self.link_send(host, shard, link, header);
    }

    fn link_side(&self, host: usize, shard: ShardId, link: LinkId) -> Option<(u64, usize)> {
        let entry = self.hosts[host].node.as_ref()?.shards[usize::from(shard.0)].links.get(&link)?;
        let connection = entry.connection.filter(|_| !entry.closing)?;
        let own = |port: &Owner| matches!(port, Owner::Link { host: h, shard: s, link: l, .. } if (*h, *s, *l) == (host, shard, link));
        Some((connection, self.network.side(connection, own)?))
    }

    /// The link is over, whoever ended it: pending sends are released, then the core hears of it.
    pub fn link_ends(&mut self, host: usize, shard: ShardId, link: LinkId) {
        if let Some((connection, side)) = self.link_side(host, shard, link) {
            self.hang_up(connection, side);
        }
        let life = self.hosts[host].node_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        let Some(entry) = node.shards[usize::from(shard.0)].links.get_mut(&link) else { return };
        if !entry.closing {
            entry.closing = true;
            let at = entry.released_at.max(self.now) + 1 + self.dice.below(100_000);
            self.at(at, What::LinkGone { host, life, shard, link });
        }
    }

    pub fn link_gone(&mut self, host: usize, life: u64, shard: ShardId, link: LinkId) {
        let Some(node) = self.hosts[host].living(life) else { return };
        if node.shards[usize::from(shard.0)].links.remove(&link).is_some() {
            self.input(host, shard, Input::LinkClosed { link });
        }
    }

    pub fn sent_log(
        &mut self,
        host: usize,
        life: u64,
        shard: ShardId,
        link: LinkId,
        range: BufferRange,
        crc: u32,
    ) {
        let Some(node) = self.hosts[host].living(life) else { return };
        let actor = &node.shards[usize::from(shard.0)];
        let Some(core) = &actor.core else { return };
        // Nobody takes in what a closing connection still carries.
        let matters = actor.links.get(&link).is_some_and(|entry| !entry.closing);
        if matters && crc32fast::hash(core.engine().bytes(range)) != crc {
            let what = format!("host {host}: bytes at LSN {} changed while they were sent", range.start.0);
            return self.violated("buffers", what);
        }
        self.input(host, shard, Input::LinkSentLog { link, range });
    }

    pub fn link_bytes(&mut self, host: usize, shard: ShardId, link: LinkId, bytes: Vec<u8>) {
        let Some(node) = &mut self.hosts[host].node else { return };
        let Some(entry) = node.shards[usize::from(shard.0)].links.get_mut(&link) else { return };
        entry.receiver.arrive(bytes);
        self.fill(host, shard, link);
    }

    /// Moves what has arrived to where it is wanted, as the kernel does: also while the process stands still.
    pub fn fill(&mut self, host: usize, shard: ShardId, link: LinkId) {
        let Some(node) = &mut self.hosts[host].node else { return };
        let actor = &mut node.shards[usize::from(shard.0)];
        let Some(entry) = actor.links.get_mut(&link) else { return };
        if let Some(input) = entry.receiver.fill(link, actor.core.as_deref_mut(), entry.closing) {
            self.input(host, shard, input);
        }
    }
}
