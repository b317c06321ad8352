//! `baton serve`, `baton witness` and the hidden `baton node`: one member of a group.
//!
//! `serve` is the warden; it starts this same binary as `baton node` and guards it. The two meet only in the
//! shared page and the environment variable that names its descriptors.

use crate::cli::ServeOptions;
use crate::failure::{Failure, not_fine};
use agency::overseer::{Overseer, OverseerOptions};
use engine::io::dir::{self, FormatOptions};
use server::config::{Member, NodeConfig, Respawn};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::process::{Command, Stdio};
use warden::page::ChildFds;
use warden::{self, ExitReason, NodeOptions, Peer, Spawn, Start, WardenConfig};

/// Environment variable for tests: MiB of memory that a node touches before it serves, so that its death
/// takes the kernel as long as that of a node with much data.
pub const BALLAST_VARIABLE: &str = "BATON_TEST_BALLAST_MIB";

/// What a node prints before the reason why it cannot run; `baton start` looks for it in the log.
pub const CANNOT_RUN: &str = "cannot run: ";

/// Where the agent's durable state lies within a member's directory.
pub const AGENT_DIR: &str = "agent";

/// Runs the warden of a data node.
pub fn serve(options: &ServeOptions) -> Result<(), Failure> {
    let config = load(&options.config)?;
    if config.my_member().witness {
        let name = &config.name;
        return Err(Failure::Usage(format!("{name} is a witness: run `baton witness --config ...`")));
    }
    // Opening it here refuses a foreign directory or a second process in one line, before anything runs.
    let format = FormatOptions {
        group: config.group,
        node_name: config.name.clone(),
        shards: config.shards,
        segment_bytes: config.segment_bytes.0,
    };
    let disk_id = dir::open_or_format(&config.dir, &format).map_err(not_fine)?.disk_id();
    let binary = std::env::current_exe().map_err(not_fine)?;
    let path = options.config.clone();
    let data = config.dir.clone();
    let spawn: Spawn = Box::new(move |_, _| {
        let mut command = Command::new(&binary);
        command.arg("node").arg("--config").arg(&path).stdin(Stdio::null());
        let (data, format) = (data.clone(), format.clone());
        let found = move || dir::open_or_format(&data, &format).map(|found| found.disk_id().0);
        let disk_id = Box::new(move || found().map_err(std::io::Error::other));
        Ok(Start { command, disk_id })
    });
    run_warden(&config, disk_id.0, Some(spawn))
}

/// Runs a witness.
pub fn witness(options: &ServeOptions) -> Result<(), Failure> {
    let config = load(&options.config)?;
    if !config.my_member().witness {
        let name = &config.name;
        return Err(Failure::Usage(format!("{name} is a data node: run `baton serve --config ...`")));
    }
    run_warden(&config, 0, None)
}

/// Runs the node process; its warden has put the shared page's descriptors into the environment.
pub fn node(options: &ServeOptions) -> Result<(), Failure> {
    let config = load(&options.config)?;
    let fds = ChildFds::from_env()
        .map_err(|_| Failure::Usage("`baton node` is started by `baton serve` and not by hand".to_owned()))?;
    let _ballast = ballast()?;
    let name = config.name.clone();
    server::run_node(config, fds)
        .map_err(|error| Failure::NotFine(format!("node {name} {CANNOT_RUN}{error}")))
}

fn load(path: &Path) -> Result<NodeConfig, Failure> {
    NodeConfig::load(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
}

/// Memory for nothing, every page of it touched.
fn ballast() -> Result<Vec<u8>, Failure> {
    let Some(text) = std::env::var_os(BALLAST_VARIABLE) else {
        return Ok(Vec::new());
    };
    let mib: Option<usize> = text.to_str().and_then(|t| t.parse().ok());
    let mib = mib.ok_or_else(|| Failure::Usage(format!("{BALLAST_VARIABLE} = {text:?} is no number")))?;
    Ok(vec![1; mib << 20])
}

fn run_warden(config: &NodeConfig, disk_id: u128, spawn: Option<Spawn>) -> Result<(), Failure> {
    let timing = config.agency_timing();
    let me = config.me();
    let bind = config.bind_address();
    let peers = config.agents().iter().filter(|id| *id != me).map(|id| {
        let member = config.member(id).expect("agents are members");
        Ok(Peer { id, name: member.name.clone(), address: agency_address(member)? })
    });
    let member = config.my_member();
    let warden = WardenConfig {
        name: config.name.clone(),
        me,
        group: config.group.0,
        shards: config.shards,
        listen: SocketAddr::new(bind, member.agency_port()),
        peers: peers.collect::<Result<_, Failure>>()?,
        dir: config.dir.join(AGENT_DIR),
        tick: timing.tick,
        hang_after: timing.hang_after,
        node: spawn.is_some().then(|| NodeOptions {
            listens: member.node_ports(config.shards).iter().map(|p| SocketAddr::new(bind, *p)).collect(),
            respawn_after: match config.respawn_after {
                Respawn::After(span) => Some(span.0),
                Respawn::Never => None,
            },
            stop_timeout: config.stop_timeout.0,
        }),
    };
    let overseer = OverseerOptions {
        me,
        data_nodes: config.data_nodes(),
        agents: config.agents(),
        shards: config.shards,
        timing,
        witness: spawn.is_none(),
        initial_leaders: config.initial_leaders(),
        prefer_leader: config.prefer_leader.as_deref().and_then(|name| config.node_named(name)),
        warden_pid: std::process::id(),
        group: config.group.0,
        disk_id,
    };
    match warden::run(warden, |image, now| Overseer::new(overseer, image, now), spawn) {
        Ok(ExitReason::Stopped | ExitReason::NodeStopped) => Ok(()),
        Ok(ExitReason::NodeKilled) => Err(not_fine("the node did not stop in time and was killed")),
        Err(error) => Err(Failure::NotFine(format!("{} {CANNOT_RUN}{error}", config.name))),
    }
}

fn agency_address(member: &Member) -> Result<SocketAddr, Failure> {
    let resolved = (member.host.as_str(), member.agency_port()).to_socket_addrs();
    let found = resolved.ok().and_then(|mut addresses| addresses.next());
    found.ok_or_else(|| {
        Failure::Usage(format!("members.host = {:?} of {:?} does not resolve", member.host, member.name))
    })
}
