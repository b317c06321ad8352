//! Which values may a reader see? The judge of every test that kills something.
//!
//! Each key is a register. The oracle is told when each write was begun and, if it was acknowledged, when;
//! and of each read when it was begun, when it ended and what it saw. It then answers whether some order of
//! the operations that respects real time (linearizability; Herlihy and Wing 1990) explains the read:
//!
//! * a value that nobody began to write for this key is never right;
//! * nor is a value whose write was over before another write began that was itself over before the read
//!   began: an acknowledged write was lost, or the read was stale;
//! * a write that was never answered may have taken effect or not, and may do so late. Once a read saw it,
//!   it has taken effect, and from then on it counts like an acknowledged one.
//!
//! [`Oracle::settle`] closes a round: what is in doubt and unseen then may never show up again.
//!
//! The rules look at each read against writes and what earlier reads proved about them. They do not search
//! over orders of several writes in doubt, so they never accuse wrongly and miss only a swap between two
//! writes neither of which is over. Times are nanoseconds of one monotonic clock of one process.

use crate::workload::Stamp;
use std::collections::HashMap;
use thiserror::Error;

/// A read that no order of the operations explains.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// Nobody began to write this for this key, or only after the read was over.
    #[error("{key}: shows {seen:?}, which was never written")]
    NeverWritten { key: String, seen: Stamp },
    /// The read shows an older state than it must.
    #[error("{key}: shows {seen:?} although {newer:?} was {known} before the read began")]
    Lost { key: String, seen: Option<Stamp>, newer: Stamp, known: &'static str },
    /// A write in doubt showed up after the round in which it could have been decided.
    #[error("{key}: shows {seen:?}, which had not taken effect when its round was settled")]
    Resurrected { key: String, seen: Stamp },
}

#[derive(Clone, Copy, Debug)]
struct Write {
    stamp: Stamp,
    begun: u64,
    /// From when on it is certain to have taken effect; `None`: in doubt.
    over: Option<u64>,
    acknowledged: bool,
}

#[derive(Clone, Debug, Default)]
struct Register {
    /// Writes that a reader may still see, and some that it may not, in order of `begun`.
    writes: Vec<Write>,
    /// Highest sequence per writer that was dropped because it can never be right again.
    superseded: HashMap<u32, u64>,
    /// Writes that were in doubt and unseen when their round was settled.
    settled: Vec<Stamp>,
}

/// A register's list of writes is pruned when it grows beyond this.
const PRUNE_AT: usize = 64;

/// The history of a run, key by key.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    registers: HashMap<String, Register>,
    acknowledged: u64,
    in_doubt: u64,
}

impl Oracle {
    /// An oracle for keys none of which has a value.
    pub fn new() -> Oracle {
        Oracle::default()
    }

    /// A write is about to be sent. A stamp is used once.
    pub fn begin(&mut self, key: &str, stamp: Stamp, now: u64) {
        let register = match self.registers.get_mut(key) {
            Some(register) => register,
            None => self.registers.entry(key.to_owned()).or_default(),
        };
        register.writes.push(Write { stamp, begun: now, over: None, acknowledged: false });
        self.in_doubt += 1;
    }

    /// The write of this stamp was acknowledged.
    ///
    /// # Panics
    /// If it was never begun: the caller's bug.
    pub fn acknowledge(&mut self, key: &str, stamp: Stamp, now: u64) {
        let register = self.registers.get_mut(key).expect("acknowledged a key that nobody wrote");
        let write = register.writes.iter_mut().rev().find(|w| w.stamp == stamp);
        let write = write.expect("acknowledged a write that was not begun");
        write.over = Some(write.over.map_or(now, |seen| seen.min(now)));
        write.acknowledged = true;
        self.acknowledged += 1;
        self.in_doubt -= 1;
        if register.writes.len() > PRUNE_AT {
            register.prune();
        }
    }

    /// Judges a read of `key` that was begun at `from`, ended at `to` and saw `seen` (`None`: no value).
    pub fn observe(&mut self, key: &str, seen: Option<Stamp>, from: u64, to: u64) -> Result<(), Violation> {
        let Some(register) = self.registers.get_mut(key) else {
            return match seen {
                None => Ok(()),
                Some(seen) => Err(Violation::NeverWritten { key: key.to_owned(), seen }),
            };
        };
        // When the value seen was certainly in place: before anything for "no value".
        let over = match seen {
            None => Some(0),
            Some(seen) => match register.find(seen) {
                Known::Open(at) if register.writes[at].begun > to => {
                    return Err(Violation::NeverWritten { key: key.to_owned(), seen });
                }
                Known::Open(at) => register.writes[at].over,
                Known::Settled => return Err(Violation::Resurrected { key: key.to_owned(), seen }),
                Known::Superseded => Some(0),
                Known::Unknown => return Err(Violation::NeverWritten { key: key.to_owned(), seen }),
            },
        };
        if let Some(over) = over {
            let newer = register.writes.iter().find(|w| w.begun > over && w.over.is_some_and(|o| o < from));
            if let Some(newer) = newer {
                let known = if newer.acknowledged { "acknowledged" } else { "seen by another read" };
                return Err(Violation::Lost { key: key.to_owned(), seen, newer: newer.stamp, known });
            }
        }
        if let Some(seen) = seen
            && let Known::Open(at) = register.find(seen)
        {
            let write = &mut register.writes[at];
            write.over = Some(write.over.map_or(to, |o| o.min(to)));
        }
        Ok(())
    }

    /// Ends a round. The caller has made sure that no unanswered request is still on its way (the processes
    /// that could hold one are gone, or it was waited for) and has observed every key: what is still in
    /// doubt now has not taken effect and never may.
    pub fn settle(&mut self) {
        for register in self.registers.values_mut() {
            let settled = &mut register.settled;
            register.writes.retain(|w| {
                if w.over.is_none() {
                    settled.push(w.stamp);
                }
                w.over.is_some()
            });
            register.prune();
        }
        self.in_doubt = 0;
    }

    /// Every key that was ever written to.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.registers.keys().map(String::as_str)
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Writes begun and not answered since the last [`Oracle::settle`].
    pub fn in_doubt(&self) -> u64 {
        self.in_doubt
    }

    /// Takes over the history of another oracle.
    ///
    /// # Panics
    /// If both know a key: each key belongs to one oracle.
    pub fn absorb(&mut self, other: Oracle) {
        for (key, register) in other.registers {
            let before = self.registers.insert(key, register);
            assert!(before.is_none(), "two oracles wrote one key");
        }
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
    }
}

enum Known {
    Open(usize),
    Superseded,
    Settled,
    Unknown,
}

impl Register {
    fn find(&self, stamp: Stamp) -> Known {
        if let Some(at) = self.writes.iter().rposition(|w| w.stamp == stamp) {
            Known::Open(at)
        } else if self.settled.contains(&stamp) {
            Known::Settled
        } else if self.superseded.get(&stamp.writer).is_some_and(|s| stamp.sequence <= *s) {
            Known::Superseded
        } else {
            Known::Unknown
        }
    }

    /// Forgets writes that were over before an acknowledged one began: no later read may see them. (A read
    /// that is older than that acknowledgement and judged only now gets the benefit of the doubt.)
    fn prune(&mut self) {
        let Some(newest) = self.writes.iter().filter(|w| w.acknowledged).map(|w| w.begun).max() else {
            return;
        };
        let superseded = &mut self.superseded;
        self.writes.retain(|w| {
            let gone = w.over.is_some_and(|over| over < newest);
            if gone {
                let highest = superseded.entry(w.stamp.writer).or_default();
                *highest = (*highest).max(w.stamp.sequence);
            }
            !gone
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64) -> Stamp {
        Stamp { writer: 1, sequence }
    }

    /// Writes 1 (acknowledged at 20), 2 (acknowledged at 40), 3 (in doubt, begun at 50).
    fn history() -> Oracle {
        let mut oracle = Oracle::new();
        oracle.begin("k", stamp(1), 10);
        oracle.acknowledge("k", stamp(1), 20);
        oracle.begin("k", stamp(2), 30);
        oracle.acknowledge("k", stamp(2), 40);
        oracle.begin("k", stamp(3), 50);
        oracle
    }

    #[test]
    fn the_last_acknowledged_and_the_one_in_doubt_are_right() {
        assert_eq!(history().observe("k", Some(stamp(2)), 60, 70), Ok(()));
        assert_eq!(history().observe("k", Some(stamp(3)), 60, 70), Ok(()));
    }

    #[test]
    fn a_lost_acknowledged_write_is_found() {
        let lost = Err(Violation::Lost {
            key: "k".to_owned(),
            seen: Some(stamp(1)),
            newer: stamp(2),
            known: "acknowledged",
        });
        assert_eq!(history().observe("k", Some(stamp(1)), 60, 70), lost);
        assert!(matches!(history().observe("k", None, 60, 70), Err(Violation::Lost { seen: None, .. })));
    }

    #[test]
    fn a_value_never_written_is_found() {
        let never = |seen| Err(Violation::NeverWritten { key: "k".to_owned(), seen });
        assert_eq!(history().observe("k", Some(stamp(4)), 60, 70), never(stamp(4)));
        let stranger = Stamp { writer: 2, sequence: 1 };
        assert_eq!(history().observe("k", Some(stranger), 60, 70), never(stranger));
        assert!(Oracle::new().observe("other", Some(stamp(1)), 0, 1).is_err());
        assert_eq!(Oracle::new().observe("other", None, 0, 1), Ok(()));
    }

    #[test]
    fn a_value_from_the_future_is_found() {
        assert!(history().observe("k", Some(stamp(3)), 42, 45).is_err());
    }

    #[test]
    fn a_read_beside_a_write_may_see_either() {
        let mut oracle = Oracle::new();
        oracle.begin("k", stamp(1), 10);
        oracle.acknowledge("k", stamp(1), 30);
        assert_eq!(oracle.observe("k", None, 5, 40), Ok(()));
        assert_eq!(oracle.observe("k", Some(stamp(1)), 15, 20), Ok(()));
    }

    #[test]
    fn a_stale_read_after_a_read_is_found() {
        let mut oracle = history();
        assert_eq!(oracle.observe("k", Some(stamp(3)), 60, 70), Ok(()));
        let stale = oracle.observe("k", Some(stamp(2)), 80, 90);
        assert!(matches!(stale, Err(Violation::Lost { known: "seen by another read", .. })));
    }

    #[test]
    fn what_was_settled_unseen_may_not_come_back() {
        let mut oracle = history();
        assert_eq!(oracle.in_doubt(), 1);
        assert_eq!(oracle.observe("k", Some(stamp(2)), 60, 70), Ok(()));
        oracle.settle();
        assert_eq!(oracle.in_doubt(), 0);
        let back = oracle.observe("k", Some(stamp(3)), 80, 90);
        assert_eq!(back, Err(Violation::Resurrected { key: "k".to_owned(), seen: stamp(3) }));
    }

    #[test]
    fn what_was_settled_seen_stays() {
        let mut oracle = history();
        assert_eq!(oracle.observe("k", Some(stamp(3)), 60, 70), Ok(()));
        oracle.settle();
        assert_eq!(oracle.observe("k", Some(stamp(3)), 80, 90), Ok(()));
        assert!(oracle.observe("k", Some(stamp(2)), 80, 90).is_err());
    }

    #[test]
    fn a_late_write_in_doubt_may_win_until_it_was_seen() {
        let mut oracle = history();
        oracle.begin("k", stamp(4), 60);
        oracle.acknowledge("k", stamp(4), 70);
        // 3 was never answered: it may be ordered after 4 ...
        assert_eq!(oracle.clone().observe("k", Some(stamp(3)), 80, 90), Ok(()));
        // ... but not if it had been seen before 4 began.
        assert_eq!(oracle.observe("k", Some(stamp(3)), 52, 55), Ok(()));
        assert!(oracle.observe("k", Some(stamp(3)), 80, 90).is_err());
    }

    #[test]
    fn pruning_changes_no_verdict() {
        let mut oracle = Oracle::new();
        for n in 1..=1000 {
            oracle.begin("k", stamp(n), n * 10);
            oracle.acknowledge("k", stamp(n), n * 10 + 5);
        }
        assert!(oracle.registers["k"].writes.len() <= PRUNE_AT);
        assert_eq!(oracle.observe("k", Some(stamp(1000)), 20_000, 20_001), Ok(()));
        assert!(matches!(oracle.observe("k", Some(stamp(1)), 20_000, 20_001), Err(Violation::Lost { .. })));
        assert!(matches!(
            oracle.observe("k", Some(stamp(1001)), 20_000, 20_001),
            Err(Violation::NeverWritten { .. })
        ));
        assert_eq!(oracle.acknowledged(), 1000);
    }

    #[test]
    fn oracles_of_separate_keys_join() {
        let mut all = history();
        let mut other = Oracle::new();
        other.begin("l", stamp(9), 10);
        other.acknowledge("l", stamp(9), 20);
        all.absorb(other);
        assert_eq!(all.observe("l", Some(stamp(9)), 60, 70), Ok(()));
        assert_eq!((all.acknowledged(), all.in_doubt()), (3, 1));
    }
}
