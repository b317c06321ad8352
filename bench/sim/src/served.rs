//! A client's connection as the shell of a node sees it: what its kernel holds of it, and whether that is read.
//!
//! Promises what the ring does: of one connection a turn hands over so much (`PIECES`) and no more; of one that is left unread
//! nothing, but that its client has closed.

use crate::host::Actor;
use crate::shell::input::Input;
use node::events::{ConnId, Face};
use std::collections::VecDeque;

/// What a turn is handed of one connection at most.
const PIECES: usize = 4;

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

    /// What the next turn is told of it.
    fn receive(&mut self, handed: &mut Vec<Input>) {
        if !self.paused {
            let pieces = self.unread.len().min(PIECES);
            return handed.extend(self.unread.drain(..pieces));
        }
        if let Some(Input::ClientClosed { conn }) = self.unread.back()
            && !std::mem::replace(&mut self.half_closed, true)
        {
            handed.push(Input::ClientHalfClosed { conn: *conn });
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
        self.conns.values_mut().for_each(|served| served.receive(&mut handed));
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
