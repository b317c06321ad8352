//! Clients that speak RESP: what they ask for, and what the replies say.
//!
//! Keys live for a while and are then left alone, so that each key's history stays short enough to be judged. A
//! client that asks for stale reads sends nothing else.

use crate::checkers::history::{Asked, Told};
use crate::client::Questions;
use crate::requests::told_of;
use crate::scenario::PASSWORD;
use crate::world::World;
use engine::slot::slot_of;
use node::events::Face;

/// Keys in use at a time, of each kind.
const KEYS: u64 = 4;
/// How long they are in use.
const KEY_WINDOW: u64 = 1_500_000_000;
/// How often a further key for a command is drawn, at most.
const SEVERAL_TRIED: u64 = 6;
const PADDING_MOST: u64 = 12_000;
const PADDING_COMMON: u64 = 700;

impl World {
    /// More of a reply has come.
    pub fn resp_bytes(&mut self, client: usize, connection: u64) {
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
        if asked[0].1 == Asked::ReadOnly && matches!(reply, Reply::Text(_)) {
            return self.next_step(client, 30_000);
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

    pub fn resp_asks(&mut self, client: usize, connection: u64) {
        let stale = self.clients[client].stale;
        if self.scenario.auth && !self.clients[client].known {
            self.clients[client].known = true;
            let asked = vec![(Vec::new(), Asked::ReadOnly)];
            return self.client_sends(client, connection, asked, &[b"AUTH", PASSWORD.as_bytes()]);
        }
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
        if let Some(key) = self.clients[client].rewrite.take() {
            let (value, text) = self.new_value(client);
            let parts: [&[u8]; 3] = [b"SET", &key, &text];
            return self.client_sends(client, connection, vec![(key.clone(), Asked::Set(value))], &parts);
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
    pub fn new_value(&mut self, client: usize) -> (i64, Vec<u8>) {
        let value = self.clients[client].next_value();
        let padding = if self.dice.one_in(12) { PADDING_MOST } else { PADDING_COMMON };
        let mut text = format!("{value}:").into_bytes();
        text.resize(text.len() + self.dice.below(padding) as usize, b'x');
        (value, text)
    }

    /// Other keys of the same slot behind `key`, if it has such.
    pub fn pick_several(&mut self, client: usize, key: Vec<u8>) -> Vec<Vec<u8>> {
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

    pub fn client_asks_for(&mut self, client: usize, connection: u64, keys: Vec<Vec<u8>>) {
        let word: &[u8] = if keys.len() > 1 { b"MGET" } else { b"GET" };
        let parts: Vec<&[u8]> = std::iter::once(word).chain(keys.iter().map(Vec::as_slice)).collect();
        let asked = keys.iter().map(|key| (key.clone(), Asked::Get)).collect();
        self.client_sends(client, connection, asked, &parts);
    }

    pub fn client_sets_several(&mut self, client: usize, connection: u64, key: Vec<u8>) {
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
    pub fn pick_key(&mut self, client: usize) -> Option<(Vec<u8>, bool)> {
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
    pub fn client_sends(&mut self, client: usize, connection: u64, asked: Questions, parts: &[&[u8]]) {
        let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        self.client_transmits(client, connection, asked, bytes, false);
    }

    /// An error: the request was not carried out.
    pub fn client_refused_by(&mut self, client: usize, connection: u64, shard: u16, text: &str) {
        let moved = text.strip_prefix("MOVED ").and_then(|rest| rest.rsplit(':').next()?.parse().ok());
        let known = [
            "MOVED ",
            "CLUSTERDOWN",
            "TRYAGAIN",
            "NOREPLICAS",
            "OOM ",
            "ERR the disk could not",
            "ERR the value's checksum",
        ];
        if !known.iter().any(|start| text.starts_with(start)) {
            return self.violated("replies", format!("client {client} was told: {text}"));
        }
        let nobody = ["CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS"].iter().any(|start| text.starts_with(start));
        let to = moved.and_then(|port| self.scenario.host_of_port(port));
        self.client_turned_away(client, connection, shard, to, nobody);
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
