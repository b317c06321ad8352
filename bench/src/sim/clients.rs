//! Clients: each has one request under way, follows redirects, gives up on silence, and writes down what it
//! asked and what it was told.
//!
//! Keys live for a while and are then left alone, so that each key's history stays short enough to be judged.
//! A client that asks for stale reads sends nothing else.

use super::checkers::history::{Asked, Told};
use super::network::{Packet, Port};
use super::scenario::Scenario;
use super::world::{Caller, What, World};
use engine::ids::ShardId;
use engine::slot::slot_of;
use net::seam::Face;

/// A request unanswered for this long is given up.
const PATIENCE: (u64, u64) = (300_000_000, 1_500_000_000);
/// Before another attempt to connect.
const RECONNECT: (u64, u64) = (1_000_000, 30_000_000);
/// Keys in use at a time, of each kind.
const KEYS: u64 = 4;
/// How long they are in use.
const KEY_WINDOW: u64 = 1_500_000_000;
const PADDING_MOST: u64 = 12_000;
const PADDING_COMMON: u64 = 700;

/// What a client is about.
#[derive(Debug)]
enum State {
    Away,
    Calling,
    Ready(u64),
    Waiting { connection: u64, asked: Asked, key: Vec<u8>, since: u64 },
}

/// One client.
pub struct Client {
    number: usize,
    state: State,
    /// Steps of another serial are out of date.
    serial: u64,
    inbox: Vec<u8>,
    written: u64,
    /// The host believed to lead each shard.
    leaders: Vec<usize>,
    at: (usize, Face, ShardId),
    stale: bool,
    greeted: bool,
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
            greeted: false,
            seen: 0,
            audit: Vec::new(),
            answered: 0,
            answered_writes: vec![0; usize::from(scenario.shards)],
            refused_at: vec![0; usize::from(scenario.shards)],
        }
    }

    /// Nothing more is to be read.
    pub fn audited(&self) -> bool {
        self.stale || (self.audit.is_empty() && !matches!(self.state, State::Waiting { .. }))
    }
}

impl World {
    pub(super) fn client_expects(&self, client: usize, serial: u64) -> bool {
        let me = &self.clients[client];
        me.serial == serial && matches!(me.state, State::Calling)
    }

    fn next_step(&mut self, client: usize, delay: u64) {
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
        let face = super::nodes::face(self.dice.percent(self.scenario.any_key_percent));
        self.client_calls_at(client, (to, face, shard));
    }

    fn client_calls_at(&mut self, client: usize, at: (usize, Face, ShardId)) {
        self.next_step(client, PATIENCE.1);
        let me = &mut self.clients[client];
        me.state = State::Calling;
        me.at = at;
        me.inbox.clear();
        me.greeted = false;
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
                let State::Waiting { asked, key, since, .. } = std::mem::replace(&mut me.state, State::Away)
                else {
                    return;
                };
                if self.clients[client].audit.last() == Some(&key) && asked == Asked::Get {
                    // The audit asks again.
                } else if !self.clients[client].stale {
                    self.checkers.history.add(key, client, asked, since, None);
                }
            }
            _ => return,
        }
        self.client_refused(client);
    }

    fn client_asks(&mut self, client: usize, connection: u64) {
        let stale = self.clients[client].stale;
        if stale && !self.clients[client].greeted {
            self.clients[client].greeted = true;
            return self.client_sends(client, connection, Vec::new(), Asked::ReadOnly, &[b"READONLY"]);
        }
        if let Some(key) = self.clients[client].audit.last().cloned() {
            return self.client_sends(client, connection, key.clone(), Asked::Get, &[b"GET", &key]);
        }
        if self.nemesis.auditing {
            return self.next_step(client, 5_000_000);
        }
        let Some((key, counter)) = self.pick_key(client) else { return self.next_step(client, 1_000_000) };
        if stale {
            return self.client_sends(client, connection, key.clone(), Asked::Get, &[b"GET", &key]);
        }
        let me = &mut self.clients[client];
        me.written += 1;
        let value = 1 + me.number as i64 + me.written as i64 * 64;
        let padding = if self.dice.one_in(12) { PADDING_MOST } else { PADDING_COMMON };
        let mut text = format!("{value}:").into_bytes();
        text.resize(text.len() + self.dice.below(padding) as usize, b'x');
        let kind = if self.nemesis.writes_only { 40 } else { self.dice.below(100) };
        match (counter, kind) {
            (_, 0..40) => self.client_sends(client, connection, key.clone(), Asked::Get, &[b"GET", &key]),
            (true, _) => self.client_sends(client, connection, key.clone(), Asked::Incr, &[b"INCR", &key]),
            (false, 40..80) => {
                self.client_sends(client, connection, key.clone(), Asked::Set(value), &[b"SET", &key, &text])
            }
            (false, 80..90) => {
                let parts: [&[u8]; 4] = [b"SET", &key, &text, b"NX"];
                self.client_sends(client, connection, key.clone(), Asked::SetIfMissing(value), &parts)
            }
            (false, 90..95) => {
                let parts: [&[u8]; 4] = [b"SET", &key, &text, b"XX"];
                self.client_sends(client, connection, key.clone(), Asked::SetIfThere(value), &parts)
            }
            (false, _) => self.client_sends(client, connection, key.clone(), Asked::Delete, &[b"DEL", &key]),
        }
    }

    /// A key in use now that this connection may be asked about.
    fn pick_key(&mut self, client: usize) -> Option<(Vec<u8>, bool)> {
        let (_, face, shard) = self.clients[client].at;
        for _ in 0..64 {
            let window = self.now / KEY_WINDOW;
            let counter = self.dice.one_in(4);
            let kind = if counter { 'n' } else { 'k' };
            let key = format!("{kind}{window}:{}", self.dice.below(KEYS)).into_bytes();
            if face == Face::AnyKey || self.configs[0].shard_of_slot(slot_of(&key)).0 == shard.0 {
                return Some((key, counter));
            }
        }
        None
    }

    fn client_sends(&mut self, client: usize, connection: u64, key: Vec<u8>, asked: Asked, parts: &[&[u8]]) {
        let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        if self.trace.prints(self.now) {
            let (host, face, shard) = self.clients[client].at;
            let (key, shard) = (String::from_utf8_lossy(&key), shard.0);
            let what = format_args!("asks host {host} ({face:?} {shard}): {asked:?} {key}");
            self.trace.say(self.now, format_args!("client {client}"), what);
        }
        self.clients[client].state = State::Waiting { connection, asked, key, since: self.now };
        let patience = self.dice.between(PATIENCE.0, PATIENCE.1);
        self.next_step(client, patience);
        let own = |port: &Port| matches!(port, Port::Client { client: of } if *of == client);
        if let Some(side) = self.network.side(connection, own) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    pub(super) fn client_bytes(&mut self, client: usize, connection: u64, bytes: Vec<u8>) {
        self.clients[client].inbox.extend_from_slice(&bytes);
        let Some(reply) = parse(&self.clients[client].inbox) else { return };
        self.clients[client].inbox.clear();
        let state = std::mem::replace(&mut self.clients[client].state, State::Ready(connection));
        let State::Waiting { asked, key, since, .. } = state else {
            return self.violated("replies", format!("client {client} got {reply:?} without asking"));
        };
        self.trace.mix(since);
        if self.trace.prints(self.now) {
            let text = match &reply {
                Reply::Text(text) => format!("{} bytes {:?}", text.len(), Told::from_text(text)),
                other => format!("{other:?}"),
            };
            let key = String::from_utf8_lossy(&key);
            self.trace.say(
                self.now,
                format_args!("client {client}"),
                format_args!("{asked:?} {key}: {text}"),
            );
        }
        let shard = self.configs[0].shard_of_slot(slot_of(&key));
        let told = match reply {
            Reply::Error(text) => return self.client_refused_by(client, connection, shard.0, &text),
            Reply::Text(text) => Told::from_text(&text),
            Reply::Integer(n) => Told::Number(n),
            Reply::Null => Told::Nothing,
        };
        self.clients[client].answered += 1;
        if asked.writes() {
            self.clients[client].answered_writes[usize::from(shard.0)] += 1;
        }
        let think = self.dice.magnitude(self.scenario.think.0, self.scenario.think.1);
        if self.clients[client].stale {
            if asked == Asked::Get {
                let (host, _, _) = self.clients[client].at;
                let verdict = self.checkers.stale_reads.saw(host, client, &key, told, self.now);
                self.judge("stale reads", verdict);
            }
        } else {
            if self.clients[client].audit.last() == Some(&key) {
                self.clients[client].audit.pop();
            }
            let (host, _, _) = self.clients[client].at;
            if self.clients[client].at.1 == Face::Shard {
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
        if text.starts_with("CLUSTERDOWN") || text.starts_with("TRYAGAIN") {
            self.clients[client].refused_at[usize::from(shard)] = self.now;
        }
        self.drop_connection(client, connection);
        match moved.and_then(|port| self.scenario.host_of_port(port)) {
            Some(host) => {
                self.clients[client].leaders[usize::from(shard)] = host;
                self.client_calls_at(client, (host, Face::Shard, ShardId(shard)));
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
}

/// One reply, if it is whole.
fn parse(bytes: &[u8]) -> Option<Reply> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = String::from_utf8_lossy(&bytes[1..line_end]).into_owned();
    let rest = &bytes[line_end + 2..];
    Some(match bytes[0] {
        b'+' => Reply::Text(line.into_bytes()),
        b'-' => Reply::Error(line),
        b':' => Reply::Integer(line.parse().ok()?),
        b'$' => {
            let len: i64 = line.parse().ok()?;
            match usize::try_from(len) {
                Err(_) => Reply::Null,
                Ok(len) if rest.len() >= len + 2 => Reply::Text(rest[..len].to_vec()),
                Ok(_) => return None,
            }
        }
        _ => Reply::Error(format!("unknown reply {line}")),
    })
}
