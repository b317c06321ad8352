//! The crowd: clients whose answers nobody judges, and who are a burden. Whole loads in one send, the largest values,
//! commands of many keys, reads of what is no longer in memory, floods by somebody who never reads, coming and going.
//!
//! A guest sends a burst, ends it with a word of its own, and waits until that comes back. All of it is what honest
//! clients do, but for the floods, which anybody can make, also who does not say who it is.

use crate::guest::Habit;
use crate::network::{Owner, Packet};
use crate::world::{Caller, What, World};

const MS: u64 = 1_000_000;
/// Between two attempts to connect, and between two bursts.
const COMES_BACK: (u64, u64) = (2 * MS, 40 * MS);
const RESTS: (u64, u64) = (5 * MS, 1_500 * MS);
/// What remains of what came, to find the last word in.
const REMEMBERED: usize = 64;
/// What a burst is answered within, or its guest leaves.
const PATIENCE: u64 = 20_000 * MS;
/// After how long one goes that does not wait.
const GOES: (u64, u64) = (MS, 60 * MS);
/// For how long a flood stands.
const FLOODED: u64 = 1_000 * MS;
/// Bursts of one guest; then it is gone for good.
const BURSTS_MOST: u64 = 12;

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
                self.crowd[guest].bursts += 1;
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
        self.crowd[guest].known = false;
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
        let patience = match self.crowd[guest].habit {
            Habit::Floods | Habit::Strange => (FLOODED, FLOODED + 1),
            Habit::Abandons if !self.crowd[guest].wrote.is_empty() => GOES,
            _ => (PATIENCE, PATIENCE + 1),
        };
        self.guest_rests(guest, patience);
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
        if let Some(wrong) = spoilt(&me.inbox) {
            let what = format!("guest {guest} is given a value with {wrong:?} in it, which nobody wrote");
            return self.violated("values", what);
        }
        let me = &mut self.crowd[guest];
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
            Owner::Guest { guest } => matches!(self.crowd[*guest].habit, Habit::Floods | Habit::Strange),
            _ => false,
        };
        self.network.side(connection, floods).is_none()
    }

    fn guest_leaves(&mut self, guest: usize) {
        if let Some(connection) = self.crowd[guest].connection.take() {
            let unanswered = std::mem::take(&mut self.crowd[guest].wrote);
            if self.crowd[guest].waits {
                self.gives_up(connection, unanswered);
            }
            if let Some(side) = self.guests_side(guest, connection) {
                self.hang_up(connection, side);
            }
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

/// What stands in a value between bytes that are all of one kind, as guests write them.
fn spoilt(bytes: &[u8]) -> Option<u8> {
    let inside =
        |three: &[u8]| (three[0] == b'w' && three[2] == b'w' && three[1] != b'w').then_some(three[1]);
    bytes.windows(3).find_map(inside)
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
