//! Which host's copies a fault has damaged and nobody has repaired yet: at most one at a time, so that the
//! group can be asked to survive it.

use agency::configuration::Configuration;
use agency::ids::NodeId;
use engine::ids::ShardId;

#[derive(Clone, Default)]
struct Hit {
    /// How often it was hit.
    times: u64,
    /// It may lie in a sealed segment, where nobody looks before it is read.
    latent: bool,
    /// Only a comparison of logs can show the damage.
    hidden: bool,
    /// Shards that have not yet fed this host anew, and whether they have taken it out of the in-sync set.
    open: Vec<(u16, bool)>,
}

/// See the module.
pub struct Damage {
    hosts: Vec<Hit>,
    shards: u16,
}

impl Damage {
    pub fn new(hosts: usize, shards: u16) -> Damage {
        Damage { hosts: vec![Hit::default(); hosts], shards }
    }

    /// The host's copies are no longer whole. `hidden`: nobody knows before logs are compared.
    pub fn hit(&mut self, host: usize, hidden: bool) {
        let open = (0..self.shards).map(|shard| (shard, false)).collect();
        let hidden = hidden || self.hides(host);
        let times = self.hosts[host].times + 1;
        self.hosts[host] = Hit { times, latent: false, hidden, open };
    }

    /// A bit of the host's log has changed, and nobody may notice.
    pub fn hit_bit(&mut self, host: usize) {
        self.hit(host, false);
        self.hosts[host].latent = true;
    }

    /// The host's node found that its log is damaged.
    pub fn found(&mut self, host: usize) {
        self.hosts[host].latent = false;
    }

    /// A configuration was decided: who is taken back into the in-sync set holds everything.
    pub fn decided(&mut self, shard: ShardId, c: &Configuration) {
        for (host, hit) in self.hosts.iter_mut().enumerate().filter(|(_, hit)| !hit.latent) {
            let in_sync = c.in_sync.contains(NodeId(host as u8));
            for (of, out) in &mut hit.open {
                *out |= *of == shard.0 && !in_sync;
            }
            hit.open.retain(|(of, out)| !(*of == shard.0 && *out && in_sync));
        }
    }

    /// This shard of the host turned out to hold all that counts.
    pub fn close(&mut self, host: usize, shard: ShardId) {
        self.hosts[host].open.retain(|(of, _)| *of != shard.0);
    }

    /// A shard of this host lacks acknowledged writes, and nobody has taken it out of the in-sync set.
    pub fn trusted(&self, host: usize, shard: ShardId) -> bool {
        self.hosts[host].open.contains(&(shard.0, false))
    }

    /// How often this host was hit.
    pub fn times(&self, host: usize) -> u64 {
        self.hosts[host].times
    }

    /// Whether this host's damage is hidden.
    pub fn hides(&self, host: usize) -> bool {
        self.hosts[host].hidden && self.stands(host)
    }

    /// Whether any copy is not whole.
    pub fn any_stands(&self) -> bool {
        (0..self.hosts.len()).any(|host| self.stands(host))
    }

    /// Whether this host must live, because another's damage is hidden.
    pub fn spares(&self, host: usize) -> bool {
        self.hosts.iter().enumerate().any(|(other, hit)| other != host && hit.hidden && !hit.open.is_empty())
    }

    /// Whether some damage is there that nobody knows of.
    pub fn hidden(&self) -> bool {
        self.hosts.iter().any(|hit| hit.hidden && !hit.open.is_empty())
    }

    /// Whether this host was ever hit.
    pub fn was_hit(&self, host: usize) -> bool {
        self.hosts[host].times > 0
    }

    /// Whether this host's copies are not whole.
    pub fn stands(&self, host: usize) -> bool {
        !self.hosts[host].open.is_empty()
    }

    /// Whether any was ever hit.
    pub fn any(&self) -> bool {
        self.hosts.iter().any(|hit| hit.times > 0)
    }
}
