//! (skeleton)
pub mod resp;
