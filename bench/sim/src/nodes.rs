//! Drives the nodes' cores as the shard loop does: a turn gathers what arrived, then its commands are carried
//! out. What the core does in it takes time, while which the thread sees nothing and its progress word stands.

use crate::checkers::memory::{self, Holder};
use crate::checkers::{copies, turns};
use crate::guest::Habit;
use crate::host::{Actor, Link, Turn};
use crate::mutants::{Mutant, lacks};
use crate::network::{Owner, Packet};
use crate::post::TURN_SPREAD;
use crate::served::Served;
use crate::shell::input::Input;
use crate::work::{Done, moved_by};
use crate::world::{Caller, What, World};
use agency::ids::Nanos;
use engine::ids::{Lsn, ShardId};
use engine::log::BufferRange;
use node::events::{Command, Face, Part};
use node::job::{Job, Queue};

/// The longest time between two turns of an idle shard.
const IDLE_TURN: u64 = 5_000_000;
/// What a job of a control thread takes.
const JOB: (u64, u64) = (1_000_000, 40_000_000);
/// A turn that the core wants at once comes after this.
const SOON: u64 = 30_000;

impl World {
    pub fn shard_turn(&mut self, host: usize, life: u64, shard: ShardId) {
        let now = self.now;
        let me = &mut self.hosts[host];
        let (local, host_stands) = (me.clock.local(now), me.clock.stands_until());
        let Some(node) = me.living(life) else { return };
        let paused = node.paused_until.max(host_stands);
        let actor = &mut node.shards[usize::from(shard.0)];
        if actor.turn_at != now {
            return;
        }
        actor.turn_at = u64::MAX;
        if paused > now {
            // It may be stopped right after it has looked at the clock.
            if actor.turn.is_none() && actor.turn_began.is_none() && self.dice.one_in(2) {
                actor.turn_began = Some(local);
            }
            return self.shard_turn_at(host, shard, paused);
        }
        match actor.turn.take() {
            None => self.begin_turn(host, shard),
            Some(Turn::Handed { began, commands }) => self.finish_turn(host, shard, began, commands),
            Some(Turn::Finished { commands }) => self.end_turn(host, shard, commands),
        }
    }

    /// Hands all that has come to the core.
    fn begin_turn(&mut self, host: usize, shard: ShardId) {
        let place = usize::from(shard.0);
        let me = &mut self.hosts[host];
        let local = me.clock.local(self.now);
        let Some(node) = &mut me.node else { return };
        let actor = &mut node.shards[place];
        let Some(core) = &mut actor.core else { return };
        let before = Done::so_far(core);
        let mut commands = Vec::new();
        let began = actor.turn_began.take().unwrap_or(local);
        let (version, update) = node.page.updates[place];
        if version != actor.seen_update {
            actor.seen_update = version;
            if let Some(update) = update {
                Input::Update(update).hand_to(core, began, &mut commands);
            }
        }
        if node.page.view.0 != actor.seen_view {
            actor.seen_view = node.page.view.0;
            Input::View(node.page.view.1.clone()).hand_to(core, began, &mut commands);
        }
        let (mut moved, mut gone) = (0, Vec::new());
        actor.began_at = self.now;
        let handed = actor.receive(self.now);
        let Some(core) = &mut actor.core else { return };
        let tail = core.engine().tail();
        for input in handed {
            moved += input.bytes();
            if let Input::ClientClosed { conn } | Input::ClientHalfClosed { conn } = input {
                gone.push(conn);
            }
            input.hand_to(core, began, &mut commands);
        }
        let done = Done::so_far(core).since(before, moved);
        actor.carried_out = done.requests;
        self.look_at_appended(host, shard, tail);
        for conn in gone {
            self.checkers.zombies.told((host, self.hosts[host].node_life, conn), shard, self.now);
        }
        match self.takes_until(host, shard, done) {
            Some(actor) => actor.turn = Some(Turn::Handed { began, commands }),
            None => self.finish_turn(host, shard, began, commands),
        }
    }

    /// Has the core finish the turn.
    fn finish_turn(&mut self, host: usize, shard: ShardId, began: Nanos, mut commands: Vec<Command>) {
        let place = usize::from(shard.0);
        let me = &mut self.hosts[host];
        let (local, wall) = (me.clock.local(self.now), me.wall_ms + self.now / 1_000_000);
        let Some(node) = &mut me.node else { return };
        let Some(core) = &mut node.shards[place].core else { return };
        let before = Done::so_far(core);
        let ends = if lacks(Mutant::StaleClock) { began } else { local };
        let tail = core.engine().tail();
        core.finish_turn(ends, wall, node.page.leases[place], &mut commands);
        let done = Done::so_far(core).since(before, moved_by(&commands));
        self.look_at_appended(host, shard, tail);
        self.look_at_turn(host, shard, done.requests);
        match self.takes_until(host, shard, done) {
            Some(actor) => actor.turn = Some(Turn::Finished { commands }),
            None => self.end_turn(host, shard, commands),
        }
    }

    /// Carries out what the turn came to, and says how the shard stands.
    fn end_turn(&mut self, host: usize, shard: ShardId, commands: Vec<Command>) {
        let (now, place) = (self.now, usize::from(shard.0));
        let me = &mut self.hosts[host];
        let (clock, life) = (me.clock, me.node_life);
        let Some(node) = &mut me.node else { return };
        let Some(core) = &node.shards[place].core else { return };
        node.page.progress[place] = core.progress();
        let due = clock.truth(core.deadline()).min(now + IDLE_TURN).max(now + SOON);
        self.trace.mix(node.page.progress[place].written ^ node.page.progress[place].durable << 32);
        self.look_at(host, shard);
        self.shard_turn_at(host, shard, due);
        for command in commands {
            if self.hosts[host].node_life != life {
                break;
            }
            self.carry_out(host, shard, command);
        }
        if let Some(node) = self.hosts[host].living(life)
            && node.shards[place].has_unread()
        {
            self.wake_shard(host, shard, TURN_SPREAD);
        }
    }

    /// Shows how much a turn carried out, `requests` of it when it was finished, and what clients hold after it.
    fn look_at_turn(&mut self, host: usize, shard: ShardId, requests: u64) {
        let Some(node) = &self.hosts[host].node else { return };
        let carried_out = node.shards[usize::from(shard.0)].carried_out + requests;
        let verdict = turns::verdict(host, shard, carried_out);
        let memory = memory::verdict(host, node, self.now, self.configs[host].memory.all, |connection| {
            self.holder(connection)
        });
        self.judge("turns", verdict);
        self.judge("memory", memory);
    }

    /// Who it is that has this connection, as far as a node's memory goes.
    fn holder(&self, connection: u64) -> Holder {
        let ends = self.network.connections.get(&connection).map(|known| &known.ends);
        let of = |owner: &Owner| match owner {
            Owner::Client { .. } => Some(Holder::Modest),
            Owner::Guest { guest } if self.crowd[*guest].habit == Habit::Strange => Some(Holder::Stranger),
            _ => None,
        };
        ends.and_then(|ends| ends.iter().find_map(|end| of(&end.owner))).unwrap_or(Holder::Guest)
    }

    /// Shows what a leader appended since its log ended at `tail`.
    fn look_at_appended(&mut self, host: usize, shard: ShardId, tail: Lsn) {
        let least = self.scenario.min_in_sync;
        if !self.checkers.zombies.haunt(host) && least < 2 {
            return;
        }
        let Some(node) = &self.hosts[host].node else { return };
        let actor = &node.shards[usize::from(shard.0)];
        let Some(core) = &actor.core else { return };
        let leads = self
            .checkers
            .configurations
            .newest(shard.0)
            .is_some_and(|c| usize::from(c.leader.0) == host && c.leader_incarnation == node.incarnation);
        let len = core.engine().tail().0.saturating_sub(tail.0) as usize;
        if !leads || len == 0 || !core.engine().in_buffer(tail) {
            return;
        }
        let bytes = core.engine().bytes(BufferRange { start: tail, len });
        let in_sync = node.page.updates[usize::from(shard.0)].1.map_or(0, |u| u.configuration.in_sync.len());
        let copies = copies::appended(host, in_sync, usize::from(least), bytes);
        let verdict = self.checkers.zombies.appended(host, shard, actor.began_at, bytes);
        self.judge("zombies", verdict);
        self.judge("copies", copies);
    }

    /// The thread is busy with what it did, and its turn goes on after that; `None`: it was over at once.
    fn takes_until(&mut self, host: usize, shard: ShardId, done: Done) -> Option<&mut Actor> {
        let cost = self.scenario.pace.cost(done);
        if cost == 0 {
            return None;
        }
        let until = self.now + cost;
        let place = usize::from(shard.0);
        self.hosts[host].node.as_mut()?.shards[place].busy_until = until;
        self.shard_turn_at(host, shard, until);
        self.hosts[host].node.as_mut().map(|node| &mut node.shards[place])
    }

    /// Shows the shard's state to the checkers.
    fn look_at(&mut self, host: usize, shard: ShardId) {
        let Some(node) = &self.hosts[host].node else { return };
        let Some(core) = &node.shards[usize::from(shard.0)].core else { return };
        let disk = &self.hosts[host].disks[usize::from(shard.0)].device.memory;
        let verdict = self.checkers.cursors.look(host, shard, core.engine());
        let log = self.checkers.committed_log.look(host, shard, core.engine(), disk);
        self.judge("cursors", verdict);
        let (damaged, any) = (self.checkers.damage.stands(host), self.checkers.damage.any_stands());
        self.judge("committed log", log.or_else(|flaw| flaw.judged(damaged, any)));
    }

    fn carry_out(&mut self, host: usize, shard: ShardId, action: Command) {
        let place = usize::from(shard.0);
        let life = self.hosts[host].node_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        let actor = &mut node.shards[place];
        match action {
            Command::ClientSend { conn, parts } => {
                let bytes = Part::join(&parts);
                if let Some((connection, face)) =
                    actor.conns.get(&conn).map(|served| (served.connection, served.face))
                {
                    if face == Face::Shard && !bytes.starts_with(b"-") {
                        self.note_answer(host, shard, connection);
                    }
                    if !self.is_read(connection) {
                        return;
                    }
                    self.node_sends(connection, bytes);
                }
                self.input(host, shard, Input::ClientSent { conn });
            }
            Command::ClientClose { conn } | Command::ClientReset { conn } => {
                if let Some(Served { connection, .. }) = actor.conns.remove(&conn) {
                    actor.parted_at = self.now;
                    let served = |port: &Owner| matches!(port, Owner::Served { .. });
                    if let Some(side) = self.network.side(connection, served) {
                        self.hang_up(connection, side);
                    }
                }
            }
            Command::ClientPause { conn, paused } => {
                if let Some(served) = actor.conns.get_mut(&conn) {
                    served.pause(paused);
                }
            }
            Command::LinkConnect { link, to } => {
                actor.links.insert(link, Link::default());
                self.call(Caller::Link { host, life, shard, link }, host, usize::from(to.0));
            }
            Command::LinkReceive { link, into } => {
                if let Some(entry) = actor.links.get_mut(&link) {
                    entry.receiver.want(into);
                    self.fill(host, shard, link);
                }
            }
            Command::LinkSend { link, bytes } => self.link_send(host, shard, link, bytes),
            Command::LinkSendLog { link, header, range } => {
                self.link_send_log(host, shard, link, header, range);
            }
            Command::LinkClose { link } => self.link_ends(host, shard, link),
            Command::Disk(op) => self.submit(host, shard, op),
            Command::Read { ticket, spec } => {
                let at = self.hosts[host].disks[place].read_done_at(self.now, &mut self.dice);
                self.at(at, What::Read { host, life, shard, ticket, spec });
            }
            Command::Request(request) => {
                let slot = &mut node.page.requests[place];
                *slot = (slot.0 + 1, Some(request));
                self.ring_warden(host);
            }
            Command::Mail { to, mail } => self.input(host, to, Input::Mail(mail)),
            Command::Stopped => {
                node.stopped += 1;
                if node.stopped == node.shards.len() {
                    self.kill_node(host, "it stopped in order");
                }
            }
            Command::Control { ticket, job } => {
                // The administrators' jobs end with what they ask of others.
                if job.queue() != Queue::Quick {
                    let takes = self.dice.magnitude(JOB.0, JOB.1);
                    self.later(takes, What::Job { host, life, shard, ticket, job });
                }
            }
            Command::StopNode | Command::Warn { .. } => {}
            Command::Fail { failure } => {
                self.say(host, format_args!("shard {} fails: {failure}", shard.0));
                // Anything else would be a bug of our own.
                if !failure.is_of_disk() {
                    self.violated("failure", format!("host {host} shard {}: {failure}", shard.0));
                }
                self.kill_node(host, "its shard failed");
            }
        }
    }

    /// A control thread does a job.
    pub fn job_done(&mut self, host: usize, life: u64, shard: ShardId, ticket: u64, job: Job) {
        if self.hosts[host].living(life).is_none() {
            return;
        }
        let dice = &mut self.dice;
        let mut salt = || (u128::from(dice.bits()) << 64 | u128::from(dice.bits())).to_le_bytes();
        let done = job.compute(&self.configs[host].settings, &mut salt);
        self.input(host, shard, Input::ControlDone { ticket, done: Box::new(done) });
    }

    /// A client is told something other than an error.
    fn note_answer(&mut self, host: usize, shard: ShardId, connection: u64) {
        let of_client = |port: &Owner| match port {
            // Who logs in is answered by anybody, also after it gave up.
            Owner::Client { client } => {
                *client >= self.scenario.stale_clients && self.clients[*client].used.contains(&connection)
            }
            _ => false,
        };
        if self.network.side(connection, of_client).is_none() {
            return;
        }
        let Some(node) = &self.hosts[host].node else { return };
        let Some(core) = &node.shards[usize::from(shard.0)].core else { return };
        let verdict = self.checkers.answers.given(host, node.incarnation, shard, core.engine());
        self.judge("answers", verdict);
    }

    fn node_sends(&mut self, connection: u64, bytes: Vec<u8>) {
        if let Some(side) = self.network.side(connection, |port| matches!(port, Owner::Served { .. })) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }
}
