//! What is asked about the group, answered from what the wardens told each other: status, health, replication.
//!
//! As fresh as that is; good for people and monitors, never for safety.

use super::{ARANGO_VERSION, Http, HttpClient, HttpContext, fine};
use crate::status::{ReplicaRole, ReplicaStatus, Status};
use faces::http::Response;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Whether it is answered from the status of the group.
pub(super) fn is_about_group(path: &[&str]) -> bool {
    matches!(
        path,
        ["_admin", "baton", "status"]
            | ["_admin", "cluster", "health"]
            | ["_admin", "status" | "statistics" | "metrics"]
            | ["_admin", "metrics", "v2"]
            | ["_api", "replication", "applier-state" | "logger-state" | "server-id"]
            | ["_api", "engine", "stats"]
            | ["_api", "cluster", "cluster-info"]
    )
}

impl Http {
    /// The status for a request about the group has come.
    pub(super) fn status(&self, client: &mut HttpClient, id: u64, status: &Status, cx: &HttpContext<'_>) {
        let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let Some(request) = slot.request.take() else { return };
        let segments = faces::documents::database_of(&request).map_or(Vec::new(), |(_, segments)| segments);
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let response = match path.as_slice() {
            ["_admin", "baton", "status"] => Response::json(200, status),
            ["_admin", "cluster", "health"] => health(status, cx),
            ["_admin", "status"] => server_status(status, cx),
            ["_admin", "metrics", ..] => {
                let body = metrics(status).into_bytes();
                Response { body, content_type: "text/plain; version=0.0.4", ..Response::empty(200) }
            }
            ["_api", "replication", "applier-state"] => applier_state(status, cx),
            ["_api", "replication", "logger-state"] => logger_state(status, cx),
            ["_api", "replication", "server-id"] => fine(json!({ "serverId": cx.options.settings.name })),
            ["_admin", "statistics"] => fine(json!({
                "time": cx.clock.wall_ms as f64 / 1000.0,
                "enabled": true,
                "server": { "uptime": uptime_s(cx) },
                "client": { "httpConnections": self.clients.len() },
            })),
            _ => fine(json!({})),
        };
        slot.answer(response);
    }
}

fn uptime_s(cx: &HttpContext<'_>) -> f64 {
    cx.clock.wall_ms.saturating_sub(cx.options.started_ms) as f64 / 1000.0
}

/// In the shape of a cluster's health: every member, whether it lives and what it does.
fn health(status: &Status, cx: &HttpContext<'_>) -> Response {
    let settings = &cx.options.settings;
    let first = status.shards.first();
    let mut health = Map::new();
    for node in &status.nodes {
        let leads = first.is_some_and(|shard| shard.leader.as_deref() == Some(&node.name));
        let in_sync = status.shards.iter().all(|shard| shard.in_sync.contains(&node.name));
        let serving = match (node.up, leads, in_sync) {
            (false, ..) => "FAILED",
            (true, true, _) => "SERVING",
            (true, false, true) => "IN SYNC",
            (true, false, false) => "CATCHING UP",
        };
        let entry = json!({
            "ShortName": node.name,
            "Endpoint": format!("tcp://{}", node.http),
            "Role": "Single",
            "Status": if node.up { "GOOD" } else { "FAILED" },
            "SyncStatus": serving,
            "Leading": leads,
            "CanBeDeleted": false,
            "Engine": "baton",
            "Version": ARANGO_VERSION,
        });
        health.insert(node.name.clone(), entry);
    }
    for agent in &status.agents {
        let member = settings.node_named(&agent.name).and_then(|node| settings.member(node));
        let endpoint =
            member.map_or(String::new(), |member| format!("tcp://{}:{}", member.host, member.agency_port()));
        let entry = json!({
            "ShortName": agent.name,
            "Endpoint": endpoint,
            "Role": "Agent",
            "Status": if agent.up { "GOOD" } else { "FAILED" },
            "CanBeDeleted": false,
            "Version": ARANGO_VERSION,
        });
        health.insert(format!("{}-agent", agent.name), entry);
    }
    fine(json!({ "ClusterId": format!("{:032x}", settings.group.0), "Health": health }))
}

fn server_status(status: &Status, cx: &HttpContext<'_>) -> Response {
    let settings = &cx.options.settings;
    let role = status.shards.first().and_then(|shard| shard.nodes.get(&settings.name)).map(|copy| copy.role);
    Response::json(
        200,
        &json!({
            "server": "arango",
            "license": "community",
            "version": ARANGO_VERSION,
            "mode": "server",
            "operationMode": "server",
            "foxxApi": false,
            "host": settings.name,
            "pid": cx.options.pid,
            "serverInfo": {
                "role": "SINGLE",
                "maintenance": false,
                "readOnly": cx.metadata.read_only() || role != Some(ReplicaRole::Leader),
                "writeOpsEnabled": role == Some(ReplicaRole::Leader) && !cx.metadata.read_only(),
            },
            "baton": { "version": env!("CARGO_PKG_VERSION"), "role": role },
        }),
    )
}

/// In the shape of an applier's state: how far this node's copies are, and how far each is behind.
fn applier_state(status: &Status, cx: &HttpContext<'_>) -> Response {
    let name = &cx.options.settings.name;
    let copies = status.shards.iter().filter_map(|shard| Some((shard, shard.nodes.get(name)?)));
    let shards: Vec<Value> = copies
        .map(|(shard, copy)| {
            json!({
                "id": shard.id,
                "role": copy.role,
                "leader": shard.leader,
                "epoch": shard.epoch,
                "written": copy.written,
                "durable": copy.durable,
                "committed": copy.committed,
                "applied": copy.applied,
                "lag_bytes": copy.lag_bytes,
                "lag_us": copy.lag_us,
            })
        })
        .collect();
    let first = status.shards.first();
    let mine = first.and_then(|shard| shard.nodes.get(name));
    let leader = first.and_then(|shard| shard.leader.as_deref());
    let leader_copy = first.zip(leader).and_then(|(shard, leader)| shard.nodes.get(leader));
    let tick = |copy: Option<&ReplicaStatus>, of: fn(&ReplicaStatus) -> u64| {
        copy.map_or_else(|| "0".to_owned(), |copy| of(copy).to_string())
    };
    let endpoint = status.nodes.iter().find(|node| Some(node.name.as_str()) == leader);
    let running = mine.is_some_and(|copy| copy.role != ReplicaRole::Leader);
    Response::json(
        200,
        &json!({
            "state": {
                "started": crate::status::rfc3339(cx.options.started_ms),
                "running": running,
                "phase": if running { "running" } else { "inactive" },
                "lastAppliedContinuousTick": tick(mine, |copy| copy.applied),
                "lastProcessedContinuousTick": tick(mine, |copy| copy.durable),
                "lastAvailableContinuousTick": tick(leader_copy, |copy| copy.written),
                "ticksBehind": mine.map_or(0, |copy| copy.lag_bytes),
                "progress": { "message": if running { "following" } else { "leading" }, "failedConnects": 0 },
                "lastError": { "errorNum": 0 },
                "time": crate::status::rfc3339(cx.clock.wall_ms),
            },
            "server": { "version": ARANGO_VERSION, "serverId": name },
            "endpoint": endpoint.filter(|_| running).map(|node| format!("tcp://{}", node.http)),
            "database": "_system",
            "shards": shards,
        }),
    )
}

/// In the shape of a logger's state: where the log is, and where each copy of it.
fn logger_state(status: &Status, cx: &HttpContext<'_>) -> Response {
    let name = &cx.options.settings.name;
    let first = status.shards.first();
    let mine = first.and_then(|shard| shard.nodes.get(name));
    let tick = |copy: Option<&ReplicaStatus>| copy.map_or(0, |copy| copy.committed).to_string();
    let others = first.into_iter().flat_map(|shard| &shard.nodes).filter(|(node, _)| *node != name);
    let clients: Vec<Value> = others
        .map(|(node, copy)| json!({ "serverId": node, "lastServedTick": copy.durable.to_string() }))
        .collect();
    Response::json(
        200,
        &json!({
            "state": {
                "running": true,
                "lastLogTick": tick(mine),
                "lastUncommittedLogTick": mine.map_or(0, |copy| copy.written).to_string(),
                "time": crate::status::rfc3339(cx.clock.wall_ms),
            },
            "server": { "version": ARANGO_VERSION, "serverId": name, "engine": "baton" },
            "clients": clients,
        }),
    )
}

/// In the format of Prometheus.
fn metrics(status: &Status) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: Vec<(String, u64)>| {
        write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n").expect("writing to a String cannot fail");
        for (labels, value) in samples {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            writeln!(text, "{name}{labels} {value}").expect("writing to a String cannot fail");
        }
    };
    let seen = vec![(String::new(), u64::from(status.majority))];
    gauge("baton_majority", "Whether this node's warden hears a majority of the agents.", seen);
    let nodes = status.nodes.iter().map(|node| (format!("node=\"{}\"", node.name), u64::from(node.up)));
    gauge("baton_node_up", "Whether the node lives.", nodes.collect());
    let epochs = status.shards.iter().map(|shard| (format!("shard=\"{}\"", shard.id), shard.epoch));
    gauge("baton_epoch", "Epoch of the shard's leadership.", epochs.collect());
    let copies = |of: fn(&ReplicaStatus) -> u64| {
        let of_shard = |shard: &crate::status::ShardStatus| -> Vec<(String, u64)> {
            let id = shard.id;
            let nodes = shard.nodes.iter();
            nodes.map(|(node, copy)| (format!("shard=\"{id}\",node=\"{node}\""), of(copy))).collect()
        };
        status.shards.iter().flat_map(of_shard).collect::<Vec<_>>()
    };
    gauge(
        "baton_leader",
        "Whether the node leads the shard.",
        copies(|copy| (copy.role == ReplicaRole::Leader).into()),
    );
    gauge("baton_written_bytes", "End of the log.", copies(|copy| copy.written));
    gauge("baton_durable_bytes", "End of what is on the disk.", copies(|copy| copy.durable));
    gauge("baton_committed_bytes", "End of what is committed.", copies(|copy| copy.committed));
    gauge("baton_lag_bytes", "What the leader has and this copy has not.", copies(|copy| copy.lag_bytes));
    text
}
