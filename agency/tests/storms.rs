//! Random faults by the hundred: kills, restarts, cuts, lost, late and doubled messages. The group checks its
//! invariants after every event; when the storm is over, somebody leads again.

mod common;

use agency::configuration::{Change, EvictReason};
use agency::ids::{Nanos, NodeSet};
use common::{A, B, Fate, Group, W, ms};
use std::time::Duration;

/// A small generator (Marsaglia's xorshift64), so that a seed is a test case for ever.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn storm(seed: u64) {
    let mut g = Group::founded();
    let mut dice = Dice(seed * 7919 + 1);
    for _ in 0..40 {
        let mut fate = dice.clone();
        let loss = dice.roll(3);
        g.meddle = Box::new(move |_, _, _| match fate.roll(20) {
            0 if loss > 0 => Fate::Drop,
            1 if loss > 1 => Fate::Late(Duration::from_micros(fate.roll(40_000))),
            2 | 3 => Fate::Twice(Duration::from_micros(fate.roll(20_000))),
            _ => Fate::Deliver,
        });
        let n = [A, B, W][dice.roll(3) as usize];
        let other = [A, B, W][dice.roll(3) as usize];
        let running = g.member(n).overseer.is_some();
        let node = g.member(n).node.is_some();
        match dice.roll(15) {
            0 => g.kill_node(n),
            1 if running => g.kill_host(n),
            2 if n != other => drop(g.cut.insert((n, other))),
            3 | 4 => g.cut.clear(),
            5 | 6 if !running => g.start_warden(n),
            7 | 8 if running && !node && n != W => g.start_node(n),
            9 if running && node && g.config(n).leader == n => {
                let to = if n == A { B } else { A };
                g.request(n, Change::Handoff(to));
            }
            10 if running && node && g.config(n).leader == n => {
                let to = if n == A { B } else { A };
                g.request(n, Change::Evict(NodeSet::of(&[to]), EvictReason::Gone));
            }
            11 if running && node && g.config(n).leader == n => {
                let to = if n == A { B } else { A };
                g.request(n, Change::Admit(to));
            }
            12 if running && node && g.config(n).leader == n => {
                let to = if n == A { B } else { A };
                g.request(n, Change::Yield(to));
            }
            13 if n != W => {
                let now = g.now;
                let disk = &mut g.member(n).disk_waiting_since;
                *disk = if *disk == Nanos(0) { now } else { Nanos(0) };
            }
            14 if n != W => g.member(n).unkillable ^= true,
            _ => {}
        }
        let pause = dice.roll(60_000);
        g.run(Duration::from_micros(pause));
    }
    g.cut.clear();
    g.meddle = Box::new(|_, _, _| Fate::Deliver);
    for n in [A, B] {
        g.member(n).disk_waiting_since = Nanos(0);
        g.member(n).unkillable = false;
        if g.member(n).node.as_ref().is_some_and(|node| node.hangs) {
            g.kill_node(n);
        }
    }
    for n in [A, B, W] {
        if g.member(n).overseer.is_none() {
            g.start_warden(n);
        }
        if n != W && g.member(n).node.is_none() {
            g.start_node(n);
        }
    }
    g.run(ms(2000));
    let leader = g.newest().leader;
    assert!(g.lease(leader), "seed {seed}: nobody leads after the storm: {:?}", g.newest());
}

#[test]
fn the_invariants_hold_in_every_storm_and_somebody_leads_afterwards() {
    for seed in 1..=60 {
        storm(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut g = Group::founded();
        let mut dice = Dice(seed);
        g.meddle = Box::new(move |_, _, _| if dice.roll(9) == 0 { Fate::Drop } else { Fate::Deliver });
        g.kill_host(A);
        g.run(ms(300));
        format!("{:?}", g.trace)
    };
    assert_eq!(run(5), run(5));
}
