//! A request's head: its first line and its header fields, judged.
//!
//! Promises: what could be read in two ways (and so smuggle a request past a proxy) is refused.

use super::refusal::{MAX_HEADERS, RequestRefusal};
use super::request::{Headers, Method, Request, decode_query};

/// How the body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// A head, and what it says about the body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request,
    pub(super) framing: Framing,
    /// The client waits for a word before it sends the body.
    pub(super) expects: bool,
}

/// Read a head; `bytes` holds all of it, its blank line included.
pub(super) fn read(bytes: &[u8]) -> Result<Head, RequestRefusal> {
    let bare = |at: &usize| bytes[*at] == b'\n' && at.checked_sub(1).is_none_or(|at| bytes[at] != b'\r');
    if (0..bytes.len()).any(|at| bare(&at)) {
        return Err(RequestRefusal::Malformed("a line of the head does not end in CRLF"));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(RequestRefusal::Malformed("the head has no end")),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestRefusal::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(RequestRefusal::Version),
        Err(_) => return Err(RequestRefusal::Malformed("the head is not one of HTTP/1.1")),
    }
    let old = parsed.version == Some(0);
    let mut headers = Headers::default();
    for field in parsed.headers.iter() {
        let value = std::str::from_utf8(field.value);
        let value = value.map_err(|_| RequestRefusal::Malformed("a header field is not UTF-8"))?;
        headers.push(field.name, value.trim_matches([' ', '\t']));
    }
    let (path, query) = target(parsed.path.unwrap_or("/"))?;
    let framing = framing(&headers, old)?;
    if !old && headers.all("host").count() != 1 {
        return Err(RequestRefusal::Malformed("a request of HTTP/1.1 has one Host header field"));
    }
    let expects = match headers.get("expect") {
        Some(what) if what.eq_ignore_ascii_case("100-continue") => !old,
        Some(_) => return Err(RequestRefusal::Expectation),
        None => false,
    };
    let asked_to = |what| headers.lists("connection", what);
    let keep_alive = if old { asked_to("keep-alive") } else { !asked_to("close") };
    let method = Method::of(parsed.method.unwrap_or(""));
    let request = Request { method, path, query, headers, body: Vec::new(), keep_alive };
    Ok(Head { request, framing, expects })
}

/// Path and query of a request target in origin form, or in absolute form, which proxies send.
fn target(target: &str) -> Result<(String, Vec<(String, String)>), RequestRefusal> {
    let after_scheme = target.strip_prefix("http://").or_else(|| target.strip_prefix("https://"));
    let origin = match after_scheme {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    if path != "*" && !path.starts_with('/') {
        return Err(RequestRefusal::Malformed("the request target is no path"));
    }
    let query =
        decode_query(query).ok_or(RequestRefusal::Malformed("the query is not percent-encoded UTF-8"))?;
    Ok((path.to_owned(), query))
}

fn framing(headers: &Headers, old: bool) -> Result<Framing, RequestRefusal> {
    let mut lengths = headers.all("content-length");
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) {
        return Err(RequestRefusal::Malformed("two Content-Length header fields differ"));
    }
    let mut codings = headers.all("transfer-encoding");
    match (codings.next(), length) {
        (None, None) => Ok(Framing::Length(0)),
        (None, Some(text)) => {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = text.parse().ok().filter(|_| digits);
            length.map(Framing::Length).ok_or(RequestRefusal::Malformed("Content-Length is no number"))
        }
        (Some(_), Some(_)) => Err(RequestRefusal::Malformed("both Content-Length and Transfer-Encoding")),
        (Some(_), None) if old => Err(RequestRefusal::Malformed("Transfer-Encoding in HTTP/1.0")),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() => {
            Ok(Framing::Chunked)
        }
        (Some(_), None) => Err(RequestRefusal::Coding),
    }
}
