//! What a leader does: feed its followers, count their cursors, and ask for changes of the configuration.

use super::commit;
use super::links::LinkOwner;
use super::message::{self, Ack, Append, Envelope, Farewell, Hello, Message, RefusalReason, Refuse, Welcome};
use super::patience::{Moment, Patience};
use super::peer::{APPEND_BYTES, Cursors, Peer, SEND_WINDOW_BYTES};
use crate::events::{Command, Landing};
use crate::failure::Failure;
use crate::group::engine_epoch;
use crate::ids::LinkId;
use crate::mutants::{Mutant, lacks};
use crate::reads::ReadFor;
use crate::shared::Context;
use agency::configuration::{Change, Configuration, EvictReason, Why};
use agency::ids::{MAX_MEMBERS, Nanos, NodeId, NodeSet};
use agency::shard::{RequestStatus, ShardRequest, ShardUpdate};
use engine::error::AppendError;
use engine::ids::{Epoch, Lsn};
use engine::log::BufferRange;
use engine::shard::Shard;
use std::collections::BTreeMap;
use std::time::Duration;

/// A learner this close to the end of the log, in bytes, is proposed for admission.
const ADMIT_LAG_BYTES: u64 = 256 << 10;
/// A learner that is never further from the end than this, and whose durable cursor moves, keeps up: what it may
/// hold unread, and half of that for the disk.
const KEEP_UP_BYTES: u64 = SEND_WINDOW_BYTES + SEND_WINDOW_BYTES / 2;
/// Others that stop at the same time are heard of within this: until then nobody hands over, and nobody is let go.
pub(crate) const STOP_HEARSAY: Duration = Duration::from_millis(100);
/// A handoff that cannot drain within this is given up.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// Pause before a refused change is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// How far a leader is in taking up its leadership (rule 19). It only goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaderPhase {
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

/// A follower between its hello and its welcome.
struct Greeting {
    node: NodeId,
    hello: Hello,
}

/// The leadership of one epoch.
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    phase: LeaderPhase,
    peers: BTreeMap<NodeId, Peer>,
    greetings: BTreeMap<LinkId, Greeting>,
    /// Links whose ranges the kernel may still read though their peer is gone.
    abandoned: BTreeMap<LinkId, Peer>,
    /// The change asked for whose outcome is not known.
    pending: Option<ShardRequest>,
    /// The learner whose admission is about to be asked for. It counts for the commit already (rule 17), so
    /// that what is committed without it stands still until it holds all of that.
    joining: Option<NodeId>,
    ask_at: Nanos,
    handoff: Option<Handoff>,
    patience: Patience,
    /// Up to where enough members had committed: what is acknowledged as durable.
    confirmed: Lsn,
    /// Members that stop in order: since when that is known, and where the log ended then.
    leaving: BTreeMap<NodeId, (Nanos, Lsn)>,
    /// Members found to have lost what they had acknowledged (rule 8), or to be damaged.
    untrusted: NodeSet,
}

impl Leader {
    /// It was promoted by `configuration`.
    pub fn new(configuration: &Configuration, cx: &Context<'_>) -> Leader {
        let (epoch, mut patience) = (engine_epoch(configuration.epoch), Patience::new(moment(cx)));
        if configuration.why == Why::DiskStalled {
            // Whose disk stood still is among these, and comes back as calmly as one that was too slow.
            let out = configuration.in_sync.iter().fold(configuration.members, NodeSet::without);
            out.iter().for_each(|node| patience.strike(node, moment(cx)));
        }
        Leader {
            epoch,
            phase: LeaderPhase::Taking,
            peers: BTreeMap::new(),
            greetings: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            pending: None,
            joining: None,
            ask_at: Nanos(0),
            handoff: None,
            patience,
            confirmed: Lsn(0),
            leaving: BTreeMap::new(),
            untrusted: NodeSet::default(),
        }
    }

    /// Whether requests are executed; otherwise they are parked.
    pub fn serves(&self) -> bool {
        let started = matches!(self.phase, LeaderPhase::Serving)
            || matches!(self.phase, LeaderPhase::Starting { .. }) && lacks(Mutant::ServesBeforeStart);
        started && self.handoff.is_none()
    }

    /// Whether enough members are in sync for writes (rule 22).
    pub fn has_enough_copies(&self, cx: &Context<'_>) -> bool {
        let least = usize::from(cx.options.settings.copies.min_in_sync);
        let copies = cx.group.configuration().map_or(0, |c| c.in_sync.len());
        copies >= least || lacks(Mutant::IgnoresMinInSync)
    }

    /// What enough members had committed.
    pub fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// Whether a follower could still take over before an orderly stop.
    pub fn handoff_possible(&self) -> bool {
        self.handoff.is_some()
    }

    /// How many followers hold everything up to `lsn`, by `cursor`.
    pub fn copies(&self, lsn: Lsn, cursor: impl Fn(Cursors) -> Lsn) -> u32 {
        self.peers.values().filter_map(Peer::cursors).filter(|c| cursor(*c) >= lsn).count() as u32
    }

    /// Followers with a counting connection: (node, cursors).
    pub fn followers(&self) -> impl Iterator<Item = (NodeId, Cursors)> {
        self.peers.iter().filter_map(|(node, peer)| Some((*node, peer.cursors()?)))
    }

    /// The kernel no longer needs this range of a follower's connection.
    pub fn released(&mut self, link: LinkId, owner: LinkOwner, range: BufferRange) {
        let peer = match owner {
            LinkOwner::Peer(node) => self.peers.get_mut(&node),
            LinkOwner::Leaving => self.abandoned.get_mut(&link),
            _ => None,
        };
        if let Some(peer) = peer {
            peer.note_released(range);
        }
    }

    pub fn note_update(&mut self, update: &ShardUpdate, cx: &Context<'_>) {
        if self.pending.is_some_and(|request| settles(update, &request)) {
            match self.pending.take().map(|request| request.change) {
                Some(Change::Handoff(_) | Change::Yield(_)) => self.handoff = None,
                Some(Change::Evict(slow, EvictReason::Slow)) => {
                    let given_up = |node: &NodeId| !update.configuration.in_sync.contains(*node);
                    slow.iter().filter(given_up).for_each(|node| self.patience.strike(node, moment(cx)));
                }
                _ => {}
            }
        }
    }

    /// The leadership is over.
    pub fn close(self, cx: &mut Context<'_>) {
        let links = self.peers.values().map(|peer| peer.link).chain(self.greetings.keys().copied());
        cx.out.extend(links.map(|link| Command::LinkClose { link }));
        cx.shard.hold(None);
    }

    pub fn deadline(&self, committed: Lsn) -> Nanos {
        self.peers.values().map(|peer| peer.sign_of_life_at(committed)).min().unwrap_or(Nanos(u64::MAX))
    }

    fn lowest_in_flight(&self) -> Option<Lsn> {
        self.peers.values().chain(self.abandoned.values()).filter_map(Peer::lowest_in_flight).min()
    }

    /// Whether the epoch has begun: before, there is no end of the log to welcome anybody to.
    fn has_begun(&self) -> bool {
        self.phase != LeaderPhase::Taking
    }

    /// A node says hello to us.
    pub fn greeted(&mut self, link: LinkId, envelope: Envelope, cx: &mut Context<'_>) {
        let from = envelope.sender.from;
        let is_member = usize::from(from) < MAX_MEMBERS
            && cx.group.configuration().is_some_and(|c| c.members.contains(NodeId(from)));
        let hello = match envelope.message {
            Message::Hello(hello)
                if hello.history_bytes <= message::MAX_HISTORY_BYTES
                    && envelope.epoch == self.epoch
                    && is_member =>
            {
                hello
            }
            _ => return refuse(link, RefusalReason::NotLeader, cx),
        };
        self.greetings.insert(link, Greeting { node: NodeId(from), hello });
        cx.links.own(link, LinkOwner::Greeting);
        if hello.history_bytes == 0 {
            self.welcome(link, &[], cx);
        } else {
            cx.out.push(Command::LinkReceive { link, into: Landing::Memory(hello.history_bytes) });
        }
    }

    /// The history that belongs to a hello is here: `body`.
    pub fn welcome(&mut self, link: LinkId, body: &[u8], cx: &mut Context<'_>) {
        let Some(Greeting { node, hello }) = self.greetings.remove(&link) else { return };
        // Without a history nobody can be told where to go on. Without a first frame of the epoch there is no end
        // of the log to welcome anybody to; the follower calls again at once.
        let history = message::decode_history(body).filter(|_| self.has_begun());
        let Some(history) = history else {
            cx.out.push(Command::LinkClose { link });
            return;
        };
        let common = if lacks(Mutant::TruncatesByLength) {
            cx.shard.tail().min(hello.end)
        } else {
            cx.shard.history().common_point(cx.shard.tail(), &history, hello.end)
        };
        if common < cx.shard.oldest() {
            return refuse(link, RefusalReason::LogGone, cx);
        }
        // Rule 8: it must hold what it acknowledged to us, and what was committed before us.
        let owed = self.patience.acknowledged(node).max(cx.shard.committed());
        let counts = cx.group.configuration().is_some_and(|c| self.needed(&c).contains(node));
        if hello.damaged || (counts && common < owed) {
            self.untrusted = self.untrusted.with(node);
        }
        if !counts {
            self.patience.forget(node);
        }
        let peer = Peer::new(link, common, cx.clock.now);
        if let Some(old) = self.peers.insert(node, peer) {
            cx.out.push(Command::LinkClose { link: old.link });
            cx.links.own(old.link, LinkOwner::Leaving);
            self.abandoned.insert(old.link, old);
        }
        cx.links.own(link, LinkOwner::Peer(node));
        let welcome = Message::Welcome(Welcome { common, committed: cx.shard.committed() });
        cx.out.push(Command::LinkSend { link, bytes: super::header(self.epoch, welcome, cx) });
        cx.out.push(Command::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
    }

    /// Bytes from a follower that was welcomed.
    pub fn heard(&mut self, link: LinkId, node: NodeId, bytes: &[u8], cx: &mut Context<'_>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let envelope = Envelope::decode(bytes, message::group_mark(cx.options.settings.group));
        let accepted = match envelope {
            Ok(Envelope { message: Message::Ack(Ack { cursors, disk }), epoch, .. })
                if epoch == self.epoch =>
            {
                let fine = peer.acknowledged(cursors);
                if fine {
                    self.patience.heard(node, cursors.durable, disk, moment(cx));
                }
                fine
            }
            _ => false,
        };
        cx.out.push(if accepted {
            Command::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) }
        } else {
            Command::LinkClose { link }
        });
    }

    /// A follower's connection is gone.
    pub fn link_closed(&mut self, link: LinkId, owner: LinkOwner) {
        match owner {
            LinkOwner::Greeting => {
                self.greetings.remove(&link);
            }
            LinkOwner::Leaving => {
                self.abandoned.remove(&link);
            }
            LinkOwner::Peer(node) => {
                let peer = self.peers.remove(&node);
                assert!(peer.is_some_and(|peer| peer.link == link), "{link:?} was not the one of {node:?}");
            }
            LinkOwner::Stream | LinkOwner::Repair(_) | LinkOwner::Refill | LinkOwner::Serving => {}
        }
    }

    /// Leadership is to be given to this node; `None`: to the best one.
    pub fn hand_off(&mut self, to: Option<NodeId>, now: Nanos) {
        self.handoff.get_or_insert(Handoff { to, since: now });
    }

    /// What a leader does at the end of each turn before the disk is asked. `landing`: the kernel may still be
    /// writing into the log buffer. `quiet`: everything that was carried out has been answered. `may_yield`: it has not
    /// just done that.
    pub fn turn(&mut self, landing: bool, quiet: bool, may_yield: bool, cx: &mut Context<'_>) {
        if self.phase == LeaderPhase::Taking && !landing && !cx.shard.rewinding() {
            match cx.shard.begin_epoch(self.epoch, cx.clock.wall_ms) {
                Ok(until) => self.phase = LeaderPhase::Starting { until },
                Err(AppendError::BufferFull | AppendError::NoSegment | AppendError::DiskFull) => {}
                Err(error) => return cx.fail(Failure::CannotBegin { epoch: self.epoch, error }),
            }
        }
        self.want_change(may_yield, cx);
        self.drain_for_handoff(quiet, cx);
    }

    /// Evictions and admissions. One change is asked for at a time.
    fn want_change(&mut self, may_yield: bool, cx: &mut Context<'_>) {
        let Some(configuration) = cx.group.configuration() else { return };
        self.note_patience(&configuration, cx);
        if !self.has_begun() || self.pending.is_some() || cx.clock.now < self.ask_at {
            return;
        }
        self.joining = None;
        let successor = self.successor_on_stall(&configuration, cx).filter(|_| may_yield);
        let change = if let Some(to) = successor {
            Some(Change::Yield(to))
        } else if let Some(eviction) = self.followers_to_evict(&configuration, cx) {
            Some(eviction)
        } else if self.phase == LeaderPhase::Serving && self.handoff.is_none() {
            let committed = cx.shard.committed();
            let learner = self.learner_to_admit(&configuration, cx);
            self.joining = learner.map(|(node, _)| node).filter(|_| !lacks(Mutant::AdmitsEarly));
            // Rule 6: what was committed without it, it must hold before anybody may promote it.
            let holds_it = |cursors: Cursors| cursors.durable >= committed || lacks(Mutant::AdmitsEarly);
            learner.filter(|(_, cursors)| holds_it(*cursors)).map(|(node, _)| Change::Admit(node))
        } else {
            None
        };
        let Some(change) = change else { return };
        self.pending = cx.ask(change);
        self.ask_at = cx.clock.now + ASK_AGAIN;
    }

    /// Notes who keeps up at this moment, and who has nothing to wait for.
    fn note_patience(&mut self, configuration: &Configuration, cx: &Context<'_>) {
        let (at, end) = (moment(cx), cx.shard.tail());
        for node in configuration.members.without(cx.options.me).iter() {
            let cursors = self.peers.get(&node).and_then(Peer::cursors);
            let heard = self.patience.silent_for(node, at) <= cx.options.settings.evict_after;
            let rests = heard && cursors.is_some_and(|c| c.durable >= end);
            let moves = rests || self.patience.stands_for(node, at) <= cx.options.settings.evict_after;
            let near = cursors.is_some_and(|c| c.durable.0 + KEEP_UP_BYTES >= end.0);
            let in_sync = configuration.in_sync.contains(node);
            self.patience.note(node, rests, near && heard && moves, in_sync, at);
        }
    }

    /// The own disk stands still: an in-sync follower that holds more than this disk does, and whose disk was seen to move
    /// all through the later half of that. One that only moved once may stand still by now, too, as where both share a
    /// device; and when a stall that they share is over, the follower may be the first to say so.
    fn successor_on_stall(&self, configuration: &Configuration, cx: &Context<'_>) -> Option<NodeId> {
        let since = cx.clock.disk_stands_since?;
        let patience = cx.options.settings.copies.yield_after;
        if cx.clock.now.since(since) <= patience || lacks(Mutant::NeverYields) {
            return None;
        }
        let seen = if lacks(Mutant::BelievesOneBeat) { Duration::from_nanos(1) } else { patience / 2 };
        let moves = |node: NodeId, cursors: Cursors| {
            cursors.durable > cx.shard.durable() && self.patience.disk_moves_for(node, moment(cx)) >= seen
        };
        let fit = |node: NodeId| {
            configuration.in_sync.contains(node)
                && !self.untrusted.contains(node)
                && !cx.group.is_gone(node)
                && !cx.group.stops(node)
        };
        self.peers
            .iter()
            .filter_map(|(node, peer)| Some((*node, peer.cursors()?)))
            .filter(|(node, _)| fit(*node))
            .filter(|(node, cursors)| moves(*node, *cursors) || lacks(Mutant::YieldsToAnyone))
            .max_by_key(|(_, cursors)| cursors.durable)
            .map(|(node, _)| node)
    }

    /// Notes who stops in order. Returns those who hold all that was written when that became known, and whom nobody
    /// needs any longer to stop together with.
    fn note_leaving(&mut self, followers: NodeSet, cx: &Context<'_>) -> NodeSet {
        let (now, end) = (cx.clock.now, cx.shard.tail());
        self.leaving.retain(|node, _| cx.group.stops(*node));
        for node in followers.iter().filter(|node| cx.group.stops(*node)) {
            self.leaving.entry(node).or_insert((now, end));
        }
        let holds = |node: NodeId, mark: Lsn| {
            self.peers.get(&node).and_then(Peer::cursors).is_some_and(|c| c.durable >= mark)
        };
        let may_go = |(node, (since, mark)): (&NodeId, &(Nanos, Lsn))| {
            let free = now >= *since + STOP_HEARSAY && followers.contains(*node) && holds(*node, *mark);
            free.then_some(*node)
        };
        self.leaving.iter().filter_map(may_go).fold(NodeSet::default(), NodeSet::with)
    }

    /// In-sync followers that are to be evicted: all that are gone, or else all that leave, or that are too slow. Of a
    /// group that stops as a whole nobody leaves.
    fn followers_to_evict(&mut self, configuration: &Configuration, cx: &Context<'_>) -> Option<Change> {
        let at = moment(cx);
        let followers = configuration.in_sync.without(cx.options.me);
        let leaving = self.note_leaving(followers, cx);
        let group_stops =
            cx.stopping && cx.group.all_others_stop(cx.options) && !lacks(Mutant::EvictsAtTheEnd);
        // Out of the in-sync set a node is a learner: what it has is what we sent it.
        self.untrusted = NodeSet(self.untrusted.0 & followers.0);
        let settings = &cx.options.settings;
        let is_gone = |node: NodeId| {
            let unheard = self.patience.silent_for(node, at) > settings.evict_after;
            self.untrusted.contains(node)
                || cx.group.is_gone(node)
                || (unheard && !cx.group.warden_answers_for(node))
        };
        let slow_after =
            if lacks(Mutant::SlowIsGone) { settings.evict_after } else { settings.copies.slow_after };
        let is_slow = |node: NodeId| self.patience.stands_for(node, at) > slow_after;
        let those = |is: &dyn Fn(NodeId) -> bool| {
            let stays = |node: &NodeId| !group_stops || !cx.group.stops(*node);
            followers.iter().filter(stays).filter(|node| is(*node)).fold(NodeSet::default(), NodeSet::with)
        };
        let (gone, slow) = (those(&is_gone), those(&is_slow));
        let leaving = if group_stops { NodeSet::default() } else { leaving };
        [(gone, EvictReason::Gone), (leaving, EvictReason::Leaving), (slow, EvictReason::Slow)]
            .into_iter()
            .find(|(those, _)| !those.is_empty())
            .map(|(those, reason)| Change::Evict(those, reason))
    }

    /// A learner that is close to the end of the log, and has kept up for as long as it must.
    fn learner_to_admit(&self, configuration: &Configuration, cx: &Context<'_>) -> Option<(NodeId, Cursors)> {
        let (at, end) = (moment(cx), cx.shard.tail());
        let calm = |node: NodeId| self.patience.is_calm(node, at) || lacks(Mutant::AdmitsAtOnce);
        self.followers()
            .filter(|(node, _)| !configuration.in_sync.contains(*node))
            .filter(|(node, _)| !cx.group.is_gone(*node) && !cx.group.stops(*node))
            .find(|(node, cursors)| cursors.durable.0 + ADMIT_LAG_BYTES >= end.0 && calm(*node))
    }

    /// A planned handoff: once everything is committed, on the successor's disk and answered, ask for the swap.
    fn drain_for_handoff(&mut self, quiet: bool, cx: &mut Context<'_>) {
        let Some(configuration) = cx.group.configuration() else { return };
        let Some(Handoff { to, since }) = self.handoff else { return };
        if self.pending.is_some() {
            return;
        }
        let best = self
            .followers()
            .filter(|(node, _)| configuration.in_sync.contains(*node))
            .filter(|(node, _)| to.is_none_or(|to| to == *node) && !cx.group.stops(*node))
            .max_by_key(|(_, cursors)| cursors.durable);
        let end = cx.shard.tail();
        match best {
            Some((to, cursors)) if cursors.durable == end && cx.shard.committed() == end && quiet => {
                self.pending = cx.ask(Change::Handoff(to));
            }
            Some(_) if cx.clock.now < since + DRAIN_PATIENCE => {}
            _ => self.handoff = None,
        }
    }

    /// Sends what followers may have: frames from the log buffer, else from the disk, else a sign of life. `eager`:
    /// somebody waits for receipts.
    pub fn send_frames(&mut self, eager: bool, cx: &mut Context<'_>) {
        if !self.has_begun() {
            return;
        }
        let (now, committed) = (cx.clock.now, cx.shard.committed());
        let doubts = cx.clock.disk_stands_since.is_some();
        let append = |at: Lsn, frames_bytes: usize, cx: &Context<'_>| {
            let append = Message::Append(Append { at, committed, eager, doubts, frames_bytes });
            super::header(self.epoch, append, cx)
        };
        let append_bytes = append_bytes(cx.shard);
        let mut behind = Vec::new();
        for (node, peer) in &mut self.peers {
            while !peer.reading && peer.sent < cx.shard.tail() && peer.window() > 0 {
                if !cx.shard.in_buffer(peer.sent) {
                    peer.reading = true;
                    behind.push((*node, peer.link, peer.sent));
                    break;
                }
                let Some(range) = cx.shard.send_range(peer.sent, append_bytes) else {
                    // No frame begins there: it said hello with an end that no log has.
                    peer.reading = true;
                    cx.out.push(Command::LinkClose { link: peer.link });
                    break;
                };
                let header = append(range.start, range.len, cx);
                peer.note_sent(range.len as u64, Some(range), committed, now);
                cx.out.push(Command::LinkSendLog { link: peer.link, header, range });
            }
            if !peer.reading && peer.sign_of_life_due(committed, now) {
                let bytes = append(peer.sent, 0, cx);
                peer.note_sent(0, None, committed, now);
                cx.out.push(Command::LinkSend { link: peer.link, bytes });
            }
        }
        let lowest = self.lowest_in_flight();
        cx.shard.hold(lowest);
        for (node, link, from) in behind {
            let (spec, skip, len) = cx.shard.read_log(from, append_bytes);
            cx.read(ReadFor::CatchUp { node, link, from, skip, len }, spec);
        }
    }

    /// Sends sound frames that came from the disk.
    pub fn send_catch_up(
        &mut self,
        node: NodeId,
        link: LinkId,
        from: Lsn,
        frames: &[u8],
        cx: &mut Context<'_>,
    ) {
        let Some(peer) = self.peers.get_mut(&node).filter(|p| p.link == link && p.sent == from) else {
            return;
        };
        peer.reading = false;
        let (whole, committed) = (frames.len(), cx.shard.committed());
        peer.note_sent(whole as u64, None, committed, cx.clock.now);
        let append = Append { at: from, committed, eager: false, doubts: false, frames_bytes: whole };
        let mut bytes = super::header(self.epoch, Message::Append(append), cx);
        bytes.extend_from_slice(frames);
        cx.out.push(Command::LinkSend { link, bytes });
    }

    /// Whether every in-sync follower holds the whole log and knows that all of it is committed: each of them could lead
    /// then.
    pub fn all_hold_all(&self, cx: &Context<'_>) -> bool {
        let end = cx.shard.tail();
        let followers =
            cx.group.configuration().map(|c| c.in_sync.without(cx.options.me)).unwrap_or_default();
        let whole = |node: NodeId| {
            self.peers
                .get(&node)
                .and_then(Peer::cursors)
                .is_some_and(|c| c.durable == end && c.applied == end)
        };
        self.has_begun() && cx.shard.committed() == end && followers.iter().all(whole)
    }

    /// The last word to those who follow.
    pub fn farewell(&self, cx: &mut Context<'_>) {
        let farewell = Message::Farewell(Farewell { end: cx.shard.tail(), committed: cx.shard.committed() });
        for peer in self.peers.values() {
            let bytes = super::header(self.epoch, farewell, cx);
            cx.out.push(Command::LinkSend { link: peer.link, bytes });
        }
    }

    /// Moves the commit LSN to what every needed node has on disk. With its epoch's first frame committed it
    /// serves (rule 19).
    pub fn count_commit(&mut self, cx: &mut Context<'_>) {
        if !self.has_begun() {
            return;
        }
        let least = self.least_copy(cx.shard.durable(), |cursors| cursors.durable, cx);
        let before = cx.shard.committed();
        cx.shard.commit_to(least);
        let committed = cx.shard.committed();
        assert!(
            committed == before || committed <= least,
            "{committed} is committed, of {least} that all hold"
        );
        if self.has_enough_copies(cx) {
            self.confirmed = committed;
        }
        if let LeaderPhase::Starting { until } = self.phase
            && cx.shard.committed() >= until
        {
            self.phase = LeaderPhase::Serving;
        }
    }

    /// Whose copies an acknowledgement needs; they do not count if they are not trusted.
    fn needed(&self, configuration: &Configuration) -> NodeSet {
        let needed = commit::needed(configuration, self.pending.as_ref());
        let joining = self.joining.filter(|_| !lacks(Mutant::IgnoresPendingAdmission));
        joining.map_or(needed, |learner| needed.with(learner))
    }

    /// The end of what every needed node holds, where this node holds `mine`.
    pub fn least_copy(&self, mine: Lsn, cursor: impl Fn(Cursors) -> Lsn, cx: &Context<'_>) -> Lsn {
        let Some(configuration) = cx.group.configuration() else { return Lsn(0) };
        let needed = self.needed(&configuration);
        let needed = if lacks(Mutant::DropsSilentFollowers) { self.heard_of(needed, cx) } else { needed };
        let cursors = |node: NodeId| {
            let peer = self.peers.get(&node)?;
            if self.untrusted.contains(node) { None } else { peer.cursors() }
        };
        commit::least(needed, cx.options.me, mine, cursors, cursor)
    }

    /// Those that a broken leader would count: without whoever was silent for a while.
    fn heard_of(&self, needed: NodeSet, cx: &Context<'_>) -> NodeSet {
        let at = moment(cx);
        let silent = |node: &NodeId| {
            let silent = self.patience.silent_for(*node, at).max(self.patience.stands_for(*node, at));
            *node != cx.options.me && silent > cx.options.settings.evict_after
        };
        needed.iter().filter(silent).fold(needed, NodeSet::without)
    }

    /// What must hold whenever a turn ends: see `Node::invariants`.
    pub fn invariants(&self, cx: &Context<'_>) {
        let (end, committed) = (cx.shard.tail(), cx.shard.committed());
        match self.phase {
            LeaderPhase::Taking => {}
            LeaderPhase::Starting { until } => {
                assert!(committed < until && until <= end, "starting: {committed} < {until} <= {end}");
            }
            LeaderPhase::Serving => {
                assert!(self.epoch == cx.shard.last_epoch(), "serves without an epoch start")
            }
        }
        assert!(self.confirmed <= committed, "{} is confirmed, of {committed}", self.confirmed);
        assert!(self.peers.len() <= MAX_MEMBERS, "more followers than members");
        for (node, peer) in &self.peers {
            assert!(peer.is_consistent(end), "{node:?} is taken to have what it was not sent: {peer:?}");
            assert!(
                cx.links.owner(peer.link) == Some(LinkOwner::Peer(*node)),
                "{node:?}: whose is its link?"
            );
        }
    }
}

/// Tells a node that it is not taken.
pub(crate) fn refuse(link: LinkId, reason: RefusalReason, cx: &mut Context<'_>) {
    let bytes = super::header(cx.group.epoch(), Message::Refuse(Refuse { reason }), cx);
    cx.out.push(Command::LinkSend { link, bytes });
    cx.out.push(Command::LinkClose { link });
}

/// The clocks by which others are judged.
fn moment(cx: &Context<'_>) -> Moment {
    Moment { now: cx.clock.now, attended: cx.clock.attended, patient: cx.clock.patient }
}

/// A follower takes at most half of its log buffer at once.
fn append_bytes(shard: &Shard) -> usize {
    APPEND_BYTES.min(shard.buffer().capacity() / 4)
}

/// Whether the newest request of a shard is settled by this update.
fn settles(update: &ShardUpdate, request: &ShardRequest) -> bool {
    update.request == request.id && matches!(update.outcome, RequestStatus::Decided | RequestStatus::Refused)
        || update.configuration.version > request.on_top_of.version
}
