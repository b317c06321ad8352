//! What a client knows: where it stands with its one request, and what it still has to ask.

use crate::checkers::history::Asked;
use crate::scenario::Scenario;
use engine::ids::ShardId;
use node::events::Face;
use std::collections::BTreeSet;

/// What a request asks of each of its keys.
pub type Questions = Vec<(Vec<u8>, Asked)>;

/// What a client is about.
#[derive(Debug)]
pub enum Standing {
    Away,
    Calling,
    Ready(u64),
    Waiting { connection: u64, asked: Questions, since: u64, again: Option<Vec<u8>> },
}

/// A request that may be sent again, because it would be carried out once nevertheless.
#[derive(Debug)]
pub struct Again {
    pub asked: Questions,
    pub bytes: Vec<u8>,
    pub since: u64,
}

/// One client.
pub struct Client {
    number: usize,
    pub standing: Standing,
    /// Steps of another serial are out of date.
    pub serial: u64,
    pub inbox: Vec<u8>,
    written: u64,
    /// The host believed to lead each shard.
    pub leaders: Vec<usize>,
    pub at: (usize, Face, ShardId),
    pub stale: bool,
    pub http: bool,
    /// What a connection, or a client, begins with has been said.
    pub greeted: bool,
    /// It has said on this connection who it is.
    pub known: bool,
    /// To be sent again.
    pub again: Option<Again>,
    /// Connections on which it asked for more than what one begins with, whether it gave them up or not.
    pub used: BTreeSet<u64>,
    /// A key to be written once more, because nobody answered.
    pub rewrite: Option<Vec<u8>>,
    /// Keys still to be read at the end.
    pub audit: Vec<Vec<u8>>,
    pub answered_writes: Vec<u64>,
    /// When a request of each shard was last refused because nobody serves it.
    pub refused_at: Vec<u64>,
}

impl Client {
    pub fn new(number: usize, scenario: &Scenario) -> Client {
        Client {
            number,
            standing: Standing::Away,
            serial: 0,
            inbox: Vec::new(),
            written: 0,
            leaders: vec![0; usize::from(scenario.shards)],
            at: (0, Face::AnyKey, ShardId(0)),
            stale: number < scenario.stale_clients,
            http: scenario.is_http(number),
            greeted: false,
            known: false,
            again: None,
            used: BTreeSet::new(),
            rewrite: None,
            audit: Vec::new(),
            answered_writes: vec![0; usize::from(scenario.shards)],
            refused_at: vec![0; usize::from(scenario.shards)],
        }
    }

    /// It waits, on this connection.
    pub fn waits_on(&mut self, connection: u64, asked: Questions, since: u64, again: Option<Vec<u8>>) {
        if asked[0].1 != Asked::ReadOnly {
            self.used.insert(connection);
        }
        self.standing = Standing::Waiting { connection, asked, since, again };
    }

    /// Nothing more is to be read.
    pub fn audited(&self) -> bool {
        let idle = self.audit.is_empty() && self.again.is_none();
        self.stale || (idle && !matches!(self.standing, Standing::Waiting { .. }))
    }

    /// A value that no other request writes.
    pub fn next_value(&mut self) -> i64 {
        self.written += 1;
        1 + self.number as i64 + self.written as i64 * 64
    }
}
