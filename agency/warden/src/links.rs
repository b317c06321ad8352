//! The links to the other wardens: one TCP connection per pair, the higher id dials the lower.
//!
//! Promises never to block, to hand over whole and checked messages in order, and to say exactly once each
//! when a link came up and when it went down. A link is up once both sides said hello and mean the same
//! group, members and number of shards. Messages to a link that is down are dropped: the brain repeats what
//! matters. There is no authentication: the agency's ports belong on a network of the group's own.

use super::clock::now;
use super::config::{Peer, WardenConfig};
use super::error::WardenError;
use super::log::Log;
use agency::codec::{HEADER, MAX_BODY};
use agency::ids::{MAX_MEMBERS, Nanos, NodeId};
use agency::message::Message;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Between attempts to connect: doubled from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How long a connection may take to come up, hellos included.
const COME_UP: Duration = Duration::from_millis(500);
/// A link this long without a byte from the peer (which sends heartbeats all the time) is closed. Counted
/// in the warden's own ticks: a host that stalled as a whole does not lose its links.
const SILENT: Duration = Duration::from_millis(500);
/// The kernel gives a connection up when sent bytes stay unacknowledged this long.
const USER_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that does not read is cut off at this many bytes.
const OUTBOX: usize = 4 * 1024 * 1024;
/// Accepted connections that have not said hello yet.
const STRANGERS: usize = 16;
/// Bytes read per call, and most calls per wake-up (the rest comes with the next).
const READ: usize = 64 * 1024;
const READS: usize = 8;
/// A message of which a part is here is shorter than this; whole ones are taken out before more is read.
const PARTIAL: usize = HEADER + MAX_BODY;

const _: () = {
    assert!(BACKOFF.0.as_nanos() < BACKOFF.1.as_nanos(), "waits grow");
    assert!(OUTBOX >= PARTIAL * 4, "a peer that reads slowly gets some messages at least");
    assert!(STRANGERS >= MAX_MEMBERS, "every member may knock at once");
};

/// What happened on the links.
#[derive(Debug, PartialEq)]
pub(super) enum LinkEvent {
    Up(NodeId),
    Down(NodeId),
    Message(NodeId, Message),
}

struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// How much of the outbox is sent.
    sent: usize,
    /// Whether epoll waits for room to write.
    blocked: bool,
    since: Nanos,
    silent: Duration,
}

enum LinkState {
    Down {
        retry_at: Nanos,
    },
    /// Not connected yet, or connected and waiting for the peer's hello.
    Coming(Connection),
    Up(Connection),
}

struct Link {
    peer: Peer,
    state: LinkState,
    backoff: Duration,
    /// What was last logged about it, so that retries do not repeat it.
    complaint: String,
}

/// All links of one warden.
pub(super) struct Links {
    me: NodeId,
    name: String,
    hello: Message,
    listener: TcpListener,
    epoll: Arc<OwnedFd>,
    first_token: u64,
    links: Vec<Link>,
    strangers: Vec<Option<Connection>>,
    stranger_complaint: String,
    buffer: Vec<u8>,
    events: VecDeque<LinkEvent>,
    log: Arc<Log>,
}

impl Links {
    /// Listens. Uses epoll data from `first_token` on.
    pub fn open(
        config: &WardenConfig,
        epoll: Arc<OwnedFd>,
        first_token: u64,
        log: Arc<Log>,
    ) -> Result<Links, WardenError> {
        let listen_error = |source| WardenError::Listen { address: config.listen, source };
        // std sets SO_REUSEADDR and close-on-exec.
        let listener = TcpListener::bind(config.listen).map_err(listen_error)?;
        listener.set_nonblocking(true).map_err(listen_error)?;
        let data = EventData::new_u64(first_token);
        epoll::add(&*epoll, &listener, data, EventFlags::IN).map_err(|e| listen_error(e.into()))?;
        let down = |peer: &Peer| Link {
            peer: peer.clone(),
            state: LinkState::Down { retry_at: Nanos(0) },
            backoff: BACKOFF.0,
            complaint: String::new(),
        };
        Ok(Links {
            me: config.me,
            name: config.name.clone(),
            hello: Message::Hello { group: config.group, node: config.me, shards: config.shards },
            listener,
            epoll,
            first_token,
            links: config.peers.iter().map(down).collect(),
            strangers: (0..STRANGERS).map(|_| None).collect(),
            stranger_complaint: String::new(),
            buffer: vec![0; READ],
            events: VecDeque::new(),
            log,
        })
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Queues a message; [`flush`](Self::flush) sends it.
    pub fn send(&mut self, to: NodeId, message: &Message) {
        if let Some(Link { state: LinkState::Up(connection), .. }) =
            self.links.iter_mut().find(|l| l.peer.id == to)
        {
            message.encode(&mut connection.outbox);
        }
    }

    /// Sends what is queued, as far as the kernel takes it now.
    pub fn flush(&mut self) {
        for at in 0..self.links.len() {
            if let LinkState::Up(connection) = &mut self.links[at].state
                && connection.sent < connection.outbox.len()
                && let Err(reason) = connection.flush(&self.epoll, self.first_token + 1 + at as u64)
            {
                self.close(at, now(), &reason);
            }
        }
    }

    /// Whether everything queued was taken by the kernel.
    pub fn is_flushed(&self) -> bool {
        self.links.iter().all(|l| match &l.state {
            LinkState::Up(c) => c.sent == c.outbox.len(),
            _ => true,
        })
    }

    /// Readiness from epoll for one of our tokens.
    pub fn ready(&mut self, token: u64, now: Nanos) {
        let at = (token - self.first_token) as usize;
        if at == 0 {
            self.accept(now);
        } else if at <= self.links.len() {
            self.link_ready(at - 1, now);
        } else {
            self.stranger_ready(at - 1 - self.links.len(), now);
        }
    }

    /// Time passed: `span` of the warden's own time, at most a tick's worth.
    pub fn tick(&mut self, now: Nanos, span: Duration) {
        for at in 0..self.links.len() {
            let Link { peer, state, .. } = &mut self.links[at];
            match state {
                LinkState::Down { retry_at } => {
                    if peer.id < self.me && now >= *retry_at {
                        self.dial(at, now);
                    }
                }
                LinkState::Coming(connection) => {
                    if now.since(connection.since) > COME_UP {
                        self.close(at, now, "it does not answer");
                    }
                }
                LinkState::Up(connection) => {
                    connection.silent += span;
                    if connection.silent > SILENT {
                        self.close(at, now, "it went silent");
                    }
                }
            }
        }
        for stranger in &mut self.strangers {
            if stranger.as_ref().is_some_and(|c| now.since(c.since) > COME_UP) {
                *stranger = None;
            }
        }
    }

    fn dial(&mut self, at: usize, now: Nanos) {
        let connection = connect(self.links[at].peer.address, now).and_then(|mut connection| {
            self.hello.encode(&mut connection.outbox);
            // Becomes writable when connected: then the hello goes out.
            connection.blocked = true;
            let data = EventData::new_u64(self.first_token + 1 + at as u64);
            epoll::add(&*self.epoll, &connection.stream, data, EventFlags::IN | EventFlags::OUT)?;
            Ok(connection)
        });
        match connection {
            Ok(connection) => self.links[at].state = LinkState::Coming(connection),
            Err(error) => self.close(at, now, &error.to_string()),
        }
    }

    fn accept(&mut self, now: Nanos) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Some(slot) = self.strangers.iter().position(Option::is_none) else { continue };
            let token = self.first_token + 1 + (self.links.len() + slot) as u64;
            let connection = Connection::new(stream, now).and_then(|mut connection| {
                self.hello.encode(&mut connection.outbox);
                epoll::add(&*self.epoll, &connection.stream, EventData::new_u64(token), EventFlags::IN)?;
                connection.flush(&self.epoll, token).map_err(io::Error::other)?;
                Ok(connection)
            });
            // One that fails already here is the dialler's to repeat.
            self.strangers[slot] = connection.ok();
        }
    }

    fn stranger_ready(&mut self, slot: usize, now: Nanos) {
        let token = self.first_token + 1 + (self.links.len() + slot) as u64;
        let Some(mut connection) = self.strangers[slot].take() else { return };
        let read = connection.flush(&self.epoll, token).and_then(|()| connection.read(&mut self.buffer));
        let greeting = connection.take_message();
        let peer = match greeting {
            Ok(Some(hello)) => self.check_hello(&hello, None),
            Ok(None) if read.is_ok() => {
                self.strangers[slot] = Some(connection);
                return;
            }
            // It closed before it said a word: nothing worth a line.
            Ok(None) => return,
            Err(reason) => Err(reason),
        };
        match peer {
            Ok(peer) => {
                let at = self.links.iter().position(|l| l.peer.id == peer).expect("checked to be a peer");
                if matches!(self.links[at].state, LinkState::Up(_)) {
                    self.close(at, now, "it connected anew");
                }
                let data = EventData::new_u64(self.first_token + 1 + at as u64);
                let flags =
                    if connection.blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
                if epoll::modify(&*self.epoll, &connection.stream, data, flags).is_ok() {
                    self.up(at, connection);
                    self.take_messages(at, now);
                }
            }
            Err(reason) => {
                if self.stranger_complaint != reason {
                    self.log.line(&format!("refused a connection to the agency: {reason}"));
                    self.stranger_complaint = reason;
                }
            }
        }
    }

    /// Who says hello, if it may. `expected` is whom we dialled.
    fn check_hello(&self, hello: &Message, expected: Option<NodeId>) -> Result<NodeId, String> {
        let (
            Message::Hello { group, node, shards },
            Message::Hello { group: our_group, shards: our_shards, .. },
        ) = (hello, &self.hello)
        else {
            return Err("it does not say hello".into());
        };
        let known = self.links.iter().find(|l| l.peer.id == *node).map(|l| l.peer.name.as_str());
        let name = known.map_or_else(|| format!("member {}", node.0), |name| format!("warden {name}"));
        if group != our_group {
            return Err(format!("{name} is of group {group:032x}, this is group {our_group:032x}"));
        }
        if shards != our_shards {
            return Err(format!("{name} has {shards} shards, this is a group of {our_shards}"));
        }
        match expected {
            Some(expected) if expected != *node => Err(format!("{name} answers there")),
            None if known.is_none() || *node < self.me => {
                Err(format!("{name} has no business to dial {}", self.name))
            }
            _ => Ok(*node),
        }
    }

    fn up(&mut self, at: usize, connection: Connection) {
        let link = &mut self.links[at];
        assert!(!matches!(link.state, LinkState::Up(_)), "a link comes up once");
        link.state = LinkState::Up(connection);
        link.backoff = BACKOFF.0;
        link.complaint.clear();
        self.log.line(&format!("link to {} is up", link.peer.name));
        self.events.push_back(LinkEvent::Up(link.peer.id));
    }

    fn link_ready(&mut self, at: usize, now: Nanos) {
        let token = self.first_token + 1 + at as u64;
        let (LinkState::Coming(connection) | LinkState::Up(connection)) = &mut self.links[at].state else {
            return;
        };
        // Read first: what a dying peer still said counts, its death notice above all.
        let read = connection.read(&mut self.buffer);
        let flushed = connection.flush(&self.epoll, token);
        if matches!(self.links[at].state, LinkState::Coming(_)) {
            self.greet(at, now);
        }
        self.take_messages(at, now);
        if let Err(reason) = read.and(flushed) {
            self.close(at, now, &reason);
        }
    }

    /// Takes the hello of a peer that we dialled.
    fn greet(&mut self, at: usize, now: Nanos) {
        let LinkState::Coming(connection) = &mut self.links[at].state else { return };
        let verdict = match connection.take_message() {
            Ok(None) => return,
            Ok(Some(hello)) => self.check_hello(&hello, Some(self.links[at].peer.id)),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = verdict {
            self.close(at, now, &reason);
            return;
        }
        let state = std::mem::replace(&mut self.links[at].state, LinkState::Down { retry_at: now });
        if let LinkState::Coming(connection) = state {
            self.up(at, connection);
        }
    }

    fn take_messages(&mut self, at: usize, now: Nanos) {
        loop {
            let link = &mut self.links[at];
            let LinkState::Up(connection) = &mut link.state else { return };
            match connection.take_message() {
                Ok(Some(message)) => self.events.push_back(LinkEvent::Message(link.peer.id, message)),
                Ok(None) => return,
                Err(reason) => self.close(at, now, &reason),
            }
        }
    }

    /// Drops the connection and plans the next.
    fn close(&mut self, at: usize, now: Nanos, reason: &str) {
        let link = &mut self.links[at];
        let was_up = matches!(link.state, LinkState::Up(_));
        link.state = LinkState::Down { retry_at: now + link.backoff };
        link.backoff = (link.backoff * 2).min(BACKOFF.1);
        if was_up {
            self.events.push_back(LinkEvent::Down(link.peer.id));
        }
        if was_up || link.complaint != reason {
            let what = if was_up { "lost" } else { "not up" };
            self.log.line(&format!("link to {} ({}) {what}: {reason}", link.peer.name, link.peer.address));
            reason.clone_into(&mut link.complaint);
        }
    }
}

/// Starts a connection.
fn connect(address: SocketAddr, now: Nanos) -> io::Result<Connection> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Connection::new(TcpStream::from(socket), now),
        Err(error) => Err(error.into()),
    }
}

impl Connection {
    fn new(stream: TcpStream, now: Nanos) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT.as_millis() as u32)?;
        let (inbox, outbox) = (Vec::with_capacity(READ), Vec::with_capacity(READ));
        Ok(Connection { stream, inbox, outbox, sent: 0, blocked: false, since: now, silent: Duration::ZERO })
    }

    /// Reads what there is. Closed and broken connections are errors.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        assert!(self.inbox.len() < PARTIAL, "{} bytes wait to be taken", self.inbox.len());
        for _ in 0..READS {
            match self.stream.read(buffer) {
                Ok(0) => return Err("it closed the connection".into()),
                Ok(n) => {
                    self.silent = Duration::ZERO;
                    self.inbox.extend_from_slice(&buffer[..n]);
                    if n < buffer.len() {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::NotConnected => {
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(())
    }

    fn take_message(&mut self) -> Result<Option<Message>, String> {
        match Message::decode(&self.inbox) {
            Ok(Some((message, length))) => {
                self.inbox.drain(..length);
                Ok(Some(message))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Writes what the kernel takes, and has epoll watch for room exactly while something is left.
    fn flush(&mut self, epoll: &OwnedFd, token: u64) -> Result<(), String> {
        while self.sent < self.outbox.len() {
            match self.stream.write(&self.outbox[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::NotConnected => break,
                Err(e) => return Err(e.to_string()),
            }
        }
        assert!(self.sent <= self.outbox.len(), "no more is sent than there was");
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.sent = 0;
        } else if self.outbox.len() - self.sent > OUTBOX {
            return Err("it does not read".into());
        } else if self.sent > OUTBOX {
            self.outbox.drain(..self.sent);
            self.sent = 0;
        }
        let blocked = !self.outbox.is_empty();
        if blocked != self.blocked {
            self.blocked = blocked;
            let flags = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, &self.stream, EventData::new_u64(token), flags)
                .map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}
