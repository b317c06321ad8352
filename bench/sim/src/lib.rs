//! The deterministic simulator: the real engine, agency and node under a virtual clock, network and disks,
//! all from one seed, with faults and with checkers that notice.
//!
//! Reading order: `scenario` (what a seed stands for), `world` (time), `host`, `wardens` and `nodes` (the
//! shells' part, in virtual devices), `network`, `disk`, `clock`, `clients`, `nemesis` (which faults, when),
//! `faults` and `spoil` (what they do), `trials` (single faults whose outcome is known), `checkers` (one
//! property a file), `mutants`, `trace`.
//!
//! A run: the group is founded, faults strike for a while under load, then peace is made. From then on the
//! group must serve within a bound, every key is read once more, and what was seen is judged.

mod checkers;
mod clients;
mod clock;
mod disk;
mod faults;
mod host;
mod host_config;
mod http_clients;
pub mod mutants;
mod nemesis;
mod network;
mod nodes;
mod random;
mod scenario;
mod spoil;
mod trace;
mod trials;
mod verdict;
mod wardens;
mod wires;
mod world;

pub use scenario::Scenario;
pub use trace::Trace;
pub use verdict::{Outcome, Violation, simulate};
