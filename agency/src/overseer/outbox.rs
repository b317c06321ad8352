//! Gathers what one event makes the overseer say, so that many shards travel in one message per peer.

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::ids::{MAX_MEMBERS, MAX_SHARDS, NodeId, ShardId, Version};
use crate::message::{AcceptItem, AcceptedItem, MAX_DECIDED, Message, PromiseItem, YieldItem};

#[derive(Default)]
struct Batch {
    first: Vec<Message>,
    prepare: Vec<(ShardId, Ballot)>,
    promised: Vec<PromiseItem>,
    accept: Vec<AcceptItem>,
    accepted: Vec<AcceptedItem>,
    decided: Vec<(ShardId, Configuration)>,
    pull: Vec<(ShardId, Version)>,
    yields: Vec<YieldItem>,
}

/// Messages to each member, itself included.
#[derive(Default)]
pub(super) struct Outbox([Batch; MAX_MEMBERS]);

impl Outbox {
    fn to(&mut self, to: NodeId) -> &mut Batch {
        &mut self.0[usize::from(to.0)]
    }
    /// A whole message; goes before the gathered ones.
    pub fn message(&mut self, to: NodeId, message: Message) {
        self.to(to).first.push(message);
    }
    pub fn prepare(&mut self, to: NodeId, shard: ShardId, ballot: Ballot) {
        self.to(to).prepare.push((shard, ballot));
    }
    pub fn promised(&mut self, to: NodeId, item: PromiseItem) {
        self.to(to).promised.push(item);
    }
    pub fn accept(&mut self, to: NodeId, item: AcceptItem) {
        self.to(to).accept.push(item);
    }
    pub fn accepted(&mut self, to: NodeId, item: AcceptedItem) {
        self.to(to).accepted.push(item);
    }
    pub fn decided(&mut self, to: NodeId, shard: ShardId, configuration: Configuration) {
        self.to(to).decided.push((shard, configuration));
    }
    pub fn pull(&mut self, to: NodeId, shard: ShardId, have: Version) {
        self.to(to).pull.push((shard, have));
    }
    pub fn yields(&mut self, to: NodeId, item: YieldItem) {
        self.to(to).yields.push(item);
    }

    /// Takes what was gathered for `to`, the urgent first: in as many messages as it takes to keep each within what
    /// the other side reads.
    pub fn take(&mut self, to: NodeId) -> Vec<Message> {
        let batch = std::mem::take(self.to(to));
        let mut messages = batch.first;
        split(batch.accept, MAX_SHARDS, Message::Accept, &mut messages);
        split(batch.accepted, MAX_SHARDS, Message::Accepted, &mut messages);
        split(batch.yields, MAX_SHARDS, Message::Yield, &mut messages);
        split(batch.decided, MAX_DECIDED, Message::Decided, &mut messages);
        split(batch.prepare, MAX_SHARDS, Message::Prepare, &mut messages);
        split(batch.promised, MAX_SHARDS, Message::Promised, &mut messages);
        split(batch.pull, MAX_SHARDS, Message::Pull, &mut messages);
        messages
    }
}

/// Appends `items` in messages of at most `most`.
fn split<T>(mut items: Vec<T>, most: usize, message: fn(Vec<T>) -> Message, messages: &mut Vec<Message>) {
    while items.len() > most {
        let rest = items.split_off(most);
        messages.push(message(std::mem::replace(&mut items, rest)));
    }
    if !items.is_empty() {
        messages.push(message(items));
    }
}
