//! A log that was lost: what recovery found damaged is fetched anew from whoever holds the same log, when there is no
//! leader to follow because this very node should be it (`docs/PROTOCOL.md`, *A lost log*). The other side is `serve`.
//!
//! Promises that nothing is taken but the log that was lost, frame by frame checked, and that the node is whole only
//! when every member that can be reached was asked for what it has of it. Changes nothing about the configuration.

use super::super::header;
use super::super::links::LinkOwner;
use super::super::message::{self, Envelope, HEADER_BYTES, Message, Refill, Refilled};
use super::{ANSWER_PATIENCE, BODY_PATIENCE, who_may_help};
use crate::events::{Command, Landing};
use crate::ids::LinkId;
use crate::shared::Context;
use agency::ids::{Nanos, NodeId};
use engine::error::ReceiveError;
use engine::ids::Epoch;
use std::time::Duration;

/// Pause between two rounds over the members.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// What is expected on the connection to a member.
enum Expected {
    Connection,
    Answer,
    Frames(Refilled),
    /// Frames that came, and for which the log buffer has no room yet.
    Room(Refilled, Vec<u8>),
}

struct Asking {
    link: LinkId,
    until: Nanos,
    expected: Expected,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Refilling {
    asking: Option<Asking>,
    /// Members that were not asked yet in this round, the last one next.
    untried: Vec<NodeId>,
    /// A round is under way.
    in_round: bool,
    /// Somebody said in this round that it holds the lost log.
    found: bool,
    next_round: Nanos,
}

impl Refilling {
    /// When its next turn is due.
    pub fn deadline(&self) -> Nanos {
        self.asking.as_ref().map_or(Nanos(u64::MAX), |asking| asking.until)
    }

    /// What is due at a turn's end. `wanted`: it should lead, and cannot. Returns whether the log is whole again.
    pub fn turn(&mut self, wanted: bool, cx: &mut Context<'_>) -> bool {
        if !wanted || cx.shard.rewinding() {
            if let Some(asking) = self.asking.take() {
                cx.out.push(Command::LinkClose { link: asking.link });
            }
            self.in_round = false;
            return false;
        }
        self.take_in(cx);
        if let Some(asking) = self.asking.as_mut() {
            if asking.until <= cx.clock.now {
                asking.until = Nanos(u64::MAX);
                cx.out.push(Command::LinkClose { link: asking.link });
            }
            return false;
        }
        if !self.in_round {
            if cx.clock.now >= self.next_round {
                (self.in_round, self.found, self.untried) = (true, false, who_may_help(cx));
            }
            return false;
        }
        let Some(to) = self.untried.pop() else {
            self.in_round = false;
            self.next_round = cx.clock.now + ROUND_PAUSE;
            return self.found && !cx.shard.damaged();
        };
        let link = cx.tickets.link();
        let until = cx.clock.now + ANSWER_PATIENCE;
        self.asking = Some(Asking { link, until, expected: Expected::Connection });
        cx.links.own(link, LinkOwner::Refill);
        cx.out.push(Command::LinkConnect { link, to });
        false
    }

    fn asked_on(&mut self, link: LinkId) -> Option<&mut Asking> {
        self.asking.as_mut().filter(|asking| asking.link == link)
    }

    /// Asks the member on this connection for what comes next in the log.
    pub fn ask(&mut self, link: LinkId, cx: &mut Context<'_>) {
        let Some((lost_epoch, until)) = cx.shard.lost() else { return };
        let Some(asking) = self.asking.as_mut().filter(|asking| asking.link == link) else { return };
        asking.expected = Expected::Answer;
        asking.until = cx.clock.now + ANSWER_PATIENCE;
        let refill = Message::Refill(Refill { at: cx.shard.tail(), lost_epoch, until });
        cx.out.push(Command::LinkSend { link, bytes: header(cx.group.epoch(), refill, cx) });
        cx.out.push(Command::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
    }

    /// A part of an answer.
    pub fn answered(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context<'_>) {
        let group = message::group_mark(cx.options.settings.group);
        let (now, end) = (cx.clock.now, cx.shard.tail());
        let Some(asking) = self.asked_on(link) else { return };
        if let Expected::Frames(answer) = asking.expected {
            asking.expected = Expected::Room(answer, bytes.to_vec());
            asking.until = now + BODY_PATIENCE;
            return self.take_in(cx);
        }
        match Envelope::decode(bytes, group).map(|envelope| envelope.message) {
            Ok(Message::Refilled(answer)) if answer.at == end && answer.holds => {
                let more = answer.frames_bytes > 0;
                asking.expected = Expected::Frames(answer);
                asking.until = now + BODY_PATIENCE;
                self.found = true;
                cx.out.push(if more {
                    Command::LinkReceive { link, into: Landing::Memory(answer.frames_bytes) }
                } else {
                    Command::LinkClose { link }
                });
            }
            _ => cx.out.push(Command::LinkClose { link }),
        }
    }

    /// Frames that came go into the log buffer, and from there to the disk as a follower's do.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        let limit = cx.shard.lost().map_or(Epoch(0), |(epoch, _)| epoch);
        let Some(Asking { link, expected: Expected::Room(answer, frames), .. }) = &self.asking else {
            return;
        };
        let (link, answer) = (*link, *answer);
        let range = match cx.shard.landing(answer.at, frames.len()) {
            Ok(range) => range,
            Err(ReceiveError::Full) => return,
            Err(_) => return cx.out.push(Command::LinkClose { link }),
        };
        cx.shard.fill_landing(range, frames);
        if cx.shard.landed(answer.at, frames.len(), limit).is_err() {
            return cx.out.push(Command::LinkClose { link });
        }
        cx.shard.commit_to(answer.committed);
        self.ask(link, cx);
    }

    /// The connection is gone.
    pub fn link_closed(&mut self, link: LinkId) {
        self.asking.take_if(|asking| asking.link == link);
    }
}
