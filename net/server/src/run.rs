//! The main of a node's process: open the data directory, bind the ports, start a thread per shard and the
//! control thread, and wait until all shards stopped in order.
//!
//! Whatever is wrong with the machine or the configuration shows here, before anything is served, as one
//! [`RunError`]. What a shard does is given by the caller, who makes its core.

use crate::config::NodeConfig;
use crate::control::{self, Control, Desk, signals};
use crate::descriptors::{self, Descriptors};
use crate::error::RunError;
use crate::notices::About;
use crate::post::{Mailbox, Post};
use crate::process::Process;
use crate::recovery;
use crate::resources;
use crate::shard_loop::core::Core;
use crate::shard_loop::sockets::{self, Kind};
use crate::shard_loop::stalls::{self, Place};
use crate::shard_loop::{self, DiskSetup, Door, Greeting, LONGEST_WAIT, PeerAddress, Setup};
use crate::threads::{self, ShardThread};
use agency::ids::{Incarnation, NodeId};
use engine::ids::ShardId;
use engine::io::cold::{self, ColdContext};
use engine::io::dir::{self, DataDir, FormatOptions};
use engine::io::medium::Medium;
use engine::io::ring::LogMemory;
use engine::memory::MirrorBuffer;
use engine::shard::{Shard, ShardOptions};
use glommio::Placement;
use node::events::Face;
use node::replication::message;
use node::settings::Settings;
use node::{Node, NodeOptions};
use rustix::process::Resource;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::channel;
use std::time::{SystemTime, UNIX_EPOCH};
use warden::page::{ChildFds, SharedPage};

/// Priority asked for the node's threads; without the right to it the default stays.
const NICE: i32 = -10;

/// What a shard's core is made of.
pub struct Seed {
    pub me: NodeId,
    pub shard: ShardId,
    pub settings: Arc<Settings>,
    pub incarnation: Incarnation,
    /// Random and of this shard of this process alone.
    pub secret: [u8; 32],
    /// The recovered log and index.
    pub engine: Shard,
}

/// What every shard thread needs besides its own things.
struct Common<M> {
    config: Arc<NodeConfig>,
    settings: Arc<Settings>,
    page: Arc<SharedPage>,
    dir: Arc<DataDir>,
    desk: Desk,
    process: Process,
    places: Vec<Arc<Place>>,
    wake_warden: Arc<OwnedFd>,
    greeting: Greeting,
    /// Shards that are not open yet.
    closed: AtomicU16,
    make_core: M,
}

/// Run a node until it stopped in order.
///
/// # Errors
/// See [`RunError`]. The process should end then; the warden's page holds the reason too.
pub fn run_node(config: NodeConfig, fds: ChildFds) -> Result<(), RunError> {
    let greeting = Greeting { header_bytes: message::HEADER_BYTES, shard_of: message::shard_of };
    run_node_with(config, fds, greeting, |seed: Seed| {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let options = NodeOptions {
            me: seed.me,
            shard: seed.shard,
            settings: seed.settings,
            incarnation: seed.incarnation,
            pid: std::process::id(),
            started_ms: since_epoch.as_millis() as u64,
            secret: seed.secret,
        };
        Node::new(options, seed.engine)
    })
}

/// Run a node until it stopped in order. `make_core` makes a shard's core, on the shard's thread.
///
/// # Errors
/// See [`RunError`]. The process should end then; the warden's page holds the reason too.
pub fn run_node_with<C, M>(
    config: NodeConfig,
    fds: ChildFds,
    greeting: Greeting,
    make_core: M,
) -> Result<(), RunError>
where
    C: Core + 'static,
    M: Fn(Seed) -> C + Send + Sync + 'static,
{
    let attached = fds.attach()?;
    let page = Arc::new(attached.page);
    for bell in &attached.wake_shards {
        // io_uring answers EAGAIN for a non-blocking file instead of waiting; the warden only writes to it.
        let flags =
            rustix::fs::fcntl_getfl(bell).map_err(|error| thread_error("the warden's bell", error))?;
        rustix::fs::fcntl_setfl(bell, flags - rustix::fs::OFlags::NONBLOCK)
            .map_err(|error| thread_error("the warden's bell", error))?;
    }
    let wake = (Arc::new(attached.wake_warden), attached.wake_shards);
    let result = run_attached(config, Arc::clone(&page), wake, greeting, make_core);
    if let Err(error) = &result {
        page.fail(&error.to_string());
    }
    // The locks of the shards' threads lie in the page: it stays mapped until the process is gone.
    std::mem::forget(page);
    result
}

fn run_attached<C, M>(
    config: NodeConfig,
    page: Arc<SharedPage>,
    (wake_warden, wake_shards): (Arc<OwnedFd>, Vec<OwnedFd>),
    greeting: Greeting,
    make_core: M,
) -> Result<(), RunError>
where
    C: Core + 'static,
    M: Fn(Seed) -> C + Send + Sync + 'static,
{
    if config.my_member().witness {
        return Err(RunError::Witness { name: config.name });
    }
    if page.shards() != config.shards {
        return Err(RunError::Shards { warden: page.shards(), configured: config.shards });
    }
    engine::io::ring::check()?;
    let thread = |what| move |error: std::io::Error| RunError::Thread { what, reason: error.to_string() };
    let (descriptors, clients) = descriptors_for(&config, &wake_warden);
    // Before the first thread, so that every thread inherits both.
    signals::block().map_err(thread("the signal thread"))?;
    let _ = rustix::process::setpriority_process(None, NICE);
    let process = Process::start(std::io::stderr(), descriptors).map_err(thread("the helper threads"))?;
    if clients < config.max_clients as usize * config.shards as usize {
        process.notices.say(
            About::Start,
            &format!(
                "the limit on open files leaves room for {clients} clients, fewer than max_clients: raise it (ulimit -n, \
                 LimitNOFILE=)"
            ),
        );
    }
    threads::tell_of_panics(Arc::clone(&page), process.notices.clone());
    let config = Arc::new(config);
    let dir = dir::open_or_format(
        &config.dir,
        &FormatOptions {
            group: config.group,
            node_name: config.name.clone(),
            shards: config.shards,
            segment_bytes: config.segment_bytes.0,
        },
    )?;
    let mut doors = Vec::new();
    for shard in 0..config.shards {
        doors.push(doors_of(&config, ShardId(shard))?);
    }
    let (post, mailboxes) = Post::new(config.shards).map_err(thread("the mailboxes"))?;
    signals::watch(post.clone()).map_err(thread("the signal thread"))?;
    let settings = Arc::new(config.settings());
    let control = Control { settings: Arc::clone(&settings), page: Arc::clone(&page), post: post.clone() };
    let desk = control::start(control).map_err(thread("the control threads"))?;
    resources::watch(dir.path().to_owned(), process.clone(), post.clone())
        .map_err(thread("the resources' thread"))?;
    let places: Vec<Arc<Place>> = (0..config.shards).map(|_| Arc::default()).collect();
    stalls::trace(places.clone(), LONGEST_WAIT).map_err(thread("the sampler"))?;

    let common = Arc::new(Common {
        closed: AtomicU16::new(config.shards),
        config,
        settings,
        page,
        dir: Arc::new(dir),
        desk,
        process,
        places,
        wake_warden,
        greeting,
        make_core,
    });
    let (ended, ends) = channel();
    let mut started = Vec::new();
    for ((mailbox, doors), bell) in mailboxes.into_iter().zip(doors).zip(wake_shards) {
        let (shard, common, ended) = (mailbox.shard(), Arc::clone(&common), ended.clone());
        let placement = placement(&common.config, shard);
        let work = move || run_shard(&common, mailbox, doors, bell);
        started.push(ShardThread::start(shard, placement, ended, work)?);
    }
    drop(ended);
    for _ in 0..common.config.shards {
        match ends.recv() {
            Ok((_, Some(result))) => result?,
            Ok((shard, None)) => return Err(started.swap_remove(shard.0 as usize).why_it_ended()),
            Err(_) => unreachable!("each thread says how it ended"),
        }
    }
    Ok(())
}

/// Raise what may be raised, and give the kernel's table of descriptors its size while there is one thread;
/// also how many clients there may be.
fn descriptors_for(config: &NodeConfig, any: &OwnedFd) -> (Descriptors, usize) {
    descriptors::raise(Resource::Memlock);
    let limit = descriptors::raise(Resource::Nofile).unwrap_or(u64::MAX).min(i32::MAX as u64);
    let descriptors = Descriptors::new(limit as usize, config.shards as usize);
    // Without it, accepting takes longer now and then.
    let _ = descriptors.grow_table(any, config.max_clients as usize * config.shards as usize);
    let clients = descriptors.clients_limit();
    (descriptors, clients)
}

fn thread_error(what: &'static str, error: rustix::io::Errno) -> RunError {
    RunError::Thread { what, reason: error.to_string() }
}

fn at(config: &NodeConfig, port: u16) -> SocketAddr {
    SocketAddr::new(config.bind_address(), port)
}

fn claim(what: &'static str, address: SocketAddr, kind: Kind, shared: bool) -> Result<OwnedFd, RunError> {
    sockets::claim(address, kind, shared).map_err(|source| RunError::Listen { what, address, source })
}

fn doors_of(config: &NodeConfig, shard: ShardId) -> Result<Vec<(Door, OwnedFd)>, RunError> {
    let me = config.my_member();
    let own = at(config, me.shard_port(agency::ids::ShardId(shard.0)));
    let (any, http) = (at(config, me.any_key_port()), at(config, me.http_port()));
    let mut doors = vec![
        (Door::Clients(Face::Shard), claim("clients of a shard", own, Kind::Client, false)?),
        (Door::Clients(Face::AnyKey), claim("clients", any, Kind::Client, true)?),
        (Door::Clients(Face::Http), claim("HTTP", http, Kind::Client, true)?),
    ];
    if shard == ShardId(0) {
        let address = at(config, me.replication_port());
        doors.push((Door::Replication, claim("replication", address, Kind::Link, false)?));
    }
    Ok(doors)
}

fn placement(config: &NodeConfig, shard: ShardId) -> Placement {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match config.pin && config.shards as usize <= cores {
        true => Placement::Fixed((config.first_core as usize + shard.0 as usize) % cores),
        false => Placement::Unbound,
    }
}

fn run_shard<C, M>(
    common: &Common<M>,
    mailbox: Mailbox,
    listeners: Vec<(Door, OwnedFd)>,
    warden_bell: OwnedFd,
) -> Result<(), RunError>
where
    C: Core,
    M: Fn(Seed) -> C,
{
    let (shard, config) = (mailbox.shard(), &common.config);
    let bytes = config.log_buffer_bytes.0;
    let buffer = MirrorBuffer::new(bytes as usize).map_err(|source| RunError::Buffer {
        shard: shard.0,
        bytes,
        source,
    })?;
    // SAFETY: the buffer's mapping moves with it into the engine's shard and from there into the core,
    // which `shard_loop::run` drops after the ring, if at all; the core keeps to the seam's rules about ranges.
    let log = unsafe { LogMemory::of(&buffer) };
    let mut options = ShardOptions::new(config.group, shard);
    options.segment_bytes = config.segment_bytes.0;
    options.max_value_bytes = config.max_value_bytes.0 as usize;
    options.cache_bytes = config.cache_bytes.0 as usize;
    let (engine, files) = recovery::recover(&common.page, &common.dir, &options, buffer)
        .map_err(|source| RunError::Open { shard: shard.0, source })?;
    let carrier =
        Medium::of(&files.pulse).map_err(|source| RunError::Medium { shard: shard.0, source })?.carrier();
    let context = ColdContext { dir: common.dir.shard_dir(shard), segment_bytes: options.segment_bytes };
    let mut secret = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut secret))
        .map_err(|error| RunError::Thread { what: "the random numbers", reason: error.to_string() })?;
    let me = config.me();
    let core = (common.make_core)(Seed {
        me,
        shard,
        settings: Arc::clone(&common.settings),
        incarnation: common.page.incarnation(),
        secret,
        engine,
    });
    let others = config.data_nodes().without(me);
    let peers = others.iter().filter_map(|node| {
        let member = config.member(node)?;
        Some(PeerAddress { node, host: member.host.clone(), port: member.replication_port() })
    });
    let setup = Setup {
        listeners,
        greeting: common.greeting,
        peers: peers.collect(),
        max_clients: config.max_clients as usize,
        process: common.process.clone(),
        place: Arc::clone(&common.places[shard.0 as usize]),
        log,
        disk: DiskSetup {
            segments: files.segments.into_iter().collect(),
            pulse: files.pulse,
            carrier,
            run_cold: Box::new(move |op| cold::run(&context, op)),
        },
        mailbox,
        page: Arc::clone(&common.page),
        desk: common.desk.clone(),
        warden_bell,
        wake_warden: Arc::clone(&common.wake_warden),
    };
    let opened = || {
        if common.closed.fetch_sub(1, Ordering::AcqRel) == 1 {
            common.page.set_node_ready();
        }
    };
    shard_loop::run(core, setup, opened).map_err(|source| RunError::Loop { shard: shard.0, source })
}
