//! The kinds of faults, and the moments that a kill waits for.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillNode,
    KillWarden,
    LosePower,
    /// Killed, and once more right after it came back.
    KillTwice,
    /// The next node to be promoted is killed while it takes over.
    KillPromoted,
    /// The next node to rewind is killed while it does.
    KillRewinding,
    /// A leader is killed while the admission of a learner becomes known.
    KillAdmitting,
    /// A leader's warden is killed, and its node with it, while an eviction becomes known.
    KillEvicting,
    /// A warden is killed while it stores a vote.
    KillVoting,
    /// All hosts lose power at once.
    Blackout,
    /// Every host is restarted in order, one after the other.
    RollingRestart,
    PauseNode,
    PauseWarden,
    PauseHost,
    Handoff,
    StopNode,
    Block,
    /// Nothing gets from one warden to another; their nodes go on.
    BlockWardens,
    /// Nothing gets from one node to another; their wardens go on.
    BlockNodes,
    Isolate,
    /// Cut off from the other hosts, but not from the clients.
    Estrange,
    Flap,
    Slow,
    Reset,
    /// One end of a connection is forgotten, so that its owner calls again while the other end stands.
    HalfOpen,
    /// Messages of the agency are lost, late or doubled for a while.
    LoseMessages,
    StallDisk,
    /// All disks of a host stall: it has one device.
    StallHost,
    /// All disks of all hosts stall: they share one device.
    StallAll,
    HangDisk,
    /// A node's threads are in the kernel, and a kill takes no effect before they come back.
    StickNode,
    /// Nobody is let in: a node has no descriptors left but those that it keeps for itself.
    NoDescriptors,
    /// A host stands still, and its clock with it: a virtual machine that is paused.
    StopClock,
    WriteError,
    ReadError,
    FullDisk,
    OldNotice,
    ChangeDrift,
    LoseDisk,
    FlipBit,
    /// A bit in a segment that is no longer written flips, and nobody is told.
    Rot,
    LoseWrite,
    MisdirectWrite,
    RollBack,
    /// A node's directory is emptied; its warden lives on.
    WipeDirectory,
}

/// Kinds that any run may have.
pub const COMMON: [Fault; 38] = [
    Fault::KillNode,
    Fault::KillWarden,
    Fault::LosePower,
    Fault::KillTwice,
    Fault::KillPromoted,
    Fault::KillRewinding,
    Fault::KillAdmitting,
    Fault::KillEvicting,
    Fault::KillVoting,
    Fault::Blackout,
    Fault::RollingRestart,
    Fault::PauseNode,
    Fault::PauseWarden,
    Fault::PauseHost,
    Fault::Handoff,
    Fault::StopNode,
    Fault::Block,
    Fault::BlockWardens,
    Fault::BlockNodes,
    Fault::Isolate,
    Fault::Estrange,
    Fault::Flap,
    Fault::Slow,
    Fault::Reset,
    Fault::HalfOpen,
    Fault::LoseMessages,
    Fault::StallDisk,
    Fault::StallHost,
    Fault::StallAll,
    Fault::HangDisk,
    Fault::StickNode,
    Fault::NoDescriptors,
    Fault::StopClock,
    Fault::WriteError,
    Fault::ReadError,
    Fault::FullDisk,
    Fault::OldNotice,
    Fault::ChangeDrift,
];

/// Kinds of runs that damage disks.
pub const DAMAGING: [Fault; 7] = [
    Fault::LoseDisk,
    Fault::FlipBit,
    Fault::Rot,
    Fault::LoseWrite,
    Fault::MisdirectWrite,
    Fault::RollBack,
    Fault::WipeDirectory,
];

/// A moment that a kill waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    Promotion,
    Admission,
    /// Of a warden, as the next.
    Eviction,
    Rewind,
    Recovery,
    Vote,
}
