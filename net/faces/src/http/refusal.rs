//! What a parser allows, and why it does not take a request.
//!
//! Promises: the bounds of a head and a body are named here (those of a line between chunks in `chunked`), and each
//! refusal has one answer.

use super::response::Response;

/// Most bytes of a head.
pub const MAX_HEAD_BYTES: usize = 32 << 10;
/// Most header fields of a request.
pub const MAX_HEADERS: usize = 100;

/// What a parser allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Largest body in bytes.
    pub max_body_bytes: usize,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestRefusal {
    Malformed(&'static str),
    HeadTooLarge,
    BodyTooLarge,
    Version,
    Coding,
    Expectation,
}

impl RequestRefusal {
    /// The answer; the connection closes after it.
    pub(super) fn response(self, limits: HttpLimits) -> Response {
        let (status, text) = match self {
            RequestRefusal::Malformed(what) => (400, what.to_owned()),
            RequestRefusal::HeadTooLarge => {
                (431, format!("a head has at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} fields"))
            }
            RequestRefusal::BodyTooLarge => {
                (413, format!("a body has at most {} bytes", limits.max_body_bytes))
            }
            RequestRefusal::Version => (505, "HTTP/1.0 and HTTP/1.1 are spoken here".to_owned()),
            RequestRefusal::Coding => (501, "no transfer coding but chunked is known here".to_owned()),
            RequestRefusal::Expectation => (417, "no expectation but 100-continue is known here".to_owned()),
        };
        Response::error(status, status.into(), &text)
    }
}
