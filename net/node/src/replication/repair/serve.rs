//! The serving side of repair: frames for members that found theirs damaged.
//!
//! Promises to send only what was checked here and is durable, in whatever role this node is: an epoch and an LSN
//! name the same bytes everywhere (rule 18). Keeps nothing in memory between two requests.

use super::super::header;
use super::super::links::LinkOwner;
use super::super::message::{
    self, Envelope, Fetch, Fetched, HEADER_BYTES, Message, Refill, Refilled, Sender,
};
use super::super::peer::APPEND_BYTES;
use super::Repairs;
use crate::events::{Command, Landing};
use crate::ids::LinkId;
use crate::mutants::{Mutant, lacks};
use crate::reads::ReadFor;
use crate::shared::Context;
use agency::ids::Nanos;
use engine::ids::Lsn;
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
        let known = |sender: &Sender| room && members.iter().any(|node| node.0 == sender.from);
        let asked =
            match envelope {
                Ok(Envelope {
                    sender, message: message @ (Message::Fetch(_) | Message::Refill(_)), ..
                }) if known(&sender) => message,
                _ => return cx.out.push(Command::LinkClose { link }),
            };
        self.served.insert(link, cx.clock.now + SERVE_PATIENCE);
        cx.links.own(link, LinkOwner::Serving);
        let Fetch { at, frame_epoch, blocks } = match asked {
            Message::Fetch(fetch) => fetch,
            Message::Refill(refill) => return refill_asked(link, refill, cx),
            _ => unreachable!("nothing else was let through"),
        };
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

    /// Blocks of the log for a member that lost its own, from `from` on.
    pub fn refill_read(
        &mut self,
        link: LinkId,
        (from, skip, len): (Lsn, usize, usize),
        bytes: Option<&[u8]>,
        cx: &mut Context<'_>,
    ) {
        if !self.served.contains_key(&link) {
            return;
        }
        let sound = bytes.map_or(0, |bytes| cx.shard.sound_frames(from, &bytes[skip..skip + len]));
        if sound > 0 {
            let frames = bytes.map_or(&[][..], |bytes| &bytes[skip..skip + sound]);
            return refill(link, from, frames, true, cx);
        }
        // One frame that is longer than what was read; or it is damaged here, too, and others are to be asked.
        let name = cx.shard.name_at(from);
        match name.zip(bytes).map(|(name, bytes)| (cx.shard.examine(name, bytes), bytes)) {
            Some((Examined::More(spec), _)) => {
                let durable = cx.shard.durable().0.saturating_sub(from.0) as usize;
                let len = (spec.len as usize - skip).min(durable);
                cx.read(ReadFor::Refill { link, from, skip, len }, spec);
            }
            Some((Examined::Whole(frame), bytes)) => {
                let frame = &bytes[skip..skip + frame.len()];
                refill(link, from, frame, true, cx);
            }
            Some((Examined::Damaged, _)) | None => refill(link, from, &[], false, cx),
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

/// A member asks for the log that it lost. Only whoever holds that very log may help: its bytes, and those that the
/// same writer wrote after them.
fn refill_asked(link: LinkId, asked: Refill, cx: &mut Context<'_>) {
    let Refill { at, lost_epoch, until } = asked;
    let (durable, history) = (cx.shard.durable(), cx.shard.history());
    let epoch = history.epoch_at(Lsn(until.0.saturating_sub(1))).map(|(epoch, _)| epoch);
    let same_log = epoch == Some(lost_epoch) && durable >= until;
    let holds = at >= cx.shard.oldest() && (same_log || lacks(Mutant::RefillsFromAnyLog));
    let next = history.entries().iter().find(|(epoch, _)| *epoch > lost_epoch).map(|(_, start)| *start);
    let end = next.map_or(durable, |next| next.min(durable));
    if !holds || at >= end {
        return refill(link, at, &[], holds, cx);
    }
    let (spec, skip, len) = cx.shard.read_log(at, APPEND_BYTES);
    let len = len.min((end.0 - at.0) as usize);
    cx.read(ReadFor::Refill { link, from: at, skip, len }, spec);
}

fn refill(link: LinkId, at: Lsn, frames: &[u8], holds: bool, cx: &mut Context<'_>) {
    let committed = cx.shard.committed();
    let refilled = Refilled { at, committed, holds, frames_bytes: frames.len() };
    let mut bytes = header(cx.group.epoch(), Message::Refilled(refilled), cx);
    bytes.extend_from_slice(frames);
    cx.out.push(Command::LinkSend { link, bytes });
    cx.out.push(Command::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
}

fn answer(link: LinkId, name: FrameName, blocks: &[u8], cx: &mut Context<'_>) {
    let fetched = Fetched { at: name.lsn, committed: cx.shard.committed(), blocks_bytes: blocks.len() };
    let mut bytes = header(cx.group.epoch(), Message::Fetched(fetched), cx);
    bytes.extend_from_slice(blocks);
    cx.out.push(Command::LinkSend { link, bytes });
    // Only to see when the other one closes, or asks for another.
    cx.out.push(Command::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
}
