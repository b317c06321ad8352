//! `CLUSTER` and its subcommands: the group as clients of a Redis Cluster read it.
//!
//! Promises: the same view on every node and every port, but for `myself`; `SLOTS` names live nodes only,
//! the leader first, and leaves out slots that nobody leads. Does not change the cluster.

use super::{Call, CommandOutcome, Ran, integer};
use crate::resp::context::Context;
use crate::resp::number::parse_i64;
use crate::resp::topology::{ShardTopology, Topology};
use engine::slot::{SLOTS, slot_of};
use std::fmt::Write;

/// The cluster bus of a Redis node listens this far above its port; shown because clients parse it.
const BUS_PORT_OFFSET: u32 = 10_000;

pub fn slots(c: &mut Call<'_>) -> Ran {
    let topology = c.ctx.topology;
    let led = || topology.shards.iter().filter_map(|s| Some((s, topology.live_leader(s)?)));
    c.reply.array(led().count());
    for (shard, leader) in led() {
        let followers: Vec<_> = topology.followers(shard).filter(|node| topology.nodes[*node].up).collect();
        c.reply.array(3 + followers.len());
        c.reply.integer(shard.slots.0.into());
        c.reply.integer(shard.slots.1.into());
        for node in std::iter::once(leader).chain(followers) {
            let (host, port) = topology.endpoint(node, shard);
            c.reply.array(4);
            c.reply.bulk(host.as_bytes());
            c.reply.integer(port.into());
            c.reply.bulk(topology.id_of(node, shard).as_bytes());
            c.reply.array(0);
        }
    }
    Ok(CommandOutcome::Done)
}

pub fn shards(c: &mut Call<'_>) -> Ran {
    let (topology, reply) = (c.ctx.topology, &mut c.reply);
    reply.array(topology.shards.len());
    for shard in &topology.shards {
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(2);
        reply.integer(shard.slots.0.into());
        reply.integer(shard.slots.1.into());
        reply.bulk(b"nodes");
        reply.array(shard.members.len());
        for node in leader_first(topology, shard) {
            let (host, port) = topology.endpoint(node, shard);
            let role = if shard.leader == Some(node) { "master" } else { "replica" };
            let health = if topology.nodes[node].up { "online" } else { "fail" };
            reply.map(7);
            reply.bulk(b"id");
            reply.bulk(topology.id_of(node, shard).as_bytes());
            reply.bulk(b"port");
            reply.integer(port.into());
            for field in ["ip", "endpoint"] {
                reply.bulk(field.as_bytes());
                reply.bulk(host.as_bytes());
            }
            reply.bulk(b"role");
            reply.bulk(role.as_bytes());
            reply.bulk(b"replication-offset");
            reply.integer(known_lsn(c.ctx, shard, node) as i64);
            reply.bulk(b"health");
            reply.bulk(health.as_bytes());
        }
    }
    Ok(CommandOutcome::Done)
}

/// How far a node's copy of a shard is, where that is known here: this node's, and its followers'; else 0.
fn known_lsn(ctx: &Context<'_>, shard: &ShardTopology, node: usize) -> u64 {
    match ctx.replicas.iter().find(|replica| replica.node == node) {
        _ if shard.id != ctx.topology.shards[ctx.shard].id => 0,
        _ if node == ctx.topology.me => ctx.written_lsn,
        replica => replica.map_or(0, |replica| replica.durable_lsn),
    }
}

/// All members of a shard, the leader (if known) first.
fn leader_first<'t>(topology: &'t Topology, shard: &'t ShardTopology) -> impl Iterator<Item = usize> + 't {
    shard.leader.into_iter().chain(topology.followers(shard))
}

pub fn nodes(c: &mut Call<'_>) -> Ran {
    let topology = c.ctx.topology;
    let mut lines = String::new();
    for shard in &topology.shards {
        for node in leader_first(topology, shard) {
            let me = node == topology.me && shard.id == topology.shards[c.ctx.shard].id;
            node_line(&mut lines, topology, shard, node, me);
        }
    }
    c.reply.verbatim(&lines);
    Ok(CommandOutcome::Done)
}

pub fn replicas(c: &mut Call<'_>) -> Ran {
    let topology = c.ctx.topology;
    let wanted = c.request.arg(2);
    let member = |shard: &ShardTopology, node: usize| {
        wanted.eq_ignore_ascii_case(topology.id_of(node, shard).as_bytes())
    };
    let known = topology.shards.iter().find(|shard| shard.members.iter().any(|node| member(shard, *node)));
    let Some(shard) = known else {
        let shown = String::from_utf8_lossy(wanted);
        return Err(format!("ERR Unknown node {shown}").into());
    };
    if !shard.leader.is_some_and(|leader| member(shard, leader)) {
        return Err("ERR The specified node is not a master".into());
    }
    let followers: Vec<_> = topology.followers(shard).collect();
    c.reply.array(followers.len());
    for node in followers {
        let mut line = String::new();
        let me = node == topology.me && shard.id == topology.shards[c.ctx.shard].id;
        node_line(&mut line, topology, shard, node, me);
        c.reply.bulk(line.trim_end().as_bytes());
    }
    Ok(CommandOutcome::Done)
}

/// One line of `CLUSTER NODES`, with its line feed.
fn node_line(lines: &mut String, topology: &Topology, shard: &ShardTopology, node: usize, me: bool) {
    let (host, port) = topology.endpoint(node, shard);
    let leads = shard.leader == Some(node);
    let up = topology.nodes[node].up;
    let master = match shard.leader {
        Some(leader) if !leads => topology.id_of(leader, shard),
        _ => "-".to_owned(),
    };
    let (id, epoch) = (topology.id_of(node, shard), shard.epoch);
    let bus_port = (u32::from(port) + BUS_PORT_OFFSET).min(u16::MAX.into());
    let myself = if me { "myself," } else { "" };
    let role = if leads { "master" } else { "slave" };
    let fail = if up { "" } else { ",fail" };
    let link = if up { "connected" } else { "disconnected" };
    write!(lines, "{id} {host}:{port}@{bus_port} {myself}{role}{fail} {master} 0 0 {epoch} {link}")
        .expect("writing to a String cannot fail");
    if leads {
        write!(lines, " {}-{}", shard.slots.0, shard.slots.1).expect("writing to a String cannot fail");
    }
    lines.push('\n');
}

pub fn info(c: &mut Call<'_>) -> Ran {
    let topology = c.ctx.topology;
    let width = |shard: &ShardTopology| usize::from(shard.slots.1 - shard.slots.0) + 1;
    let led: usize = topology.shards.iter().filter(|s| topology.live_leader(s).is_some()).map(width).sum();
    let all: usize = topology.shards.iter().map(width).sum();
    let state = if led == usize::from(SLOTS) { "ok" } else { "fail" };
    let known: usize = topology.shards.iter().map(|shard| shard.members.len()).sum();
    let text = format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{all}\r\n\
         cluster_slots_ok:{led}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\n\
         cluster_known_nodes:{known}\r\ncluster_size:{}\r\ncluster_current_epoch:{}\r\n\
         cluster_my_epoch:{}\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
         total_cluster_links_buffer_limit_exceeded:0\r\n",
        all - led,
        topology.shards.len(),
        topology.epoch(),
        topology.shards[c.ctx.shard].epoch,
    );
    c.reply.verbatim(&text);
    Ok(CommandOutcome::Done)
}

pub fn myid(c: &mut Call<'_>) -> Ran {
    let topology = c.ctx.topology;
    c.reply.bulk(topology.id_of(topology.me, &topology.shards[c.ctx.shard]).as_bytes());
    Ok(CommandOutcome::Done)
}

pub fn keyslot(c: &mut Call<'_>) -> Ran {
    c.reply.integer(slot_of(c.request.arg(2)).into());
    Ok(CommandOutcome::Done)
}

pub fn countkeysinslot(c: &mut Call<'_>) -> Ran {
    let slot = integer(c.request.arg(2))?;
    match u16::try_from(slot) {
        Ok(slot) if slot < SLOTS => {
            let keys = c.store.key_count_in_slot(slot);
            c.reply.integer(keys as i64);
            Ok(CommandOutcome::Done)
        }
        _ => Err("ERR Invalid slot".into()),
    }
}

pub fn getkeysinslot(c: &mut Call<'_>) -> Ran {
    let slot = integer(c.request.arg(2))?;
    if !(0..i64::from(SLOTS)).contains(&slot) || parse_i64(c.request.arg(3)).is_none_or(|count| count < 0) {
        return Err("ERR Invalid slot or number of keys".into());
    }
    Err("ERR GETKEYSINSLOT is not supported: keys cannot be listed by slot".into())
}
