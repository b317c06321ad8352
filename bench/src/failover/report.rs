//! What a failover run found, for people and as stable JSON.

use crate::load::histogram::{Latencies, Summary, people};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// One blow and what came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    /// From 1.
    pub number: usize,
    /// Longest time without any acknowledgement around the blow.
    pub gap_us: f64,
    /// The same of the one connection that waited longest.
    pub worst_connection_us: f64,
    /// Writes acknowledged in this round.
    pub acknowledged: u64,
    /// `MOVED` and "try again" replies.
    pub redirects: u64,
    /// Reads made to check the data, over all nodes.
    pub keys_checked: u64,
    /// The epoch of each shard afterwards.
    pub epochs: Vec<u64>,
    /// Error replies and wrong reads under load.
    pub errors: Vec<String>,
    /// What is wrong with the data or the epochs.
    pub violations: Vec<String>,
}

/// The result of a run. The names of the fields are the JSON that `baton bench failover --json` prints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub blow: String,
    pub rounds: Vec<Round>,
    /// Gaps over all connections.
    pub gap: Summary,
    /// Gaps of the one connection that waited longest, per round.
    pub worst_connection: Summary,
    pub acknowledged: u64,
    pub keys_checked: u64,
    pub redirects: u64,
    pub errors: u64,
    pub violations: u64,
    /// The gaps as bars.
    #[serde(skip)]
    pub bars: Vec<String>,
}

/// Where the first bar ends.
const FIRST_BAR: Duration = Duration::from_micros(500);

impl Round {
    /// Epochs only rise, and rise for shard 0 when its leader was struck.
    pub fn check_epochs(&mut self, before: &[u64], must_rise: bool) {
        for (shard, (old, new)) in before.iter().zip(&self.epochs).enumerate() {
            let wrong = new < old || (must_rise && shard == 0 && new == old);
            if wrong {
                self.violations.push(format!("shard {shard}: epoch {new} after epoch {old}"));
            }
        }
        if before.len() != self.epochs.len() {
            self.violations.push(format!("{} shards, {} before", self.epochs.len(), before.len()));
        }
    }
}

impl Report {
    /// Fills what is said of all rounds together.
    pub fn sum_up(&mut self, gaps: &Latencies, worst_connection: &Latencies) {
        let sum = |of: fn(&Round) -> u64| self.rounds.iter().map(of).sum::<u64>();
        let acknowledged = sum(|r| r.acknowledged);
        let keys_checked = sum(|r| r.keys_checked);
        let redirects = sum(|r| r.redirects);
        let errors = sum(|r| r.errors.len() as u64);
        let violations = sum(|r| r.violations.len() as u64);
        self.gap = gaps.summary();
        self.worst_connection = worst_connection.summary();
        self.bars = gaps.bars(FIRST_BAR);
        (self.acknowledged, self.keys_checked, self.redirects) = (acknowledged, keys_checked, redirects);
        (self.errors, self.violations) = (errors, violations);
    }

    /// Whether nothing at all went wrong.
    pub fn fine(&self) -> bool {
        self.errors == 0 && self.violations == 0
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wrong = self.errors.len() + self.violations.len();
        write!(
            f,
            "{:>5} {:>10} {:>10} {:>9} {:>9} {:>9}  {:<8} {}",
            self.number,
            people(self.gap_us),
            people(self.worst_connection_us),
            self.acknowledged,
            self.redirects,
            self.keys_checked,
            self.epochs.iter().map(u64::to_string).collect::<Vec<_>>().join(" "),
            if wrong == 0 { "fine".to_owned() } else { format!("{wrong} WRONG") },
        )?;
        for line in self.errors.iter().chain(&self.violations) {
            write!(f, "\n      {line}")?;
        }
        Ok(())
    }
}

/// The heading over printed [`Round`]s.
pub const HEADING: &str = "round        gap  worst one   written redirects   checked  epochs   data";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, s) in [("write gap", &self.gap), ("of the worst connection", &self.worst_connection)] {
            writeln!(
                f,
                "{name}: p50 {}, p90 {}, p99 {}, max {}",
                people(s.p50_us),
                people(s.p90_us),
                people(s.p99_us),
                people(s.max_us)
            )?;
        }
        for bar in &self.bars {
            writeln!(f, "{bar}")?;
        }
        write!(
            f,
            "{} rounds of {:?}: {} writes acknowledged, {} reads checked, {} redirects, {} errors, {} violations",
            self.rounds.len(),
            self.blow,
            self.acknowledged,
            self.keys_checked,
            self.redirects,
            self.errors,
            self.violations
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(before: &[u64], after: &[u64], must_rise: bool) -> usize {
        let mut round = Round { epochs: after.to_vec(), ..Round::default() };
        round.check_epochs(before, must_rise);
        round.violations.len()
    }

    #[test]
    fn epochs_only_rise() {
        assert_eq!(checked(&[3, 3], &[4, 3], true), 0);
        assert_eq!(checked(&[3, 3], &[3, 3], false), 0);
        assert_eq!(checked(&[3, 3], &[3, 3], true), 1);
        assert_eq!(checked(&[3, 3], &[4, 2], true), 1);
        assert_eq!(checked(&[3, 3], &[4], false), 1);
    }

    #[test]
    fn one_violation_makes_a_report_not_fine() {
        let mut report = Report::default();
        report.rounds.push(Round::default());
        report.sum_up(&Latencies::default(), &Latencies::default());
        assert!(report.fine());
        report.rounds[0].violations.push("lost".to_owned());
        report.sum_up(&Latencies::default(), &Latencies::default());
        assert!(!report.fine());
    }
}
