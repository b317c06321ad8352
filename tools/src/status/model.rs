//! The status document as its reader takes it: the fields promised for `baton status --json`, and nothing
//! of how a node makes it. Fields that a newer node adds are ignored.

use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Status {
    pub nodes: Vec<Node>,
    pub agents: Vec<Agent>,
    pub shards: Vec<Shard>,
    #[serde(default)]
    pub history: Vec<Change>,
}

/// A data node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    pub name: String,
    /// `None` or 0 while it does not run or is not known.
    pub pid: Option<u32>,
    pub warden_pid: Option<u32>,
    #[serde(default)]
    pub incarnation: u64,
    pub up: bool,
    /// `HOST:PORT`.
    pub resp: String,
    pub http: String,
}

/// A warden or witness.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Agent {
    pub name: String,
    pub up: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Shard {
    pub id: u16,
    /// First and last slot.
    pub slots: [u16; 2],
    pub epoch: u64,
    pub version: u64,
    pub leader: Option<String>,
    pub in_sync: Vec<String>,
    /// By the node's name.
    pub nodes: BTreeMap<String, Place>,
}

/// How one node stands in one shard.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Place {
    /// `leader`, `follower` or `learner`.
    pub role: String,
    /// Ends of its log in memory, on disk, committed and applied: LSNs.
    pub written: u64,
    pub durable: u64,
    pub committed: u64,
    pub applied: u64,
    /// Behind the leader.
    #[serde(default)]
    pub lag_bytes: Option<u64>,
    #[serde(default)]
    pub lag_us: Option<f64>,
}

/// A configuration that once was decided.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Change {
    /// A number is milliseconds since the epoch of Unix, a text is shown as it is.
    pub at: serde_json::Value,
    pub shard: u16,
    pub epoch: u64,
    pub leader: Option<String>,
    pub why: String,
}

impl Shard {
    /// The node that leads and itself says so.
    pub fn serving_leader(&self) -> Option<&str> {
        let leader = self.leader.as_deref()?;
        (self.nodes.get(leader)?.role == "leader").then_some(leader)
    }
}

impl Status {
    /// What is not as it should be, in words; empty if all is well.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for node in self.nodes.iter().filter(|n| !n.up) {
            troubles.push(format!("node {} is down", node.name));
        }
        for agent in self.agents.iter().filter(|a| !a.up) {
            troubles.push(format!("agent {} is down", agent.name));
        }
        for shard in &self.shards {
            if shard.serving_leader().is_none() {
                troubles.push(format!("shard {} has no leader that serves", shard.id));
            }
            for node in self.nodes.iter().filter(|n| !shard.in_sync.contains(&n.name)) {
                troubles.push(format!("node {} is not in sync for shard {}", node.name, shard.id));
            }
        }
        if self.shards.is_empty() {
            troubles.push("no shards are known yet".to_owned());
        }
        troubles
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A whole group of two nodes and a witness.
    pub const SAMPLE: &str = r#"{
        "nodes": [
            {"name":"a","pid":11,"warden_pid":10,"incarnation":1,"up":true,
             "resp":"127.0.0.1:7400","http":"127.0.0.1:7480"},
            {"name":"b","pid":21,"warden_pid":20,"incarnation":3,"up":true,
             "resp":"127.0.0.1:7500","http":"127.0.0.1:7580"}],
        "agents": [{"name":"a","up":true},{"name":"b","up":true},{"name":"w","up":true}],
        "shards": [{"id":0,"slots":[0,16383],"epoch":4,"version":9,"leader":"a","in_sync":["a","b"],
            "nodes":{
                "a":{"role":"leader","written":800,"durable":800,"committed":800,"applied":800,
                     "lag_bytes":0,"lag_us":0},
                "b":{"role":"follower","written":800,"durable":800,"committed":760,"applied":760,
                     "lag_bytes":40,"lag_us":12.5}}}],
        "history": [{"at":1700000000123,"shard":0,"epoch":4,"leader":"a","why":"leader died"}]
    }"#;

    #[test]
    fn the_promised_document_is_read_and_is_fine() {
        let status: Status = serde_json::from_str(SAMPLE).unwrap();
        assert_eq!(status.troubles(), Vec::<String>::new());
        assert_eq!(status.shards[0].serving_leader(), Some("a"));
    }

    #[test]
    fn troubles_name_what_is_wrong() {
        let mut status: Status = serde_json::from_str(SAMPLE).unwrap();
        status.nodes[1].up = false;
        status.shards[0].in_sync.pop();
        status.shards[0].leader = Some("b".to_owned());
        let troubles = status.troubles().join("; ");
        for part in ["node b is down", "no leader that serves", "node b is not in sync"] {
            assert!(troubles.contains(part), "{troubles}");
        }
    }
}
