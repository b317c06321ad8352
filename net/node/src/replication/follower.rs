//! What a follower does: connect to the leader, rewind to the last common point, land frames in the log
//! buffer, and acknowledge. A learner does the same; only the configuration tells them apart.

use super::links::LinkOwner;
use super::message::{self, Ack, Append, DiskSign, Envelope, Farewell, Hello, Message, Welcome};
use super::peer::{Cursors, HEARTBEAT};
use crate::events::{Command, Landing};
use crate::failure::Failure;
use crate::group::engine_epoch;
use crate::ids::LinkId;
use crate::shared::Context;
use agency::configuration::Configuration;
use agency::ids::{Nanos, NodeId};
use engine::error::ReceiveError;
use engine::ids::{Epoch, Lsn};
use std::time::Duration;

/// First pause before the leader is called again; doubles up to [`RECONNECT_MOST`].
const RECONNECT_FIRST: Duration = Duration::from_micros(500);
const RECONNECT_MOST: Duration = Duration::from_millis(20);
/// A leader that was not heard of for this long is called anew.
const LEADER_SILENT: Duration = Duration::from_millis(200);

enum FollowerState {
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
    Room(Append),
    /// These frames are being received into the log buffer.
    Body {
        at: Lsn,
        len: usize,
    },
}

/// Following one leader in one epoch.
pub(crate) struct Follower {
    leader: NodeId,
    epoch: Epoch,
    link: Option<LinkId>,
    state: FollowerState,
    backoff: Duration,
    last_heard: Nanos,
    /// Since when there has been no stream; `None` while there is one.
    lost_since: Option<Nanos>,
    told: Option<Cursors>,
    told_at: Nanos,
    eager: bool,
    /// The leader's disk stands still, and it wants to know how this one does.
    doubted: bool,
    /// The sign of this disk that it was told last.
    told_disk: DiskSign,
    /// A commit LSN that was told and is not applied yet, and when it was told.
    promised: Option<(Lsn, Nanos)>,
    /// Everything that was committed when the leader said so at this time is applied.
    fresh_at: Option<Nanos>,
    /// The leader stopped in order, and everything it wrote is here.
    farewell: bool,
}

impl Follower {
    pub fn new(leader: NodeId, epoch: Epoch, now: Nanos) -> Follower {
        Follower {
            leader,
            epoch,
            link: None,
            state: FollowerState::Waiting(now),
            backoff: RECONNECT_FIRST,
            last_heard: now,
            lost_since: None,
            told: None,
            told_at: Nanos(0),
            eager: false,
            doubted: false,
            told_disk: DiskSign::default(),
            promised: None,
            fresh_at: None,
            farewell: false,
        }
    }

    pub fn is_of(&self, configuration: &Configuration) -> bool {
        self.leader == configuration.leader && self.epoch == engine_epoch(configuration.epoch)
    }

    /// Since when the stream of the leader has been broken, if it is.
    pub fn lost_since(&self) -> Option<Nanos> {
        self.lost_since
    }

    pub fn heard_farewell(&self) -> bool {
        self.farewell
    }

    /// Whether the leader wants to know how this node's disk does.
    pub fn is_doubted(&self) -> bool {
        self.doubted && self.streams()
    }

    pub fn streams(&self) -> bool {
        matches!(self.state, FollowerState::Header | FollowerState::Room(_) | FollowerState::Body { .. })
    }

    /// For how long this copy may have missed commits: since the leader's newest word of which all is applied
    /// here. `None`: it has not said any.
    pub fn lag(&self, now: Nanos) -> Option<Duration> {
        self.fresh_at.map(|at| now.since(at))
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

    /// It follows no longer.
    pub fn close(self, out: &mut Vec<Command>) {
        out.extend(self.link.map(|link| Command::LinkClose { link }));
    }

    pub fn deadline(&self, now: Nanos, rewinding: bool) -> Nanos {
        match self.state {
            // It calls once the rewind is through, which the disk's answer will say.
            FollowerState::Waiting(_) if rewinding => now + HEARTBEAT,
            FollowerState::Waiting(at) => at,
            FollowerState::Header | FollowerState::Room(_) | FollowerState::Body { .. } => {
                self.told_at + HEARTBEAT
            }
            FollowerState::Connecting | FollowerState::Greeting | FollowerState::Rewinding => now + HEARTBEAT,
        }
    }

    pub fn call_again(&mut self, now: Nanos) {
        self.link = None;
        self.told = None;
        self.state = FollowerState::Waiting(now + self.backoff);
        self.backoff = (self.backoff * 2).min(RECONNECT_MOST);
        self.lost_since.get_or_insert(now);
    }

    /// The connection to the leader stands. `damaged`: the log was found damaged, and the leader does not know yet.
    pub fn connected(&mut self, link: LinkId, damaged: bool, cx: &mut Context<'_>) {
        let body = message::encode_history(cx.shard.history());
        let hello = Message::Hello(Hello {
            end: cx.shard.tail(),
            durable: cx.shard.durable(),
            last_epoch: cx.shard.last_epoch(),
            damaged,
            history_bytes: body.len(),
        });
        let mut bytes = super::header(self.epoch, hello, cx);
        bytes.extend_from_slice(&body);
        self.state = FollowerState::Greeting;
        cx.out.push(Command::LinkSend { link, bytes });
        cx.out.push(Command::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
    }

    /// A header from the leader.
    pub fn heard(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context<'_>) {
        let group = message::group_mark(cx.options.settings.group);
        let message = match Envelope::decode(bytes, group) {
            Ok(Envelope { message, epoch, .. }) if epoch == self.epoch => message,
            // Among them a refusal, which may be of another epoch: called again, the leader may be one.
            _ => return cx.out.push(Command::LinkClose { link }),
        };
        self.last_heard = cx.clock.now;
        match (&self.state, message) {
            (FollowerState::Greeting, Message::Welcome(welcome)) => self.welcomed(link, welcome, cx),
            (FollowerState::Header, Message::Append(append)) => {
                self.eager = append.eager;
                self.doubted = append.doubts;
                cx.shard.commit_to(append.committed);
                self.note_commit(Some((append.committed, cx.clock.now)), cx.shard.committed());
                if append.frames_bytes == 0 {
                    let into = Landing::Memory(message::HEADER_BYTES);
                    cx.out.push(Command::LinkReceive { link, into });
                } else {
                    self.state = FollowerState::Room(append);
                }
            }
            (FollowerState::Header, Message::Farewell(Farewell { end, committed })) => {
                cx.shard.commit_to(committed);
                self.farewell = cx.shard.durable() == end && cx.shard.committed() == end;
                cx.out.push(Command::LinkClose { link });
            }
            _ => cx.out.push(Command::LinkClose { link }),
        }
    }

    fn welcomed(&mut self, link: LinkId, Welcome { common, .. }: Welcome, cx: &mut Context<'_>) {
        if common > cx.shard.tail() {
            return cx.out.push(Command::LinkClose { link });
        }
        if common < cx.shard.tail()
            && let Err(error) = cx.shard.rewind_to(common, cx.clock.wall_ms)
        {
            return cx.fail(Failure::LogsPart { at: common, error });
        }
        self.state = FollowerState::Rewinding;
    }

    /// Receives the announced frames into the log buffer as soon as it has room. `landing`: the connection for
    /// which the kernel may be writing into it.
    pub fn land(&mut self, landing: &mut Option<LinkId>, cx: &mut Context<'_>) {
        let (FollowerState::Room(append), Some(link), None) = (&self.state, self.link, &landing) else {
            return;
        };
        let (at, len) = (append.at, append.frames_bytes);
        match cx.shard.landing(at, len) {
            Ok(range) => {
                *landing = Some(link);
                self.state = FollowerState::Body { at, len };
                cx.out.push(Command::LinkReceive { link, into: Landing::Log(range) });
            }
            Err(ReceiveError::Full) => {}
            Err(_) => cx.out.push(Command::LinkClose { link }),
        }
    }

    /// The announced frames are in the log buffer.
    pub fn landed(&mut self, link: LinkId, cx: &mut Context<'_>) {
        let FollowerState::Body { at, len } = self.state else { return };
        self.state = FollowerState::Header;
        self.last_heard = cx.clock.now;
        match cx.shard.landed(at, len, self.epoch) {
            Ok(()) => {
                cx.out.push(Command::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
            }
            Err(_) => cx.out.push(Command::LinkClose { link }),
        }
    }

    /// What a follower does at the end of each turn before the disk is asked.
    pub fn turn(&mut self, landing: &mut Option<LinkId>, cx: &mut Context<'_>) {
        self.call_leader(landing.is_some(), cx);
        self.end_rewind(cx);
        self.land(landing, cx);
        self.acknowledge(cx);
    }

    fn call_leader(&mut self, landing: bool, cx: &mut Context<'_>) {
        let now = cx.clock.now;
        if let Some(link) = self.link
            && self.last_heard + LEADER_SILENT < now
            && !matches!(self.state, FollowerState::Rewinding)
        {
            self.last_heard = now;
            return cx.out.push(Command::LinkClose { link });
        }
        let FollowerState::Waiting(at) = self.state else { return };
        if now < at || self.farewell || landing || cx.shard.rewinding() {
            return;
        }
        let link = cx.tickets.link();
        cx.links.own(link, LinkOwner::Stream);
        cx.out.push(Command::LinkConnect { link, to: self.leader });
        self.link = Some(link);
        self.state = FollowerState::Connecting;
        self.last_heard = now;
    }

    fn end_rewind(&mut self, cx: &mut Context<'_>) {
        if cx.shard.rewinding() {
            return;
        }
        let (FollowerState::Rewinding, Some(link)) = (&self.state, self.link) else { return };
        self.state = FollowerState::Header;
        self.lost_since = None;
        self.backoff = RECONNECT_FIRST;
        cx.out.push(Command::LinkReceive { link, into: Landing::Memory(message::HEADER_BYTES) });
    }

    fn acknowledge(&mut self, cx: &mut Context<'_>) {
        self.note_commit(None, cx.shard.committed());
        if !self.streams() {
            return;
        }
        let Some(link) = self.link else { return };
        let cursors =
            Cursors { received: cx.shard.tail(), durable: cx.shard.durable(), applied: cx.shard.applied() };
        let news = match self.told {
            None => true,
            Some(told) if self.eager => cursors != told,
            Some(told) => cursors.durable != told.durable,
        };
        let disk = cx.clock.disk_sign();
        let news = news || (self.doubted && disk != self.told_disk);
        if !news && cx.clock.now < self.told_at + HEARTBEAT {
            return;
        }
        self.told = Some(cursors);
        self.told_disk = disk;
        self.told_at = cx.clock.now;
        let bytes = super::header(self.epoch, Message::Ack(Ack { cursors, disk }), cx);
        cx.out.push(Command::LinkSend { link, bytes });
    }

    /// What must hold whenever a turn ends: see `Node::invariants`.
    pub fn invariants(&self, landing: Option<LinkId>, cx: &Context<'_>) {
        let lands = matches!(self.state, FollowerState::Body { .. });
        assert!(self.link.is_some() || !lands, "frames land from nowhere");
        if self.link.is_some() {
            assert_eq!(lands, landing == self.link, "{:?} lands, {landing:?} is noted", self.link);
        }
        if let Some(told) = self.told {
            let told_is_here = told.received <= cx.shard.tail() && told.durable <= cx.shard.durable();
            assert!(told_is_here, "more was acknowledged than is here: {told:?}");
        }
    }
}
