//! What this warden knows of the other members, and of its own node, and whom it counts on.
//!
//! Hints only: nothing here is used where safety is decided, but for proofs of death.

use super::Overseer;
use crate::configuration::{Configuration, Why};
use crate::ids::{Incarnation, Nanos, NodeId, NodeSet, ShardId, Version};
use crate::message::NodeReport;
use crate::mutants::{Mutant, lacks};
use crate::register::Identity;
use crate::shard::{Health, ShardProgress};
use crate::timing::{DISK_CALM, DISK_STALL};
use std::time::Duration;

/// Another member.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub linked: bool,
    /// Whether anything was heard from it in this life of the warden.
    pub met: bool,
    /// It has not said who it is since the link came up.
    pub fresh: bool,
    /// Whom it hears of those that have said who they are since their link came up.
    pub hears: NodeSet,
    /// It has judged who this warden's node is since the link came up (rule 8).
    pub knows_us: bool,
    /// Time without a sign of life, in this warden's own ticks.
    pub silent: Duration,
    /// The same for "it does not hear us" (rule 16: one direction dead is link dead).
    pub deaf: Duration,
    pub report: NodeReport,
    /// Whom it suspects.
    pub suspects: NodeSet,
    /// The newest versions it accepted.
    pub accepted: Vec<Version>,
    /// Of which shards it leads it withholds the lease.
    pub withheld: Vec<bool>,
    /// Under which shards its disk stands still.
    pub waits: Vec<bool>,
    pub progress: Vec<ShardProgress>,
}

/// The own node.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnNode {
    pub pid: u32,
    pub incarnation: Incarnation,
    /// Identity of the disk it was started on.
    pub disk_id: u128,
    pub running: bool,
    /// The newest incarnation proven dead, and whether it had to be killed.
    pub dead: Incarnation,
    pub hung: bool,
    pub killed: bool,
    pub progress: Vec<ShardProgress>,
    /// When it was last seen to wait for its disk.
    pub waited_at: Option<Nanos>,
    /// When every shard had first reported to be up.
    pub up_since: Option<Nanos>,
}

impl Overseer {
    pub(super) fn peer(&self, node: NodeId) -> &Peer {
        &self.peers[usize::from(node.0)]
    }

    pub(super) fn peer_mut(&mut self, node: NodeId) -> &mut Peer {
        &mut self.peers[usize::from(node.0)]
    }

    /// Everybody but this warden.
    pub(super) fn others(&self) -> NodeSet {
        self.options.agents.union(self.options.data_nodes).without(self.options.me)
    }

    /// How long a peer has been as good as gone.
    pub(super) fn silence(&self, node: NodeId) -> Duration {
        let peer = self.peer(node);
        peer.silent.max(peer.deaf)
    }

    /// Agents that answer, this one included.
    pub(super) fn agents_up(&self) -> usize {
        let up = |n: &NodeId| {
            *n == self.options.me
                || (self.peer(*n).linked && self.peer(*n).met && self.silence(*n) < self.options.timing.lease)
        };
        self.options.agents.iter().filter(up).count()
    }

    /// Whether a data node's process runs and its warden answers.
    pub(super) fn node_up(&self, node: NodeId) -> bool {
        if node == self.options.me {
            return self.node.running;
        }
        let peer = self.peer(node);
        peer.met && peer.report.running && self.silence(node) < self.options.timing.lease
    }

    /// The incarnation of a data node that runs now, as far as known.
    pub(super) fn running_incarnation(&self, node: NodeId) -> Option<Incarnation> {
        if node == self.options.me {
            return self.node.running.then_some(self.node.incarnation);
        }
        let peer = self.peer(node);
        (peer.met && peer.report.running).then_some(peer.report.incarnation)
    }

    /// The incarnation last proven dead.
    pub(super) fn proven_dead(&self, node: NodeId) -> Incarnation {
        if node == self.options.me { self.node.dead } else { self.peer(node).report.dead }
    }

    pub(super) fn progress_of(&self, node: NodeId, shard: ShardId) -> ShardProgress {
        let words = if node == self.options.me { &self.node.progress } else { &self.peer(node).progress };
        words.get(usize::from(shard.0)).copied().unwrap_or_default()
    }

    /// Whether this warden may count on its own node to lead `shard`.
    pub(super) fn ready(&self, node: NodeId, shard: ShardId) -> bool {
        self.node_up(node)
            && !self.suspect(node)
            && self.progress_of(node, shard).health == Health::Ready
            && !(node == self.options.me && self.node.killed)
    }

    /// Whether a data node's newest incarnation said that it stops in order.
    pub(super) fn stopping(&self, node: NodeId) -> bool {
        let words = if node == self.options.me { &self.node.progress } else { &self.peer(node).progress };
        words.iter().any(|p| p.stopping)
    }

    /// Whether `node` may be made leader of `shard`: it can be counted on, and for longer than it takes to stop.
    pub(super) fn may_follow_on(&self, node: NodeId, shard: ShardId) -> bool {
        self.ready(node, shard) && (!self.stopping(node) || lacks(Mutant::PromotesTheStopping))
    }

    /// Whether the own node stands still itself, or waits for its disk: then what looks like the end of the leader
    /// may be a stall that both share.
    pub(super) fn hampered(&self, shard: ShardId) -> bool {
        let stands = !self.detector.is_lively(shard, &self.options.timing);
        // The leader's disk may be back as well, a moment later: it is given the time to have its lease renewed.
        let waited = self.node.waited_at.is_some_and(|at| self.now.since(at) < DISK_CALM);
        !lacks(Mutant::CampaignsOnAStalledDisk) && (stands || waited)
    }

    /// Whether the own node leads `shard` and nobody better is in place: no other member in sync that could lead and whose
    /// disk moves.
    pub(super) fn is_needed(&self, shard: ShardId) -> bool {
        let me = self.options.me;
        let better = |n: NodeId| self.may_follow_on(n, shard) && !self.waits(n, shard);
        let led = self.shard(shard).decided.filter(|c| self.leads(c));
        led.is_some_and(|c| !c.in_sync.without(me).iter().any(better))
    }

    /// Whether the own node has been waiting for its disk.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.shard_ids().any(|shard| self.waits(self.options.me, shard))
    }

    /// Whether the disk of `node` stands still under `shard`, as far as known.
    pub(super) fn waits(&self, node: NodeId, shard: ShardId) -> bool {
        if node != self.options.me {
            return self.peer(node).waits.get(usize::from(shard.0)) == Some(&true);
        }
        let since = self.progress_of(node, shard).disk_waiting_since;
        since != Nanos(0) && self.now.since(since) > DISK_STALL
    }

    /// Whether the leader of `configuration` is alive as far as its warden says, and its lease is withheld by it.
    pub(super) fn is_withheld(&self, shard: ShardId, configuration: &Configuration) -> bool {
        let peer = self.peer(configuration.leader);
        peer.met
            && peer.report.incarnation == configuration.leader_incarnation
            && peer.withheld.get(usize::from(shard.0)) == Some(&true)
            && !lacks(Mutant::TrustsWithheldLeases)
    }

    /// Rule 8: a node with another identity than it was last trusted with, as far as anybody says. Of its own
    /// node a warden hears it from the others, and believes also those that have fallen silent since.
    pub(super) fn suspect(&self, node: NodeId) -> bool {
        let says = |n: NodeId| {
            let (peer, lease) = (self.peer(n), self.options.timing.lease);
            peer.met && peer.suspects.contains(node) && (node == self.options.me || self.silence(n) < lease)
        };
        self.suspects.contains(node) || self.others().iter().any(says)
    }

    /// Whether `configuration`'s leader is the very incarnation of this node that runs now (rule 18).
    pub(super) fn leads(&self, configuration: &Configuration) -> bool {
        configuration.leader == self.options.me
            && self.node.running
            && configuration.leader_incarnation == self.node.incarnation
            && !self.suspect(self.options.me)
    }

    /// Compares what `node` says of itself with what it was last trusted with, and remembers the newer.
    /// An older incarnation counts only at the start of a link; later it is a message that was late.
    pub(super) fn identify(&mut self, node: NodeId, incarnation: Incarnation, disk_id: u128, fresh: bool) {
        if !self.options.data_nodes.contains(node) || incarnation == Incarnation(0) {
            return;
        }
        let known = self.identities[usize::from(node.0)];
        let judged = fresh || self.suspects.contains(node);
        let older = incarnation < known.incarnation && judged;
        let strange = (known.disk_id != 0 && known.disk_id != disk_id) || older;
        // A person who made this very incarnation a leader vouched for it.
        let vouched = |c: &Configuration| {
            (c.why, c.leader, c.leader_incarnation) == (Why::DataLossAccepted, node, incarnation)
        };
        let trusts = |c: Configuration| c.in_sync.contains(node) && !vouched(&c);
        let trusted_anywhere = self.shards.iter().any(|s| s.decided.is_some_and(trusts));
        if strange && trusted_anywhere && !lacks(Mutant::TrustsStrangers) {
            if !self.suspects.contains(node) {
                self.suspects = self.suspects.with(node);
                self.view_dirty = true;
                self.say(format!(
                    "node {} came back with another disk or as an older incarnation; it must not lead",
                    node.0
                ));
            }
            return;
        }
        if self.suspects.contains(node) {
            self.suspects = self.suspects.without(node);
            self.view_dirty = true;
        }
        let incarnation = if judged { incarnation } else { incarnation.max(known.incarnation) };
        let now = Identity { incarnation, disk_id };
        if known != now {
            self.identities[usize::from(node.0)] = now;
            self.store.dirty = true;
        }
    }

    /// Counts silence in own ticks: while this warden did not look, nobody was silent.
    pub(super) fn count_silence(&mut self) {
        let passed = self.now.since(self.silence_at).min(self.options.timing.tick);
        self.silence_at = self.now;
        for node in self.others().iter() {
            let peer = self.peer_mut(node);
            peer.silent += passed;
            peer.deaf += passed;
        }
    }
}
