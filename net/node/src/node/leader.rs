//! What a leader does: feed its followers, count their cursors, and ask for changes of the configuration.

use super::{Node, ReadFor, Role, commit, engine_epoch, routing, settles};
use crate::mutants::{Mutant, lacks};
use crate::replication::message::{self, DAMAGED, EAGER, Header, Kind, Refusal};
use crate::replication::peer::{APPEND_BYTES, Cursors, Peer};
use crate::seam::{Action, Landing, LinkId};
use crate::settings::Ack;
use agency::configuration::{Change, Configuration, EvictReason};
use agency::ids::{MAX_MEMBERS, Nanos, NodeId, NodeSet};
use agency::shard::{ShardRequest, ShardUpdate};
use engine::error::AppendError;
use engine::ids::{Epoch, Lsn};
use engine::log::BufferRange;
use std::collections::BTreeMap;

/// A learner this close to the end of the log, in bytes, is proposed for admission.
const ADMIT_LAG_BYTES: u64 = 256 << 10;
/// A handoff that cannot drain within this is given up.
const DRAIN_PATIENCE: Nanos = Nanos(1_000_000_000);
/// Pause before a refused change is asked for again.
const ASK_AGAIN: Nanos = Nanos(5_000_000);

/// How far a leader is in taking up its leadership (rule 19).
enum Phase {
    /// Waits until nothing else writes into the log buffer, then begins the epoch.
    Taking,
    /// The epoch-start frame ends here; nothing is served before it is committed.
    Starting {
        until: Lsn,
    },
    Serving,
}

struct Handoff {
    to: Option<NodeId>,
    since: Nanos,
}

/// A follower's connection between its first header and its welcome.
struct Greeting {
    header: Header,
}

/// The leadership of one epoch.
pub(super) struct Leader {
    pub(super) epoch: Epoch,
    phase: Phase,
    peers: BTreeMap<NodeId, Peer>,
    greetings: BTreeMap<LinkId, Greeting>,
    /// Links whose ranges the kernel may still read though their peer is gone.
    leaving: BTreeMap<LinkId, Peer>,
    /// The change asked for whose outcome is not known.
    pending: Option<ShardRequest>,
    /// The learner whose admission is about to be asked for. It counts for the commit already (rule 17), so
    /// that what is committed without it stands still until it holds all of that.
    joining: Option<NodeId>,
    ask_at: Nanos,
    handoff: Option<Handoff>,
    /// Since when, in attended time, each member has had no connection that counts.
    missing_since: [Nanos; MAX_MEMBERS],
    /// Members found to have lost what they had acknowledged (rule 8), or to be damaged.
    untrusted: NodeSet,
    /// The most each member ever acknowledged as durable in this epoch.
    acknowledged: [Lsn; MAX_MEMBERS],
}

impl Leader {
    pub(super) fn new(epoch: Epoch, attended: Nanos) -> Leader {
        Leader {
            epoch,
            phase: Phase::Taking,
            peers: BTreeMap::new(),
            greetings: BTreeMap::new(),
            leaving: BTreeMap::new(),
            pending: None,
            joining: None,
            ask_at: Nanos(0),
            handoff: None,
            missing_since: [attended; MAX_MEMBERS],
            untrusted: NodeSet::default(),
            acknowledged: [Lsn(0); MAX_MEMBERS],
        }
    }

    /// Whether requests are executed; otherwise they are parked.
    pub(super) fn serves(&self) -> bool {
        let started = matches!(self.phase, Phase::Serving)
            || matches!(self.phase, Phase::Starting { .. }) && lacks(Mutant::ServesBeforeStart);
        started && self.handoff.is_none()
    }

    /// Whether a follower could still take over before an orderly stop.
    pub(super) fn handoff_possible(&self) -> bool {
        self.handoff.is_some()
    }

    /// How many followers hold everything up to `lsn`, by `cursor`.
    pub(super) fn copies(&self, lsn: Lsn, cursor: impl Fn(Cursors) -> Lsn) -> u32 {
        self.peers.values().filter_map(Peer::cursors).filter(|c| cursor(*c) >= lsn).count() as u32
    }

    /// Followers with a counting connection: (node, cursors).
    pub(super) fn followers(&self) -> impl Iterator<Item = (NodeId, Cursors)> {
        self.peers.iter().filter_map(|(node, peer)| Some((*node, peer.cursors()?)))
    }

    pub(super) fn released(&mut self, link: LinkId, range: BufferRange) {
        let peers = self.peers.values_mut().chain(self.leaving.values_mut());
        if let Some(peer) = peers.into_iter().find(|peer| peer.link == link) {
            peer.note_released(range);
        }
    }

    pub(super) fn note_update(&mut self, update: &ShardUpdate) {
        if self.pending.is_some_and(|request| settles(update, &request)) {
            if matches!(self.pending.map(|r| r.change), Some(Change::Handoff(_))) {
                self.handoff = None;
            }
            self.pending = None;
        }
    }

    pub(super) fn close(self, out: &mut Vec<Action>) {
        let links = self.peers.values().map(|peer| peer.link).chain(self.greetings.keys().copied());
        out.extend(links.map(|link| Action::LinkClose { link }));
    }

    pub(super) fn deadline(&self, committed: Lsn) -> Nanos {
        self.peers.values().map(|peer| peer.sign_of_life_at(committed)).min().unwrap_or(Nanos(u64::MAX))
    }

    fn node_of(&self, link: LinkId) -> Option<NodeId> {
        self.peers.iter().find(|(_, peer)| peer.link == link).map(|(node, _)| *node)
    }

    fn lowest_in_flight(&self) -> Option<Lsn> {
        self.peers.values().chain(self.leaving.values()).filter_map(Peer::lowest_in_flight).min()
    }
}

impl Node {
    pub(super) fn header(&self, kind: Kind, epoch: Epoch, lsn: Lsn, a: u64) -> Header {
        Header {
            kind,
            shard: self.options.shard,
            from: self.options.me.0,
            flags: 0,
            body_bytes: 0,
            epoch,
            lsn,
            a,
            b: 0,
            group: message::group_mark(self.options.settings.group),
        }
    }

    /// A node that says hello to us.
    pub(super) fn link_accepted(&mut self, link: LinkId, bytes: &[u8], out: &mut Vec<Action>) {
        let header = Header::decode(bytes, message::group_mark(self.options.settings.group));
        let Ok(header) = header else {
            out.push(Action::LinkClose { link });
            return;
        };
        let Role::Leader(leader) = &mut self.role else {
            return self.refuse(link, Refusal::NotLeader, out);
        };
        let known = (header.from as usize) < MAX_MEMBERS
            && self.update.is_some_and(|u| u.configuration.members.contains(NodeId(header.from)));
        let sane = header.kind == Kind::Hello && header.body_bytes <= message::MAX_HISTORY_BYTES;
        if !sane || header.epoch != leader.epoch || !known {
            return self.refuse(link, Refusal::NotLeader, out);
        }
        leader.greetings.insert(link, Greeting { header });
        if header.body_bytes == 0 {
            self.welcome(link, &[], out);
        } else {
            out.push(Action::LinkReceive { link, into: Landing::Memory(header.body_bytes) });
        }
    }

    fn refuse(&mut self, link: LinkId, why: Refusal, out: &mut Vec<Action>) {
        let epoch = self.update.map_or(Epoch(0), |update| engine_epoch(update.configuration.epoch));
        let bytes = self.header(Kind::Refuse, epoch, Lsn(0), why as u64).encode();
        out.push(Action::LinkSend { link, bytes });
        out.push(Action::LinkClose { link });
    }

    fn welcome(&mut self, link: LinkId, body: &[u8], out: &mut Vec<Action>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(Greeting { header }) = leader.greetings.remove(&link) else { return };
        let Some(history) = message::decode_history(body) else {
            out.push(Action::LinkClose { link });
            return;
        };
        if matches!(leader.phase, Phase::Taking) {
            // The epoch has no first frame yet, so there is no end of the log to welcome anybody to. The
            // follower calls again at once.
            out.push(Action::LinkClose { link });
            return;
        }
        let node = NodeId(header.from);
        let common = if lacks(Mutant::TruncatesByLength) {
            self.shard.tail().min(header.lsn)
        } else {
            self.shard.history().common_point(self.shard.tail(), &history, header.lsn)
        };
        if common < self.shard.oldest() {
            return self.refuse(link, Refusal::LogGone, out);
        }
        // Rule 8: it must hold what it acknowledged to us, and what was committed before us.
        let owed = leader.acknowledged[node.0 as usize].max(self.shard.committed());
        let in_sync = self.update.is_some_and(|u| u.configuration.in_sync.contains(node));
        if header.flags & DAMAGED != 0 || (in_sync && common < owed) {
            leader.untrusted = leader.untrusted.with(node);
        }
        if let Some(old) = leader.peers.insert(node, Peer::new(link, common, self.now, self.attended)) {
            out.push(Action::LinkClose { link: old.link });
            leader.leaving.insert(old.link, old);
        }
        let epoch = leader.epoch;
        let committed = self.shard.committed();
        let bytes = self.header(Kind::Welcome, epoch, common, committed.0).encode();
        out.push(Action::LinkSend { link, bytes });
        out.push(Action::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
    }

    /// Bytes on a connection that a follower opened to us.
    pub(super) fn leader_bytes(&mut self, link: LinkId, bytes: &[u8], out: &mut Vec<Action>) {
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.greetings.contains_key(&link) {
            return self.welcome(link, bytes, out);
        }
        let Some(node) = leader.node_of(link) else { return };
        let header = Header::decode(bytes, message::group_mark(self.options.settings.group));
        let accepted = match header {
            Ok(h) if h.kind == Kind::Ack && h.epoch == leader.epoch => {
                let claim = Cursors { received: h.lsn, durable: Lsn(h.a), applied: Lsn(h.b) };
                let peer = leader.peers.get_mut(&node).expect("node_of found it");
                let fine = peer.acknowledged(claim, self.shard.tail(), self.attended);
                let most = &mut leader.acknowledged[node.0 as usize];
                *most = claim.durable.max(*most);
                fine
            }
            _ => false,
        };
        out.push(if accepted {
            Action::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) }
        } else {
            Action::LinkClose { link }
        });
    }

    pub(super) fn leader_link_closed(&mut self, link: LinkId) {
        let Role::Leader(leader) = &mut self.role else { return };
        leader.greetings.remove(&link);
        leader.leaving.remove(&link);
        if let Some(node) = leader.node_of(link) {
            leader.peers.remove(&node);
            leader.missing_since[node.0 as usize] = self.attended;
        }
    }

    pub(super) fn handoff_wanted(&mut self, to: Option<NodeId>) {
        if let Role::Leader(leader) = &mut self.role
            && leader.handoff.is_none()
        {
            leader.handoff = Some(Handoff { to, since: self.now });
        }
    }

    /// What a leader does at the end of each turn before the disk is asked.
    pub(super) fn lead_turn(&mut self, out: &mut Vec<Action>) {
        let Role::Leader(leader) = &mut self.role else { return };
        match leader.phase {
            Phase::Taking if self.landing.is_none() && !self.shard.rewinding() => {
                match self.shard.begin_epoch(leader.epoch, self.wall_ms) {
                    Ok(until) => leader.phase = Phase::Starting { until },
                    Err(AppendError::BufferFull | AppendError::NoSegment | AppendError::DiskFull) => {}
                    Err(error) => {
                        let epoch = leader.epoch;
                        return self.fail(format!("cannot begin epoch {epoch}: {error}"), out);
                    }
                }
            }
            Phase::Taking => {}
            Phase::Starting { until } if self.shard.committed() >= until => leader.phase = Phase::Serving,
            Phase::Starting { .. } | Phase::Serving => {}
        }
        self.want_change(out);
        self.drain_for_handoff(out);
    }

    /// Evictions and admissions. One change is asked for at a time.
    fn want_change(&mut self, out: &mut Vec<Action>) {
        let Some(configuration) = self.update.map(|update| update.configuration) else { return };
        let evict_after = Nanos(self.options.settings.evict_after.as_nanos() as u64);
        let Role::Leader(leader) = &mut self.role else { return };
        let (now, end) = (self.attended, self.shard.tail());
        for peer in leader.peers.values_mut() {
            peer.rest(end, now);
        }
        if matches!(leader.phase, Phase::Taking) || leader.pending.is_some() || self.now < leader.ask_at {
            return;
        }
        leader.joining = None;
        let followers = configuration.in_sync.without(self.options.me);
        // Out of the in-sync set a node is a learner: what it has is what we sent it.
        leader.untrusted = NodeSet(leader.untrusted.0 & followers.0);
        let lost = followers.iter().filter(|node| {
            let silent = match leader.peers.get(node) {
                Some(peer) if peer.cursors().is_some() => peer.silent_for(end, now),
                _ => Nanos(now.0 - leader.missing_since[node.0 as usize].0),
            };
            silent > evict_after || leader.untrusted.contains(*node) || routing::is_gone(&self.view, *node)
        });
        let lost = lost.fold(NodeSet::default(), NodeSet::with);
        let change = if !lost.is_empty() {
            Some(Change::Evict(lost, EvictReason::Gone))
        } else if matches!(leader.phase, Phase::Serving) && leader.handoff.is_none() {
            let committed = self.shard.committed();
            let learner = self.learner_to_admit(&configuration);
            if let Role::Leader(leader) = &mut self.role {
                leader.joining = learner.map(|(node, _)| node).filter(|_| !lacks(Mutant::AdmitsEarly));
            }
            // Rule 6: what was committed without it, it must hold before anybody may promote it.
            let holds_it = |cursors: Cursors| cursors.durable >= committed || lacks(Mutant::AdmitsEarly);
            learner.filter(|(_, cursors)| holds_it(*cursors)).map(|(node, _)| Change::Admit(node))
        } else {
            None
        };
        let Some(change) = change else { return };
        let request = self.ask(change, out);
        let again = Nanos(self.now.0 + ASK_AGAIN.0);
        if let Role::Leader(leader) = &mut self.role {
            leader.pending = request;
            leader.ask_at = again;
        }
    }

    /// A learner that is close to the end of the log and keeps moving.
    fn learner_to_admit(&self, configuration: &Configuration) -> Option<(NodeId, Cursors)> {
        let Role::Leader(leader) = &self.role else { return None };
        let evict_after = Nanos(self.options.settings.evict_after.as_nanos() as u64);
        let end = self.shard.tail();
        let close = |node: &NodeId, c: Cursors| {
            let silent = leader.peers.get(node).map_or(Nanos(u64::MAX), |p| p.silent_for(end, self.attended));
            c.durable.0 + ADMIT_LAG_BYTES >= end.0 && silent <= evict_after
        };
        leader
            .followers()
            .filter(|(node, _)| !configuration.in_sync.contains(*node))
            .find(|(node, cursors)| close(node, *cursors) && !routing::is_gone(&self.view, *node))
    }

    /// A planned handoff: once everything is committed, on the successor's disk and answered, ask for the swap.
    fn drain_for_handoff(&mut self, out: &mut Vec<Action>) {
        let Some(configuration) = self.update.map(|update| update.configuration) else { return };
        let quiet = self.all_answered();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(handoff) = &leader.handoff else { return };
        if leader.pending.is_some() {
            return;
        }
        let (to, since) = (handoff.to, handoff.since);
        let best = leader
            .followers()
            .filter(|(node, _)| configuration.in_sync.contains(*node))
            .filter(|(node, _)| to.is_none_or(|to| to == *node))
            .max_by_key(|(_, cursors)| cursors.durable);
        let end = self.shard.tail();
        match best {
            Some((to, cursors)) if cursors.durable == end && self.shard.committed() == end && quiet => {
                let request = self.ask(Change::Handoff(to), out);
                if let Role::Leader(leader) = &mut self.role {
                    leader.pending = request;
                }
            }
            Some(_) if self.now.0 < since.0 + DRAIN_PATIENCE.0 => {}
            _ => leader.handoff = None,
        }
    }

    /// Sends what followers may have: frames from the log buffer, else from the disk, else a sign of life.
    pub(super) fn send_frames(&mut self, out: &mut Vec<Action>) {
        let Role::Leader(leader) = &mut self.role else { return };
        if matches!(leader.phase, Phase::Taking) {
            return;
        }
        let committed = self.shard.committed();
        let eager = matches!(self.options.settings.ack, Ack::Received)
            || self.clients.waits_for_receipts()
            || self.errands.waits_for_receipts();
        let mut header = Header {
            kind: Kind::Append,
            shard: self.options.shard,
            from: self.options.me.0,
            flags: if eager { EAGER } else { 0 },
            body_bytes: 0,
            epoch: leader.epoch,
            lsn: Lsn(0),
            a: committed.0,
            b: 0,
            group: message::group_mark(self.options.settings.group),
        };
        let append_bytes = self.append_bytes();
        let Role::Leader(leader) = &mut self.role else { return };
        let mut behind = Vec::new();
        for (node, peer) in &mut leader.peers {
            while !peer.reading && peer.sent < self.shard.tail() && peer.window() > 0 {
                if !self.shard.in_buffer(peer.sent) {
                    peer.reading = true;
                    behind.push((*node, peer.link, peer.sent));
                    break;
                }
                let Some(range) = self.shard.send_range(peer.sent, append_bytes) else { break };
                header.lsn = range.start;
                header.body_bytes = range.len;
                peer.note_sent(range.len as u64, Some(range), committed, self.now);
                out.push(Action::LinkSendLog { link: peer.link, header: header.encode(), range });
            }
            if !peer.reading && peer.sign_of_life_due(committed, self.now) {
                header.lsn = peer.sent;
                header.body_bytes = 0;
                peer.note_sent(0, None, committed, self.now);
                out.push(Action::LinkSend { link: peer.link, bytes: header.encode() });
            }
        }
        let lowest = leader.lowest_in_flight();
        self.shard.hold(lowest);
        for (node, link, from) in behind {
            let (spec, skip, len) = self.shard.read_log(from, append_bytes);
            let ticket = self.ticket();
            self.reads.insert(ticket, ReadFor::CatchUp { node, link, from, skip, len });
            out.push(Action::Read { ticket, spec });
        }
    }

    /// A follower takes at most half of its log buffer at once.
    fn append_bytes(&self) -> usize {
        APPEND_BYTES.min(self.shard.buffer().capacity() / 4)
    }

    /// The log from `from` on came from the disk: the blocks, with the bytes to skip and those wanted.
    pub(super) fn catch_up_read(
        &mut self,
        node: NodeId,
        link: LinkId,
        from: Lsn,
        read: Option<(&[u8], usize, usize)>,
        out: &mut Vec<Action>,
    ) {
        let sound = read.map_or(&[][..], |(bytes, skip, len)| {
            let bytes = &bytes[skip..skip + len];
            &bytes[..self.shard.sound_frames(from, bytes)]
        });
        if sound.is_empty() {
            return self.catch_up_stopped(node, link, from, read.map(|(bytes, ..)| bytes), out);
        }
        self.send_catch_up(node, link, from, sound, out);
    }

    /// Sends sound frames that came from the disk.
    pub(super) fn send_catch_up(
        &mut self,
        node: NodeId,
        link: LinkId,
        from: Lsn,
        frames: &[u8],
        out: &mut Vec<Action>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.peers.get_mut(&node).filter(|p| p.link == link && p.sent == from) else {
            return;
        };
        peer.reading = false;
        let whole = frames.len();
        let committed = self.shard.committed();
        peer.note_sent(whole as u64, None, committed, self.now);
        let epoch = leader.epoch;
        let mut header = self.header(Kind::Append, epoch, from, committed.0);
        header.body_bytes = whole;
        let mut message = header.encode();
        message.extend_from_slice(frames);
        out.push(Action::LinkSend { link, bytes: message });
    }

    /// Moves the commit LSN to what every needed node has on disk.
    pub(super) fn count_commit(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        if matches!(leader.phase, Phase::Taking) {
            return;
        }
        let least = self.least_copy(self.shard.durable(), |cursors| cursors.durable);
        self.shard.commit_to(least);
        if let Role::Leader(leader) = &mut self.role
            && let Phase::Starting { until } = leader.phase
            && self.shard.committed() >= until
        {
            leader.phase = Phase::Serving;
        }
    }

    /// The end of what every needed node holds, where this node holds `mine`.
    pub(super) fn least_copy(&self, mine: Lsn, cursor: impl Fn(Cursors) -> Lsn) -> Lsn {
        let (Role::Leader(leader), Some(update)) = (&self.role, &self.update) else { return Lsn(0) };
        let needed = commit::needed(&update.configuration, leader.pending.as_ref());
        let joining = leader.joining.filter(|_| !lacks(Mutant::IgnoresPendingAdmission));
        let needed = joining.map_or(needed, |learner| needed.with(learner));
        let needed = if lacks(Mutant::DropsSilentFollowers) { self.heard_of(needed) } else { needed };
        let cursors = |node: NodeId| {
            let peer = leader.peers.get(&node)?;
            if leader.untrusted.contains(node) { None } else { peer.cursors() }
        };
        commit::least(needed, self.options.me, mine, cursors, cursor)
    }

    /// Those that a broken leader would count: without whoever was silent for a while.
    fn heard_of(&self, needed: NodeSet) -> NodeSet {
        let Role::Leader(leader) = &self.role else { return needed };
        let evict_after = Nanos(self.options.settings.evict_after.as_nanos() as u64);
        let end = self.shard.tail();
        let silent = |node: &NodeId| match leader.peers.get(node) {
            Some(peer) => peer.silent_for(end, self.attended) > evict_after,
            None => *node != self.options.me,
        };
        needed.iter().filter(silent).fold(needed, NodeSet::without)
    }
}
