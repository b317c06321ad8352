//! What the loop asks of the brain that it serves.

use agency::events::{Command, Event};
use agency::ids::Nanos;
use agency::overseer::Overseer;
use agency::view::ClusterView;

/// The brain that the loop serves; [`Overseer`] is the one, tests bring scripted ones.
pub trait Brain {
    /// See [`Overseer::handle`].
    fn handle(&mut self, now: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>);
    /// See [`Overseer::deadline`].
    fn deadline(&self) -> Nanos;
    /// See [`Overseer::view`].
    fn view(&self) -> ClusterView;
    /// See [`Overseer::view_changed`].
    fn view_changed(&mut self) -> bool;
}

impl Brain for Overseer {
    fn handle(&mut self, now: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>) {
        Overseer::handle(self, now, wall_ms, event, out);
    }
    fn deadline(&self) -> Nanos {
        Overseer::deadline(self)
    }
    fn view(&self) -> ClusterView {
        Overseer::view(self)
    }
    fn view_changed(&mut self) -> bool {
        Overseer::view_changed(self)
    }
}
