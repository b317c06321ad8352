//! Mutants: each takes one defence away, and a checker must notice. A simulator that lets them pass proves
//! nothing.
//!
//! Those of the shells (disk, store, page, wire) are played by the simulator's own shells; those of the cores
//! are switches of the crates' `mutants` modules, which only a build with the feature `mutants` has. Each says
//! which faults bring it to light, so that few seeds are enough; its rule stands with the switch.

use crate::fault::Fault;
use ::mutants::Switch;
pub use ::mutants::lacks;
use node::replication::message::{HEADER_BYTES, MessageKind, RawHeader};

::mutants::defences! {
    /// One defence of the shells less, played by the simulator's own.
    pub enum Mutant {
        /// The agent's store says durable before it is.
        StoreLies: 1,
        /// The disk says durable before it is.
        DiskLies: 2,
        /// Followers acknowledge as durable what they have only received.
        AcknowledgesReceipt: 2,
        /// A node that lost its disk comes back under its old identity.
        WipedUnnoticed: 8,
        /// A turn that stood still ends by the clock of its beginning.
        StaleClock: 9,
        /// Followers are told that all they are sent is committed.
        AppliesUncommitted: 10,
        /// A failed write is reported as done.
        IgnoresFailedWrites: 14,
        /// The log is read while the kernel still writes to it for a process that died.
        ReadsTooEarly: 20,
        /// A thread that works is taken for one that is stopped.
        KillsWorkers: 21,
        /// A death is reported of a node that only stands still.
        FalseDeath: 15,
        /// A restarted node goes on as the incarnation it was.
        SameIncarnation: 18,
    }
}

/// A mutant with what shows it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub mutant: Switch,
    /// The faults that strike in its runs; empty: those that the seed draws.
    pub kinds: &'static [Fault],
    /// How many clients its runs have.
    pub clients: usize,
    /// How many of them speak HTTP.
    pub http_clients: usize,
    /// Its runs have a crowd and slow cores, and no faults.
    pub crowded: bool,
    /// With fewer members in sync no write is taken.
    pub min_in_sync: u8,
    /// A seed that has noticed it, where the hunt begins.
    pub first: u64,
}

/// So many seeds, from the first on, must be enough.
pub const SEEDS: u64 = 60;

const fn known(mutant: Switch, kinds: &'static [Fault], clients: usize, first: u64) -> Known {
    Known { mutant, kinds, clients, http_clients: 0, crowded: false, min_in_sync: 1, first }
}

/// Noticed without any fault, by what a crowd does to slow cores.
const fn by_crowd(mutant: Switch, first: u64) -> Known {
    Known { crowded: true, ..known(mutant, &[], 4, first) }
}

/// The same, noticed by clients that speak HTTP.
const fn over_http(known: Known) -> Known {
    Known { http_clients: known.clients / 2, ..known }
}

/// The same, where two copies are asked for.
const fn with_two_copies(known: Known) -> Known {
    Known { min_in_sync: 2, ..known }
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
    known(N::MixesUpValues.switch(), &[Fault::KillNode], 6, 8),
    over_http(known(
        F::ForgetsRepeats.switch(),
        &[Fault::KillNode, Fault::KillNode, Fault::BlockNodes],
        6,
        1,
    )),
    known(Mutant::StoreLies.switch(), DUELS, 8, 356),
    known(A::QuorumOfOne.switch(), DUELS, 8, 1),
    known(A::BreaksPromises.switch(), DUELS, 8, 50),
    known(Mutant::DiskLies.switch(), CRASHES, 8, 1),
    known(Mutant::AcknowledgesReceipt.switch(), STALLS, 6, 4),
    known(N::CommitsAlone.switch(), CRASHES, 8, 1),
    over_http(known(N::SettlesByGuess.switch(), CUTS, 6, 1)),
    known(A::PromotesAnyone.switch(), CRASHES, 8, 5),
    known(N::StaysWithOldLeader.switch(), CRASHES, 8, 4),
    known(A::ForgetsUndecided.switch(), DUELS, 8, 62),
    known(N::AdmitsEarly.switch(), ADMISSIONS, 8, 4),
    known(N::StopsWithoutMajority.switch(), &[Fault::KillNode], 8, 1),
    known(Mutant::WipedUnnoticed.switch(), LOST_DISKS, 6, 48),
    known(A::TrustsStrangers.switch(), LOST_DISKS, 6, 54),
    known(N::ReadsWithoutLease.switch(), STILL, 8, 18),
    known(Mutant::StaleClock.switch(), STILL, 8, 76),
    known(N::ServesUncommitted.switch(), CUTS, 8, 2),
    known(Mutant::AppliesUncommitted.switch(), CUTS, 6, 42),
    known(N::DropsSilentFollowers.switch(), CUTS, 6, 1),
    known(N::TruncatesByLength.switch(), CUTS, 6, 1),
    known(E::TornTailAlways.switch(), FLIPS, 6, 23),
    known(N::LeadsDamaged.switch(), FLIPS, 6, 23),
    known(E::ThrowsAwayRewound.switch(), CUTS, 6, 1),
    known(Mutant::IgnoresFailedWrites.switch(), &[Fault::WriteError, Fault::KillNode], 6, 1),
    known(Mutant::FalseDeath.switch(), STILL, 6, 1),
    known(A::NeverCallsHangs.switch(), &[Fault::HangDisk], 6, 1),
    known(A::BelievesOneWay.switch(), &[Fault::KillNode], 6, 1),
    known(N::CountsPendingEviction.switch(), CUTS, 6, 1),
    known(N::IgnoresPendingAdmission.switch(), ADMISSIONS, 6, 121),
    known(Mutant::SameIncarnation.switch(), CRASHES, 6, 1),
    known(N::ServesBeforeStart.switch(), CRASHES, 6, 8),
    known(Mutant::ReadsTooEarly.switch(), &[Fault::KillNode], 8, 1),
    by_crowd(Mutant::KillsWorkers.switch(), 1),
    by_crowd(N::IgnoresBudget.switch(), 1),
    by_crowd(N::KeepsAllOutput.switch(), 1),
    by_crowd(N::CarriesOutZombies.switch(), 2),
    by_crowd(N::SlowIsGone.switch(), 5),
    known(N::BlamesOthersForOwnDisk.switch(), &[Fault::KillNode], 6, 1),
    known(N::NeverYields.switch(), &[Fault::KillNode], 6, 2),
    known(N::YieldsToAnyone.switch(), &[Fault::KillNode], 6, 1),
    known(N::BelievesOneBeat.switch(), &[Fault::KillNode], 6, 1),
    known(N::AdmitsAtOnce.switch(), &[Fault::KillNode], 6, 1),
    with_two_copies(known(N::IgnoresMinInSync.switch(), CRASHES, 6, 1)),
    known(A::KillsLeadersForTheirDisk.switch(), &[Fault::KillNode], 6, 57),
    known(N::EvictsAtTheEnd.switch(), &[Fault::KillNode], 6, 3),
    known(A::PromotesTheStopping.switch(), &[Fault::KillNode], 6, 4),
    known(A::TrustsWithheldLeases.switch(), &[Fault::KillNode], 6, 4),
    known(A::CampaignsOnAStalledDisk.switch(), &[Fault::KillNode], 6, 1),
    known(E::AcceptsTornFrames.switch(), CRASHES, 6, 56),
];

impl Known {
    /// The mutant of this name.
    pub fn named(name: &str) -> Option<&'static Known> {
        ALL.iter().find(|known| known.mutant.name.eq_ignore_ascii_case(name))
    }
}

/// What a mutant makes of bytes that a node sends to another.
pub fn distort(bytes: &mut [u8], group: u64) {
    let (receipt, uncommitted) = (lacks(Mutant::AcknowledgesReceipt), lacks(Mutant::AppliesUncommitted));
    if !receipt && !uncommitted {
        return;
    }
    let Some(Ok(mut header)) = bytes.get(..HEADER_BYTES).map(|head| RawHeader::decode(head, group)) else {
        return;
    };
    match header.kind {
        MessageKind::Ack if receipt => header.a = header.lsn.0,
        MessageKind::Append if uncommitted => header.a = header.lsn.0 + header.body_bytes as u64,
        _ => return,
    }
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
}
