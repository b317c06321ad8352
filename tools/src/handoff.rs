//! `baton handoff`: asks the leader of each shard concerned to pass its leadership on, and waits for it.

use crate::cli::HandoffOptions;
use crate::failure::{Failure, not_fine};
use crate::{http_client, status};
use node::status::Status;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest wait for one leader to have handed over.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs the subcommand.
pub fn run(options: &HandoffOptions) -> Result<(), Failure> {
    let login = options.ask_as.login()?;
    let (_, before) = status::fetch(&options.ask)?;
    for (http, path) in requests(&before, options)? {
        let answer = http_client::request_as(login.as_ref(), "POST", &http, &path, LIMIT);
        let answer = answer.map_err(not_fine)?;
        if answer.status != 200 {
            return Err(not_fine(format!("{http} answers {}: {}", answer.status, answer.body.trim())));
        }
    }
    let (_, after) = status::fetch(&options.ask)?;
    for shard in after.shards.iter().filter(|s| options.shard.is_none_or(|wanted| wanted == s.id)) {
        let leader = shard.leader.as_deref().unwrap_or("nobody");
        println!("shard {} is led by {leader} in epoch {}", shard.id, shard.epoch);
    }
    Ok(())
}

/// Whom to ask for what. A leader that leads all the shards concerned is asked once.
fn requests(status: &Status, options: &HandoffOptions) -> Result<Vec<(String, String)>, Failure> {
    if let Some(to) = &options.to
        && !status.nodes.iter().any(|n| n.name == *to)
    {
        let names: Vec<_> = status.nodes.iter().map(|n| n.name.as_str()).collect();
        return Err(Failure::Usage(format!("--to {to}: no such node; there are {}", names.join(", "))));
    }
    if let Some(shard) = options.shard
        && !status.shards.iter().any(|s| s.id == shard)
    {
        return Err(Failure::Usage(format!("--shard {shard}: the group has {}", status.shards.len())));
    }
    let mut by_leader: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for shard in status.shards.iter().filter(|s| options.shard.is_none_or(|wanted| wanted == s.id)) {
        let leader = shard.leader.as_deref();
        let leader = leader.ok_or_else(|| not_fine(format!("shard {} has no leader", shard.id)))?;
        if options.to.as_deref() != Some(leader) {
            by_leader.entry(leader).or_default().push(shard.id);
        }
    }
    let mut requests = Vec::new();
    for (leader, shards) in by_leader {
        let node = status.nodes.iter().find(|n| n.name == leader);
        let node = node.ok_or_else(|| not_fine(format!("the leader {leader} is not among the nodes")))?;
        let to = options.to.as_ref().map(|name| format!("to={name}"));
        let query = |shard: Option<u16>| {
            let shard = shard.map(|id| format!("shard={id}"));
            let parts: Vec<String> = to.clone().into_iter().chain(shard).collect();
            let mark = if parts.is_empty() { "" } else { "?" };
            format!("/_admin/baton/handoff{mark}{}", parts.join("&"))
        };
        if shards.len() == status.shards.len() {
            requests.push((node.http.clone(), query(None)));
        } else {
            requests.extend(shards.iter().map(|id| (node.http.clone(), query(Some(*id)))));
        }
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Ask, AskAs};

    fn asked(to: Option<&str>, shard: Option<u16>) -> Result<Vec<(String, String)>, Failure> {
        let status = serde_json::from_str(crate::status::sample::SAMPLE).unwrap();
        let (ask, ask_as) = (Ask::default(), AskAs::default());
        requests(&status, &HandoffOptions { ask, ask_as, to: to.map(str::to_owned), shard })
    }

    #[test]
    fn the_leader_is_asked() {
        let path = "/_admin/baton/handoff?to=b".to_owned();
        assert_eq!(asked(Some("b"), None), Ok(vec![("127.0.0.1:7480".to_owned(), path)]));
        assert_eq!(asked(None, Some(0)).unwrap()[0].1, "/_admin/baton/handoff");
    }

    #[test]
    fn who_leads_already_is_not_asked_and_strangers_are_refused() {
        assert_eq!(asked(Some("a"), None), Ok(vec![]));
        assert!(matches!(asked(Some("x"), None), Err(Failure::Usage(_))));
        assert!(matches!(asked(None, Some(7)), Err(Failure::Usage(_))));
    }
}
