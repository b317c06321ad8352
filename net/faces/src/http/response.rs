//! A response and its bytes.

use serde::Serialize;
use serde_json::json;
use std::io::Write;

/// From here on a body is not copied.
const LARGE_BODY_BYTES: usize = 64 << 10;
/// What most bodies are.
const JSON: &str = "application/json; charset=utf-8";

/// One response. `Content-Length`, `Content-Type` and `Connection` are added when it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Of the body, if it has one.
    pub content_type: &'static str,
}

impl Response {
    /// Without a body.
    pub fn empty(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Vec::new(), content_type: JSON }
    }

    /// With a JSON body.
    ///
    /// # Panics
    /// If `body` does not serialize: it is ours and made of plain data.
    pub fn json(status: u16, body: &impl Serialize) -> Response {
        let body = serde_json::to_vec(body).expect("a body is plain data with text keys");
        Response { body, ..Response::empty(status) }
    }

    /// With an error of ArangoDB: exactly `error`, `code`, `errorNum`, `errorMessage`.
    pub fn error(status: u16, error_num: u32, message: &str) -> Response {
        let body = json!({ "error": true, "code": status, "errorNum": error_num, "errorMessage": message });
        Response::json(status, &body)
    }

    /// With one more header field. Whatever could end the line is left out of `value`.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Response {
        let value: String = value.into();
        self.headers.push((name, value.replace(|c: char| c.is_control(), "")));
        self
    }

    /// Append its bytes. `head`: the request was a HEAD, so the body is left out and only its length is told.
    /// `keep_alive`: the connection stays open.
    pub fn encode(&self, head: bool, keep_alive: bool, out: &mut Vec<u8>) {
        let connection = if keep_alive { "Keep-Alive" } else { "Close" };
        let (status, length) = (self.status, self.body.len());
        let bodyless = status < 200 || status == 204 || status == 304;
        let mut line = |text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("writing to a Vec cannot fail");
        };
        line(format_args!("HTTP/1.1 {status} {}\r\nConnection: {connection}\r\n", reason(status)));
        for (name, value) in &self.headers {
            line(format_args!("{name}: {value}\r\n"));
        }
        if !bodyless {
            if length > 0 {
                line(format_args!("Content-Type: {}\r\n", self.content_type));
            }
            line(format_args!("Content-Length: {length}\r\n"));
        }
        out.extend_from_slice(b"\r\n");
        if !head && !bodyless {
            out.extend_from_slice(&self.body);
        }
    }

    /// Its bytes, as of [`Response::encode`], in two parts: a large body is by itself, neither copied nor moved.
    pub fn into_parts(self, head: bool, keep_alive: bool) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = Vec::new();
        let large = self.body.len() >= LARGE_BODY_BYTES;
        self.encode(head || large, keep_alive, &mut bytes);
        (bytes, if large && !head { self.body } else { Vec::new() })
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        // A reason may be empty, and no client reads it.
        _ => "",
    }
}
