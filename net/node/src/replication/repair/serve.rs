//! The serving side of repair: frames for members that found theirs damaged.
//!
//! Promises to send only what was checked here and is durable, in whatever role this node is: an epoch and an LSN
//! name the same bytes everywhere (rule 18). Keeps nothing in memory between two requests.

use super::super::header;
use super::super::links::LinkOwner;
use super::super::message::{self, Envelope, Fetch, Fetched, HEADER_BYTES, Message};
use super::Repairs;
use crate::events::{Command, Landing};
use crate::ids::LinkId;
use crate::reads::ReadFor;
use crate::shared::Context;
use agency::ids::Nanos;
use engine::limits::{BLOCK, block_ceil};
use engine::mend::{Examined, FrameName};
use std::time::Duration;

/// Most connections on which other members fetch at a time; more are closed.
pub const MAX_SERVED: usize = 8;
/// A connection that fetches is closed this long after its last request.
const SERVE_PATIENCE: Duration = Duration::from_secs(5);

impl Repairs {
    /// Another member asks for a frame.
    pub fn fetch_asked(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context<'_>) {
        let envelope = Envelope::decode(bytes, message::group_mark(cx.options.settings.group));
        let members = cx.group.configuration().map(|c| c.members).unwrap_or_default();
        let room = self.served.len() < MAX_SERVED || self.served.contains_key(&link);
        let Ok(Envelope { sender, message: Message::Fetch(Fetch { at, frame_epoch, blocks }), .. }) =
            envelope
        else {
            return cx.out.push(Command::LinkClose { link });
        };
        if !room || !members.iter().any(|node| node.0 == sender.from) {
            return cx.out.push(Command::LinkClose { link });
        }
        self.served.insert(link, cx.clock.now + SERVE_PATIENCE);
        cx.links.own(link, LinkOwner::Serving);
        let name = FrameName { lsn: at, epoch: frame_epoch, blocks };
        match cx.shard.place_of(name) {
            Some(spec) => cx.read(ReadFor::Fetch { link, name }, spec),
            None => answer(link, name, &[], cx),
        }
    }

    /// The blocks of a frame that another member asked for.
    pub fn fetch_read(&mut self, link: LinkId, name: FrameName, bytes: Option<&[u8]>, cx: &mut Context<'_>) {
        if !self.served.contains_key(&link) {
            return;
        }
        match bytes.map(|bytes| (bytes, cx.shard.examine(name, bytes))) {
            Some((_, Examined::More(spec))) => cx.read(ReadFor::Fetch { link, name }, spec),
            Some((bytes, Examined::Whole(frame))) => {
                let end = block_ceil(name.lsn.0 % BLOCK + frame.len() as u64) as usize;
                answer(link, name, &bytes[..end], cx);
            }
            Some((_, Examined::Damaged)) | None => answer(link, name, &[], cx),
        }
    }

    /// A connection on which another member asked is gone.
    pub fn asker_closed(&mut self, link: LinkId) {
        self.served.remove(&link);
    }

    pub(super) fn close_idle_askers(&mut self, cx: &mut Context<'_>) {
        let now = cx.clock.now;
        for (link, until) in self.served.iter_mut().filter(|(_, until)| **until <= now) {
            *until = Nanos(u64::MAX);
            cx.out.push(Command::LinkClose { link: *link });
        }
    }
}

fn answer(link: LinkId, name: FrameName, blocks: &[u8], cx: &mut Context<'_>) {
    let fetched = Fetched { at: name.lsn, committed: cx.shard.committed(), blocks_bytes: blocks.len() };
    let mut bytes = header(cx.group.epoch(), Message::Fetched(fetched), cx);
    bytes.extend_from_slice(blocks);
    cx.out.push(Command::LinkSend { link, bytes });
    // Only to see when the other one closes, or asks for another.
    cx.out.push(Command::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
}
