//! What is asked of the disk and not answered yet: for the warden, and to notice what does not end.
//!
//! Promises that each command gets one answer, and each answer had a command. Times of cold work are patient time:
//! neither a stall of our own counts nor one in which the disk does not answer log writes either. A disk that stands
//! still has not failed; the warden judges that.

use agency::ids::Nanos;
use engine::disk::DiskCommand;
use std::collections::BTreeMap;
use std::time::Duration;

/// A log write that is under way for longer: the disk stands still.
const DISK_STALL: Duration = Duration::from_millis(20);
/// How often the pulse block tells what is durable and committed.
const PULSE_INTERVAL: Duration = Duration::from_millis(100);
/// The same while a leader wants to know whether this disk moves.
const PROOF_INTERVAL: Duration = Duration::from_millis(10);
/// Pause before a failed preparation of a segment (full disk) is tried again.
const PREPARE_RETRY: Duration = Duration::from_secs(1);
/// A preparation, a save or a cut that takes longer than this while log writes end will not end: zeroing a large segment takes
/// seconds on a slow disk.
const COLD_PATIENCE: Duration = Duration::from_secs(20);
/// The same of a leader that still cuts the torn tail that its last life left: it serves nobody until that ends, and
/// little is to be cut.
const LEADER_CUT_PATIENCE: Duration = Duration::from_secs(5);

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Log writes under way, and when they were asked for.
    writes: BTreeMap<u64, Nanos>,
    /// Preparations, saves and cuts under way, and in which patient time they were asked for.
    cold: BTreeMap<u64, Nanos>,
    ok_at: Nanos,
    /// Hot writes that ended well; wraps.
    beats: u32,
    pulse_at: Nanos,
    prepare_retry_at: Option<Nanos>,
}

impl Disk {
    /// Notes a command that is about to be given.
    pub fn asked(&mut self, op: &DiskCommand, now: Nanos, patient: Nanos) {
        let before = if op.work.is_cold() {
            self.cold.insert(op.ticket, patient)
        } else {
            self.writes.insert(op.ticket, now)
        };
        assert!(before.is_none(), "ticket {} was given twice", op.ticket);
    }

    /// Notes the answer to a command.
    pub fn answered(&mut self, ticket: u64, fine: bool, now: Nanos) {
        let was_write = self.writes.remove(&ticket).is_some();
        let was_cold = self.cold.remove(&ticket).is_some();
        assert!(was_write != was_cold, "the disk answers ticket {ticket}, which waits for nothing");
        if was_write && fine {
            self.ok_at = now;
            self.beats = self.beats.wrapping_add(1);
        }
    }

    /// The newest log write that ended well.
    pub fn ok_at(&self) -> Nanos {
        self.ok_at
    }

    /// How many log writes and pulses ended well; wraps.
    pub fn beats(&self) -> u32 {
        self.beats
    }

    /// Since when the oldest log write has been under way; 0: none is.
    pub fn waiting_since(&self) -> Nanos {
        self.writes.values().min().copied().unwrap_or_default()
    }

    /// Since when the oldest log write has been under way, if that is longer than a disk takes that moves.
    pub fn stands_since(&self, now: Nanos) -> Option<Nanos> {
        self.writes.values().min().copied().filter(|since| now.since(*since) > DISK_STALL)
    }

    /// Whether cold work takes longer than any does. `cuts_as_leader`: it leads, and still cuts its own tail.
    /// The warden watches the log writes; nobody else watches these.
    pub fn hangs(&self, patient: Nanos, cuts_as_leader: bool) -> bool {
        let patience = if cuts_as_leader { LEADER_CUT_PATIENCE } else { COLD_PATIENCE };
        self.cold.values().any(|since| patient > *since + patience)
    }

    /// The disk is full: a preparation is tried again after a while.
    pub fn is_full(&mut self, now: Nanos) {
        self.prepare_retry_at.get_or_insert(now + PREPARE_RETRY);
    }

    /// Whether that while is over, now.
    pub fn takes_retry(&mut self, now: Nanos) -> bool {
        self.prepare_retry_at.take_if(|at| now >= *at).is_some()
    }

    /// Whether the pulse is due, now. `doubted`: somebody wants to know whether this disk moves.
    pub fn takes_pulse(&mut self, now: Nanos, doubted: bool) -> bool {
        let interval = if doubted { PROOF_INTERVAL } else { PULSE_INTERVAL };
        self.pulse_at = self.pulse_at.min(now + interval);
        let due = now >= self.pulse_at;
        if due {
            self.pulse_at = now + interval;
        }
        due
    }

    /// When the next pulse is due.
    pub fn pulse_at(&self) -> Nanos {
        self.pulse_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::disk::DiskWork;
    use engine::ids::SegmentId;

    fn cut(ticket: u64) -> DiskCommand {
        DiskCommand { ticket, work: DiskWork::PrepareSegment { segment: SegmentId(1) } }
    }

    #[test]
    fn cold_work_that_does_not_end_is_noticed_in_patient_time() {
        let mut disk = Disk::default();
        disk.asked(&cut(1), Nanos(7), Nanos(5));
        assert!(!disk.hangs(Nanos(5) + LEADER_CUT_PATIENCE, true));
        assert!(disk.hangs(Nanos(6) + LEADER_CUT_PATIENCE, true));
        assert!(!disk.hangs(Nanos(6) + LEADER_CUT_PATIENCE, false));
        disk.answered(1, true, Nanos(9));
        assert!(!disk.hangs(Nanos(u64::MAX), false));
        assert_eq!(disk.ok_at(), Nanos(0), "only log writes count");
    }

    #[test]
    #[should_panic(expected = "waits for nothing")]
    fn an_answer_to_nothing_is_a_bug() {
        Disk::default().answered(1, true, Nanos(0));
    }
}
