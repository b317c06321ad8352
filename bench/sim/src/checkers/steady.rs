//! A healthy group does not hurt itself: while no fault was inflicted, the configuration does not change and nobody
//! is killed or dies, whatever clients do and however long it takes to serve them.

use agency::configuration::Configuration;

/// See the module.
#[derive(Default)]
pub struct Steady {
    /// Nothing has been inflicted since the group was whole.
    pub holds: bool,
    /// All disks stand still for longer than a request may wait.
    pub disks_stand: bool,
    /// Changes of the configuration since somebody began to count.
    pub changes: u64,
}

impl Steady {
    /// This was decided after another configuration.
    pub fn changed(&mut self, shard: u16, c: &Configuration) -> Result<(), String> {
        self.changes += 1;
        self.unless(|| format!("no fault, and shard {shard} changes: {c:?}"))
    }

    /// The group is whole and in peace, and this often the configuration changed nevertheless.
    pub fn flaps(&self, most: u64) -> Result<(), String> {
        if self.changes <= most {
            return Ok(());
        }
        Err(format!(
            "{} changes of the configuration of a whole group in peace, at most {most}",
            self.changes
        ))
    }

    /// A process ends.
    pub fn ended(&self, host: usize, why: &str) -> Result<(), String> {
        self.unless(|| format!("no fault, and a process of host {host} ends: {why}"))
    }

    /// A client is refused. Nothing is carried out too long after it came, whatever it waited for.
    pub fn refused(&self, who: &str, text: &str) -> Result<(), String> {
        if self.disks_stand && text.contains("waited for too long") {
            return Ok(());
        }
        self.unless(|| format!("no fault, and {who} is told: {text}"))
    }

    fn unless(&self, what: impl FnOnce() -> String) -> Result<(), String> {
        if self.holds { Err(what()) } else { Ok(()) }
    }
}
