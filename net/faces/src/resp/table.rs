//! The table of commands: arity, flags, where the keys are, and which routine runs them.
//!
//! Promises: one entry per command, found by one hash and one comparison whatever the case of its name;
//! `COMMAND` prints this same table, so what clients route by is what we route by.

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

/// What runs a command; commands that do the same share one. `commands` has the code of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routine {
    ClusterCountkeysinslot,
    ClusterGetkeysinslot,
    ClusterInfo,
    ClusterKeyslot,
    ClusterMyid,
    ClusterNodes,
    ClusterReplicas,
    ClusterShards,
    ClusterSlots,
    CommandAll,
    CommandCount,
    CommandDocs,
    CommandGetkeys,
    CommandInfo,
    CommandList,
    ConfigGet,
    Auth,
    BatonAck,
    ClientGetname,
    ClientId,
    ClientInfo,
    ClientList,
    ClientOnOff,
    ClientSetinfo,
    ClientSetname,
    Echo,
    Hello,
    Ping,
    Quit,
    Readonly,
    Readwrite,
    Reset,
    Select,
    Expire,
    Expireat,
    Expiretime,
    Persist,
    Pexpire,
    Pexpireat,
    Pexpiretime,
    Pttl,
    Ttl,
    Info,
    Del,
    Exists,
    TypeOf,
    Decr,
    Decrby,
    Incr,
    Incrby,
    Incrbyfloat,
    Container,
    Dbsize,
    Help,
    Role,
    Shutdown,
    Time,
    Append,
    Get,
    Getdel,
    Getex,
    Getrange,
    Getset,
    Mget,
    Mset,
    Msetnx,
    Psetex,
    Set,
    Setex,
    Setnx,
    Setrange,
    Strlen,
    Wait,
    Waitaof,
}

impl Routine {
    /// How many there are.
    pub const COUNT: usize = Routine::Waitaof as usize + 1;
}

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
    pub routine: Routine,
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
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $group:literal, $routine:expr, $summary:literal) => {
        command!($name, $arity, $flags, $keys, $group, $routine, $summary, &[])
    };
    ($name:literal, $arity:literal, $flags:expr, $keys:expr, $group:literal, $routine:expr, $summary:literal,
     $subs:expr) => {
        Spec {
            name: $name,
            full_name: $name,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            group: $group,
            summary: $summary,
            routine: $routine,
            subs: $subs,
        }
    };
}

macro_rules! subcommand {
    ($container:literal, $name:literal, $arity:literal, $flags:expr, $routine:expr, $summary:literal) => {
        Spec {
            name: $name,
            full_name: concat!($container, "|", $name),
            arity: $arity,
            flags: $flags,
            keys: NO_KEYS,
            group: "server",
            summary: $summary,
            routine: $routine,
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
    command!("get", 2, READ_FAST, ONE_KEY, "string", Routine::Get, "The value of a key"),
    command!(
        "set",
        -3,
        WRITE_OOM,
        ONE_KEY,
        "string",
        Routine::Set,
        "Set a key's value, with conditions and expiry"
    ),
    command!(
        "getdel",
        2,
        WRITE_FAST,
        ONE_KEY,
        "string",
        Routine::Getdel,
        "The value of a key, which is deleted"
    ),
    command!(
        "getex",
        -2,
        WRITE_FAST,
        ONE_KEY,
        "string",
        Routine::Getex,
        "The value of a key, and change its expiry"
    ),
    command!("setnx", 3, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Setnx, "Set a key that does not exist"),
    command!("setex", 4, WRITE_OOM, ONE_KEY, "string", Routine::Setex, "Set a key that expires in seconds"),
    command!(
        "psetex",
        4,
        WRITE_OOM,
        ONE_KEY,
        "string",
        Routine::Psetex,
        "Set a key that expires in milliseconds"
    ),
    command!(
        "getset",
        3,
        WRITE_OOM_FAST,
        ONE_KEY,
        "string",
        Routine::Getset,
        "Set a key, return its old value"
    ),
    command!("mget", -2, READ_FAST, ALL_KEYS, "string", Routine::Mget, "The values of several keys"),
    command!("mset", -3, WRITE_OOM, PAIRS, "string", Routine::Mset, "Set several keys atomically"),
    command!(
        "msetnx",
        -3,
        WRITE_OOM,
        PAIRS,
        "string",
        Routine::Msetnx,
        "Set several keys if none of them exists"
    ),
    command!("strlen", 2, READ_FAST, ONE_KEY, "string", Routine::Strlen, "The length of a value"),
    command!("append", 3, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Append, "Append to a value"),
    command!("getrange", 4, READ, ONE_KEY, "string", Routine::Getrange, "A part of a value"),
    command!("substr", 4, READ, ONE_KEY, "string", Routine::Getrange, "A part of a value"),
    command!("setrange", 4, WRITE_OOM, ONE_KEY, "string", Routine::Setrange, "Overwrite a part of a value"),
    command!("incr", 2, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Incr, "Add one"),
    command!("decr", 2, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Decr, "Subtract one"),
    command!("incrby", 3, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Incrby, "Add an integer"),
    command!("decrby", 3, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Decrby, "Subtract an integer"),
    command!("incrbyfloat", 3, WRITE_OOM_FAST, ONE_KEY, "string", Routine::Incrbyfloat, "Add a number"),
    command!("del", -2, WRITE, ALL_KEYS, "generic", Routine::Del, "Delete keys"),
    command!("unlink", -2, WRITE_FAST, ALL_KEYS, "generic", Routine::Del, "Delete keys"),
    command!("exists", -2, READ_FAST, ALL_KEYS, "generic", Routine::Exists, "How many of these keys exist"),
    command!("touch", -2, READ_FAST, ALL_KEYS, "generic", Routine::Exists, "How many of these keys exist"),
    command!("type", 2, READ_FAST, ONE_KEY, "generic", Routine::TypeOf, "The type of a key's value"),
    command!("ttl", 2, READ_FAST, ONE_KEY, "generic", Routine::Ttl, "Seconds until a key expires"),
    command!("pttl", 2, READ_FAST, ONE_KEY, "generic", Routine::Pttl, "Milliseconds until a key expires"),
    command!("expire", -3, WRITE_FAST, ONE_KEY, "generic", Routine::Expire, "Let a key expire in seconds"),
    command!(
        "pexpire",
        -3,
        WRITE_FAST,
        ONE_KEY,
        "generic",
        Routine::Pexpire,
        "Let a key expire in milliseconds"
    ),
    command!(
        "expireat",
        -3,
        WRITE_FAST,
        ONE_KEY,
        "generic",
        Routine::Expireat,
        "Let a key expire at a Unix time"
    ),
    command!(
        "pexpireat",
        -3,
        WRITE_FAST,
        ONE_KEY,
        "generic",
        Routine::Pexpireat,
        "Let a key expire at a Unix time in milliseconds"
    ),
    command!(
        "expiretime",
        2,
        READ_FAST,
        ONE_KEY,
        "generic",
        Routine::Expiretime,
        "The Unix time a key expires at"
    ),
    command!(
        "pexpiretime",
        2,
        READ_FAST,
        ONE_KEY,
        "generic",
        Routine::Pexpiretime,
        "The Unix time in milliseconds a key expires at"
    ),
    command!("persist", 2, WRITE_FAST, ONE_KEY, "generic", Routine::Persist, "Let a key not expire"),
    command!("ping", -1, FAST, NO_KEYS, "connection", Routine::Ping, "Is the server there"),
    command!("echo", 2, ANY_TIME_FAST, NO_KEYS, "connection", Routine::Echo, "The given text"),
    command!("hello", -1, SETUP, NO_KEYS, "connection", Routine::Hello, "Choose the protocol version"),
    command!("auth", -2, SETUP, NO_KEYS, "connection", Routine::Auth, "Authenticate"),
    command!(
        "select",
        2,
        ANY_TIME_FAST,
        NO_KEYS,
        "connection",
        Routine::Select,
        "Choose the database: only 0"
    ),
    command!("quit", -1, SETUP, NO_KEYS, "connection", Routine::Quit, "Close the connection"),
    command!("reset", 1, SETUP, NO_KEYS, "connection", Routine::Reset, "Forget the connection's settings"),
    command!(
        "readonly",
        1,
        ANY_TIME_FAST,
        NO_KEYS,
        "cluster",
        Routine::Readonly,
        "Allow reads that may be stale"
    ),
    command!(
        "readwrite",
        1,
        ANY_TIME_FAST,
        NO_KEYS,
        "cluster",
        Routine::Readwrite,
        "Read from the leader only"
    ),
    command!(
        "client",
        -2,
        NONE,
        NO_KEYS,
        "connection",
        Routine::Container,
        "Settings of connections",
        &[
            subcommand!("client", "getname", 2, CLIENT, Routine::ClientGetname, "The connection's name"),
            subcommand!("client", "help", 2, ANY_TIME, Routine::Help, "The subcommands"),
            subcommand!("client", "id", 2, CLIENT, Routine::ClientId, "The connection's number"),
            subcommand!("client", "info", 2, CLIENT, Routine::ClientInfo, "This connection"),
            subcommand!("client", "list", -2, CLIENT, Routine::ClientList, "The connections of this shard"),
            subcommand!("client", "no-evict", 3, CLIENT, Routine::ClientOnOff, "Accepted, nothing to do"),
            subcommand!("client", "no-touch", 3, CLIENT, Routine::ClientOnOff, "Accepted, nothing to do"),
            subcommand!("client", "setinfo", 4, CLIENT, Routine::ClientSetinfo, "Name the client's library"),
            subcommand!("client", "setname", 3, CLIENT, Routine::ClientSetname, "Name the connection"),
        ]
    ),
    command!(
        "baton",
        -2,
        NONE,
        NO_KEYS,
        "connection",
        Routine::Container,
        "Settings of Baton's own",
        &[
            subcommand!("baton", "ack", -2, ANY_TIME, Routine::BatonAck, "When writes are acknowledged"),
            subcommand!("baton", "help", 2, ANY_TIME, Routine::Help, "The subcommands"),
        ]
    ),
    command!("wait", 3, NOSCRIPT, NO_KEYS, "generic", Routine::Wait, "Wait until replicas have received"),
    command!("waitaof", 4, NOSCRIPT, NO_KEYS, "generic", Routine::Waitaof, "Wait until copies are durable"),
    command!("dbsize", 1, READ_FAST, NO_KEYS, "server", Routine::Dbsize, "How many keys there are"),
    command!("info", -1, ANY_TIME, NO_KEYS, "server", Routine::Info, "The state of the server"),
    command!(
        "role",
        1,
        CLIENT.and(FAST),
        NO_KEYS,
        "server",
        Routine::Role,
        "Leader or follower, and of whom"
    ),
    command!("time", 1, ANY_TIME_FAST, NO_KEYS, "server", Routine::Time, "The server's wall time"),
    command!(
        "shutdown",
        -1,
        CLIENT.and(ADMIN),
        NO_KEYS,
        "server",
        Routine::Shutdown,
        "Stop the node in order"
    ),
    command!(
        "config",
        -2,
        NONE,
        NO_KEYS,
        "server",
        Routine::Container,
        "The configuration",
        &[
            subcommand!("config", "get", -3, CLIENT.and(ADMIN), Routine::ConfigGet, "Parameters by pattern"),
            subcommand!("config", "help", 2, ANY_TIME, Routine::Help, "The subcommands"),
        ]
    ),
    command!(
        "command",
        -1,
        ANY_TIME,
        NO_KEYS,
        "server",
        Routine::CommandAll,
        "The table of commands",
        &[
            subcommand!(
                "command",
                "count",
                2,
                ANY_TIME,
                Routine::CommandCount,
                "How many commands there are"
            ),
            subcommand!("command", "docs", -2, ANY_TIME, Routine::CommandDocs, "What commands do"),
            subcommand!("command", "getkeys", -4, ANY_TIME, Routine::CommandGetkeys, "The keys of a command"),
            subcommand!("command", "help", 2, ANY_TIME, Routine::Help, "The subcommands"),
            subcommand!("command", "info", -2, ANY_TIME, Routine::CommandInfo, "Entries of the table"),
            subcommand!("command", "list", -2, ANY_TIME, Routine::CommandList, "Names of the commands"),
        ]
    ),
    command!(
        "cluster",
        -2,
        NONE,
        NO_KEYS,
        "cluster",
        Routine::Container,
        "The group as a Redis Cluster",
        &[
            subcommand!(
                "cluster",
                "countkeysinslot",
                3,
                STALE,
                Routine::ClusterCountkeysinslot,
                "Keys of a slot"
            ),
            subcommand!("cluster", "getkeysinslot", 4, STALE, Routine::ClusterGetkeysinslot, "Not supported"),
            subcommand!("cluster", "help", 2, ANY_TIME, Routine::Help, "The subcommands"),
            subcommand!("cluster", "info", 2, STALE, Routine::ClusterInfo, "The state of the cluster"),
            subcommand!("cluster", "keyslot", 3, STALE, Routine::ClusterKeyslot, "The slot of a key"),
            subcommand!(
                "cluster",
                "myid",
                2,
                STALE,
                Routine::ClusterMyid,
                "The id of this shard of this node"
            ),
            subcommand!(
                "cluster",
                "nodes",
                2,
                STALE,
                Routine::ClusterNodes,
                "All shards of all nodes, as text"
            ),
            subcommand!(
                "cluster",
                "replicas",
                3,
                STALE.and(ADMIN),
                Routine::ClusterReplicas,
                "Followers of a leader"
            ),
            subcommand!(
                "cluster",
                "shards",
                2,
                ANY_TIME,
                Routine::ClusterShards,
                "All shards and who holds them"
            ),
            subcommand!(
                "cluster",
                "slots",
                2,
                ANY_TIME,
                Routine::ClusterSlots,
                "Which live nodes serve which slots"
            ),
        ]
    ),
];

/// Longest name of any command; longer names need not be looked up.
const LONGEST_NAME: usize = 32;

// What routing and the commands rely on: they index arguments that the arity promises.
const _: () = {
    let mut i = 0;
    while i < TABLE.len() {
        check(&TABLE[i], 1);
        let mut sub = 0;
        while sub < TABLE[i].subs.len() {
            check(&TABLE[i].subs[sub], 2);
            assert!(TABLE[i].subs[sub].subs.is_empty(), "subcommands have none of their own");
            sub += 1;
        }
        i += 1;
    }
};

/// Panics if an entry contradicts itself; `words`: of how many its name consists.
const fn check(spec: &Spec, words: u16) {
    assert!(spec.name.len() <= LONGEST_NAME && is_lower_case(spec.name), "a name is not as it is looked up");
    assert!(spec.arity.unsigned_abs() >= words, "the name is an argument");
    assert!(
        !(spec.flags.has(READ) && spec.flags.has(WRITE)),
        "what writes is for the leader, whatever it reads"
    );
    let (first, last, step) = spec.keys;
    if first == 0 {
        assert!(last == 0 && step == 0, "no keys have no places");
    } else {
        assert!(first > 0 && step > 0 && (last < 0 || last >= first), "keys are in order");
        assert!((first as u16) < spec.arity.unsigned_abs(), "the first key is always there");
        assert!(spec.flags.has(READ) || spec.flags.has(WRITE), "what has keys reads or writes them");
    }
}

const fn is_lower_case(name: &str) -> bool {
    let mut i = 0;
    while i < name.len() {
        if name.as_bytes()[i].is_ascii_uppercase() {
            return false;
        }
        i += 1;
    }
    true
}

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
