//! `baton inspect`: looks at a data directory from outside and says what is in it (`docs/INSPECT.md`).
//!
//! Promises: nothing is written or locked, everything is read through `map` and judged by the engine's own
//! checks, and no damage ends an inspection early. Does not repair.

mod data;
mod diff;
pub mod ends;
mod frames;
mod map;
mod out;
mod rewound;
mod segments;
mod superblock;
mod survey;
mod walk;

use crate::cli::Inspect;
use crate::failure::Failure;

/// Runs the subcommand.
///
/// # Errors
/// Damage or a difference was found, or the command was used wrongly.
pub fn run(what: &Inspect) -> Result<(), Failure> {
    match what {
        Inspect::Superblock(options) => superblock::run(options),
        Inspect::Segments(options) => segments::run(options),
        Inspect::Frames(options) => frames::run(options),
        Inspect::Rewound(options) => rewound::run(options),
        Inspect::Diff(options) => diff::run(options),
    }
}
