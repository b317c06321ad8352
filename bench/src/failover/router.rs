//! A client of a group: finds the node that leads, follows its redirects, goes to another node when a
//! connection fails. It never resends by itself: each call is one attempt, and its outcome says whether the
//! request may have taken effect.

use crate::resp_client::{ClientError, Connection, Reply};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Where one data node serves clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    /// The port for any key.
    pub any_key: SocketAddr,
    /// The ports of this node that a redirect may name.
    pub ports: RangeInclusive<u16>,
}

/// How one attempt ended.
#[derive(Debug)]
pub enum Attempt {
    /// A reply that is not an error.
    Answered(Reply),
    /// The node sent us to another one, or asked us to try again: try again.
    Redirected,
    /// Nobody took the connection: certainly not executed, try again after a moment.
    Unreachable,
    /// The connection failed after the request was sent: it may have been executed, or may be yet.
    InDoubt(ClientError),
    /// An error reply that no client should see during a failover.
    Failed(String),
}

/// Error replies that tell a cluster client to try again, here or elsewhere.
const TRY_AGAIN: [&str; 4] = ["CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN"];

/// One client.
pub struct Router {
    endpoints: Vec<Endpoint>,
    current: usize,
    connection: Option<Connection>,
    patience: Duration,
    redirects: u64,
}

impl Router {
    /// A client that knows these nodes (at least one) and waits `patience` for each answer.
    pub fn new(endpoints: Vec<Endpoint>, patience: Duration) -> Router {
        assert!(!endpoints.is_empty(), "a group has nodes");
        Router { endpoints, current: 0, connection: None, patience, redirects: 0 }
    }

    /// `MOVED` and "try again" replies since the last call of this.
    pub fn take_redirects(&mut self) -> u64 {
        std::mem::take(&mut self.redirects)
    }

    /// Sends the request once.
    pub fn attempt(&mut self, words: &[&[u8]]) -> Attempt {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => match Connection::connect(self.endpoints[self.current].any_key, self.patience) {
                Ok(connection) => self.connection.insert(connection),
                Err(_) => {
                    self.try_next();
                    return Attempt::Unreachable;
                }
            },
        };
        match connection.call(words) {
            Ok(Reply::Error(text)) => self.error(text),
            Ok(reply) => Attempt::Answered(reply),
            Err(error) => {
                self.try_next();
                Attempt::InDoubt(error)
            }
        }
    }

    fn error(&mut self, text: String) -> Attempt {
        let mut words = text.split(' ');
        match words.next() {
            Some("MOVED") => match words.nth(1).and_then(|target| place_of(&self.endpoints, target)) {
                Some(place) => {
                    self.redirects += 1;
                    if place != self.current {
                        self.current = place;
                        self.connection = None;
                    }
                    Attempt::Redirected
                }
                None => Attempt::Failed(text),
            },
            Some(word) if TRY_AGAIN.contains(&word) => {
                self.redirects += 1;
                self.try_next();
                Attempt::Redirected
            }
            _ => Attempt::Failed(text),
        }
    }

    fn try_next(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.endpoints.len();
    }
}

/// The place among `endpoints` of the node that a redirect to `host:port` means.
pub fn place_of(endpoints: &[Endpoint], target: &str) -> Option<usize> {
    let (host, port) = target.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let same_host = |e: &Endpoint| host.is_empty() || e.any_key.ip().to_string() == host;
    endpoints.iter().position(|e| same_host(e) && e.ports.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A node that answers each connection's requests with these replies, then closes.
    fn node(replies: &'static [&'static [u8]]) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let any_key = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for reply in replies {
                let mut room = [0; 1024];
                assert!(stream.read(&mut room).unwrap() > 0);
                stream.write_all(reply).unwrap();
            }
        });
        Endpoint { name: "n".to_owned(), any_key, ports: any_key.port()..=any_key.port() }
    }

    fn absent() -> Endpoint {
        let any_key = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Endpoint { name: "gone".to_owned(), any_key, ports: any_key.port()..=any_key.port() }
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn an_absent_node_is_left_for_the_next() {
        let mut router = Router::new(vec![absent(), node(&[b"+PONG\r\n"])], LIMIT);
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Unreachable));
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Answered(Reply::Simple(_))));
    }

    #[test]
    fn a_closed_connection_leaves_the_request_in_doubt() {
        let mut router = Router::new(vec![node(&[b"+PONG\r\n"]), node(&[b"+PONG\r\n"])], LIMIT);
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Answered(_)));
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::InDoubt(_)));
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Answered(_)));
    }

    #[test]
    fn redirects_are_followed_and_counted() {
        let target = node(&[b"+PONG\r\n"]);
        let moved: &'static str = format!("-MOVED 7 {}\r\n", target.any_key).leak();
        let replies: &'static [&'static [u8]] = vec![moved.as_bytes()].leak();
        let mut router = Router::new(vec![node(replies), target], LIMIT);
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Redirected));
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Answered(_)));
        assert_eq!((router.take_redirects(), router.take_redirects()), (1, 0));
    }

    #[test]
    fn other_errors_are_failures() {
        let mut router = Router::new(vec![node(&[b"-READONLY no\r\n", b"-MOVED 7 9.9.9.9:1\r\n"])], LIMIT);
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Failed(_)));
        assert!(matches!(router.attempt(&[b"PING"]), Attempt::Failed(_)), "a redirect to a stranger");
    }
}
