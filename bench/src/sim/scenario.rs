//! What one seed stands for: the group's shape, its load, and how hostile its world is.

use super::mutants::Mutant;
use super::random::Dice;
use agency::timing::Timing;
use engine::ids::{GroupId, ShardId};
use net::config::{ByteSize, Member, Mode, NodeConfig};
use net::seam::Face;
use std::sync::Arc;

const PORT_BASE: u16 = 7000;
const PORTS_EACH: u16 = 200;
const MS: u64 = 1_000_000;

/// See the module. Everything in it is a function of the seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub data_nodes: usize,
    pub witnesses: usize,
    pub shards: u16,
    pub clients: usize,
    pub stale_clients: usize,
    pub any_key_percent: u64,
    pub segment_bytes: u64,
    pub buffer_bytes: u64,
    pub active_active: bool,
    pub timing: Timing,
    /// Between a reply and a client's next request, in ns.
    pub think: (u64, u64),
    /// Between the end of a process and its next start, in ns.
    pub respawn: (u64, u64),
    /// How long faults strike, in ns.
    pub hostile: u64,
    pub wall_skew_ms: u64,
    /// Clocks are at most this much too fast or too slow.
    pub drift_ppm: u64,
    /// Death notices may be late by this, in ns, and come twice.
    pub late_notices: u64,
    /// A defence that is taken away.
    pub mutant: Option<Mutant>,
    /// Disks may be wiped, damaged or rolled back.
    pub damages_disks: bool,
}

impl Scenario {
    /// The scenario of a seed. `hostile_ms`: how long faults strike.
    pub fn of_seed(seed: u64, hostile_ms: u64) -> Scenario {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let data_nodes = if dice.percent(75) { 2 } else { 3 };
        let witnesses = match data_nodes {
            2 if dice.percent(85) => 1,
            2 => 3,
            _ if dice.percent(50) => 0,
            _ => 2,
        };
        let shards = if dice.percent(60) { 1 } else { 2 + dice.below(3) as u16 };
        Scenario {
            seed,
            data_nodes,
            witnesses,
            shards,
            clients: 3 + dice.below(4) as usize,
            stale_clients: dice.below(2) as usize,
            any_key_percent: dice.pick(&[0, 10, 50]).unwrap_or(0),
            segment_bytes: 256 << 10,
            buffer_bytes: dice.pick(&[256 << 10, 512 << 10, 4 << 20]).unwrap_or(512 << 10),
            active_active: dice.percent(50),
            timing: Timing::default(),
            think: (500_000, dice.magnitude(2 * MS, 60 * MS)),
            respawn: (10 * MS, dice.magnitude(50 * MS, 2_000 * MS)),
            hostile: hostile_ms * MS,
            wall_skew_ms: if dice.percent(30) { 20_000 } else { 0 },
            drift_ppm: dice.pick(&[0, 100, 4_500]).unwrap_or(0),
            late_notices: if dice.percent(40) { dice.magnitude(MS, 200 * MS) } else { 0 },
            mutant: None,
            damages_disks: dice.percent(20),
        }
    }

    /// The same without this defence; and with the faults that the defence is for.
    pub fn without(mut self, mutant: Mutant) -> Scenario {
        self.mutant = Some(mutant);
        self.damages_disks |= mutant == Mutant::WipedUnnoticed;
        self
    }

    pub fn members(&self) -> usize {
        self.data_nodes + self.witnesses
    }

    /// A clock's error.
    pub fn drift(&self, dice: &mut Dice) -> i64 {
        dice.below(2 * self.drift_ppm + 1) as i64 - self.drift_ppm as i64
    }

    /// How much later than it should a death notice comes, and after how long once more.
    pub fn notice_delay(&self, dice: &mut Dice) -> (u64, Option<u64>) {
        if self.late_notices == 0 {
            return (0, None);
        }
        let late = if dice.one_in(3) { dice.below(self.late_notices) } else { 0 };
        (late, dice.one_in(4).then(|| dice.below(3 * self.late_notices)))
    }

    /// Whether this world makes shards fail for this reason.
    pub fn expects_failure(&self, reason: &str) -> bool {
        self.damages_disks && reason.starts_with("cannot read the log")
    }

    /// The port of a shard, or of any key.
    pub fn port(&self, host: usize, face: Face, shard: ShardId) -> u16 {
        let member = self.member(host);
        match face {
            Face::AnyKey => member.any_key_port(),
            Face::Http => member.http_port(),
            Face::Shard => member.shard_port(agency::ids::ShardId(shard.0)),
        }
    }

    /// Whose port that is.
    pub fn host_of_port(&self, port: u16) -> Option<usize> {
        let host = usize::from(port.checked_sub(PORT_BASE)? / PORTS_EACH);
        (host < self.data_nodes).then_some(host)
    }

    fn member(&self, host: usize) -> Member {
        Member {
            name: format!("m{host}"),
            host: "10.0.0.1".into(),
            port_base: PORT_BASE + PORTS_EACH * host as u16,
            witness: host >= self.data_nodes,
        }
    }

    /// Every member's configuration.
    pub fn configs(&self) -> Vec<Arc<NodeConfig>> {
        let members: Vec<Member> = (0..self.members()).map(|host| self.member(host)).collect();
        let group = GroupId(u128::from(self.seed) << 64 | 0xba70);
        let config = |host: usize| {
            let mut config = NodeConfig::new(group, &format!("m{host}"), "/".into(), members.clone());
            config.shards = self.shards;
            config.mode = if self.active_active { Mode::ActiveActive } else { Mode::ActivePassive };
            config.segment_bytes = ByteSize(self.segment_bytes);
            config.max_value_bytes = ByteSize(32 << 10);
            config.log_buffer_bytes = ByteSize(self.buffer_bytes);
            config.cache_bytes = ByteSize(64 << 10);
            Arc::new(config)
        };
        (0..self.members()).map(config).collect()
    }
}
