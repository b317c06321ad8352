//! For how long a leader has waited for each member, and for how long whoever kept everybody waiting must have kept
//! up before it counts again: slow is not gone (rule 22, `docs/STEADY.md`).
//!
//! Knows two clocks. *Attended* time leaves out the leader's own stalls, so that a stall of the whole host does not
//! look like one of a member. *Patient* time leaves out the stalls of the leader's own disk, too, so that one that
//! both share evicts nobody. Decides nothing about the configuration.

use super::message::DiskSign;
use agency::ids::{MAX_MEMBERS, Nanos, NodeId};
use engine::ids::Lsn;
use std::time::Duration;

/// How long it must have kept up after it was too slow for the first time.
const CALM_FIRST: Duration = Duration::from_millis(100);
/// The same at most, however often it was.
const CALM_MOST: Duration = Duration::from_secs(10);
/// A strike is forgiven after this long without another.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// More strikes change nothing.
const MOST_STRIKES: u32 = 8;

const _: () = assert!(CALM_FIRST.as_millis() << (MOST_STRIKES - 1) >= CALM_MOST.as_millis());

/// How calm somebody must be, after all that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calm {
    strikes: u32,
    /// The newest strike, or when the newest was forgiven.
    since: Nanos,
}

impl Calm {
    /// It was too slow once more.
    pub fn strike(&mut self, now: Nanos) {
        self.strikes = (self.strikes + 1).min(MOST_STRIKES);
        self.since = now;
    }

    /// All is well with it at this moment; `false` in `well` begins the time anew.
    pub fn note(&mut self, well: bool, now: Nanos) {
        if !well {
            self.since = now;
        } else if self.strikes > 0 && now >= self.since + FORGIVEN_AFTER {
            self.strikes -= 1;
            self.since = now;
        }
    }

    /// For how long it must have kept up.
    pub fn needed(&self) -> Duration {
        match self.strikes {
            0 => Duration::ZERO,
            strikes => CALM_MOST.min(CALM_FIRST * (1 << (strikes - 1))),
        }
    }

    /// Whether that much time has passed since the newest strike.
    pub fn is_over(&self, now: Nanos) -> bool {
        self.strikes == 0 || now >= self.since + self.needed()
    }
}

/// A disk of which nothing was heard to end for longer than this does not move steadily.
const BEAT_GAP: Duration = Duration::from_millis(30);

/// Whether a member's disk moves without a break, as far as is heard of it.
#[derive(Clone, Copy, Debug, Default)]
struct Beats {
    last: DiskSign,
    /// When the newest was heard of.
    at: Nanos,
    /// The first of those that came without a break; `None`: there is one now.
    since: Option<Nanos>,
}

impl Beats {
    fn heard(&mut self, sign: DiskSign, now: Nanos) {
        let beat = sign.beats != self.last.beats;
        if sign.stands || now.since(self.at) > BEAT_GAP {
            self.since = None;
        }
        if beat {
            self.at = now;
            if !sign.stands {
                self.since.get_or_insert(now);
            }
        }
        self.last = sign;
    }

    fn steady_for(&self, now: Nanos) -> Duration {
        let fresh = now.since(self.at) <= BEAT_GAP;
        self.since.filter(|_| fresh).map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// The two clocks of a leader at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub now: Nanos,
    pub attended: Nanos,
    pub patient: Nanos,
}

/// What a leader remembers of a member, whatever becomes of its connections.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Attended time of the newest word on a connection that counts.
    heard: Nanos,
    /// Patient time in which its durable cursor moved last, or had nothing to wait for.
    moved: Nanos,
    beats: Beats,
    /// The most that it ever acknowledged as durable in this epoch.
    acknowledged: Lsn,
    /// Since when, in attended time, it has kept up without a break.
    keeps_up: Option<Nanos>,
    calm: Calm,
}

/// See the head of this file.
pub(crate) struct Patience {
    members: [Member; MAX_MEMBERS],
}

impl Patience {
    /// The leadership begins: everybody was heard of just now.
    pub fn new(at: Moment) -> Patience {
        let member = Member {
            heard: at.attended,
            moved: at.patient,
            beats: Beats::default(),
            acknowledged: Lsn(0),
            keeps_up: None,
            calm: Calm::default(),
        };
        Patience { members: [member; MAX_MEMBERS] }
    }

    fn of(&mut self, node: NodeId) -> &mut Member {
        &mut self.members[usize::from(node.0)]
    }

    /// It says that it holds everything up to `durable` on its disk, and how that does.
    pub fn heard(&mut self, node: NodeId, durable: Lsn, disk: DiskSign, at: Moment) {
        let member = self.of(node);
        member.heard = at.attended;
        member.beats.heard(disk, at.now);
        if durable > member.acknowledged {
            member.acknowledged = durable;
            member.moved = at.patient;
        }
    }

    /// It begins anew from less than it had, and may: nobody counted on it.
    pub fn forget(&mut self, node: NodeId) {
        self.of(node).acknowledged = Lsn(0);
    }

    /// The most that it ever acknowledged as durable.
    pub fn acknowledged(&self, node: NodeId) -> Lsn {
        self.members[usize::from(node.0)].acknowledged
    }

    /// At a turn's end: whether its durable cursor has nothing to wait for, whether it keeps up, and whether it is
    /// in the in-sync set.
    pub fn note(&mut self, node: NodeId, rests: bool, keeps_up: bool, in_sync: bool, at: Moment) {
        let member = self.of(node);
        if rests {
            member.moved = at.patient;
        }
        member.keeps_up = if keeps_up { member.keeps_up.or(Some(at.attended)) } else { None };
        member.calm.note(in_sync, at.attended);
    }

    /// For how long nothing was heard of it.
    pub fn silent_for(&self, node: NodeId, at: Moment) -> Duration {
        at.attended.since(self.members[usize::from(node.0)].heard)
    }

    /// For how long it has kept everybody waiting.
    pub fn stands_for(&self, node: NodeId, at: Moment) -> Duration {
        at.patient.since(self.members[usize::from(node.0)].moved)
    }

    /// For how long its disk has been seen to move without a break; zero if it does not now.
    pub fn disk_moves_for(&self, node: NodeId, at: Moment) -> Duration {
        self.members[usize::from(node.0)].beats.steady_for(at.now)
    }

    /// It is given up for slowness, or gave up itself because its disk stood still.
    pub fn strike(&mut self, node: NodeId, at: Moment) {
        self.of(node).calm.strike(at.attended);
    }

    /// Whether it has kept up for as long as it must have before it counts again.
    pub fn is_calm(&self, node: NodeId, at: Moment) -> bool {
        let member = &self.members[usize::from(node.0)];
        member.keeps_up.is_some_and(|since| at.attended.since(since) >= member.calm.needed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: NodeId = NodeId(1);

    fn at(ms: u64) -> Moment {
        Moment { now: Nanos(ms * 1_000_000), attended: Nanos(ms * 1_000_000), patient: Nanos(ms * 1_000_000) }
    }

    #[test]
    fn calm_grows_with_each_strike_up_to_its_bound_and_shrinks_by_the_minute() {
        let mut calm = Calm::default();
        assert!(calm.needed().is_zero() && calm.is_over(Nanos(0)));
        let mut needed = Vec::new();
        for _ in 0..9 {
            calm.strike(at(0).attended);
            needed.push(calm.needed().as_millis());
        }
        assert_eq!(needed, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert!(!calm.is_over(at(9_999).attended) && calm.is_over(at(10_000).attended));
        calm.note(true, at(59_999).attended);
        assert_eq!(calm.needed(), CALM_MOST);
        calm.note(true, at(60_000).attended);
        calm.note(true, at(100_000).attended);
        assert_eq!(calm.needed().as_millis(), 6400, "one a minute");
        calm.note(false, at(119_000).attended);
        calm.note(true, at(121_000).attended);
        assert_eq!(calm.needed().as_millis(), 6400, "only minutes in the set count");
    }

    #[test]
    fn a_cursor_that_moves_or_rests_keeps_nobody_waiting() {
        let mut patience = Patience::new(at(0));
        patience.heard(B, Lsn(8), DiskSign::default(), at(10));
        patience.heard(B, Lsn(8), DiskSign::default(), at(500));
        assert_eq!(patience.stands_for(B, at(510)).as_millis(), 500);
        assert_eq!(patience.silent_for(B, at(510)).as_millis(), 10);
        patience.note(B, true, true, true, at(520));
        assert_eq!(patience.stands_for(B, at(530)).as_millis(), 10);
        patience.heard(B, Lsn(16), DiskSign::default(), at(600));
        assert_eq!(patience.stands_for(B, at(600)).as_millis(), 0);
    }

    #[test]
    fn who_was_too_slow_keeps_up_for_a_while_without_a_break_before_it_counts() {
        let mut patience = Patience::new(at(0));
        assert!(!patience.is_calm(B, at(0)), "it does not keep up yet");
        patience.note(B, false, true, false, at(1));
        assert!(patience.is_calm(B, at(1)), "who never was slow need not wait");
        patience.strike(B, at(10));
        patience.strike(B, at(10));
        patience.note(B, false, true, false, at(20));
        assert!(patience.is_calm(B, at(201)) && !patience.is_calm(B, at(200)));
        patience.note(B, false, false, false, at(201));
        patience.note(B, false, true, false, at(202));
        assert!(!patience.is_calm(B, at(401)) && patience.is_calm(B, at(402)));
    }

    #[test]
    fn a_disk_moves_as_long_as_its_beats_come_without_a_break() {
        let mut patience = Patience::new(at(0));
        let mut beat = |beats: u32, stands: bool, ms: u64| {
            patience.heard(B, Lsn(8), DiskSign { beats, stands }, at(ms));
            patience.disk_moves_for(B, at(ms)).as_millis()
        };
        assert_eq!(beat(0, false, 100), 0, "nothing has ended yet");
        assert_eq!([beat(1, false, 110), beat(2, false, 120), beat(2, false, 125)], [0, 10, 15]);
        assert_eq!(beat(3, false, 150), 40, "as long as the gap allows");
        assert_eq!(beat(3, false, 181), 0, "too long without one");
        assert_eq!([beat(4, false, 190), beat(5, false, 200)], [0, 10], "and anew");
        assert_eq!([beat(6, true, 210), beat(7, false, 215), beat(8, false, 220)], [0, 0, 5], "it stood");
        let silent = |ms: u64| patience.disk_moves_for(B, at(ms)).as_millis();
        assert_eq!([silent(250), silent(251)], [35, 0], "nothing more is heard");
    }
}
