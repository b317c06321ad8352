//! Client connections of one shard thread: their sockets, what is on the way to and from them, their end.
//!
//! Promises: bytes arrive in order; a reply goes out whole however the socket takes it, then `ClientSent`;
//! after `ClientClosed` or an [`Command::ClientClose`](node::events::Command) no event follows; a socket is
//! closed only when the kernel holds nothing of it, and one that is to be closed is, within
//! [`CLOSE_TIMEOUT`]. Nobody is let in for whom there is no descriptor to spare. Of a paused client, whose
//! bytes are left unread, it is known nevertheless when it closes its side. It does not look into the bytes.

use super::Op;
use super::doors::ACCEPTS;
use crate::descriptors::PER_SHARD;
use crate::process::Process;
use agency::ids::Nanos;
use engine::io::ring::{Completion, Lent, OpId, Piece, Ring};
use node::events::{ConnId, Event, Face, Part};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// What a client too many is told.
const REFUSAL: &[u8] = b"-ERR max number of clients reached\r\n";
/// The same by HTTP.
const HTTP_REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: Close\r\nRetry-After: 1\r\n\
    Content-Length: 0\r\n\r\n";
/// Connections beyond the limit that may be told so at a time; more are closed without a word.
const REFUSALS: usize = 32;
/// What of a shard's own descriptors is no client's, refused or not yet let in.
const OWN_DESCRIPTORS: usize = 24;
/// How long a client that is being closed may take to read what it is still sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bits of a `ConnId` that say its place; the rest is a serial number.
const PLACE_BITS: u32 = 21;

const _: () = assert!(PER_SHARD >= OWN_DESCRIPTORS + REFUSALS + 4 * ACCEPTS);

struct Client {
    id: ConnId,
    socket: OwnedFd,
    receiving: Option<OpId>,
    /// While it is paused: waiting for its end.
    watching: Option<OpId>,
    paused: bool,
    /// One too many: it is only told so.
    refused: bool,
    /// How much of the bytes being sent is out; `None` if nothing is being sent.
    sent: Option<usize>,
    /// The core gave it up: close when what is being sent is out.
    closing: bool,
    /// The socket failed or ended: close as soon as the kernel lets go.
    dead: bool,
}

/// All client connections of a shard thread.
pub(super) struct Clients {
    places: Vec<Option<Client>>,
    free: Vec<u32>,
    serial: u64,
    limit: usize,
    process: Process,
    serving: usize,
    refusing: usize,
    sending: usize,
    /// Those that the core gave up while they were being sent something, and when.
    closing: VecDeque<(Nanos, ConnId)>,
}

impl Clients {
    /// At most `limit` at a time.
    pub(super) fn new(limit: usize, process: Process) -> Clients {
        assert!(limit + REFUSALS < 1 << PLACE_BITS, "the limit on clients was checked");
        let (places, free, closing) = (Vec::new(), Vec::new(), VecDeque::new());
        let (serial, serving, refusing, sending) = (0, 0, 0, 0);
        Clients { places, free, serial, limit, process, serving, refusing, sending, closing }
    }

    /// Whether bytes are still on their way out.
    pub(super) fn sending(&self) -> bool {
        self.sending > 0
    }

    fn get(&mut self, id: ConnId) -> Option<&mut Client> {
        let place = (id.0 & ((1 << PLACE_BITS) - 1)) as usize;
        self.places.get_mut(place)?.as_mut().filter(|client| client.id == id)
    }

    /// A connection was accepted.
    pub(super) fn opened(
        &mut self,
        ring: &mut Ring<Op>,
        socket: OwnedFd,
        face: Face,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let refused = self.serving >= self.limit || !self.process.descriptors.client_came();
        if refused {
            self.process.descriptors.refused();
            if self.refusing >= REFUSALS {
                return ring.close(socket);
            }
        }
        *(if refused { &mut self.refusing } else { &mut self.serving }) += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() as u32 - 1
        });
        self.serial += 1;
        let id = ConnId(self.serial << PLACE_BITS | place as u64);
        let client = Client {
            id,
            socket,
            receiving: None,
            watching: None,
            paused: false,
            refused,
            sent: None,
            closing: refused,
            dead: false,
        };
        let client = self.places[place as usize].insert(client);
        if refused {
            client.sent = Some(0);
            self.sending += 1;
            let text = if face == Face::Http { HTTP_REFUSAL } else { REFUSAL };
            let pieces = vec![Piece::Bytes(text.to_vec())];
            ring.send_pieces(client.socket.as_raw_fd(), pieces, 0, Op::ClientSend(id));
            return;
        }
        let text = |address: Option<rustix::net::SocketAddrAny>| {
            let address = address.and_then(|any| std::net::SocketAddr::try_from(any).ok());
            address.map_or(String::new(), |address| address.to_string())
        };
        let peer = text(rustix::net::getpeername(&client.socket).ok().flatten());
        let local = text(rustix::net::getsockname(&client.socket).ok());
        client.receiving = Some(ring.receive(client.socket.as_raw_fd(), Op::ClientReceive(id)));
        deliver(Event::ClientOpened { conn: id, face, peer, local });
    }

    /// The kernel's word on [`Op::ClientReceive`].
    pub(super) fn received(
        &mut self,
        ring: &mut Ring<Op>,
        id: ConnId,
        completion: Completion<Op>,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(client) = self.get(id) else { return };
        let given_up = client.dead || client.closing;
        if !completion.more {
            client.receiving = None;
        }
        if let Some(buffer) = completion.buffer {
            if !given_up && completion.result > 0 {
                let bytes = ring.received(buffer, completion.result as usize);
                deliver(Event::ClientBytes { conn: id, bytes });
            }
            ring.recycle(buffer);
        }
        if completion.more {
            return;
        }
        if given_up {
            return self.settle(ring, id);
        }
        match completion.result {
            // The operation ended, not the connection: out of provided buffers (this turn gives them back),
            // the kernel's own bound on shots, or a pause that was taken back meanwhile.
            1.. => self.receive_again(ring, id),
            error if [-libc::ENOBUFS, -libc::ECANCELED, -libc::EINTR].contains(&error) => {
                self.receive_again(ring, id);
            }
            _ => self.failed(ring, id, deliver),
        }
    }

    fn receive_again(&mut self, ring: &mut Ring<Op>, id: ConnId) {
        if let Some(client) = self.get(id)
            && !client.paused
            && client.receiving.is_none()
        {
            client.receiving = Some(ring.receive(client.socket.as_raw_fd(), Op::ClientReceive(id)));
        }
    }

    /// The kernel's word on [`Op::ClientWatch`].
    pub(super) fn hung_up(
        &mut self,
        ring: &mut Ring<Op>,
        id: ConnId,
        result: i32,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(client) = self.get(id) else { return };
        client.watching = None;
        if client.dead || client.closing {
            return self.settle(ring, id);
        }
        match result {
            events if events > 0 && events & i32::from(libc::POLLHUP | libc::POLLERR) != 0 => {
                self.failed(ring, id, deliver);
            }
            1.. if client.paused => deliver(Event::ClientHalfClosed { conn: id }),
            // It was taken back at the end of one pause, and the next one began before that was known.
            _ if client.paused => client.watch(ring),
            _ => {}
        }
    }

    /// The kernel's word on [`Op::ClientSend`].
    pub(super) fn sent(
        &mut self,
        ring: &mut Ring<Op>,
        id: ConnId,
        completion: Completion<Op>,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Some(client) = self.get(id) else { return };
        let Lent::Pieces(pieces) = completion.lent else { return };
        let total: usize = pieces.iter().map(Piece::len).sum();
        let out = client.sent.take().unwrap_or(0) + completion.result.max(0) as usize;
        if completion.result > 0 && out < total && !client.dead {
            client.sent = Some(out);
            ring.send_pieces(client.socket.as_raw_fd(), pieces, out, Op::ClientSend(id));
            return;
        }
        let (failed, given_up) = (out < total, client.dead || client.closing);
        self.sending -= 1;
        self.process.discard.pieces(pieces);
        match (given_up, failed) {
            (true, _) => self.settle(ring, id),
            (false, true) => self.failed(ring, id, deliver),
            (false, false) => deliver(Event::ClientSent { conn: id }),
        }
    }

    fn failed(&mut self, ring: &mut Ring<Op>, id: ConnId, deliver: &mut dyn FnMut(Event<'_>)) {
        if let Some(client) = self.get(id) {
            client.dead = true;
            deliver(Event::ClientClosed { conn: id });
            self.settle(ring, id);
        }
    }

    /// Close a connection that was given up, as far as its operations allow.
    fn settle(&mut self, ring: &mut Ring<Op>, id: ConnId) {
        let Some(client) = self.get(id) else { return };
        if client.dead && client.sent.is_some() {
            ring.cancel_all_on(client.socket.as_raw_fd());
        } else if client.sent.is_none() {
            let (receiving, watching) = (client.receiving, client.watching);
            if receiving.is_none() && watching.is_none() {
                return self.forget(ring, id);
            }
            receiving.into_iter().chain(watching).for_each(|op| ring.cancel(op));
        }
    }

    /// The kernel holds nothing of this connection any more.
    fn forget(&mut self, ring: &mut Ring<Op>, id: ConnId) {
        let place = (id.0 & ((1 << PLACE_BITS) - 1)) as usize;
        if let Some(client) = self.places[place].take() {
            self.free.push(place as u32);
            ring.close(client.socket);
            if client.refused {
                self.refusing -= 1;
            } else {
                self.serving -= 1;
                self.process.descriptors.client_left();
            }
        }
    }

    /// [`Command::ClientSend`](node::events::Command).
    pub(super) fn send(&mut self, ring: &mut Ring<Op>, id: ConnId, parts: Vec<Part>) {
        let Some(client) = self.get(id).filter(|client| !client.dead) else { return };
        assert!(client.sent.is_none(), "the core has one send outstanding per client");
        client.sent = Some(0);
        let piece = |part| match part {
            Part::Owned(bytes) => Piece::Bytes(bytes),
            Part::Shared(bytes) => Piece::Shared(bytes),
        };
        let pieces = parts.into_iter().map(piece).collect();
        ring.send_pieces(client.socket.as_raw_fd(), pieces, 0, Op::ClientSend(id));
        self.sending += 1;
    }

    /// [`Command::ClientPause`](node::events::Command).
    pub(super) fn pause(&mut self, ring: &mut Ring<Op>, id: ConnId, paused: bool) {
        let Some(client) = self.get(id).filter(|client| !client.dead && !client.closing) else { return };
        client.paused = paused;
        if paused {
            // What is still on its way here comes; the kernel receives no more.
            client.receiving.into_iter().for_each(|op| ring.cancel(op));
            client.watch(ring);
        } else {
            client.watching.into_iter().for_each(|op| ring.cancel(op));
            self.receive_again(ring, id);
        }
    }

    /// [`Command::ClientClose`](node::events::Command).
    pub(super) fn close(&mut self, ring: &mut Ring<Op>, id: ConnId, now: Nanos) {
        if let Some(client) = self.get(id).filter(|client| !client.dead) {
            client.closing = true;
            if client.sent.is_some() {
                self.closing.push_back((now, id));
            }
            self.settle(ring, id);
        }
    }

    /// [`Command::ClientReset`](node::events::Command).
    pub(super) fn reset(&mut self, ring: &mut Ring<Op>, id: ConnId) {
        if let Some(client) = self.get(id).filter(|client| !client.dead) {
            client.dead = true;
            // Else the kernel would go on sending what it holds. Where that fails, it does.
            let _ = rustix::net::sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO));
            self.settle(ring, id);
        }
    }

    /// Resets those that took too long to be closed.
    pub(super) fn tick(&mut self, ring: &mut Ring<Op>, now: Nanos) {
        let late = |(since, _): &(Nanos, ConnId)| now.0 > since.0 + CLOSE_TIMEOUT.as_nanos() as u64;
        while self.closing.front().is_some_and(late) {
            if let Some((_, id)) = self.closing.pop_front() {
                self.reset(ring, id);
            }
        }
    }
}

impl Client {
    /// Wait for the other end to close.
    fn watch(&mut self, ring: &mut Ring<Op>) {
        if self.watching.is_none() {
            self.watching = Some(ring.await_hang_up(self.socket.as_raw_fd(), Op::ClientWatch(self.id)));
        }
    }
}
