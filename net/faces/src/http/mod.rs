//! HTTP/1.1: requests taken off a byte stream, responses put onto one. Pure.
//!
//! Promises: a request means what RFC 9112 says or is refused; whatever arrives, the bytes kept are bounded
//! and the work is linear in them. Knows nothing of documents, of the node, or of what a path means.
//!
//! Reading order: `request`, `response`, `head`, `chunked`, `refusal`, `parse`.

mod chunked;
mod head;
mod parse;
mod refusal;
mod request;
mod response;

#[cfg(test)]
mod tests;

pub use parse::{Parser, Progress};
pub use refusal::HttpLimits;
pub use request::{Headers, Method, Request, percent_decode};
pub use response::Response;
