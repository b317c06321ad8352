//! The deterministic simulator: the real engine, agency and node under a virtual clock, network and disks,
//! all from one seed, with faults and with checkers that notice.
//!
//! Reading order, from what needs nothing to what ties all together:
//!
//! * `random`, `trace`, `clock`, `fault` (kinds of faults), `mutants`, `work` (what a
//!   turn costs), `scenario` (what a seed stands for);
//! * [`shell`]: the virtual shell of a node, which the stories and the fuzz targets use as well;
//! * `disk`, `network`, `host`, `client`, `guest` (one of the crowd), `served` (a client as a node's shell sees it), `nemesis`, `checkers` (one property a file): the parts of the world, each
//!   by itself;
//! * `world`: the clock, what is to happen, and the parts; it knows nothing of those who act in it;
//! * `post` and `wires` (what goes out), `targets` and `traps` (what a fault may strike, and when);
//! * `devices`, `links`, `lives`, `nodes`, `wardens`: the hosts' processes; `requests`, `resp_clients`,
//!   `http_clients`, `clients`; `crowd`: clients that are a burden; `arrivals`: what comes in, to whom;
//! * `spoil`, `faults`, `strikes`: the nemesis acts;
//! * `driver`: lets time pass; `trials` (single faults whose outcome is known); `verdict`: a whole run.
//!
//! A run: the group is founded, faults strike for a while under load, then peace is made. From then on the
//! group must serve within a bound, every key is read once more, and what was seen is judged.

mod arrivals;
mod checkers;
mod client;
mod clients;
mod clock;
mod crowd;
mod devices;
mod disk;
mod driver;
mod fault;
mod faults;
mod guest;
mod host;
pub mod host_config;
mod http_clients;
mod links;
mod lives;
pub mod mutants;
mod nemesis;
mod network;
mod nodes;
pub mod pair;
mod post;
mod random;
mod requests;
mod resp_clients;
mod scenario;
mod served;
pub mod shell;
mod spoil;
mod strikes;
mod targets;
mod trace;
mod traps;
mod trials;
mod verdict;
mod wardens;
mod wires;
mod work;
mod world;

pub use scenario::Scenario;
pub use trace::Trace;
pub use verdict::{Report, simulate};
pub use world::Violation;
