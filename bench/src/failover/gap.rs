//! How long nobody got an answer: the write gap around a blow.
//!
//! The gap is the longest time between two consecutive acknowledgements, of all those intervals that are
//! under way when the blow falls or begin within [`AFTERMATH`] after it. The first kind alone would miss a
//! gap that begins only when the answers already on their way have been read.

use std::time::Duration;

/// A gap caused by a blow has begun within this time after it.
pub const AFTERMATH: Duration = Duration::from_millis(100);

/// The gap that a blow at `blow_at` made in `acks` (nanoseconds of one clock, rising); `None` if no two
/// acknowledgements lie around it.
pub fn around(acks: &[u64], blow_at: u64) -> Option<Duration> {
    let first = acks.partition_point(|ack| *ack <= blow_at).saturating_sub(1);
    let aftermath = blow_at + AFTERMATH.as_nanos() as u64;
    acks[first..]
        .windows(2)
        .take_while(|pair| pair[0] <= aftermath)
        .map(|pair| Duration::from_nanos(pair[1] - pair[0]))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_gap_begins_with_the_last_answer_before_the_blow() {
        let acks = [10 * MS, 11 * MS, 14 * MS, 15 * MS];
        assert_eq!(around(&acks, 12 * MS), Some(Duration::from_millis(3)));
    }

    #[test]
    fn answers_under_way_do_not_hide_the_gap() {
        let acks = [10 * MS, 12 * MS, 13 * MS, 60 * MS, 61 * MS];
        assert_eq!(around(&acks, 11 * MS), Some(Duration::from_millis(47)));
    }

    #[test]
    fn later_and_earlier_gaps_do_not_count() {
        let acks = [0, 500 * MS, 502 * MS, 620 * MS, 2000 * MS];
        assert_eq!(around(&acks, 501 * MS), Some(Duration::from_millis(118)));
    }

    #[test]
    fn without_answers_there_is_no_gap_to_state() {
        assert_eq!(around(&[], 5), None);
        assert_eq!(around(&[3], 5), None);
    }
}
