//! A node's disk operations: handed to the virtual disk, done when it says so.

use crate::checkers::rewinds;
use crate::fault::Trap;
use crate::shell::input::Input;
use crate::world::{What, World};
use engine::disk::{DiskCommand, DiskWork, ReadSpec};
use engine::ids::ShardId;

/// A node whose disk lost a write dies within this: when its leader has counted that write.
const HARM_SHOWS: u64 = 300_000;

impl World {
    pub fn submit(&mut self, host: usize, shard: ShardId, op: DiskCommand) {
        let life = self.hosts[host].node_life;
        let reached = self.checkers.cursors.reached(host, shard);
        let me = &mut self.hosts[host];
        let Some(core) = me.node.as_ref().and_then(|node| node.shards[usize::from(shard.0)].core.as_ref())
        else {
            return;
        };
        let disk = &mut me.disks[usize::from(shard.0)];
        let verdict = match &op.work {
            DiskWork::Cut { segment, offset, .. } if !disk.strange => {
                rewinds::verdict(&disk.device.memory, *segment, *offset, reached)
            }

            _ => Ok(()),
        };
        let rewinds = op.work.is_cold() && !matches!(op.work, DiskWork::PrepareSegment { .. });
        let (flight, at) = disk.submit(op, core.engine(), self.now, &mut self.dice);
        self.at(at, What::Disk { host, life, shard, flight });
        self.judge("rewinds", verdict);
        if rewinds {
            self.spring(Trap::Rewind, host);
        }
    }

    pub fn disk_done(&mut self, host: usize, life: u64, shard: ShardId, flight: u64) {
        if self.hosts[host].node_life != life || self.hosts[host].node.is_none() {
            return;
        }
        let hides = self.checkers.damage.hides(host);
        let disk = &mut self.hosts[host].disks[usize::from(shard.0)];
        // The moment may have passed: it was fed anew meanwhile.
        disk.harm = disk.harm.filter(|_| hides);
        if let Some(done) = disk.finish(flight, &mut self.dice) {
            let harmed = std::mem::take(&mut disk.harmed);
            self.input(host, shard, Input::Disk(done));
            if harmed {
                let soon = self.dice.magnitude(20_000, HARM_SHOWS);
                self.later(soon, What::Trapped { host, life });
            }
        }
    }

    pub fn read_done(&mut self, host: usize, life: u64, shard: ShardId, ticket: u64, spec: ReadSpec) {
        if self.hosts[host].node_life != life || self.hosts[host].node.is_none() {
            return;
        }
        let bytes = self.hosts[host].disks[usize::from(shard.0)].read(spec, &mut self.dice);
        self.input(host, shard, Input::ReadDone { ticket, bytes });
    }
}
