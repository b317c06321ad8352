//! Mutants: each takes one defence away, in the shell that owes it or on the wire, and a checker must notice.
//!
//! The cores are not touched: what a broken core would do is done for it (an acknowledgement says durable where
//! only receipt is true, a flush that failed is reported as done, and so on). A simulator that lets all of them
//! pass proves nothing.

use net::replication::message::{HEADER_BYTES, Header, Kind};

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
    /// Rule 9: reads are served without asking for a lease.
    NoLease,
    /// Rule 10: followers are told that all they are sent is committed.
    AppliesUncommitted,
    /// Rule 14: a failed write is reported as done.
    IgnoresFailedWrites,
    /// Rule 15: a death is reported of a node that only stands still.
    FalseDeath,
    /// Rule 18: a restarted node goes on as the incarnation it was.
    SameIncarnation,
    /// Rule 20: what a rewind cuts off stays on the disk.
    CutsNothing,
}

/// All of them.
pub const ALL: [Mutant; 10] = [
    Mutant::StoreLies,
    Mutant::DiskLies,
    Mutant::AcknowledgesReceipt,
    Mutant::WipedUnnoticed,
    Mutant::NoLease,
    Mutant::AppliesUncommitted,
    Mutant::IgnoresFailedWrites,
    Mutant::FalseDeath,
    Mutant::SameIncarnation,
    Mutant::CutsNothing,
];

impl Mutant {
    /// The mutant of this name.
    pub fn named(name: &str) -> Option<Mutant> {
        ALL.into_iter().find(|mutant| format!("{mutant:?}").eq_ignore_ascii_case(name))
    }

    /// What it makes of bytes that a node sends to another.
    pub fn distort(self, bytes: &mut [u8], group: u64) {
        let Some(Ok(mut header)) = bytes.get(..HEADER_BYTES).map(|head| Header::decode(head, group)) else {
            return;
        };
        match (self, header.kind) {
            (Mutant::AcknowledgesReceipt, Kind::Ack) => header.a = header.lsn.0,
            (Mutant::AppliesUncommitted, Kind::Append) => header.a = header.lsn.0 + header.body_bytes as u64,
            _ => return,
        }
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    }
}
