//! Nothing is answered before it is durable: tickets for stored images, and the answers that wait for them.

use super::Overseer;
use crate::events::Command;
use crate::ids::{MAX_MEMBERS, MAX_SHARDS, NodeId};
use crate::message::{AcceptedItem, PromiseItem};
use crate::register::{Image, ShardImage};
use std::collections::VecDeque;

/// Most answers that wait for the disk; further ones are not given. To whoever waits for one it is a lost message,
/// and all of them are repeated. So many fit that every member may ask for every shard again and again while a
/// disk hangs.
const ANSWERS_WAITING: usize = 4 * MAX_MEMBERS * MAX_SHARDS;

/// Something to say once an image is durable.
pub(super) enum Answer {
    Promised(NodeId, PromiseItem),
    Accepted(NodeId, AcceptedItem),
    /// This agent may vote from now on.
    Joined,
}

/// What is on its way to the disk.
#[derive(Default)]
pub(super) struct Store {
    /// The state differs from the newest image handed over.
    pub dirty: bool,
    /// Ticket of the newest image handed over.
    pub given: u64,
    /// Everything up to this ticket is durable.
    pub durable: u64,
    waiting: VecDeque<(u64, Answer)>,
}

impl Store {
    /// The state as it is now goes with this ticket at the latest.
    pub fn next(&mut self) -> u64 {
        self.dirty = true;
        self.given + 1
    }

    /// Says `answer` when the state as it is now is durable.
    pub fn after(&mut self, answer: Answer) {
        let ticket = self.next();
        if self.waiting.len() >= ANSWERS_WAITING && !matches!(answer, Answer::Joined) {
            return;
        }
        self.waiting.push_back((ticket, answer));
        // That this agent votes is said once in its life.
        assert!(self.waiting.len() <= ANSWERS_WAITING + 1);
        assert!(self.waiting.iter().rev().nth(1).is_none_or(|(before, _)| *before <= ticket));
    }
}

impl Overseer {
    pub(super) fn stored(&mut self, ticket: u64) {
        assert!(ticket <= self.store.given, "image {ticket} is durable, {} were given", self.store.given);
        self.store.durable = self.store.durable.max(ticket);
        while self.store.waiting.front().is_some_and(|(t, _)| *t <= self.store.durable) {
            match self.store.waiting.pop_front().expect("there is a first").1 {
                Answer::Promised(to, item) => self.outbox.promised(to, item),
                Answer::Accepted(to, item) => self.outbox.accepted(to, item),
                Answer::Joined => {
                    assert!(self.joining && !self.joined, "an agent comes to vote once");
                    self.joined = true;
                    self.say("this agent votes".into());
                }
            }
        }
    }

    pub(super) fn store_if_dirty(&mut self, out: &mut Vec<Command>) {
        if !std::mem::take(&mut self.store.dirty) {
            return;
        }
        self.store.given += 1;
        let newest = self.store.waiting.back().map_or(0, |(ticket, _)| *ticket);
        assert!(newest <= self.store.given, "every answer waits for an image that is on its way");
        let shard = |s: &super::Shard| ShardImage { acceptor: s.acceptor, decided: s.decided };
        let image = Image {
            group: self.options.group,
            me: self.options.me,
            joined: self.joined || self.joining,
            shards: self.shards.iter().map(shard).collect(),
            identities: self.identities,
            history: self.history.leaderships(),
            tallies: self.history.tallies().to_vec(),
        };
        out.push(Command::Store { ticket: self.store.given, image: image.encode() });
    }
}
