//! What `baton status --json` prints and `GET /_admin/baton/status` answers: a stable, documented shape,
//! shared by the node that makes it and the command line that shows it. Fields that a newer node adds are ignored.
//!
//! It is as fresh as what the wardens told each other, and good for people and monitors, never for safety.

use crate::settings::Settings;
use agency::configuration::Why;
use agency::ids::{Nanos, NodeId, ShardId};
use agency::shard::ShardProgress;
use agency::view::ClusterView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// A warden tells its node how the group stands several times a second. One that has not for this long stands still, and
/// hears nobody.
const TOLD_LIMIT: Duration = Duration::from_secs(1);

/// What a person is told where the status is that of a node on its own.
pub const NO_MAJORITY: &str = "this node sees no majority: what it says of others may be old";

/// The group as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node's warden hears a majority of the agents. Without one, others may have led the group on since, and what is
    /// said here of other nodes may be old. A node that does not know of this field says nothing against it.
    #[serde(default = "unsaid")]
    pub majority: bool,
    pub nodes: Vec<NodeStatus>,
    pub agents: Vec<AgentStatus>,
    pub shards: Vec<ShardStatus>,
    /// Decided configurations, newest last.
    pub history: Vec<HistoryEntry>,
}

fn unsaid() -> bool {
    true
}

/// A data node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub name: String,
    /// 0 while not running or not known.
    pub pid: u32,
    pub warden_pid: u32,
    pub incarnation: u64,
    pub up: bool,
    /// `host:port` of the RESP port for any key.
    pub resp: String,
    /// `host:port` of the HTTP port.
    pub http: String,
}

/// An agent: every member has one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentStatus {
    pub name: String,
    pub up: bool,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    pub id: u16,
    /// First and last slot.
    pub slots: [u16; 2],
    pub epoch: u64,
    pub version: u64,
    /// `None` before the group is founded.
    pub leader: Option<String>,
    pub in_sync: Vec<String>,
    /// Since when writes have been acknowledged on fewer nodes than the group has, as far as is known here: RFC 3339 in
    /// UTC. `None`: they are not.
    #[serde(default)]
    pub exposed_since: Option<String>,
    /// By the node's name; a node that was never heard of is missing.
    pub nodes: BTreeMap<String, ReplicaStatus>,
}

/// One node's copy of a shard. Positions are LSNs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub role: ReplicaRole,
    pub written: u64,
    pub durable: u64,
    pub committed: u64,
    pub applied: u64,
    /// Log bytes that the leader has and this node has not made durable.
    pub lag_bytes: u64,
    /// How old the oldest of them is, in microseconds; `None` if that is not known here.
    pub lag_us: Option<u64>,
}

/// What a node is to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRole {
    Leader,
    /// In the in-sync set.
    Follower,
    /// Catching up.
    Learner,
}

impl ReplicaRole {
    /// As people and the document say it.
    pub fn name(self) -> &'static str {
        match self {
            ReplicaRole::Leader => "leader",
            ReplicaRole::Follower => "follower",
            ReplicaRole::Learner => "learner",
        }
    }
}

/// A decided change of leadership; or all evictions, or admissions, of one node for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Wall time of the proposal, RFC 3339 in UTC.
    pub at: String,
    pub shard: u16,
    pub epoch: u64,
    pub leader: String,
    pub why: String,
    /// Whom it was about, where it was not the leadership: who was evicted or admitted.
    pub node: Option<String>,
    /// How often that happened for this reason so far; `at` and `epoch` are those of the last time.
    #[serde(default)]
    pub count: u64,
}

impl Status {
    /// The status from a warden's view; `own` is this node's newest account of its shards, `now` by the warden's clock.
    pub fn new(settings: &Settings, view: &ClusterView, own: &[ShardProgress], now: Nanos) -> Status {
        let me = settings.me();
        let name =
            |node: NodeId| settings.member(node).map_or_else(|| node.0.to_string(), |m| m.name.clone());
        let nodes = view.nodes.iter().map(|node| {
            let address = |port: fn(&crate::settings::Member) -> u16| {
                settings.member(node.id).map_or_else(String::new, |m| format!("{}:{}", m.host, port(m)))
            };
            NodeStatus {
                name: name(node.id),
                pid: node.pid,
                warden_pid: node.warden_pid,
                incarnation: node.incarnation.0,
                up: node.up,
                resp: address(crate::settings::Member::any_key_port),
                http: address(crate::settings::Member::http_port),
            }
        });
        let progress_of = |node: NodeId, shard: usize| {
            let told = view.nodes.iter().find(|n| n.id == node).and_then(|n| n.progress.get(shard));
            if node == me { own.get(shard).or(told) } else { told }.copied()
        };
        let shards = (0..settings.shards).map(|id| {
            let progress = |node| progress_of(node, usize::from(id));
            ShardStatus::new(settings, view, ShardId(id), &name, &progress)
        });
        let led = view.history.iter().map(|(shard, c)| (*shard, c, None, 1));
        let counted = view.tallies.iter().map(|t| (t.shard, &t.newest, Some(t.member), t.count));
        let mut past: Vec<_> = led.chain(counted).collect();
        past.sort_by_key(|(_, c, ..)| c.at_ms);
        let history = past.into_iter().map(|(shard, c, node, count)| HistoryEntry {
            at: rfc3339(c.at_ms),
            shard: shard.0,
            epoch: c.epoch.0,
            leader: name(c.leader),
            why: why(c.why).to_owned(),
            node: node.map(name),
            count,
        });
        Status {
            majority: view.majority && now.since(view.told_at) < TOLD_LIMIT,
            nodes: nodes.collect(),
            agents: view.agents.iter().map(|a| AgentStatus { name: name(a.id), up: a.up }).collect(),
            shards: shards.collect(),
            history: history.collect(),
        }
    }
}

impl ShardStatus {
    fn new(
        settings: &Settings,
        view: &ClusterView,
        id: ShardId,
        name: &dyn Fn(NodeId) -> String,
        progress_of: &dyn Fn(NodeId) -> Option<ShardProgress>,
    ) -> ShardStatus {
        let (low, high) = settings.slots(id);
        let seen = view.shards.get(usize::from(id.0));
        let known = seen.and_then(|shard| shard.configuration);
        let lost = seen.is_none_or(|shard| shard.leader_lost);
        let leader = known.and_then(|c| progress_of(c.leader));
        let replica = |node: NodeId| {
            let progress = progress_of(node)?;
            let role = match known {
                Some(c) if c.leader == node => ReplicaRole::Leader,
                Some(c) if c.in_sync.contains(node) => ReplicaRole::Follower,
                _ => ReplicaRole::Learner,
            };
            let end = leader.map_or(progress.written, |l| l.written);
            let lag_bytes = end.saturating_sub(progress.durable);
            let replica = ReplicaStatus {
                role,
                written: progress.written,
                durable: progress.durable,
                committed: progress.committed,
                applied: progress.applied,
                lag_bytes,
                lag_us: (lag_bytes == 0).then_some(0),
            };
            Some((name(node), replica))
        };
        ShardStatus {
            id: id.0,
            slots: [low, high],
            epoch: known.map_or(0, |c| c.epoch.0),
            version: known.map_or(0, |c| c.version.0),
            leader: known.filter(|_| !lost).map(|c| name(c.leader)),
            in_sync: known.map_or_else(Vec::new, |c| c.in_sync.iter().map(name).collect()),
            exposed_since: exposed_since(view, id).map(rfc3339),
            nodes: settings.data_nodes().iter().filter_map(replica).collect(),
        }
    }

    /// The node that leads and itself says so.
    pub fn serving_leader(&self) -> Option<&str> {
        let leader = self.leader.as_deref()?;
        (self.nodes.get(leader)?.role == ReplicaRole::Leader).then_some(leader)
    }
}

impl Status {
    /// What is not as it should be, in words; empty if all is well.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if !self.majority {
            troubles.push(NO_MAJORITY.to_owned());
        }
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
            if let Some(since) = &shard.exposed_since {
                troubles.push(format!(
                    "shard {} is exposed since {since}: some writes are on fewer disks",
                    shard.id
                ));
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

/// Since when, in ms since the epoch of Unix, a shard's configurations have had members out of the in-sync set: the
/// oldest of those in a row that are known.
fn exposed_since(view: &ClusterView, shard: ShardId) -> Option<u64> {
    let now = view.shards.get(usize::from(shard.0))?.configuration?;
    let tallies = view.tallies.iter().map(|tally| (tally.shard, tally.newest));
    let past = view.history.iter().copied().chain(tallies);
    let mut known: Vec<_> = past.filter(|(of, _)| *of == shard).map(|(_, c)| c).collect();
    known.push(now);
    known.sort_by_key(|c| c.version);
    known.iter().rev().take_while(|c| c.in_sync != c.members).last().map(|c| c.at_ms)
}

/// The stable name of a reason.
pub fn why(why: Why) -> &'static str {
    match why {
        Why::Founded => "founded",
        Why::LeaderDied => "leader-died",
        Why::LeaderHung => "leader-hung",
        Why::LeaseExpired => "lease-expired",
        Why::LeaderRestarted => "leader-restarted",
        Why::Handoff => "handoff",
        Why::Evicted => "evicted",
        Why::Admitted => "admitted",
        Why::Slow => "slow",
        Why::Left => "left",
        Why::DiskStalled => "disk-stalled",
        Why::DataLossAccepted => "data-loss-accepted",
    }
}

/// The last millisecond of the year 9999: dates have four digits for the year.
const LAST_MS: u64 = 253_402_300_799_999;

/// Milliseconds since the epoch of Unix as people read them, in UTC. What is later than the year 9999 (damaged
/// bytes may say so) shows as its end.
pub fn rfc3339(ms: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.min(LAST_MS))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Ack, CopySettings, HttpSettings, Member};
    use agency::configuration::Configuration;
    use agency::history::Tally;
    use agency::ids::{Epoch, Incarnation, NodeSet, Version};
    use agency::view::{NodeView, ShardView};
    use engine::ids::GroupId;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn roles_and_lag_come_from_configuration_and_progress() {
        let member = |name: &str, port_base| Member {
            name: name.into(),
            host: "127.0.0.1".into(),
            port_base,
            witness: false,
        };
        let members = vec![member("a", 7400), member("b", 7500)];
        let settings = Settings {
            group: GroupId(1),
            name: "a".into(),
            shards: 1,
            ack: Ack::Durable,
            auth: false,
            root_password_hash: None,
            max_value_bytes: 1 << 20,
            max_clients: 100,
            memory: crate::settings::ClientMemory::default(),
            evict_after: Duration::from_millis(30),
            copies: CopySettings::default(),
            http: HttpSettings::default(),
            members,
        };
        let node = |id, written, durable| NodeView {
            id: NodeId(id),
            pid: 10,
            warden_pid: 9,
            incarnation: Incarnation(1),
            up: true,
            progress: vec![ShardProgress { written, durable, ..Default::default() }],
            suspect: false,
            stopping: false,
        };
        let configuration = Configuration {
            leader: NodeId(0),
            in_sync: NodeSet::of(&[NodeId(0)]),
            members: NodeSet::of(&[NodeId(0), NodeId(1)]),
            epoch: Epoch(3),
            version: Version(5),
            why: Why::Evicted,
            leader_incarnation: Incarnation(1),
            at_ms: 0,
        };
        let founded = Configuration { why: Why::Founded, ..configuration };
        let newest = Configuration { at_ms: 5, ..configuration };
        let tally = Tally { shard: ShardId(0), member: NodeId(1), count: 7, first_ms: 2, newest };
        let view = ClusterView {
            told_at: Nanos(5),
            majority: true,
            nodes: vec![node(0, 80, 80), node(1, 64, 48)],
            agents: Vec::new(),
            shards: vec![ShardView { configuration: Some(configuration), leader_lost: false }],
            history: vec![(ShardId(0), founded)],
            tallies: vec![tally],
        };
        let fresh = ShardProgress { written: 96, durable: 96, ..Default::default() };
        let now = view.told_at + Duration::from_millis(500);
        let status = Status::new(&settings, &view, &[fresh], now);
        assert!(status.majority);
        let deaf = ClusterView { majority: false, ..view.clone() };
        assert!(!Status::new(&settings, &deaf, &[fresh], now).majority);
        let late = view.told_at + TOLD_LIMIT;
        assert!(!Status::new(&settings, &view, &[fresh], late).majority, "its warden stands still");
        let shard = &status.shards[0];
        assert_eq!((shard.leader.as_deref(), shard.slots), (Some("a"), [0, 16_383]));
        assert_eq!(shard.nodes["a"].role, ReplicaRole::Leader);
        assert_eq!((shard.nodes["a"].written, shard.nodes["a"].lag_us), (96, Some(0)));
        assert_eq!((shard.nodes["b"].role, shard.nodes["b"].lag_bytes), (ReplicaRole::Learner, 48));
        let [first, last] = &status.history[..] else { panic!("{:?}", status.history) };
        assert_eq!((first.why.as_str(), &first.node, first.count), ("founded", &None, 1));
        assert_eq!((last.why.as_str(), last.node.as_deref(), last.count), ("evicted", Some("b"), 7));
        assert_eq!(shard.exposed_since.as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(status.nodes[1].http, "127.0.0.1:7580");
    }

    /// A whole group of two nodes and a witness, from a node that tells more than this one knows of.
    const SAMPLE: &str = r#"{
        "nodes": [
            {"name":"a","pid":11,"warden_pid":10,"incarnation":1,"up":true,
             "resp":"127.0.0.1:7400","http":"127.0.0.1:7480"},
            {"name":"b","pid":21,"warden_pid":20,"incarnation":3,"up":true,
             "resp":"127.0.0.1:7500","http":"127.0.0.1:7580"}],
        "agents": [{"name":"a","up":true},{"name":"b","up":true},{"name":"w","up":true}],
        "shards": [{"id":0,"slots":[0,16383],"epoch":4,"version":9,"newer":true,"leader":"a","in_sync":["a","b"],
            "nodes":{
                "a":{"role":"leader","written":800,"durable":800,"committed":800,"applied":800,
                     "lag_bytes":0,"lag_us":0},
                "b":{"role":"follower","written":800,"durable":800,"committed":760,"applied":760,
                     "lag_bytes":40,"lag_us":12}}}],
        "history": [{"at":"2023-11-14T22:13:20.123Z","shard":0,"epoch":4,"leader":"a","why":"leader-died"}]
    }"#;

    #[test]
    fn the_promised_document_is_read_and_is_fine() {
        let status: Status = serde_json::from_str(SAMPLE).unwrap();
        assert_eq!(status.troubles(), Vec::<String>::new());
        assert!(status.majority, "a node that says nothing of it");
        assert_eq!(status.shards[0].serving_leader(), Some("a"));
    }

    #[test]
    fn troubles_name_what_is_wrong() {
        let mut status: Status = serde_json::from_str(SAMPLE).unwrap();
        status.majority = false;
        status.nodes[1].up = false;
        status.shards[0].in_sync.pop();
        status.shards[0].leader = Some("b".to_owned());
        let troubles = status.troubles().join("; ");
        for part in [NO_MAJORITY, "node b is down", "no leader that serves", "node b is not in sync"] {
            assert!(troubles.contains(part), "{troubles}");
        }
    }
}
