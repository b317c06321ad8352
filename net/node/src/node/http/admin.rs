//! What is asked about this node: version, role, availability, mode; and what it is asked to do: hand over,
//! stop. What is answered by every node, whoever leads, is answered here or in `group`.

use super::places::State;
use super::{HttpClient, Node};
use crate::job::{Job, Queue};
use crate::mail::{Edit, Refusal};
use crate::node::Role;
use crate::node::edits::mode;
use crate::seam::Action;
use agency::ids::NodeId;
use faces::http::{Method, Request, Response};
use serde_json::{Value, json};

/// The ArangoDB whose behaviour is followed; drivers choose features by it.
pub(super) const ARANGO_VERSION: &str = "3.11.0";

/// A JSON object as an answer.
pub(super) fn fine(mut body: Value) -> Response {
    body["error"] = false.into();
    body["code"] = 200.into();
    Response::json(200, &body)
}

impl Node {
    /// Answers what is not about documents.
    pub(super) fn http_administer(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        segments: &[String],
        out: &mut Vec<Action>,
    ) {
        let Some(request) = self.http_users(client, id, request, segments, out) else { return };
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reads = matches!(request.method, Method::Get | Method::Head);
        let response = match path.as_slice() {
            ["_api", "version"] if reads => self.version(&request),
            ["_api", "engine"] if reads => fine(json!({ "name": "baton", "supports": {} })),
            ["_admin", "server", "availability"] if reads => self.availability(),
            ["_admin", "server", "role"] if reads => self.role_of_node(),
            ["_admin", "server", "id"] if reads => fine(json!({ "id": self.options.settings.name })),
            ["_admin", "server", "mode"] if reads => fine(json!({ "mode": self.mode() })),
            ["_admin", "server", "mode"] if request.method == Method::Put => {
                match wanted_mode(&request.body) {
                    Some(read_only) => return self.http_edit(client, id, Edit::ReadOnly(read_only), out),
                    None => Response::error(400, 10, "mode must be \"default\" or \"readonly\""),
                }
            }
            ["_admin", "time"] if reads => fine(json!({ "time": self.wall_ms as f64 / 1000.0 })),
            ["_admin", "shutdown"] if request.method == Method::Delete => {
                // The leadership is handed over before the node ends, and this answer leaves before that.
                out.push(Action::StopNode);
                Response::json(200, &"OK")
            }
            ["_admin", "shutdown"] if reads => {
                fine(json!({ "softShutdownOngoing": self.stopping.is_some() }))
            }
            ["_admin", "baton", "shutdown"] if request.method == Method::Post => {
                out.push(Action::StopNode);
                Response::json(200, &json!({ "stopping": true }))
            }
            ["_admin", "baton", "handoff"] if request.method == Method::Post => {
                if self.http.jobs.is_full(Queue::Quick) {
                    return self.http_refuse(client, id, Refusal::Crowded);
                }
                let told = |name| request.parameter(name).map(str::to_owned);
                let job = Job::HandOver { to: told("to"), shard: told("shard") };
                let ticket = self.hand_in(client.conn, job, out);
                return self.http_state(client, id, State::Job(ticket));
            }
            ["_api", "cluster", "endpoints"] if reads => self.endpoints(),
            _ if reads && super::group::is_about_group(&path) => {
                if self.http.jobs.is_full(Queue::Quick) {
                    return self.http_refuse(client, id, Refusal::Crowded);
                }
                let ticket = self.hand_in(client.conn, Job::Status, out);
                self.http_keep(client, id, request);
                return self.http_state(client, id, State::Job(ticket));
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
        self.http_answer(client, id, response);
    }

    fn version(&self, request: &Request) -> Response {
        let mut body = json!({ "server": "arango", "license": "community", "version": ARANGO_VERSION });
        if request.parameter("details").is_some_and(|value| value != "false" && value != "0") {
            body["details"] = json!({
                "baton-version": env!("CARGO_PKG_VERSION"),
                "mode": "server",
                "role": "SINGLE",
                "host": self.options.settings.name,
            });
        }
        Response::json(200, &body)
    }

    /// For load balancers: whether this node serves as a leader.
    fn availability(&self) -> Response {
        let shard = &self.topology.shards[usize::from(self.options.shard.0)];
        let others = self.topology.shards.iter().filter(|other| other.id != shard.id);
        let leads_other = others.map(|other| other.leader).any(|leader| leader == Some(self.topology.me));
        let leads = leads_other || matches!(&self.role, Role::Leader(_));
        if leads && self.stopping.is_none() {
            fine(json!({ "mode": self.mode() }))
        } else {
            Response::error(503, 503, "this node leads no shard")
        }
    }

    pub(super) fn mode(&self) -> &'static str {
        self.known.metadata.as_deref().map_or("default", mode)
    }

    /// Of this node as a whole: what it is to shard 0. Of each shard: what it is to that.
    fn role_of_node(&self) -> Response {
        let shards: Vec<&str> = self.topology.shards.iter().map(|shard| self.role_in(shard.id)).collect();
        fine(json!({ "role": shards.first(), "mode": "resilient", "shards": shards }))
    }

    fn role_in(&self, shard: u16) -> &'static str {
        let me = self.options.me;
        let seen = self.view.shards.get(usize::from(shard)).and_then(|shard| shard.configuration);
        let own = self.update.filter(|_| self.options.shard.0 == shard).map(|update| update.configuration);
        let newest = seen.into_iter().chain(own).max_by_key(|configuration| configuration.version);
        match newest {
            Some(configuration) if configuration.leader == me => "leader",
            Some(configuration) if configuration.in_sync.contains(me) => "follower",
            _ => "learner",
        }
    }

    /// Leader of shard 0 first, then those that live, then the rest.
    fn endpoints(&self) -> Response {
        let topology = &self.topology;
        let first = topology.shards.first().and_then(|shard| topology.live_leader(shard));
        let mut nodes: Vec<usize> = (0..topology.nodes.len()).collect();
        nodes.sort_by_key(|node| (Some(*node) != first, !topology.nodes[*node].up));
        let list: Vec<Value> =
            nodes.into_iter().map(|node| json!({ "endpoint": self.endpoint("tcp", node) })).collect();
        fine(json!({ "endpoints": list }))
    }

    /// Where a node of the topology serves HTTP.
    pub(super) fn endpoint(&self, scheme: &str, node: usize) -> String {
        let index = NodeId(self.topology.nodes[node].index);
        let member = self.options.settings.member(index);
        member.map_or(String::new(), |member| {
            let (host, port) = (&member.host, member.http_port());
            match host.contains(':') {
                true => format!("{scheme}://[{host}]:{port}"),
                false => format!("{scheme}://{host}:{port}"),
            }
        })
    }
}

/// Paths that exist, for those who come with the wrong method.
const KNOWN: [&str; 13] = [
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
