//! `baton status`: asks a node of the group how everything stands.

#[cfg(test)]
pub mod sample;
pub mod table;

use crate::cli::{Ask, StatusOptions};
use crate::failure::{Failure, not_fine};
use crate::http_client;
use node::status::Status;
use std::time::Duration;

/// The HTTP ports of the nodes of a group started by `baton start` with its default ports.
const DEFAULT_HTTP: [&str; 3] = ["127.0.0.1:7480", "127.0.0.1:7580", "127.0.0.1:7680"];
/// Longest wait for one node's answer.
const LIMIT: Duration = Duration::from_secs(2);
/// Between two prints of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Where a node gives the document.
pub const PATH: &str = "/_admin/baton/status";

/// Runs the subcommand.
pub fn run(options: &StatusOptions) -> Result<(), Failure> {
    loop {
        let found = fetch(&options.ask);
        if options.watch && !options.json {
            print!("{CLEAR}");
        }
        let verdict = match found {
            Ok((body, status)) => {
                if options.json {
                    println!("{}", body.trim_end());
                } else {
                    print!("{}", table::table(&status));
                }
                match status.troubles() {
                    troubles if troubles.is_empty() => Ok(()),
                    troubles => Err(not_fine(troubles.join("; "))),
                }
            }
            Err(failure) => Err(failure),
        };
        if !options.watch {
            return verdict;
        }
        if let Err(failure) = verdict {
            println!("\n{failure}");
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// The document as text and as read, from the first node that gives it and sees a majority; else from the first that
/// gives it.
pub fn fetch(ask: &Ask) -> Result<(String, Status), Failure> {
    let addresses: Vec<&str> = match &ask.http {
        Some(address) => vec![address],
        None => DEFAULT_HTTP.to_vec(),
    };
    let (mut failures, mut isolated) = (Vec::new(), None);
    for address in addresses {
        match from_node(address, LIMIT) {
            Ok(found) if found.1.majority => return Ok(found),
            Ok(found) => isolated = isolated.or(Some(found)),
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    isolated.ok_or_else(|| not_fine(format!("no node answers ({})", failures.join("; "))))
}

/// The document of the node with this HTTP address.
pub fn from_node(address: &str, limit: Duration) -> Result<(String, Status), Failure> {
    let response = http_client::request("GET", address, PATH, limit).map_err(not_fine)?;
    if response.status != 200 {
        return Err(not_fine(format!("{address} answers {}: {}", response.status, response.body.trim())));
    }
    let status = serde_json::from_str(&response.body)
        .map_err(|error| not_fine(format!("{address} gives a status that cannot be read: {error}")))?;
    Ok((response.body, status))
}
