//! The control thread of a node: a glommio executor of its own, so that nothing an administrator or a load
//! balancer asks is ever in front of data traffic.
//!
//! Serves status, handoff, shutdown, availability and the list of endpoints. It decides nothing: it reads
//! the warden's page and puts wishes into the shards' mailboxes.

pub mod http;
pub mod signals;

use crate::config::NodeConfig;
use crate::shard_loop::{Parcel, Post};
use crate::status::Status;
use agency::events::{ClusterView, ShardProgress};
use agency::ids::{NodeId, ShardId};
use agency::warden::shared_page::SharedPage;
use futures_lite::future::or;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement};
use http::{MAX_REQUEST_BYTES, Reply, Request};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection may take to say its request, and to take the reply.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a handoff may take before the answer says that it did not happen yet.
pub const HANDOFF_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the view is looked at while a handoff is awaited.
const HANDOFF_POLL: Duration = Duration::from_millis(1);
/// Most connections at a time; others wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Pause after a failed or postponed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What the control thread works with.
pub struct Control {
    pub config: Arc<NodeConfig>,
    pub page: Arc<SharedPage>,
    pub post: Post,
}

struct Desk {
    control: Control,
    seen: Cell<u64>,
    view: RefCell<ClusterView>,
    connections: Cell<usize>,
}

/// Start the control thread with its listening socket; it lives as long as the process.
///
/// # Errors
/// What glommio says.
pub fn start(control: Control, listener: OwnedFd) -> Result<(), String> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("baton-control")
        .spawn(move || async move {
            let connections = Cell::new(0);
            let desk = Desk { control, seen: Cell::new(0), view: RefCell::default(), connections };
            // SAFETY: a listening socket of our own, given away.
            let listener = unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) };
            serve(Rc::new(desk), listener).await;
        })
        .map(drop)
        .map_err(|error| error.to_string())
}

async fn serve(desk: Rc<Desk>, listener: TcpListener) {
    loop {
        if desk.connections.get() >= MAX_CONNECTIONS {
            sleep(ACCEPT_PAUSE).await;
            continue;
        }
        let Ok(stream) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        desk.connections.set(desk.connections.get() + 1);
        let desk = Rc::clone(&desk);
        glommio::spawn_local(async move {
            desk.converse(stream).await;
            desk.connections.set(desk.connections.get() - 1);
        })
        .detach();
    }
}

impl Desk {
    async fn converse(&self, mut stream: TcpStream) {
        let late = async {
            sleep(REQUEST_TIMEOUT).await;
            Err(408)
        };
        let reply = match or(read_request(&mut stream), late).await {
            Ok(Some(request)) => self.answer(&request).await,
            Ok(None) => return,
            Err(status) => Reply::error(status, "this is not a request that can be answered"),
        };
        let bytes = reply.encode();
        let write = async {
            // A peer that left does not want the reply.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.close().await;
        };
        let late = async {
            sleep(REQUEST_TIMEOUT).await;
        };
        or(write, late).await;
    }

    async fn answer(&self, request: &Request) -> Reply {
        let config = &self.control.config;
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/_admin/baton/status") => {
                let own: Vec<ShardProgress> =
                    self.shards().map(|shard| self.control.page.shard(shard).progress()).collect();
                Reply::json(200, &Status::new(config, &self.view(), &own))
            }
            ("POST", "/_admin/baton/handoff") => self.hand_over(request).await,
            ("POST", "/_admin/baton/shutdown") => {
                self.control.post.stop_all();
                Reply::json(200, &json!({ "stopping": true }))
            }
            ("GET", "/_admin/server/availability") if self.leaders().contains(&Some(config.me())) => {
                Reply::json(200, &json!({ "mode": "default" }))
            }
            ("GET", "/_admin/server/availability") => Reply::error(503, "this node leads no shard"),
            ("GET", "/_api/cluster/endpoints") => self.endpoints(),
            ("GET" | "POST", _) => Reply::error(404, "unknown path"),
            _ => Reply::error(405, "not with this method"),
        }
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.control.config.shards).map(ShardId)
    }

    fn view(&self) -> ClusterView {
        let mut seen = self.seen.get();
        if let Some(view) = self.control.page.view(&mut seen) {
            self.view.replace(view);
            self.seen.set(seen);
        }
        self.view.borrow().clone()
    }

    /// The leader of each shard.
    fn leaders(&self) -> Vec<Option<NodeId>> {
        let view = self.view();
        let leader = |shard: ShardId| view.shards.get(shard.0 as usize)?.configuration.map(|c| c.leader);
        self.shards().map(leader).collect()
    }

    fn endpoints(&self) -> Reply {
        let config = &self.control.config;
        let first = self.leaders().first().copied().flatten();
        let mut nodes: Vec<NodeId> = config.data_nodes().iter().collect();
        nodes.sort_by_key(|node| Some(*node) != first);
        let members = nodes.into_iter().filter_map(|node| config.member(node));
        let endpoint =
            |m: &crate::config::Member| json!({ "endpoint": format!("tcp://{}:{}", m.host, m.http_port()) });
        let list: Vec<_> = members.map(endpoint).collect();
        Reply::json(200, &json!({ "error": false, "code": 200, "endpoints": list }))
    }

    async fn hand_over(&self, request: &Request) -> Reply {
        let config = &self.control.config;
        let to = match request.parameter("to").map(|name| config.node_named(name)) {
            None => None,
            Some(Some(node)) if config.data_nodes().contains(node) => Some(node),
            Some(_) => return Reply::error(400, "to= names no data node of this group"),
        };
        let only = match request.parameter("shard").map(str::parse::<u16>) {
            None => None,
            Some(Ok(shard)) if shard < config.shards => Some(ShardId(shard)),
            Some(_) => return Reply::error(400, "shard= is no shard of this group"),
        };
        let (me, before) = (config.me(), self.leaders());
        let wanted: Vec<ShardId> =
            self.shards().filter(|shard| only.is_none_or(|only| only == *shard)).collect();
        let leads = |shard: &&ShardId| before[shard.0 as usize] == Some(me) && to != Some(me);
        let mine: Vec<ShardId> = wanted.iter().filter(leads).copied().collect();
        let there = |shard: &ShardId| to.is_some() && before[shard.0 as usize] == to;
        if mine.is_empty() && !wanted.iter().all(there) {
            return Reply::error(409, "this node leads none of these shards: ask their leader");
        }
        let start = Instant::now();
        for shard in &mine {
            self.control.post.send(engine::ids::ShardId(shard.0), Parcel::Handoff(to));
        }
        loop {
            let now = self.leaders();
            let moved = |shard: &ShardId| match now[shard.0 as usize] {
                Some(leader) => leader != me && to.is_none_or(|to| to == leader),
                None => false,
            };
            if mine.iter().all(moved) {
                let moved: Vec<u16> = mine.iter().map(|shard| shard.0).collect();
                let took_us = start.elapsed().as_micros() as u64;
                return Reply::json(200, &json!({ "moved": moved, "took_us": took_us }));
            }
            if start.elapsed() > HANDOFF_TIMEOUT {
                return Reply::error(504, "the handoff has not happened: is the other node up and in sync?");
            }
            sleep(HANDOFF_POLL).await;
        }
    }
}

/// The request of a connection; `None` if it ended without one.
async fn read_request(stream: &mut TcpStream) -> Result<Option<Request>, u16> {
    let mut bytes = vec![0; MAX_REQUEST_BYTES];
    let mut filled = 0;
    loop {
        match stream.read(&mut bytes[filled..]).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(more) => filled += more,
        }
        if let Some(request) = Request::parse(&bytes[..filled])? {
            return Ok(Some(request));
        }
    }
}
