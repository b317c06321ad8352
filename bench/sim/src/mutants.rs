//! Mutants: each takes one defence away, and a checker must notice. A simulator that lets them pass proves
//! nothing.
//!
//! Those of the shells (disk, store, page, wire) are played by the simulator's own shells; those of the cores
//! are switches of the crates' `mutants` modules, which only a build with the feature `mutants` has. Each says
//! which faults bring it to light, so that few seeds are enough.

use crate::fault::Fault;
use node::replication::message::{HEADER_BYTES, MessageKind, RawHeader};

/// One defence less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Rule 1: the agent's store says durable before it is.
    StoreLies,
    /// Rule 2: the disk says durable before it is.
    DiskLies,
    /// Rule 2: followers acknowledge as durable what they have only received.
    AcknowledgesReceipt,
    /// Rule 8: a node that lost its disk comes back under its old identity.
    WipedUnnoticed,
    /// Rule 9: a turn that stood still ends by the clock of its beginning.
    StaleClock,
    /// Rule 10: followers are told that all they are sent is committed.
    AppliesUncommitted,
    /// Rule 14: a failed write is reported as done.
    IgnoresFailedWrites,
    /// Rule 20: the log is read while the kernel still writes to it for a process that died.
    ReadsTooEarly,
    /// Rule 21: a thread that works is taken for one that is stopped.
    KillsWorkers,
    /// Rule 15: a death is reported of a node that only stands still.
    FalseDeath,
    /// Rule 18: a restarted node goes on as the incarnation it was.
    SameIncarnation,
    Engine(engine::mutants::Mutant),
    Agency(agency::mutants::Mutant),
    Faces(faces::mutants::Mutant),
    Node(node::mutants::Mutant),
}

/// A mutant with what shows it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub mutant: Mutant,
    /// The rule of the design whose defence is missing; 0: that a read shows the key's value goes without saying.
    pub rule: u8,
    /// The faults that strike in its runs; empty: those that the seed draws.
    pub kinds: &'static [Fault],
    /// How many clients its runs have.
    pub clients: usize,
    /// How many of them speak HTTP.
    pub http_clients: usize,
    /// Its runs have a crowd and slow cores, and no faults.
    pub crowded: bool,
    /// A seed that has noticed it, where the hunt begins.
    pub first: u64,
}

/// So many seeds, from the first on, must be enough.
pub const SEEDS: u64 = 60;

const fn known(mutant: Mutant, rule: u8, kinds: &'static [Fault], clients: usize, first: u64) -> Known {
    Known { mutant, rule, kinds, clients, http_clients: 0, crowded: false, first }
}

/// Noticed without any fault, by what a crowd does to slow cores.
const fn by_crowd(mutant: Mutant, rule: u8, first: u64) -> Known {
    Known { crowded: true, ..known(mutant, rule, &[], 4, first) }
}

/// The same, noticed by clients that speak HTTP.
const fn over_http(known: Known) -> Known {
    Known { http_clients: known.clients / 2, ..known }
}

use agency::mutants::Mutant as A;
use engine::mutants::Mutant as E;
use faces::mutants::Mutant as F;
use node::mutants::Mutant as N;

const CRASHES: &[Fault] = &[
    Fault::KillNode,
    Fault::LosePower,
    Fault::Blackout,
    Fault::KillPromoted,
    Fault::KillRewinding,
    Fault::KillTwice,
];
const CUTS: &[Fault] =
    &[Fault::KillNode, Fault::Estrange, Fault::Isolate, Fault::BlockNodes, Fault::BlockWardens];
const DUELS: &[Fault] = &[
    Fault::KillVoting,
    Fault::KillEvicting,
    Fault::KillEvicting,
    Fault::Flap,
    Fault::Estrange,
    Fault::Isolate,
    Fault::BlockWardens,
    Fault::BlockNodes,
    Fault::LoseMessages,
];
const ADMISSIONS: &[Fault] =
    &[Fault::KillAdmitting, Fault::KillAdmitting, Fault::KillNode, Fault::BlockNodes];
const STALLS: &[Fault] = &[Fault::StallDisk, Fault::StallDisk, Fault::Blackout];
const STILL: &[Fault] = &[Fault::PauseHost];
const LOST_DISKS: &[Fault] = &[Fault::LoseDisk, Fault::LosePower, Fault::KillNode, Fault::Blackout];
const FLIPS: &[Fault] = &[Fault::FlipBit, Fault::FlipBit, Fault::KillNode, Fault::Blackout];

/// All of them, by rule.
pub const ALL: &[Known] = &[
    known(Mutant::Node(N::MixesUpValues), 0, &[Fault::KillNode], 6, 8),
    over_http(known(
        Mutant::Faces(F::ForgetsRepeats),
        0,
        &[Fault::KillNode, Fault::KillNode, Fault::BlockNodes],
        6,
        1,
    )),
    known(Mutant::StoreLies, 1, DUELS, 8, 244),
    known(Mutant::Agency(A::QuorumOfOne), 1, DUELS, 8, 1),
    known(Mutant::Agency(A::BreaksPromises), 1, DUELS, 8, 50),
    known(Mutant::DiskLies, 2, CRASHES, 8, 1),
    known(Mutant::AcknowledgesReceipt, 2, STALLS, 6, 4),
    known(Mutant::Node(N::CommitsAlone), 2, CRASHES, 8, 1),
    over_http(known(Mutant::Node(N::SettlesByGuess), 2, CUTS, 6, 1)),
    known(Mutant::Agency(A::PromotesAnyone), 3, CRASHES, 8, 5),
    known(Mutant::Node(N::StaysWithOldLeader), 3, CRASHES, 8, 4),
    known(Mutant::Agency(A::ForgetsUndecided), 5, DUELS, 8, 62),
    known(Mutant::Node(N::AdmitsEarly), 6, ADMISSIONS, 8, 4),
    known(Mutant::Node(N::StopsWithoutMajority), 7, &[Fault::KillNode], 8, 1),
    known(Mutant::WipedUnnoticed, 8, LOST_DISKS, 6, 48),
    known(Mutant::Agency(A::TrustsStrangers), 8, LOST_DISKS, 6, 54),
    known(Mutant::Node(N::ReadsWithoutLease), 9, STILL, 8, 18),
    known(Mutant::StaleClock, 9, STILL, 8, 76),
    known(Mutant::Node(N::ServesUncommitted), 10, CUTS, 8, 2),
    known(Mutant::AppliesUncommitted, 10, CUTS, 6, 125),
    known(Mutant::Node(N::DropsSilentFollowers), 11, CUTS, 6, 1),
    known(Mutant::Node(N::TruncatesByLength), 12, CUTS, 6, 1),
    known(Mutant::Engine(E::TornTailAlways), 12, FLIPS, 6, 23),
    known(Mutant::Node(N::LeadsDamaged), 12, FLIPS, 6, 23),
    known(Mutant::Engine(E::ThrowsAwayRewound), 13, CUTS, 6, 1),
    known(Mutant::IgnoresFailedWrites, 14, &[Fault::WriteError, Fault::KillNode], 6, 1),
    known(Mutant::FalseDeath, 15, STILL, 6, 1),
    known(Mutant::Agency(A::NeverCallsHangs), 15, &[Fault::HangDisk], 6, 1),
    known(Mutant::Agency(A::BelievesOneWay), 16, &[Fault::KillNode], 6, 1),
    known(Mutant::Node(N::CountsPendingEviction), 17, CUTS, 6, 1),
    known(Mutant::Node(N::IgnoresPendingAdmission), 17, ADMISSIONS, 6, 121),
    known(Mutant::SameIncarnation, 18, CRASHES, 6, 1),
    known(Mutant::Node(N::ServesBeforeStart), 19, CRASHES, 6, 8),
    known(Mutant::ReadsTooEarly, 20, &[Fault::KillNode], 8, 1),
    by_crowd(Mutant::KillsWorkers, 21, 1),
    by_crowd(Mutant::Node(N::SlowIsGone), 22, 5),
    known(Mutant::Node(N::BlamesOthersForOwnDisk), 22, &[Fault::KillNode], 6, 1),
    known(Mutant::Node(N::NeverYields), 22, &[Fault::KillNode], 6, 2),
    known(Mutant::Node(N::YieldsToAnyone), 22, &[Fault::KillNode], 6, 1),
    known(Mutant::Agency(A::TrustsWithheldLeases), 15, &[Fault::KillNode], 6, 4),
    known(Mutant::Agency(A::CampaignsOnAStalledDisk), 25, &[Fault::KillNode], 6, 1),
    known(Mutant::Engine(E::AcceptsTornFrames), 20, CRASHES, 6, 56),
];

impl Known {
    /// The mutant's name.
    pub fn name(&self) -> String {
        match self.mutant {
            Mutant::Engine(mutant) => format!("{mutant:?}"),
            Mutant::Agency(mutant) => format!("{mutant:?}"),
            Mutant::Faces(mutant) => format!("{mutant:?}"),
            Mutant::Node(mutant) => format!("{mutant:?}"),
            shell => format!("{shell:?}"),
        }
    }

    /// The mutant of this name.
    pub fn named(name: &str) -> Option<&'static Known> {
        ALL.iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }
}

/// This thread's cores lack what the mutant takes away, until this is dropped.
pub struct TakenAway(());

impl TakenAway {
    pub fn new(mutant: Option<Mutant>) -> TakenAway {
        let engine = if let Some(Mutant::Engine(mutant)) = mutant { Some(mutant) } else { None };
        let agency = if let Some(Mutant::Agency(mutant)) = mutant { Some(mutant) } else { None };
        let faces = if let Some(Mutant::Faces(mutant)) = mutant { Some(mutant) } else { None };
        let node = if let Some(Mutant::Node(mutant)) = mutant { Some(mutant) } else { None };
        take_away(engine, agency, faces, node);
        TakenAway(())
    }
}

impl Drop for TakenAway {
    fn drop(&mut self) {
        take_away(None, None, None, None);
    }
}

#[cfg(feature = "mutants")]
fn take_away(engine: Option<E>, agency: Option<A>, faces: Option<F>, node: Option<N>) {
    engine::mutants::take_away(engine);
    agency::mutants::take_away(agency);
    faces::mutants::take_away(faces);
    node::mutants::take_away(node);
}

/// The cores of this build have all their defences, and nobody may believe that one was taken away.
#[cfg(not(feature = "mutants"))]
fn take_away(engine: Option<E>, agency: Option<A>, faces: Option<F>, node: Option<N>) {
    let none = engine.is_none() && agency.is_none() && faces.is_none() && node.is_none();
    assert!(none, "a core's mutant needs the feature `mutants`");
}

impl Mutant {
    /// What it makes of bytes that a node sends to another.
    pub fn distort(self, bytes: &mut [u8], group: u64) {
        let Some(Ok(mut header)) = bytes.get(..HEADER_BYTES).map(|head| RawHeader::decode(head, group))
        else {
            return;
        };
        match (self, header.kind) {
            (Mutant::AcknowledgesReceipt, MessageKind::Ack) => header.a = header.lsn.0,
            (Mutant::AppliesUncommitted, MessageKind::Append) => {
                header.a = header.lsn.0 + header.body_bytes as u64;
            }
            _ => return,
        }
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    }
}
