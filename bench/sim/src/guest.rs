//! One of the crowd: what it does, and the bytes it sends for it.

use crate::random::Dice;
use crate::scenario::{PASSWORD, Scenario};
use engine::ids::ShardId;
use engine::slot::slot_of;
use node::events::Face;

/// What a whole load or a command of many keys names, at most.
const KEYS_MOST: u64 = 20_000;
const KEYS_LEAST: u64 = 300;
/// Large values of a guest, each under a key of its own.
const LARGE: u64 = 8;
const FLOOD_MOST: u64 = 1 << 20;

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
    /// Sends many small writes, and goes without waiting.
    Abandons,
    /// Sends, does not read, and never says who it is. Only where that is asked.
    Strange,
}

const HABITS: [Habit; 7] =
    [Habit::Loads, Habit::Large, Habit::Many, Habit::Reads, Habit::Floods, Habit::Visits, Habit::Abandons];
/// Where the numbers begin that guests write; no client comes that far.
const NUMBERS: i64 = 1 << 48;
const NUMBERS_EACH: i64 = 1 << 32;

/// One of the crowd.
#[derive(Debug)]
pub struct Guest {
    pub habit: Habit,
    pub serial: u64,
    pub connection: Option<u64>,
    pub face: Face,
    pub shard: ShardId,
    /// Keys that begin with this are of that shard.
    tag: String,
    pub bursts: u64,
    pub waits: bool,
    pub inbox: Vec<u8>,
    /// It has said on this connection who it is, or need not.
    pub known: bool,
    /// The newest number that it wrote, and those of its newest burst.
    number: i64,
    pub wrote: Vec<i64>,
}

impl Guest {
    fn new(number: usize, scenario: &Scenario, dice: &mut Dice) -> Guest {
        let shard = ShardId(dice.below(u64::from(scenario.shards)) as u16);
        let config = &scenario.configs()[0];
        let fits = |tag: &String| config.shard_of_slot(slot_of(tag.as_bytes())).0 == shard.0;
        let tag = (0..).map(|n| format!("{{g{number}.{n}}}")).find(fits).unwrap_or_default();
        Guest {
            habit: match dice.pick(&HABITS).unwrap_or(Habit::Loads) {
                _ if scenario.auth && dice.one_in(2) => Habit::Strange,
                habit => habit,
            },
            serial: 0,
            connection: None,
            face: if dice.percent(25) { Face::AnyKey } else { Face::Shard },
            shard,
            tag,
            bursts: 0,
            waits: false,
            inbox: Vec::new(),
            known: false,
            number: NUMBERS + NUMBERS_EACH * number as i64,
            wrote: Vec::new(),
        }
    }

    /// The word that ends a burst.
    pub fn last_word(&self) -> String {
        format!("end-of-{}-{}", self.tag, self.bursts)
    }

    /// What it sends at once.
    pub fn burst(&mut self, scenario: &Scenario, dice: &mut Dice) -> Vec<u8> {
        let mut out = Vec::new();
        if self.habit == Habit::Strange {
            let words: [&[u8]; 3] = [b"PING\r\n", b"GET k\r\n", b"ECHO hello-hello-hello-hello\r\n"];
            let word = dice.pick(&words).unwrap_or(words[0]);
            return word.repeat(dice.magnitude(1 << 10, FLOOD_MOST) as usize / word.len());
        }
        if !std::mem::replace(&mut self.known, true) && scenario.auth {
            command(&mut out, &["AUTH", PASSWORD]);
            command(&mut out, &["ECHO", &self.last_word()]);
            return out;
        }
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
            Habit::Abandons => {
                self.wrote.clear();
                for n in 0..many {
                    self.number += 1;
                    self.wrote.push(self.number);
                    command(&mut out, &["SET", &format!("{tag}{n}"), &format!("{}:", self.number)]);
                }
            }
            Habit::Floods if dice.one_in(2) => {
                let value = "w".repeat(scenario.value_bytes - 100);
                command(&mut out, &["SET", &format!("{tag}large"), &value]);
                for _ in 0..many {
                    command(&mut out, &["GET", &format!("{tag}large")]);
                }
            }
            Habit::Strange | Habit::Floods => {
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
