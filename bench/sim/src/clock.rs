//! A host's `CLOCK_BOOTTIME`: the simulator's true time, shifted and at its own speed.
//!
//! Promises that local time never falls. A reboot makes a new clock that starts near zero. A clock stands as long as
//! its host does: then nothing on the host runs, whatever is started there meanwhile.

use agency::ids::Nanos;

const MILLION: i128 = 1_000_000;

/// One host's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The true time at which it showed `local`, or will: until then it stands.
    truth: u64,
    local: u64,
    /// How much faster than true time it runs, in millionths.
    drift_ppm: i64,
}

impl Clock {
    /// A clock that shows `local` at the true time `truth`.
    pub fn new(truth: u64, local: u64, drift_ppm: i64) -> Clock {
        Clock { truth, local, drift_ppm }
    }

    /// What it shows at the true time `truth`.
    pub fn local(&self, truth: u64) -> Nanos {
        let passed = i128::from(truth.saturating_sub(self.truth));
        Nanos(self.local + (passed * (MILLION + i128::from(self.drift_ppm)) / MILLION) as u64)
    }

    /// The first true time at which it shows `local` or more.
    pub fn truth(&self, local: Nanos) -> u64 {
        let passed = i128::from(local.0.saturating_sub(self.local));
        let speed = MILLION + i128::from(self.drift_ppm);
        let truth = (passed * MILLION + speed - 1) / speed;
        self.truth.saturating_add(u64::try_from(truth).unwrap_or(u64::MAX))
    }

    /// Goes on at another speed from the true time `truth`, or from when it no longer stands.
    pub fn set_drift(&mut self, truth: u64, drift_ppm: i64) {
        *self = Clock::new(truth.max(self.truth), self.local(truth).0, drift_ppm);
    }

    /// Until which true time it stands; one that is over where it goes.
    pub fn stands_until(&self) -> u64 {
        self.truth
    }

    /// Stands no longer than until the true time `truth`.
    pub fn go_on(&mut self, truth: u64) {
        self.truth = self.truth.min(truth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_and_true_time_fit_together() {
        for drift in [-20_000, -1, 0, 7, 20_000] {
            let clock = Clock::new(1_000, 77, drift);
            for truth in [1_000, 1_001, 5_000_000, 3_000_000_000] {
                let local = clock.local(truth);
                assert!(clock.truth(local) <= truth && clock.local(clock.truth(local)) >= local);
            }
        }
    }

    #[test]
    fn a_clock_that_stands_goes_on_from_where_it_stood() {
        let mut clock = Clock::new(5_000, 77, 0);
        assert_eq!((clock.stands_until(), clock.local(4_000)), (5_000, Nanos(77)));
        clock.set_drift(3_000, 0);
        assert_eq!((clock.stands_until(), clock.local(4_000)), (5_000, Nanos(77)));
        clock.go_on(4_000);
        assert_eq!((clock.stands_until(), clock.local(4_500)), (4_000, Nanos(577)));
        // One that goes is not touched.
        clock.go_on(6_000);
        assert_eq!(clock.local(7_000), Nanos(3_077));
    }
}
