//! `baton promote --accept-data-loss`: a person decides that a node leads with what it has, though acknowledged
//! writes may be missing there.
//!
//! Says first what may be lost, and asks. A running node is told by HTTP; a member that is stopped finds a marker
//! in its directory at its next start. Nothing here decides that nobody better could lead: the agency does, and
//! refuses otherwise.

use crate::cli::{Ask, PromoteOptions};
use crate::failure::{Failure, not_fine};
use crate::inspect::ends::{self, LogEnd};
use crate::serve::AGENT_DIR;
use crate::{http_client, status};
use node::status::{Status, rfc3339};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for the group to have decided.
const LIMIT: Duration = Duration::from_secs(30);
/// Where a node is told.
const PATH: &str = "/_admin/baton/promote?accept-data-loss=true";
/// What a person types who agrees.
const YES: &str = "yes";

/// Runs the subcommand.
pub fn run(options: &PromoteOptions) -> Result<(), Failure> {
    match (&options.dir, &options.ask.http) {
        (Some(dir), None) => offline(options, dir),
        (None, Some(address)) => online(options, address),
        _ => Err(Failure::Usage("name the member that shall lead: DIR, or --http HOST:PORT".to_owned())),
    }
}

fn online(options: &PromoteOptions, address: &str) -> Result<(), Failure> {
    let login = options.ask_as.login()?;
    let (_, before) = status::fetch(&Ask { http: Some(address.to_owned()) })?;
    for line in at_stake(&before, address)? {
        println!("{line}");
    }
    agreed(options)?;
    let answer = http_client::request_as(login.as_ref(), "POST", address, PATH, LIMIT).map_err(not_fine)?;
    match answer.status {
        200 => {
            println!("{address} leads; the history keeps that the loss was accepted");
            Ok(())
        }
        status => Err(not_fine(format!("{address} answers {status}: {}", answer.body.trim()))),
    }
}

fn offline(options: &PromoteOptions, dir: &Path) -> Result<(), Failure> {
    for found in ends::ends(dir)? {
        println!("{}", has(&found));
    }
    println!("What other members acknowledged beyond that is lost for good.");
    agreed(options)?;
    warden::store::accept_data_loss(&dir.join(AGENT_DIR)).map_err(not_fine)?;
    println!(
        "The next start of this member leads with what it has, if nobody leads and nobody better could."
    );
    Ok(())
}

/// What the node at `address` would lead with, and what may be missing there, shard by shard without a leader.
fn at_stake(status: &Status, address: &str) -> Result<Vec<String>, Failure> {
    let node = status.nodes.iter().find(|n| n.http == address);
    let name =
        &node.ok_or_else(|| not_fine(format!("{address} is no HTTP address of a node of the group")))?.name;
    let lost: Vec<_> = status.shards.iter().filter(|s| s.serving_leader().is_none()).collect();
    if lost.is_empty() {
        return Err(not_fine("every shard has a leader: there is nothing to promote, and nothing is lost"));
    }
    let since = |shard: u16| {
        let last = status.history.iter().rev().find(|entry| entry.shard == shard);
        last.map_or_else(String::new, |entry| format!(" (last change: {}, {})", entry.why, entry.at))
    };
    let line = |shard: &&node::status::ShardStatus| {
        let own = shard.nodes.get(name).map_or(0, |place| place.durable);
        let furthest = shard.nodes.values().map(|place| place.written).max().unwrap_or(0);
        let missing = match furthest.saturating_sub(own) {
            0 => "nothing more is known of anywhere, which does not mean that there is nothing".to_owned(),
            bytes => format!("at least {bytes} bytes of the log, up to LSN {furthest}, may be lost"),
        };
        format!("shard {}: {name} has the log up to LSN {own}; {missing}{}", shard.id, since(shard.id))
    };
    Ok(lost.iter().map(line).collect())
}

/// What a directory has, for people.
fn has(found: &LogEnd) -> String {
    let ms = |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let noted = found.noted.map_or_else(String::new, |at| format!(", last noted {}", rfc3339(ms(at))));
    let damaged = match found.damaged {
        0 => "no damage".to_owned(),
        places => format!("{places} DAMAGED places, which are lost too"),
    };
    format!("shard {}: the log up to LSN {}{noted}; {damaged}", found.shard, found.end)
}

/// Asks, unless that was answered on the command line.
fn agreed(options: &PromoteOptions) -> Result<(), Failure> {
    if options.yes {
        return Ok(());
    }
    print!("Accept this loss? It cannot be undone. Type {YES:?}: ");
    io::stdout().flush().map_err(not_fine)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(not_fine)?;
    match answer.trim() {
        YES => Ok(()),
        _ => Err(not_fine("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Status {
        serde_json::from_str(status::sample::SAMPLE).unwrap()
    }

    #[test]
    fn what_is_missing_is_said_in_lsns() {
        let mut status = sample();
        assert!(at_stake(&status, "127.0.0.1:7580").is_err(), "a group with a leader loses nothing");
        status.shards[0].leader = None;
        status.shards[0].nodes.get_mut("b").unwrap().durable = 760;
        let lines = at_stake(&status, "127.0.0.1:7580").unwrap();
        assert!(lines[0].contains("b has the log up to LSN 760") && lines[0].contains("at least 40 bytes"));
        assert!(lines[0].contains("leader-died, 2023-11-14"), "{}", lines[0]);
        assert!(at_stake(&status, "127.0.0.1:1").is_err(), "a stranger");
    }

    #[test]
    fn a_directory_says_what_it_has_and_what_is_damaged() {
        let found = LogEnd { shard: 3, end: 4096, damaged: 2, noted: Some(UNIX_EPOCH) };
        let line = has(&found);
        for part in ["shard 3", "LSN 4096", "1970-01-01T00:00:00.000Z", "2 DAMAGED"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
