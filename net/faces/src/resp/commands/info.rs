//! `INFO`: the node in the words of Redis, so that its tools and drivers find what they look for.
//!
//! Promises: a field is here only if its value is true of this node. The log's LSNs stand for replication
//! offsets.

use super::{Call, CommandOutcome, Ran, connection::REDIS_VERSION, is};
use crate::resp::context::{Context, ShardRole};
use crate::store::Store;
use std::fmt::{self, Write};

type Section = fn(&mut String, &Context<'_>, &mut dyn Store) -> fmt::Result;

/// Name and content of each section, in the order in which they are shown.
const SECTIONS: [(&str, Section); 9] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

/// `INFO [section …]`; none, `default`, `all` and `everything` mean all of them.
pub fn info(c: &mut Call<'_>) -> Ran {
    let wanted = |name: &str| {
        let everything = ["default", "all", "everything"];
        c.request.len() == 1
            || c.request.args_from(1).any(|arg| is(arg, name) || everything.iter().any(|all| is(arg, all)))
    };
    let mut text = String::new();
    for (name, section) in SECTIONS {
        if wanted(name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write!(text, "# {name}\r\n")
                .and_then(|()| section(&mut text, c.ctx, &mut *c.store))
                .expect("writing to a String cannot fail");
        }
    }
    c.reply.verbatim(&text);
    Ok(CommandOutcome::Done)
}

fn server(text: &mut String, ctx: &Context<'_>, store: &mut dyn Store) -> fmt::Result {
    let me = ctx.topology.me;
    let run_id = ctx.topology.id_of(me, &ctx.topology.shards[ctx.shard]);
    write!(text, "redis_version:{REDIS_VERSION}\r\nbaton_version:{}\r\n", ctx.version)?;
    write!(text, "redis_mode:cluster\r\nos:Linux\r\narch_bits:{}\r\n", usize::BITS)?;
    write!(text, "process_id:{}\r\nrun_id:{run_id}\r\ntcp_port:{}\r\n", ctx.pid, ctx.port)?;
    write!(text, "server_time_usec:{}\r\n", store.wall_ms() * 1000)?;
    write!(text, "uptime_in_seconds:{}\r\nuptime_in_days:{}\r\n", ctx.uptime_s, ctx.uptime_s / 86_400)?;
    write!(text, "baton_node:{}\r\nbaton_shard:{}\r\n", ctx.topology.nodes[me].name, ctx.shard)
}

fn clients(text: &mut String, ctx: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    let s = ctx.stats;
    write!(text, "connected_clients:{}\r\nmaxclients:{}\r\n", s.connected_clients, s.max_clients)?;
    write!(text, "blocked_clients:{}\r\n", s.blocked_clients)?;
    write!(text, "client_recent_max_output_buffer:{}\r\n", s.max_output_bytes)
}

fn memory(text: &mut String, ctx: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    let s = ctx.stats;
    write!(text, "mem_clients_normal:{}\r\n", s.client_memory_bytes)?;
    // Nobody has looked yet, in the first moments of a process.
    if s.used_memory_bytes == 0 {
        return write!(text, "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n");
    }
    write!(text, "used_memory:{0}\r\nused_memory_rss:{0}\r\n", s.used_memory_bytes)?;
    write!(text, "used_memory_human:{:.2}M\r\n", s.used_memory_bytes as f64 / f64::from(1 << 20))?;
    write!(text, "total_system_memory:{}\r\n", s.total_system_memory_bytes)?;
    write!(text, "maxmemory:0\r\nmaxmemory_policy:noeviction\r\n")
}

fn persistence(text: &mut String, ctx: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    let s = ctx.stats;
    write!(text, "loading:0\r\naof_enabled:1\r\naof_last_write_status:ok\r\n")?;
    write!(text, "baton_ack:{}\r\n", ctx.default_ack.name())?;
    if s.disk_total_bytes > 0 {
        write!(text, "baton_disk_used_bytes:{}\r\n", s.disk_used_bytes)?;
        write!(text, "baton_disk_total_bytes:{}\r\n", s.disk_total_bytes)?;
    }
    write!(text, "baton_damaged_frames:{}\r\n", s.damaged_frames)?;
    write!(text, "baton_repaired_frames:{}\r\n", s.repaired_frames)
}

fn stats(text: &mut String, ctx: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    let s = ctx.stats;
    write!(text, "total_connections_received:{}\r\n", s.connections_received)?;
    write!(text, "total_commands_processed:{}\r\n", s.commands_processed)?;
    write!(text, "instantaneous_ops_per_sec:{}\r\n", s.ops_per_second)?;
    write!(text, "total_net_input_bytes:{}\r\n", s.net_input_bytes)?;
    write!(text, "total_net_output_bytes:{}\r\n", s.net_output_bytes)?;
    write!(text, "rejected_connections:{}\r\n", s.rejected_connections)?;
    write!(text, "baton_submission_stalls:{}\r\n", s.submission_stalls)?;
    write!(text, "baton_submission_stall_max_us:{}\r\n", s.submission_stall_max_us)?;
    write!(text, "evicted_clients:{}\r\n", s.evicted_clients)?;
    write!(text, "client_output_buffer_limit_disconnections:{}\r\n", s.output_limit_disconnections)
}

fn replication(text: &mut String, ctx: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    let shard = &ctx.topology.shards[ctx.shard];
    if ctx.role == ShardRole::Leader {
        write!(text, "role:master\r\nconnected_slaves:{}\r\n", ctx.replicas.len())?;
        for (i, replica) in ctx.replicas.iter().enumerate() {
            let (host, port) = ctx.topology.endpoint(replica.node, shard);
            let state = if replica.in_sync { "online" } else { "wait_bgsave" };
            let offset = replica.durable_lsn;
            write!(text, "slave{i}:ip={host},port={port},state={state},offset={offset}\r\n")?;
        }
    } else {
        let (host, port) =
            ctx.topology.live_leader(shard).map_or(("", 0), |leader| ctx.topology.endpoint(leader, shard));
        let link = if ctx.leader_link_up { "up" } else { "down" };
        let syncing = u8::from(ctx.role == ShardRole::Learner);
        write!(text, "role:slave\r\nmaster_host:{host}\r\nmaster_port:{port}\r\n")?;
        write!(text, "master_link_status:{link}\r\nmaster_sync_in_progress:{syncing}\r\n")?;
        write!(text, "slave_repl_offset:{}\r\nslave_read_only:1\r\n", ctx.written_lsn)?;
        write!(text, "connected_slaves:0\r\n")?;
    }
    write!(text, "master_repl_offset:{}\r\n", ctx.written_lsn)?;
    write!(text, "exposed_ms:{}\r\n", ctx.stats.exposed_ms)?;
    write!(text, "baton_epoch:{}\r\nbaton_committed_lsn:{}\r\n", shard.epoch, ctx.committed_lsn)
}

fn cpu(text: &mut String, ctx: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    let seconds = |us: u64| us as f64 / 1e6;
    if ctx.stats.used_memory_bytes == 0 {
        return Ok(());
    }
    write!(text, "used_cpu_sys:{:.6}\r\n", seconds(ctx.stats.cpu_system_us))?;
    write!(text, "used_cpu_user:{:.6}\r\n", seconds(ctx.stats.cpu_user_us))
}

fn cluster(text: &mut String, _: &Context<'_>, _: &mut dyn Store) -> fmt::Result {
    write!(text, "cluster_enabled:1\r\n")
}

fn keyspace(text: &mut String, ctx: &Context<'_>, store: &mut dyn Store) -> fmt::Result {
    match store.key_count() + ctx.other_keys {
        0 => Ok(()),
        keys => write!(text, "db0:keys={keys}\r\n"),
    }
}
