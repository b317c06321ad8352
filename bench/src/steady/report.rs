//! What a steady run found, for people and as stable JSON.

use crate::load::histogram::{Latencies, Summary, people};
use crate::steady::Look;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names of the two loads that are the measure.
pub const GET_NAME: &str = "small GET";
pub const SET_NAME: &str = "small SET";

/// What one thread of a load did.
pub struct Load {
    pub name: &'static str,
    pub latencies: Latencies,
}

/// A data node at the end of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Node {
    pub name: String,
    /// Most memory that it had in use at once.
    pub peak_memory_bytes: u64,
}

/// The result of a run. The names of the fields are the JSON that `baton bench steady --json` prints.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub seconds: f64,
    /// Threads that kept cores busy.
    pub busy: usize,
    /// Whether somebody wrote and synced large files on the same disk.
    pub neighbour: bool,
    /// Requests answered as they should be.
    pub requests: u64,
    /// Error replies, lost connections, wrong values.
    pub errors: u64,
    /// The first of them, word by word.
    pub first_errors: Vec<String>,
    pub redirects: u64,
    /// Changes of configuration, of whatever kind.
    pub changes: u64,
    /// Members that were taken out of an in-sync set.
    pub evictions: u64,
    /// Changes of the leader.
    pub elections: u64,
    /// Node processes that were started again, as far as looks from outside told them apart.
    pub restarts: u64,
    /// Each change of configuration that was seen, in order.
    pub history: BTreeSet<String>,
    pub small_get: Summary,
    pub small_set: Summary,
    /// By name of the load.
    #[serde(serialize_with = "summaries")]
    pub loads: BTreeMap<&'static str, Latencies>,
    pub nodes: Vec<Node>,
    /// Incarnations at the last look.
    #[serde(skip)]
    incarnations: Vec<u64>,
}

/// Lines of each kind that people are shown.
const LINES_SHOWN: usize = 12;

fn summaries<S: serde::Serializer>(
    loads: &BTreeMap<&'static str, Latencies>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(loads.iter().map(|(name, latencies)| (name, latencies.summary())))
}

/// How much the second list of counters is above the first.
fn risen(before: &[u64], now: &[u64]) -> u64 {
    before.iter().zip(now).map(|(before, now)| now.saturating_sub(*before)).sum()
}

impl Report {
    /// Takes in what a look showed, against that of the beginning.
    pub fn saw(&mut self, before: &Look, now: &Look) {
        self.changes = self.changes.max(risen(&before.versions, &now.versions));
        self.elections = self.elections.max(risen(&before.epochs, &now.epochs));
        let last = if self.incarnations.is_empty() { &before.incarnations } else { &self.incarnations };
        self.restarts += last.iter().zip(&now.incarnations).filter(|(last, now)| last != now).count() as u64;
        self.incarnations.clone_from(&now.incarnations);
        self.evictions = self.evictions.max(now.evictions.saturating_sub(before.evictions));
        self.history.extend(now.history.difference(&before.history).cloned());
        self.nodes.resize(now.peak_memory.len(), Node::default());
        for (node, peak) in self.nodes.iter_mut().zip(&now.peak_memory) {
            node.peak_memory_bytes = node.peak_memory_bytes.max(*peak);
        }
    }

    /// Takes in what the loads did.
    pub fn take(&mut self, loads: Vec<Load>) {
        for load in loads {
            self.loads.entry(load.name).or_default().merge(&load.latencies);
        }
        let summary = |name| self.loads.get(name).map(Latencies::summary).unwrap_or_default();
        (self.small_get, self.small_set) = (summary(GET_NAME), summary(SET_NAME));
    }

    /// Whether the group left itself and its clients alone.
    pub fn fine(&self) -> bool {
        self.changes + self.evictions + self.elections + self.restarts + self.errors == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beside = if self.neighbour { ", a neighbour that writes and syncs" } else { "" };
        writeln!(f, "{:.0} s, {} busy threads{beside}: {} requests", self.seconds, self.busy, self.requests)?;
        for (name, latencies) in &self.loads {
            let s = latencies.summary();
            let [p50, p99, p999, max] = [s.p50_us, s.p99_us, s.p999_us, s.max_us].map(people);
            writeln!(f, "{name:>15} {:>9}: p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}", s.count)?;
        }
        for node in &self.nodes {
            writeln!(f, "node {}: at most {} MiB of memory", node.name, node.peak_memory_bytes >> 20)?;
        }
        for lines in [&self.history.iter().collect::<Vec<_>>(), &self.first_errors.iter().collect()] {
            for line in lines.iter().take(LINES_SHOWN) {
                writeln!(f, "      {line}")?;
            }
            if lines.len() > LINES_SHOWN {
                writeln!(f, "      and {} more", lines.len() - LINES_SHOWN)?;
            }
        }
        write!(
            f,
            "{} evictions, {} elections, {} restarts, {} changes in all; {} errors, {} redirects",
            self.evictions, self.elections, self.restarts, self.changes, self.errors, self.redirects
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(version: u64, epoch: u64, evictions: u64) -> Look {
        let history = (0..version).map(|n| format!("change {n}")).collect();
        let (versions, epochs) = (vec![version], vec![epoch]);
        Look { versions, epochs, incarnations: vec![1, 1], history, evictions, peak_memory: vec![7, 9] }
    }

    #[test]
    fn a_group_that_changed_nothing_is_fine() {
        let mut report = Report::default();
        report.saw(&look(3, 2, 1), &look(3, 2, 1));
        assert!(report.fine() && report.history.is_empty());
        assert_eq!(report.nodes[1].peak_memory_bytes, 9);
    }

    #[test]
    fn every_change_counts_also_one_that_later_looks_have_forgotten() {
        for later in [look(4, 2, 0), look(4, 3, 0), look(5, 2, 1)] {
            let mut report = Report::default();
            report.saw(&look(3, 2, 0), &later);
            report.saw(&look(3, 2, 0), &Look { history: BTreeSet::new(), ..later });
            assert!(!report.fine() && report.history.contains("change 3"), "{report}");
        }
        let mut report = Report { errors: 1, ..Report::default() };
        assert!(!report.fine());
        report = Report::default();
        for incarnations in [vec![1, 1], vec![1, 700], vec![1, 700]] {
            report.saw(&look(1, 1, 0), &Look { incarnations, ..look(1, 1, 0) });
        }
        assert_eq!((report.restarts, report.fine()), (1, false));
    }
}
