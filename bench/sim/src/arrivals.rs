//! What arrives where: calls, packets, and connections that end.

use crate::host::Link;
use crate::network::{CONNECT_TIMEOUT, Owner, Packet, Plane, USER_TIMEOUT};
use crate::served::Served;
use crate::shell::input::Input;
use crate::shell::receiver::Receiver;
use crate::world::{Caller, What, World};
use agency::ids::NodeId;
use engine::ids::ShardId;
use node::events::{ConnId, Face, LinkId};
use node::replication::message;

/// Accepted links are numbered from here, connected ones by the core from 1.
const ACCEPTED: u64 = 1 << 63;
/// What the kernel hands over at a time.
const RECEIVE_BYTES: usize = 64 << 10;
/// How long the sockets of a dead process stay.
const TEAR_DOWN: u64 = 5_000_000;
/// What a reset takes to come back.
const RESET_TAKES: u64 = 30_000;
/// Between two calls of a warden to a peer that does not answer.
const DIAL_AGAIN: (u64, u64) = (5_000_000, 100_000_000);

impl World {
    pub fn arrive(&mut self, connection: u64, side: usize, packet: Packet) {
        let Some(known) = self.network.connections.get(&connection) else { return };
        if !known.ends[side].open {
            // Who forgot a connection answers what still comes by it with a reset.
            if known.ends[1 - side].open && !matches!(packet, Packet::Close) {
                self.later(RESET_TAKES, What::Break { connection, side: 1 - side });
            }
            return;
        }
        let port = known.ends[side].owner.clone();
        if !self.alive(&port) {
            // A host that is up answers with a reset once the dead process's sockets are torn down; one
            // without power does not answer.
            let up = self.hosts.get(known.ends[side].place).is_none_or(|host| host.up);
            return match packet {
                Packet::Close => self.network.close(connection, side),
                _ if up => self.later(TEAR_DOWN, What::Break { connection, side }),
                _ => self.later(USER_TIMEOUT, What::Break { connection, side: 1 - side }),
            };
        }
        match packet {
            Packet::Close => self.break_end(connection, side),
            Packet::Message(message) => {
                if let Owner::Warden { host, peer, .. } = port {
                    self.warden_hears(host, peer, *message);
                }
            }
            Packet::Bytes(bytes) => match port {
                Owner::Unannounced { .. } => self.unannounced_bytes(connection, side, bytes),
                Owner::Link { host, shard, link, .. } => self.link_bytes(host, shard, link, bytes),
                Owner::Served { host, shard, conn, .. } => {
                    for piece in bytes.chunks(RECEIVE_BYTES) {
                        self.input(host, shard, Input::ClientBytes { conn, bytes: piece.to_vec() });
                    }
                }
                Owner::Client { client } => self.client_bytes(client, connection, bytes),
                Owner::Guest { guest } => self.guest_bytes(guest, connection, &bytes),
                Owner::Warden { .. } => {}
            },
        }
    }

    /// The kernel tells an end that its connection is over.
    pub fn break_end(&mut self, connection: u64, side: usize) {
        let Some(known) = self.network.connections.get(&connection) else { return };
        if !known.ends[side].open {
            return;
        }
        let port = known.ends[side].owner.clone();
        self.hang_up(connection, side);
        if self.alive(&port) {
            self.tell_end(connection, port);
        }
    }

    /// An end is forgotten without a word to the other: that one learns of it only when it sends.
    pub fn forget_end(&mut self, connection: u64, side: usize) {
        let Some(known) = self.network.connections.get(&connection) else { return };
        let port = known.ends[side].owner.clone();
        self.network.close(connection, side);
        if self.alive(&port) {
            self.tell_end(connection, port);
        }
    }

    fn tell_end(&mut self, connection: u64, port: Owner) {
        match port {
            Owner::Warden { host, peer, .. } => self.warden_link_down(host, peer, connection),
            Owner::Unannounced { .. } => {}
            Owner::Link { host, shard, link, .. } => self.link_ends(host, shard, link),
            Owner::Served { host, shard, conn, .. } => {
                if let Some(node) = &self.hosts[host].node
                    && node.shards[usize::from(shard.0)].conns.contains_key(&conn)
                {
                    self.input(host, shard, Input::ClientClosed { conn });
                }
            }
            Owner::Client { client } => self.client_closed(client, connection),
            Owner::Guest { guest } => self.guest_closed(guest, connection),
        }
    }

    fn unannounced_bytes(&mut self, connection: u64, side: usize, arrived: Vec<u8>) {
        let Some(known) = self.network.connections.get_mut(&connection) else { return };
        let Owner::Unannounced { host, life, receiver } = &mut known.ends[side].owner else { return };
        receiver.arrive(arrived);
        let Some(header) = receiver.first_header() else { return };
        let (host, life) = (*host, *life);
        let receiver = std::mem::take(receiver);
        let Some(shard) = message::shard_of(&header) else { return self.hang_up(connection, side) };
        let shard = ShardId(shard.0);
        let Some(actor) =
            self.hosts[host].living(life).and_then(|node| node.shards.get_mut(usize::from(shard.0)))
        else {
            return self.hang_up(connection, side);
        };
        actor.next_accepted += 1;
        let link = LinkId(ACCEPTED | actor.next_accepted);
        let entry = Link { connection: Some(connection), receiver, ..Link::default() };
        actor.links.insert(link, entry);
        known.ends[side].owner = Owner::Link { host, life, shard, link };
        self.input(host, shard, Input::LinkAccepted { link, header });
    }

    /// A warden calls a peer until it answers.
    pub fn dial(&mut self, host: usize, life: u64, peer: NodeId) {
        let Some(warden) = self.hosts[host].watching(life) else { return };
        if warden.links[usize::from(peer.0)].is_some() {
            return;
        }
        let at = self.network.arrival(Plane::Agency, host, usize::from(peer.0), self.now, &mut self.dice);
        if at < self.now + CONNECT_TIMEOUT {
            self.at(at, What::Reach { host, life, peer });
        }
        let again = self.dice.between(DIAL_AGAIN.0, DIAL_AGAIN.1);
        self.later(again, What::Dial { host, life, peer });
    }

    pub fn reach(&mut self, host: usize, life: u64, peer: NodeId) {
        let other = usize::from(peer.0);
        let dead = self.network.dead_until(Plane::Agency, host, other) > self.now;
        let there = self.hosts[other].warden.is_some();
        let (own, other_life) = (self.hosts[host].warden_life, self.hosts[other].warden_life);
        let Some(warden) = self.hosts[host].watching(life) else { return };
        if dead || !there || warden.links[other].is_some() {
            return;
        }
        let me = NodeId(host as u8);
        if let Some(old) = self.hosts[other].warden.as_ref().and_then(|w| w.links[host]) {
            // The peer calls anew, so the old connection is of no use.
            let side = self.network.side(old, |p| matches!(p, Owner::Warden { host, .. } if *host == other));
            match side {
                Some(side) => self.break_end(old, side),
                None => self.warden_link_down(other, me, old),
            }
        }
        let near = (host, Owner::Warden { host, life: own, peer });
        let far = (other, Owner::Warden { host: other, life: other_life, peer: me });
        let connection = self.network.open(near, far);
        self.warden_link_up(host, peer, connection);
        self.warden_link_up(other, me, connection);
    }

    pub fn knock(&mut self, caller: Caller, to: usize) {
        let from = match caller {
            Caller::Link { host, .. } => host,
            Caller::Client { client, .. } => self.scenario.members() + client,
            Caller::Guest { guest, .. } => self.scenario.members() + self.scenario.clients + guest,
        };
        let back = self.network.arrival(Plane::Data, to, from, self.now, &mut self.dice);
        let life = self.hosts[to].node_life;
        let open = self.hosts[to].node.as_ref().is_some_and(|node| node.listens());
        if !self.hosts[to].up || back > self.now + CONNECT_TIMEOUT {
            return self.later(CONNECT_TIMEOUT, What::KnockFailed { caller });
        }
        let crowded = self.hosts[to].crowded_until > self.now && !matches!(caller, Caller::Link { .. });
        if !open || crowded {
            return self.at(back, What::KnockFailed { caller });
        }
        match caller {
            Caller::Link { host, life: caller_life, shard, link } => {
                let guest = Owner::Unannounced { host: to, life, receiver: Receiver::default() };
                let Some(node) = self.hosts[host].living(caller_life) else { return };
                let Some(entry) = node.shards[usize::from(shard.0)].links.get_mut(&link) else { return };
                if entry.closing {
                    return;
                }
                let port = Owner::Link { host, life: caller_life, shard, link };
                entry.connection = Some(self.network.open((host, port), (to, guest)));
                self.input(host, shard, Input::LinkConnected { link });
            }
            Caller::Client { client, serial, face, shard } => {
                if !self.client_expects(client, serial) {
                    return;
                }
                if let Some(connection) = self.serve_caller(Owner::Client { client }, from, to, face, shard) {
                    self.client_connected(client, connection);
                }
            }
            Caller::Guest { guest, serial, face, shard } => {
                if !self.guest_expects(guest, serial) {
                    return;
                }
                if let Some(connection) = self.serve_caller(Owner::Guest { guest }, from, to, face, shard) {
                    self.guest_connected(guest, connection);
                }
            }
        }
    }

    /// A node takes a caller's connection.
    fn serve_caller(
        &mut self,
        caller: Owner,
        from: usize,
        to: usize,
        face: Face,
        shard: ShardId,
    ) -> Option<u64> {
        let life = self.hosts[to].node_life;
        let node = self.hosts[to].node.as_mut()?;
        node.next_conn += 1;
        let conn = ConnId(node.next_conn);
        let served = Owner::Served { host: to, life, shard, conn };
        let connection = self.network.open((from, caller), (to, served));
        node.shards[usize::from(shard.0)].conns.insert(conn, Served::new(connection, face));
        let port = self.scenario.port(to, face, shard);
        self.input(to, shard, Input::ClientOpened { conn, face, port });
        Some(connection)
    }

    pub fn knock_failed(&mut self, caller: Caller) {
        match caller {
            Caller::Link { host, life, shard, link } => {
                if self.hosts[host].node_life == life {
                    self.link_ends(host, shard, link);
                }
            }
            Caller::Client { client, serial, .. } => {
                if self.client_expects(client, serial) {
                    self.client_refused(client);
                }
            }
            Caller::Guest { guest, serial, .. } => {
                if self.guest_expects(guest, serial) {
                    self.guest_refused(guest);
                }
            }
        }
    }
}
