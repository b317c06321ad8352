//! A client's connection as the shell of a node sees it: what its kernel holds of it, and whether that is read.
//!
//! Promises what the ring does: of one connection a turn hands over so much and no more; of one that is left unread
//! nothing, but that its client has closed.

use crate::host::Actor;
use crate::shell::input::Input;
use node::events::{ConnId, Face};
use std::collections::VecDeque;

/// See the module.
pub struct Served {
    pub connection: u64,
    pub face: Face,
    paused: bool,
    /// What came and was not handed over: bytes, and then its end.
    unread: VecDeque<Input>,
    /// The node was told that its client has closed.
    half_closed: bool,
}

impl Served {
    pub fn new(connection: u64, face: Face) -> Served {
        Served { connection, face, paused: false, unread: VecDeque::new(), half_closed: false }
    }

    /// What the next turn is told of it: at most one piece.
    fn receive(&mut self) -> Option<Input> {
        if !self.paused {
            return self.unread.pop_front();
        }
        match self.unread.back() {
            Some(Input::ClientClosed { conn }) if !self.half_closed => {
                self.half_closed = true;
                Some(Input::ClientHalfClosed { conn: *conn })
            }
            _ => None,
        }
    }
}

impl Actor {
    /// What a turn is handed, in its order.
    pub fn receive(&mut self) -> Vec<Input> {
        let mut handed = Vec::new();
        for input in self.inbox.drain(..) {
            match &input {
                Input::ClientBytes { conn, .. } | Input::ClientClosed { conn } => {
                    if let Some(served) = self.conns.get_mut(conn) {
                        served.unread.push_back(input);
                    }
                }
                _ => handed.push(input),
            }
        }
        handed.extend(self.conns.values_mut().filter_map(Served::receive));
        for input in &handed {
            if let Input::ClientClosed { conn } = input {
                self.conns.remove(conn);
            }
        }
        handed
    }

    /// Whether a turn would be handed something that came before.
    pub fn has_unread(&self) -> bool {
        self.conns.values().any(|served| !served.paused && !served.unread.is_empty())
    }

    /// A client is to be left unread, or read again.
    pub fn pause(&mut self, conn: ConnId, paused: bool) {
        if let Some(served) = self.conns.get_mut(&conn) {
            served.paused = paused;
        }
    }
}
