//! What the headers of a request say about its answer.

use crate::subrequest::Staleness;
use crate::units::Span;
use faces::http::{Method, Request, Response};
use faces::resp::Ack;

/// What a request's header says about how it is to be answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Intent {
    pub(super) head: bool,
    pub(super) keep_alive: bool,
    pub(super) stale: Option<Staleness>,
    pub(super) ack: Option<Ack>,
}

impl Intent {
    /// # Errors
    /// A header of Baton's own that cannot be understood.
    pub(super) fn of(request: &Request) -> Result<Intent, Response> {
        let wrong = |what: &str| Err(Response::error(400, 10, what));
        let headers = &request.headers;
        let true_word = |text: &str| text.trim().eq_ignore_ascii_case("true");
        let dirty = headers.get("x-arango-allow-dirty-read").is_some_and(true_word);
        let at_most = match headers.get("x-baton-max-staleness").map(str::parse::<Span>) {
            None => None,
            Some(Ok(span)) => Some(span.0),
            Some(Err(_)) => return wrong("X-Baton-Max-Staleness takes a time such as 50ms"),
        };
        let ack = match headers.get("x-baton-ack") {
            None => None,
            Some("durable") => Some(Ack::Durable),
            Some("received") => Some(Ack::Received),
            Some("local") => Some(Ack::Local),
            Some(_) => return wrong("X-Baton-Ack takes durable, received or local"),
        };
        let stale = (dirty || at_most.is_some()).then_some(Staleness { at_most });
        Ok(Intent { head: request.method == Method::Head, keep_alive: request.keep_alive, stale, ack })
    }
}
