//! How a subcommand ends badly: one line for people, one exit code for scripts.

use std::fmt;

/// Why a subcommand did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The thing asked about or asked for is not fine: exit code 1.
    NotFine(String),
    /// The command was used wrongly: exit code 2.
    Usage(String),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::NotFine(_) => 1,
            Failure::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::NotFine(text) | Failure::Usage(text)) = self;
        f.write_str(text)
    }
}

/// "The thing is not fine", from anything that says why.
pub fn not_fine(why: impl fmt::Display) -> Failure {
    Failure::NotFine(why.to_string())
}
