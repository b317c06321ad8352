//! A small blocking Redis client: one connection, requests in pipelines, a time limit on each.
//!
//! [`Connection`] speaks to one address and knows nothing of groups. It understands RESP2 and the parts of
//! RESP3 that a server may send after `HELLO 3`. It never resends anything: after an error the connection is
//! spent and what was unanswered is in doubt. Finding another node is [`crate::failover::router`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use thiserror::Error;

/// A reply. Maps come as flat arrays of keys and values, sets and pushes as arrays.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    Double(f64),
    Boolean(bool),
}

/// Why no reply came.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection could not be made, was closed, or was silent beyond the time limit.
    #[error("connection: {0}")]
    Connection(#[from] io::Error),
    /// The server sent what is not RESP.
    #[error("protocol: {0}")]
    Protocol(String),
}

impl ClientError {
    /// Whether the request certainly never reached a server.
    pub fn refused(&self) -> bool {
        matches!(self, ClientError::Connection(e) if e.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// Longest reply that is taken for sane.
const MAX_REPLY_BYTES: usize = 1 << 30;
/// Deepest nesting of arrays that is taken for sane.
const MAX_DEPTH: usize = 32;
/// Room for incoming bytes at first; doubled for a reply that needs more.
const READ_BYTES: usize = 64 << 10;

/// One connection.
pub struct Connection {
    stream: TcpStream,
    outgoing: Vec<u8>,
    /// Room for incoming bytes; `parsed..filled` wait for their reply to be whole.
    incoming: Vec<u8>,
    parsed: usize,
    filled: usize,
}

impl Connection {
    /// Connects; `limit` bounds the connecting and each later wait for the socket.
    pub fn connect(address: SocketAddr, limit: Duration) -> Result<Connection, ClientError> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Connection { stream, outgoing: Vec::new(), incoming: vec![0; READ_BYTES], parsed: 0, filled: 0 })
    }

    /// Appends a request to what the next [`Connection::flush`] sends.
    pub fn push(&mut self, words: &[&[u8]]) {
        encode(words, &mut self.outgoing);
    }

    /// Sends all requests pushed.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.stream.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// A second handle on the socket: one thread sends on it while another receives here.
    pub fn sender(&self) -> Result<TcpStream, ClientError> {
        Ok(self.stream.try_clone()?)
    }

    /// Sends bytes as they are, for tests of bad input.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Waits for the next reply.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some((reply, used)) = parse(&self.incoming[self.parsed..self.filled], 0)? {
                self.parsed += used;
                if self.parsed == self.filled {
                    (self.parsed, self.filled) = (0, 0);
                }
                return Ok(reply);
            }
            self.make_room()?;
            let read = self.stream.read(&mut self.incoming[self.filled..])?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.filled += read;
        }
    }

    fn make_room(&mut self) -> Result<(), ClientError> {
        self.incoming.copy_within(self.parsed..self.filled, 0);
        self.filled -= self.parsed;
        self.parsed = 0;
        if self.filled == self.incoming.len() {
            if self.filled >= MAX_REPLY_BYTES {
                return Err(ClientError::Protocol(format!("a reply beyond {MAX_REPLY_BYTES} bytes")));
            }
            self.incoming.resize(2 * self.filled, 0);
        }
        Ok(())
    }

    /// Sends one request and waits for its reply.
    pub fn call(&mut self, words: &[&[u8]]) -> Result<Reply, ClientError> {
        self.push(words);
        self.flush()?;
        self.receive()
    }
}

/// Appends a request in RESP's array form.
pub fn encode(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// A reply and the bytes it took, or `None` if more bytes are needed.
fn parse(bytes: &[u8], depth: usize) -> Result<Option<(Reply, usize)>, ClientError> {
    let bad = |what: &str| ClientError::Protocol(what.to_owned());
    if depth > MAX_DEPTH {
        return Err(bad("nested too deeply"));
    }
    let Some(end) = bytes.windows(2).position(|w| w == b"\r\n") else {
        return Ok(None);
    };
    if end == 0 {
        return Err(bad("an empty line"));
    }
    let line = std::str::from_utf8(&bytes[1..end]).map_err(|_| bad("a line that is not UTF-8"))?;
    let after = end + 2;
    let number = || line.parse::<i64>().map_err(|_| bad("a number that is none"));
    let reply = match bytes[0] {
        b'+' => Reply::Simple(line.to_owned()),
        b'-' => Reply::Error(line.to_owned()),
        b':' => Reply::Integer(number()?),
        b'_' => Reply::Null,
        b'#' => Reply::Boolean(line == "t"),
        b',' => Reply::Double(line.parse().map_err(|_| bad("a double that is none"))?),
        b'(' => Reply::Simple(line.to_owned()),
        b'$' | b'=' | b'!' => {
            let length = number()?;
            if length < 0 {
                return Ok(Some((Reply::Null, after)));
            }
            let length = length as usize;
            if length > MAX_REPLY_BYTES {
                return Err(bad("a bulk string beyond all measure"));
            }
            if bytes.len() < after + length + 2 {
                return Ok(None);
            }
            let body = bytes[after..after + length].to_vec();
            let reply = match bytes[0] {
                b'!' => Reply::Error(String::from_utf8_lossy(&body).into_owned()),
                _ => Reply::Bulk(body),
            };
            return Ok(Some((reply, after + length + 2)));
        }
        kind @ (b'*' | b'~' | b'>' | b'%') => {
            let count = number()?;
            if count < 0 {
                return Ok(Some((Reply::Null, after)));
            }
            let count = if kind == b'%' { count * 2 } else { count };
            let mut used = after;
            let mut items = Vec::new();
            for _ in 0..count {
                match parse(&bytes[used..], depth + 1)? {
                    Some((item, more)) => {
                        items.push(item);
                        used += more;
                    }
                    None => return Ok(None),
                }
            }
            return Ok(Some((Reply::Array(items), used)));
        }
        other => return Err(bad(&format!("type byte {other:#04x}"))),
    };
    Ok(Some((reply, after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_every_kind_parse_and_wait_for_all_their_bytes() {
        let cases: &[(&[u8], Reply)] = &[
            (b"+OK\r\n", Reply::Simple("OK".into())),
            (b"-MOVED 1 h:1\r\n", Reply::Error("MOVED 1 h:1".into())),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$3\r\na\r\n\r\n", Reply::Bulk(b"a\r\n".to_vec())),
            (b"$-1\r\n", Reply::Null),
            (b"_\r\n", Reply::Null),
            (b"#t\r\n", Reply::Boolean(true)),
            (b",1.5\r\n", Reply::Double(1.5)),
            (b"*2\r\n:1\r\n$1\r\nx\r\n", Reply::Array(vec![Reply::Integer(1), Reply::Bulk(b"x".to_vec())])),
            (b"%1\r\n+a\r\n:1\r\n", Reply::Array(vec![Reply::Simple("a".into()), Reply::Integer(1)])),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse(bytes, 0).unwrap(), Some((expected.clone(), bytes.len())));
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut], 0).unwrap(), None, "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        for bytes in [&b"hello\r\n"[..], b"\r\n", b":x\r\n", b"$99999999999999\r\n"] {
            assert!(parse(bytes, 0).is_err(), "{bytes:?}");
        }
        let deep = b"*1\r\n".repeat(MAX_DEPTH + 2);
        assert!(parse(&deep, 0).is_err());
    }

    #[test]
    fn requests_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        encode(&[b"GET", b"k"], &mut out);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
