//! The simulator itself: a seed is one run, and runs pass.

use bench::sim::{Scenario, Trace, simulate};

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
