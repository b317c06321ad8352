//! What is asked about this node: version, role, availability, mode; and what it is asked to do: hand over,
//! lead with what it has, stop. What is answered by every node, whoever leads, is answered here or in `group`.

use super::group;
use super::slots::SlotState;
use super::{ARANGO_VERSION, Http, HttpClient, HttpContext, endpoint, fine};
use crate::events::Command;
use crate::job::{Job, Queue};
use crate::metadata::edit::mode;
use crate::subrequest::{Edit, NotServed};
use faces::http::{Method, Request, Response};
use serde_json::{Value, json};

impl Http {
    /// Answers what is not about documents.
    pub(super) fn administer(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        segments: &[String],
        cx: &mut HttpContext<'_>,
    ) {
        let Some(request) = self.users(client, id, request, segments, cx) else { return };
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reads = matches!(request.method, Method::Get | Method::Head);
        let response = match path.as_slice() {
            ["_api", "version"] if reads => version(&request, cx),
            ["_api", "engine"] if reads => fine(json!({ "name": "baton", "supports": {} })),
            ["_admin", "server", "availability"] if reads => availability(cx),
            ["_admin", "server", "role"] if reads => role_of_node(cx),
            ["_admin", "server", "id"] if reads => fine(json!({ "id": cx.options.settings.name })),
            ["_admin", "server", "mode"] if reads => fine(json!({ "mode": mode_of(cx) })),
            ["_admin", "server", "mode"] if request.method == Method::Put => {
                match wanted_mode(&request.body) {
                    Some(read_only) => return self.edit(client, id, Edit::ReadOnly(read_only), cx),
                    None => Response::error(400, 10, "mode must be \"default\" or \"readonly\""),
                }
            }
            ["_admin", "time"] if reads => fine(json!({ "time": cx.clock.wall_ms as f64 / 1000.0 })),
            ["_admin", "shutdown"] if request.method == Method::Delete => {
                // The leadership is handed over before the node ends, and this answer leaves before that.
                cx.out.push(Command::StopNode);
                Response::json(200, &"OK")
            }
            ["_admin", "shutdown"] if reads => fine(json!({ "softShutdownOngoing": cx.stopping })),
            ["_admin", "baton", "shutdown"] if request.method == Method::Post => {
                cx.out.push(Command::StopNode);
                Response::json(200, &json!({ "stopping": true }))
            }
            ["_admin", "baton", "handoff"] if request.method == Method::Post => {
                if self.jobs.is_full(Queue::Quick) {
                    return self.refuse(client, id, NotServed::Crowded, cx);
                }
                let told = |name| request.parameter(name).map(str::to_owned);
                let job = Job::HandOver { to: told("to"), shard: told("shard") };
                let ticket = self.hand_in(client.conn, job, cx);
                return self.state(client, id, SlotState::Job(ticket));
            }
            ["_admin", "baton", "promote"] if request.method == Method::Post => {
                if request.parameter("accept-data-loss") != Some("true") {
                    let text = "what this member lacks is lost for good: say so by accept-data-loss=true";
                    return self.answer(client, id, Response::error(400, 10, text));
                }
                if self.jobs.is_full(Queue::Quick) {
                    return self.refuse(client, id, NotServed::Crowded, cx);
                }
                let ticket = self.hand_in(client.conn, Job::Promote, cx);
                return self.state(client, id, SlotState::Job(ticket));
            }
            ["_api", "cluster", "endpoints"] if reads => endpoints(cx),
            _ if reads && group::is_about_group(&path) => {
                if self.jobs.is_full(Queue::Quick) {
                    return self.refuse(client, id, NotServed::Crowded, cx);
                }
                let ticket = self.hand_in(client.conn, Job::Status, cx);
                self.keep(client, id, request);
                return self.state(client, id, SlotState::Job(ticket));
            }
            ["_api", "wal" | "replication", ..] => {
                let text = "Baton replicates its log by a protocol of its own: GET \
                    /_api/replication/applier-state shows how far each copy is";
                Response::error(501, 9, text)
            }
            ["_admin", "log", ..] => Response::error(501, 9, "a node logs to its standard error"),
            [] | [""] => Response::empty(301).with("Location", "/_admin/baton/status"),
            _ if KNOWN.contains(&segments.join("/").as_str()) => {
                Response::error(405, 405, "method not supported")
            }
            _ => Response::error(404, 404, &format!("unknown path '{}'", request.path)),
        };
        self.answer(client, id, response);
    }
}

/// Paths that exist, for those who come with the wrong method.
const KNOWN: [&str; 14] = [
    "_api/version",
    "_api/engine",
    "_api/cluster/endpoints",
    "_admin/server/availability",
    "_admin/server/role",
    "_admin/server/id",
    "_admin/server/mode",
    "_admin/cluster/health",
    "_admin/shutdown",
    "_admin/time",
    "_admin/baton/status",
    "_admin/baton/handoff",
    "_admin/baton/promote",
    "_admin/baton/shutdown",
];

/// Whether clients may only read, as the body of a request says.
fn wanted_mode(body: &[u8]) -> Option<bool> {
    let body: Value = serde_json::from_slice(body).ok()?;
    match body.get("mode")?.as_str()? {
        "readonly" => Some(true),
        "default" => Some(false),
        _ => None,
    }
}

fn version(request: &Request, cx: &HttpContext<'_>) -> Response {
    let mut body = json!({ "server": "arango", "license": "community", "version": ARANGO_VERSION });
    if request.parameter("details").is_some_and(|value| value != "false" && value != "0") {
        body["details"] = json!({
            "baton-version": env!("CARGO_PKG_VERSION"),
            "mode": "server",
            "role": "SINGLE",
            "host": cx.options.settings.name,
        });
    }
    Response::json(200, &body)
}

/// For load balancers: whether this node serves as a leader.
fn availability(cx: &HttpContext<'_>) -> Response {
    let shard = &cx.group.topology().shards[usize::from(cx.options.shard.0)];
    let others = cx.group.topology().shards.iter().filter(|other| other.id != shard.id);
    let leads_other = others.map(|other| other.leader).any(|leader| leader == Some(cx.group.topology().me));
    let leads = leads_other || cx.leads;
    if leads && !cx.stopping {
        fine(json!({ "mode": mode_of(cx) }))
    } else {
        Response::error(503, 503, "this node leads no shard")
    }
}

pub(super) fn mode_of(cx: &HttpContext<'_>) -> &'static str {
    cx.metadata.current.as_deref().map_or("default", mode)
}

/// Of this node as a whole: what it is to shard 0. Of each shard: what it is to that.
fn role_of_node(cx: &HttpContext<'_>) -> Response {
    let shards: Vec<&str> = cx.group.topology().shards.iter().map(|shard| role_in(shard.id, cx)).collect();
    fine(json!({ "role": shards.first(), "mode": "resilient", "shards": shards }))
}

fn role_in(shard: u16, cx: &HttpContext<'_>) -> &'static str {
    let me = cx.options.me;
    let seen = cx.group.view().shards.get(usize::from(shard)).and_then(|shard| shard.configuration);
    let own = cx.group.update().filter(|_| cx.options.shard.0 == shard).map(|update| update.configuration);
    let newest = seen.into_iter().chain(own).max_by_key(|configuration| configuration.version);
    match newest {
        Some(configuration) if configuration.leader == me => "leader",
        Some(configuration) if configuration.in_sync.contains(me) => "follower",
        _ => "learner",
    }
}

/// Leader of shard 0 first, then those that live, then the rest.
fn endpoints(cx: &HttpContext<'_>) -> Response {
    let topology = &cx.group.topology();
    let first = topology.shards.first().and_then(|shard| topology.live_leader(shard));
    let mut nodes: Vec<usize> = (0..topology.nodes.len()).collect();
    nodes.sort_by_key(|node| (Some(*node) != first, !topology.nodes[*node].up));
    let list: Vec<Value> =
        nodes.into_iter().map(|node| json!({ "endpoint": endpoint("tcp", node, cx) })).collect();
    fine(json!({ "endpoints": list }))
}
