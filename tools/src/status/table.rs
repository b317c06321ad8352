//! The status document as a person reads it.

use node::status::{HistoryEntry, NO_MAJORITY, Status};
use std::fmt::Write;

/// Changes shown, newest first.
const HISTORY_SHOWN: usize = 10;

/// The whole table.
pub fn table(status: &Status) -> String {
    let mut out = String::new();
    if !status.majority {
        let _ = writeln!(out, "{NO_MAJORITY}\n");
    }
    let up = |up: bool| if up { "up" } else { "DOWN" };
    let rows = status.nodes.iter().map(|n| {
        let pid = |pid: u32| if pid == 0 { "-".to_owned() } else { pid.to_string() };
        vec![
            n.name.clone(),
            up(n.up).to_owned(),
            pid(n.pid),
            pid(n.warden_pid),
            n.incarnation.to_string(),
            n.resp.clone(),
            n.http.clone(),
        ]
    });
    columns(&mut out, &["node", "", "pid", "warden", "incarnation", "redis", "http"], rows);
    let agents: Vec<_> = status.agents.iter().map(|a| format!("{} {}", a.name, up(a.up))).collect();
    let _ = writeln!(out, "\nagents: {}\n", agents.join(", "));
    let rows = status.shards.iter().flat_map(|s| {
        s.nodes.iter().map(move |(name, place)| {
            vec![
                s.id.to_string(),
                format!("{}-{}", s.slots[0], s.slots[1]),
                s.epoch.to_string(),
                name.clone(),
                place.role.name().to_owned(),
                if s.in_sync.contains(name) { "in sync" } else { "OUT OF SYNC" }.to_owned(),
                place.durable.to_string(),
                place.applied.to_string(),
                format!("{} B", place.lag_bytes),
                place.lag_us.map_or("?".to_owned(), |us| format!("{us} µs")),
            ]
        })
    });
    let heads = ["shard", "slots", "epoch", "node", "role", "", "durable", "applied", "behind", "lag"];
    columns(&mut out, &heads, rows);
    if !status.history.is_empty() {
        out.push('\n');
        let rows = status.history.iter().rev().take(HISTORY_SHOWN).map(|c| {
            vec![c.at.clone(), c.shard.to_string(), c.epoch.to_string(), c.leader.clone(), reason(c)]
        });
        columns(&mut out, &["when (UTC)", "shard", "epoch", "leader", "why"], rows);
    }
    out
}

/// What happened to whom, and how often so far where that is told in one line.
pub fn reason(entry: &HistoryEntry) -> String {
    let whom = entry.node.as_ref().map_or_else(String::new, |node| format!(" {node}"));
    let often = if entry.count > 1 { format!(", {} times so far", entry.count) } else { String::new() };
    format!("{}{whom}{often}", entry.why)
}

fn columns(out: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let heads: Vec<String> = heads.iter().map(|h| (*h).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    for row in &rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|r| r[at].chars().count()).max().unwrap_or(0);
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_nodes_shards_and_history() {
        let status: Status = serde_json::from_str(crate::status::sample::SAMPLE).unwrap();
        let table = table(&status);
        for part in ["127.0.0.1:7580", "agents: a up, b up, w up", "follower", "40 B", "22:13:20.123"] {
            assert!(table.contains(part), "{part} is missing in\n{table}");
        }
        assert!(!table.contains("majority"));
        let isolated = super::table(&Status { majority: false, ..status.clone() });
        assert_eq!(
            isolated,
            format!("this node sees no majority: what it says of others may be old\n\n{table}")
        );
        let mut entry = status.history[0].clone();
        (entry.why, entry.node, entry.count) = ("slow".to_owned(), Some("b".to_owned()), 7);
        assert_eq!(reason(&entry), "slow b, 7 times so far");
    }
}
