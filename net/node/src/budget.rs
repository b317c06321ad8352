//! What one turn may cost: clients are served in steps, so that whatever they send, a turn stays short.
//!
//! The node reads no clock, so the budget is counted: a key looked up or written is one step, each
//! [`STEP_BYTES`] read, written or copied one more. Sub-requests of HTTP have steps of their own
//! (`subrequest::carry_out`), so that neither face can take the other's.

use crate::mutants::{Mutant, lacks};

/// What one turn carries out for all RESP connections together.
pub const TURN_STEPS: usize = 2048;
/// What one connection gets before the next one has its turn.
pub const CONNECTION_STEPS: usize = 256;
/// Bytes that count as one step.
pub const STEP_BYTES: usize = 4 << 10;
/// Arguments that are read from the bytes of a request for one step.
pub const ARGS_PER_STEP: usize = 16;
/// What may be served as it comes in while others wait in the queue; the rest of a turn is theirs.
const EVENT_STEPS: usize = TURN_STEPS / 2;

/// What it costs to move so many bytes.
pub const fn steps_of(bytes: usize) -> usize {
    bytes / STEP_BYTES
}

/// What is left of a turn.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Budget {
    /// That of a whole turn.
    pub fn new() -> Budget {
        Budget { left: TURN_STEPS }
    }

    /// What a connection gets whose turn it is in the queue; 0: the turn is over.
    pub fn share(&self) -> usize {
        if lacks(Mutant::IgnoresBudget) { usize::MAX } else { self.left.min(CONNECTION_STEPS) }
    }

    /// The same for one whose bytes come in while others wait, or nobody does.
    pub fn event_share(&self, others_wait: bool) -> usize {
        let reserved = if others_wait { TURN_STEPS - EVENT_STEPS } else { 0 };
        if lacks(Mutant::IgnoresBudget) {
            usize::MAX
        } else {
            self.left.saturating_sub(reserved).min(CONNECTION_STEPS)
        }
    }

    /// Something was carried out. The last request of a turn may cost more than is left.
    pub fn spend(&mut self, steps: usize) {
        self.left = self.left.saturating_sub(steps);
    }
}
