//! The crowd: clients whose answers nobody judges, and who are a burden. Whole loads in one send, the largest values,
//! commands of many keys, reads of what is no longer in memory, floods by somebody who never reads, coming and going.
//!
//! A guest sends a burst, ends it with a word of its own, and waits until that comes back. All of it is what honest
//! clients do, but for the flood, which anybody can do.

use crate::network::{Owner, Packet};
use crate::random::Dice;
use crate::scenario::Scenario;
use crate::world::{Caller, What, World};
use engine::ids::ShardId;
use engine::slot::slot_of;
use node::events::Face;

const MS: u64 = 1_000_000;
/// Between two attempts to connect, and between two bursts.
const COMES_BACK: (u64, u64) = (2 * MS, 40 * MS);
const RESTS: (u64, u64) = (5 * MS, 1_500 * MS);
/// What a whole load or a command of many keys names, at most.
const KEYS_MOST: u64 = 20_000;
const KEYS_LEAST: u64 = 300;
/// Large values of a guest, each under a key of its own.
const LARGE: u64 = 8;
const FLOOD_MOST: u64 = 1 << 20;
/// What remains of what came, to find the last word in.
const REMEMBERED: usize = 64;
/// What a burst is answered within, or its guest leaves.
const PATIENCE: u64 = 20_000 * MS;
/// For how long a flood stands.
const FLOODED: u64 = 1_000 * MS;
/// Bursts of one guest; then it is gone for good.
const BURSTS_MOST: u64 = 12;

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Many small writes in one send.
    Loads,
    /// Values as large as they may be.
    Large,
    /// Commands of many keys.
    Many,
    /// Reads large values.
    Reads,
    /// Sends and does not read.
    Floods,
    /// Connects, asks once, and goes.
    Visits,
}

const HABITS: [Habit; 6] =
    [Habit::Loads, Habit::Large, Habit::Many, Habit::Reads, Habit::Floods, Habit::Visits];

/// One of the crowd.
#[derive(Debug)]
pub struct Guest {
    habit: Habit,
    serial: u64,
    connection: Option<u64>,
    face: Face,
    shard: ShardId,
    /// Keys that begin with this are of that shard.
    tag: String,
    bursts: u64,
    waits: bool,
    inbox: Vec<u8>,
}

impl Guest {
    fn new(number: usize, scenario: &Scenario, dice: &mut Dice) -> Guest {
        let shard = ShardId(dice.below(u64::from(scenario.shards)) as u16);
        let config = &scenario.configs()[0];
        let fits = |tag: &String| config.shard_of_slot(slot_of(tag.as_bytes())).0 == shard.0;
        let tag = (0..).map(|n| format!("{{g{number}.{n}}}")).find(fits).unwrap_or_default();
        Guest {
            habit: dice.pick(&HABITS).unwrap_or(Habit::Loads),
            serial: 0,
            connection: None,
            face: if dice.percent(25) { Face::AnyKey } else { Face::Shard },
            shard,
            tag,
            bursts: 0,
            waits: false,
            inbox: Vec::new(),
        }
    }

    /// The word that ends a burst.
    fn last_word(&self) -> String {
        format!("end-of-{}-{}", self.tag, self.bursts)
    }

    fn burst(&self, scenario: &Scenario, dice: &mut Dice) -> Vec<u8> {
        let mut out = Vec::new();
        let tag = &self.tag;
        let many = dice.magnitude(KEYS_LEAST, KEYS_MOST);
        match self.habit {
            Habit::Loads => {
                let value = "v".repeat(dice.between(3, 120) as usize);
                for n in 0..many {
                    command(&mut out, &["SET", &format!("{tag}{n}"), &value]);
                }
            }
            Habit::Large => {
                let value = "w".repeat(scenario.value_bytes - dice.below(100) as usize);
                for n in 0..dice.between(1, LARGE) {
                    command(&mut out, &["SET", &format!("{tag}large{n}"), &value]);
                }
            }
            Habit::Many => {
                let keys: Vec<String> = (0..many).map(|n| format!("{tag}{n}")).collect();
                let word = dice.pick(&["MGET", "DEL", "EXISTS", "MSET"]).unwrap_or("MGET");
                let mut parts = vec![word];
                for key in &keys {
                    parts.push(key);
                    parts.extend((word == "MSET").then_some("v"));
                }
                if matches!(word, "MSET" | "DEL") {
                    // One frame, which is no larger than one of the largest value.
                    parts.truncate(1 + 2 * (scenario.value_bytes / 80));
                }
                command(&mut out, &parts);
            }
            Habit::Reads => {
                let value = "w".repeat(scenario.value_bytes - 100);
                if self.bursts == 0 {
                    for n in 0..LARGE {
                        command(&mut out, &["SET", &format!("{tag}large{n}"), &value]);
                    }
                }
                for n in 0..dice.between(1, 4 * LARGE) {
                    command(&mut out, &["GET", &format!("{tag}large{}", n % LARGE)]);
                }
            }
            Habit::Floods => {
                let pings = dice.magnitude(1 << 10, FLOOD_MOST) / 6;
                out = b"PING\r\n".repeat(pings as usize);
            }
            Habit::Visits => command(&mut out, &["GET", tag]),
        }
        command(&mut out, &["ECHO", &self.last_word()]);
        out
    }
}

fn command(out: &mut Vec<u8>, parts: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n{part}\r\n", part.len()).as_bytes());
    }
}

/// Those of a scenario.
pub fn of(scenario: &Scenario, dice: &mut Dice) -> Vec<Guest> {
    (0..scenario.guests).map(|number| Guest::new(number, scenario, dice)).collect()
}

impl World {
    /// The crowd comes.
    pub fn let_crowd_in(&mut self) {
        for guest in 0..self.crowd.len() {
            self.guest_rests(guest, COMES_BACK);
        }
    }

    /// The guest does what is next.
    pub fn guest_step(&mut self, guest: usize, serial: u64) {
        let me = &mut self.crowd[guest];
        if me.serial != serial {
            return;
        }
        if self.nemesis.auditing || me.bursts >= BURSTS_MOST {
            return self.guest_leaves(guest);
        }
        match me.connection {
            None => self.guest_calls(guest),
            Some(connection) if !me.waits => self.guest_sends(guest, connection),
            Some(_) => {
                self.guest_leaves(guest);
                self.guest_rests(guest, COMES_BACK);
            }
        }
    }

    fn guest_calls(&mut self, guest: usize) {
        self.crowd[guest].serial += 1;
        let (serial, face, shard) =
            (self.crowd[guest].serial, self.crowd[guest].face, self.crowd[guest].shard);
        let leader = self.checkers.configurations.newest(shard.0).map_or(0, |c| usize::from(c.leader.0));
        let from = self.scenario.members() + self.scenario.clients + guest;
        self.call(Caller::Guest { guest, serial, face, shard }, from, leader);
    }

    pub fn guest_expects(&self, guest: usize, serial: u64) -> bool {
        self.crowd[guest].serial == serial && self.crowd[guest].connection.is_none()
    }

    pub fn guest_connected(&mut self, guest: usize, connection: u64) {
        self.crowd[guest].connection = Some(connection);
        self.crowd[guest].waits = false;
        self.guest_rests(guest, (10_000, MS));
    }

    pub fn guest_refused(&mut self, guest: usize) {
        self.guest_rests(guest, COMES_BACK);
    }

    fn guest_sends(&mut self, guest: usize, connection: u64) {
        let bytes = self.crowd[guest].burst(&self.scenario, &mut self.dice);
        if self.trace.prints(self.now) {
            let (habit, len) = (self.crowd[guest].habit, bytes.len());
            self.trace.say(self.now, format_args!("guest {guest}"), format_args!("{habit:?}: {len} bytes"));
        }
        self.crowd[guest].waits = true;
        self.crowd[guest].inbox.clear();
        let patience = if self.crowd[guest].habit == Habit::Floods { FLOODED } else { PATIENCE };
        self.guest_rests(guest, (patience, patience + 1));
        if let Some(side) = self.guests_side(guest, connection) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    /// Something came for it.
    pub fn guest_bytes(&mut self, guest: usize, connection: u64, bytes: &[u8]) {
        let me = &mut self.crowd[guest];
        if me.connection != Some(connection) {
            return;
        }
        let first = me.inbox.is_empty();
        me.inbox.extend_from_slice(bytes);
        if let Some(text) = refusal(&me.inbox, first) {
            let verdict = self.checkers.steady.refused(&format!("guest {guest}"), &text);
            self.judge("steady", verdict);
            self.guest_leaves(guest);
            return self.guest_rests(guest, COMES_BACK);
        }
        let over = me.inbox.ends_with(format!("{}\r\n", me.last_word()).as_bytes());
        let kept = me.inbox.len().saturating_sub(REMEMBERED);
        me.inbox.drain(..kept);
        if over {
            me.bursts += 1;
            me.waits = false;
            if self.crowd[guest].habit == Habit::Visits {
                self.guest_leaves(guest);
            }
            self.guest_rests(guest, RESTS);
        }
    }

    /// Its connection is over.
    pub fn guest_closed(&mut self, guest: usize, connection: u64) {
        if self.crowd[guest].connection == Some(connection) {
            self.crowd[guest].connection = None;
            self.crowd[guest].bursts += 1;
            self.guest_rests(guest, COMES_BACK);
        }
    }

    /// Whether what is sent by this connection is read.
    pub fn is_read(&self, connection: u64) -> bool {
        let floods = |port: &Owner| match port {
            Owner::Guest { guest } => self.crowd[*guest].habit == Habit::Floods,
            _ => false,
        };
        self.network.side(connection, floods).is_none()
    }

    fn guest_leaves(&mut self, guest: usize) {
        if let Some(connection) = self.crowd[guest].connection.take()
            && let Some(side) = self.guests_side(guest, connection)
        {
            self.hang_up(connection, side);
        }
    }

    fn guests_side(&self, guest: usize, connection: u64) -> Option<usize> {
        self.network.side(connection, |port| *port == Owner::Guest { guest })
    }

    fn guest_rests(&mut self, guest: usize, span: (u64, u64)) {
        self.crowd[guest].serial += 1;
        let serial = self.crowd[guest].serial;
        let delay = self.dice.magnitude(span.0, span.1);
        self.later(delay, What::Guest { guest, serial });
    }
}

/// What an error among replies says; `first`: they begin with the first byte of one.
fn refusal(bytes: &[u8], first: bool) -> Option<String> {
    let at = if first && bytes.starts_with(b"-") {
        1
    } else {
        bytes.windows(3).position(|three| three == b"\r\n-")? + 3
    };
    let line = bytes[at..].split(|byte| *byte == b'\r').next()?;
    Some(String::from_utf8_lossy(line).into_owned())
}
