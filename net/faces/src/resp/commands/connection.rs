//! Commands about the connection itself: who it is, how it wants to be answered.

use super::{Call, CommandOutcome, Ran, SYNTAX_ERROR, Stop, integer, is, wrong_arity};
use crate::auth::Login;
use crate::auth::api::MAX_NAME_BYTES;
use crate::auth::password::MAX_PASSWORD_BYTES;
use crate::resp::context::ShardRole;
use crate::resp::number::parse_i64;
use crate::resp::permission::{HELLO_NEEDS_AUTH, HelloOptions, Verdict, WRONG_PASSWORD};
use crate::resp::reply::Proto;
use crate::resp::session::Ack;
use std::borrow::Cow;
use std::sync::Arc;

/// The version of Redis whose behaviour is followed; clients choose features by it.
pub const REDIS_VERSION: &str = "7.0.15";

pub fn ping(c: &mut Call<'_>) -> Ran {
    match c.request.len() {
        1 => c.reply.simple("PONG"),
        2 => c.reply.bulk(c.request.arg(1)),
        _ => return Err(wrong_arity(c.spec)),
    }
    Ok(CommandOutcome::Done)
}

pub fn echo(c: &mut Call<'_>) -> Ran {
    c.reply.bulk(c.request.arg(1));
    Ok(CommandOutcome::Done)
}

pub fn hello(c: &mut Call<'_>) -> Ran {
    let request = c.request;
    let mut proto = c.session.proto;
    if request.len() >= 2 {
        proto = match parse_i64(request.arg(1)) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
        };
    }
    let options = HelloOptions::of(request).map_err(|word| {
        let text = [b"ERR Syntax error in HELLO option '".as_slice(), word, b"'"].concat();
        Stop::Error(Cow::Owned(text))
    })?;
    let name = options.name.map(|name| printable(name).ok_or(BAD_CLIENT_NAME)).transpose()?;
    let user = options.auth.map(|(user, password)| check_user(c, user, password)).transpose()?.flatten();
    let known = |users| c.session.user.as_ref().is_some_and(|login| login.holds(users));
    if user.is_none() && c.ctx.users.is_some_and(|users| !known(users)) {
        return Err(HELLO_NEEDS_AUTH.into());
    }
    if user.is_some() {
        c.session.user = user;
    }
    if let Some(name) = name {
        c.session.name = name.to_owned();
    }
    c.session.proto = proto;
    c.reply.proto = proto;
    let role = if c.ctx.role == ShardRole::Leader { "master" } else { "replica" };
    c.reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        c.reply.bulk(field.as_bytes());
        c.reply.bulk(value.as_bytes());
    }
    c.reply.bulk(b"proto");
    c.reply.integer(proto.number());
    c.reply.bulk(b"id");
    c.reply.integer(c.session.id as i64);
    for (field, value) in [("mode", "cluster"), ("role", role)] {
        c.reply.bulk(field.as_bytes());
        c.reply.bulk(value.as_bytes());
    }
    c.reply.bulk(b"modules");
    c.reply.array(0);
    Ok(CommandOutcome::Done)
}

/// The user whose password was judged right. Where nobody is asked for one there is one user, `default`.
fn check_user(c: &Call<'_>, name: &[u8], password: &[u8]) -> Result<Option<Arc<Login>>, Stop> {
    // Nobody has these, and they would be copied and hashed while they wait.
    if name.len() > MAX_NAME_BYTES || password.len() > MAX_PASSWORD_BYTES {
        return Err(WRONG_PASSWORD.into());
    }
    match (c.ctx.users, c.ctx.verdict) {
        (None, _) if name == b"default" => Ok(None),
        (None, _) | (Some(_), Some(Verdict { right: false, .. })) => Err(WRONG_PASSWORD.into()),
        (Some(_), None) => Err(Stop::Judge),
        (Some(users), Some(Verdict { user, .. })) => match Login::of(users, user) {
            Some(login) => Ok(Some(Arc::new(login))),
            None => Err(WRONG_PASSWORD.into()),
        },
    }
}

pub fn auth(c: &mut Call<'_>) -> Ran {
    let request = c.request;
    match request.len() {
        2 if c.ctx.users.is_some() => {
            c.session.user = check_user(c, b"default", request.arg(1))?;
            c.reply.ok();
            Ok(CommandOutcome::Done)
        }
        2 => Err("ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?"
            .into()),
        3 => {
            c.session.user = check_user(c, request.arg(1), request.arg(2))?;
            c.reply.ok();
            Ok(CommandOutcome::Done)
        }
        _ => Err(SYNTAX_ERROR.into()),
    }
}

pub fn select(c: &mut Call<'_>) -> Ran {
    match integer(c.request.arg(1))? {
        0 => {
            c.reply.ok();
            Ok(CommandOutcome::Done)
        }
        db if i32::try_from(db).is_ok() => Err("ERR SELECT is not allowed in cluster mode".into()),
        _ => Err("ERR value is out of range, value must between -2147483648 and 2147483647".into()),
    }
}

pub fn quit(c: &mut Call<'_>) -> Ran {
    c.reply.ok();
    Ok(CommandOutcome::Close)
}

pub fn reset(c: &mut Call<'_>) -> Ran {
    c.session.reset();
    c.reply.simple("RESET");
    Ok(CommandOutcome::Done)
}

pub fn readonly(c: &mut Call<'_>) -> Ran {
    c.session.readonly = true;
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

pub fn readwrite(c: &mut Call<'_>) -> Ran {
    c.session.readonly = false;
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

pub fn client_getname(c: &mut Call<'_>) -> Ran {
    match c.session.name.as_str() {
        "" => c.reply.null(),
        name => c.reply.bulk(name.as_bytes()),
    }
    Ok(CommandOutcome::Done)
}

const BAD_CLIENT_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

pub fn client_setname(c: &mut Call<'_>) -> Ran {
    c.session.name = printable(c.request.arg(2)).ok_or(BAD_CLIENT_NAME)?.to_owned();
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

/// `text` if it can stand in a line of `CLIENT LIST`: printable ASCII without spaces.
fn printable(text: &[u8]) -> Option<&str> {
    let all = text.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(text).ok().filter(|_| all)
}

pub fn client_setinfo(c: &mut Call<'_>) -> Ran {
    let (attribute, value) = (c.request.arg(2), c.request.arg(3));
    let (shown, field) = if is(attribute, "lib-name") {
        ("lib-name", &mut c.session.lib_name)
    } else if is(attribute, "lib-ver") {
        ("lib-ver", &mut c.session.lib_version)
    } else {
        let text = [b"ERR Unrecognized option '".as_slice(), attribute, b"'"].concat();
        return Err(Stop::Error(Cow::Owned(text)));
    };
    let Some(value) = printable(value) else {
        return Err(format!("ERR {shown} cannot contain spaces, newlines or special characters.").into());
    };
    *field = value.to_owned();
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

pub fn client_id(c: &mut Call<'_>) -> Ran {
    c.reply.integer(c.session.id as i64);
    Ok(CommandOutcome::Done)
}

pub fn client_info(c: &mut Call<'_>) -> Ran {
    let mut line = String::new();
    c.session.describe(c.store.wall_ms(), &mut line);
    c.reply.verbatim(&line);
    Ok(CommandOutcome::Done)
}

/// `CLIENT LIST`, `… TYPE t` and `… ID id …`.
pub fn client_list(c: &mut Call<'_>) -> Ran {
    let mut lines = String::new();
    c.session.describe(c.store.wall_ms(), &mut lines);
    (c.ctx.clients)(&mut lines);
    let request = c.request;
    if request.len() > 3 && is(request.arg(2), "ID") {
        let ids = request.args_from(3).map(parse_i64).collect::<Option<Vec<_>>>();
        let wanted = ids.ok_or("ERR Invalid client ID")?;
        lines = only_ids(&lines, &wanted);
    } else if request.len() == 4 && is(request.arg(2), "TYPE") {
        let kind = request.arg(3);
        match ["normal", "master", "replica", "slave", "pubsub"].into_iter().find(|known| is(kind, known)) {
            Some("normal") => {}
            // Replication has its own port, and nobody subscribes: there are no clients of these types.
            Some(_) => lines.clear(),
            None => {
                let text = [b"ERR Unknown client type '".as_slice(), kind, b"'"].concat();
                return Err(Stop::Error(Cow::Owned(text)));
            }
        }
    } else if request.len() != 2 {
        return Err(SYNTAX_ERROR.into());
    }
    c.reply.verbatim(&lines);
    Ok(CommandOutcome::Done)
}

/// The lines of the clients with these numbers.
fn only_ids(lines: &str, wanted: &[i64]) -> String {
    let id_of = |line: &str| line.strip_prefix("id=")?.split(' ').next()?.parse::<i64>().ok();
    lines.split_inclusive('\n').filter(|line| id_of(line).is_some_and(|id| wanted.contains(&id))).collect()
}

/// `CLIENT NO-EVICT` and `CLIENT NO-TOUCH`: nothing is evicted, and reading ages nothing.
pub fn client_on_off(c: &mut Call<'_>) -> Ran {
    let word = c.request.arg(2);
    if !is(word, "ON") && !is(word, "OFF") {
        return Err(SYNTAX_ERROR.into());
    }
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

/// `BATON ACK durable|received|local|default`; without a level it tells the one in force.
pub fn baton_ack(c: &mut Call<'_>) -> Ran {
    let request = c.request;
    match request.len() {
        2 => {
            let ack = c.session.ack.unwrap_or(c.ctx.default_ack);
            c.reply.bulk(ack.name().as_bytes());
            return Ok(CommandOutcome::Done);
        }
        3 => {}
        _ => return Err(wrong_arity(c.spec)),
    }
    let word = request.arg(2);
    let level = [Ack::Durable, Ack::Received, Ack::Local].into_iter().find(|ack| is(word, ack.name()));
    if level.is_none() && !is(word, "default") {
        return Err("ERR the acknowledgement is one of durable, received, local, default".into());
    }
    c.session.ack = level;
    c.reply.ok();
    Ok(CommandOutcome::Done)
}
