//! Within one life of a shard its cursors keep their order and only rise, but for the tail, which a rewind
//! may lower down to what is committed.

use engine::ids::ShardId;
use engine::shard::Shard;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Default)]
struct Seen {
    committed: u64,
    applied: u64,
}

/// What each shard of each host last showed.
#[derive(Default)]
pub struct Cursors(BTreeMap<(usize, ShardId), Seen>);

impl Cursors {
    pub fn forget(&mut self, host: usize, shard: ShardId) {
        self.0.remove(&(host, shard));
    }

    pub fn look(&mut self, host: usize, shard: ShardId, engine: &Shard) -> Result<(), String> {
        let (tail, durable) = (engine.tail().0, engine.durable().0);
        let now = Seen { committed: engine.committed().0, applied: engine.applied().0 };
        let all = format_args!(
            "host {host} shard {}: tail {tail} durable {durable} committed {} applied {}",
            shard.0, now.committed, now.applied
        )
        .to_string();
        if now.applied > durable || durable > tail || now.applied > now.committed || now.committed > tail {
            return Err(format!("out of order: {all}"));
        }
        let before = self.0.insert((host, shard), now).unwrap_or_default();
        if now.committed < before.committed || now.applied < before.applied {
            return Err(format!(
                "fell from committed {} applied {}: {all}",
                before.committed, before.applied
            ));
        }
        Ok(())
    }
}
