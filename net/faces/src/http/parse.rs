//! Requests off a byte stream, in whatever pieces it comes.
//!
//! The driving contract: [`Parser::feed`] the unconsumed bytes, drop what it says it took, repeat while it
//! yields requests. A head is taken when it is whole; a body piece by piece, so that bytes are looked at
//! once. After a refusal the stream has no meaning any more: answer and close.

use super::chunked::{Decoder, Step};
use super::head::{self, Framing, Head, MAX_HEADERS};
use super::request::Request;
use super::response::Response;

/// Most bytes of a head.
pub const MAX_HEAD_BYTES: usize = 32 << 10;
/// A body's room is made as its bytes come, at first at most this much.
const FIRST_ROOM_BYTES: u64 = 64 << 10;

/// What a parser allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Largest body in bytes.
    pub max_body_bytes: usize,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed(&'static str),
    HeadTooLarge,
    BodyTooLarge,
    Version,
    Coding,
    Expectation,
}

impl Refusal {
    fn response(self, limits: HttpLimits) -> Response {
        let (status, text) = match self {
            Refusal::Malformed(what) => (400, what.to_owned()),
            Refusal::HeadTooLarge => {
                (431, format!("a head has at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} fields"))
            }
            Refusal::BodyTooLarge => (413, format!("a body has at most {} bytes", limits.max_body_bytes)),
            Refusal::Version => (505, "HTTP/1.0 and HTTP/1.1 are spoken here".to_owned()),
            Refusal::Coding => (501, "no transfer coding but chunked is known here".to_owned()),
            Refusal::Expectation => (417, "no expectation but 100-continue is known here".to_owned()),
        };
        Response::error(status, status.into(), &text)
    }
}

/// What came of the bytes.
#[derive(Debug)]
pub enum Progress {
    /// More bytes are needed. `send_continue`: tell the client `100 Continue` now; said once per request.
    More { send_continue: bool },
    /// A whole request.
    Request(Box<Request>),
    /// Answer this and close.
    Refused(Response),
}

#[derive(Debug)]
enum State {
    /// This many bytes hold no end of a head.
    Head {
        searched: usize,
    },
    /// A body of known length; this many bytes are to come.
    Length {
        request: Box<Request>,
        left: usize,
    },
    Chunked {
        request: Box<Request>,
        decoder: Decoder,
    },
}

/// Where a connection's stream stands.
#[derive(Debug)]
pub struct Parser {
    state: State,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser { state: State::Head { searched: 0 } }
    }
}

impl Parser {
    /// Whether a request has begun: part of it was taken, or `inbox` holds the beginning of its head.
    pub fn in_request(&self, inbox: &[u8]) -> bool {
        !matches!(self.state, State::Head { .. }) || !inbox.is_empty()
    }

    /// Whether the head is whole and the body is not.
    pub fn in_body(&self) -> bool {
        !matches!(self.state, State::Head { .. })
    }

    /// The request whose body is coming, and how many bytes that will have at least.
    pub fn coming(&self) -> Option<(&Request, usize)> {
        match &self.state {
            State::Head { .. } => None,
            State::Length { request, left } => Some((request, request.body.len() + left)),
            State::Chunked { request, .. } => Some((request, request.body.len())),
        }
    }

    /// Bytes held for the request that has begun.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Head { .. } => 0,
            State::Length { request, .. } | State::Chunked { request, .. } => request.body.len(),
        }
    }

    /// Goes on with the unconsumed `bytes`; returns how many of them were taken.
    pub fn feed(&mut self, bytes: &[u8], limits: HttpLimits) -> (usize, Progress) {
        match self.step(bytes, limits) {
            Ok((taken, progress)) => (taken, progress),
            Err(refusal) => (bytes.len(), Progress::Refused(refusal.response(limits))),
        }
    }

    fn step(&mut self, bytes: &[u8], limits: HttpLimits) -> Result<(usize, Progress), Refusal> {
        let mut taken = 0;
        let mut send_continue = false;
        if let State::Head { searched } = &mut self.state {
            // Blank lines before a request are allowed and mean nothing.
            let blank = 2 * bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count();
            let rest = &bytes[blank..];
            if blank > 0 {
                *searched = 0;
            }
            let Some(end) = end_of_head(rest, *searched) else {
                if rest.len() >= MAX_HEAD_BYTES {
                    return Err(Refusal::HeadTooLarge);
                }
                *searched = rest.len();
                return Ok((blank, Progress::More { send_continue: false }));
            };
            if end > MAX_HEAD_BYTES {
                return Err(Refusal::HeadTooLarge);
            }
            let Head { request, framing, expects } = head::read(&rest[..end])?;
            let mut request = Box::new(request);
            taken = blank + end;
            send_continue = expects && taken == bytes.len();
            self.state = match framing {
                Framing::Length(0) => {
                    self.state = State::Head { searched: 0 };
                    return Ok((taken, Progress::Request(request)));
                }
                Framing::Length(length) if length > limits.max_body_bytes as u64 => {
                    return Err(Refusal::BodyTooLarge);
                }
                Framing::Length(length) => {
                    request.body.reserve_exact(length.min(FIRST_ROOM_BYTES) as usize);
                    State::Length { request, left: length as usize }
                }
                Framing::Chunked => State::Chunked { request, decoder: Decoder::new() },
            };
        }
        let rest = &bytes[taken..];
        let (more, whole) = match &mut self.state {
            State::Head { .. } => unreachable!("a head that is whole was taken above"),
            State::Length { request, left } => {
                let here = rest.len().min(*left);
                request.body.extend_from_slice(&rest[..here]);
                *left -= here;
                (here, *left == 0)
            }
            State::Chunked { request, decoder } => {
                let (here, step) = decoder.take(rest, &mut request.body, limits.max_body_bytes)?;
                (here, matches!(step, Step::Done))
            }
        };
        taken += more;
        if !whole {
            return Ok((taken, Progress::More { send_continue }));
        }
        match std::mem::replace(&mut self.state, State::Head { searched: 0 }) {
            State::Length { request, .. } | State::Chunked { request, .. } => {
                Ok((taken, Progress::Request(request)))
            }
            State::Head { .. } => unreachable!("only a body can become whole"),
        }
    }
}

/// Where the blank line after a head ends, also one that is to be refused; its first `searched` bytes are known not to hold it.
fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut at = searched.saturating_sub(3);
    while let Some(feed) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        at += feed + 1;
        match &bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}
