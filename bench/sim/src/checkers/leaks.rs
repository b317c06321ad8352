//! Nothing leaks: once everything is quiet, connections, queues, operations and files are few.

use crate::host::Host;

/// A shard in peace has at most this much to do.
const INBOX_MOST: usize = 256;
const UNDER_WAY_MOST: usize = 32;
/// Segment files besides those that the log fills: the current one, spares, and what a crash left.
const FILES_BESIDES: u64 = 6;
/// A sealed segment is filled at least to one part in so many.
const FILLED_TO: u64 = 3;
const STORING_MOST: usize = 64;

/// A data node's host. `clients`, `hosts`: how many there are.
pub fn of_host(place: usize, me: &Host, clients: usize, hosts: usize) -> Result<(), String> {
    let within = |what: &str, is: usize, most: usize| {
        if is <= most { Ok(()) } else { Err(format!("host {place}: {is} {what}, expected at most {most}")) }
    };
    if let Some(warden) = &me.warden {
        within("events wait for the warden", warden.inbox.len(), INBOX_MOST)?;
        within("images wait to be stored", warden.storing.len(), STORING_MOST)?;
    }
    let Some(node) = &me.node else { return Ok(()) };
    for (actor, disk) in node.shards.iter().zip(&me.disks) {
        let Some(core) = &actor.core else { continue };
        within("events wait for a shard", actor.inbox.len(), INBOX_MOST)?;
        within("clients of a shard", actor.conns.len(), 2 * clients)?;
        within("links of a shard", actor.links.len(), 4 * hosts)?;
        within("operations of a disk", disk.under_way().len(), UNDER_WAY_MOST)?;
        let engine = core.engine();
        let log = engine.tail().0 - engine.oldest().0;
        let files = log / (engine.options().segment_bytes / FILLED_TO) + FILES_BESIDES;
        within("segment files", disk.device.memory.files().count(), files as usize)?;
    }
    Ok(())
}

/// All connections of the world.
pub fn of_network(connections: usize, clients: usize, hosts: usize, shards: usize) -> Result<(), String> {
    let most = 4 * clients + hosts * hosts * (1 + 2 * shards);
    if connections <= most {
        Ok(())
    } else {
        Err(format!("{connections} connections, expected at most {most}"))
    }
}
