//! Clients: each has one request under way, follows redirects, gives up on silence, and writes down what it
//! asked and what it was told.
//!
//! Keys live for a while and are then left alone, so that each key's history stays short enough to be judged.
//! A client that asks for stale reads sends nothing else. Those of the HTTP face are in `http_clients`.

use crate::checkers::history::{Asked, Told};
use crate::network::{Packet, Port};
use crate::scenario::Scenario;
use crate::world::{Caller, What, World};
use engine::ids::ShardId;
use engine::slot::slot_of;
use node::seam::Face;

/// A request unanswered for this long is given up.
const PATIENCE: (u64, u64) = (300_000_000, 1_500_000_000);
/// Before another attempt to connect.
const RECONNECT: (u64, u64) = (1_000_000, 30_000_000);
/// Keys in use at a time, of each kind.
const KEYS: u64 = 4;
/// How long they are in use.
const KEY_WINDOW: u64 = 1_500_000_000;
/// How often a further key for a command is drawn, at most.
const SEVERAL_TRIED: u64 = 6;
const PADDING_MOST: u64 = 12_000;
const PADDING_COMMON: u64 = 700;

/// What a request asks of each of its keys.
pub type Questions = Vec<(Vec<u8>, Asked)>;

/// What a client is about.
#[derive(Debug)]
enum State {
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
    state: State,
    /// Steps of another serial are out of date.
    serial: u64,
    pub inbox: Vec<u8>,
    written: u64,
    /// The host believed to lead each shard.
    leaders: Vec<usize>,
    at: (usize, Face, ShardId),
    stale: bool,
    http: bool,
    /// What a connection, or a client, begins with has been said.
    pub greeted: bool,
    /// To be sent again.
    pub again: Option<Again>,
    /// Of a stale reader's connection: the newest LSN seen per shard.
    pub seen: u64,
    /// Keys still to be read at the end.
    pub audit: Vec<Vec<u8>>,
    pub answered: u64,
    pub answered_writes: Vec<u64>,
    /// When a request of each shard was last refused because nobody serves it.
    pub refused_at: Vec<u64>,
}

impl Client {
    pub fn new(number: usize, scenario: &Scenario) -> Client {
        Client {
            number,
            state: State::Away,
            serial: 0,
            inbox: Vec::new(),
            written: 0,
            leaders: vec![0; usize::from(scenario.shards)],
            at: (0, Face::AnyKey, ShardId(0)),
            stale: number < scenario.stale_clients,
            http: scenario.is_http(number),
            greeted: false,
            again: None,
            seen: 0,
            audit: Vec::new(),
            answered: 0,
            answered_writes: vec![0; usize::from(scenario.shards)],
            refused_at: vec![0; usize::from(scenario.shards)],
        }
    }

    /// Nothing more is to be read.
    pub fn audited(&self) -> bool {
        let idle = self.audit.is_empty() && self.again.is_none();
        self.stale || (idle && !matches!(self.state, State::Waiting { .. }))
    }

    /// A value that no other request writes.
    pub fn next_value(&mut self) -> i64 {
        self.written += 1;
        1 + self.number as i64 + self.written as i64 * 64
    }
}

impl World {
    pub(super) fn client_expects(&self, client: usize, serial: u64) -> bool {
        let me = &self.clients[client];
        me.serial == serial && matches!(me.state, State::Calling)
    }

    pub(super) fn next_step(&mut self, client: usize, delay: u64) {
        self.clients[client].serial += 1;
        let serial = self.clients[client].serial;
        self.later(delay, What::Client { client, serial });
    }

    pub(super) fn client_step(&mut self, client: usize, serial: u64) {
        if self.clients[client].serial != serial {
            return;
        }
        match self.clients[client].state {
            State::Away => self.client_calls(client),
            State::Calling => self.client_refused(client),
            State::Ready(connection) => self.client_asks(client, connection),
            State::Waiting { connection, .. } => {
                // Who does not answer may no longer lead.
                let other = self.dice.below(self.scenario.data_nodes as u64) as usize;
                self.clients[client].leaders.fill(other);
                self.drop_connection(client, connection);
                self.client_closed(client, connection);
            }
        }
    }

    fn client_calls(&mut self, client: usize) {
        let shard = ShardId(self.dice.below(u64::from(self.scenario.shards)) as u16);
        let guess = self.dice.percent(if self.clients[client].stale { 0 } else { 80 });
        let to = if guess {
            self.clients[client].leaders[usize::from(shard.0)]
        } else {
            self.dice.below(self.scenario.data_nodes as u64) as usize
        };
        let face = match self.clients[client].http {
            true => Face::Http,
            false => crate::nodes::face(self.dice.percent(self.scenario.any_key_percent)),
        };
        self.client_calls_at(client, (to, face, shard));
    }

    fn client_calls_at(&mut self, client: usize, at: (usize, Face, ShardId)) {
        self.next_step(client, PATIENCE.1);
        let me = &mut self.clients[client];
        me.state = State::Calling;
        me.at = at;
        me.inbox.clear();
        me.greeted &= me.http;
        me.seen = 0;
        let serial = me.serial;
        let caller = Caller::Client { client, serial, face: at.1, shard: at.2 };
        self.call(caller, self.scenario.members() + client, at.0);
    }

    pub(super) fn client_refused(&mut self, client: usize) {
        self.clients[client].state = State::Away;
        let delay = self.dice.between(RECONNECT.0, RECONNECT.1);
        self.next_step(client, delay);
    }

    pub(super) fn client_connected(&mut self, client: usize, connection: u64) {
        self.clients[client].state = State::Ready(connection);
        self.next_step(client, 30_000);
    }

    fn drop_connection(&mut self, client: usize, connection: u64) {
        let own = |port: &Port| matches!(port, Port::Client { client: of } if *of == client);
        if let Some(side) = self.network.side(connection, own) {
            self.hang_up(connection, side);
        }
    }

    /// The connection is over: what became of the request under way is not known.
    pub(super) fn client_closed(&mut self, client: usize, connection: u64) {
        let me = &mut self.clients[client];
        match &me.state {
            State::Ready(current) if *current == connection => {}
            State::Waiting { connection: current, .. } if *current == connection => {
                let State::Waiting { asked, since, again, .. } =
                    std::mem::replace(&mut me.state, State::Away)
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

    fn client_asks(&mut self, client: usize, connection: u64) {
        if self.clients[client].http {
            return self.http_asks(client, connection);
        }
        let stale = self.clients[client].stale;
        if stale && !self.clients[client].greeted {
            self.clients[client].greeted = true;
            let asked = vec![(Vec::new(), Asked::ReadOnly)];
            return self.client_sends(client, connection, asked, &[b"READONLY"]);
        }
        if let Some(key) = self.clients[client].audit.last().cloned() {
            let others = self.clients[client].audit.iter().rev().skip(1);
            let others = others.take_while(|other| slot_of(other) == slot_of(&key)).cloned();
            return self.client_asks_for(
                client,
                connection,
                std::iter::once(key.clone()).chain(others).collect(),
            );
        }
        if self.nemesis.auditing {
            return self.next_step(client, 5_000_000);
        }
        let Some((key, counter)) = self.pick_key(client) else { return self.next_step(client, 1_000_000) };
        if stale {
            return self.client_asks_for(client, connection, vec![key]);
        }
        let (value, text) = self.new_value(client);
        let kind = if self.nemesis.writes_only { 40 } else { self.dice.below(100) };
        let (asked, parts): (Asked, Vec<&[u8]>) = match (counter, kind) {
            (_, 0..34) => (Asked::Get, vec![b"GET", &key]),
            (false, 34..40) => {
                let keys = self.pick_several(client, key);
                return self.client_asks_for(client, connection, keys);
            }
            (true, 34..) => (Asked::Incr, vec![b"INCR", &key]),
            (false, 40..74) => (Asked::Set(value), vec![b"SET", &key, &text]),
            (false, 74..80) => return self.client_sets_several(client, connection, key),
            (false, 80..90) => (Asked::SetIfMissing(value), vec![b"SET", &key, &text, b"NX"]),
            (false, 90..95) => (Asked::SetIfThere(value), vec![b"SET", &key, &text, b"XX"]),
            (false, _) => (Asked::Delete, vec![b"DEL", &key]),
        };
        self.client_sends(client, connection, vec![(key.clone(), asked)], &parts);
    }

    /// A value that no other request writes: its number, and a text of any length that begins with it.
    fn new_value(&mut self, client: usize) -> (i64, Vec<u8>) {
        let value = self.clients[client].next_value();
        let padding = if self.dice.one_in(12) { PADDING_MOST } else { PADDING_COMMON };
        let mut text = format!("{value}:").into_bytes();
        text.resize(text.len() + self.dice.below(padding) as usize, b'x');
        (value, text)
    }

    /// Other keys of the same slot behind `key`, if it has such.
    fn pick_several(&mut self, client: usize, key: Vec<u8>) -> Vec<Vec<u8>> {
        let slot = slot_of(&key);
        let mut keys = vec![key];
        for _ in 0..self.dice.between(1, SEVERAL_TRIED) {
            let Some((key, _)) = self.pick_key(client) else { break };
            if slot_of(&key) == slot && !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn client_asks_for(&mut self, client: usize, connection: u64, keys: Vec<Vec<u8>>) {
        let word: &[u8] = if keys.len() > 1 { b"MGET" } else { b"GET" };
        let parts: Vec<&[u8]> = std::iter::once(word).chain(keys.iter().map(Vec::as_slice)).collect();
        let asked = keys.iter().map(|key| (key.clone(), Asked::Get)).collect();
        self.client_sends(client, connection, asked, &parts);
    }

    fn client_sets_several(&mut self, client: usize, connection: u64, key: Vec<u8>) {
        let keys = self.pick_several(client, key);
        let values: Vec<(i64, Vec<u8>)> = keys.iter().map(|_| self.new_value(client)).collect();
        let mut parts: Vec<&[u8]> = vec![b"MSET"];
        for (key, (_, text)) in keys.iter().zip(&values) {
            parts.extend([key.as_slice(), text]);
        }
        let asked = keys.iter().zip(&values).map(|(key, (value, _))| (key.clone(), Asked::Set(*value)));
        self.client_sends(client, connection, asked.collect(), &parts);
    }

    /// A key in use now that this connection may be asked about.
    fn pick_key(&mut self, client: usize) -> Option<(Vec<u8>, bool)> {
        let (_, face, shard) = self.clients[client].at;
        for _ in 0..64 {
            let window = self.now / KEY_WINDOW;
            let number = self.dice.below(KEYS);
            let (counter, key) = match self.dice.below(8) {
                0..2 => (true, format!("n{window}:{number}")),
                // Of one slot, so that a command may name several.
                2..5 => (false, format!("{{{window}}}:{number}")),
                _ => (false, format!("k{window}:{number}")),
            };
            let key = key.into_bytes();
            if face == Face::AnyKey || self.configs[0].shard_of_slot(slot_of(&key)).0 == shard.0 {
                return Some((key, counter));
            }
        }
        None
    }

    /// Sends a command; `asked`: what it asks of each of its keys.
    fn client_sends(&mut self, client: usize, connection: u64, asked: Questions, parts: &[&[u8]]) {
        let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        self.client_transmits(client, connection, asked, bytes, false);
    }

    /// Sends a request; `once`: it may be sent again.
    pub(super) fn client_transmits(
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
        self.clients[client].state = State::Waiting { connection, asked, since: self.now, again };
        let patience = self.dice.between(PATIENCE.0, PATIENCE.1);
        self.next_step(client, patience);
        let own = |port: &Port| matches!(port, Port::Client { client: of } if *of == client);
        if let Some(side) = self.network.side(connection, own) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    /// What is under way was asked before.
    pub(super) fn client_waits_since(&mut self, client: usize, first: u64) {
        if let State::Waiting { since, .. } = &mut self.clients[client].state {
            *since = first;
        }
    }

    /// A whole answer has come: to what, and since when that was asked.
    pub(super) fn client_is_answered(
        &mut self,
        client: usize,
        connection: u64,
        answer: &dyn std::fmt::Debug,
    ) -> Option<(Questions, u64)> {
        self.clients[client].inbox.clear();
        let state = std::mem::replace(&mut self.clients[client].state, State::Ready(connection));
        let State::Waiting { asked, since, again, .. } = state else {
            self.violated("replies", format!("client {client} got {answer:?} without asking"));
            return None;
        };
        // Until it turns out that it was carried out.
        self.clients[client].again = again.map(|bytes| Again { asked: asked.clone(), bytes, since });
        self.trace.mix(since);
        Some((asked, since))
    }

    pub(super) fn client_bytes(&mut self, client: usize, connection: u64, bytes: Vec<u8>) {
        self.clients[client].inbox.extend_from_slice(&bytes);
        if self.clients[client].http {
            return self.http_bytes(client, connection);
        }
        let Some(reply) = parse(&self.clients[client].inbox) else { return };
        let Some((asked, since)) = self.client_is_answered(client, connection, &reply) else { return };
        if self.trace.prints(self.now) {
            let text = match &reply {
                Reply::Text(text) => format!("{} bytes {:?}", text.len(), Told::from_text(text)),
                other => format!("{other:?}"),
            };
            let asked = told_of(&asked);
            self.trace.say(self.now, format_args!("client {client}"), format_args!("{asked}: {text}"));
        }
        // All keys of a command are of one slot.
        let shard = self.configs[0].shard_of_slot(slot_of(&asked[0].0));
        let told: Vec<Told> = match reply {
            Reply::Error(text) => return self.client_refused_by(client, connection, shard.0, &text),
            Reply::Several(parts) if parts.len() == asked.len() => parts.into_iter().map(told_by).collect(),
            // One word for all that was written.
            Reply::Text(text) if asked.iter().all(|(_, asked)| *asked != Asked::Get) => {
                asked.iter().map(|_| Told::from_text(&text)).collect()
            }
            one if asked.len() == 1 => vec![told_by(one)],
            other => return self.violated("replies", format!("client {client} got {other:?}")),
        };
        self.client_learns(client, connection, asked, told, since);
    }

    /// Its request was carried out.
    pub(super) fn client_learns(
        &mut self,
        client: usize,
        connection: u64,
        asked: Questions,
        told: Vec<Told>,
        since: u64,
    ) {
        let shard = self.configs[0].shard_of_slot(slot_of(&asked[0].0));
        self.clients[client].again = None;
        self.clients[client].answered += 1;
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

    /// An error: the request was not carried out.
    fn client_refused_by(&mut self, client: usize, connection: u64, shard: u16, text: &str) {
        let moved = text.strip_prefix("MOVED ").and_then(|rest| rest.rsplit(':').next()?.parse().ok());
        let known = [
            "MOVED ",
            "CLUSTERDOWN",
            "TRYAGAIN",
            "OOM ",
            "ERR the disk could not",
            "ERR the value's checksum",
        ];
        if !known.iter().any(|start| text.starts_with(start)) {
            return self.violated("replies", format!("client {client} was told: {text}"));
        }
        let nobody = text.starts_with("CLUSTERDOWN") || text.starts_with("TRYAGAIN");
        let to = moved.and_then(|port| self.scenario.host_of_port(port));
        self.client_turned_away(client, connection, shard, to, nobody);
    }

    /// It is to ask another host, or, if `nobody` serves the shard, later.
    pub(super) fn client_turned_away(
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

#[derive(Debug)]
enum Reply {
    Text(Vec<u8>),
    Integer(i64),
    Error(String),
    Null,
    Several(Vec<Reply>),
}

fn told_by(reply: Reply) -> Told {
    match reply {
        Reply::Text(text) => Told::from_text(&text),
        Reply::Integer(n) => Told::Number(n),
        _ => Told::Nothing,
    }
}

fn told_of(asked: &[(Vec<u8>, Asked)]) -> String {
    let words: Vec<String> =
        asked.iter().map(|(key, asked)| format!("{asked:?} {}", String::from_utf8_lossy(key))).collect();
    words.join(", ")
}

/// One reply, if it is whole.
fn parse(bytes: &[u8]) -> Option<Reply> {
    parse_part(bytes).map(|(reply, _)| reply)
}

/// A reply and what is behind it.
fn parse_part(bytes: &[u8]) -> Option<(Reply, &[u8])> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[1..line_end]).into_owned();
    let rest = &bytes[line_end + 2..];
    let reply = match bytes[0] {
        b'+' => Reply::Text(line.into_bytes()),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(line.parse().ok()?),
        b'$' => {
            let len: i64 = line.parse().ok()?;
            match usize::try_from(len) {
                Err(_) => Reply::Null,
                Ok(len) if rest.len() >= len + 2 => {
                    return Some((Reply::Text(rest[..len].to_vec()), &rest[len + 2..]));
                }
                Ok(_) => return None,
            }
        }
        b'*' => {
            let (mut parts, mut rest) = (Vec::new(), rest);
            for _ in 0..line.parse::<usize>().ok()? {
                let (part, behind) = parse_part(rest)?;
                parts.push(part);
                rest = behind;
            }
            return Some((Reply::Several(parts), rest));
        }
        _ => Reply::Error(format!("unknown reply {line}")),
    };
    Some((reply, rest))
}
