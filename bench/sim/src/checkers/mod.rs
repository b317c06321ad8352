//! The checkers: one property a file. Each is shown what happens and says what must not.

pub mod answers;
pub mod committed_log;
pub mod configurations;
pub mod copies;
pub mod cursors;
pub mod damage;
pub mod epochs;
pub mod history;
pub mod index;
pub mod leaks;
pub mod memory;
pub mod promotions;
pub mod rewinds;
pub mod stale_reads;
pub mod steady;
pub mod turns;
pub mod unavailable;
pub mod zombies;

use crate::scenario::Scenario;
use engine::ids::ShardId;

/// All of them.
pub struct Checkers {
    pub configurations: configurations::Configurations,
    pub epochs: epochs::Epochs,
    pub answers: answers::Answers,
    pub cursors: cursors::Cursors,
    pub committed_log: committed_log::CommittedLog,
    pub history: history::History,
    pub stale_reads: stale_reads::StaleReads,
    pub damage: damage::Damage,
    pub steady: steady::Steady,
    pub zombies: zombies::Zombies,
}

impl Checkers {
    pub fn new(scenario: &Scenario) -> Checkers {
        Checkers {
            configurations: configurations::Configurations::new(scenario.shards),
            epochs: epochs::Epochs::default(),
            answers: answers::Answers::default(),
            cursors: cursors::Cursors::default(),
            committed_log: committed_log::CommittedLog::new(scenario.shards),
            history: history::History::default(),
            stale_reads: stale_reads::StaleReads::default(),
            damage: damage::Damage::new(scenario.data_nodes, scenario.shards),
            steady: steady::Steady::default(),
            zombies: zombies::Zombies::default(),
        }
    }

    /// A node's shard begins a new life.
    pub fn forget_node(&mut self, host: usize, shard: ShardId) {
        self.cursors.forget(host, shard);
        self.committed_log.forget(host, shard);
    }
}
