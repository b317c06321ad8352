//! What one seed stands for: the group's shape, its load, and how hostile its world is.

use crate::fault::Fault;
use crate::host_config::HostConfig;
use crate::mutants::{Known, Mutant};
use crate::random::Dice;
use crate::work::Pace;
use agency::timing::Timing;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use engine::ids::{GroupId, ShardId};
use engine::limits::{least_log_buffer_bytes, least_segment_bytes};
use mutants::Switch;
use node::events::Face;
use node::settings::Member;
use std::sync::Arc;
use std::time::Duration;

const PORT_BASE: u16 = 7000;
const PORTS_EACH: u16 = 200;
const MS: u64 = 1_000_000;
/// A drift that the leases' margin does not cover: a sixth.
const BEYOND_MARGIN: u64 = 160_000;

/// Makes a seed of its own for how the group is set up.
const SETTINGS: u64 = 0x5e77_1265_0000_0001;
/// `root`'s, where clients are asked who they are.
pub const PASSWORD: &str = "swordfish";
/// What the clients of a shard may hold together, in bytes.
const CLIENT_MEMORY: usize = 32 << 20;
/// A shorter time than by default after which a follower is killed for its disk.
const DISK_HANG_SOON: Duration = Duration::from_secs(2);

/// Makes a seed of its own for what clients do.
const BURDEN: u64 = 0xb07d_e200_0000_0001;

/// The largest value that a segment and the log buffer have room for, in KiB.
fn largest_value(segment_bytes: u64, buffer_bytes: u64) -> usize {
    let fits = |kib: &usize| {
        least_segment_bytes(kib << 10) <= segment_bytes && least_log_buffer_bytes(kib << 10) < buffer_bytes
    };
    (1..1 << 10).take_while(fits).last().unwrap_or(1) << 10
}

/// See the module. Everything in it is a function of the seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub data_nodes: usize,
    pub witnesses: usize,
    pub shards: u16,
    pub clients: usize,
    pub stale_clients: usize,
    /// The last ones speak HTTP.
    pub http_clients: usize,
    pub any_key_percent: u64,
    pub segment_bytes: u64,
    pub buffer_bytes: u64,
    pub cache_bytes: u64,
    pub active_active: bool,
    pub timing: Timing,
    /// Between a reply and a client's next request, in ns.
    pub think: (u64, u64),
    /// Between the end of a process and its next start, in ns.
    pub respawn: (u64, u64),
    /// Clients that are a burden.
    pub guests: usize,
    /// How long the cores take.
    pub pace: Pace,
    /// The largest value, in bytes.
    pub value_bytes: usize,
    /// What a process had under way when it died may reach the disk later.
    pub late_writes: bool,
    /// Clients that get no answer soon close and send once more.
    pub impatient: bool,
    /// For how long nothing strikes after the founding, in ns.
    pub calm: u64,
    /// No fault strikes at all.
    pub faultless: bool,
    /// How long faults strike, in ns.
    pub hostile: u64,
    pub wall_skew_ms: u64,
    /// Clocks are at most this much too fast or too slow.
    pub drift_ppm: u64,
    /// Death notices may be late by this, in ns, and come twice.
    pub late_notices: u64,
    /// Clients are asked who they are.
    pub auth: bool,
    /// With fewer members in sync no write is taken.
    pub min_in_sync: u8,
    /// A defence that is taken away.
    pub mutant: Option<Switch>,
    /// The faults that strike, instead of those that the seed draws.
    pub kinds: Option<&'static [Fault]>,
    /// Disks may be wiped, damaged or rolled back.
    pub damages_disks: bool,
}

impl Scenario {
    /// The scenario of a seed. `hostile_ms`: how long faults strike.
    pub fn of_seed(seed: u64, hostile_ms: u64) -> Scenario {
        let mut dice = Dice::new(seed);
        let dice = &mut dice;
        let data_nodes = dice.pick(&[2, 2, 2, 2, 2, 2, 3, 3, 3, 1]).unwrap_or(2);
        let witnesses = match data_nodes {
            1 => dice.pick(&[0, 0, 2]).unwrap_or(0),
            2 => dice.pick(&[1, 1, 1, 1, 1, 1, 3, 3, 0, 2]).unwrap_or(1),
            _ => dice.pick(&[0, 0, 2, 2, 1]).unwrap_or(0),
        };
        let shards = if dice.percent(60) { 1 } else { 2 + dice.below(3) as u16 };
        Scenario {
            seed,
            data_nodes,
            witnesses,
            shards,
            clients: 3 + dice.below(4) as usize,
            stale_clients: dice.below(2) as usize,
            http_clients: dice.pick(&[0, 1, 1, 2]).unwrap_or(1),
            any_key_percent: dice.pick(&[0, 10, 50]).unwrap_or(0),
            segment_bytes: 256 << 10,
            buffer_bytes: dice.pick(&[256 << 10, 512 << 10, 4 << 20]).unwrap_or(512 << 10),
            // Of the smaller one, hardly a value that was just read is there a moment later.
            cache_bytes: dice.pick(&[1 << 10, 64 << 10]).unwrap_or(1 << 10),
            active_active: dice.percent(50),
            timing: Timing::default(),
            think: (500_000, dice.magnitude(2 * MS, 60 * MS)),
            respawn: (10 * MS, dice.magnitude(50 * MS, 2_000 * MS)),
            hostile: hostile_ms * MS,
            wall_skew_ms: if dice.percent(30) { 20_000 } else { 0 },
            drift_ppm: dice.pick(&[0, 0, 0, 100, 100, 100, 4_500, 4_500, 4_500, BEYOND_MARGIN]).unwrap_or(0),
            late_notices: if dice.percent(40) { dice.magnitude(MS, 200 * MS) } else { 0 },
            mutant: None,
            kinds: None,
            damages_disks: dice.percent(20) && data_nodes > 1,
            guests: 0,
            pace: Pace::TIMELESS,
            value_bytes: 32 << 10,
            late_writes: false,
            impatient: false,
            calm: 0,
            faultless: false,
            auth: false,
            min_in_sync: 1,
        }
        .burdened()
        .set_up()
    }

    /// The same with what clients may do to it. Drawn from dice of its own.
    fn burdened(mut self) -> Scenario {
        let mut dice = Dice::new(self.seed ^ BURDEN);
        self.pace = Pace::draw(&mut dice);
        self.guests = dice.pick(&[0, 0, 1, 2, 3]).unwrap_or(0);
        self.calm = dice.between(500 * MS, 2_500 * MS);
        self.faultless = dice.percent(15);
        self.late_writes = dice.percent(70);
        self.impatient = dice.percent(40);
        if dice.percent(25) {
            self.value_bytes = largest_value(self.segment_bytes, self.buffer_bytes);
        }
        self
    }

    /// The same with settings of the group. Drawn from dice of their own.
    fn set_up(mut self) -> Scenario {
        let mut dice = Dice::new(self.seed ^ SETTINGS);
        self.auth = dice.percent(20);
        if self.data_nodes > 1 && dice.percent(15) {
            self.min_in_sync = 2;
        }
        if dice.percent(30) {
            self.timing.disk_hang_after = DISK_HANG_SOON;
        }
        self
    }

    /// The same without this defence, and with the faults that the defence is for.
    pub fn without(self, known: &Known) -> Scenario {
        Scenario { mutant: Some(known.mutant), ..self.with_faults_of(known) }
    }

    /// The same with the faults that this defence is for.
    pub fn with_faults_of(mut self, known: &Known) -> Scenario {
        if !known.kinds.is_empty() {
            self.kinds = Some(known.kinds);
        }
        self.data_nodes = self.data_nodes.max(2);
        if self.members() == 2 {
            self.witnesses = 1;
        }
        self.drift_ppm = self.drift_ppm.min(4_500);
        // Many requests at each moment: more to be noticed by.
        self.clients = known.clients;
        self.http_clients = known.http_clients;
        self.think.1 = self.think.1.min(4 * MS);
        self.damages_disks = true;
        (self.guests, self.pace, self.value_bytes) = (0, Pace::TIMELESS, 32 << 10);
        (self.calm, self.faultless) = (0, false);
        self.late_writes = known.mutant == Mutant::ReadsTooEarly.switch();
        self.impatient = false;
        self.auth = false;
        self.min_in_sync = known.min_in_sync;
        if known.crowded {
            (self.guests, self.pace) = (4, Pace::SLOWEST);
            (self.calm, self.faultless, self.hostile) = (1_000 * MS, true, self.hostile / 2);
        }
        self
    }

    /// Whether clocks differ by more than what the leases' margin covers: then a deposed leader may serve old
    /// values, and nothing else may happen.
    pub fn beyond_margin(&self) -> bool {
        self.drift_ppm == BEYOND_MARGIN
    }

    /// Whether this client speaks HTTP; at least one speaks RESP and is no stale reader.
    pub fn is_http(&self, client: usize) -> bool {
        let others = self.clients.saturating_sub(self.http_clients).max(self.stale_clients + 1);
        client >= others
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
    pub fn configs(&self) -> Vec<Arc<HostConfig>> {
        let members: Vec<Member> = (0..self.members()).map(|host| self.member(host)).collect();
        let group = GroupId(u128::from(self.seed) << 64 | 0xba70);
        let hash = self.auth.then(cheap_hash);
        let config = |host: usize| {
            let mut config = HostConfig::new(group, host, members.clone());
            config.shards = self.shards;
            config.evict_after = self.timing.evict_after;
            config.active_active = self.active_active;
            config.segment_bytes = self.segment_bytes;
            config.log_buffer_bytes = self.buffer_bytes;
            config.cache_bytes = self.cache_bytes;
            config.max_value_bytes = self.value_bytes;
            config.memory.all = CLIENT_MEMORY;
            config.copies.min_in_sync = self.min_in_sync;
            config.auth = self.auth;
            config.root_password_hash.clone_from(&hash);
            Arc::new(config)
        };
        (0..self.members()).map(config).collect()
    }
}

/// The hash of [`PASSWORD`], by parameters that cost next to nothing: it is looked at often.
fn cheap_hash() -> String {
    let cheap = Params::new(Params::MIN_M_COST, 1, 1, None).expect("the least that there are");
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap);
    let hash: PasswordHash =
        argon.hash_password_with_salt(PASSWORD.as_bytes(), &[1; 16]).expect("a salt of 16 bytes is sound");
    hash.to_string()
}
