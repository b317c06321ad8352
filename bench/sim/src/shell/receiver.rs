//! The receiving side of a replication connection: what has arrived waits until it is wanted, and then lands where
//! the core wants it, as the kernel does it, also while the process stands still.

use super::input::Input;
use engine::log::BufferRange;
use node::Node;
use node::events::{Landing, LinkId};
use node::replication::message::HEADER_BYTES;
use std::collections::VecDeque;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receiver {
    inbox: VecDeque<u8>,
    wanted: Option<Landing>,
    /// Bytes that have landed of what is wanted.
    landed: usize,
}

impl Receiver {
    /// Takes what has arrived.
    pub fn arrive(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.inbox.extend(bytes);
    }

    /// The core asks for bytes; it asks for one thing at a time.
    pub fn want(&mut self, into: Landing) {
        assert_eq!(self.wanted.replace(into), None, "one receive at a time");
        self.landed = 0;
    }

    /// What the core waits for.
    pub fn wanted(&self) -> Option<Landing> {
        self.wanted
    }

    /// What an accepted connection begins with, once all of it is there.
    pub fn first_header(&mut self) -> Option<Vec<u8>> {
        (self.inbox.len() >= HEADER_BYTES).then(|| self.inbox.drain(..HEADER_BYTES).collect())
    }

    /// Moves what is there to where it is wanted. Returns the event if that is all; `closing`: the core hears no more
    /// of this connection.
    pub fn fill(&mut self, link: LinkId, core: Option<&mut Node>, closing: bool) -> Option<Input> {
        match self.wanted? {
            Landing::Memory(len) if self.inbox.len() >= len && !closing => {
                self.wanted = None;
                Some(Input::LinkBytes { link, bytes: self.inbox.drain(..len).collect() })
            }
            Landing::Memory(_) => None,
            Landing::Log(range) => {
                let take = self.inbox.len().min(range.len - self.landed);
                let bytes: Vec<u8> = self.inbox.drain(..take).collect();
                if let (Some(core), true) = (core, take > 0) {
                    let start = range.start.advance(self.landed as u64);
                    core.fill_landing(BufferRange { start, len: take }, &bytes);
                }
                self.landed += take;
                if self.landed < range.len || closing {
                    return None;
                }
                self.wanted = None;
                Some(Input::LinkLanded { link })
            }
        }
    }
}
