//! The warden's two clocks.

use agency::ids::Nanos;
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of everything in the warden: `CLOCK_BOOTTIME`.
pub fn now() -> Nanos {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Nanos(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// Wall time in ms since the epoch of Unix, 0 where the clock is before that: for people, and for incarnations
/// that never come twice.
pub(super) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
