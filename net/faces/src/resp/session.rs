//! What a connection has told about itself, and how it is shown in `CLIENT LIST`.
//!
//! Promises: only commands change it, and a command that is blocked has not. Does not hold anything of the
//! connection's I/O.

use crate::auth::Login;
use crate::resp::reply::Proto;
use std::sync::Arc;

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Durable on every member of the in-sync set.
    Durable,
    /// Durable on the leader, in the memory of every other member of the in-sync set.
    Received,
    /// Durable on the leader only.
    Local,
}

impl Ack {
    /// As in `BATON ACK`.
    pub fn name(self) -> &'static str {
        match self {
            Ack::Durable => "durable",
            Ack::Received => "received",
            Ack::Local => "local",
        }
    }
}

/// The state of one client connection.
#[derive(Clone, Debug)]
pub struct Session {
    /// Unique within the node.
    pub id: u64,
    /// The client's address, `host:port`.
    pub peer: String,
    /// Our address that it connected to, `host:port`.
    pub local: String,
    /// Wall time in ms since the epoch of Unix.
    pub connected_at_ms: u64,
    /// Wall time of the newest command in ms since the epoch of Unix.
    pub last_command_ms: u64,
    /// The newest command's full name.
    pub last_command: &'static str,
    pub proto: Proto,
    /// Empty: none.
    pub name: String,
    /// Empty: none.
    pub lib_name: String,
    /// Empty: none.
    pub lib_version: String,
    /// `READONLY` was sent: reads that may be stale are fine.
    pub readonly: bool,
    /// How this connection's writes are acknowledged; `None`: as the group is configured.
    pub ack: Option<Ack>,
    /// Who it is, once it has given the user's password; always `None` where none is asked for.
    pub user: Option<Arc<Login>>,
}

impl Session {
    /// A connection that has just been made.
    pub fn new(id: u64, peer: String, local: String, now_ms: u64) -> Session {
        Session {
            id,
            peer,
            local,
            connected_at_ms: now_ms,
            last_command_ms: now_ms,
            last_command: "NULL",
            proto: Proto::Resp2,
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            readonly: false,
            ack: None,
            user: None,
        }
    }

    /// Forget what the client told (`RESET`), as if it had just connected.
    pub fn reset(&mut self) {
        self.proto = Proto::Resp2;
        self.name.clear();
        self.readonly = false;
        self.ack = None;
        self.user = None;
    }

    /// The line of `CLIENT LIST`, with its line feed.
    pub fn describe(&self, now_ms: u64, line: &mut String) {
        use std::fmt::Write;
        let seconds = |since: u64| now_ms.saturating_sub(since) / 1000;
        let written = writeln!(
            line,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={} db=0 sub=0 psub=0 ssub=0 multi=-1 \
             events=r cmd={} user={} redir=-1 resp={} lib-name={} lib-ver={} ack={}",
            self.id,
            self.peer,
            self.local,
            self.name,
            seconds(self.connected_at_ms),
            seconds(self.last_command_ms),
            if self.readonly { "r" } else { "N" },
            self.last_command,
            self.user.as_deref().map_or("default", Login::user),
            self.proto.number(),
            self.lib_name,
            self.lib_version,
            self.ack.map_or("default", Ack::name),
        );
        written.expect("writing to a String cannot fail");
    }
}
