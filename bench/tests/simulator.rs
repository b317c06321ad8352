//! The simulator itself: a seed is one run, and runs pass.

use bench::sim::mutants::Mutant;
use bench::sim::{Scenario, Trace, simulate};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[test]
fn a_seed_gives_one_trace() {
    for seed in 1..4 {
        let run = || simulate(Scenario::of_seed(seed, 4_000), Trace::new(false, 0));
        assert_eq!(run().hash, run().hash, "seed {seed}");
    }
}

#[test]
fn a_few_seeds_pass() {
    for seed in 100..112 {
        let outcome = simulate(Scenario::of_seed(seed, 5_000), Trace::new(false, 0));
        assert!(outcome.violation.is_none(), "{outcome:?}");
    }
}

/// Mutants that few seeds are enough for; `cargo sim --mutant all --seeds 300` hunts all of them.
#[test]
fn a_missing_defence_is_noticed() {
    for mutant in [Mutant::DiskLies, Mutant::AppliesUncommitted, Mutant::SameIncarnation] {
        let noticed = (1..=10).any(|seed| {
            let scenario = Scenario::of_seed(seed, 10_000).without(mutant);
            // A core that panics has noticed, too.
            catch_unwind(AssertUnwindSafe(|| simulate(scenario, Trace::new(false, 0))))
                .map_or(true, |outcome| outcome.violation.is_some())
        });
        assert!(noticed, "{mutant:?} passed 10 seeds");
    }
}
