//! Switches for tests: each takes one defence away, so that the simulator can show that it would notice.
//!
//! A crate lists its own with [`defences!`] and asks [`lacks`] where the defence stands. This crate knows none of them.
//!
//! Promises that a build without the feature `armed` lacks nothing: there every question is the constant `false`, and
//! the compiler removes it. A switch counts for the thread that turned it; a simulated world runs on one thread.

#![forbid(unsafe_code)]

/// One defence of some crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The mutant that does without it. No two defences have the same.
    pub name: &'static str,
    /// The rule of `docs/FAILURES.md` that it is of; 0: of none with a number.
    pub rule: u8,
}

/// What [`defences!`] makes: a crate's list.
pub trait Defence: Copy + 'static {
    /// All of the list.
    const ALL: &'static [Self];

    /// Its switch.
    fn switch(self) -> Switch;
}

/// Makes a crate's list of defences, each with the number of its rule.
///
/// ```
/// mutants::defences! {
///     /// One defence less.
///     pub enum Mutant {
///         /// Doors need not be closed.
///         LeavesDoorsOpen: 3,
///     }
/// }
/// assert_eq!(Mutant::LeavesDoorsOpen.rule(), 3);
/// assert!(!mutants::lacks(Mutant::LeavesDoorsOpen));
/// ```
#[macro_export]
macro_rules! defences {
    (
        $(#[$of_all:meta])*
        pub enum $list:ident { $( $(#[$of_one:meta])* $name:ident: $rule:literal, )+ }
    ) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $list { $( $(#[$of_one])* $name, )+ }

        impl $list {
            /// The switch that takes it away.
            pub const fn switch(self) -> $crate::Switch {
                match self {
                    $( $list::$name => $crate::Switch { name: stringify!($name), rule: $rule }, )+
                }
            }

            /// The rule of `docs/FAILURES.md` that it is of; 0: of none with a number.
            pub const fn rule(self) -> u8 {
                self.switch().rule
            }
        }

        impl $crate::Defence for $list {
            const ALL: &'static [$list] = &[ $( $list::$name, )+ ];

            fn switch(self) -> $crate::Switch {
                $list::switch(self)
            }
        }
    };
}

#[cfg(feature = "armed")]
std::thread_local! {
    static MISSING: std::cell::Cell<Option<Switch>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread does without that defence.
#[cfg(feature = "armed")]
pub fn lacks(defence: impl Defence) -> bool {
    MISSING.get().is_some_and(|missing| missing == defence.switch())
}

/// Whether this thread does without that defence: never.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub const fn lacks<D: Defence>(_: D) -> bool {
    false
}

/// This thread does without that defence for as long as this lives; then it has all of them.
#[must_use = "the defence is back when this is dropped"]
pub struct TakenAway(());

impl TakenAway {
    /// `None`: it has all of them. A build that is not armed has nothing to take away, and nobody may believe that it did.
    pub fn new(switch: Option<Switch>) -> TakenAway {
        set(switch);
        TakenAway(())
    }
}

impl Drop for TakenAway {
    fn drop(&mut self) {
        set(None);
    }
}

/// Whether a story ends badly without a defence.
#[cfg(feature = "armed")]
pub fn fails_without(switch: Switch, story: fn()) -> bool {
    let _taken_away = TakenAway::new(Some(switch));
    std::panic::catch_unwind(story).is_err()
}

#[cfg(feature = "armed")]
fn set(switch: Option<Switch>) {
    MISSING.set(switch);
}

#[cfg(not(feature = "armed"))]
fn set(switch: Option<Switch>) {
    assert!(switch.is_none(), "to take a defence away needs the feature `armed`");
}
