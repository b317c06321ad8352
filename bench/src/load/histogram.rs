//! Latencies, kept as HDR histograms and summed up by the percentiles people ask for.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// Longest duration told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(600);
/// Decimal digits kept of each duration.
const DIGITS: u8 = 3;

/// A set of durations.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What is said of a set of durations; all in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    pub count: u64,
    pub mean_us: f64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let longest = LONGEST.as_nanos() as u64;
        Latencies(Histogram::new_with_max(longest, DIGITS).expect("constant bounds are valid"))
    }
}

impl Latencies {
    /// Counts one duration; those beyond ten minutes count as ten minutes.
    pub fn record(&mut self, duration: Duration) {
        self.0.saturating_record(duration.as_nanos().min(u128::from(u64::MAX)) as u64);
    }

    /// Takes over the durations of another set.
    pub fn merge(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The duration that this share (0 to 1) of the durations does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    /// The usual percentiles.
    pub fn summary(&self) -> Summary {
        if self.0.is_empty() {
            return Summary::default();
        }
        let us = |nanos: u64| (nanos as f64 / 1000.0 * 10.0).round() / 10.0;
        let at = |share: f64| us(self.0.value_at_quantile(share));
        Summary {
            count: self.0.len(),
            mean_us: us(self.0.mean() as u64),
            min_us: us(self.0.min()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.0.max()),
        }
    }

    /// The histogram as lines of bars, with buckets that grow by powers of two from `from`; empty ones at
    /// the ends are left out.
    pub fn bars(&self, from: Duration) -> Vec<String> {
        const WIDTH: u64 = 40;
        let mut edges = vec![0, from.as_nanos() as u64];
        while edges[edges.len() - 1] <= self.0.value_at_quantile(1.0) {
            edges.push(edges[edges.len() - 1] * 2);
        }
        let mut counts: Vec<_> = edges.windows(2).map(|e| (e[0], e[1], 0)).collect();
        for recorded in self.0.iter_recorded() {
            let at = edges.partition_point(|edge| *edge <= recorded.value_iterated_to()) - 1;
            counts[at].2 += recorded.count_at_value();
        }
        let first = counts.iter().position(|c| c.2 > 0).unwrap_or(0);
        let last = counts.iter().rposition(|c| c.2 > 0).map_or(0, |at| at + 1);
        let most = counts.iter().map(|c| c.2).max().unwrap_or(0).max(1);
        let label = |nanos: u64| format!("{:.2}", nanos as f64 / 1e6);
        counts[first..last.max(first)]
            .iter()
            .map(|(low, high, n)| {
                let bar = "#".repeat((n * WIDTH).div_ceil(most) as usize);
                format!("{:>9} .. {:>9} ms {n:>6} {bar}", label(*low), label(*high))
            })
            .collect()
    }
}

/// A duration in microseconds as people like to read it.
pub fn people(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.0} µs"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Latencies {
        let mut latencies = Latencies::default();
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        latencies
    }

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let summary = sample().summary();
        assert_eq!(summary.count, 100);
        assert!((summary.p50_us / 50_000.0 - 1.0).abs() < 0.002, "{summary:?}");
        assert!((summary.p99_us / 99_000.0 - 1.0).abs() < 0.002, "{summary:?}");
        assert_eq!(Latencies::default().summary(), Summary::default());
    }

    #[test]
    fn merged_sets_count_together() {
        let mut all = sample();
        all.merge(&sample());
        assert_eq!(all.summary().count, 200);
    }

    #[test]
    fn bars_hold_every_duration() {
        let bars = sample().bars(Duration::from_millis(1));
        let total: u64 =
            bars.iter().map(|b| b.split_whitespace().nth(4).unwrap().parse::<u64>().unwrap()).sum();
        assert_eq!(total, 100, "{bars:?}");
        assert!(Latencies::default().bars(Duration::from_millis(1)).is_empty());
    }

    #[test]
    fn people_read_units() {
        assert_eq!(
            (people(12.3), people(1500.0), people(2e6)),
            ("12 µs".into(), "1.50 ms".into(), "2.00 s".into())
        );
    }
}
