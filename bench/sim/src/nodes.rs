//! Drives the nodes' cores as the shard loop does: a turn gathers what arrived, then its actions are carried
//! out.

use crate::checkers::rewinds;
use crate::host::{Input, Link};
use crate::mutants::Mutant;
use crate::nemesis::Trap;
use crate::network::{Packet, Port};
use crate::world::{Caller, What, World};
use agency::ids::Nanos;
use engine::disk::{DiskCommand, DiskWork, ReadSpec};
use engine::error::RecoverError;
use engine::ids::ShardId;
use engine::log::BufferRange;
use engine::memory::MirrorBuffer;
use engine::recover::recover;
use engine::shard::ShardOptions;
use node::node::{Node, NodeOptions};
use node::replication::message;
use node::seam::{Action, Event, Face, Landing, LinkId};

/// The longest time between two turns of an idle shard.
const IDLE_TURN: u64 = 5_000_000;
/// The shortest time between two turns.
const TURN_LEAST: u64 = 1_000;
const TURN_SPREAD: u64 = 12_000;
/// A turn that the core wants at once comes after this.
const SOON: u64 = 30_000;
/// How long after its death a process's sockets are torn down.
const TEAR_DOWN: (u64, u64) = (3_000_000, 12_000_000);
/// How long the death notice takes.
const NOTICE: (u64, u64) = (50_000, 150_000);
/// A member that lost acknowledged writes leaves the in-sync set within this, in an otherwise calm world.
const NOTICED_WITHIN: u64 = 5_000_000_000;
/// A node whose disk lost a write dies within this: when its leader has counted that write.
const HARM_SHOWS: u64 = 300_000;
/// The kernel needs sent bytes for up to this long.
const RELEASE: u64 = 200_000;

impl World {
    /// The shard's thread runs within `delay`.
    pub(super) fn wake_shard(&mut self, host: usize, shard: ShardId, delay: u64) {
        let at = self.now + TURN_LEAST + self.dice.below(delay);
        self.shard_turn_at(host, shard, at);
    }

    fn shard_turn_at(&mut self, host: usize, shard: ShardId, at: u64) {
        let life = self.hosts[host].node_life;
        if let Some(node) = &mut self.hosts[host].node {
            let actor = &mut node.shards[usize::from(shard.0)];
            if actor.core.is_some() && at < actor.turn_at {
                actor.turn_at = at;
                self.at(at, What::ShardTurn { host, life, shard });
            }
        }
    }

    /// Hands an event to a shard at its next turn.
    pub(super) fn input(&mut self, host: usize, shard: ShardId, input: Input) {
        let Some(node) = &mut self.hosts[host].node else { return };
        node.shards[usize::from(shard.0)].inbox.push_back(input);
        self.wake_shard(host, shard, TURN_SPREAD);
    }

    pub(super) fn recovered(&mut self, host: usize, life: u64) {
        let config = self.configs[host].clone();
        let Some(node) = self.hosts[host].living(life) else { return };
        let incarnation = node.incarnation;
        let mut cores = Vec::new();
        for shard in (0..config.shards).map(ShardId) {
            let options = ShardOptions {
                segment_bytes: config.segment_bytes,
                max_value_bytes: config.max_value_bytes,
                cache_bytes: config.cache_bytes as usize,
                ..ShardOptions::new(config.group, shard)
            };
            let Ok(buffer) = MirrorBuffer::new(config.log_buffer_bytes as usize) else {
                return self.violated("memory", "no memory for a log buffer".into());
            };
            let disk = &self.hosts[host].disks[usize::from(shard.0)];
            let readable = disk.read_errors_ppm == 0;
            let core = match recover(&options, buffer, &disk.open(&mut self.dice)) {
                Ok(core) => core,
                Err(RecoverError::Read { .. }) if !readable => {
                    return self.kill_node(host, "it cannot read its log");
                }
                Err(error) => {
                    return self.violated("recovery", format!("host {host} shard {}: {error}", shard.0));
                }
            };
            self.say(
                host,
                format_args!(
                    "shard {} recovered: epoch {} end {} committed {} damaged {}",
                    shard.0,
                    core.last_epoch().0,
                    core.tail().0,
                    core.committed().0,
                    core.damaged()
                ),
            );
            let options = NodeOptions {
                me: agency::ids::NodeId(host as u8),
                shard,
                settings: std::sync::Arc::clone(&config.settings),
                incarnation,
                pid: 1,
                started_ms: self.now / 1_000_000,
                secret: [0; 32],
            };
            self.checkers.forget_node(host, shard);
            self.note_loss(host, shard, core.tail().0);
            if core.damaged() {
                self.checkers.damage.found(host);
            }
            cores.push(Box::new(Node::new(options, core)));
        }
        let Some(node) = self.hosts[host].living(life) else { return };
        for (actor, core) in node.shards.iter_mut().zip(cores) {
            actor.core = Some(core);
        }
        for shard in (0..config.shards).map(ShardId) {
            self.wake_shard(host, shard, TURN_SPREAD);
        }
        self.spring(Trap::Recovery, host);
    }

    /// A host with hidden damage is back: either it lacks something after all, then its leader must notice
    /// (rule 8), or there is nothing to notice.
    fn note_loss(&mut self, host: usize, shard: ShardId, tail: u64) {
        if !self.checkers.damage.hides(host) {
            return;
        }
        if tail >= self.checkers.committed_log.shards[usize::from(shard.0)].end() {
            self.checkers.damage.close(host, shard);
        } else {
            self.say(host, format_args!("shard {} lacks acknowledged writes", shard.0));
            let times = self.checkers.damage.times(host);
            self.later(NOTICED_WITHIN, What::Overdue { host, shard, times });
        }
    }

    pub(super) fn overdue(&mut self, host: usize, shard: ShardId, times: u64) {
        if self.checkers.damage.times(host) != times {
            return;
        }
        if !self.calm() && !self.nemesis.over {
            return self.later(NOTICED_WITHIN, What::Overdue { host, shard, times });
        }
        if self.checkers.damage.hides(host) && self.checkers.damage.trusted(host, shard) {
            let what = format!("host {host} lost acknowledged writes of shard {} and stays in sync", shard.0);
            self.violated("short logs", what);
        }
    }

    pub(super) fn shard_turn(&mut self, host: usize, life: u64, shard: ShardId) {
        let now = self.now;
        let place = usize::from(shard.0);
        let me = &mut self.hosts[host];
        let (clock, wall) = (me.clock, me.wall_ms + now / 1_000_000);
        let local = clock.local(now);
        let Some(node) = me.living(life) else { return };
        let paused = node.paused_until;
        let actor = &mut node.shards[place];
        if actor.turn_at != now {
            return;
        }
        actor.turn_at = u64::MAX;
        if paused > now {
            // It may be stopped right after it has looked at the clock.
            if actor.turn_began.is_none() && self.dice.one_in(2) {
                actor.turn_began = Some(local);
            }
            return self.shard_turn_at(host, shard, paused);
        }
        let Some(core) = &mut actor.core else { return };
        let mut actions = Vec::new();
        let began = actor.turn_began.take().unwrap_or(local);
        let (version, update) = node.page.updates[place];
        if version != actor.seen_update {
            actor.seen_update = version;
            if let Some(update) = update {
                core.handle(began, Event::Update(update), &mut actions);
            }
        }
        if node.page.view.0 != actor.seen_view {
            actor.seen_view = node.page.view.0;
            core.handle(began, Event::View(node.page.view.1.clone()), &mut actions);
        }
        for input in actor.inbox.drain(..) {
            deliver(core, began, input, &mut actions);
        }
        let ends = if self.scenario.mutant == Some(Mutant::StaleClock) { began } else { local };
        let lease = node.page.leases[place];
        core.finish_turn(ends, wall, lease, &mut actions);
        node.page.progress[place] = core.progress();
        let due = clock.truth(core.deadline()).min(now + IDLE_TURN).max(now + SOON);
        self.trace.mix(node.page.progress[place].written ^ node.page.progress[place].durable << 32);
        self.look_at(host, shard);
        self.shard_turn_at(host, shard, due);
        for action in actions {
            if self.hosts[host].node_life != life {
                break;
            }
            self.carry_out(host, shard, action);
        }
    }

    /// Shows the shard's state to the checkers.
    fn look_at(&mut self, host: usize, shard: ShardId) {
        let Some(node) = &self.hosts[host].node else { return };
        let Some(core) = &node.shards[usize::from(shard.0)].core else { return };
        let disk = &self.hosts[host].disks[usize::from(shard.0)].memory;
        let verdict = self.checkers.cursors.look(host, shard, core.engine());
        let log = self.checkers.committed_log.look(host, shard, core.engine(), disk);
        self.judge("cursors", verdict);
        let (damaged, any) = (self.checkers.damage.stands(host), self.checkers.damage.any_stands());
        self.judge("committed log", log.or_else(|fault| fault.judged(damaged, any)));
    }

    fn carry_out(&mut self, host: usize, shard: ShardId, action: Action) {
        let place = usize::from(shard.0);
        let life = self.hosts[host].node_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        let actor = &mut node.shards[place];
        match action {
            Action::ClientSend { conn, bytes } => {
                if let Some((connection, face)) = actor.conns.get(&conn).copied() {
                    if face == Face::Shard && !bytes.starts_with(b"-") {
                        self.note_answer(host, shard, connection);
                    }
                    self.node_sends(connection, bytes);
                }
                self.input(host, shard, Input::ClientSent { conn });
            }
            Action::ClientClose { conn } | Action::ClientReset { conn } => {
                if let Some((connection, _)) = actor.conns.remove(&conn) {
                    let served = |port: &Port| matches!(port, Port::Served { .. });
                    if let Some(side) = self.network.side(connection, served) {
                        self.hang_up(connection, side);
                    }
                }
            }
            Action::ClientPause { .. } => {}
            Action::LinkConnect { link, to } => {
                actor.links.insert(link, Link::default());
                self.call(Caller::Link { host, life, shard, link }, host, usize::from(to.0));
            }
            Action::LinkReceive { link, into } => {
                if let Some(entry) = actor.links.get_mut(&link) {
                    entry.wanted = Some(into);
                    entry.landed = 0;
                    self.fill(host, shard, link);
                }
            }
            Action::LinkSend { link, bytes } => self.link_send(host, shard, link, bytes),
            Action::LinkSendLog { link, mut header, range } => {
                let Some(core) = &actor.core else { return };
                let bytes = core.engine().bytes(range);
                let crc = crc32fast::hash(bytes);
                header.extend_from_slice(bytes);
                let at = self.now + 1 + self.dice.below(RELEASE);
                if let Some(entry) = actor.links.get_mut(&link) {
                    entry.released_at = entry.released_at.max(at);
                }
                self.at(at, What::SentLog { host, life, shard, link, range, crc });
                self.link_send(host, shard, link, header);
            }
            Action::LinkClose { link } => self.link_ends(host, shard, link),
            Action::Disk(op) => self.submit(host, shard, op),
            Action::Read { ticket, spec } => {
                let at = self.hosts[host].disks[place].read_done_at(self.now, &mut self.dice);
                self.at(at, What::Read { host, life, shard, ticket, spec });
            }
            Action::Request(request) => {
                let slot = &mut node.page.requests[place];
                *slot = (slot.0 + 1, Some(request));
                self.ring_warden(host);
            }
            Action::Mail { to, mail } => self.input(host, to, Input::Mail(mail)),
            Action::Stopped => {
                node.stopped += 1;
                if node.stopped == node.shards.len() {
                    self.kill_node(host, "it stopped in order");
                }
            }
            Action::StopNode | Action::Control { .. } | Action::Warn { .. } => {}
            Action::Fail { reason } => {
                self.checkers.failures += 1;
                self.say(host, format_args!("shard {} fails: {reason}", shard.0));
                let allowed = reason.starts_with("the disk failed") || self.scenario.expects_failure(&reason);
                if !allowed {
                    self.violated("failure", format!("host {host} shard {}: {reason}", shard.0));
                }
                self.kill_node(host, "its shard failed");
            }
        }
    }

    /// A client is told something other than an error.
    fn note_answer(&mut self, host: usize, shard: ShardId, connection: u64) {
        let of_client = |port: &Port| match port {
            Port::Client { client } => *client >= self.scenario.stale_clients,
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
        if let Some(side) = self.network.side(connection, |port| matches!(port, Port::Served { .. })) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    fn link_send(&mut self, host: usize, shard: ShardId, link: LinkId, mut bytes: Vec<u8>) {
        if let Some(mutant) = self.scenario.mutant {
            mutant.distort(&mut bytes, message::group_mark(self.configs[host].group));
        }
        if let Some((connection, side)) = self.link_side(host, shard, link) {
            self.transmit(connection, side, Packet::Bytes(bytes));
        }
    }

    fn link_side(&self, host: usize, shard: ShardId, link: LinkId) -> Option<(u64, usize)> {
        let entry = self.hosts[host].node.as_ref()?.shards[usize::from(shard.0)].links.get(&link)?;
        let connection = entry.connection.filter(|_| !entry.closing)?;
        let own = |port: &Port| matches!(port, Port::Link { host: h, shard: s, link: l, .. } if (*h, *s, *l) == (host, shard, link));
        Some((connection, self.network.side(connection, own)?))
    }

    /// The link is over, whoever ended it: pending sends are released, then the core hears of it.
    pub(super) fn link_ends(&mut self, host: usize, shard: ShardId, link: LinkId) {
        if let Some((connection, side)) = self.link_side(host, shard, link) {
            self.hang_up(connection, side);
        }
        let life = self.hosts[host].node_life;
        let Some(node) = &mut self.hosts[host].node else { return };
        let Some(entry) = node.shards[usize::from(shard.0)].links.get_mut(&link) else { return };
        if !entry.closing {
            entry.closing = true;
            let at = entry.released_at.max(self.now) + 1 + self.dice.below(100_000);
            self.at(at, What::LinkGone { host, life, shard, link });
        }
    }

    pub(super) fn link_gone(&mut self, host: usize, life: u64, shard: ShardId, link: LinkId) {
        let Some(node) = self.hosts[host].living(life) else { return };
        if node.shards[usize::from(shard.0)].links.remove(&link).is_some() {
            self.input(host, shard, Input::LinkClosed { link });
        }
    }

    pub(super) fn sent_log(
        &mut self,
        host: usize,
        life: u64,
        shard: ShardId,
        link: LinkId,
        range: BufferRange,
        crc: u32,
    ) {
        let Some(node) = self.hosts[host].living(life) else { return };
        let actor = &node.shards[usize::from(shard.0)];
        let Some(core) = &actor.core else { return };
        // Nobody takes in what a closing connection still carries.
        let matters = actor.links.get(&link).is_some_and(|entry| !entry.closing);
        if matters && crc32fast::hash(core.engine().bytes(range)) != crc {
            let what = format!("host {host}: bytes at LSN {} changed while they were sent", range.start.0);
            return self.violated("buffers", what);
        }
        self.input(host, shard, Input::LinkSentLog { link, range });
    }

    pub(super) fn link_bytes(&mut self, host: usize, shard: ShardId, link: LinkId, bytes: Vec<u8>) {
        let Some(node) = &mut self.hosts[host].node else { return };
        let Some(entry) = node.shards[usize::from(shard.0)].links.get_mut(&link) else { return };
        entry.inbox.extend(bytes);
        self.fill(host, shard, link);
    }

    /// Moves what has arrived to where it is wanted, as the kernel does: also while the process stands still.
    fn fill(&mut self, host: usize, shard: ShardId, link: LinkId) {
        let Some(node) = &mut self.hosts[host].node else { return };
        let actor = &mut node.shards[usize::from(shard.0)];
        let Some(entry) = actor.links.get_mut(&link) else { return };
        match entry.wanted {
            Some(Landing::Memory(len)) if entry.inbox.len() >= len && !entry.closing => {
                entry.wanted = None;
                let bytes: Vec<u8> = entry.inbox.drain(..len).collect();
                self.input(host, shard, Input::LinkBytes { link, bytes });
            }
            Some(Landing::Log(range)) => {
                let take = entry.inbox.len().min(range.len - entry.landed);
                let bytes: Vec<u8> = entry.inbox.drain(..take).collect();
                if let (Some(core), true) = (&mut actor.core, take > 0) {
                    let start = range.start.advance(entry.landed as u64);
                    core.fill_landing(BufferRange { start, len: take }, &bytes);
                }
                entry.landed += take;
                if entry.landed == range.len && !entry.closing {
                    entry.wanted = None;
                    self.input(host, shard, Input::LinkLanded { link });
                }
            }
            _ => {}
        }
    }

    fn submit(&mut self, host: usize, shard: ShardId, op: DiskCommand) {
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
                rewinds::verdict(&disk.memory, *segment, *offset, reached)
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

    pub(super) fn disk_done(&mut self, host: usize, life: u64, shard: ShardId, flight: u64) {
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

    pub(super) fn read_done(&mut self, host: usize, life: u64, shard: ShardId, ticket: u64, spec: ReadSpec) {
        if self.hosts[host].node_life != life || self.hosts[host].node.is_none() {
            return;
        }
        let bytes = self.hosts[host].disks[usize::from(shard.0)].read(spec, &mut self.dice);
        self.input(host, shard, Input::ReadDone { ticket, bytes });
    }

    /// The node's process is gone: what was in memory is lost, what was on its way to the disk may be.
    pub(super) fn kill_node(&mut self, host: usize, why: &str) {
        let life = self.hosts[host].node_life;
        let Some(node) = self.hosts[host].node.take() else { return };
        self.say(host, format_args!("node incarnation {} ends: {why}", node.incarnation.0));
        let me = &mut self.hosts[host];
        me.node_life += 1;
        let powered = me.up;
        for disk in &mut me.disks {
            disk.abandon(&mut self.dice);
            // Whatever hung was a matter of that process's requests.
            disk.stalled_until = disk.stalled_until.min(self.now + 1_000_000_000);
            disk.harm = None;
        }
        if powered {
            let torn = self.now + self.dice.between(TEAR_DOWN.0, TEAR_DOWN.1);
            let of_node = |port: &Port| match port {
                Port::Guest { host: h, life: l, .. }
                | Port::Link { host: h, life: l, .. }
                | Port::Served { host: h, life: l, .. } => (*h, *l) == (host, life),
                _ => false,
            };
            for (connection, side) in self.network.ends_where(of_node) {
                self.at(torn, What::Break { connection, side });
            }
        }
        if self.hosts[host].warden.is_some() {
            let incarnation = node.incarnation;
            let life = self.hosts[host].warden_life;
            let (notice, again) = self.scenario.notice_delay(&mut self.dice);
            let takes = self.dice.between(NOTICE.0, NOTICE.1) + notice;
            self.later(takes, What::Notice { host, life, incarnation });
            if let Some(again) = again {
                self.later(takes + again, What::Notice { host, life, incarnation });
            }
            let respawn = self.dice.magnitude(self.scenario.respawn.0, self.scenario.respawn.1);
            self.later(takes.max(TEAR_DOWN.1) + respawn, What::Respawn { host, life });
        }
    }
}

fn deliver(core: &mut Node, now: Nanos, input: Input, out: &mut Vec<Action>) {
    let event = match &input {
        Input::ClientOpened { conn, face, port } => Event::ClientOpened {
            conn: *conn,
            face: *face,
            peer: "10.9.9.9:9".into(),
            local: format!("10.0.0.1:{port}"),
        },
        Input::ClientBytes { conn, bytes } => Event::ClientBytes { conn: *conn, bytes },
        Input::ClientSent { conn } => Event::ClientSent { conn: *conn },
        Input::ClientClosed { conn } => Event::ClientClosed { conn: *conn },
        Input::LinkAccepted { link, header } => Event::LinkAccepted { link: *link, header },
        Input::LinkConnected { link } => Event::LinkConnected { link: *link },
        Input::LinkBytes { link, bytes } => Event::LinkBytes { link: *link, bytes },
        Input::LinkLanded { link } => Event::LinkLanded { link: *link },
        Input::LinkSentLog { link, range } => Event::LinkSentLog { link: *link, range: *range },
        Input::LinkClosed { link } => Event::LinkClosed { link: *link },
        Input::Disk(done) => Event::Disk(done.clone()),
        Input::ReadDone { ticket, bytes } => Event::ReadDone { ticket: *ticket, bytes: bytes.as_deref() },
        Input::Handoff(to) => Event::HandoffWanted(*to),
        Input::Stop => Event::StopWanted,
        Input::Mail(_) => {
            let Input::Mail(mail) = input else { return };
            return core.handle(now, Event::Mail(mail), out);
        }
    };
    core.handle(now, event, out);
}

/// Which door a client uses.
pub fn face(any_key: bool) -> Face {
    if any_key { Face::AnyKey } else { Face::Shard }
}
