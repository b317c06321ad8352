//! Does the node still move? Judged from its shards' progress words, in the warden's own ticks, so that a
//! stall of the whole host does not look like a stall of the node, and from what their threads do meanwhile: a
//! thread that works is not one that hangs (rule 21).
//!
//! Promises to call a hang once per incarnation, and to call nobody for its disk that is needed. Reads no clock and
//! kills nobody.

use crate::ids::{Nanos, ShardId};
use crate::mutants::{Mutant, lacks};
use crate::shard::{Health, ShardProgress, Standing};
use crate::timing::{KERNEL_WAIT_LIMIT, STARTING_LIMIT, STARVED_LIMIT, Timing, WORK_LIMIT};
use std::fmt;
use std::time::Duration;

/// For how long a shard has not moved, by what its thread did.
#[derive(Clone, Copy, Debug, Default)]
struct Still {
    /// All of it, but for the time without a CPU.
    whole: Duration,
    /// Stopped or asleep since it last worked.
    stopped: Duration,
    /// In the kernel since it last worked.
    in_kernel: Duration,
    /// Without a CPU since it last did anything else.
    starved: Duration,
}

impl Still {
    /// The word did not move for `passed`.
    fn stands(&mut self, standing: Standing, passed: Duration) {
        if standing == Standing::Starved {
            // One that waits for a CPU is no nearer to a hang than it was.
            self.starved += passed;
            return;
        }
        self.starved = Duration::ZERO;
        self.whole += passed;
        match standing {
            Standing::Working => (self.stopped, self.in_kernel) = (Duration::ZERO, Duration::ZERO),
            Standing::InKernel => self.in_kernel += passed,
            _ => self.stopped += passed,
        }
    }

    fn hangs(&self, starting: bool, timing: &Timing) -> bool {
        if starting {
            // Recovery takes as long as it has work to do.
            return self.stopped + self.in_kernel >= STARTING_LIMIT;
        }
        let limit = timing.hang_after;
        self.stopped >= limit
            || self.in_kernel >= KERNEL_WAIT_LIMIT.max(limit)
            || self.whole >= WORK_LIMIT.max(limit)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    last: ShardProgress,
    still: Still,
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

/// Why a shard's lease is not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// Its loop was called hanging, or is about to be.
    Hangs,
    /// Its loop has had no CPU for so long.
    Starved(Duration),
    /// Its oldest log write has been under way for so long.
    Disk(Duration),
}

impl fmt::Display for Standstill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standstill::Hangs => f.write_str("its loop stands still"),
            Standstill::Starved(span) => {
                write!(f, "its loop has had no CPU for {} ms; the host needs more of them", span.as_millis())
            }
            Standstill::Disk(span) => {
                write!(f, "its disk has not ended a log write for {} ms", span.as_millis())
            }
        }
    }
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

    /// Takes in what the shards say now; `needed`: the node leads one of them, and nobody better is in place. Returns the first hang
    /// of this incarnation, once.
    ///
    /// # Panics
    /// If it is not told of every shard (our own bug: the shell makes the page).
    pub fn observe(
        &mut self,
        now: Nanos,
        progress: &[ShardProgress],
        needed: bool,
        timing: &Timing,
    ) -> Option<Hang> {
        assert_eq!(progress.len(), self.shards.len(), "every shard is looked at");
        // A late tick counts as one tick: the warden did not look in between either.
        let passed = self.at.map_or(Duration::ZERO, |at| now.since(at).min(timing.tick));
        assert!(self.at.is_none_or(|at| at <= now), "time does not go back");
        self.at = Some(now);
        let mut hang = None;
        for (i, (watch, p)) in self.shards.iter_mut().zip(progress).enumerate() {
            let moved = p.turns != watch.last.turns;
            if moved {
                watch.still = Still::default();
            } else {
                watch.still.stands(p.standing, passed);
            }
            if p.disk_waiting_since == Nanos(0) || p.disk_waiting_since != watch.last.disk_waiting_since {
                watch.disk = Duration::ZERO;
            } else if moved {
                // A loop that stands cannot notice that its disk answered; it is judged as a loop.
                watch.disk += passed;
            }
            watch.last = *p;
            let (shard, starting) = (ShardId(i as u16), p.health == Health::Starting);
            let spared = needed && !lacks(Mutant::KillsLeadersForTheirDisk);
            if watch.still.hangs(starting, timing) {
                hang = hang.or(Some(Hang::Loop(shard)));
            } else if watch.disk >= timing.disk_hang_after && !starting && !spared {
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

    /// Whether the shard moved just now: nothing it is asked to do has to wait.
    pub fn is_lively(&self, shard: ShardId, timing: &Timing) -> bool {
        let still = &self.shards[usize::from(shard.0)].still;
        self.at.is_some() && still.whole + still.starved < timing.hang_after
    }

    /// What stands still; `None`: the shard moves or works, and its disk does not stand still (rule 15), so that it keeps
    /// its lease.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn standstill(&self, now: Nanos, shard: ShardId, timing: &Timing) -> Option<Standstill> {
        if lacks(Mutant::NeverCallsHangs) {
            return None;
        }
        let watch = &self.shards[usize::from(shard.0)];
        let waiting = watch.last.disk_waiting_since;
        let waited = if waiting == Nanos(0) { Duration::ZERO } else { now.since(waiting) };
        let still = &watch.still;
        if self.called || self.at.is_none() || still.hangs(false, timing) {
            Some(Standstill::Hangs)
        } else if still.starved >= STARVED_LIMIT {
            Some(Standstill::Starved(still.starved))
        } else {
            (waited > timing.disk_lease_limit).then_some(Standstill::Disk(waited))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 5_000_000;
    const LOOP: Hang = Hang::Loop(ShardId(0));

    fn ready(turns: u64) -> ShardProgress {
        ShardProgress { turns, health: Health::Ready, ..ShardProgress::default() }
    }

    fn stands(standing: Standing) -> ShardProgress {
        ShardProgress { standing, ..ready(1) }
    }

    /// Ticks until the first hang of a node that leads nothing is called, at most `limit`.
    fn ticks_to_hang(limit: u64, step: u64, mut at: impl FnMut(u64) -> ShardProgress) -> Option<(u64, Hang)> {
        let (mut d, timing) = (Detector::new(1), Timing::default());
        (0..limit).find_map(|t| d.observe(Nanos(t * step), &[at(t)], false, &timing).map(|h| (t, h)))
    }

    /// For how many ticks the lease of a shard that does this is renewed, at most `limit`.
    fn ticks_of_lease(limit: u64, at: impl Fn(u64) -> ShardProgress) -> u64 {
        let (mut d, timing) = (Detector::new(1), Timing::default());
        let renewed = |t: &u64| {
            d.observe(Nanos(t * TICK), &[at(*t)], true, &timing);
            d.standstill(Nanos(t * TICK), ShardId(0), &timing).is_none()
        };
        (1..limit).take_while(renewed).count() as u64
    }

    #[test]
    fn a_loop_that_stands_is_called_after_hang_after_and_once() {
        for standing in [Standing::Moving, Standing::Stopped, Standing::Asleep] {
            assert_eq!(ticks_to_hang(50, TICK, |_| stands(standing)), Some((5, LOOP)), "{standing:?}");
        }
        assert_eq!(ticks_to_hang(50, TICK, ready), None);
        let mut d = Detector::new(1);
        let calls =
            (0..100).filter(|t| d.observe(Nanos(t * TICK), &[ready(1)], false, &Timing::default()).is_some());
        assert_eq!(calls.count(), 1);
    }

    #[test]
    fn late_ticks_count_once() {
        assert_eq!(ticks_to_hang(5, 1_000_000_000, |_| ready(1)), None, "four seconds, but four ticks");
    }

    #[test]
    fn who_waits_in_the_kernel_has_longer_and_who_works_far_longer() {
        let ticks = |span: Duration| span.as_millis() as u64 / 5;
        let in_kernel = ticks_to_hang(2000, TICK, |_| stands(Standing::InKernel));
        assert_eq!(in_kernel, Some((ticks(KERNEL_WAIT_LIMIT), LOOP)));
        let works = ticks_to_hang(2000, TICK, |_| stands(Standing::Working));
        assert_eq!(works, Some((ticks(WORK_LIMIT), LOOP)));
        assert_eq!(ticks_to_hang(9000, TICK, |_| stands(Standing::Starved)), None, "never by itself");
    }

    #[test]
    fn what_was_worked_counts_against_the_longest_limit_only() {
        // 4 ticks asleep, then one at work, and again: it works, until it has done so for too long.
        let naps = |t| stands(if t % 5 == 4 { Standing::Working } else { Standing::Asleep });
        let (ticks, _) = ticks_to_hang(2000, TICK, naps).unwrap();
        assert_eq!(ticks, WORK_LIMIT.as_millis() as u64 / 5);
        // A second of work, then stopped: as quick as ever.
        let stopped = |t| stands(if t < 200 { Standing::Working } else { Standing::Stopped });
        assert_eq!(ticks_to_hang(2000, TICK, stopped), Some((204, LOOP)));
        // What it waited for a CPU brings it no nearer to the verdict.
        let hungry = |t| stands(if t < 500 { Standing::Starved } else { Standing::Asleep });
        assert_eq!(ticks_to_hang(2000, TICK, hungry), Some((504, LOOP)));
    }

    #[test]
    fn a_busy_leader_keeps_its_lease_and_a_starved_one_for_a_while() {
        assert!(ticks_of_lease(900, |_| stands(Standing::Working)) >= 899);
        assert_eq!(ticks_of_lease(900, |_| stands(Standing::Stopped)), 5);
        let starved = ticks_of_lease(900, |_| stands(Standing::Starved));
        assert_eq!(starved, STARVED_LIMIT.as_millis() as u64 / 5);
    }

    #[test]
    fn a_disk_that_does_not_answer_costs_the_lease_of_who_leads_and_the_life_of_who_does_not() {
        let stuck = |t| ShardProgress { disk_waiting_since: Nanos(1), ..ready(t) };
        let timing = Timing::default();
        assert_eq!(ticks_to_hang(6_000, TICK, stuck), None, "29.995 s");
        assert_eq!(ticks_to_hang(6_002, TICK, stuck), Some((6_000, Hang::Disk(ShardId(0)))));
        let busy = |t| ShardProgress { disk_waiting_since: Nanos(t * TICK), ..ready(t) };
        assert_eq!(ticks_to_hang(10_000, TICK, busy), None);
        assert_eq!(ticks_of_lease(1000, stuck), timing.disk_lease_limit.as_millis() as u64 / 5);
        let mut leads = Detector::new(1);
        for t in 0..20_000 {
            assert_eq!(
                leads.observe(Nanos(t * TICK), &[stuck(t)], true, &timing),
                None,
                "a leader is spared"
            );
        }
        let demoted = leads.observe(Nanos(20_000 * TICK), &[stuck(20_000)], false, &timing);
        assert_eq!(demoted, Some(Hang::Disk(ShardId(0))), "somebody else leads now");
    }

    #[test]
    fn a_start_takes_as_long_as_it_works() {
        assert_eq!(ticks_to_hang(1000, TICK, |_| ShardProgress::default()), None);
        let recovers = |standing| ShardProgress { standing, ..ShardProgress::default() };
        let limit = STARTING_LIMIT.as_millis() as u64 / 5;
        assert_eq!(ticks_to_hang(limit + 9, TICK, |_| recovers(Standing::Asleep)), Some((limit, LOOP)));
        assert_eq!(ticks_to_hang(2 * limit, TICK, |_| recovers(Standing::Working)), None);
    }
}
