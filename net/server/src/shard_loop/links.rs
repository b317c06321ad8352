//! Replication connections of one shard thread.
//!
//! Promises: everything on a link goes out in the order in which it was handed over; a range of the log
//! buffer is reported by `LinkSentLog` only when the kernel no longer needs it (for a zero-copy send that is
//! its notification), exactly once; `LinkClosed` is a link's last event and comes after all of those. A
//! closed link is reset, so that the kernel drops what it still had to send and lets go of the ranges.

use super::Op;
use super::discard::Discard;
use engine::io::ring::{Completion, Lent, Piece, Ring};
use engine::log::BufferRange;
use node::events::{Event, Landing, LinkId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// From this size on a range of the log is sent without copying it.
pub const SEND_ZC_THRESHOLD: usize = 16 << 10;
/// Most pieces gathered into one send.
const MAX_PIECES: usize = 64;

enum Outgoing {
    Bytes(Vec<u8>),
    Log { header: Vec<u8>, range: BufferRange, serial: u64 },
}

/// A range of the log buffer that was handed over and not yet reported back.
struct Held {
    serial: u64,
    range: BufferRange,
    /// The queue, the send, and a zero-copy send's notification each hold it.
    holds: u8,
}

enum Sending {
    /// A copying send of pieces with `total` bytes, `sent` of them out.
    Plain { total: usize, sent: usize, serials: Vec<u64> },
    /// A zero-copy send of one range.
    ZeroCopy { range: BufferRange, serial: u64 },
}

struct Link {
    id: LinkId,
    /// Gone as soon as a closing link has no more operations.
    socket: Option<OwnedFd>,
    connected: bool,
    closing: bool,
    /// Operations whose last word, or whose last but a notification, is still to come.
    operations: u32,
    notifications: u32,
    receiving: Option<(Landing, usize)>,
    /// Memory for the next receive into the shell.
    spare: Vec<u8>,
    queue: VecDeque<Outgoing>,
    sending: Option<Sending>,
    held: Vec<Held>,
}

/// All replication connections of a shard thread. There are few: they are found by looking at each.
pub(super) struct Links {
    links: Vec<Link>,
    serial: u64,
    /// The kernel can send without copying on such sockets.
    zero_copy: bool,
    discard: Discard,
}

impl Links {
    pub(super) fn new(discard: Discard) -> Links {
        Links { links: Vec::new(), serial: 0, zero_copy: true, discard }
    }

    fn get(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    fn add(&mut self, id: LinkId, socket: OwnedFd, connected: bool) -> &mut Link {
        self.links.push(Link {
            id,
            socket: Some(socket),
            connected,
            closing: false,
            operations: 0,
            notifications: 0,
            receiving: None,
            spare: Vec::new(),
            queue: VecDeque::new(),
            sending: None,
            held: Vec::new(),
        });
        self.links.last_mut().expect("just pushed")
    }

    /// Another node connected to this shard and sent `header`.
    pub(super) fn accepted(
        &mut self,
        id: LinkId,
        socket: OwnedFd,
        header: &[u8],
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        self.add(id, socket, true);
        deliver(Event::LinkAccepted { link: id, header });
    }

    /// Connect an unconnected socket.
    pub(super) fn connect(&mut self, ring: &mut Ring<Op>, id: LinkId, socket: OwnedFd, to: SocketAddr) {
        ring.connect(socket.as_raw_fd(), to, Op::LinkConnect(id));
        self.add(id, socket, false).operations += 1;
    }

    /// The kernel's word on [`Op::LinkConnect`].
    pub(super) fn connected(
        &mut self,
        ring: &mut Ring<Op>,
        id: LinkId,
        result: i32,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(link) = self.get(id) else { return };
        link.operations -= 1;
        if link.closing || result < 0 {
            return self.fail(ring, id, deliver);
        }
        link.connected = true;
        deliver(Event::LinkConnected { link: id });
        self.pump(ring, id);
    }

    /// [`Command::LinkReceive`](node::events::Command).
    pub(super) fn receive(&mut self, ring: &mut Ring<Op>, id: LinkId, into: Landing) {
        let Some(link) = self.get(id).filter(|link| !link.closing) else { return };
        assert!(link.receiving.is_none(), "the core has one receive outstanding per link");
        link.receive_from(ring, into, 0);
    }

    /// The kernel's word on [`Op::LinkReceive`].
    pub(super) fn received(
        &mut self,
        ring: &mut Ring<Op>,
        id: LinkId,
        completion: Completion<Op>,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(link) = self.get(id) else { return };
        link.operations -= 1;
        let Some((into, before)) = link.receiving.take() else { return };
        if let Lent::Bytes(bytes) = completion.lent {
            link.spare = bytes;
        }
        if link.closing || completion.result <= 0 {
            return self.fail(ring, id, deliver);
        }
        let got = before + completion.result as usize;
        match into {
            Landing::Memory(len) | Landing::Log(BufferRange { len, .. }) if got < len => {
                link.receive_from(ring, into, got);
            }
            Landing::Memory(len) => {
                // Taken out, because the core may ask for the next receive before the bytes are given back.
                let bytes = std::mem::take(&mut link.spare);
                deliver(Event::LinkBytes { link: id, bytes: &bytes[..len] });
                if let Some(link) = self.get(id) {
                    link.spare = bytes;
                }
            }
            Landing::Log(_) => deliver(Event::LinkLanded { link: id }),
        }
    }

    /// [`Command::LinkSend`](node::events::Command).
    pub(super) fn send(&mut self, id: LinkId, bytes: Vec<u8>) {
        if let Some(link) = self.get(id).filter(|link| !link.closing && !bytes.is_empty()) {
            link.queue.push_back(Outgoing::Bytes(bytes));
        }
    }

    /// [`Command::LinkSendLog`](node::events::Command).
    pub(super) fn send_log(&mut self, id: LinkId, header: Vec<u8>, range: BufferRange) {
        self.serial += 1;
        let serial = self.serial;
        let Some(link) = self.get(id) else { return };
        // A closing link reports it with the others at its end.
        link.held.push(Held { serial, range, holds: 1 });
        if !link.closing {
            link.queue.push_back(Outgoing::Log { header, range, serial });
        }
    }

    /// Start what was queued in this turn; gathered, so that it leaves in as few sends as can be.
    pub(super) fn pump_all(&mut self, ring: &mut Ring<Op>) {
        let zero_copy = self.zero_copy;
        for link in &mut self.links {
            link.pump(ring, zero_copy);
        }
    }

    fn pump(&mut self, ring: &mut Ring<Op>, id: LinkId) {
        let zero_copy = self.zero_copy;
        if let Some(link) = self.get(id) {
            link.pump(ring, zero_copy);
        }
    }

    /// The kernel's word on [`Op::LinkSend`]. `serial` is that of a zero-copy send's range.
    pub(super) fn sent(
        &mut self,
        ring: &mut Ring<Op>,
        id: LinkId,
        serial: Option<u64>,
        completion: Completion<Op>,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(link) = self.get(id) else { return };
        if completion.notification {
            link.notifications -= 1;
            if let Some(serial) = serial {
                link.release(serial, deliver);
            }
            if link.closing {
                self.fail(ring, id, deliver);
            }
            return;
        }
        link.operations -= 1;
        if completion.more {
            link.notifications += 1;
            link.hold(serial.expect("only zero-copy sends are notified"));
        }
        let sending = link.sending.take();
        if link.closing {
            return self.fail(ring, id, deliver);
        }
        match sending {
            Some(Sending::Plain { total, sent, serials }) if completion.result > 0 => {
                let sent = sent + completion.result as usize;
                let Lent::Pieces(pieces) = completion.lent else { return };
                if sent < total {
                    link.send_plain(ring, pieces, total, sent, serials);
                    return;
                }
                serials.into_iter().for_each(|serial| link.release(serial, deliver));
                self.discard.pieces(pieces);
            }
            Some(Sending::ZeroCopy { range, serial }) => {
                let sent = match completion.result {
                    // The header is out; the range goes the ordinary way.
                    error if error == -libc::EOPNOTSUPP || error == -libc::EINVAL => {
                        self.zero_copy = false;
                        0
                    }
                    error if error == -libc::ENOBUFS || error == -libc::ENOMEM => 0,
                    error if error <= 0 => return self.fail(ring, id, deliver),
                    sent => sent as usize,
                };
                let Some(link) = self.get(id) else { return };
                if sent < range.len {
                    let piece = Piece::Log { at: range.start.0, len: range.len };
                    link.send_plain(ring, vec![piece], range.len, sent, vec![serial]);
                    return;
                }
                link.release(serial, deliver);
            }
            _ => return self.fail(ring, id, deliver),
        }
        self.pump(ring, id);
    }

    /// [`Command::LinkClose`](node::events::Command), or the connection failed: let the kernel give up what it
    /// works on, then report.
    pub(super) fn fail(&mut self, ring: &mut Ring<Op>, id: LinkId, deliver: &mut dyn FnMut(Event<'_>)) {
        let Some(place) = self.links.iter().position(|link| link.id == id) else { return };
        let link = &mut self.links[place];
        if !link.closing {
            link.closing = true;
            link.queue.clear();
            if let Some(socket) = link.socket.as_ref().filter(|_| link.operations > 0) {
                ring.cancel_all_on(socket.as_raw_fd());
            }
        }
        if link.operations > 0 {
            return;
        }
        if let Some(socket) = link.socket.take() {
            // With `SO_LINGER` 0 a reset: what was not acknowledged is dropped, and so the last
            // notifications come.
            ring.close(socket);
        }
        if link.notifications > 0 {
            return;
        }
        let mut link = self.links.swap_remove(place);
        for held in link.held.drain(..) {
            deliver(Event::LinkSentLog { link: id, range: held.range });
        }
        deliver(Event::LinkClosed { link: id });
    }
}

impl Link {
    /// Ask for the bytes of `into` but for the first `from`, which are here.
    fn receive_from(&mut self, ring: &mut Ring<Op>, into: Landing, from: usize) {
        let Some(socket) = &self.socket else { return };
        let (socket, token) = (socket.as_raw_fd(), Op::LinkReceive(self.id));
        self.receiving = Some((into, from));
        self.operations += 1;
        match into {
            Landing::Memory(len) => {
                let mut bytes = std::mem::take(&mut self.spare);
                // It stays as long as it once was: what is grown again is cleared again.
                bytes.resize(len.max(bytes.len()), 0);
                ring.receive_bytes(socket, bytes, from..len, token);
            }
            Landing::Log(BufferRange { start, len }) => {
                ring.receive_log(socket, start.0 + from as u64, len - from, token);
            }
        }
    }

    /// Start the next send, if none is under way.
    fn pump(&mut self, ring: &mut Ring<Op>, zero_copy: bool) {
        let Some(socket) = self.socket.as_ref().filter(|_| self.connected && !self.closing) else { return };
        if self.sending.is_some() || self.queue.is_empty() {
            return;
        }
        let large =
            |next: &Outgoing| matches!(next, Outgoing::Log { range, .. } if range.len >= SEND_ZC_THRESHOLD);
        if zero_copy && self.queue.front().is_some_and(large) {
            let Some(Outgoing::Log { header, range, serial }) = self.queue.pop_front() else { return };
            let token = Op::LinkSend(self.id, Some(serial));
            ring.send_log_zero_copy(socket.as_raw_fd(), header, range.start.0, range.len, token);
            self.operations += 1;
            self.sending = Some(Sending::ZeroCopy { range, serial });
            return;
        }
        let (mut pieces, mut serials) = (Vec::new(), Vec::new());
        while pieces.len() < MAX_PIECES - 1
            && self.queue.front().is_some_and(|next| !(zero_copy && large(next)))
        {
            match self.queue.pop_front() {
                Some(Outgoing::Bytes(bytes)) => pieces.push(Piece::Bytes(bytes)),
                Some(Outgoing::Log { header, range, serial }) => {
                    pieces.push(Piece::Bytes(header));
                    pieces.push(Piece::Log { at: range.start.0, len: range.len });
                    serials.push(serial);
                }
                None => break,
            }
        }
        let total = pieces.iter().map(Piece::len).sum();
        self.send_plain(ring, pieces, total, 0, serials);
    }

    fn send_plain(
        &mut self,
        ring: &mut Ring<Op>,
        pieces: Vec<Piece>,
        total: usize,
        sent: usize,
        serials: Vec<u64>,
    ) {
        let Some(socket) = &self.socket else { return };
        ring.send_pieces(socket.as_raw_fd(), pieces, sent, Op::LinkSend(self.id, None));
        self.operations += 1;
        self.sending = Some(Sending::Plain { total, sent, serials });
    }

    fn hold(&mut self, serial: u64) {
        if let Some(held) = self.held.iter_mut().find(|held| held.serial == serial) {
            held.holds += 1;
        }
    }

    fn release(&mut self, serial: u64, deliver: &mut dyn FnMut(Event<'_>)) {
        let Some(place) = self.held.iter().position(|held| held.serial == serial) else { return };
        self.held[place].holds -= 1;
        if self.held[place].holds == 0 {
            let range = self.held.remove(place).range;
            deliver(Event::LinkSentLog { link: self.id, range });
        }
    }
}
