//! One connection to whoever leads, which counts what goes wrong and goes on.

use crate::failover::router::place_of;
use crate::load::histogram::Latencies;
use crate::resp_client::{Connection, Reply};
use crate::steady::Shared;
use crate::steady::report::Load;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Longest wait for an answer: what takes longer is an error.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Before the next node is tried.
const PAUSE: Duration = Duration::from_millis(20);

/// See the module.
pub struct Client<'a> {
    shared: &'a Shared,
    name: &'static str,
    current: usize,
    connection: Option<Connection>,
    latencies: Latencies,
}

impl<'a> Client<'a> {
    /// A client of the load `name`; it connects when it first asks.
    pub fn new(shared: &'a Shared, name: &'static str) -> Client<'a> {
        Client { shared, name, current: 0, connection: None, latencies: Latencies::default() }
    }

    /// Where it is connected, or would connect.
    pub fn address(&self) -> SocketAddr {
        self.shared.endpoints[self.current].any_key
    }

    /// Goes to the node that leads, as it is before anything is measured: nothing of that is counted.
    pub fn find_leader(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            let asked = Connection::connect(self.address(), LIMIT);
            match asked.and_then(|mut connection| Ok((connection.call(&[b"GET", b"first"])?, connection))) {
                Ok((Reply::Error(text), _)) => match self.named(&text) {
                    Some(place) => self.current = place,
                    None => self.next(),
                },
                Ok((_, connection)) => {
                    self.connection = Some(connection);
                    return;
                }
                Err(_) => self.next(),
            }
        }
    }

    /// The node that a redirect names.
    fn named(&self, refusal: &str) -> Option<usize> {
        let target = refusal.strip_prefix("MOVED ")?.split(' ').nth(1)?;
        place_of(&self.shared.endpoints, target)
    }

    fn next(&mut self) {
        self.current = (self.current + 1) % self.shared.endpoints.len();
        self.shared.pause(PAUSE);
    }

    /// Its connection, made if there is none; `None` if nobody takes it, which is counted.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        if self.connection.is_none() {
            match Connection::connect(self.address(), LIMIT) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => self.lost(error),
            }
        }
        self.connection.as_mut()
    }

    /// Sends what `push` pushes, `count` requests, and has `judge` look at each answer that is no error, by its
    /// place. Everything that goes wrong is counted, and the next call begins anew. Whether all went well.
    pub fn ask(
        &mut self,
        count: usize,
        push: impl FnOnce(&mut Connection),
        mut judge: impl FnMut(usize, &Reply) -> Result<(), String>,
    ) -> bool {
        let Some(connection) = self.connection() else { return false };
        push(connection);
        let sent = Instant::now();
        if let Err(error) = connection.flush() {
            self.lost(error);
            return false;
        }
        let mut fine = true;
        for at in 0..count {
            let received = self.connection.as_mut().expect("it was asked").receive();
            match received {
                Ok(Reply::Error(text)) => {
                    self.refused(&text);
                    fine = false;
                    if self.connection.is_none() {
                        return false;
                    }
                }
                Ok(reply) => match judge(at, &reply) {
                    Ok(()) => {
                        self.latencies.record(sent.elapsed());
                        self.shared.answered(1);
                    }
                    Err(error) => {
                        self.shared.wrong(self.name, error);
                        fine = false;
                    }
                },
                Err(error) => {
                    self.lost(error);
                    return false;
                }
            }
        }
        fine
    }

    /// One request; see [`Client::ask`].
    pub fn call(&mut self, words: &[&[u8]], judge: impl Fn(&Reply) -> Result<(), String>) -> bool {
        self.ask(1, |connection| connection.push(words), |_, reply| judge(reply))
    }

    /// Counts an error reply, and follows it if it names another node.
    pub fn refused(&mut self, text: &str) {
        match self.named(text) {
            Some(place) => {
                self.shared.redirected();
                if place != self.current {
                    self.current = place;
                    self.connection = None;
                }
            }
            None => self.shared.wrong(self.name, text),
        }
    }

    /// Counts the loss of the connection, and turns to the next node.
    pub fn lost(&mut self, error: impl std::fmt::Display) {
        if self.shared.goes_on() {
            self.shared.wrong(self.name, error);
        }
        self.connection = None;
        self.next();
    }

    /// Records a duration that was measured elsewhere.
    pub fn record(&mut self, duration: Duration) {
        self.latencies.record(duration);
    }

    /// What it did, at its end.
    pub fn done(self) -> Load {
        Load { name: self.name, latencies: self.latencies }
    }
}
