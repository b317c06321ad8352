//! Hands events to the hosts' processes and wakes them: each has an inbox that it empties at its next turn.

use crate::shell::input::Input;
use crate::world::{What, World};
use agency::events::Event;
use engine::ids::ShardId;

/// The shortest time between two turns.
const TURN_LEAST: u64 = 1_000;
pub const TURN_SPREAD: u64 = 12_000;
const WAKE_LEAST: u64 = 2_000;
const WAKE_SPREAD: u64 = 15_000;

impl World {
    /// The shard's thread runs within `delay`.
    pub fn wake_shard(&mut self, host: usize, shard: ShardId, delay: u64) {
        let at = self.now + TURN_LEAST + self.dice.below(delay);
        self.shard_turn_at(host, shard, at);
    }

    pub fn shard_turn_at(&mut self, host: usize, shard: ShardId, at: u64) {
        let life = self.hosts[host].node_life;
        if let Some(node) = &mut self.hosts[host].node {
            let actor = &mut node.shards[usize::from(shard.0)];
            let at = at.max(actor.busy_until);
            if actor.core.is_some() && at < actor.turn_at {
                actor.turn_at = at;
                self.at(at, What::ShardTurn { host, life, shard });
            }
        }
    }

    /// Hands an event to a shard at its next turn.
    pub fn input(&mut self, host: usize, shard: ShardId, input: Input) {
        let Some(node) = &mut self.hosts[host].node else { return };
        node.shards[usize::from(shard.0)].inbox.push_back(input);
        self.wake_shard(host, shard, TURN_SPREAD);
    }

    /// The next turn of this warden is at `at` or earlier.
    pub fn wake_warden(&mut self, host: usize, at: u64) {
        let life = self.hosts[host].warden_life;
        if let Some(warden) = &mut self.hosts[host].warden
            && at < warden.turn_at
        {
            warden.turn_at = at;
            self.at(at, What::WardenTurn { host, life });
        }
    }

    /// Hands an event to the warden at its next turn.
    pub fn tell_warden(&mut self, host: usize, event: Event) {
        let Some(warden) = &mut self.hosts[host].warden else { return };
        warden.inbox.push_back(event);
        let wake = WAKE_LEAST + self.dice.below(WAKE_SPREAD);
        self.wake_warden(host, self.now + wake);
    }

    /// The node rang the warden's bell.
    pub fn ring_warden(&mut self, host: usize) {
        if let Some(warden) = &mut self.hosts[host].warden {
            warden.tick_at = self.now;
            let wake = WAKE_LEAST + self.dice.below(WAKE_SPREAD);
            self.wake_warden(host, self.now + wake);
        }
    }
}
