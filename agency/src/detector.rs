//! Does the node still move? Judged from its shards' progress words, in the warden's own ticks, so that a
//! stall of the whole host does not look like a stall of the node.
//!
//! Promises to call a hang once per incarnation. Reads no clock and kills nobody.

use crate::ids::{Nanos, ShardId};
use crate::mutants::{Mutant, lacks};
use crate::shard::{Health, ShardProgress};
use crate::timing::{STARTING_LIMIT, STARVED_LIMIT, Timing};
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    last: ShardProgress,
    standing: Duration,
    starved: Duration,
    disk: Duration,
}

/// What stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hang {
    /// The shard's loop.
    Loop(ShardId),
    /// The shard's oldest log write.
    Disk(ShardId),
}

/// Watches the shards of one incarnation.
#[derive(Clone, Debug)]
pub struct Detector {
    shards: Vec<Watch>,
    at: Option<Nanos>,
    called: bool,
}

impl Detector {
    /// For an incarnation that just started.
    pub fn new(shards: u16) -> Detector {
        Detector { shards: vec![Watch::default(); usize::from(shards)], at: None, called: false }
    }

    /// Takes in what the shards say now. Returns the first hang of this incarnation, once.
    ///
    /// # Panics
    /// If it is not told of every shard (our own bug: the shell makes the page).
    pub fn observe(&mut self, now: Nanos, progress: &[ShardProgress], timing: &Timing) -> Option<Hang> {
        assert_eq!(progress.len(), self.shards.len(), "every shard is looked at");
        // A late tick counts as one tick: the warden did not look in between either.
        let passed = self.at.map_or(Duration::ZERO, |at| now.since(at).min(timing.tick));
        assert!(self.at.is_none_or(|at| at <= now), "time does not go back");
        self.at = Some(now);
        let mut hang = None;
        for (i, (watch, p)) in self.shards.iter_mut().zip(progress).enumerate() {
            let moved = p.turns != watch.last.turns;
            if moved {
                (watch.standing, watch.starved) = (Duration::ZERO, Duration::ZERO);
            } else if p.starved && watch.starved < STARVED_LIMIT {
                watch.starved += passed;
            } else {
                watch.standing += passed;
            }
            if p.disk_waiting_since == Nanos(0) || p.disk_waiting_since != watch.last.disk_waiting_since {
                watch.disk = Duration::ZERO;
            } else if moved {
                // A loop that stands cannot notice that its disk answered; it is judged as a loop.
                watch.disk += passed;
            }
            watch.last = *p;
            assert!(watch.starved < STARVED_LIMIT + timing.tick, "starvation excuses for a while only");
            let shard = ShardId(i as u16);
            let loop_limit = if p.health == Health::Starting { STARTING_LIMIT } else { timing.hang_after };
            if watch.standing >= loop_limit {
                hang = hang.or(Some(Hang::Loop(shard)));
            } else if watch.disk >= timing.disk_hang_after && p.health != Health::Starting {
                hang = hang.or(Some(Hang::Disk(shard)));
            }
        }
        if lacks(Mutant::NeverCallsHangs) {
            return None;
        }
        if hang.is_some() && !self.called {
            self.called = true;
            return hang;
        }
        None
    }

    /// Whether the shard moves, and its disk with it (rule 15).
    pub fn moves(&self, now: Nanos, shard: ShardId, timing: &Timing) -> bool {
        if lacks(Mutant::NeverCallsHangs) {
            return true;
        }
        let watch = &self.shards[usize::from(shard.0)];
        let waiting = watch.last.disk_waiting_since;
        let disk_late = waiting != Nanos(0) && now.since(waiting) > timing.disk_hang_after;
        !self.called && self.at.is_some() && watch.standing < timing.hang_after && !disk_late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 5_000_000;

    fn ready(turns: u64) -> ShardProgress {
        ShardProgress { turns, health: Health::Ready, ..ShardProgress::default() }
    }

    /// Ticks until the first hang is called, at most `limit`.
    fn ticks_to_hang(limit: u64, step: u64, mut at: impl FnMut(u64) -> ShardProgress) -> Option<(u64, Hang)> {
        let mut d = Detector::new(1);
        (0..limit).find_map(|t| d.observe(Nanos(t * step), &[at(t)], &Timing::default()).map(|h| (t, h)))
    }

    #[test]
    fn a_loop_that_stands_is_called_after_hang_after_and_once() {
        assert_eq!(ticks_to_hang(50, TICK, |_| ready(1)), Some((5, Hang::Loop(ShardId(0)))));
        assert_eq!(ticks_to_hang(50, TICK, ready), None);
        let mut d = Detector::new(1);
        let calls =
            (0..100).filter(|t| d.observe(Nanos(t * TICK), &[ready(1)], &Timing::default()).is_some());
        assert_eq!(calls.count(), 1);
    }

    #[test]
    fn late_ticks_count_once() {
        assert_eq!(ticks_to_hang(5, 1_000_000_000, |_| ready(1)), None, "four seconds, but four ticks");
    }

    #[test]
    fn a_disk_that_does_not_answer_is_called_and_costs_the_lease() {
        let stuck = |t| ShardProgress { disk_waiting_since: Nanos(1), ..ready(t) };
        assert!(matches!(ticks_to_hang(50, TICK, stuck), Some((_, Hang::Disk(_)))));
        let busy = |t| ShardProgress { disk_waiting_since: Nanos(t * TICK), ..ready(t) };
        assert_eq!(ticks_to_hang(50, TICK, busy), None);
        let mut d = Detector::new(1);
        let timing = Timing::default();
        d.observe(Nanos(1), &[stuck(1)], &timing);
        assert!(d.moves(Nanos(1), ShardId(0), &timing));
        assert!(!d.moves(Nanos(2) + timing.disk_hang_after, ShardId(0), &timing));
    }

    #[test]
    fn starvation_excuses_for_a_while_and_starting_for_long() {
        let starved = |_| ShardProgress { starved: true, ..ready(1) };
        let (ticks, _) = ticks_to_hang(200, TICK, starved).unwrap();
        assert!(ticks >= 45, "the starved limit, then hang_after: {ticks}");
        assert_eq!(ticks_to_hang(1000, TICK, |_| ShardProgress::default()), None);
    }
}
