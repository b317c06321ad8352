//! One turn of a shard thread: what completed becomes events, what the core wants becomes operations.

use super::core::Core;
use super::{Door, EXIT_FAILED, Later, Op, ShardLoop, TURN_BYTES, TURN_COMPLETIONS, TURN_PARCELS, sockets};
use crate::notices::About;
use crate::post::Parcel;
use agency::ids::NodeId;
use agency::shard::Health;
use engine::io::ring::{Completion, Lent};
use node::events::{Command, Event, Lease, LinkId};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

/// Marks the `LinkId`s given out here; the core counts its own from 1.
const ACCEPTED: u64 = 1 << 63;

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl<C: Core> ShardLoop<C> {
    /// One turn, up to but without the system call.
    pub(super) fn turn(&mut self) {
        self.turns += 1;
        self.tell_later();
        self.take_completions();
        if self.parcels_left {
            self.open_mailbox();
        }
        self.step();
        // Rule 9: whatever was read in this turn was read before this moment. With the clock of the turn's
        // beginning, a thread that stood still in between would pass an expired lease.
        self.now = warden::now();
        let (epoch, until) = self.page.shard(self.shard).lease();
        let lease = Lease { epoch, until };
        self.core.finish_turn(self.now, wall_ms(), lease, &mut self.commands);
        self.step();
        self.carry_out();
        let mut progress = self.core.progress();
        self.steps += 1;
        progress.turns = self.steps;
        // While other shards of the node are still being opened, this thread may wait for their sake: for the
        // lock on the address space when memory is registered, and for the disk when segments are zeroed.
        if !self.page.node_ready() {
            progress.health = Health::Starting;
        }
        self.page.shard(self.shard).set_progress(&progress);
    }

    /// Something was done: the warden sees it.
    fn step(&mut self) {
        self.steps += 1;
        self.page.shard(self.shard).raise_progress(self.steps);
    }

    /// Hand over what completed, as much as is one turn's.
    fn take_completions(&mut self) {
        let more = TURN_COMPLETIONS.saturating_sub(self.completions.len());
        self.ring.reap(more, &mut self.completions);
        let mut bytes = 0;
        while bytes < TURN_BYTES
            && let Some(completion) = self.completions.pop_front()
        {
            let read =
                matches!(completion.token, Some(Op::ClientReceive(_) | Op::LinkReceive(_) | Op::Read { .. }));
            bytes += if read { completion.result.max(0) as usize } else { 0 };
            self.completed(completion);
            self.step();
        }
    }

    fn tell_later(&mut self) {
        while let Some(later) = self.later.pop_front() {
            self.step();
            let event = match later {
                Later::LinkClosed(link) => Event::LinkClosed { link },
                Later::Disk(done) => Event::Disk(done),
                Later::ReadFailed(ticket) => Event::ReadDone { ticket, bytes: None },
            };
            self.core.handle(self.now, event, &mut self.commands);
        }
    }

    fn completed(&mut self, completion: Completion<Op>) {
        let (now, ring) = (self.now, &mut self.ring);
        let (core, commands) = (&mut self.core, &mut self.commands);
        let deliver = &mut |event: Event<'_>| core.handle(now, event, commands);
        match completion.token {
            Some(Op::ClientReceive(id)) => self.clients.received(ring, id, completion, deliver),
            Some(Op::ClientWatch(id)) => self.clients.hung_up(ring, id, completion.result, deliver),
            Some(Op::ClientSend(id)) => self.clients.sent(ring, id, completion, deliver),
            Some(Op::LinkReceive(id)) => self.links.received(ring, id, completion, deliver),
            Some(Op::LinkSend(id, serial)) => self.links.sent(ring, id, serial, completion, deliver),
            Some(Op::LinkConnect(id)) => self.links.connected(ring, id, completion.result, deliver),
            Some(Op::Disk { ticket, wanted }) => {
                deliver(Event::Disk(super::disk::Disk::written(ticket, wanted, completion.result)));
            }
            Some(Op::Read { ticket, wanted }) => self.disk.read(ticket, wanted, completion, deliver),
            Some(Op::Accept(number)) => self.accepted(number, completion),
            Some(Op::Greeting(id)) => {
                if let Some((to, socket, header)) = self.guests.received(ring, id, completion) {
                    self.introduce(to, socket, header);
                }
            }
            Some(Op::WardenBell) => {
                ring.read_eventfd(self.warden_bell.as_raw_fd(), Op::WardenBell);
                self.read_page();
            }
            Some(Op::Bell) => {
                ring.read_eventfd(self.mailbox.bell(), Op::Bell);
                self.open_mailbox();
            }
            None => self.open_mailbox(),
            Some(Op::Rang(shard)) if completion.result < 0 => self.mailbox.post.ring_bell(shard, ring),
            Some(Op::Rang(_)) => {}
            Some(Op::Tick) => {
                if !completion.more {
                    ring.tick(super::IDLE_TURN, Op::Tick);
                }
                self.guests.tick(ring, now);
                self.clients.tick(ring, now);
                self.doors.tick(ring);
                self.stalls.tick();
            }
        }
    }

    fn accepted(&mut self, number: usize, completion: Completion<Op>) {
        let brought_one = matches!(completion.lent, Lent::Accepted(_));
        self.doors.accepted(&mut self.ring, number, brought_one);
        let Lent::Accepted(socket) = completion.lent else { return };
        match self.doors.door(number) {
            Door::Clients(face) => {
                let (now, core, commands) = (self.now, &mut self.core, &mut self.commands);
                self.clients
                    .opened(&mut self.ring, socket, face, &mut |event| core.handle(now, event, commands));
            }
            Door::Replication => self.guests.opened(&mut self.ring, socket, self.now),
        }
    }

    /// A replication connection said which shard it wants.
    fn introduce(&mut self, to: engine::ids::ShardId, socket: OwnedFd, header: Vec<u8>) {
        if to != self.mailbox.shard {
            let parcel = Parcel::Link { socket, header };
            return self.mailbox.post.send_by_ring(to, parcel, &mut self.ring, Op::Rang(to));
        }
        self.accepted_links += 1;
        let link = LinkId(ACCEPTED | self.accepted_links);
        let (now, core, commands) = (self.now, &mut self.core, &mut self.commands);
        self.links.accepted(link, socket, &header, &mut |event| core.handle(now, event, commands));
    }

    fn open_mailbox(&mut self) {
        self.mailbox.heard();
        self.parcels_left = true;
        for _ in 0..TURN_PARCELS {
            let Some(parcel) = self.mailbox.take() else {
                self.parcels_left = false;
                return;
            };
            self.step();
            let event = match parcel {
                Parcel::Mail(mail) => Event::Mail(mail),
                Parcel::Control { ticket, done } => Event::ControlDone { ticket, done },
                Parcel::Handoff(to) => Event::HandoffWanted(to),
                Parcel::Promote => Event::PromoteWanted,
                Parcel::Resources(resources) => Event::Resources(resources),
                Parcel::Stop => {
                    self.doors.shut_clients(&mut self.ring);
                    Event::StopWanted
                }
                Parcel::Link { socket, header } => {
                    self.introduce(self.mailbox.shard, socket, header);
                    continue;
                }
                Parcel::Resolved { link, address } => {
                    if let Some(place) = self.resolving.iter().position(|other| *other == link) {
                        self.resolving.swap_remove(place);
                        self.connect(link, address);
                    }
                    continue;
                }
                Parcel::Cold { done, file } => {
                    if let Some((segment, file)) = file {
                        self.disk.add_segment(segment, file);
                        self.process.descriptors.segments_opened(1);
                    }
                    Event::Disk(done)
                }
            };
            self.core.handle(self.now, event, &mut self.commands);
        }
    }

    fn carry_out(&mut self) {
        let mut commands = std::mem::take(&mut self.commands);
        for command in commands.drain(..) {
            self.act(command);
        }
        // `LinkClose` may have made the core want more; that is for the next turn.
        commands.append(&mut self.commands);
        self.commands = commands;
        self.links.pump_all(&mut self.ring);
    }

    fn act(&mut self, command: Command) {
        let ring = &mut self.ring;
        match command {
            Command::ClientSend { conn, parts } => self.clients.send(ring, conn, parts),
            Command::ClientPause { conn, paused } => self.clients.pause(ring, conn, paused),
            Command::ClientClose { conn } => self.clients.close(ring, conn, self.now),
            Command::ClientReset { conn } => self.clients.reset(ring, conn),
            Command::LinkConnect { link, to } => self.look_up(link, to),
            Command::LinkReceive { link, into } => self.links.receive(ring, link, into),
            Command::LinkSend { link, bytes } => self.links.send(link, bytes),
            Command::LinkSendLog { link, header, range } => self.links.send_log(link, header, range),
            Command::LinkClose { link } if self.resolving.contains(&link) => {
                self.resolving.retain(|other| *other != link);
                self.later.push_back(Later::LinkClosed(link));
            }
            Command::LinkClose { link } => {
                let (now, core, commands) = (self.now, &mut self.core, &mut self.commands);
                self.links.fail(ring, link, &mut |event| core.handle(now, event, commands));
            }
            Command::Disk(op) => {
                let segments = self.disk.segments();
                if let Some(failed) = self.disk.start_op(ring, op) {
                    self.later.push_back(Later::Disk(failed));
                }
                self.process.descriptors.segments_closed(segments - self.disk.segments());
            }
            Command::Read { ticket, spec } => {
                if !self.disk.start_read(ring, ticket, spec) {
                    self.later.push_back(Later::ReadFailed(ticket));
                }
            }
            Command::Request(request) => {
                self.page.shard(self.shard).set_request(&request);
                ring.raise_eventfd(self.wake_warden.as_raw_fd());
            }
            Command::Mail { to, mail } => {
                self.mailbox.post.send_by_ring(to, Parcel::Mail(mail), ring, Op::Rang(to));
            }
            Command::Control { ticket, job } => self.desk.hand_in(self.mailbox.shard, ticket, *job),
            Command::Warn { text } => {
                self.process.notices.say(About::Core, &format!("shard {}: {text}", self.shard.0));
            }
            Command::Stopped => self.stopped_at = Some(self.now),
            Command::StopNode => self.mailbox.post.stop_all(),
            Command::Fail { failure } => {
                let reason = failure.to_string();
                self.page.fail(&reason);
                self.process.notices.say_last(&format!("shard {}: {reason}", self.shard.0));
                std::process::exit(EXIT_FAILED);
            }
        }
    }

    fn look_up(&mut self, link: LinkId, to: NodeId) {
        let Some(peer) = self.peers.iter().find(|peer| peer.node == to) else {
            return self.later.push_back(Later::LinkClosed(link));
        };
        match peer.host.parse::<IpAddr>() {
            Ok(address) => {
                let address = SocketAddr::new(address, peer.port);
                self.connect(link, Some(address));
            }
            Err(_) => {
                self.disk.resolve(link, &peer.host, peer.port);
                self.resolving.push(link);
            }
        }
    }

    fn connect(&mut self, link: LinkId, address: Option<SocketAddr>) {
        let socket = address.and_then(|address| Some((sockets::link_to(address).ok()?, address)));
        match socket {
            Some((socket, address)) => self.links.connect(&mut self.ring, link, socket, address),
            None => self.later.push_back(Later::LinkClosed(link)),
        }
    }
}
