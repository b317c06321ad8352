//! Kills that wait for a moment: who gets there springs the trap.

use crate::fault::Trap;
use crate::nemesis::MS;
use crate::world::{What, World};

/// About how long a vote is on its way to the disk.
const VOTE_STORES: u64 = 120_000;

impl World {
    /// A moment that a kill may have waited for.
    pub fn spring(&mut self, trap: Trap, host: usize) {
        let waits = |set: &(Trap, Option<usize>)| set.0 == trap && set.1.is_none_or(|wanted| wanted == host);
        let Some(at) = self.nemesis.traps.iter().position(waits) else { return };
        if self.nemesis.over || self.spared(host) {
            return;
        }
        self.nemesis.traps.remove(at);
        if matches!(trap, Trap::Vote | Trap::Eviction) {
            let soon = self.dice.below(VOTE_STORES);
            return self.later(soon, What::CrashWarden { host });
        }
        let soon = self.dice.magnitude(1_000, 20 * MS);
        let life = self.hosts[host].node_life;
        self.later(soon, What::Trapped { host, life });
    }
}
