//! How many requests a second are carried out: the number of `INFO` that is of the last moments.
//!
//! Counts by the time of turns, so that it reads no clock.

use agency::ids::Nanos;
use std::time::Duration;

/// Samples that are kept.
const SAMPLES: usize = 16;
/// How far apart they are: together they reach back 1.6 s.
const INTERVAL: Duration = Duration::from_millis(100);

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// When, and how many there had been by then; the oldest is overwritten next.
    samples: [(Nanos, u64); SAMPLES],
    next: usize,
}

impl Rates {
    /// A turn ends at `now`; `count` have been carried out in all. Returns how many a second lately.
    pub fn per_second(&mut self, now: Nanos, count: u64) -> u64 {
        let newest = self.samples[(self.next + SAMPLES - 1) % SAMPLES];
        if now >= newest.0 + INTERVAL {
            self.samples[self.next] = (now, count);
            self.next = (self.next + 1) % SAMPLES;
        }
        let (since, before) = self.samples[self.next];
        let span = now.since(since).as_millis() as u64;
        ((count - before) * 1000).checked_div(span).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_has_its_rate_and_silence_none() {
        let mut rates = Rates::default();
        let start = Nanos(5_000_000_000);
        let mut last = 0;
        for turn in 0..400u64 {
            last = rates.per_second(start + Duration::from_millis(10 * turn), 20 * turn);
        }
        assert!((1900..=2100).contains(&last), "{last}");
        for turn in 400..800u64 {
            last = rates.per_second(start + Duration::from_millis(10 * turn), 8000);
        }
        assert_eq!(last, 0);
    }
}
