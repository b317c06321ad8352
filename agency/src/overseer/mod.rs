//! The warden's whole brain as a pure state machine: it composes the agent, the proposers, the leases and
//! the detector, and decides when which change is wanted.
//!
//! Driving contract: hand over one [`Event`] at a time, carry out the returned [`Command`]s in order, send an
//! [`Event::Tick`] at [`Overseer::deadline`] and at least every `Timing::tick`. No I/O, no clock, no
//! randomness: the same events give the same commands.

mod agent;
mod campaign;
mod force;
mod gossip;
mod outbox;
mod peers;
mod requests;
mod store;
mod view;
mod yielding;

use crate::acceptor::Acceptor;
use crate::configuration::Configuration;
use crate::detector::Detector;
use crate::error::ImageError;
use crate::events::{Command, Event};
use crate::history::History;
use crate::ids::{Epoch, Incarnation, MAX_MEMBERS, MAX_SHARDS, Nanos, NodeId, NodeSet, ShardId, Version};
use crate::lease::{Grantor, Holder};
use crate::message::Message;
use crate::proposer::Proposer;
use crate::register::{Identity, Image, ShardImage};
use crate::shard::ShardUpdate;
use crate::timing::Timing;
use force::Acceptance;
use outbox::Outbox;
use peers::{OwnNode, Peer};
use requests::Pending;
use std::collections::VecDeque;
use store::Store;
use yielding::Offer;

/// What an overseer is told once, at its start. The same in all of a group's members but for `me`,
/// `witness`, `warden_pid` and `disk_id`.
#[derive(Clone, Debug)]
pub struct OverseerOptions {
    /// This warden.
    pub me: NodeId,
    /// Members with a node.
    pub data_nodes: NodeSet,
    /// Members whose agents vote: wardens of data nodes, and witnesses.
    pub agents: NodeSet,
    /// How many shards the group has.
    pub shards: u16,
    /// Checked by the caller with [`Timing::check`].
    pub timing: Timing,
    /// This warden guards no node.
    pub witness: bool,
    /// The first leader of each shard; one per shard.
    pub initial_leaders: Vec<NodeId>,
    /// Wins among candidates for promotion that are equally far.
    pub prefer_leader: Option<NodeId>,
    /// For people.
    pub warden_pid: u32,
    /// Identity of the group.
    pub group: u128,
    /// Identity of this node's disk; 0 for a witness.
    pub disk_id: u128,
}

impl OverseerOptions {
    /// What the configuration's check promised.
    fn assert_sound(&self) {
        let members = self.agents.union(self.data_nodes);
        assert!(members.contains(self.me), "this warden is a member of its group");
        assert_eq!(self.witness, !self.data_nodes.contains(self.me), "a witness is a member without a node");
        assert!((1..=MAX_SHARDS).contains(&usize::from(self.shards)), "{} shards", self.shards);
        assert_eq!(self.initial_leaders.len(), usize::from(self.shards), "one first leader per shard");
        let first = self.initial_leaders.iter().chain(&self.prefer_leader);
        first.for_each(|n| assert!(self.data_nodes.contains(*n), "node {} has no data to lead", n.0));
        assert_eq!(self.timing.check(), Ok(()), "timings are checked when they are parsed");
    }
}

/// All this warden has to do with one shard.
struct Shard {
    acceptor: Acceptor,
    decided: Option<Configuration>,
    /// The image of this ticket holds the newest configuration known here.
    known_at: u64,
    /// Only for an agent that lost its memory: this shard's was recovered.
    joined: bool,
    grantor: Grantor,
    holder: Holder,
    /// What the node was last told of its lease.
    told: (Epoch, Nanos),
    /// The lease was given up for a handoff whose outcome is open, or to yield.
    released: bool,
    /// The own node leads, and its lease is withheld: as told in the log.
    withheld: bool,
    /// The leader's offer to yield to the own node.
    offer: Option<Offer>,
    proposer: Proposer,
    /// Ballots are not kept ready again before this moment.
    courtesy_until: Nanos,
    request: Option<Pending>,
    published: Option<ShardUpdate>,
    /// Since when nobody leads, as far as seen from here.
    leaderless_since: Option<Nanos>,
    /// Since when the own node could lead, and leaves that to a better candidate.
    deferring_since: Option<Nanos>,
    /// Since when the own agent has accepted what is not known to be decided.
    undecided_since: Option<Nanos>,
}

impl Shard {
    /// The shard as it was stored.
    fn restore(stored: ShardImage, options: &OverseerOptions, now: Nanos) -> Shard {
        let mut shard = Shard {
            acceptor: stored.acceptor,
            decided: stored.decided,
            known_at: 0,
            joined: false,
            grantor: Grantor::default(),
            holder: Holder::default(),
            told: (Epoch(0), Nanos(0)),
            released: false,
            withheld: false,
            offer: None,
            proposer: Proposer::new(options.me, options.agents),
            courtesy_until: Nanos(0),
            request: None,
            published: None,
            leaderless_since: None,
            deferring_since: None,
            undecided_since: None,
        };
        shard.grantor = Grantor::after_restart(now, shard.newest(), &options.timing);
        shard
    }

    /// What holds once `decided` was learned after `before`: numbers only rise, a lease does not outlive its reign,
    /// and nothing that was asked for or is on its way still counts on what is past.
    fn assert_learned(&self, decided: &Configuration, before: Option<Configuration>) {
        assert_eq!(self.decided.as_ref(), Some(decided));
        let rises = |b: Configuration| decided.version > b.version && decided.epoch >= b.epoch;
        assert!(before.is_none_or(rises), "{before:?}, then {decided:?}");
        let on_its_way = [self.proposer.unsettled, self.request.and_then(|r| r.open())];
        for value in on_its_way.into_iter().flatten() {
            assert!(value.version > decided.version, "{value:?} is past with {decided:?}");
        }
    }

    /// The newest configuration known, decided or accepted.
    fn newest(&self) -> Option<Configuration> {
        let accepted = self.acceptor.accepted().map(|a| a.1);
        match (accepted, self.decided) {
            (Some(a), Some(d)) if a.version > d.version => Some(a),
            (a, d) => d.or(a),
        }
    }
}

/// See the module.
pub struct Overseer {
    options: OverseerOptions,
    quorum: usize,
    now: Nanos,
    wall_ms: u64,
    silence_at: Nanos,
    shards: Vec<Shard>,
    peers: [Peer; MAX_MEMBERS],
    node: OwnNode,
    /// Until when it counts that a person accepted the loss of data, and of which shards it does.
    accepts_loss: Option<Acceptance>,
    detector: Detector,
    identities: [Identity; MAX_MEMBERS],
    suspects: NodeSet,
    history: History,
    joined: bool,
    joining: bool,
    store: Store,
    outbox: Outbox,
    log: Vec<String>,
    /// Number of the newest heartbeat, and when the newest few were sent.
    beat: u64,
    sent: VecDeque<(u64, Nanos)>,
    next_beat: Nanos,
    beat_now: bool,
    view_dirty: bool,
    next_view: Nanos,
}

impl Overseer {
    /// Starts from what the store last made durable; `None` only where nothing ever was.
    ///
    /// # Errors
    /// The image is not usable; nothing may be done without it.
    ///
    /// # Panics
    /// If the options contradict each other (our own bug: the configuration is checked when it is parsed).
    pub fn new(options: OverseerOptions, stored: Option<&[u8]>, now: Nanos) -> Result<Overseer, ImageError> {
        options.assert_sound();
        let image = stored.map(Image::decode).transpose()?;
        if let Some(image) = &image {
            if image.group != options.group {
                return Err(ImageError::Group { stored: image.group, wanted: options.group });
            }
            if image.me != options.me {
                return Err(ImageError::Member { stored: image.me.0, wanted: options.me.0 });
            }
            if image.shards.len() != usize::from(options.shards) {
                let stored = image.shards.len() as u16;
                return Err(ImageError::Shards { stored, wanted: options.shards });
            }
        }
        let shard = |i: usize| {
            let stored = image.as_ref().map(|image| image.shards[i]).unwrap_or_default();
            Shard::restore(stored, &options, now)
        };
        let shards = (0..usize::from(options.shards)).map(shard).collect();
        let alone = options.agents.without(options.me).is_empty();
        Ok(Overseer {
            quorum: crate::proposer::majority(options.agents),
            now,
            wall_ms: 0,
            silence_at: now,
            shards,
            peers: Default::default(),
            node: OwnNode { disk_id: options.disk_id, ..OwnNode::default() },
            accepts_loss: None,
            detector: Detector::new(options.shards),
            identities: image.as_ref().map(|i| i.identities).unwrap_or_default(),
            suspects: NodeSet::default(),
            history: image.as_ref().map(|i| History::restore(&i.history, &i.tallies)).unwrap_or_default(),
            joined: alone || image.as_ref().is_some_and(|i| i.joined),
            joining: false,
            store: Store::default(),
            outbox: Outbox::default(),
            log: Vec::new(),
            beat: 0,
            sent: VecDeque::new(),
            next_beat: now,
            beat_now: false,
            view_dirty: true,
            next_view: now,
            options,
        })
    }

    /// Takes in one event and appends what is to be done about it. `wall_ms` is for people only.
    pub fn handle(&mut self, now: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>) {
        // A clock that seems to go back (two threads, one reading) must not un-expire anything.
        self.now = self.now.max(now);
        self.wall_ms = wall_ms;
        match event {
            Event::Tick => {
                self.count_silence();
                if self.now >= self.next_view {
                    self.next_view = self.now + view::VIEW_REFRESH;
                    self.view_dirty = true;
                }
            }
            Event::LinkUp(node) => self.link(node, true),
            Event::LinkDown(node) => self.link(node, false),
            Event::Message(from, message) => {
                if self.others().contains(from) {
                    self.on_message(from, message);
                }
            }
            Event::Stored(ticket) => self.stored(ticket),
            Event::NodeStarted { incarnation, pid, disk_id } => {
                self.on_node_started(incarnation, pid, disk_id);
            }
            Event::NodeDied(incarnation) => self.on_node_died(incarnation),
            Event::Progress(progress) => self.on_progress(progress, out),
            Event::Request(shard, request) => {
                if self.has(shard) {
                    self.on_request(shard, request);
                }
            }
            Event::DataLossAccepted => self.on_loss_accepted(),
        }
        self.settle();
        self.flush(out);
    }

    /// The next moment this wants an [`Event::Tick`].
    pub fn deadline(&self) -> Nanos {
        let soonest = |a: Nanos, b: Option<Nanos>| b.map_or(a, |b| a.min(b));
        let mut at = self.next_beat.min(self.silence_at + self.options.timing.tick);
        for (id, shard) in self.shard_ids().zip(&self.shards) {
            at = soonest(at, shard.proposer.deadline());
            let may_end = |c: Configuration| {
                let silent = self.silence(c.leader) > self.options.timing.link_silent_after;
                c.leader != self.options.me && (silent || self.is_withheld(id, &c))
            };
            if shard.decided.is_some_and(may_end) {
                at = soonest(at, shard.grantor.until().filter(|until| *until > self.now));
            }
        }
        at.max(self.now)
    }

    fn shard(&self, shard: ShardId) -> &Shard {
        &self.shards[usize::from(shard.0)]
    }

    fn shard_mut(&mut self, shard: ShardId) -> &mut Shard {
        &mut self.shards[usize::from(shard.0)]
    }

    fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.options.shards).map(ShardId)
    }

    fn say(&mut self, line: String) {
        self.log.push(line);
    }

    fn on_message(&mut self, from: NodeId, message: Message) {
        match message {
            Message::Hello { .. } => {}
            Message::Heartbeat { seq, report, hears, suspects, shards } => {
                if shards.len() == self.shards.len() {
                    self.on_heartbeat(from, seq, report, hears, suspects, shards);
                }
            }
            Message::Granted { seq, incarnation, shards } => self.on_granted(from, seq, incarnation, shards),
            Message::Died { incarnation, hung } => self.on_died(from, incarnation, hung),
            Message::Prepare(items) => self.on_prepare(from, items),
            Message::Promised(items) => self.on_promised(from, items),
            Message::Accept(items) => self.on_accept(from, items),
            Message::Accepted(items) => self.on_accepted(from, items),
            Message::Decided(items) => {
                for (shard, configuration) in items {
                    if self.has(shard) {
                        self.learn(shard, configuration);
                    }
                }
            }
            Message::Pull(items) => self.on_pull(from, items),
            Message::Yield(items) => self.on_yield(from, items),
        }
    }

    /// Lets the proposers act, and this warden's own agent answer them, until nothing moves.
    fn settle(&mut self) {
        self.consider_joining();
        loop {
            for shard in self.shard_ids() {
                self.campaign(shard);
            }
            let to_me = self.outbox.take(self.options.me);
            if to_me.is_empty() {
                break;
            }
            for message in to_me {
                self.on_message(self.options.me, message);
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<Command>) {
        // A lease is given up before anybody can hear of it, and taken up last.
        self.tell_leases(out);
        if self.beat_now || self.now >= self.next_beat {
            self.send_heartbeats();
        }
        for node in self.others().iter() {
            for message in self.outbox.take(node) {
                if self.peer(node).linked {
                    out.push(Command::Send(node, message));
                }
            }
        }
        self.store_if_dirty(out);
        self.publish(out);
        self.tell_leases(out);
        out.extend(self.log.drain(..).map(Command::Log));
    }

    /// A configuration is decided. Learning it again, or an older one, changes nothing. One that cannot have come
    /// of what is known here is not learned: whoever says so lost its memory, or is no honest member.
    fn learn(&mut self, shard: ShardId, configuration: Configuration) {
        let before = self.shard(shard).decided;
        if configuration.version <= before.map_or(Version(0), |c| c.version) {
            return;
        }
        if let Some(before) = before.filter(|before| !configuration.may_follow(before)) {
            return self.say(format!(
                "shard {}: epoch {} version {} cannot follow epoch {} version {}; it is not believed",
                shard.0, configuration.epoch.0, configuration.version.0, before.epoch.0, before.version.0
            ));
        }
        let (next, beat, me) = (self.store.next(), self.beat, self.options.me);
        let s = self.shard_mut(shard);
        let reign_ends = s.decided.is_some_and(|d| !d.same_reign(&configuration));
        // What this agent accepted durably it knows durably; leases need not wait for a second write.
        if s.newest() != Some(configuration) {
            s.known_at = next;
        }
        s.decided = Some(configuration);
        s.courtesy_until = Nanos(0);
        s.proposer.learned(&configuration);
        s.leaderless_since = None;
        s.undecided_since = None;
        s.released = false;
        s.offer = None;
        if reign_ends {
            s.holder.release(beat);
        }
        if let Some(request) = &mut s.request {
            request.learned(&configuration);
        }
        self.shard(shard).assert_learned(&configuration, before);
        self.history.push(shard, before.as_ref(), configuration);
        self.view_dirty = true;
        if configuration.leader == me {
            self.beat_now = true;
        }
        if self.suspects.contains(me) {
            // Out of every set, or vouched for by a person, it is a stranger no more.
            self.identify(me, self.node.incarnation, self.node.disk_id, true);
        }
        self.say(format!(
            "shard {}: epoch {} version {}: node {} leads, in sync {:?} ({:?})",
            shard.0,
            configuration.epoch.0,
            configuration.version.0,
            configuration.leader.0,
            configuration.in_sync,
            configuration.why
        ));
    }

    fn on_node_started(&mut self, incarnation: Incarnation, pid: u32, disk_id: u128) {
        assert!(incarnation > self.node.incarnation, "no incarnation comes twice (rule 18)");
        assert!(incarnation > self.node.dead, "the dead do not start");
        self.node = OwnNode {
            pid,
            incarnation,
            disk_id,
            running: true,
            dead: self.node.dead,
            hung: self.node.hung,
            ..OwnNode::default()
        };
        self.detector = Detector::new(self.options.shards);
        self.identify(self.options.me, incarnation, disk_id, true);
        for shard in &mut self.shards {
            shard.request = None;
            shard.published = None;
            shard.told = (Epoch(0), Nanos(0));
        }
        self.beat_now = true;
        self.view_dirty = true;
    }
}
