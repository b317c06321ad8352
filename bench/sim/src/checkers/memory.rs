//! What clients make a node hold is bounded (rule 23): each of them by who it is, and all of them together.

use crate::host::NodeProcess;

/// What a shard may hold without anybody looking closer.
const LITTLE: u64 = 1 << 20;
/// Of somebody who has not said who it is: requests that wait, one under way, replies that it does not read.
const STRANGER: u64 = 256 << 10;
/// Of a client that has one request under way.
const MODEST: u64 = 256 << 10;
/// Of one of the crowd: 4 MiB that it does not read and one reply more, 1 MiB that waits, what it has other shards do.
const GUEST: u64 = 24 << 20;

/// For so long each shard may not know yet that a client is gone: what is counted of it belongs to nobody.
const PARTING: u64 = 20_000_000;

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Stranger,
    Modest,
    Guest,
}

/// A turn of this node has ended. `all`: what a shard's clients may hold together. `who`: has a connection.
pub fn verdict(
    host: usize,
    node: &NodeProcess,
    now: u64,
    all: usize,
    who: impl Fn(u64) -> Holder,
) -> Result<(), String> {
    let mut held = 0;
    for core in node.shards.iter().filter_map(|actor| actor.core.as_ref()) {
        if core.client_memory() > all as u64 {
            return Err(format!(
                "host {host}: clients of a shard hold {} of {all} bytes",
                core.client_memory()
            ));
        }
        held += core.client_memory();
    }
    let parting = node.shards.iter().any(|actor| actor.parted_at > 0 && now < actor.parted_at + PARTING);
    if held <= LITTLE || parting {
        return Ok(());
    }
    let share = |holder: Holder| match holder {
        Holder::Stranger => STRANGER,
        Holder::Modest => MODEST,
        Holder::Guest => GUEST,
    };
    let holders: Vec<Holder> = node
        .shards
        .iter()
        .flat_map(|actor| actor.conns.values().map(|served| who(served.connection)))
        .collect();
    let most: u64 = LITTLE + holders.iter().copied().map(share).sum::<u64>();
    if held <= most { Ok(()) } else { Err(format!("host {host} holds {held} bytes for {holders:?}")) }
}
