//! A client's one request: the connection that it goes out on, and what comes of it, whichever face it speaks
//! to. A client follows redirects, gives up on silence, and writes down what it asked and what it was told.

use crate::checkers::history::{Asked, Told};
use crate::client::{Again, Questions, Standing};
use crate::network::{Owner, Packet};
use crate::world::{Caller, What, World};
use engine::ids::ShardId;
use engine::slot::slot_of;
use node::events::Face;

/// A request unanswered for this long is given up.
const PATIENCE: (u64, u64) = (300_000_000, 1_500_000_000);
/// The same of clients that are not patient.
const IMPATIENCE: u64 = 250_000_000;
/// Before another attempt to connect.
const RECONNECT: (u64, u64) = (1_000_000, 30_000_000);

impl World {
    pub fn client_expects(&self, client: usize, serial: u64) -> bool {
        let me = &self.clients[client];
        me.serial == serial && matches!(me.standing, Standing::Calling)
    }

    pub fn next_step(&mut self, client: usize, delay: u64) {
        self.clients[client].serial += 1;
        let serial = self.clients[client].serial;
        self.later(delay, What::Client { client, serial });
    }

    pub fn client_calls(&mut self, client: usize) {
        let shard = match &self.clients[client].rewrite {
            Some(key) => ShardId(self.configs[0].shard_of_slot(slot_of(key)).0),
            None => ShardId(self.dice.below(u64::from(self.scenario.shards)) as u16),
        };
        let guess = self.dice.percent(if self.clients[client].stale { 0 } else { 80 });
        let to = if guess {
            self.clients[client].leaders[usize::from(shard.0)]
        } else {
            self.dice.below(self.scenario.data_nodes as u64) as usize
        };
        let face = match self.clients[client].http {
            true => Face::Http,
            false => face(self.dice.percent(self.scenario.any_key_percent)),
        };
        self.client_calls_at(client, (to, face, shard));
    }

    fn client_calls_at(&mut self, client: usize, at: (usize, Face, ShardId)) {
        self.next_step(client, PATIENCE.1);
        let me = &mut self.clients[client];
        me.standing = Standing::Calling;
        me.at = at;
        me.inbox.clear();
        me.greeted &= me.http;
        me.known = false;
        let serial = me.serial;
        let caller = Caller::Client { client, serial, face: at.1, shard: at.2 };
        self.call(caller, self.scenario.members() + client, at.0);
    }

    pub fn client_refused(&mut self, client: usize) {
        self.clients[client].standing = Standing::Away;
        let delay = self.dice.between(RECONNECT.0, RECONNECT.1);
        self.next_step(client, delay);
    }

    pub fn client_connected(&mut self, client: usize, connection: u64) {
        self.clients[client].standing = Standing::Ready(connection);
        self.next_step(client, 30_000);
    }

    pub fn drop_connection(&mut self, client: usize, connection: u64) {
        let own = |port: &Owner| matches!(port, Owner::Client { client: of } if *of == client);
        if let Some(side) = self.network.side(connection, own) {
            self.hang_up(connection, side);
        }
    }

    /// It gets no answer. An impatient client writes the same key again.
    pub fn client_gives_up(&mut self, client: usize, connection: u64) {
        let Standing::Waiting { asked, again: None, .. } = &self.clients[client].standing else { return };
        let value = |asked: &Asked| match asked {
            Asked::Set(value) | Asked::SetIfMissing(value) | Asked::SetIfThere(value) => Some(*value),
            _ => None,
        };
        let values: Vec<i64> = asked.iter().filter_map(|(_, asked)| value(asked)).collect();
        let set = asked.iter().find(|(_, asked)| matches!(asked, Asked::Set(_))).map(|(key, _)| key.clone());
        self.gives_up(connection, values);
        self.clients[client].rewrite = set.filter(|_| self.scenario.impatient);
    }

    /// Who has this connection closes it and has no answer about the writes of these values.
    pub fn gives_up(&mut self, connection: u64, values: Vec<i64>) {
        let known = self.network.connections.get(&connection);
        let seat = known.and_then(|known| {
            known.ends.iter().find_map(|end| match end.owner {
                Owner::Served { host, life, conn, .. } => Some((host, life, conn)),
                _ => None,
            })
        });
        if let Some(seat) = seat {
            self.checkers.zombies.gave_up(seat, values);
        }
    }

    /// The connection is over: what became of the request under way is not known.
    pub fn client_closed(&mut self, client: usize, connection: u64) {
        let me = &mut self.clients[client];
        match &me.standing {
            Standing::Ready(current) if *current == connection => {}
            Standing::Waiting { connection: current, .. } if *current == connection => {
                let Standing::Waiting { asked, since, again, .. } =
                    std::mem::replace(&mut me.standing, Standing::Away)
                else {
                    return;
                };
                if let Some(bytes) = again {
                    me.again = Some(Again { asked, bytes, since });
                    return self.client_refused(client);
                }
                for (key, asked) in asked.into_iter().filter(|(_, asked)| *asked != Asked::ReadOnly) {
                    if asked == Asked::Get && self.clients[client].audit.contains(&key) {
                        // The audit asks again.
                    } else if !self.clients[client].stale {
                        self.checkers.history.add(key, client, asked, since, None);
                    }
                }
            }
            _ => return,
        }
        self.client_refused(client);
    }

    /// Sends a request; `once`: it may be sent again.
    pub fn client_transmits(
        &mut self,
        client: usize,
        connection: u64,
        asked: Questions,
        bytes: Vec<u8>,
        once: bool,
    ) {
        if self.trace.prints(self.now) {
            let (host, face, shard) = self.clients[client].at;
            let (asked, shard) = (told_of(&asked), shard.0);
            let what = format_args!("asks host {host} ({face:?} {shard}): {asked}");
            self.trace.say(self.now, format_args!("client {client}"), what);
        }
        let again = once.then(|| bytes.clone());
        self.clients[client].waits_on(connection, asked, self.now, again);
        let patience =
            if self.scenario.impatient { IMPATIENCE } else { self.dice.between(PATIENCE.0, PATIENCE.1) };
        self.next_step(client, patience);
        let own = |port: &Owner| matches!(port, Owner::Client { client: of } if *of == client);
        if let Some(side) = self.network.side(connection, own) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    /// What is under way was asked before.
    pub fn client_waits_since(&mut self, client: usize, first: u64) {
        if let Standing::Waiting { since, .. } = &mut self.clients[client].standing {
            *since = first;
        }
    }

    /// A whole answer has come: to what, and since when that was asked.
    pub fn client_is_answered(
        &mut self,
        client: usize,
        connection: u64,
        answer: &dyn std::fmt::Debug,
    ) -> Option<(Questions, u64)> {
        self.clients[client].inbox.clear();
        let standing = std::mem::replace(&mut self.clients[client].standing, Standing::Ready(connection));
        let Standing::Waiting { asked, since, again, .. } = standing else {
            self.violated("replies", format!("client {client} got {answer:?} without asking"));
            return None;
        };
        // Until it turns out that it was carried out.
        self.clients[client].again = again.map(|bytes| Again { asked: asked.clone(), bytes, since });
        self.trace.mix(since);
        Some((asked, since))
    }

    /// Its request was carried out.
    pub fn client_learns(
        &mut self,
        client: usize,
        connection: u64,
        asked: Questions,
        told: Vec<Told>,
        since: u64,
    ) {
        let shard = self.configs[0].shard_of_slot(slot_of(&asked[0].0));
        self.clients[client].again = None;
        if asked[0].1.writes() {
            self.clients[client].answered_writes[usize::from(shard.0)] += 1;
        }
        let think = self.dice.magnitude(self.scenario.think.0, self.scenario.think.1);
        let (host, face, _) = self.clients[client].at;
        for ((key, asked), told) in asked.into_iter().zip(told) {
            if self.clients[client].stale {
                if asked == Asked::Get {
                    let verdict = self.checkers.stale_reads.saw(host, client, &key, told, self.now);
                    self.judge("stale reads", verdict);
                }
                continue;
            }
            self.clients[client].audit.retain(|due| *due != key);
            if face == Face::Shard {
                self.clients[client].leaders[usize::from(shard.0)] = host;
            }
            self.checkers.history.add(key, client, asked, since, Some((self.now, told)));
        }
        if self.dice.one_in(150) {
            self.drop_connection(client, connection);
            return self.client_refused(client);
        }
        self.next_step(client, think);
    }

    /// It is to ask another host, or, if `nobody` serves the shard, later.
    pub fn client_turned_away(
        &mut self,
        client: usize,
        connection: u64,
        shard: u16,
        to: Option<usize>,
        nobody: bool,
    ) {
        if nobody {
            self.clients[client].refused_at[usize::from(shard)] = self.now;
        }
        self.drop_connection(client, connection);
        match to {
            Some(host) => {
                self.clients[client].leaders[usize::from(shard)] = host;
                let face = if self.clients[client].http { Face::Http } else { Face::Shard };
                self.client_calls_at(client, (host, face, ShardId(shard)));
            }
            None => self.client_refused(client),
        }
    }
}

pub fn told_of(asked: &[(Vec<u8>, Asked)]) -> String {
    let words: Vec<String> =
        asked.iter().map(|(key, asked)| format!("{asked:?} {}", String::from_utf8_lossy(key))).collect();
    words.join(", ")
}

/// Which door a client uses.
fn face(any_key: bool) -> Face {
    if any_key { Face::AnyKey } else { Face::Shard }
}
