//! Heartbeats: signs of life, gossip, leases asked for and granted, death notices, and the repair of lost
//! announcements.

use super::Overseer;
use crate::detector::{Hang, Standstill};
use crate::events::Command;
use crate::ids::{Epoch, Incarnation, NodeId, NodeSet, ShardId, Version};
use crate::message::{Message, NodeReport, Proof, ShardBeat};
use crate::mutants::{Mutant, lacks};
use crate::proposer::Attempt;
use crate::shard::ShardProgress;
use std::time::Duration;

/// Answers to heartbeats older than this many are of no use.
const REMEMBERED_BEATS: usize = 64;

impl Overseer {
    pub(super) fn link(&mut self, node: NodeId, up: bool) {
        if !self.others().contains(node) {
            return;
        }
        let peer = self.peer_mut(node);
        (peer.linked, peer.fresh) = (up, up);
        peer.knows_us &= !up;
        self.view_dirty = true;
        if up {
            self.beat_now = true;
            for shard in &mut self.shards {
                shard.proposer.reachable(node);
            }
        }
    }

    /// Whether this shard may ask for its lease to be renewed, and for which epoch.
    fn asks(&self, shard: ShardId) -> Option<Epoch> {
        let s = self.shard(shard);
        let c = s.decided?;
        let moves = self.standstill(shard).is_none();
        (self.leads(&c) && !s.released && !self.node.killed && moves && self.ready(self.options.me, shard))
            .then_some(c.epoch)
    }

    /// Whether the node leads the shard and this warden, which could, does not ask for its lease any more.
    fn withholds(&self, shard: ShardId) -> bool {
        let stands = self.node.killed || self.standstill(shard).is_some();
        self.shard(shard).decided.is_some_and(|c| self.leads(&c)) && stands
    }

    fn standstill(&self, shard: ShardId) -> Option<Standstill> {
        self.detector.standstill(self.now, shard, &self.options.timing)
    }

    /// Says why a lease is withheld from now on: what came of it is in the history, and this is why.
    fn tell_withheld(&mut self) {
        for shard in self.shard_ids() {
            let withholds = self.withholds(shard);
            let s = self.shard_mut(shard);
            if std::mem::replace(&mut s.withheld, withholds) == withholds {
                continue;
            }
            let line = match self.standstill(shard) {
                _ if !withholds => format!("shard {}: its lease is no longer withheld", shard.0),
                Some(why) => format!("shard {}: its lease is withheld: {why}", shard.0),
                None => format!("shard {}: its lease is withheld: its node is being killed", shard.0),
            };
            self.say(line);
        }
    }

    pub(super) fn send_heartbeats(&mut self) {
        self.tell_withheld();
        self.beat_now = false;
        self.next_beat = self.now + self.options.timing.heartbeat;
        self.beat += 1;
        self.sent.push_back((self.beat, self.now));
        if self.sent.len() > REMEMBERED_BEATS {
            self.sent.pop_front();
        }
        assert!(self.sent.len() <= REMEMBERED_BEATS, "beats are remembered for a while only");
        let me = self.options.me;
        let beat = |shard| {
            let s = self.shard(shard);
            ShardBeat {
                accepted: s.acceptor.accepted().map_or(Version(0), |a| a.1.version),
                decided: s.decided.map_or(Version(0), |c| c.version),
                asks: self.asks(shard),
                withheld: self.withholds(shard),
                waits: self.waits(me, shard),
                progress: self.progress_of(me, shard),
            }
        };
        let shards: Vec<ShardBeat> = self.shard_ids().map(beat).collect();
        let silent_after = self.options.timing.link_silent_after;
        let heard = |n: &NodeId| {
            let peer = self.peer(*n);
            peer.met && !peer.fresh && peer.silent < silent_after
        };
        let hears = self.others().iter().filter(heard);
        let message = Message::Heartbeat {
            seq: self.beat,
            report: NodeReport {
                pid: self.node.pid,
                warden_pid: self.options.warden_pid,
                incarnation: self.node.incarnation,
                running: self.node.running,
                dead: self.node.dead,
                hung: self.node.hung,
                disk_id: self.node.disk_id,
            },
            hears: hears.fold(NodeSet::default(), NodeSet::with),
            suspects: self.suspects,
            shards: shards.clone(),
        };
        for node in self.others().iter() {
            self.outbox.message(node, message.clone());
        }
        for shard in self.shard_ids() {
            self.offer_yield(shard);
        }
        let granted = self.grant(me, self.beat, self.node.incarnation, &shards);
        self.on_granted(me, self.beat, self.node.incarnation, granted);
    }

    /// Grants what `from` asks for, as far as what this agent durably knows says that it leads.
    fn grant(
        &mut self,
        from: NodeId,
        seq: u64,
        incarnation: Incarnation,
        beats: &[ShardBeat],
    ) -> Vec<(ShardId, Epoch)> {
        let mut granted = Vec::new();
        if !self.joined || self.proven_dead(from) >= incarnation {
            return granted;
        }
        let (now, timing) = (self.now, self.options.timing);
        for (shard, beat) in self.shard_ids().zip(beats) {
            let (Some(epoch), Some(newest)) = (beat.asks, self.newest_durable(shard)) else { continue };
            let leads =
                newest.leader == from && newest.epoch == epoch && newest.leader_incarnation == incarnation;
            if leads && self.shard_mut(shard).grantor.grant(now, &newest, seq, &timing) {
                granted.push((shard, epoch));
            }
        }
        granted
    }

    pub(super) fn on_granted(
        &mut self,
        from: NodeId,
        seq: u64,
        incarnation: Incarnation,
        granted: Vec<(ShardId, Epoch)>,
    ) {
        let Some((_, sent)) = self.sent.iter().find(|(s, _)| *s == seq).copied() else { return };
        if incarnation != self.node.incarnation {
            return;
        }
        assert!(seq <= self.beat && sent <= self.now, "nothing is granted before it is asked for");
        let timing = self.options.timing;
        for (shard, epoch) in granted {
            if self.has(shard) {
                self.shard_mut(shard).holder.granted(from, epoch, seq, sent, &timing);
            }
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        from: NodeId,
        seq: u64,
        report: NodeReport,
        hears: NodeSet,
        suspects: NodeSet,
        beats: Vec<ShardBeat>,
    ) {
        let fresh = std::mem::take(&mut self.peer_mut(from).fresh);
        self.identify(from, report.incarnation, report.disk_id, fresh);
        let hears_us = hears.contains(self.options.me);
        let lease = self.options.timing.lease;
        let returned = self.silence(from) >= lease || !self.peer(from).met;
        let before = self.peer(from).report;
        let changed = returned
            || (before.running, before.incarnation, before.dead)
                != (report.running, report.incarnation, report.dead);
        let was_stopping = self.stopping(from);
        let peer = self.peer_mut(from);
        if !peer.met || hears_us || lacks(Mutant::BelievesOneWay) {
            peer.deaf = Duration::ZERO;
        }
        peer.met = true;
        peer.hears = hears;
        peer.knows_us |= hears_us;
        peer.silent = Duration::ZERO;
        peer.suspects = suspects;
        // A proof outlives what an older, late heartbeat says.
        let (dead, hung) =
            if report.dead >= before.dead { (report.dead, report.hung) } else { (before.dead, before.hung) };
        let running = report.running && report.incarnation > dead;
        peer.report = NodeReport { dead, hung, running, ..report };
        peer.accepted = beats.iter().map(|b| b.accepted).collect();
        peer.withheld = beats.iter().map(|b| b.withheld).collect();
        peer.waits = beats.iter().map(|b| b.waits).collect();
        peer.progress = beats.iter().map(|b| b.progress).collect();
        let deaf = peer.deaf;
        self.view_dirty |= changed || self.stopping(from) != was_stopping;
        if dead > before.dead {
            self.void_leases_of(Proof::Died(from, dead));
        }
        for (shard, beat) in self.shard_ids().zip(&beats) {
            let have = self.shard(shard).decided.map_or(Version(0), |c| c.version);
            if beat.decided > have {
                self.outbox.pull(from, shard, have);
            }
        }
        // One direction dead is link dead (rule 16): who does not hear us gets nothing from us.
        if deaf < self.options.timing.link_silent_after {
            let shards = self.grant(from, seq, report.incarnation, &beats);
            if !shards.is_empty() {
                self.outbox.message(from, Message::Granted { seq, incarnation: report.incarnation, shards });
            }
        }
    }

    pub(super) fn on_died(&mut self, from: NodeId, incarnation: Incarnation, hung: bool) {
        let report = &mut self.peer_mut(from).report;
        if incarnation <= report.dead {
            return;
        }
        report.dead = incarnation;
        report.hung = hung;
        report.incarnation = report.incarnation.max(incarnation);
        report.running &= report.incarnation > incarnation;
        self.view_dirty = true;
        self.void_leases_of(Proof::Died(from, incarnation));
    }

    pub(super) fn on_node_died(&mut self, incarnation: Incarnation) {
        if incarnation <= self.node.dead {
            return;
        }
        let me = self.options.me;
        let hung = self.node.killed && incarnation == self.node.incarnation;
        self.node.dead = incarnation;
        self.node.hung = hung;
        if incarnation >= self.node.incarnation {
            self.node.running = false;
        }
        self.view_dirty = true;
        self.beat_now = true;
        for node in self.others().iter() {
            self.outbox.message(node, Message::Died { incarnation, hung });
        }
        self.void_leases_of(Proof::Died(me, incarnation));
        if incarnation < self.node.incarnation {
            // A notice that was late: what the node of today wants still stands.
            return;
        }
        for shard in &mut self.shards {
            shard.request = None;
            // Rule 4: what the dead leader wanted must not now shut out its successor. If it was accepted
            // anywhere, the successor finds it.
            if matches!(shard.proposer.attempt(), Attempt::Accepting { .. })
                || shard.proposer.unsettled.is_some()
            {
                shard.proposer.abandon();
            }
        }
    }

    pub(super) fn on_progress(&mut self, progress: Vec<ShardProgress>, out: &mut Vec<Command>) {
        if !self.node.running {
            return;
        }
        let needed = self.shard_ids().any(|shard| self.is_needed(shard));
        let hang = self.detector.observe(self.now, &progress, needed, &self.options.timing);
        let me = self.options.me;
        let was_stopping = self.stopping(me);
        self.node.progress = progress;
        if self.waits_for_disk() {
            self.node.waited_at = Some(self.now);
        }
        if self.stopping(me) != was_stopping {
            // The others wait for this to know what the end of this node means.
            (self.beat_now, self.view_dirty) = (true, true);
        }
        if self.node.up_since.is_none() && self.shard_ids().all(|s| self.ready(me, s)) {
            self.node.up_since = Some(self.now);
            self.beat_now = true;
        }
        if let Some(hang) = hang {
            let what = match hang {
                Hang::Loop(s) => format!("the loop of shard {} stands still", s.0),
                Hang::Disk(s) => format!("a log write of shard {} does not complete", s.0),
            };
            self.node.killed = true;
            self.say(format!("{what}: killing incarnation {}", self.node.incarnation.0));
            out.push(Command::KillNode(self.node.incarnation));
        }
    }
}
