//! Who may do what: users, their passwords, tokens and rights. Pure.
//!
//! Promises: nothing here does I/O, reads a clock or draws a random number; salts, keys and times come in as
//! arguments. A password is kept only as an argon2id hash, and judging one is slow on purpose: that is a
//! [`Claim`], to be [judged](Claim::judge) away from the shard threads. Everything else is fast enough for
//! every request. Does not know connections: the node holds back a request whose [`Claim`] is being judged.
//!
//! The path of a request: its `Authorization` header or `AUTH` gives [`Credentials`]; [`authenticate`] finds
//! the user, from the token or the [`CredentialCache`]; [`requirement`] says what the request needs, and
//! [`allows`] whether the user has it. `api` is the user management of ArangoDB.
//!
//! Reading order: `user`, `password`, `token`, `credentials`, `requirement`, `api`.

pub mod api;
mod credentials;
pub mod password;
mod requirement;
pub mod token;
pub mod user;

pub use credentials::{Asked, Claim, CredentialCache, Credentials, Gate, authenticate};
pub use requirement::{Requirement, permitted, requirement};
pub use user::{Login, Need, ROOT, SYSTEM, User, UserRole, Users, allows};
