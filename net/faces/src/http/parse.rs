//! Requests off a byte stream, in whatever pieces it comes.
//!
//! The driving contract: [`Parser::feed`] the unconsumed bytes, drop what it says it took, repeat while it
//! yields requests. A head is taken when it is whole; a body piece by piece, so that bytes are looked at
//! once. After a refusal the stream has no meaning any more: answer and close.

use super::chunked::{Decoder, Step};
use super::head::{self, Framing, Head};
use super::refusal::{HttpLimits, MAX_HEAD_BYTES, RequestRefusal};
use super::request::Request;
use super::response::Response;

/// A body's room is made as its bytes come, at first at most this much.
const FIRST_ROOM_BYTES: u64 = 64 << 10;

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
enum Reading {
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
    reading: Reading,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser { reading: Reading::Head { searched: 0 } }
    }
}

impl Parser {
    /// Whether a request has begun: part of it was taken, or `inbox` holds the beginning of its head.
    pub fn in_request(&self, inbox: &[u8]) -> bool {
        !matches!(self.reading, Reading::Head { .. }) || !inbox.is_empty()
    }

    /// Whether the head is whole and the body is not.
    pub fn in_body(&self) -> bool {
        !matches!(self.reading, Reading::Head { .. })
    }

    /// The request whose body is coming, and how many bytes that will have at least.
    pub fn coming(&self) -> Option<(&Request, usize)> {
        match &self.reading {
            Reading::Head { .. } => None,
            Reading::Length { request, left } => Some((request, request.body.len() + left)),
            Reading::Chunked { request, .. } => Some((request, request.body.len())),
        }
    }

    /// Bytes held for the request that has begun.
    pub fn held_bytes(&self) -> usize {
        match &self.reading {
            Reading::Head { .. } => 0,
            Reading::Length { request, .. } | Reading::Chunked { request, .. } => request.body.len(),
        }
    }

    /// Goes on with the unconsumed `bytes`; returns how many of them were taken.
    ///
    /// # Panics
    /// If bytes that were not taken are missing, or `limits` are lower than they were when the request began: the
    /// caller's mistakes.
    pub fn feed(&mut self, bytes: &[u8], limits: HttpLimits) -> (usize, Progress) {
        match self.step(bytes, limits) {
            Ok((taken, progress)) => {
                assert!(taken <= bytes.len(), "more was taken than there is");
                assert!(self.held_bytes() <= limits.max_body_bytes, "a body beyond its bound");
                (taken, progress)
            }
            Err(refusal) => {
                // Nothing that was learnt of this stream is true of another.
                *self = Parser::default();
                (bytes.len(), Progress::Refused(refusal.response(limits)))
            }
        }
    }

    fn step(&mut self, bytes: &[u8], limits: HttpLimits) -> Result<(usize, Progress), RequestRefusal> {
        let mut taken = 0;
        let mut send_continue = false;
        if let Reading::Head { searched } = &mut self.reading {
            // Blank lines before a request are allowed and mean nothing.
            let blank = 2 * bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count();
            let rest = &bytes[blank..];
            if blank > 0 {
                *searched = 0;
            }
            assert!(*searched <= rest.len(), "bytes that were looked at are gone");
            let Some(end) = end_of_head(rest, *searched) else {
                if rest.len() >= MAX_HEAD_BYTES {
                    return Err(RequestRefusal::HeadTooLarge);
                }
                *searched = rest.len();
                return Ok((blank, Progress::More { send_continue: false }));
            };
            if end > MAX_HEAD_BYTES {
                return Err(RequestRefusal::HeadTooLarge);
            }
            let Head { request, framing, expects } = head::read(&rest[..end])?;
            let mut request = Box::new(request);
            taken = blank + end;
            send_continue = expects && taken == bytes.len();
            self.reading = match framing {
                Framing::Length(0) => {
                    self.reading = Reading::Head { searched: 0 };
                    return Ok((taken, Progress::Request(request)));
                }
                Framing::Length(length) if length > limits.max_body_bytes as u64 => {
                    return Err(RequestRefusal::BodyTooLarge);
                }
                Framing::Length(length) => {
                    request.body.reserve_exact(length.min(FIRST_ROOM_BYTES) as usize);
                    Reading::Length { request, left: length as usize }
                }
                Framing::Chunked => Reading::Chunked { request, decoder: Decoder::new() },
            };
        }
        let rest = &bytes[taken..];
        let (more, whole) = match &mut self.reading {
            Reading::Head { .. } => unreachable!("a head that is whole was taken above"),
            Reading::Length { request, left } => {
                let here = rest.len().min(*left);
                request.body.extend_from_slice(&rest[..here]);
                *left -= here;
                assert!(request.body.len() + *left <= limits.max_body_bytes, "a body beyond its bound");
                (here, *left == 0)
            }
            Reading::Chunked { request, decoder } => {
                let (here, step) = decoder.take(rest, &mut request.body, limits.max_body_bytes)?;
                (here, matches!(step, Step::Done))
            }
        };
        taken += more;
        if !whole {
            return Ok((taken, Progress::More { send_continue }));
        }
        match std::mem::replace(&mut self.reading, Reading::Head { searched: 0 }) {
            Reading::Length { request, .. } | Reading::Chunked { request, .. } => {
                Ok((taken, Progress::Request(request)))
            }
            Reading::Head { .. } => unreachable!("only a body can become whole"),
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
