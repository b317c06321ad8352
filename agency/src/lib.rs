//! Who leads.
pub mod ballot;
pub mod codec;
pub mod configuration;
pub mod error;
pub mod events;
pub mod ids;
pub mod overseer;
pub mod timing;
pub mod warden;
mod wire;
