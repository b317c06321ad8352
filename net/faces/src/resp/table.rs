//! The table of commands: arity, flags, where the keys are, and what runs them.
//!
//! Promises: one entry per command, found by one hash and one comparison whatever the case of its name;
//! `COMMAND` prints this same table, so what clients route by is what we route by.

use crate::resp::commands::{
    Handler, cluster, command, config, connection, expiry, info, keys, numbers, server, strings, wait,
};

/// What is true of a command: the flags of `COMMAND`, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u16);

const READ: Flags = Flags(1);
const WRITE: Flags = Flags(1 << 1);
const DENYOOM: Flags = Flags(1 << 2);
const FAST: Flags = Flags(1 << 3);
const ADMIN: Flags = Flags(1 << 4);
const NOSCRIPT: Flags = Flags(1 << 5);
const LOADING: Flags = Flags(1 << 6);
const STALE: Flags = Flags(1 << 7);
const NO_AUTH: Flags = Flags(1 << 8);
const NONE: Flags = Flags(0);

/// The names of the flags, by bit.
const FLAG_NAMES: [&str; 9] =
    ["readonly", "write", "denyoom", "fast", "admin", "noscript", "loading", "stale", "no_auth"];

impl Flags {
    const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags' names.
    pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
        FLAG_NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, name)| name)
    }
}

/// First key, last key (negative: counted from the end), step; 0, 0, 0 without keys.
type KeyPositions = (i16, i16, i16);

const NO_KEYS: KeyPositions = (0, 0, 0);
const ONE_KEY: KeyPositions = (1, 1, 1);
const ALL_KEYS: KeyPositions = (1, -1, 1);
const PAIRS: KeyPositions = (1, -1, 2);

/// One command or subcommand.
#[derive(Debug)]
pub struct Spec {
    /// In lower case.
    pub name: &'static str,
    /// In lower case; for a subcommand `container|name`.
    pub full_name: &'static str,
    /// Number of arguments, the name included; negative: at least that many.
    pub arity: i16,
    pub flags: Flags,
    pub keys: KeyPositions,
    /// The group of `COMMAND DOCS`.
    pub group: &'static str,
    /// One line for `COMMAND DOCS`.
    pub summary: &'static str,
    pub run: Handler,
    pub subs: &'static [Spec],
}

impl Spec {
    /// Whether a request of `args` arguments, the name included, has the right number.
    #[inline]
    pub fn takes(&self, args: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { args >= wanted } else { args == wanted }
    }

    /// Whether only a leader may run it.
    #[inline]
    pub fn is_write(&self) -> bool {
        self.flags.has(WRITE)
    }

    /// Whether it reads data.
    pub fn is_read(&self) -> bool {
        self.flags.has(READ)
    }

    /// Whether it is for administrators.
    pub fn is_admin(&self) -> bool {
        self.flags.has(ADMIN)
    }

    /// Whether one may send it before saying who one is.
    pub fn needs_no_user(&self) -> bool {
        self.flags.has(NO_AUTH)
    }

    /// Whether it names keys.
    pub fn has_keys(&self) -> bool {
        self.keys != NO_KEYS
    }

    /// The categories of `COMMAND`, as the flags imply them.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> + Clone {
        let group = match self.group {
            "string" => Some("@string"),
            "connection" => Some("@connection"),
            _ => self.flags.has(ADMIN).then_some("@admin"),
        };
        let keyspace = (self.group == "generic" && self.keys != NO_KEYS).then_some("@keyspace");
        let access =
            if self.flags.has(WRITE) { Some("@write") } else { self.flags.has(READ).then_some("@read") };
        let speed = if self.flags.has(FAST) { "@fast" } else { "@slow" };
        let dangerous = self.flags.has(ADMIN).then_some("@dangerous");
        [keyspace, access, group, Some(speed), dangerous].into_iter().flatten()
    }
}

macro_rules! command {
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $group:literal, $run:path, $summary:literal) => {
        command!($name, $arity, $flags, $keys, $group, $run, $summary, &[])
    };
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $group:literal, $run:path, $summary:literal,
     $subs:expr) => {
        Spec {
            name: $name,
            full_name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: $group,
            summary: $summary,
            run: $run,
            subs: $subs,
        }
    };
}

macro_rules! subcommand {
    ($container:literal, $name:literal, $arity:literal, $flags:expr, $run:path, $summary:literal) => {
        Spec {
            name: $name,
            full_name: concat!($container, "|", $name),
            arity: $arity,
            flags: $flags,
            keys: NO_KEYS,
            group: "server",
            summary: $summary,
            run: $run,
            subs: &[],
        }
    };
}

const READ_FAST: Flags = READ.and(FAST);
const WRITE_FAST: Flags = WRITE.and(FAST);
const WRITE_OOM: Flags = WRITE.and(DENYOOM);
const WRITE_OOM_FAST: Flags = WRITE_OOM.and(FAST);
const ANY_TIME: Flags = LOADING.and(STALE);
const ANY_TIME_FAST: Flags = ANY_TIME.and(FAST);
const SETUP: Flags = NOSCRIPT.and(ANY_TIME_FAST).and(NO_AUTH);
const CLIENT: Flags = NOSCRIPT.and(ANY_TIME);

/// Every command, in the order in which `COMMAND` prints them.
pub static TABLE: &[Spec] = &[
    command!("get", 2, READ_FAST, ONE_KEY, "string", strings::get, "The value of a key"),
    command!(
        "set",
        -3,
        WRITE_OOM,
        ONE_KEY,
        "string",
        strings::set,
        "Set a key's value, with conditions and expiry"
    ),
    command!(
        "getdel",
        2,
        WRITE_FAST,
        ONE_KEY,
        "string",
        strings::getdel,
        "The value of a key, which is deleted"
    ),
    command!(
        "getex",
        -2,
        WRITE_FAST,
        ONE_KEY,
        "string",
        strings::getex,
        "The value of a key, and change its expiry"
    ),
    command!("setnx", 3, WRITE_OOM_FAST, ONE_KEY, "string", strings::setnx, "Set a key that does not exist"),
    command!("setex", 4, WRITE_OOM, ONE_KEY, "string", strings::setex, "Set a key that expires in seconds"),
    command!(
        "psetex",
        4,
        WRITE_OOM,
        ONE_KEY,
        "string",
        strings::psetex,
        "Set a key that expires in milliseconds"
    ),
    command!(
        "getset",
        3,
        WRITE_OOM_FAST,
        ONE_KEY,
        "string",
        strings::getset,
        "Set a key, return its old value"
    ),
    command!("mget", -2, READ_FAST, ALL_KEYS, "string", strings::mget, "The values of several keys"),
    command!("mset", -3, WRITE_OOM, PAIRS, "string", strings::mset, "Set several keys atomically"),
    command!(
        "msetnx",
        -3,
        WRITE_OOM,
        PAIRS,
        "string",
        strings::msetnx,
        "Set several keys if none of them exists"
    ),
    command!("strlen", 2, READ_FAST, ONE_KEY, "string", strings::strlen, "The length of a value"),
    command!("append", 3, WRITE_OOM_FAST, ONE_KEY, "string", strings::append, "Append to a value"),
    command!("getrange", 4, READ, ONE_KEY, "string", strings::getrange, "A part of a value"),
    command!("substr", 4, READ, ONE_KEY, "string", strings::getrange, "A part of a value"),
    command!("setrange", 4, WRITE_OOM, ONE_KEY, "string", strings::setrange, "Overwrite a part of a value"),
    command!("incr", 2, WRITE_OOM_FAST, ONE_KEY, "string", numbers::incr, "Add one"),
    command!("decr", 2, WRITE_OOM_FAST, ONE_KEY, "string", numbers::decr, "Subtract one"),
    command!("incrby", 3, WRITE_OOM_FAST, ONE_KEY, "string", numbers::incrby, "Add an integer"),
    command!("decrby", 3, WRITE_OOM_FAST, ONE_KEY, "string", numbers::decrby, "Subtract an integer"),
    command!("incrbyfloat", 3, WRITE_OOM_FAST, ONE_KEY, "string", numbers::incrbyfloat, "Add a number"),
    command!("del", -2, WRITE, ALL_KEYS, "generic", keys::del, "Delete keys"),
    command!("unlink", -2, WRITE_FAST, ALL_KEYS, "generic", keys::del, "Delete keys"),
    command!("exists", -2, READ_FAST, ALL_KEYS, "generic", keys::exists, "How many of these keys exist"),
    command!("touch", -2, READ_FAST, ALL_KEYS, "generic", keys::exists, "How many of these keys exist"),
    command!("type", 2, READ_FAST, ONE_KEY, "generic", keys::type_of, "The type of a key's value"),
    command!("ttl", 2, READ_FAST, ONE_KEY, "generic", expiry::ttl, "Seconds until a key expires"),
    command!("pttl", 2, READ_FAST, ONE_KEY, "generic", expiry::pttl, "Milliseconds until a key expires"),
    command!("expire", -3, WRITE_FAST, ONE_KEY, "generic", expiry::expire, "Let a key expire in seconds"),
    command!(
        "pexpire",
        -3,
        WRITE_FAST,
        ONE_KEY,
        "generic",
        expiry::pexpire,
        "Let a key expire in milliseconds"
    ),
    command!(
        "expireat",
        -3,
        WRITE_FAST,
        ONE_KEY,
        "generic",
        expiry::expireat,
        "Let a key expire at a Unix time"
    ),
    command!(
        "pexpireat",
        -3,
        WRITE_FAST,
        ONE_KEY,
        "generic",
        expiry::pexpireat,
        "Let a key expire at a Unix time in milliseconds"
    ),
    command!(
        "expiretime",
        2,
        READ_FAST,
        ONE_KEY,
        "generic",
        expiry::expiretime,
        "The Unix time a key expires at"
    ),
    command!(
        "pexpiretime",
        2,
        READ_FAST,
        ONE_KEY,
        "generic",
        expiry::pexpiretime,
        "The Unix time in milliseconds a key expires at"
    ),
    command!("persist", 2, WRITE_FAST, ONE_KEY, "generic", expiry::persist, "Let a key not expire"),
    command!("ping", -1, FAST, NO_KEYS, "connection", connection::ping, "Is the server there"),
    command!("echo", 2, ANY_TIME_FAST, NO_KEYS, "connection", connection::echo, "The given text"),
    command!("hello", -1, SETUP, NO_KEYS, "connection", connection::hello, "Choose the protocol version"),
    command!("auth", -2, SETUP, NO_KEYS, "connection", connection::auth, "Authenticate"),
    command!(
        "select",
        2,
        ANY_TIME_FAST,
        NO_KEYS,
        "connection",
        connection::select,
        "Choose the database: only 0"
    ),
    command!("quit", -1, SETUP, NO_KEYS, "connection", connection::quit, "Close the connection"),
    command!("reset", 1, SETUP, NO_KEYS, "connection", connection::reset, "Forget the connection's settings"),
    command!(
        "readonly",
        1,
        ANY_TIME_FAST,
        NO_KEYS,
        "cluster",
        connection::readonly,
        "Allow reads that may be stale"
    ),
    command!(
        "readwrite",
        1,
        ANY_TIME_FAST,
        NO_KEYS,
        "cluster",
        connection::readwrite,
        "Read from the leader only"
    ),
    command!(
        "client",
        -2,
        NONE,
        NO_KEYS,
        "connection",
        server::container,
        "Settings of connections",
        &[
            subcommand!("client", "getname", 2, CLIENT, connection::client_getname, "The connection's name"),
            subcommand!("client", "help", 2, ANY_TIME, server::help, "The subcommands"),
            subcommand!("client", "id", 2, CLIENT, connection::client_id, "The connection's number"),
            subcommand!("client", "info", 2, CLIENT, connection::client_info, "This connection"),
            subcommand!(
                "client",
                "list",
                -2,
                CLIENT,
                connection::client_list,
                "The connections of this shard"
            ),
            subcommand!(
                "client",
                "no-evict",
                3,
                CLIENT,
                connection::client_on_off,
                "Accepted, nothing to do"
            ),
            subcommand!(
                "client",
                "no-touch",
                3,
                CLIENT,
                connection::client_on_off,
                "Accepted, nothing to do"
            ),
            subcommand!(
                "client",
                "setinfo",
                4,
                CLIENT,
                connection::client_setinfo,
                "Name the client's library"
            ),
            subcommand!("client", "setname", 3, CLIENT, connection::client_setname, "Name the connection"),
        ]
    ),
    command!(
        "baton",
        -2,
        NONE,
        NO_KEYS,
        "connection",
        server::container,
        "Settings of Baton's own",
        &[
            subcommand!("baton", "ack", -2, ANY_TIME, connection::baton_ack, "When writes are acknowledged"),
            subcommand!("baton", "help", 2, ANY_TIME, server::help, "The subcommands"),
        ]
    ),
    command!("wait", 3, NOSCRIPT, NO_KEYS, "generic", wait::wait, "Wait until replicas have received"),
    command!("waitaof", 4, NOSCRIPT, NO_KEYS, "generic", wait::waitaof, "Wait until copies are durable"),
    command!("dbsize", 1, READ_FAST, NO_KEYS, "server", server::dbsize, "How many keys there are"),
    command!("info", -1, ANY_TIME, NO_KEYS, "server", info::info, "The state of the server"),
    command!("role", 1, CLIENT.and(FAST), NO_KEYS, "server", server::role, "Leader or follower, and of whom"),
    command!("time", 1, ANY_TIME_FAST, NO_KEYS, "server", server::time, "The server's wall time"),
    command!(
        "shutdown",
        -1,
        CLIENT.and(ADMIN),
        NO_KEYS,
        "server",
        server::shutdown,
        "Stop the node in order"
    ),
    command!(
        "config",
        -2,
        NONE,
        NO_KEYS,
        "server",
        server::container,
        "The configuration",
        &[
            subcommand!("config", "get", -3, CLIENT.and(ADMIN), config::get, "Parameters by pattern"),
            subcommand!("config", "help", 2, ANY_TIME, server::help, "The subcommands"),
        ]
    ),
    command!(
        "command",
        -1,
        ANY_TIME,
        NO_KEYS,
        "server",
        command::all,
        "The table of commands",
        &[
            subcommand!("command", "count", 2, ANY_TIME, command::count, "How many commands there are"),
            subcommand!("command", "docs", -2, ANY_TIME, command::docs, "What commands do"),
            subcommand!("command", "getkeys", -4, ANY_TIME, command::getkeys, "The keys of a command"),
            subcommand!("command", "help", 2, ANY_TIME, server::help, "The subcommands"),
            subcommand!("command", "info", -2, ANY_TIME, command::info, "Entries of the table"),
            subcommand!("command", "list", -2, ANY_TIME, command::list, "Names of the commands"),
        ]
    ),
    command!(
        "cluster",
        -2,
        NONE,
        NO_KEYS,
        "cluster",
        server::container,
        "The group as a Redis Cluster",
        &[
            subcommand!("cluster", "countkeysinslot", 3, STALE, cluster::countkeysinslot, "Keys of a slot"),
            subcommand!("cluster", "getkeysinslot", 4, STALE, cluster::getkeysinslot, "Not supported"),
            subcommand!("cluster", "help", 2, ANY_TIME, server::help, "The subcommands"),
            subcommand!("cluster", "info", 2, STALE, cluster::info, "The state of the cluster"),
            subcommand!("cluster", "keyslot", 3, STALE, cluster::keyslot, "The slot of a key"),
            subcommand!("cluster", "myid", 2, STALE, cluster::myid, "The id of this shard of this node"),
            subcommand!("cluster", "nodes", 2, STALE, cluster::nodes, "All shards of all nodes, as text"),
            subcommand!(
                "cluster",
                "replicas",
                3,
                STALE.and(ADMIN),
                cluster::replicas,
                "Followers of a leader"
            ),
            subcommand!("cluster", "shards", 2, ANY_TIME, cluster::shards, "All shards and who holds them"),
            subcommand!(
                "cluster",
                "slots",
                2,
                ANY_TIME,
                cluster::slots,
                "Which live nodes serve which slots"
            ),
        ]
    ),
];

/// What a request's first arguments name.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    Found(&'static Spec),
    Unknown,
    /// The command is known and has subcommands, but not this one.
    UnknownSub(&'static Spec),
}

/// The entry for a request that starts with these arguments.
#[inline]
pub fn lookup(args: &[&[u8]]) -> Lookup {
    let Some(spec) = find(args[0]) else { return Lookup::Unknown };
    match args.get(1) {
        Some(sub) if !spec.subs.is_empty() => {
            match spec.subs.iter().find(|s| sub.eq_ignore_ascii_case(s.name.as_bytes())) {
                Some(sub) => Lookup::Found(sub),
                None => Lookup::UnknownSub(spec),
            }
        }
        _ => Lookup::Found(spec),
    }
}

/// Buckets of the hash table: several times the number of commands, so that most names sit alone.
const BUCKETS: usize = 512;
/// Marks a bucket without an entry.
const EMPTY: u8 = u8::MAX;

/// FNV-1a over the name in lower case (bit 0x20 set: exact for letters, and only a hash for the rest).
const fn bucket_of(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ (name[i] | 0x20) as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    ((hash >> 16) ^ hash) as usize % BUCKETS
}

/// Places in [`TABLE`] by the hash of the name, with linear probing.
static INDEX: [u8; BUCKETS] = {
    assert!(TABLE.len() < EMPTY as usize && TABLE.len() * 4 <= BUCKETS);
    let mut index = [EMPTY; BUCKETS];
    let mut i = 0;
    while i < TABLE.len() {
        let mut bucket = bucket_of(TABLE[i].name.as_bytes());
        while index[bucket] != EMPTY {
            bucket = (bucket + 1) % BUCKETS;
        }
        index[bucket] = i as u8;
        i += 1;
    }
    index
};

/// Longest name of any command; longer names need not be looked up.
const LONGEST_NAME: usize = 32;

/// The command of this name, in any case.
#[inline]
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    if name.len() > LONGEST_NAME {
        return None;
    }
    let mut bucket = bucket_of(name);
    while INDEX[bucket] != EMPTY {
        let spec = &TABLE[usize::from(INDEX[bucket])];
        if name.eq_ignore_ascii_case(spec.name.as_bytes()) {
            return Some(spec);
        }
        bucket = (bucket + 1) % BUCKETS;
    }
    None
}
