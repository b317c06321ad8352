//! Who leads.
pub mod configuration;
pub mod ids;
