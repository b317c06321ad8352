//! What a follower does: connect to the leader, rewind to the last common point, land frames in the log
//! buffer, and acknowledge. A learner does the same; only the configuration tells them apart.

use super::{Node, Role, engine_epoch};
use crate::replication::message::{self, DAMAGED, EAGER, Header, Kind};
use crate::replication::peer::{Cursors, HEARTBEAT};
use crate::seam::{Action, Landing, LinkId};
use agency::configuration::Configuration;
use agency::ids::{Nanos, NodeId};
use engine::error::ReceiveError;
use engine::ids::{Epoch, Lsn};

/// First pause before the leader is called again; doubles up to [`RECONNECT_MOST`].
const RECONNECT_FIRST: Nanos = Nanos(500_000);
const RECONNECT_MOST: Nanos = Nanos(20_000_000);
/// A leader that was not heard of for this long is called anew.
const LEADER_SILENT: Nanos = Nanos(200_000_000);

enum State {
    /// Calls the leader at this moment.
    Waiting(Nanos),
    Connecting,
    /// Said hello; the next header is the answer.
    Greeting,
    /// Cutting the own log back to the leader's.
    Rewinding,
    /// The next header is on its way.
    Header,
    /// These frames are on their way, but the log buffer has no room for them yet.
    Room(Header),
    /// These frames are being received into the log buffer.
    Body {
        at: Lsn,
        len: usize,
    },
}

/// Following one leader in one epoch.
pub(super) struct Follower {
    pub(super) leader: NodeId,
    epoch: Epoch,
    link: Option<LinkId>,
    state: State,
    backoff: Nanos,
    last_heard: Nanos,
    /// Since when there has been no stream; `None` while there is one.
    lost_since: Option<Nanos>,
    told: Option<Cursors>,
    told_at: Nanos,
    eager: bool,
    /// A commit LSN that was told and is not applied yet, and when it was told.
    promised: Option<(Lsn, Nanos)>,
    /// Everything that was committed when the leader said so at this time is applied.
    fresh_at: Option<Nanos>,
}

impl Follower {
    pub(super) fn new(leader: NodeId, epoch: Epoch, now: Nanos) -> Follower {
        Follower {
            leader,
            epoch,
            link: None,
            state: State::Waiting(now),
            backoff: RECONNECT_FIRST,
            last_heard: now,
            lost_since: None,
            told: None,
            told_at: Nanos(0),
            eager: false,
            promised: None,
            fresh_at: None,
        }
    }

    pub(super) fn is_of(&self, configuration: &Configuration) -> bool {
        self.leader == configuration.leader && self.epoch == engine_epoch(configuration.epoch)
    }

    /// Since when the stream of the leader has been broken, if it is.
    pub(super) fn lost_since(&self) -> Option<Nanos> {
        self.lost_since
    }

    pub(super) fn streams(&self) -> bool {
        matches!(self.state, State::Header | State::Room(_) | State::Body { .. })
    }

    /// For how long this copy may have missed commits: since the leader's newest word of which all is applied
    /// here. `None`: it has not said any.
    pub(super) fn lag(&self, now: Nanos) -> Option<Nanos> {
        self.fresh_at.map(|at| Nanos(now.0.saturating_sub(at.0)))
    }

    /// The leader said what is committed, or more of it is applied.
    fn note_commit(&mut self, told: Option<(Lsn, Nanos)>, applied: Lsn) {
        for (lsn, at) in [self.promised.take(), told].into_iter().flatten() {
            if lsn <= applied {
                self.fresh_at = Some(at);
            } else if self.promised.is_none() {
                self.promised = Some((lsn, at));
            }
        }
    }

    pub(super) fn close(self, out: &mut Vec<Action>) {
        out.extend(self.link.map(|link| Action::LinkClose { link }));
    }

    pub(super) fn deadline(&self, now: Nanos, rewinding: bool) -> Nanos {
        match self.state {
            // It calls once the rewind is through, which the disk's answer will say.
            State::Waiting(_) if rewinding => Nanos(now.0 + HEARTBEAT.0),
            State::Waiting(at) => at,
            State::Header | State::Room(_) | State::Body { .. } => Nanos(self.told_at.0 + HEARTBEAT.0),
            State::Connecting | State::Greeting | State::Rewinding => Nanos(now.0 + HEARTBEAT.0),
        }
    }

    fn call_again(&mut self, now: Nanos) {
        self.link = None;
        self.told = None;
        self.state = State::Waiting(Nanos(now.0 + self.backoff.0));
        self.backoff = Nanos((self.backoff.0 * 2).min(RECONNECT_MOST.0));
        self.lost_since.get_or_insert(now);
    }
}

impl Node {
    fn follower_of(&mut self, link: LinkId) -> Option<&mut Follower> {
        match &mut self.role {
            Role::Follower(follower) if follower.link == Some(link) => Some(follower),
            _ => None,
        }
    }

    pub(super) fn link_connected(&mut self, link: LinkId, out: &mut Vec<Action>) {
        let (tail, durable, last) = (self.shard.tail(), self.shard.durable(), self.shard.last_epoch());
        let flags = if self.damaged && !self.evicted_since_damage { DAMAGED } else { 0 };
        let body = message::encode_history(self.shard.history());
        let (shard, from) = (self.options.shard, self.options.me.0);
        let group = message::group_mark(self.options.settings.group);
        let Some(follower) = self.follower_of(link) else { return };
        let kind = Kind::Hello;
        let epoch = follower.epoch;
        let (a, b, body_bytes) = (durable.0, last.0, body.len());
        let hello = Header { kind, shard, from, flags, body_bytes, epoch, lsn: tail, a, b, group };
        let mut bytes = hello.encode();
        bytes.extend_from_slice(&body);
        follower.state = State::Greeting;
        out.push(Action::LinkSend { link, bytes });
        out.push(Action::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
    }

    /// Bytes into memory: a header from our leader, or anything from a follower of ours.
    pub(super) fn link_bytes(&mut self, link: LinkId, bytes: &[u8], out: &mut Vec<Action>) {
        let group = message::group_mark(self.options.settings.group);
        let now = self.now;
        let Some(follower) = self.follower_of(link) else { return self.leader_bytes(link, bytes, out) };
        let header = match Header::decode(bytes, group) {
            Ok(header) if header.kind == Kind::Refuse || header.epoch == follower.epoch => header,
            _ => return out.push(Action::LinkClose { link }),
        };
        follower.last_heard = now;
        match (&follower.state, header.kind) {
            (State::Greeting, Kind::Welcome) => self.welcomed(link, header, out),
            (State::Header, Kind::Append) => {
                follower.eager = header.flags & EAGER != 0;
                let commit = Lsn(header.a);
                if header.body_bytes == 0 {
                    self.shard.commit_to(commit);
                    let applied = self.shard.committed();
                    if let Some(follower) = self.follower_of(link) {
                        follower.note_commit(Some((commit, now)), applied);
                    }
                    out.push(Action::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
                } else {
                    follower.state = State::Room(header);
                    self.shard.commit_to(commit);
                    let applied = self.shard.committed();
                    if let Some(follower) = self.follower_of(link) {
                        follower.note_commit(Some((commit, now)), applied);
                    }
                    self.land(out);
                }
            }
            _ => out.push(Action::LinkClose { link }),
        }
    }

    fn welcomed(&mut self, link: LinkId, header: Header, out: &mut Vec<Action>) {
        let common = header.lsn;
        if common < self.shard.tail() {
            match self.shard.rewind_to(common, self.wall_ms) {
                Ok(()) => {}
                Err(error) => {
                    let reason = format!("the leader's log and this one part at LSN {common}: {error}");
                    return self.fail(reason, out);
                }
            }
        } else if common > self.shard.tail() {
            return out.push(Action::LinkClose { link });
        }
        if let Some(follower) = self.follower_of(link) {
            follower.state = State::Rewinding;
        }
    }

    /// Receives the announced frames into the log buffer as soon as it has room.
    fn land(&mut self, out: &mut Vec<Action>) {
        let Role::Follower(follower) = &mut self.role else { return };
        let (State::Room(header), Some(link), None) = (&follower.state, follower.link, self.landing) else {
            return;
        };
        let (at, len) = (header.lsn, header.body_bytes);
        match self.shard.landing(at, len) {
            Ok(range) => {
                self.landing = Some(link);
                follower.state = State::Body { at, len };
                out.push(Action::LinkReceive { link, into: Landing::Log(range) });
            }
            Err(ReceiveError::Full) => {}
            Err(_) => out.push(Action::LinkClose { link }),
        }
    }

    pub(super) fn link_landed(&mut self, link: LinkId, out: &mut Vec<Action>) {
        if self.landing == Some(link) {
            self.landing = None;
        }
        let now = self.now;
        let Some(follower) = self.follower_of(link) else { return };
        let State::Body { at, len } = follower.state else { return };
        let epoch = follower.epoch;
        follower.state = State::Header;
        follower.last_heard = now;
        match self.shard.landed(at, len, epoch) {
            Ok(()) => out.push(Action::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) }),
            Err(_) => out.push(Action::LinkClose { link }),
        }
    }

    pub(super) fn link_closed(&mut self, link: LinkId) {
        if self.landing == Some(link) {
            self.landing = None;
        }
        let now = self.now;
        match self.follower_of(link) {
            Some(follower) => follower.call_again(now),
            None => self.leader_link_closed(link),
        }
    }

    /// What a follower does at the end of each turn before the disk is asked.
    pub(super) fn follow_turn(&mut self, out: &mut Vec<Action>) {
        self.call_leader(out);
        self.end_rewind(out);
        self.land(out);
        self.acknowledge(out);
    }

    fn call_leader(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        let stopping = self.stopping.is_some();
        let Role::Follower(follower) = &mut self.role else { return };
        if let Some(link) = follower.link
            && follower.last_heard.0 + LEADER_SILENT.0 < now.0
            && !matches!(follower.state, State::Rewinding)
        {
            follower.last_heard = now;
            return out.push(Action::LinkClose { link });
        }
        let State::Waiting(at) = follower.state else { return };
        if now < at || stopping || self.landing.is_some() || self.shard.rewinding() {
            return;
        }
        let to = follower.leader;
        let link = self.link();
        out.push(Action::LinkConnect { link, to });
        if let Role::Follower(follower) = &mut self.role {
            follower.link = Some(link);
            follower.state = State::Connecting;
            follower.last_heard = now;
        }
    }

    fn end_rewind(&mut self, out: &mut Vec<Action>) {
        if self.shard.rewinding() {
            return;
        }
        let Role::Follower(follower) = &mut self.role else { return };
        let (State::Rewinding, Some(link)) = (&follower.state, follower.link) else { return };
        follower.state = State::Header;
        follower.lost_since = None;
        follower.backoff = RECONNECT_FIRST;
        out.push(Action::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
    }

    fn acknowledge(&mut self, out: &mut Vec<Action>) {
        let Role::Follower(follower) = &mut self.role else { return };
        follower.note_commit(None, self.shard.committed());
        if !follower.streams() {
            return;
        }
        let Some(link) = follower.link else { return };
        let cursors = Cursors {
            received: self.shard.tail(),
            durable: self.shard.durable(),
            applied: self.shard.applied(),
        };
        let news = match follower.told {
            None => true,
            Some(told) if follower.eager => cursors != told,
            Some(told) => cursors.durable != told.durable,
        };
        if !news && self.now.0 < follower.told_at.0 + HEARTBEAT.0 {
            return;
        }
        follower.told = Some(cursors);
        follower.told_at = self.now;
        let ack = Header {
            kind: Kind::Ack,
            shard: self.options.shard,
            from: self.options.me.0,
            flags: 0,
            body_bytes: 0,
            epoch: follower.epoch,
            lsn: cursors.received,
            a: cursors.durable.0,
            b: cursors.applied.0,
            group: message::group_mark(self.options.settings.group),
        };
        out.push(Action::LinkSend { link, bytes: ack.encode() });
    }
}
