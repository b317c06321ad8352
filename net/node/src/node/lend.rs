//! Lending frames to members that found theirs damaged: the other side of `repair`.
//!
//! Promises to send only what was checked here and is durable, in whatever role this node is: an epoch and an LSN
//! name the same bytes everywhere (rule 18). Keeps nothing in memory between two requests.

use super::{Node, ReadFor};
use crate::replication::message::{self, HEADER_BYTES, Header, Kind};
use crate::seam::{Action, Landing, LinkId};
use agency::ids::Nanos;
use engine::ids::Epoch;
use engine::limits::{BLOCK, block_ceil};
use engine::mend::{Examined, FrameName};

/// Most connections on which other members fetch at a time; more are closed.
const MAX_SERVED: usize = 8;
/// A connection that fetches is closed this long after its last request.
const SERVE_PATIENCE: Nanos = Nanos(5_000_000_000);

impl Node {
    /// Another member asks for a frame.
    pub(super) fn fetch_asked(&mut self, link: LinkId, bytes: &[u8], out: &mut Vec<Action>) {
        let header = Header::decode(bytes, message::group_mark(self.options.settings.group));
        let members = self.update.map(|update| update.configuration.members).unwrap_or_default();
        let served = &mut self.repairs.served;
        let Ok(header) = header else { return out.push(Action::LinkClose { link }) };
        let known = members.iter().any(|node| node.0 == header.from);
        let room = served.len() < MAX_SERVED || served.contains_key(&link);
        if header.kind != Kind::Fetch || !known || !room {
            return out.push(Action::LinkClose { link });
        }
        served.insert(link, Nanos(self.now.0 + SERVE_PATIENCE.0));
        let blocks = u8::try_from(header.b).unwrap_or(u8::MAX);
        let name = FrameName { lsn: header.lsn, epoch: Epoch(header.a), blocks };
        match self.shard.place_of(name) {
            Some(spec) => {
                let ticket = self.ticket();
                self.reads.insert(ticket, ReadFor::Fetch { link, name });
                out.push(Action::Read { ticket, spec });
            }
            None => self.answer_fetch(link, name, &[], out),
        }
    }

    /// The blocks of a frame that another member asked for.
    pub(super) fn fetch_read(
        &mut self,
        link: LinkId,
        name: FrameName,
        bytes: Option<&[u8]>,
        out: &mut Vec<Action>,
    ) {
        if !self.repairs.served.contains_key(&link) {
            return;
        }
        match bytes.map(|bytes| (bytes, self.shard.examine(name, bytes))) {
            Some((_, Examined::More(spec))) => {
                let ticket = self.ticket();
                self.reads.insert(ticket, ReadFor::Fetch { link, name });
                out.push(Action::Read { ticket, spec });
            }
            Some((bytes, Examined::Whole(frame))) => {
                let end = block_ceil(name.lsn.0 % BLOCK + frame.len() as u64) as usize;
                self.answer_fetch(link, name, &bytes[..end], out);
            }
            Some((_, Examined::Damaged)) | None => self.answer_fetch(link, name, &[], out),
        }
    }

    fn answer_fetch(&mut self, link: LinkId, name: FrameName, blocks: &[u8], out: &mut Vec<Action>) {
        let committed = self.shard.committed().0;
        let mut header = self.header(Kind::Fetched, self.known_epoch(), name.lsn, committed);
        header.body_bytes = blocks.len();
        let mut bytes = header.encode();
        bytes.extend_from_slice(blocks);
        out.push(Action::LinkSend { link, bytes });
        // Only to see when the other one closes, or asks for another.
        out.push(Action::LinkReceive { link, into: Landing::Memory(HEADER_BYTES) });
    }

    pub(super) fn close_idle_borrowers(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        for (link, until) in self.repairs.served.iter_mut().filter(|(_, until)| **until <= now) {
            *until = Nanos(u64::MAX);
            out.push(Action::LinkClose { link: *link });
        }
    }
}
