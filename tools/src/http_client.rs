//! A tiny blocking HTTP/1.1 client: one request, one connection, a time limit on each wait.
//!
//! Enough for the control face of a node. Knows no TLS, redirects or chunked bodies.

use crate::password::Login;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;
use thiserror::Error;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    #[error("{address}: {source}")]
    Connection { address: String, source: io::Error },
    #[error("{address} does not answer as an HTTP server would")]
    Malformed { address: String },
}

/// Longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Asks `address` (`HOST:PORT`) as nobody.
pub fn request(method: &str, address: &str, path: &str, limit: Duration) -> Result<Response, HttpError> {
    request_as(None, method, address, path, limit)
}

/// Asks `address` (`HOST:PORT`) as a user.
pub fn request_as(
    login: Option<&Login>,
    method: &str,
    address: &str,
    path: &str,
    limit: Duration,
) -> Result<Response, HttpError> {
    let failed = |source| HttpError::Connection { address: address.to_owned(), source };
    let authorization = login.map_or(String::new(), |Login { user, password }| {
        format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{}", password.0)))
    });
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n{authorization}\r\n"
    );
    let answer = exchange(address, &head, limit).map_err(failed)?;
    parse(&answer).ok_or_else(|| HttpError::Malformed { address: address.to_owned() })
}

fn exchange(address: &str, head: &str, limit: Duration) -> io::Result<Vec<u8>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for target in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&target, limit) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))?;
                stream.write_all(head.as_bytes())?;
                return read_answer(&mut stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads until the body is whole, or the server closes.
fn read_answer(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_ANSWER_BYTES);
    let mut room = [0; 16 << 10];
    loop {
        if let Some(needed) = whole_length(&answer)
            && answer.len() >= needed
        {
            return Ok(answer);
        }
        match limited.read(&mut room)? {
            0 => return Ok(answer),
            read => answer.extend_from_slice(&room[..read]),
        }
    }
}

fn split(answer: &[u8]) -> Option<(&str, usize)> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&answer[..end]).ok()?, end + 4))
}

/// The length of head and body, once the head is there and states it.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let (head, body_at) = split(answer)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some(body_at + length)
}

fn parse(answer: &[u8]) -> Option<Response> {
    let (head, body_at) = split(answer)?;
    let mut words = head.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = words.next()?.get(..3)?.parse().ok()?;
    let body = &answer[body_at..];
    let whole = whole_length(answer).is_none_or(|length| answer.len() >= length);
    whole.then(|| Response { status, body: String::from_utf8_lossy(body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_parse_and_cut_ones_do_not() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(parse(answer), Some(Response { status: 503, body: "hello".to_owned() }));
        for cut in 0..answer.len() {
            assert_eq!(parse(&answer[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(b"SSH-2.0-x\r\n\r\n"), None);
    }

    #[test]
    fn an_answer_is_read_to_its_stated_end() {
        let mut stream = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..];
        let answer = read_answer(&mut stream).unwrap();
        assert_eq!(parse(&answer).unwrap().body, "ok");
    }

    #[test]
    fn nobody_there_is_an_error_that_names_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = request("GET", &free, "/", Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains(&free));
    }
}
