//! Within one life of a shard its cursors keep their order and only rise, but for the tail, which a rewind
//! may lower down to what is committed.

use engine::ids::ShardId;
use engine::shard::Shard;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Default)]
struct Seen {
    committed: u64,
    applied: u64,
    /// The farthest that its log reached.
    reached: u64,
}

/// What each shard of each host last showed.
#[derive(Default)]
pub struct Cursors(BTreeMap<(usize, ShardId), Seen>);

impl Cursors {
    pub fn forget(&mut self, host: usize, shard: ShardId) {
        self.0.remove(&(host, shard));
    }

    /// The farthest that this life's log has reached.
    pub fn reached(&self, host: usize, shard: ShardId) -> u64 {
        self.0.get(&(host, shard)).map_or(0, |seen| seen.reached)
    }

    pub fn look(&mut self, host: usize, shard: ShardId, engine: &Shard) -> Result<(), String> {
        let (tail, durable) = (engine.tail().0, engine.durable().0);
        let before = self.0.get(&(host, shard)).copied().unwrap_or_default();
        let reached = before.reached.max(tail);
        let now = Seen { committed: engine.committed().0, applied: engine.applied().0, reached };
        let all = format_args!(
            "host {host} shard {}: tail {tail} durable {durable} committed {} applied {}",
            shard.0, now.committed, now.applied
        )
        .to_string();
        if now.applied > durable || durable > tail || now.applied > now.committed || now.committed > tail {
            return Err(format!("out of order: {all}"));
        }
        self.0.insert((host, shard), now);
        if now.committed < before.committed || now.applied < before.applied {
            return Err(format!(
                "fell from committed {} applied {}: {all}",
                before.committed, before.applied
            ));
        }
        Ok(())
    }
}
