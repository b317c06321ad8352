//! A node's configuration file: what `baton serve` and `baton witness` read, and `baton start` writes.
//!
//! One TOML file per process. The part that describes the group (`group`, `shards`, `members`, `mode`,
//! `[timing]`) is the same in every file of the group; the rest is about this process. Everything is
//! checked while it is read, and an error names the key and the value that is wrong. This module does not
//! look at the machine: no name is resolved and no file is touched except the one that is read.
//! `docs/CONFIGURATION.md` explains every key to its user.

mod client_memory;
mod forms;
mod http;

use agency::ids::{MAX_MEMBERS, MAX_SHARDS, NodeId, NodeSet};
use engine::ids::GroupId;
use engine::limits::{
    MAX_LOG_BUFFER_BYTES, MAX_SEGMENT_BYTES, MIN_LOG_BUFFER_BYTES, MIN_SEGMENT_BYTES, SizeError, check_sizes,
    max_frame_bytes,
};
use faces::auth;
use node::settings::{self, CopySettings, Settings};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use http::HttpConfig;
pub use node::settings::{Ack, Member, PORT_AGENCY};
pub use node::units::{ByteSize, Span};

/// Smallest and largest `segment_bytes`; a power of two between them.
pub const SEGMENT_BYTES: (u64, u64) = (MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
/// Smallest and largest `log_buffer_bytes`.
pub const LOG_BUFFER_BYTES: (u64, u64) = (MIN_LOG_BUFFER_BYTES, MAX_LOG_BUFFER_BYTES);
/// Bytes of a frame besides its value, at most: header, key, padding.
pub const FRAME_OVERHEAD_BYTES: u64 = max_frame_bytes(0);
/// Largest `max_clients`, per shard thread.
pub const MAX_CLIENTS_LIMIT: u32 = 1 << 20;

/// The whole file. Fields are its keys; defaults are those of the `default_*` functions below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The group's identity: 32 hexadecimal digits.
    #[serde(with = "forms::hex_group")]
    pub group: GroupId,
    /// Which of the members this process is.
    pub name: String,
    /// Where its data and its agent's state lie.
    pub dir: PathBuf,
    /// Number of shards of the group, 1 to 64; fixed when the group is created.
    #[serde(default = "default_shards")]
    pub shards: u16,
    /// How leadership is laid out when the group is founded.
    #[serde(default)]
    pub mode: Mode,
    /// The member that takes leadership back by a planned handoff whenever it is able to lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer_leader: Option<String>,
    /// When a write counts as acknowledged, unless a request says otherwise.
    #[serde(default)]
    pub ack: Ack,
    /// The address to listen on; without it, `host` of this member if that is an address, else all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<IpAddr>,
    /// Whether clients must say who they are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auth: bool,
    /// The first password of `root`, as the PHC string of an argon2id hash: used once, when the group has no
    /// users yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_password_hash: Option<String>,
    /// Listen on an address that others can reach although nobody is asked for a password.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_listen: bool,
    /// Size of a log segment file.
    #[serde(default = "default_segment_bytes")]
    pub segment_bytes: ByteSize,
    /// Size of each shard's log buffer.
    #[serde(default = "default_log_buffer_bytes")]
    pub log_buffer_bytes: ByteSize,
    /// Budget of each shard's value cache.
    #[serde(default = "default_cache_bytes")]
    pub cache_bytes: ByteSize,
    /// Largest value a client may write.
    #[serde(default = "default_max_value_bytes")]
    pub max_value_bytes: ByteSize,
    /// With fewer members in the in-sync set than this, writes are refused.
    #[serde(default = "default_min_in_sync")]
    pub min_in_sync: u8,
    /// Most client connections of one shard thread.
    #[serde(default = "default_max_clients")]
    pub max_clients: u32,
    /// A RESP client that leaves more than this unread for `client_output_soft_time` is reset.
    #[serde(default = "client_memory::default_soft")]
    pub client_output_soft: ByteSize,
    #[serde(default = "client_memory::default_soft_time")]
    pub client_output_soft_time: Span,
    /// One that leaves more than this unread is reset at once, and no single reply may be larger.
    #[serde(default = "client_memory::default_hard")]
    pub client_output_hard: ByteSize,
    /// What all RESP clients of one shard thread may hold, requests and replies.
    #[serde(default = "client_memory::default_all")]
    pub client_memory: ByteSize,
    /// Whether each shard thread is pinned to a core (only done if there are enough cores).
    #[serde(default = "default_pin")]
    pub pin: bool,
    /// The core of shard 0; shard *n* takes the *n*-th after it, round the number of cores.
    #[serde(default)]
    pub first_core: u16,
    /// How long the warden waits before it starts a dead node again, or `"never"`.
    #[serde(default)]
    pub respawn_after: Respawn,
    /// How long an orderly stop may take before the warden kills the node.
    #[serde(default = "default_stop_timeout")]
    pub stop_timeout: Span,
    /// The clockwork of failover.
    #[serde(default)]
    pub timing: TimingConfig,
    /// The HTTP face.
    #[serde(default, skip_serializing_if = "HttpConfig::is_default")]
    pub http: HttpConfig,
    /// Everybody in the group. A member's place in this list is its `NodeId`.
    pub members: Vec<Member>,
}

/// How leadership is laid out over the data nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The first data node leads every shard.
    #[default]
    ActivePassive,
    /// The shards are dealt out to the data nodes in turn.
    ActiveActive,
}

/// What the warden does about a dead node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Respawn {
    /// Start it again after this long.
    After(Span),
    /// Leave it dead.
    Never,
}

/// The clockwork of failover; see `agency::timing` for what each means and how they must relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// The warden's own tick.
    pub tick: Span,
    /// Between two heartbeats of a warden.
    pub heartbeat: Span,
    /// How long a lease lasts.
    pub lease: Span,
    /// A node that makes no progress for this long is killed by its warden.
    pub hang_after: Span,
    /// A node with a log write outstanding for this long is killed; until then its lease is renewed.
    pub disk_hang_after: Span,
    /// A leader removes a follower of which nothing is heard from the in-sync set after this long.
    pub evict_after: Span,
    /// A follower that answers has this long to move its durable cursor; until then writers wait for it.
    pub slow_after: Span,
    /// A leader whose log write is under way for longer has a follower take over, if the disk of one moves.
    pub yield_after: Span,
}

impl Default for Respawn {
    fn default() -> Respawn {
        Respawn::After(Span(Duration::from_secs(1)))
    }
}

impl Default for TimingConfig {
    fn default() -> TimingConfig {
        let ms = |n| Span(Duration::from_millis(n));
        TimingConfig {
            tick: ms(5),
            heartbeat: ms(10),
            lease: ms(60),
            hang_after: ms(25),
            disk_hang_after: ms(30_000),
            evict_after: ms(30),
            slow_after: ms(1000),
            yield_after: ms(100),
        }
    }
}

fn default_shards() -> u16 {
    1
}
fn default_segment_bytes() -> ByteSize {
    ByteSize(engine::limits::DEFAULT_SEGMENT_BYTES)
}
fn default_log_buffer_bytes() -> ByteSize {
    ByteSize(64 << 20)
}
fn default_cache_bytes() -> ByteSize {
    ByteSize(64 << 20)
}
fn default_min_in_sync() -> u8 {
    1
}
fn default_max_value_bytes() -> ByteSize {
    ByteSize(16 << 20)
}
fn default_max_clients() -> u32 {
    10_000
}
fn default_pin() -> bool {
    true
}
fn default_stop_timeout() -> Span {
    Span(Duration::from_secs(10))
}

/// Why a configuration cannot be used. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("line {line}: {message}")]
    Syntax { line: usize, message: String },
    #[error("{key} = {value} is not allowed: {reason}")]
    Value { key: &'static str, value: String, reason: String },
}

pub(crate) fn wrong<T>(
    key: &'static str,
    value: impl ToString,
    reason: impl Into<String>,
) -> Result<T, ConfigError> {
    Err(ConfigError::Value { key, value: value.to_string(), reason: reason.into() })
}

impl NodeConfig {
    /// A configuration with every default, not yet checked.
    pub fn new(group: GroupId, name: &str, dir: PathBuf, members: Vec<Member>) -> NodeConfig {
        NodeConfig {
            group,
            name: name.to_owned(),
            dir,
            shards: default_shards(),
            mode: Mode::default(),
            prefer_leader: None,
            ack: Ack::default(),
            bind: None,
            auth: false,
            root_password_hash: None,
            insecure_listen: false,
            segment_bytes: default_segment_bytes(),
            log_buffer_bytes: default_log_buffer_bytes(),
            cache_bytes: default_cache_bytes(),
            max_value_bytes: default_max_value_bytes(),
            min_in_sync: default_min_in_sync(),
            max_clients: default_max_clients(),
            client_output_soft: client_memory::default_soft(),
            client_output_soft_time: client_memory::default_soft_time(),
            client_output_hard: client_memory::default_hard(),
            client_memory: client_memory::default_all(),
            pin: default_pin(),
            first_core: 0,
            respawn_after: Respawn::default(),
            stop_timeout: default_stop_timeout(),
            timing: TimingConfig::default(),
            http: HttpConfig::default(),
            members,
        }
    }

    /// Read and check the file at `path`.
    pub fn load(path: &Path) -> Result<NodeConfig, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        NodeConfig::parse(&text)
    }

    /// Read and check a configuration's text.
    pub fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
        let config: NodeConfig = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(0, |span| span.start);
            let line = text[..before].matches('\n').count() + 1;
            ConfigError::Syntax { line, message: error.message().replace('\n', " ") }
        })?;
        config.check()?;
        Ok(config)
    }

    /// The text of this configuration, to be read by [`NodeConfig::parse`].
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Whether every value is allowed, alone and together.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_members()?;
        if self.shards == 0 || self.shards as usize > MAX_SHARDS {
            return wrong("shards", self.shards, format!("a group has 1 to {MAX_SHARDS} shards"));
        }
        let segment = self.segment_bytes;
        if !segment.0.is_power_of_two() || segment.0 < SEGMENT_BYTES.0 || segment.0 > SEGMENT_BYTES.1 {
            return wrong(
                "segment_bytes",
                segment,
                format!(
                    "it must be a power of two from {} to {}",
                    ByteSize(SEGMENT_BYTES.0),
                    ByteSize(SEGMENT_BYTES.1)
                ),
            );
        }
        let buffer = self.log_buffer_bytes;
        if !buffer.0.is_multiple_of(4096) || buffer.0 < LOG_BUFFER_BYTES.0 || buffer.0 > LOG_BUFFER_BYTES.1 {
            return wrong(
                "log_buffer_bytes",
                buffer,
                format!(
                    "it must be a multiple of 4KiB from {} to {}",
                    ByteSize(LOG_BUFFER_BYTES.0),
                    ByteSize(LOG_BUFFER_BYTES.1)
                ),
            );
        }
        let value = self.max_value_bytes;
        check_sizes(value.0, segment.0, buffer.0).or_else(|error| match error {
            SizeError::Value { .. } => wrong("max_value_bytes", value, error.to_string()),
            SizeError::Segment { .. } | SizeError::SegmentForValue { .. } => {
                wrong("segment_bytes", segment, error.to_string())
            }
            SizeError::LogBuffer { .. } => wrong("log_buffer_bytes", buffer, error.to_string()),
        })?;
        let data = self.members.iter().filter(|m| !m.witness).count();
        if self.min_in_sync == 0 || usize::from(self.min_in_sync) > data.max(1) {
            return wrong(
                "min_in_sync",
                self.min_in_sync,
                format!("it must be from 1 to the {data} data nodes"),
            );
        }
        if self.max_clients == 0 || self.max_clients > MAX_CLIENTS_LIMIT {
            return wrong(
                "max_clients",
                self.max_clients,
                format!("it must be from 1 to {MAX_CLIENTS_LIMIT}, per shard"),
            );
        }
        if let Some(name) = &self.prefer_leader {
            match self.members.iter().find(|m| m.name == *name) {
                None => return wrong("prefer_leader", name, "no member has that name"),
                Some(m) if m.witness => {
                    return wrong("prefer_leader", name, "a witness holds no data and cannot lead");
                }
                Some(_) => {}
            }
        }
        self.check_memory_of_clients()?;
        self.check_access()?;
        self.http.check()?;
        self.check_timing()
    }

    /// Whether only those get in who are meant to.
    fn check_access(&self) -> Result<(), ConfigError> {
        match &self.root_password_hash {
            None if self.auth && !self.my_member().witness => {
                let reason = "root_password_hash is missing: `baton hash-password` makes it from a password";
                return wrong("auth", true, reason);
            }
            Some(hash) if !auth::password::is_hash(hash) => {
                let reason = "it must be what `baton hash-password` prints, not the password itself";
                return wrong("root_password_hash", "(not shown)", reason);
            }
            None | Some(_) => {}
        }
        let (address, open) = (self.bind_address(), !self.auth && !self.insecure_listen);
        if open && !address.is_loopback() && !self.my_member().witness {
            let reason = "everybody who reaches this address could read and write everything: set auth = true, \
                 or bind = \"127.0.0.1\", or say insecure_listen = true if the network is closed to others";
            return wrong("bind", address, reason);
        }
        Ok(())
    }

    fn check_members(&self) -> Result<(), ConfigError> {
        if self.members.is_empty() || self.members.len() > MAX_MEMBERS {
            return wrong(
                "members",
                self.members.len(),
                format!("a group has 1 to {MAX_MEMBERS} members, witnesses included"),
            );
        }
        for (place, member) in self.members.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if member.name.is_empty() || member.name.len() > 64 || !member.name.chars().all(plain) {
                return wrong(
                    "members.name",
                    &member.name,
                    "1 to 64 letters, digits, '-', '_' and '.' are allowed",
                );
            }
            if self.members[..place].iter().any(|m| m.name == member.name) {
                return wrong("members.name", &member.name, "two members have this name");
            }
            if member.host.is_empty() || member.host.contains(char::is_whitespace) {
                return wrong("members.host", &member.host, "a host name or an IP address is needed");
            }
            if member.port_base == 0 || member.port_base > u16::MAX - PORT_AGENCY {
                return wrong(
                    "members.port_base",
                    member.port_base,
                    format!("it must be from 1 to {}", u16::MAX - PORT_AGENCY),
                );
            }
            let overlaps =
                |m: &Member| m.host == member.host && m.port_base.abs_diff(member.port_base) <= PORT_AGENCY;
            if self.members[..place].iter().any(overlaps) {
                return wrong(
                    "members.port_base",
                    member.port_base,
                    format!("another member on the same host is less than {} ports away", PORT_AGENCY + 1),
                );
            }
        }
        if self.members.iter().all(|m| m.witness) {
            return wrong("members", "witnesses only", "a group needs at least one data node");
        }
        if !self.members.iter().any(|m| m.name == self.name) {
            return wrong("name", &self.name, "no member of the list has that name");
        }
        Ok(())
    }

    fn check_timing(&self) -> Result<(), ConfigError> {
        let t = &self.timing;
        for (key, span) in [
            ("timing.tick", t.tick),
            ("timing.heartbeat", t.heartbeat),
            ("timing.lease", t.lease),
            ("timing.hang_after", t.hang_after),
            ("timing.disk_hang_after", t.disk_hang_after),
            ("timing.evict_after", t.evict_after),
            ("timing.slow_after", t.slow_after),
            ("timing.yield_after", t.yield_after),
        ] {
            if span.0 < Duration::from_millis(1) || span.0 > Duration::from_secs(60) {
                return wrong(key, span, "it must be from 1ms to 60s");
            }
        }
        if t.slow_after.0 < t.evict_after.0 {
            let gone = t.evict_after;
            return wrong(
                "timing.slow_after",
                t.slow_after,
                format!("it must be at least evict_after = {gone}"),
            );
        }
        self.agency_timing().check().or_else(|error| wrong("timing", "as configured", error.to_string()))
    }

    /// The clockwork as the agency takes it.
    pub fn agency_timing(&self) -> agency::timing::Timing {
        let t = &self.timing;
        agency::timing::Timing {
            tick: t.tick.0,
            heartbeat: t.heartbeat.0,
            lease: t.lease.0,
            hang_after: t.hang_after.0,
            disk_hang_after: t.disk_hang_after.0,
            evict_after: t.evict_after.0,
            ..agency::timing::Timing::default()
        }
    }

    /// This process's place in the group.
    ///
    /// # Panics
    /// If the configuration was not checked.
    pub fn me(&self) -> NodeId {
        self.node_named(&self.name).expect("a checked configuration lists its own name")
    }

    /// The member of this name.
    pub fn node_named(&self, name: &str) -> Option<NodeId> {
        settings::node_named(&self.members, name)
    }

    /// The member with this id; `None` if there is none.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(node.0 as usize)
    }

    /// This process's own entry in the list of members.
    pub fn my_member(&self) -> &Member {
        &self.members[self.me().0 as usize]
    }

    /// Members that hold data.
    pub fn data_nodes(&self) -> NodeSet {
        settings::data_nodes(&self.members)
    }

    /// Everybody with an agent: all members.
    pub fn agents(&self) -> NodeSet {
        NodeSet::of(&(0..self.members.len() as u8).map(NodeId).collect::<Vec<_>>())
    }

    /// The leader of each shard when the group is founded.
    pub fn initial_leaders(&self) -> Vec<NodeId> {
        let data: Vec<NodeId> = self.data_nodes().iter().collect();
        let first = self.prefer_leader.as_deref().and_then(|n| self.node_named(n)).unwrap_or(data[0]);
        (0..self.shards as usize)
            .map(|shard| match self.mode {
                Mode::ActivePassive => first,
                Mode::ActiveActive => data[shard % data.len()],
            })
            .collect()
    }

    /// The address this process listens on.
    pub fn bind_address(&self) -> IpAddr {
        let own = || self.my_member().host.parse().ok();
        self.bind.or_else(own).unwrap_or(IpAddr::from([0, 0, 0, 0]))
    }

    /// What the node's shards need to know of it.
    pub fn settings(&self) -> Settings {
        Settings {
            group: self.group,
            name: self.name.clone(),
            shards: self.shards,
            ack: self.ack,
            auth: self.auth,
            root_password_hash: self.root_password_hash.clone(),
            max_value_bytes: self.max_value_bytes.0 as usize,
            max_clients: self.max_clients,
            memory: self.memory_of_clients(),
            evict_after: self.timing.evict_after.0,
            copies: CopySettings {
                slow_after: self.timing.slow_after.0,
                yield_after: self.timing.yield_after.0,
                min_in_sync: self.min_in_sync,
            },
            http: self.http.settings(),
            members: self.members.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
