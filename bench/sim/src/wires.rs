//! Sending: packets, calls and the ends of connections go out here. What arrives is the matter of `arrivals`.

use crate::network::{CONNECT_TIMEOUT, Connection, Owner, PLANES, Packet, Plane, USER_TIMEOUT};
use crate::world::{Caller, What, World};

impl World {
    /// Sends over a connection; what cannot be delivered any more is lost.
    pub fn transmit(&mut self, connection: u64, side: usize, packet: Packet) {
        let Some((at, given_up)) = self.network.send(connection, side, self.now, &mut self.dice) else {
            return;
        };
        if given_up {
            self.later(USER_TIMEOUT, What::Break { connection, side });
        }
        self.at(at, What::Arrive { connection, side: 1 - side, packet });
    }

    /// One end is closed by its process; the other learns of it.
    pub fn hang_up(&mut self, connection: u64, side: usize) {
        if !self.network.connections.get(&connection).is_some_and(|known| known.ends[side].open) {
            return;
        }
        self.transmit(connection, side, Packet::Close);
        self.network.close(connection, side);
    }

    /// Calls a node's port.
    pub fn call(&mut self, caller: Caller, from: usize, to: usize) {
        let at = self.network.arrival(Plane::Data, from, to, self.now, &mut self.dice);
        if at < self.now + CONNECT_TIMEOUT {
            self.at(at, What::Knock { caller, to });
        } else {
            self.later(CONNECT_TIMEOUT, What::KnockFailed { caller });
        }
    }

    /// Nothing gets from one host to another, by any link, for `span`.
    pub fn block(&mut self, from: usize, to: usize, span: u64) {
        for plane in PLANES {
            self.network.block(plane, from, to, self.now + span);
        }
    }

    pub fn alive(&self, port: &Owner) -> bool {
        match port {
            Owner::Warden { host, life, .. } => {
                self.hosts[*host].warden.is_some() && self.hosts[*host].warden_life == *life
            }
            Owner::Unannounced { host, life, .. }
            | Owner::Link { host, life, .. }
            | Owner::Served { host, life, .. } => {
                self.hosts[*host].node.is_some() && self.hosts[*host].node_life == *life
            }
            Owner::Client { .. } | Owner::Guest { .. } => true,
        }
    }

    /// Connections that a living process holds an end of.
    pub fn live_connections(&self) -> usize {
        let lives = |port: &Owner| self.alive(port);
        let held = |c: &&Connection| c.ends.iter().any(|end| end.open && lives(&end.owner));
        self.network.connections.values().filter(held).count()
    }
}
