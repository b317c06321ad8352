//! At most one node answers clients as the leader of an epoch, and only after the epoch's first frame is
//! committed (rules 18 and 19).

use agency::ids::Incarnation;
use engine::ids::{Epoch, ShardId};
use engine::shard::Shard;
use std::collections::BTreeMap;

/// Who answered first in each epoch of each shard.
#[derive(Default)]
pub struct Answers(BTreeMap<(ShardId, Epoch), (usize, Incarnation)>);

impl Answers {
    /// A node told a client something that only a leader knows.
    pub fn given(
        &mut self,
        host: usize,
        incarnation: Incarnation,
        shard: ShardId,
        engine: &Shard,
    ) -> Result<(), String> {
        let Some(&(epoch, start)) = engine.history().entries().last() else {
            return Err(format!("host {host} answers for shard {} without an epoch", shard.0));
        };
        if engine.committed() <= start {
            return Err(format!(
                "host {host} answers for shard {} in epoch {}, which begins at {} and is committed up to {}",
                shard.0,
                epoch.0,
                start.0,
                engine.committed().0
            ));
        }
        let who = (host, incarnation);
        let first = *self.0.entry((shard, epoch)).or_insert(who);
        if first != who {
            return Err(format!(
                "epoch {} of shard {} is answered for by {first:?} and by {who:?}",
                epoch.0, shard.0
            ));
        }
        Ok(())
    }
}
