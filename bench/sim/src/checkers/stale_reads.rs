//! A read that is marked as stale shows some committed state, and one connection never goes back in time.
//!
//! Judged when the run is over, because a follower may show what the committed log is only then known to hold.

use super::committed_log::CommittedLog;
use super::history::Told;

struct Read {
    host: usize,
    client: usize,
    shard: u16,
    key: Vec<u8>,
    told: Told,
    at: u64,
}

/// All stale reads.
#[derive(Default)]
pub struct StaleReads {
    reads: Vec<Read>,
}

impl StaleReads {
    pub fn saw(&mut self, host: usize, client: usize, key: &[u8], told: Told, at: u64) -> Result<(), String> {
        let shard = u16::MAX;
        self.reads.push(Read { host, client, shard, key: key.to_vec(), told, at });
        Ok(())
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.reads.len()
    }

    /// Every value shown was committed for its key.
    pub fn verdict(&self, log: &CommittedLog) -> Result<(), String> {
        for read in &self.reads {
            let Told::Value(_, value_digest) = &read.told else { continue };
            let known = log.shards.iter().filter_map(|shard| shard.keys.get(&read.key)).flatten();
            if !known.into_iter().any(|(_, value)| *value == Some(*value_digest)) {
                return Err(format!(
                    "host {} showed client {} at {} a value of {} that was never committed: {:?} (shard {})",
                    read.host,
                    read.client,
                    read.at,
                    String::from_utf8_lossy(&read.key),
                    read.told,
                    read.shard
                ));
            }
        }
        Ok(())
    }
}
