//! Fuzzing on the stable toolchain: valid input is made, mutated with knowledge of its structure, and what the
//! code makes of it is judged by invariants (each target's file says which).
//!
//! Every case is a function of its seed. A failure names the target and the seed; `BATON_FUZZ_TARGET` and
//! `BATON_FUZZ_SEED` run that one case again. `BATON_FUZZ_SECONDS` is how long the targets run, at the same
//! time; two seconds unless set.

mod dice;
mod follower;
mod headers;
mod meter;
mod recovery;
mod resp;

use dice::Dice;
use std::panic::catch_unwind;
use std::time::{Duration, Instant, SystemTime};

struct Target {
    name: &'static str,
    case: fn(&mut Dice),
}

const TARGETS: [Target; 4] = [
    Target { name: "resp", case: resp::case },
    Target { name: "headers", case: headers::case },
    Target { name: "follower", case: follower::case },
    Target { name: "recovery", case: recovery::case },
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Runs one case. Returns whether it held.
fn holds(target: &Target, seed: u64) -> bool {
    let held = catch_unwind(|| (target.case)(&mut Dice::new(seed))).is_ok();
    if !held {
        let name = target.name;
        eprintln!(
            "{name} failed; again: BATON_FUZZ_TARGET={name} BATON_FUZZ_SEED={seed} cargo test -p baton-sim --release --test fuzz"
        );
    }
    held
}

/// Runs cases until the time is over or one fails.
fn hunt(target: &Target, first: u64, time: Duration) -> bool {
    let begun = Instant::now();
    let mut seed = first;
    while begun.elapsed() < time {
        if !holds(target, seed) {
            return false;
        }
        seed = seed.wrapping_add(1);
    }
    println!("{}: {} cases from seed {first} on", target.name, seed.wrapping_sub(first));
    true
}

#[test]
fn every_target_holds() {
    let only = std::env::var("BATON_FUZZ_TARGET").ok();
    let targets: Vec<_> =
        TARGETS.iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)).collect();
    assert!(!targets.is_empty(), "no target {only:?}");
    if let Some(seed) = number("BATON_FUZZ_SEED") {
        assert!(targets.into_iter().all(|target| holds(target, seed)));
        return;
    }
    let time = Duration::from_secs(number("BATON_FUZZ_SECONDS").unwrap_or(2));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    let first = number("BATON_FUZZ_FIRST").unwrap_or(since.as_nanos() as u64);
    std::thread::scope(|scope| {
        let hunts: Vec<_> =
            targets.into_iter().map(|target| scope.spawn(move || hunt(target, first, time))).collect();
        let held = hunts.into_iter().map(|hunt| hunt.join().unwrap_or(false)).filter(|held| !held).count();
        assert_eq!(held, 0, "see above for the target and the seed");
    });
}
