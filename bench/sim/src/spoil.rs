//! Faults that damage what is on a disk, and why each may strike where it does.
//!
//! A disk is damaged only where a peer must be able to repair it: at most one host's at a time, and only while
//! every shard has another copy in sync. Damage that the node itself or its warden recognises (a new disk, a
//! bit that the pulse vouches for) may meet any other fault. Damage that only the *leader* recognises, by
//! comparing logs (a lost or misdirected write, a disk that was rolled back), strikes followers in a calm
//! moment, and until it is repaired no other fault strikes: a leader that dies before it has compared the logs
//! is a second copy lost. A leader's own disk is never rolled back for the same reason.

use crate::disk::{Harm, SimDisk};
use crate::fault::Fault;
use crate::host::Host;
use crate::mutants::{Mutant, lacks};
use crate::nemesis::{MS, SECOND};
use crate::world::{What, World};
use agency::register::Image;
use engine::ids::ShardId;

impl World {
    pub fn spoil(&mut self, kind: Fault, host: usize, shard: ShardId) {
        match kind {
            Fault::LoseDisk => self.lose_disk(host),
            Fault::FlipBit => self.flip_bit(host, shard),
            Fault::Rot => self.rot(host, shard),
            Fault::LoseWrite => self.harm_write(host, shard, Harm::Lost),
            Fault::WipeDirectory => self.wipe_directory(host),
            Fault::MisdirectWrite => self.harm_write(host, shard, Harm::Misdirected),
            _ => self.roll_back(host),
        }
    }

    /// The host comes back with an empty disk.
    fn lose_disk(&mut self, host: usize) {
        // An agent without its memory needs all others to come back, and theirs.
        let votes = |image: &[u8]| Image::decode(image).is_ok_and(|image| image.joined);
        let remembers = |host: &Host| host.image.as_deref().is_some_and(votes);
        let everybody = self.hosts.iter().all(|host| host.warden.is_some() && remembers(host));
        if !self.dispensable(host) || !everybody || self.spared(host) {
            return;
        }
        self.say(host, format_args!("fault: disk lost"));
        self.checkers.damage.hit(host, false);
        self.hosts[host].up = false;
        self.kill_warden(host, "its disk is lost");
        let me = &mut self.hosts[host];
        if !lacks(Mutant::WipedUnnoticed) {
            me.image = None;
            me.incarnation = 0;
            me.disk_id = 1 + u128::from(self.dice.bits() >> 1);
        }
        for disk in &mut me.disks {
            *disk = SimDisk::new(self.scenario.segment_bytes);
        }
        let back = self.dice.magnitude(50 * MS, 2 * SECOND);
        self.later(back, What::StartWarden { host });
    }

    /// The node's directory is emptied under it, and its warden lives on: the next process finds another disk.
    fn wipe_directory(&mut self, host: usize) {
        if !self.dispensable(host) || self.hosts[host].warden.is_none() || self.spared(host) {
            return;
        }
        self.checkers.damage.hit(host, false);
        self.kill_node(host, "fault: its directory is wiped");
        let me = &mut self.hosts[host];
        me.disk_id = 1 + u128::from(self.dice.bits() >> 1);
        for disk in &mut me.disks {
            *disk = SimDisk::new(self.scenario.segment_bytes);
        }
    }

    fn flip_bit(&mut self, host: usize, shard: ShardId) {
        if !self.dispensable(host) || self.spared(host) {
            return;
        }
        self.checkers.damage.hit_bit(host);
        self.kill_node(host, "fault: killed");
        let disk = &mut self.hosts[host].disks[usize::from(shard.0)];
        if let Some((segment, at)) = disk.flip_durable_bit(&mut self.dice) {
            self.say(host, format_args!("fault: a bit of segment {} flips at {at}", segment.0));
        }
    }

    /// Whoever reads there must fetch the frame from a peer.
    fn rot(&mut self, host: usize, shard: ShardId) {
        if !self.dispensable(host) {
            return;
        }
        let disk = &mut self.hosts[host].disks[usize::from(shard.0)];
        if let Some((segment, at)) = disk.flip_sealed_bit(&mut self.dice) {
            self.checkers.damage.hit_bit(host);
            self.say(host, format_args!("fault: a bit of the sealed segment {} flips at {at}", segment.0));
        }
    }

    /// The next log write is acknowledged and is not where it should be; then the process dies.
    fn harm_write(&mut self, host: usize, shard: ShardId, harm: Harm) {
        if !self.dispensable(host) || !self.follows(host) || self.spared(host) {
            return;
        }
        self.say(host, format_args!("fault: the next write of shard {}: {harm:?}", shard.0));
        self.checkers.damage.hit(host, true);
        self.hosts[host].disks[usize::from(shard.0)].harm = Some(harm);
    }

    /// First the disks are remembered; the next time they are brought back to that.
    fn roll_back(&mut self, host: usize) {
        if self.hosts[host].copies.is_empty() {
            self.hosts[host].copies = self.hosts[host].disks.iter().map(SimDisk::copy).collect();
            return;
        }
        if !self.dispensable(host) || !self.follows(host) || self.spared(host) {
            return;
        }
        self.checkers.damage.hit(host, true);
        self.kill_node(host, "fault: its disks are rolled back");
        let me = &mut self.hosts[host];
        let copies = std::mem::take(&mut me.copies);
        for (disk, copy) in me.disks.iter_mut().zip(copies) {
            disk.roll_back(copy);
        }
    }
}
