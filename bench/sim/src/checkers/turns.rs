//! A turn is short, whatever clients send (rule 21): it carries out no more requests than its budget has steps.

use engine::ids::ShardId;
use node::budget::TURN_STEPS;

/// Requests that cost no step of RESP's: those of HTTP, and those that only come to be refused.
const BESIDES: u64 = 1_024;

/// A turn carried out so many.
pub fn verdict(host: usize, shard: ShardId, requests: u64) -> Result<(), String> {
    let most = TURN_STEPS as u64 + BESIDES;
    if requests <= most {
        return Ok(());
    }
    Err(format!("host {host} shard {}: {requests} requests in one turn, expected at most {most}", shard.0))
}
