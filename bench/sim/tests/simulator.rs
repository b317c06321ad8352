//! The simulator itself: a seed is one run, runs pass, and it notices when a defence is missing.

use ::mutants::{Defence, Switch};
use sim::mutants::{self, Known};
use sim::{Scenario, Trace, simulate};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How long faults strike in a mutant's run, in ms.
const MUTANT_MS: u64 = 10_000;

#[test]
fn a_seed_gives_one_trace() {
    for seed in 1..6 {
        let run = || simulate(Scenario::of_seed(seed, 4_000), Trace::new(false, 0));
        assert_eq!(run().hash, run().hash, "seed {seed}");
    }
    let one = simulate(Scenario::of_seed(1, 4_000), Trace::new(false, 0));
    let other = simulate(Scenario::of_seed(2, 4_000), Trace::new(false, 0));
    assert_ne!(one.hash, other.hash);
}

#[test]
fn a_few_seeds_pass() {
    for seed in 100..160 {
        let outcome = simulate(Scenario::of_seed(seed, 10_000), Trace::new(false, 0));
        assert!(outcome.violation.is_none(), "{outcome:?}");
    }
}

/// Seeds that once failed; the file says what each found.
#[test]
fn seeds_that_once_failed_pass() {
    let lines = include_str!("regression-seeds.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace().map(|word| word.parse());
        let (Some(Ok(seed)), Some(Ok(seconds))) = (words.next(), words.next()) else {
            panic!("no seed and seconds: {line}");
        };
        let outcome = simulate(Scenario::of_seed(seed, seconds * 1000), Trace::new(false, 0));
        assert!(outcome.violation.is_none(), "{line}: {outcome:?}");
    }
}

/// Runs the mutant's seeds until one fails; with the same faults and all defences, that seed must pass.
fn is_noticed(known: &Known) {
    let fails = |seed: u64| {
        let scenario = Scenario::of_seed(seed, MUTANT_MS).without(known);
        // A core that panics has noticed, too.
        catch_unwind(AssertUnwindSafe(|| simulate(scenario, Trace::new(false, 0))))
            .map_or(true, |outcome| outcome.violation.is_some())
    };
    let noticed = (known.first..known.first + mutants::SEEDS).find(|seed| fails(*seed));
    let Some(seed) = noticed else {
        panic!("rule {}: {} passed {} seeds", known.mutant.rule, known.mutant.name, mutants::SEEDS);
    };
    let whole = simulate(Scenario::of_seed(seed, MUTANT_MS).with_faults_of(known), Trace::new(false, 0));
    assert!(whole.violation.is_none(), "{} without the mutant: {whole:?}", known.mutant.name);
    println!("rule {}: {} noticed in seed {seed}", known.mutant.rule, known.mutant.name);
}

fn all_are_noticed(rules: std::ops::RangeInclusive<u8>) {
    mutants::ALL.iter().filter(|known| rules.contains(&known.mutant.rule)).for_each(is_noticed);
}

#[test]
fn missing_defences_of_the_agency_are_noticed() {
    all_are_noticed(1..=1);
    all_are_noticed(3..=5);
}

#[test]
fn missing_defences_of_the_commit_are_noticed() {
    all_are_noticed(2..=2);
    all_are_noticed(6..=7);
    all_are_noticed(17..=17);
}

#[test]
fn missing_defences_of_identity_and_reads_are_noticed() {
    all_are_noticed(8..=11);
}

#[test]
fn missing_defences_of_the_log_are_noticed() {
    all_are_noticed(0..=0);
    all_are_noticed(12..=14);
    all_are_noticed(20..=20);
}

#[test]
fn missing_defences_of_lease_and_epoch_are_noticed() {
    all_are_noticed(15..=16);
    all_are_noticed(18..=19);
}

#[test]
fn missing_defences_of_steadiness_are_noticed() {
    all_are_noticed(21..=25);
}

/// Every rule of the design has a mutant.
#[test]
fn every_rule_has_a_mutant() {
    // 4 is the race of rules 1 and 5: both proposals compete for one version of one register.
    for rule in (1..=25).filter(|rule| ![4, 24].contains(rule)) {
        assert!(mutants::ALL.iter().any(|known| known.mutant.rule == rule), "rule {rule}");
    }
}

/// No run can show that these are missing (`docs/SIMULATOR.md`); each has a story that can.
const BY_STORY: [Switch; 2] =
    [node::mutants::Mutant::RefillsFromAnyLog.switch(), node::mutants::Mutant::AcceptsEveryLoss.switch()];

/// Each switch is noticed by the simulator or by a story, and has a name of its own.
#[test]
fn every_switch_is_for_something() {
    fn of<D: Defence>() -> impl Iterator<Item = Switch> {
        D::ALL.iter().map(|defence| defence.switch())
    }
    let mut all: Vec<Switch> = of::<engine::mutants::Mutant>()
        .chain(of::<agency::mutants::Mutant>())
        .chain(of::<faces::mutants::Mutant>())
        .chain(of::<node::mutants::Mutant>())
        .chain(of::<mutants::Mutant>())
        .collect();
    for switch in &all {
        let by_run = mutants::ALL.iter().any(|known| known.mutant == *switch);
        assert!(by_run != BY_STORY.contains(switch), "{switch:?}");
    }
    let count = all.len();
    all.sort_by_key(|switch| switch.name);
    all.dedup_by_key(|switch| switch.name);
    assert_eq!(all.len(), count, "two have one name");
}
