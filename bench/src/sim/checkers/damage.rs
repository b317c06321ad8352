//! Which host's copies a fault has damaged and nobody has repaired yet: at most one at a time, so that the
//! group can be asked to survive it.

/// See the module.
pub struct Damage {
    hosts: Vec<bool>,
}

impl Damage {
    pub fn new(hosts: usize) -> Damage {
        Damage { hosts: vec![false; hosts] }
    }

    /// The host's copies are no longer whole.
    pub fn hit(&mut self, host: usize) {
        self.hosts[host] = true;
    }

    /// No other host's copies are damaged.
    pub fn none_but(&self, host: usize) -> bool {
        self.hosts.iter().enumerate().all(|(other, hit)| other == host || !hit)
    }

    /// Whether this host was hit.
    pub fn was_hit(&self, host: usize) -> bool {
        self.hosts[host]
    }

    /// Whether any was.
    pub fn any(&self) -> bool {
        self.hosts.contains(&true)
    }
}
