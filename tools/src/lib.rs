//! Everything behind the `baton` binary's subcommands.
//!
//! Reading order: [`cli`] (what can be asked for), [`start`] (a whole group on this machine), [`serve`] (one
//! warden, and the node it guards), [`status`], [`handoff`], [`promote`], [`password`], [`inspect`], [`bench`]. [`group`]
//! starts a group, strikes its processes and looks at it from outside: `baton bench failover` and the end-to-end tests share it.

pub mod bench;
pub mod child;
pub mod cli;
pub mod failure;
pub mod group;
pub mod handoff;
pub mod http_client;
pub mod inspect;
pub mod password;
pub mod processes;
pub mod promote;
pub mod serve;
pub mod start;
pub mod status;

// The simulator's switches, which take defences away, are in no build of this program. Where a feature `mutants` armed
// them, asking for one is no constant any more, and this is refused.
const _: bool = mutants::lacks(agency::mutants::Mutant::QuorumOfOne);
