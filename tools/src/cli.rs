//! The command line: every subcommand and flag, with an example in each `--help`.

use bench::failover::Blow;
use clap::{Args, Parser};
use server::config::{Ack, Mode, Span};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A replicated storage appliance: no acknowledged write is lost when the leader dies, and another node
/// leads within milliseconds.
#[derive(Debug, Parser)]
#[command(name = "baton", version, max_term_width = 100)]
pub struct Baton {
    #[command(subcommand)]
    pub command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Run a whole group on this machine: data nodes and a witness, each its own process.
    Start(StartOptions),
    /// Run one data node under its warden.
    Serve(ServeOptions),
    /// Run a witness: it votes and holds no data.
    Witness(ServeOptions),
    /// Run the node process itself; only a warden does this.
    #[command(hide = true)]
    Node(ServeOptions),
    /// Show nodes, agents, shards and who led when.
    Status(StatusOptions),
    /// Pass leadership to another node, without an error to any client.
    Handoff(HandoffOptions),
    /// Have a node lead with what it has, where nobody who has everything is left.
    Promote(PromoteOptions),
    /// Turn a password into what root_password_hash takes.
    HashPassword(HashPasswordOptions),
    /// Look at a data directory from outside, also at one in use; nothing is written.
    #[command(subcommand)]
    Inspect(Inspect),
    /// Measure throughput, latency and failover.
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  baton start --dir /srv/baton\n  redis-cli -p 7400 set greeting hello\n\n\
    A later start on the same --dir takes everything from DIR/NAME/node.toml; flags that contradict it are \
    refused.\nPorts of node i: base + 100*i + {0: any key, 1..64: shard 0..63, 80: HTTP, 90: replication, \
    91: agency}; the witness: base + 291."
)]
pub struct StartOptions {
    /// Where the group lives; made if missing.
    #[arg(long, default_value = "baton-data")]
    pub dir: PathBuf,
    /// Data nodes, 2 or 3; with 2 there is a witness as well [default: 2]
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub nodes: Option<u8>,
    /// Shards, 1 to 64; fixed for the life of the group [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub shards: Option<u16>,
    /// The first port [default: 7400]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65244))]
    pub port_base: Option<u16>,
    /// When a process that died is started again: 200ms, 1s ... or never [default: 1s]
    #[arg(long, value_parser = respawn)]
    pub respawn_after: Option<Respawn>,
    /// Size of a log segment in MiB, a power of two up to 256; fixed for the life of the group [default: 256]
    #[arg(long)]
    pub segment_mib: Option<u64>,
    /// Largest value a client may write, in KiB [default: 16384, or what a small segment can hold]
    #[arg(long)]
    pub max_value_kib: Option<u64>,
    /// When a write is acknowledged: durable, received or local [default: durable]
    #[arg(long, value_parser = ack)]
    pub ack: Option<Ack>,
    /// active-passive: one node leads all shards; active-active: they are spread [default: active-passive]
    #[arg(long, value_parser = mode)]
    pub mode: Option<Mode>,
    /// Ask every client for a user and a password; the first start makes the user root.
    #[arg(long)]
    pub auth: bool,
    /// The file with root's first password; without it one is made up, and shown once.
    #[arg(long, value_name = "FILE", requires = "auth")]
    pub root_password_file: Option<PathBuf>,
    /// Print one line of JSON when ready, and nothing else on standard output.
    #[arg(long)]
    pub json: bool,
}

/// A value of `--respawn-after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Respawn {
    After(Span),
    Never,
}

fn respawn(text: &str) -> Result<Respawn, String> {
    match text {
        "never" => Ok(Respawn::Never),
        _ => text.parse().map(Respawn::After).map_err(|e| format!("{e}, or \"never\"")),
    }
}

fn ack(text: &str) -> Result<Ack, String> {
    match text {
        "durable" => Ok(Ack::Durable),
        "received" => Ok(Ack::Received),
        "local" => Ok(Ack::Local),
        _ => Err("one of durable, received, local".to_owned()),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "active-passive" => Ok(Mode::ActivePassive),
        "active-active" => Ok(Mode::ActiveActive),
        _ => Err("one of active-passive, active-active".to_owned()),
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton serve --config /srv/baton/a/node.toml\n  \
    baton witness --config /srv/baton/w/witness.toml\n\nEvery key of the file: docs/CONFIGURATION.md")]
pub struct ServeOptions {
    /// The configuration file.
    #[arg(long)]
    pub config: PathBuf,
}

/// Where to ask.
#[derive(Clone, Debug, Default, Args)]
pub struct Ask {
    /// HTTP address of any node of the group; without it, those of a group on this machine at port 7400.
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
}

/// As whom to ask, where the group has users.
#[derive(Clone, Debug, Default, Args)]
pub struct AskAs {
    /// The user.
    #[arg(long, default_value = "root", requires = "password_file")]
    pub user: String,
    /// The file with the user's password.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton hash-password --password-file secret.txt\n\n\
    Put the line into node.toml: root_password_hash = \"...\"")]
pub struct HashPasswordOptions {
    /// The file with the password; without it, standard input. A line end at its end does not count.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton status\n  baton status --http 10.0.0.5:7480 --json\n\n\
    Exit code 1 if a node or an agent is down, or a shard has no leader or a node out of sync.")]
pub struct StatusOptions {
    #[command(flatten)]
    pub ask: Ask,
    /// Print the JSON document as the node gives it.
    #[arg(long)]
    pub json: bool,
    /// Print again every second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton handoff\n  baton handoff --to b --shard 0")]
pub struct HandoffOptions {
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub ask_as: AskAs,
    /// The node that shall lead; without it, the one that is furthest.
    #[arg(long, value_name = "NAME")]
    pub to: Option<String>,
    /// Only this shard; without it, every shard.
    #[arg(long)]
    pub shard: Option<u16>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton promote --accept-data-loss --http 127.0.0.1:7580\n  \
    baton promote --accept-data-loss /srv/baton/b --yes\n\n\
    Says first what may be lost, and asks. With DIR the member is stopped; its next start honours the decision, \
    once. Done only where nobody leads and nobody who lacks nothing could, and kept in the history for ever.\n\n\
    Exit code 0: done; 1: not agreed to, refused, or not possible; 2: wrong usage.")]
pub struct PromoteOptions {
    /// Writes that were acknowledged may be lost by this.
    #[arg(long, required = true)]
    pub accept_data_loss: bool,
    /// The directory of the member that shall lead, while it is stopped.
    #[arg(conflicts_with = "http")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub ask: Ask,
    #[command(flatten)]
    pub ask_as: AskAs,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, clap::Subcommand)]
pub enum Inspect {
    /// What the directory is.
    Superblock(InspectDir),
    /// One line per segment: where it lies in the log, and whether it is whole.
    #[command(after_help = "Example:\n  baton inspect segments baton-data/a\n\n\
        Exit code 1 if anything is damaged.")]
    Segments(InspectLog),
    /// One line per frame; a bad one with the reason.
    Frames(InspectFrames),
    /// The frames that rewinds cut off.
    #[command(after_help = "Example:\n  baton inspect rewound baton-data/a --shard 0")]
    Rewound(InspectLog),
    /// Are the logs of two nodes the same bytes over the LSNs that both hold?
    Diff(InspectDiff),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton inspect superblock baton-data/a")]
pub struct InspectDir {
    /// A node's data directory.
    pub dir: PathBuf,
    /// Print JSON, one object per line (docs/INSPECT.md).
    #[arg(long)]
    pub json: bool,
}

/// Which shards to look at.
#[derive(Debug, Args)]
pub struct InspectShards {
    /// Only this shard; without it, every shard.
    #[arg(long)]
    pub shard: Option<u16>,
}

#[derive(Debug, Args)]
pub struct InspectLog {
    /// A node's data directory.
    pub dir: PathBuf,
    #[command(flatten)]
    pub shards: InspectShards,
    /// Print JSON, one object per line (docs/INSPECT.md).
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton inspect frames baton-data/a --shard 0 --from 4096 --limit 10\n\n\
    Exit code 1 if a place that was looked at is damaged.")]
pub struct InspectFrames {
    #[command(flatten)]
    pub log: InspectLog,
    /// Leave out the frames before this LSN; segments that end before it are not looked at.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    pub from: u64,
    /// Stop after so many frames.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton inspect diff baton-data/a baton-data/b\n\n\
    Exit code 0: the same; 1: different or damaged; 2: wrong usage.")]
pub struct InspectDiff {
    /// A node's data directory.
    pub a: PathBuf,
    /// Another node's.
    pub b: PathBuf,
    #[command(flatten)]
    pub shards: InspectShards,
    /// Print JSON, one object per line (docs/INSPECT.md).
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub enum Bench {
    /// Throughput and latency of one node.
    Load(LoadOptions),
    /// Start a group, strike it again and again under load, and check every key.
    Failover(FailoverOptions),
    /// Start a group, put every kind of load on it, strike nothing, and see that nothing happens.
    Steady(SteadyOptions),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton bench load -c 50 -P 16 -n 1000000 --mix 100\n\n\
    Give the leader's port: redirects are not followed, they count as errors.")]
pub struct LoadOptions {
    #[arg(long, default_value = "127.0.0.1")]
    pub host: std::net::IpAddr,
    #[arg(short, long, default_value_t = 7400)]
    pub port: u16,
    /// Connections.
    #[arg(short = 'c', long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub connections: u32,
    /// Requests sent at once on each connection.
    #[arg(short = 'P', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub pipeline: u32,
    /// Requests in all.
    #[arg(short = 'n', long, default_value_t = 100_000)]
    pub requests: u64,
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Keys the requests are spread over.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// Share of writes in percent.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub mix: u8,
    /// The same seed sends the same requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long)]
    pub json: bool,
}

impl LoadOptions {
    /// The address to load.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton bench failover --rounds 50 --kill node\n  \
    baton bench failover --rounds 10 --kill silence --json\n  \
    baton bench failover --rounds 20 --kill disk\n  \
    baton bench failover --rounds 10 --kill stop-group\n\n\
    `disk` makes the leader's file system stand still for 5 s; each data node gets one of its own, in a file in \
    DIR, which takes root and a loop device. `stop-group` stops the group in order and starts it again.\n\n\
    Exit code 1 if an acknowledged write is missing, a value shows up that nobody wrote, an epoch does not \
    rise, a client saw an error that is not a redirect, a node was killed for its disk, or an orderly stop did \
    not leave the in-sync set whole.")]
pub struct FailoverOptions {
    #[arg(long, default_value_t = 50)]
    pub rounds: usize,
    /// What is struck: node, warden+node, stop, silence, handoff, terminate, follower, witness, both, disk or stop-group
    #[arg(long, default_value = "node")]
    pub kill: Blow,
    /// Where the group lives; without it, a temporary directory that is removed if all was well.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    #[arg(long, default_value_t = 17400)]
    pub port_base: u16,
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Memory that each node touches before it serves, in MiB.
    #[arg(long, default_value_t = 0)]
    pub ballast_mib: u64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  baton bench steady --minutes 30\n  \
    baton bench steady --minutes 30 --neighbour --json\n\n\
    Small, middle and large values, cold reads, many keys in one request, bulk loads, thousands of idle \
    connections, slow readers, busy cores. Takes about half a GiB of disk a minute for each of the two nodes.\n\n\
    Exit code 1 if a client saw an error, a member was taken out of an in-sync set, the leader changed or a node \
    was started again.")]
pub struct SteadyOptions {
    /// How long; a half is 0.5.
    #[arg(long, default_value_t = 5.0, value_parser = minutes)]
    pub minutes: f64,
    /// Somebody else writes and syncs large files on the same disk.
    #[arg(long)]
    pub neighbour: bool,
    /// Threads that keep cores busy [default: as many as there are cores]
    #[arg(long)]
    pub busy: Option<usize>,
    /// Connections that stand idle.
    #[arg(long, default_value_t = 2000)]
    pub idle: usize,
    /// Writes of one bulk load.
    #[arg(long, default_value_t = 1_000_000)]
    pub bulk: u64,
    /// Where the group lives; without it, a temporary directory that is removed if all was well.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    #[arg(long, default_value_t = 11400)]
    pub port_base: u16,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[arg(long)]
    pub json: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=1_000_000.0).contains(&minutes) => Ok(minutes),
        _ => Err("a number of minutes, as 30 or 0.5".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Baton::command().debug_assert();
    }

    #[test]
    fn wrong_values_name_the_flag() {
        for words in [
            ["baton", "start", "--nodes", "4"],
            ["baton", "start", "--shards", "0"],
            ["baton", "start", "--respawn-after", "soon"],
            ["baton", "start", "--ack", "maybe"],
        ] {
            let error = Baton::try_parse_from(words).unwrap_err().to_string();
            assert!(error.contains(words[2]), "{error}");
        }
    }

    #[test]
    fn every_subcommand_shows_an_example() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                return command.get_subcommands().for_each(check);
            }
            let help = command.get_after_help().map(|h| h.to_string()).unwrap_or_default();
            assert!(help.starts_with("Example:\n  baton "), "{}", command.get_name());
        }
        check(&Baton::command());
    }
}
