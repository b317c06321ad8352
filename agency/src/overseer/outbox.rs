//! Gathers what one event makes the overseer say, so that many shards travel in one message per peer.

use crate::ballot::Ballot;
use crate::configuration::Configuration;
use crate::ids::{MAX_MEMBERS, NodeId, ShardId, Version};
use crate::message::{AcceptItem, AcceptedItem, Message, PromiseItem};

#[derive(Default)]
struct Batch {
    first: Vec<Message>,
    prepare: Vec<(ShardId, Ballot)>,
    promised: Vec<PromiseItem>,
    accept: Vec<AcceptItem>,
    accepted: Vec<AcceptedItem>,
    decided: Vec<(ShardId, Configuration)>,
    pull: Vec<(ShardId, Version)>,
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

    /// Takes what was gathered for `to`, the urgent first.
    pub fn take(&mut self, to: NodeId) -> Vec<Message> {
        let batch = std::mem::take(self.to(to));
        let mut messages = batch.first;
        if !batch.accept.is_empty() {
            messages.push(Message::Accept(batch.accept));
        }
        if !batch.accepted.is_empty() {
            messages.push(Message::Accepted(batch.accepted));
        }
        if !batch.decided.is_empty() {
            messages.push(Message::Decided(batch.decided));
        }
        if !batch.prepare.is_empty() {
            messages.push(Message::Prepare(batch.prepare));
        }
        if !batch.promised.is_empty() {
            messages.push(Message::Promised(batch.promised));
        }
        if !batch.pull.is_empty() {
            messages.push(Message::Pull(batch.pull));
        }
        messages
    }
}
