//! Running a command against a shard's data.
//!
//! Promises: a command runs to its end in one step or has changed nothing: when a value must first come
//! from the disk, or the log has no room for the moment, the answer is [`CommandOutcome::Blocked`], `out` and the
//! session are as they were, and the same request is run again later. Does not wait, and does not know
//! which connections exist.

pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod expiry;
pub mod info;
pub mod keys;
pub mod numbers;
pub mod server;
pub mod strings;
pub mod wait;

use crate::resp::context::Context;
use crate::resp::number::parse_i64;
use crate::resp::reply::Reply;
use crate::resp::request::{self, Request};
use crate::resp::session::Session;
use crate::resp::table::{Routine, Spec};
use crate::store::{Fetch, ReadFault, Store, Write, WriteError};
use std::borrow::Cow;

/// What the node has to do after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The reply is in `out`; it leaves when the command's writes (if any) are acknowledged.
    Done,
    /// Nothing happened: run the request again when the store has what it lacked.
    Blocked,
    /// The reply is in `out`: send it, then close.
    Close,
    /// `WAIT`: reply (an integer) with how many followers hold the connection's writes in memory, when they
    /// are `replicas` or more or `timeout_ms` is over (0: never).
    Wait { replicas: u32, timeout_ms: u64 },
    /// `WAITAOF`: reply (an array of two integers) with 1 if this node holds the connection's writes
    /// durably, and how many followers do, when both are at least what is asked or `timeout_ms` is over
    /// (0: never).
    WaitAof { local: u32, replicas: u32, timeout_ms: u64 },
    /// Nothing happened: have the password judged ([`claimed`](crate::resp::claimed)), then run the request
    /// again with the verdict.
    Judge,
    /// Nothing happened: the answer is larger than [`Context::large_bytes`], so carry the request out in slices
    /// ([`Slicing`](crate::resp::Slicing)).
    Long,
    /// `SHUTDOWN`: stop the node in order. No reply; an orderly stop closes the connection.
    Shutdown,
}

impl CommandOutcome {
    /// Whether the command has written its reply.
    fn replies(self) -> bool {
        matches!(self, CommandOutcome::Done | CommandOutcome::Close)
    }
}

/// Why a command ends early.
pub enum Stop {
    Blocked,
    /// See [`CommandOutcome::Judge`].
    Judge,
    /// See [`CommandOutcome::Long`].
    Long,
    /// Reply with this error, its code included.
    Error(Cow<'static, [u8]>),
}

impl From<&'static str> for Stop {
    fn from(text: &'static str) -> Stop {
        Stop::Error(Cow::Borrowed(text.as_bytes()))
    }
}

impl From<String> for Stop {
    fn from(text: String) -> Stop {
        Stop::Error(Cow::Owned(text.into_bytes()))
    }
}

impl From<ReadFault> for Stop {
    fn from(fault: ReadFault) -> Stop {
        format!("ERR {fault}").into()
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Stop {
        match error {
            WriteError::Busy => Stop::Blocked,
            // Redis's code for having no memory, which drivers know as "no room".
            WriteError::DiskFull => format!("OOM {error}").into(),
            WriteError::ValueTooLarge { .. }
            | WriteError::KeyTooLarge { .. }
            | WriteError::BatchTooLarge { .. } => format!("ERR {error}").into(),
        }
    }
}

/// How a command ended.
pub type Ran = Result<CommandOutcome, Stop>;

/// Runs one command; the arity has been checked.
type Handler = fn(&mut Call<'_>) -> Ran;

/// One run of one command.
pub struct Call<'c> {
    pub spec: &'static Spec,
    pub request: &'c Request<'c>,
    pub session: &'c mut Session,
    pub ctx: &'c Context<'c>,
    pub store: &'c mut dyn Store,
    pub reply: Reply<'c>,
}

/// The code of each [`Routine`], in their order.
static HANDLERS: [(Routine, Handler); Routine::COUNT] = [
    (Routine::ClusterCountkeysinslot, cluster::countkeysinslot),
    (Routine::ClusterGetkeysinslot, cluster::getkeysinslot),
    (Routine::ClusterInfo, cluster::info),
    (Routine::ClusterKeyslot, cluster::keyslot),
    (Routine::ClusterMyid, cluster::myid),
    (Routine::ClusterNodes, cluster::nodes),
    (Routine::ClusterReplicas, cluster::replicas),
    (Routine::ClusterShards, cluster::shards),
    (Routine::ClusterSlots, cluster::slots),
    (Routine::CommandAll, command::all),
    (Routine::CommandCount, command::count),
    (Routine::CommandDocs, command::docs),
    (Routine::CommandGetkeys, command::getkeys),
    (Routine::CommandInfo, command::info),
    (Routine::CommandList, command::list),
    (Routine::ConfigGet, config::get),
    (Routine::Auth, connection::auth),
    (Routine::BatonAck, connection::baton_ack),
    (Routine::ClientGetname, connection::client_getname),
    (Routine::ClientId, connection::client_id),
    (Routine::ClientInfo, connection::client_info),
    (Routine::ClientList, connection::client_list),
    (Routine::ClientOnOff, connection::client_on_off),
    (Routine::ClientSetinfo, connection::client_setinfo),
    (Routine::ClientSetname, connection::client_setname),
    (Routine::Echo, connection::echo),
    (Routine::Hello, connection::hello),
    (Routine::Ping, connection::ping),
    (Routine::Quit, connection::quit),
    (Routine::Readonly, connection::readonly),
    (Routine::Readwrite, connection::readwrite),
    (Routine::Reset, connection::reset),
    (Routine::Select, connection::select),
    (Routine::Expire, expiry::expire),
    (Routine::Expireat, expiry::expireat),
    (Routine::Expiretime, expiry::expiretime),
    (Routine::Persist, expiry::persist),
    (Routine::Pexpire, expiry::pexpire),
    (Routine::Pexpireat, expiry::pexpireat),
    (Routine::Pexpiretime, expiry::pexpiretime),
    (Routine::Pttl, expiry::pttl),
    (Routine::Ttl, expiry::ttl),
    (Routine::Info, info::info),
    (Routine::Del, keys::del),
    (Routine::Exists, keys::exists),
    (Routine::TypeOf, keys::type_of),
    (Routine::Decr, numbers::decr),
    (Routine::Decrby, numbers::decrby),
    (Routine::Incr, numbers::incr),
    (Routine::Incrby, numbers::incrby),
    (Routine::Incrbyfloat, numbers::incrbyfloat),
    (Routine::Container, server::container),
    (Routine::Dbsize, server::dbsize),
    (Routine::Help, server::help),
    (Routine::Role, server::role),
    (Routine::Shutdown, server::shutdown),
    (Routine::Time, server::time),
    (Routine::Append, strings::append),
    (Routine::Get, strings::get),
    (Routine::Getdel, strings::getdel),
    (Routine::Getex, strings::getex),
    (Routine::Getrange, strings::getrange),
    (Routine::Getset, strings::getset),
    (Routine::Mget, strings::mget),
    (Routine::Mset, strings::mset),
    (Routine::Msetnx, strings::msetnx),
    (Routine::Psetex, strings::psetex),
    (Routine::Set, strings::set),
    (Routine::Setex, strings::setex),
    (Routine::Setnx, strings::setnx),
    (Routine::Setrange, strings::setrange),
    (Routine::Strlen, strings::strlen),
    (Routine::Wait, wait::wait),
    (Routine::Waitaof, wait::waitaof),
];

// Each routine finds its own code at its place.
const _: () = {
    let mut i = 0;
    while i < HANDLERS.len() {
        assert!(HANDLERS[i].0 as usize == i);
        i += 1;
    }
};

/// Run `request` for `session` and append the reply to `out`.
///
/// A request of a shard's followers or of several shards is refused by the node before it comes here; an
/// unknown command or a wrong number of arguments is answered here as by [`route`](request::route).
pub fn execute(
    request: &Request<'_>,
    session: &mut Session,
    ctx: &Context<'_>,
    store: &mut dyn Store,
    out: &mut Vec<u8>,
) -> CommandOutcome {
    let spec = match request.checked() {
        Ok(spec) => spec,
        Err(reply) => {
            out.extend_from_slice(&reply);
            return CommandOutcome::Done;
        }
    };
    let (_, handler) = HANDLERS[spec.routine as usize];
    let start = out.len();
    let now = store.wall_ms();
    let reply = Reply::new(&mut *out, session.proto);
    let mut call = Call { spec, request, session: &mut *session, ctx, store, reply };
    let ran = handler(&mut call);
    match ran {
        Ok(outcome) => {
            let sound = if outcome.replies() { call.reply.is_whole() } else { call.reply.is_untouched() };
            assert!(sound, "{}: an answer that is not what it announced", spec.full_name);
            session.last_command = spec.full_name;
            session.last_command_ms = now;
            outcome
        }
        Err(Stop::Blocked) => {
            out.truncate(start);
            CommandOutcome::Blocked
        }
        Err(Stop::Judge) => {
            out.truncate(start);
            CommandOutcome::Judge
        }
        Err(Stop::Long) => {
            out.truncate(start);
            CommandOutcome::Long
        }
        Err(Stop::Error(text)) => {
            out.truncate(start);
            Reply::new(out, session.proto).error(&text);
            session.last_command = spec.full_name;
            session.last_command_ms = now;
            CommandOutcome::Done
        }
    }
}

/// A key's value and expiry.
#[derive(Clone, Copy)]
struct Entry<'s> {
    value: &'s [u8],
    /// ms since the epoch of Unix; 0: never.
    expiry_ms: u64,
}

/// The newest value of `key`, if it exists.
#[inline]
fn fetch<'s>(store: &'s mut dyn Store, key: &[u8]) -> Result<Option<Entry<'s>>, Stop> {
    match store.fetch(key) {
        Fetch::Value { value, expiry_ms, .. } => Ok(Some(Entry { value, expiry_ms })),
        Fetch::Missing => Ok(None),
        Fetch::Pending => Err(Stop::Blocked),
        Fetch::Failed(fault) => Err(fault.into()),
    }
}

/// Set one key.
#[inline]
fn put(store: &mut dyn Store, key: &[u8], value: &[u8], expiry_ms: u64) -> Result<(), Stop> {
    Ok(store.write(&[Write::Put { key, value, expiry_ms }])?)
}

/// Delete one key.
fn delete(store: &mut dyn Store, key: &[u8]) -> Result<(), Stop> {
    Ok(store.write(&[Write::Delete { key }])?)
}

/// The integer that an argument must be.
fn integer(arg: &[u8]) -> Result<i64, Stop> {
    parse_i64(arg).ok_or_else(|| NOT_AN_INTEGER.into())
}

/// Whether an argument is this word, in any case.
fn is(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}

/// The text for a wrong number of arguments, for commands whose arity alone does not tell.
fn wrong_arity(spec: &Spec) -> Stop {
    request::wrong_arity(spec).into()
}

const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX_ERROR: &str = "ERR syntax error";

#[cfg(test)]
mod tests;
