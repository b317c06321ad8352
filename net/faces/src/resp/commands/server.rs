//! Commands about the node: its size, its role, its clock, its end; and the help of every container.

use super::{Call, CommandOutcome, Ran, SYNTAX_ERROR, is, wrong_arity};
use crate::resp::context::ShardRole;
use crate::resp::reply::push_decimal;
use crate::resp::table;

/// A command that only has subcommands was called without one.
pub fn container(c: &mut Call<'_>) -> Ran {
    Err(wrong_arity(c.spec))
}

/// `HELP` of any container: its subcommands, from the table.
pub fn help(c: &mut Call<'_>) -> Ran {
    let container = table::find(c.request.arg(0)).expect("a subcommand was found in it");
    let title = container.name.to_uppercase();
    c.reply.array(container.subs.len() + 1);
    c.reply.simple(&format!("{title} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for sub in container.subs {
        c.reply.simple(&format!("{}: {}", sub.name.to_uppercase(), sub.summary));
    }
    Ok(CommandOutcome::Done)
}

pub fn dbsize(c: &mut Call<'_>) -> Ran {
    let keys = c.store.key_count() + c.ctx.other_keys;
    c.reply.integer(keys as i64);
    Ok(CommandOutcome::Done)
}

pub fn time(c: &mut Call<'_>) -> Ran {
    let now = c.store.wall_ms();
    c.reply.array(2);
    c.reply.bulk((now / 1000).to_string().as_bytes());
    c.reply.bulk((now % 1000 * 1000).to_string().as_bytes());
    Ok(CommandOutcome::Done)
}

/// `ROLE` of the shard: the leader lists its followers with what they hold durably, a follower its leader.
pub fn role(c: &mut Call<'_>) -> Ran {
    let (ctx, reply) = (c.ctx, &mut c.reply);
    let shard = &ctx.topology.shards[ctx.shard];
    if ctx.role == ShardRole::Leader {
        reply.array(3);
        reply.bulk(b"master");
        reply.integer(ctx.written_lsn as i64);
        reply.array(ctx.replicas.len());
        for replica in ctx.replicas {
            let (host, port) = ctx.topology.endpoint(replica.node, shard);
            reply.array(3);
            reply.bulk(host.as_bytes());
            reply.bulk(port.to_string().as_bytes());
            let mut lsn = Vec::new();
            push_decimal(&mut lsn, replica.durable_lsn as i64);
            reply.bulk(&lsn);
        }
        return Ok(CommandOutcome::Done);
    }
    let (host, port) = ctx.topology.live_leader(shard).map_or(("", 0), |l| ctx.topology.endpoint(l, shard));
    let state = match (ctx.leader_link_up, ctx.role) {
        (true, ShardRole::Learner) => "sync",
        (true, _) => "connected",
        (false, _) => "connect",
    };
    reply.array(5);
    reply.bulk(b"slave");
    reply.bulk(host.as_bytes());
    reply.integer(port.into());
    reply.bulk(state.as_bytes());
    reply.integer(ctx.written_lsn as i64);
    Ok(CommandOutcome::Done)
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE]`: the options mean nothing here, everything acknowledged is durable.
pub fn shutdown(c: &mut Call<'_>) -> Ran {
    let (mut save, mut nosave, mut abort) = (false, false, false);
    for word in c.request.args_from(1) {
        match word {
            _ if is(word, "SAVE") => save = true,
            _ if is(word, "NOSAVE") => nosave = true,
            _ if is(word, "ABORT") => abort = true,
            _ if is(word, "NOW") || is(word, "FORCE") => {}
            _ => return Err(SYNTAX_ERROR.into()),
        }
    }
    if (save && nosave) || (abort && c.request.len() > 2) {
        return Err(SYNTAX_ERROR.into());
    }
    if abort {
        return Err("ERR No shutdown in progress.".into());
    }
    Ok(CommandOutcome::Shutdown)
}
