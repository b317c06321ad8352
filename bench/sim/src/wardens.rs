//! Drives the wardens' cores as the warden's shell does: one event at a time, commands in order.

use crate::checkers::promotions;
use crate::fault::Trap;
use crate::host::{NodeProcess, Warden};
use crate::mutants::{Mutant, lacks};
use crate::network::{Owner, Packet};
use crate::world::{What, World};
use agency::configuration::{Configuration, Why};
use agency::events::{Command, Event};
use agency::ids::{Incarnation, MAX_MEMBERS, Nanos, NodeId};
use agency::message::Message;
use agency::overseer::{Overseer, OverseerOptions};
use node::events::Lease;
use std::collections::VecDeque;
use std::sync::Arc;

const STORE_LEAST: u64 = 30_000;
const STORE_SPREAD: u64 = 120_000;
/// A link this long without a message is closed, counted in own ticks.
const SILENT: u64 = 500_000_000;
/// What a kill takes until the process no longer runs.
const KILL_LEAST: u64 = 20_000;
const KILL_SPREAD: u64 = 300_000;
/// What a process takes to start and to read its disk.
const RECOVERY: (u64, u64) = (1_000_000, 60_000_000);
/// Where the agency's messages suffer: one in this many is lost, one comes again, up to this much later.
const NOISE_ONE_IN: u64 = 6;
const NOISE_MOST: u64 = 400_000_000;

impl World {
    pub fn start_warden(&mut self, host: usize) {
        let now = self.now;
        let drift = self.scenario.drift(&mut self.dice);
        let me = &mut self.hosts[host];
        if me.warden.is_some() {
            return;
        }
        if !me.up {
            me.up = true;
            me.clock = crate::clock::Clock::new(now, 1_000_000 + self.dice.below(2_000_000_000), drift);
        }
        me.warden_life += 1;
        let life = me.warden_life;
        let local = me.clock.local(now);
        let config = &self.configs[host];
        let options = OverseerOptions {
            me: NodeId(host as u8),
            data_nodes: config.data_nodes(),
            agents: config.agents(),
            shards: config.shards,
            timing: self.scenario.timing,
            witness: host >= self.scenario.data_nodes,
            initial_leaders: config.initial_leaders(),
            prefer_leader: None,
            warden_pid: 1,
            group: config.group.0,
            disk_id: if host < self.scenario.data_nodes { me.disk_id } else { 0 },
        };
        let overseer = match Overseer::new(options, me.image.as_deref(), local) {
            Ok(overseer) => overseer,
            Err(error) => {
                return self.violated("store", format!("warden {host} cannot read its store: {error}"));
            }
        };
        me.warden = Some(Warden {
            overseer,
            inbox: VecDeque::new(),
            storing: VecDeque::new(),
            store_idle_at: 0,
            turn_at: u64::MAX,
            tick_at: now,
            paused_until: 0,
            links: [None; MAX_MEMBERS],
            silent: [0; MAX_MEMBERS],
            last_tick: now,
        });
        self.say(host, format_args!("warden starts"));
        self.wake_warden(host, now);
        for peer in 0..host {
            self.later(0, What::Dial { host, life, peer: NodeId(peer as u8) });
        }
        if host < self.scenario.data_nodes {
            self.later(1_000_000, What::Respawn { host, life });
        }
    }

    pub fn warden_hears(&mut self, host: usize, peer: NodeId, message: Message) {
        if let Some(warden) = &mut self.hosts[host].warden {
            warden.silent[usize::from(peer.0)] = 0;
        }
        self.tell_warden(host, Event::Message(peer, message));
    }

    pub fn warden_link_up(&mut self, host: usize, peer: NodeId, connection: u64) {
        if let Some(warden) = &mut self.hosts[host].warden {
            warden.links[usize::from(peer.0)] = Some(connection);
            warden.silent[usize::from(peer.0)] = 0;
            self.tell_warden(host, Event::LinkUp(peer));
        }
    }

    pub fn warden_link_down(&mut self, host: usize, peer: NodeId, connection: u64) {
        let life = self.hosts[host].warden_life;
        if let Some(warden) = &mut self.hosts[host].warden
            && warden.links[usize::from(peer.0)] == Some(connection)
        {
            warden.links[usize::from(peer.0)] = None;
            self.tell_warden(host, Event::LinkDown(peer));
            if usize::from(peer.0) < host {
                self.later(5_000_000, What::Dial { host, life, peer });
            }
        }
    }

    pub fn warden_turn(&mut self, host: usize, life: u64) {
        let now = self.now;
        let host_stands = self.hosts[host].clock.stands_until();
        let Some(warden) = self.hosts[host].watching(life) else { return };
        if warden.turn_at != now {
            return;
        }
        warden.turn_at = u64::MAX;
        let paused = warden.paused_until.max(host_stands);
        if paused > now {
            return self.wake_warden(host, paused);
        }
        if now >= warden.tick_at {
            self.warden_tick(host);
        }
        while let Some(event) = self.hosts[host].watching(life).and_then(|warden| warden.inbox.pop_front()) {
            self.warden_handle(host, event);
        }
        let tick = self.scenario.timing.tick.as_nanos() as u64;
        let me = &mut self.hosts[host];
        let clock = me.clock;
        let Some(warden) = &mut me.warden else { return };
        let due = clock.truth(warden.overseer.deadline()).min(now + tick).max(now + 1_000);
        warden.tick_at = due;
        self.wake_warden(host, due);
    }

    fn warden_tick(&mut self, host: usize) {
        let now = self.now;
        if let Some(node) = &self.hosts[host].node {
            let progress = node.looked_at(now);
            self.warden_handle(host, Event::Progress(progress));
        }
        self.take_requests(host);
        self.warden_handle(host, Event::Tick);
        let tick = self.scenario.timing.tick.as_nanos() as u64;
        let Some(warden) = &mut self.hosts[host].warden else { return };
        let passed = (now - warden.last_tick).min(tick);
        warden.last_tick = now;
        let mut silent = Vec::new();
        for peer in 0..MAX_MEMBERS {
            warden.silent[peer] += passed;
            if warden.links[peer].is_some() && warden.silent[peer] >= SILENT {
                silent.extend(warden.links[peer].map(|connection| (NodeId(peer as u8), connection)));
            }
        }
        for (peer, connection) in silent {
            let own = |port: &Owner| matches!(port, Owner::Warden { host: of, .. } if *of == host);
            if let Some(side) = self.network.side(connection, own)
                && self.network.connections[&connection].ends[side].open
            {
                self.hang_up(connection, side);
                self.warden_link_down(host, peer, connection);
            }
        }
    }

    /// Requests that the node's shards wrote into the page.
    fn take_requests(&mut self, host: usize) {
        let Some(node) = &mut self.hosts[host].node else { return };
        let mut taken = Vec::new();
        for (shard, actor) in node.shards.iter_mut().enumerate() {
            let (version, request) = node.page.requests[shard];
            if version != actor.seen_request {
                actor.seen_request = version;
                taken.extend(request.map(|request| (agency::ids::ShardId(shard as u16), request)));
            }
        }
        for (shard, request) in taken {
            self.say(host, format_args!("shard {} asks for {:?}", shard.0, request.change));
            self.warden_handle(host, Event::Request(shard, request));
        }
    }

    fn warden_handle(&mut self, host: usize, event: Event) {
        let now = self.now;
        let me = &mut self.hosts[host];
        let (local, wall) = (me.clock.local(now), me.wall_ms + now / 1_000_000);
        let Some(warden) = &mut me.warden else { return };
        let mut commands = Vec::new();
        warden.overseer.handle(local, wall, event, &mut commands);
        if warden.overseer.view_changed()
            && let Some(node) = &mut me.node
        {
            node.page.view = (node.page.view.0 + 1, Arc::new(warden.overseer.view()));
            for shard in 0..self.scenario.shards {
                self.wake_shard(host, engine::ids::ShardId(shard), 20_000);
            }
        }
        for command in commands {
            self.command(host, command);
        }
    }

    fn command(&mut self, host: usize, command: Command) {
        match command {
            Command::Send(to, message) => {
                if self.trace.prints(self.now)
                    && !matches!(message, Message::Heartbeat { .. } | Message::Granted { .. })
                {
                    self.say(host, format_args!("to {}: {message:?}", to.0));
                }
                let Some(warden) = &self.hosts[host].warden else { return };
                let Some(connection) = warden.links[usize::from(to.0)] else { return };
                let own = |port: &Owner| matches!(port, Owner::Warden { host: of, .. } if *of == host);
                if let Some(side) = self.network.side(connection, own) {
                    self.warden_sends(connection, side, message);
                }
            }
            Command::Store { ticket, image } => {
                let takes = STORE_LEAST + self.dice.below(STORE_SPREAD);
                let Some(warden) = &mut self.hosts[host].warden else { return };
                warden.storing.push_back((ticket, image));
                if lacks(Mutant::StoreLies) {
                    warden.inbox.push_back(Event::Stored(ticket));
                }
                warden.store_idle_at = warden.store_idle_at.max(self.now) + takes;
                let (at, life) = (warden.store_idle_at, self.hosts[host].warden_life);
                self.at(at, What::Stored { host, life });
                self.spring(Trap::Vote, host);
            }
            Command::Publish(shard, update) => {
                let c = update.configuration;
                self.trace.mix(c.version.0 << 8 | u64::from(c.leader.0));
                self.note_configuration(shard, &c);
                if let Some(node) = &mut self.hosts[host].node {
                    let slot = &mut node.page.updates[usize::from(shard.0)];
                    *slot = (slot.0 + 1, Some(update));
                    self.wake_shard(host, engine::ids::ShardId(shard.0), 20_000);
                }
            }
            Command::Lease { shard, epoch, until } => {
                if let Some(node) = &mut self.hosts[host].node {
                    node.page.leases[usize::from(shard.0)] = Lease { epoch, until };
                    if until == Nanos(0) {
                        self.wake_shard(host, engine::ids::ShardId(shard.0), 20_000);
                    }
                }
            }
            Command::KillNode(incarnation) => {
                let takes = KILL_LEAST + self.dice.below(KILL_SPREAD);
                self.later(takes, What::Kill { host, incarnation });
            }
            Command::Log(line) => self.say(host, format_args!("warden: {line}")),
        }
    }

    /// Sends a message to a peer's warden. Where the agency's messages suffer, votes and answers are lost, or
    /// come once more after others: a proposer must not depend on more than that some arrive some time.
    fn warden_sends(&mut self, connection: u64, side: usize, message: Message) {
        let vote = !matches!(message, Message::Hello { .. } | Message::Heartbeat { .. });
        if vote && self.now < self.nemesis.noise_until && !self.nemesis.over {
            if self.dice.one_in(NOISE_ONE_IN) {
                return;
            }
            if self.dice.one_in(NOISE_ONE_IN) {
                let again = self.now + self.dice.magnitude(10_000, NOISE_MOST);
                let packet = Packet::Message(Box::new(message.clone()));
                self.at(again, What::Arrive { connection, side: 1 - side, packet });
            }
        }
        self.transmit(connection, side, Packet::Message(Box::new(message)));
    }

    /// A warden told its node that this is decided.
    fn note_configuration(&mut self, shard: agency::ids::ShardId, c: &Configuration) {
        let before = self.checkers.configurations.newest(shard.0).copied();
        let verdict = self.checkers.configurations.published(shard, c);
        self.judge("configurations", verdict);
        let verdict = self.checkers.epochs.published(shard, c);
        self.judge("epochs", verdict);
        let promoted = self.checkers.configurations.successor_of(shard.0, c);
        if let Some((old, new)) = promoted {
            self.judge("promotions", promotions::verdict(&old, &new));
        }
        if before.is_none_or(|before| before.version < c.version) {
            let verdict = self.checkers.steady.changed(shard.0, c);
            self.judge("steady", verdict);
            self.checkers.damage.decided(engine::ids::ShardId(shard.0), c);
            if before.is_some_and(|before| before.epoch < c.epoch) {
                self.spring(Trap::Promotion, usize::from(c.leader.0));
            }
            match c.why {
                Why::Admitted => self.spring(Trap::Admission, usize::from(c.leader.0)),
                Why::Evicted => self.spring(Trap::Eviction, usize::from(c.leader.0)),
                _ => {}
            }
        }
    }

    pub fn stored(&mut self, host: usize, life: u64) {
        let Some(warden) = self.hosts[host].watching(life) else { return };
        let Some((ticket, image)) = warden.storing.pop_front() else { return };
        self.hosts[host].image = Some(image);
        self.tell_warden(host, Event::Stored(ticket));
    }

    pub fn notice(&mut self, host: usize, life: u64, incarnation: Incarnation) {
        if self.hosts[host].warden_life == life && self.hosts[host].warden.is_some() {
            self.say(host, format_args!("death notice of incarnation {}", incarnation.0));
            self.tell_warden(host, Event::NodeDied(incarnation));
        }
    }

    /// The warden's process ends, and its node with it; nobody is told but by the closing of the links.
    pub fn kill_warden(&mut self, host: usize, why: &str) {
        if self.hosts[host].warden.is_none() {
            return;
        }
        self.say(host, format_args!("warden dies: {why}"));
        let me = &mut self.hosts[host];
        let Some(mut warden) = me.warden.take() else { return };
        me.warden_life += 1;
        // Any number of the images on their way is stored, in order.
        let kept = self.dice.below(warden.storing.len() as u64 + 1) as usize;
        if let Some((_, image)) = warden.storing.drain(..kept).next_back() {
            me.image = Some(image);
        }
        let powered = me.up;
        for connection in warden.links.into_iter().flatten() {
            let own = |port: &Owner| matches!(port, Owner::Warden { host: of, .. } if *of == host);
            if let Some(side) = self.network.side(connection, own)
                && powered
            {
                let takes = 50_000 + self.dice.below(500_000);
                self.later(takes, What::Break { connection, side });
            }
        }
        self.kill_node(host, "its warden died");
    }

    /// The warden starts its node's next incarnation.
    pub fn respawn(&mut self, host: usize, life: u64) {
        let me = &mut self.hosts[host];
        if me.warden_life != life || me.warden.is_none() || me.node.is_some() || self.stopping {
            return;
        }
        if !lacks(Mutant::SameIncarnation) || me.incarnation == 0 {
            me.incarnation = (me.incarnation + 1).max(me.wall_ms + self.now / 1_000_000);
        }
        me.node_life += 1;
        let incarnation = Incarnation(me.incarnation);
        let (node_life, disk_id) = (me.node_life, me.disk_id);
        let mut node = NodeProcess::new(incarnation, usize::from(self.scenario.shards));
        if let Some(warden) = &me.warden {
            node.page.view = (1, Arc::new(warden.overseer.view()));
        }
        me.node = Some(node);
        self.say(host, format_args!("node starts as incarnation {}", incarnation.0));
        self.tell_warden(host, Event::NodeStarted { incarnation, pid: 1, disk_id });
        let takes = self.dice.magnitude(RECOVERY.0, RECOVERY.1);
        self.later(takes, What::Recovered { host, life: node_life });
    }
}
