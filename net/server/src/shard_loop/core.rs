//! What the shard loop drives: the pure node, reduced to what the loop needs of it.
//!
//! `node::Node` is the real one; the loop's own tests and measurements drive a small echo instead.

use agency::ids::Nanos;
use agency::shard::ShardProgress;
use node::Node;
use node::events::{Command, Event, Lease};

/// A pure state machine that lives on [`Event`]s and answers with [`Command`]s (see `seam` for the rules).
pub trait Core {
    /// Something happened at `now`.
    fn handle(&mut self, now: Nanos, event: Event<'_>, out: &mut Vec<Command>);
    /// The turn ends: everything that happened was handed over. `wall_ms` is Unix time.
    fn finish_turn(&mut self, now: Nanos, wall_ms: u64, lease: Lease, out: &mut Vec<Command>);
    /// When it wants a turn even if nothing happens; `Nanos(u64::MAX)` for never.
    fn deadline(&self) -> Nanos;
    /// Its account of itself for the warden; `turns` is filled in by the loop.
    fn progress(&self) -> ShardProgress;
}

impl Core for Node {
    fn handle(&mut self, now: Nanos, event: Event<'_>, out: &mut Vec<Command>) {
        Node::handle(self, now, event, out);
    }

    fn finish_turn(&mut self, now: Nanos, wall_ms: u64, lease: Lease, out: &mut Vec<Command>) {
        Node::finish_turn(self, now, wall_ms, lease, out);
    }

    fn deadline(&self) -> Nanos {
        Node::deadline(self)
    }

    fn progress(&self) -> ShardProgress {
        Node::progress(self)
    }
}
