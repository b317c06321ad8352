//! Replication of raw frames from a leader to its followers; `docs/PROTOCOL.md` is the page of its bytes.
//!
//! What this node is to its shard ([`Role`]), and whose each connection is. It does not decide who leads: the
//! warden publishes that, and [`Replication::updated`] obeys the newest configuration.
//!
//! - `leader`: feed followers, count their cursors, ask for changes of the configuration.
//! - `follower`: connect to the leader, rewind, land frames, acknowledge.
//! - `repair`: fetch damaged frames from another member and write them back, and serve those who do.
//! - `commit`: what counts as committed. `peer`: what a leader knows of one follower's connection. `patience`: how
//!   long it has waited for each.
//! - `message`: the bytes. `links`: whose each connection is.

pub mod commit;
pub(crate) mod follower;
pub(crate) mod leader;
pub(crate) mod links;
pub mod message;
pub(crate) mod patience;
pub mod peer;
pub(crate) mod repair;

use crate::events::Command;
use crate::group::engine_epoch;
use crate::ids::LinkId;
use crate::mutants::{Mutant, lacks};
use crate::shared::Context;
use agency::configuration::{Change, Configuration, Why};
use agency::ids::Nanos;
use agency::shard::ShardUpdate;
use engine::ids::{Epoch, Lsn};
use engine::log::BufferRange;
use follower::Follower;
use leader::Leader;
use links::LinkOwner;
use message::{Envelope, Message, RefusalReason, Sender};
use patience::Calm;
use peer::Cursors;
use repair::refill::Refilling;

/// What this node is to its shard right now.
pub(crate) enum Role {
    /// Nothing known yet, or leadership that belongs to another incarnation.
    Idle,
    Follower(Follower),
    Leader(Box<Leader>),
}

/// See the head of this file.
pub(crate) struct Replication {
    pub role: Role,
    /// The link whose frames the kernel may be writing into the log buffer right now.
    landing: Option<LinkId>,
    /// Damage found at recovery stands until the leader has taken us out of the in-sync set and back in.
    damaged: bool,
    evicted_since_damage: bool,
    /// Its leaderships that ended because its disk stood still.
    yields: Calm,
    /// It should lead, and lost a part of its log.
    pub refilling: Refilling,
}

/// The header of a message of this node.
fn header(epoch: Epoch, message: Message, cx: &Context<'_>) -> Vec<u8> {
    let group = message::group_mark(cx.options.settings.group);
    Sender { shard: cx.options.shard, from: cx.options.me.0, group }.encode(epoch, message)
}

/// Whether a person decided that this very life of the node leads with what it has. A later one may have found new
/// damage, of which nobody was told.
fn loss_is_accepted(configuration: &Configuration, cx: &Context<'_>) -> bool {
    let of_this_life = configuration.leader_incarnation == cx.options.incarnation;
    configuration.why == Why::DataLossAccepted
        && configuration.leader == cx.options.me
        && (of_this_life || lacks(Mutant::AcceptsEveryLoss))
}

impl Replication {
    /// Of no role yet. `damaged`: recovery found damage.
    pub fn new(damaged: bool) -> Replication {
        Replication {
            role: Role::Idle,
            landing: None,
            damaged,
            evicted_since_damage: false,
            yields: Calm::default(),
            refilling: Refilling::default(),
        }
    }

    pub fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::Idle => None,
        }
    }

    pub fn leader_mut(&mut self) -> Option<&mut Leader> {
        match &mut self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) | Role::Idle => None,
        }
    }

    pub fn leads(&self) -> bool {
        self.leader().is_some()
    }

    /// Whether requests are executed here by its leader.
    pub fn serves(&self) -> bool {
        self.leader().is_some_and(Leader::serves)
    }

    /// Damage keeps it from leading (rule 12).
    pub fn is_unfit(&self) -> bool {
        self.damaged && !lacks(Mutant::LeadsDamaged)
    }

    /// Whether linearizable reads may be served at this moment (rule 9).
    pub fn lease_holds(&self, cx: &Context<'_>) -> bool {
        match &self.role {
            Role::Leader(_) if lacks(Mutant::ReadsWithoutLease) => true,
            Role::Leader(leader) => cx.lease.epoch.0 == leader.epoch.0 && cx.clock.now < cx.lease.until,
            Role::Follower(_) | Role::Idle => false,
        }
    }

    /// The end of what every needed node holds, where this node holds `mine`; 0 unless it leads.
    pub fn least_copy(&self, mine: Lsn, cursor: impl Fn(Cursors) -> Lsn, cx: &Context<'_>) -> Lsn {
        self.leader().map_or(Lsn(0), |leader| leader.least_copy(mine, cursor, cx))
    }

    /// When its next turn is due.
    pub fn deadline(&self, now: Nanos, rewinding: bool, committed: Lsn) -> Nanos {
        match &self.role {
            Role::Idle => self.refilling.deadline(),
            Role::Follower(follower) => follower.deadline(now, rewinding),
            Role::Leader(leader) => leader.deadline(committed),
        }
    }

    /// Obeys what was published last, `update`. Returns whether a leadership ended by it.
    pub fn updated(&mut self, update: &ShardUpdate, cx: &mut Context<'_>) -> bool {
        self.note_health(update, cx);
        let configuration = update.configuration;
        let mine = configuration.leader == cx.options.me;
        // Rule 12: not even if it were told to.
        let may_lead = mine && configuration.leader_incarnation == cx.options.incarnation && !self.is_unfit();
        let current = match &self.role {
            Role::Idle => false,
            Role::Follower(follower) => {
                !mine && (follower.is_of(&configuration) || lacks(Mutant::StaysWithOldLeader))
            }
            Role::Leader(leader) => may_lead && leader.epoch == engine_epoch(configuration.epoch),
        };
        if current {
            if let Role::Leader(leader) = &mut self.role {
                leader.note_update(update, cx);
            }
            return false;
        }
        cx.links.leave_role();
        let epoch = engine_epoch(configuration.epoch);
        let next = if may_lead {
            Role::Leader(Box::new(Leader::new(&configuration, cx)))
        } else if mine {
            Role::Idle
        } else {
            Role::Follower(Follower::new(configuration.leader, epoch, cx.clock.now))
        };
        match std::mem::replace(&mut self.role, next) {
            Role::Idle => false,
            Role::Follower(follower) => {
                follower.close(cx.out);
                false
            }
            Role::Leader(leader) => {
                if configuration.why == Why::DiskStalled {
                    self.yields.strike(cx.clock.attended);
                }
                leader.close(cx);
                true
            }
        }
    }

    fn note_health(&mut self, update: &ShardUpdate, cx: &mut Context<'_>) {
        if !self.damaged {
            return;
        }
        if loss_is_accepted(&update.configuration, cx) {
            // What is damaged is a part of what may be lost: there is nobody left to fetch it from.
            self.whole_again(cx);
        } else if !update.configuration.in_sync.contains(cx.options.me) {
            self.evicted_since_damage = true;
        } else if self.evicted_since_damage {
            self.whole_again(cx);
        }
    }

    /// Damage keeps it from nothing any more.
    fn whole_again(&mut self, cx: &mut Context<'_>) {
        self.damaged = false;
        self.evicted_since_damage = false;
        cx.shard.repaired();
    }

    /// A person accepts what may be lost by it: asks to lead with what is here, unless it leads.
    pub fn lead_with_loss(&self, cx: &mut Context<'_>) {
        if !self.leads() {
            // Nothing waits for the answer: a new configuration is obeyed, and a refusal changes nothing.
            let _ = cx.ask(Change::Force(cx.options.me));
        }
    }

    /// Another node connected and said this, which is no request for a frame.
    pub fn link_accepted(&mut self, link: LinkId, header: &[u8], cx: &mut Context<'_>) {
        match Envelope::decode(header, message::group_mark(cx.options.settings.group)) {
            Err(_) => cx.out.push(Command::LinkClose { link }),
            Ok(envelope) => match &mut self.role {
                Role::Leader(leader) => leader.greeted(link, envelope, cx),
                Role::Follower(_) | Role::Idle => leader::refuse(link, RefusalReason::NotLeader, cx),
            },
        }
    }

    /// The connection to our leader stands.
    pub fn link_connected(&mut self, link: LinkId, cx: &mut Context<'_>) {
        let damaged = self.damaged && !self.evicted_since_damage;
        if let Role::Follower(follower) = &mut self.role {
            follower.connected(link, damaged, cx);
        }
    }

    /// Bytes on a connection of a role.
    pub fn link_bytes(&mut self, link: LinkId, owner: LinkOwner, bytes: &[u8], cx: &mut Context<'_>) {
        match (&mut self.role, owner) {
            (Role::Follower(follower), LinkOwner::Stream) => {
                follower.heard(link, bytes, cx);
                follower.land(&mut self.landing, cx);
            }
            (Role::Leader(leader), LinkOwner::Greeting) => leader.welcome(link, bytes, cx),
            (Role::Leader(leader), LinkOwner::Peer(node)) => leader.heard(link, node, bytes, cx),
            _ => {}
        }
    }

    /// Frames were received into the log buffer.
    pub fn link_landed(&mut self, link: LinkId, cx: &mut Context<'_>) {
        if self.landing == Some(link) {
            self.landing = None;
        }
        if let (Role::Follower(follower), Some(LinkOwner::Stream)) = (&mut self.role, cx.links.owner(link)) {
            follower.landed(link, cx);
        }
    }

    /// The kernel no longer needs this range.
    pub fn link_sent_log(&mut self, link: LinkId, range: BufferRange, cx: &Context<'_>) {
        if let (Role::Leader(leader), Some(owner)) = (&mut self.role, cx.links.owner(link)) {
            leader.released(link, owner, range);
        }
    }

    /// A connection is gone; `owner`: whose it was.
    pub fn link_closed(&mut self, link: LinkId, owner: Option<LinkOwner>, cx: &Context<'_>) {
        if self.landing == Some(link) {
            self.landing = None;
        }
        match (&mut self.role, owner) {
            (Role::Follower(follower), Some(LinkOwner::Stream)) => follower.call_again(cx.clock.now),
            (Role::Leader(leader), Some(owner)) => leader.link_closed(link, owner),
            _ => {}
        }
    }

    /// What is due at a turn's end before the disk is asked. `quiet`: everything that was carried out has been
    /// answered.
    pub fn turn(&mut self, quiet: bool, cx: &mut Context<'_>) {
        // Where others are in sync, one of those leads and feeds this one: what was written after the newest pulse is known
        // to nobody here, and may be there.
        let alone = cx.group.configuration().is_some_and(|c| c.in_sync.without(cx.options.me).is_empty());
        let refills = self.damaged && alone && matches!(self.role, Role::Idle) && self.landing.is_none();
        if self.refilling.turn(refills && cx.shard.lost().is_some(), cx) {
            self.whole_again(cx);
        }
        self.yields.note(self.leads(), cx.clock.attended);
        let may_yield = self.yields.is_over(cx.clock.attended);
        match &mut self.role {
            Role::Idle => {}
            Role::Leader(leader) => leader.turn(self.landing.is_some(), quiet, may_yield, cx),
            Role::Follower(follower) => follower.turn(&mut self.landing, cx),
        }
    }

    /// Whether a leader whose disk stands still wants to know how this node's disk does.
    pub fn is_doubted(&self) -> bool {
        matches!(&self.role, Role::Follower(follower) if follower.is_doubted())
    }

    /// Whether nobody needs this node for the shard any more, which stops in order: it is not in the in-sync set, or its
    /// leader has said its last word, or is known to have stopped.
    pub fn may_stop_following(&self, cx: &Context<'_>) -> bool {
        let Role::Follower(follower) = &self.role else { return true };
        let Some(configuration) = cx.group.configuration() else { return true };
        let leader = configuration.leader;
        let leader_left = cx.group.is_gone(leader) && cx.group.stops(leader);
        !configuration.in_sync.contains(cx.options.me) || follower.heard_farewell() || leader_left
    }

    /// What must hold whenever a turn ends: see `Node::invariants`.
    pub fn invariants(&self, cx: &Context<'_>) {
        match &self.role {
            Role::Idle => {}
            Role::Leader(leader) => leader.invariants(cx),
            Role::Follower(follower) => follower.invariants(self.landing, cx),
        }
    }
}
