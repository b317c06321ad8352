//! The epochs of a log and where each began: what two nodes compare to find where their logs part.
//!
//! A log's bytes are a function of (epoch, LSN): an epoch has one writer (rule 18). So two logs that both
//! hold an epoch from the same LSN are equal up to where the first of the two leaves that epoch.

use crate::ids::{Epoch, Lsn};

/// Epochs with the LSN of their first frame, oldest first; both rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory(Vec<(Epoch, Lsn)>);

impl EpochHistory {
    pub fn new() -> EpochHistory {
        EpochHistory::default()
    }

    /// The history with these entries, or `None` if they do not rise.
    pub fn from_entries(entries: Vec<(Epoch, Lsn)>) -> Option<EpochHistory> {
        let rises = entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1);
        rises.then_some(EpochHistory(entries))
    }

    pub fn entries(&self) -> &[(Epoch, Lsn)] {
        &self.0
    }

    /// The newest epoch; `Epoch(0)` for an empty log.
    pub fn last_epoch(&self) -> Epoch {
        self.0.last().map_or(Epoch(0), |&(epoch, _)| epoch)
    }

    /// The epoch of the byte at `lsn`, and where that epoch began.
    pub fn epoch_at(&self, lsn: Lsn) -> Option<(Epoch, Lsn)> {
        self.0.iter().rev().find(|&&(_, start)| start <= lsn).copied()
    }

    /// The end of the part that this log (which ends at `own_end`) surely shares with another;
    /// `Lsn(0)` if they share no epoch.
    pub fn common_point(&self, own_end: Lsn, other: &EpochHistory, other_end: Lsn) -> Lsn {
        for (mine, &entry) in self.0.iter().enumerate().rev() {
            let Ok(theirs) = other.0.binary_search(&entry) else { continue };
            let end_of = |history: &EpochHistory, at: usize, end: Lsn| {
                history.0.get(at + 1).map_or(end, |&(_, start)| start.min(end))
            };
            return end_of(self, mine, own_end).min(end_of(other, theirs, other_end));
        }
        Lsn(0)
    }

    /// Notes that the frame at `start` is the first of `epoch`.
    pub(crate) fn begin(&mut self, epoch: Epoch, start: Lsn) {
        let rises = self.0.last().is_none_or(|&(last, began)| last < epoch && began < start);
        assert!(rises && epoch > Epoch(0), "an epoch follows a lower one");
        self.0.push((epoch, start));
    }

    /// Forgets the epochs that began at or after `lsn`.
    pub(crate) fn cut(&mut self, lsn: Lsn) {
        while self.0.last().is_some_and(|&(_, start)| start >= lsn) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(entries: &[(u64, u64)]) -> EpochHistory {
        EpochHistory::from_entries(entries.iter().map(|&(e, s)| (Epoch(e), Lsn(s))).collect()).unwrap()
    }

    #[test]
    fn logs_part_where_the_first_leaves_the_last_shared_epoch() {
        let old_leader = history(&[(1, 0), (2, 100)]);
        let new_leader = history(&[(1, 0), (2, 100), (3, 200)]);
        assert_eq!(old_leader.common_point(Lsn(260), &new_leader, Lsn(900)), Lsn(200));
        assert_eq!(old_leader.common_point(Lsn(160), &new_leader, Lsn(900)), Lsn(160));
        assert_eq!(new_leader.common_point(Lsn(900), &old_leader, Lsn(260)), Lsn(200));
    }

    #[test]
    fn an_epoch_that_only_one_holds_is_not_shared() {
        let a = history(&[(1, 0), (2, 100)]);
        let b = history(&[(1, 0), (3, 64)]);
        assert_eq!(a.common_point(Lsn(500), &b, Lsn(500)), Lsn(64));
        assert_eq!(a.common_point(Lsn(500), &EpochHistory::new(), Lsn(0)), Lsn(0));
        assert_eq!(a.common_point(Lsn(500), &a, Lsn(300)), Lsn(300));
    }

    #[test]
    fn cutting_forgets_later_epochs() {
        let mut a = history(&[(1, 0), (2, 100), (5, 300)]);
        a.cut(Lsn(100));
        assert_eq!(a.entries(), &[(Epoch(1), Lsn(0))]);
        assert_eq!(a.epoch_at(Lsn(70)), Some((Epoch(1), Lsn(0))));
        assert!(EpochHistory::from_entries(vec![(Epoch(2), Lsn(0)), (Epoch(2), Lsn(8))]).is_none());
    }
}
