//! Which faults strike, how often, and when they end: a swarm. Each run enables some kinds, at its own pace, and
//! stops all of them when its hostile time is over.
//!
//! What each kind does is in `faults`; the kinds that hurt what is on a disk are in `spoil`.

use crate::fault::{COMMON, DAMAGING, Fault, Trap};
use crate::random::Dice;
use crate::scenario::Scenario;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;
/// One long pause or cut in this many is very long.
const VERY_LONG_ONE_IN: u64 = 25;
const LONG: u64 = 3 * SECOND;
const VERY_LONG: u64 = 60 * SECOND;

/// Which faults strike, and how often.
#[derive(Debug)]
pub struct Nemesis {
    kinds: Vec<Fault>,
    /// Time between two faults, in ns.
    pub pace: (u64, u64),
    /// No more faults.
    pub over: bool,
    /// The clients only read what the history still needs.
    pub auditing: bool,
    /// The clients only write.
    pub writes_only: bool,
    /// Since when they only read.
    pub audited_from: u64,
    pub strikes: u64,
    /// Kills that wait for their moment; of one host, or of whoever comes first.
    pub traps: Vec<(Trap, Option<usize>)>,
    /// Until when messages of the agency may be lost, late or doubled.
    pub noise_until: u64,
}

impl Nemesis {
    pub fn new(scenario: &Scenario, dice: &mut Dice) -> Nemesis {
        let percent = dice.pick(&[8, 20, 40]).unwrap_or(20);
        let mut kinds: Vec<Fault> = COMMON.into_iter().filter(|_| dice.percent(percent)).collect();
        if kinds.is_empty() {
            kinds.push(Fault::KillNode);
        }
        if scenario.damages_disks {
            kinds.extend(DAMAGING.into_iter().filter(|_| dice.percent(50)));
        }
        let most = dice.magnitude(30 * MS, 3 * SECOND);
        if let Some(wanted) = scenario.kinds {
            kinds = wanted.to_vec();
        }
        let traps = Vec::new();
        let pace = (2 * MS, most);
        Nemesis {
            kinds,
            pace,
            over: false,
            auditing: false,
            audited_from: 0,
            writes_only: false,
            strikes: 0,
            traps,
            noise_until: 0,
        }
    }

    /// The kinds that strike in this run.
    pub fn kinds(&self) -> &[Fault] {
        &self.kinds
    }

    /// For how long something lasts.
    pub fn span(dice: &mut Dice) -> u64 {
        let most = if dice.one_in(VERY_LONG_ONE_IN) { VERY_LONG } else { LONG };
        dice.magnitude(MS, most)
    }
}
