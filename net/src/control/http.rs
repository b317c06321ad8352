//! As much of HTTP/1.1 as the control thread needs: one request per connection, bounded in size.

use serde::Serialize;

/// Most bytes of a request's head.
pub const MAX_REQUEST_BYTES: usize = 16 << 10;
/// Most header fields.
const MAX_HEADERS: usize = 64;

/// A request's first line, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Names and values in order, taken as they are: none that matters here needs an escape.
    pub query: Vec<(String, String)>,
}

impl Request {
    /// The request in `bytes`; `None` if its head is not whole yet.
    ///
    /// # Errors
    /// The status to answer.
    pub fn parse(bytes: &[u8]) -> Result<Option<Request>, u16> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if bytes.len() < MAX_REQUEST_BYTES => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(431),
            Err(_) => return Err(400),
        }
        let target = parsed.path.unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        };
        Ok(Some(Request {
            method: parsed.method.unwrap_or("GET").to_owned(),
            path: path.to_owned(),
            query: query.split('&').filter(|text| !text.is_empty()).map(pair).collect(),
        }))
    }

    /// The value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A status and a JSON body.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    /// A reply with this body.
    pub fn json(status: u16, body: &impl Serialize) -> Reply {
        let body = serde_json::to_string(body).expect("replies are made of strings, numbers and lists");
        Reply { status, body }
    }

    /// An error in ArangoDB's shape, which its drivers understand.
    pub fn error(status: u16, message: &str) -> Reply {
        Reply::json(status, &serde_json::json!({ "error": true, "code": status, "errorMessage": message }))
    }

    /// The bytes to send.
    pub fn encode(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            409 => "Conflict",
            431 => "Request Header Fields Too Large",
            504 => "Gateway Timeout",
            _ => "Service Unavailable",
        };
        let (status, length, body) = (self.status, self.body.len(), &self.body);
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_apart() {
        let text = b"POST /_admin/baton/handoff?to=b&shard=3 HTTP/1.1\r\nHost: x\r\n\r\n";
        let request = Request::parse(text).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/_admin/baton/handoff"));
        assert_eq!((request.parameter("to"), request.parameter("shard")), (Some("b"), Some("3")));
        assert_eq!(request.parameter("x"), None);
        assert_eq!(Request::parse(&text[..20]), Ok(None));
        assert_eq!(Request::parse(b"\0\0\0\r\n\r\n"), Err(400));
        assert_eq!(Request::parse(&[b'a'; MAX_REQUEST_BYTES]), Err(431));
    }

    #[test]
    fn a_reply_says_its_length() {
        let reply = Reply::error(404, "no");
        let text = String::from_utf8(reply.encode()).unwrap();
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"));
        assert!(text.contains(&format!("Content-Length: {}\r\n", reply.body.len())), "{text}");
    }
}
