//! A client's connection as the shell of a node sees it: what its kernel holds of it, and whether that is read.
//!
//! Promises what the ring does: of one connection a turn hands over so much (`PIECES`) and no more; of one that is left unread
//! nothing, but that its client has closed.

use crate::shell::input::Input;
use node::events::Face;
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
    pub fn receive(&mut self, handed: &mut Vec<Input>) {
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

    /// Bytes came, or its end did.
    pub fn came(&mut self, input: Input) {
        self.unread.push_back(input);
    }

    /// Whether the next turn would be handed something that came before.
    pub fn has_unread(&self) -> bool {
        !self.paused && !self.unread.is_empty()
    }

    /// It is to be left unread, or read again.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }
}
