//! The faces: what clients say and hear, as bytes ↔ requests ↔ operations.
//!
//! `resp` is Redis's protocol and its commands; `http` the framing of HTTP, and `documents` what is said in
//! it, after ArangoDB's API; `auth` knows the users of both. Pure: no clock, no randomness, no I/O, and no
//! word of who leads. Both faces change data through one narrow interface, `store`.

pub mod auth;
pub mod documents;
pub mod http;
pub mod mutants;
pub mod resp;
pub mod store;
