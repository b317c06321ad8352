//! The warden's whole brain as a pure state machine.

use crate::error::ImageError;
use crate::events::{ClusterView, Command, Event};
use crate::ids::{Nanos, NodeId, NodeSet};
use crate::timing::Timing;

/// What an overseer is told once, at its start. The same in all of a group's members but for `me`,
/// `witness`, `warden_pid` and `disk_id`.
#[derive(Clone, Debug)]
pub struct OverseerOptions {
    /// This warden.
    pub me: NodeId,
    /// Members with a node.
    pub data_nodes: NodeSet,
    /// Members whose agents vote: wardens of data nodes, and witnesses.
    pub agents: NodeSet,
    /// How many shards the group has.
    pub shards: u16,
    /// Checked by the caller with [`Timing::check`].
    pub timing: Timing,
    /// This warden guards no node.
    pub witness: bool,
    /// The first leader of each shard; one per shard.
    pub initial_leaders: Vec<NodeId>,
    /// Wins among candidates for promotion that are equally far.
    pub prefer_leader: Option<NodeId>,
    /// For people.
    pub warden_pid: u32,
    /// Identity of the group.
    pub group: u128,
    /// Identity of this node's disk; 0 for a witness.
    pub disk_id: u128,
}

/// See the module.
pub struct Overseer {
    options: OverseerOptions,
    view_dirty: bool,
    now: Nanos,
}

impl Overseer {
    /// Starts from what the store last made durable; `None` only where nothing ever was.
    ///
    /// # Errors
    /// The image is not usable; nothing may be done without it.
    pub fn new(options: OverseerOptions, stored: Option<&[u8]>, now: Nanos) -> Result<Overseer, ImageError> {
        if stored.is_some_and(|image| image.is_empty()) {
            return Err(ImageError::Malformed);
        }
        Ok(Overseer { options, view_dirty: true, now })
    }

    /// Takes in one event and appends what is to be done about it. `wall_ms` is for people only.
    pub fn handle(&mut self, now: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>) {
        let _ = (wall_ms, event, out);
        self.now = now;
    }

    /// The next moment this wants an [`Event::Tick`].
    pub fn deadline(&self) -> Nanos {
        self.now + self.options.timing.tick
    }

    /// What is known of the group.
    pub fn view(&self) -> ClusterView {
        ClusterView::default()
    }

    /// Whether the view changed since this was last asked.
    pub fn view_changed(&mut self) -> bool {
        std::mem::take(&mut self.view_dirty)
    }
}
