//! Who leads.
pub mod acceptor;
pub mod ballot;
pub mod codec;
pub mod configuration;
pub mod detector;
pub mod error;
pub mod events;
pub mod ids;
pub mod lease;
pub mod overseer;
pub mod proposer;
pub mod register;
pub mod timing;
pub mod warden;
mod wire;
