//! The faces: what clients say and hear, as bytes ↔ requests ↔ operations.
//!
//! `resp` is Redis's protocol and its commands; `http` the framing of HTTP, and `documents` what is said in
//! it, after ArangoDB's API; `auth` knows the users of both. Pure: no clock, no randomness, no I/O, and no
//! word of who leads. Both faces change data through one narrow interface, [`store`].
//!
//! Of the engine it uses the vocabulary (`ids`, `slot`, `key`, and a place in a scan: which slot a key has, which
//! frame a revision or a cursor names) and, in `documents::scan` alone, a shard and the scan of its keys: listing and truncating go through the log, and
//! the order of its steps is what they promise. Of the agency it knows nothing.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod auth;
pub mod documents;
pub mod http;
pub mod mutants;
pub mod resp;
pub mod store;
