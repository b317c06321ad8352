//! Lets time pass: takes what is due, one thing after the other, and hands it to whom it happens.

use crate::world::{What, World};

/// More events than this in one simulated second are a storm.
const STORM: u64 = 3_000_000;

impl World {
    /// Runs until `end`, or until `done`, or until something is violated.
    pub fn run_until(&mut self, end: u64, mut done: impl FnMut(&mut World) -> bool) -> bool {
        while self.violation.is_none() {
            let Some(what) = self.next_by(end) else {
                self.now = end;
                return done(self);
            };
            self.events += 1;
            self.trace.at_event(self.events);
            if self.trace.stops() {
                return false;
            }
            self.trace.mix(self.now);
            self.count_storm();
            self.happen(what);
            if done(self) {
                return true;
            }
        }
        false
    }

    pub fn count_storm(&mut self) {
        let second = self.now / 1_000_000_000;
        if self.storm.0 != second {
            self.storm = (second, 0);
        }
        self.storm.1 += 1;
        if self.storm.1 > STORM {
            self.violated("storm", format!("more than {STORM} events in a second"));
        }
    }

    pub fn happen(&mut self, what: What) {
        match what {
            What::WardenTurn { host, life } => self.warden_turn(host, life),
            What::ShardTurn { host, life, shard } => self.shard_turn(host, life, shard),
            What::Arrive { connection, side, packet } => self.arrive(connection, side, packet),
            What::Break { connection, side } => self.break_end(connection, side),
            What::Dial { host, life, peer } => self.dial(host, life, peer),
            What::Reach { host, life, peer } => self.reach(host, life, peer),
            What::Knock { caller, to } => self.knock(caller, to),
            What::KnockFailed { caller } => self.knock_failed(caller),
            What::Stored { host, life } => self.stored(host, life),
            What::Disk { host, life, shard, flight } => self.disk_done(host, life, shard, flight),
            What::Read { host, life, shard, ticket, spec } => self.read_done(host, life, shard, ticket, spec),
            What::Job { host, life, shard, ticket, job } => self.job_done(host, life, shard, ticket, *job),
            What::SentLog { host, life, shard, link, range, crc } => {
                self.sent_log(host, life, shard, link, range, crc)
            }
            What::LinkGone { host, life, shard, link } => self.link_gone(host, life, shard, link),
            What::Notice { host, life, incarnation } => self.notice(host, life, incarnation),
            What::Kill { host, incarnation } => self.kill_arrives(host, incarnation),
            What::Landed { host, shard, life } => self.late_writes_land(host, shard, life),
            What::Respawn { host, life } => self.respawn(host, life),
            What::Recovered { host, life } => self.recovered(host, life),
            What::StartWarden { host } => self.start_warden(host),
            What::Client { client, serial } => self.client_step(client, serial),
            What::Guest { guest, serial } => self.guest_step(guest, serial),
            What::Nemesis => self.strike(),
            What::Trapped { host, life } => self.trapped(host, life),
            What::RestartInOrder { host } => self.restart_in_order(host),
            What::CrashWarden { host } if self.nemesis.over || self.spared(host) => {}
            What::Overdue { host, shard, times } => self.overdue(host, shard, times),
            What::CrashWarden { host } => self.crash_warden(host),
        }
    }
}
