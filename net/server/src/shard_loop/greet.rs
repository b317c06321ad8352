//! New replication connections before it is known which shard they are for: one header is received, its
//! shard number decides who gets the socket. Runs on the shard thread that listens for the whole node.
//!
//! A connection that does not say its header in time, or says something else, is closed without a word.

use super::Op;
use agency::ids::Nanos;
use engine::ids::ShardId;
use engine::io::ring::{Completion, Lent, Ring};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// How long a connection may take for its first header.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that may be at this point at a time.
pub const MAX_GREETINGS: usize = 64;

/// How a replication connection begins, told by those who know its bytes.
#[derive(Clone, Copy)]
pub struct Greeting {
    /// Bytes of the header.
    pub header_bytes: usize,
    /// The shard that a header is for; `None` if it is no header.
    pub shard_of: fn(&[u8]) -> Option<ShardId>,
}

struct Guest {
    id: u64,
    socket: OwnedFd,
    until: Nanos,
    leaving: bool,
}

pub(super) struct Guests {
    greeting: Greeting,
    guests: Vec<Guest>,
    serial: u64,
}

impl Guests {
    pub(super) fn new(greeting: Greeting) -> Guests {
        Guests { greeting, guests: Vec::new(), serial: 0 }
    }

    /// A connection was accepted.
    pub(super) fn opened(&mut self, ring: &mut Ring<Op>, socket: OwnedFd, now: Nanos) {
        if self.guests.len() >= MAX_GREETINGS {
            return ring.close(socket);
        }
        self.serial += 1;
        let header = vec![0; self.greeting.header_bytes];
        let all = 0..header.len();
        ring.receive_bytes(socket.as_raw_fd(), header, all, Op::Greeting(self.serial));
        let until = Nanos(now.0 + GREETING_TIMEOUT.as_nanos() as u64);
        self.guests.push(Guest { id: self.serial, socket, until, leaving: false });
    }

    /// The kernel's word on [`Op::Greeting`]: who gets which socket with which header.
    pub(super) fn received(
        &mut self,
        ring: &mut Ring<Op>,
        id: u64,
        completion: Completion<Op>,
    ) -> Option<(ShardId, OwnedFd, Vec<u8>)> {
        let place = self.guests.iter().position(|guest| guest.id == id)?;
        let guest = self.guests.swap_remove(place);
        match completion.lent {
            Lent::Bytes(header) if completion.result == header.len() as i32 && !guest.leaving => {
                if let Some(shard) = (self.greeting.shard_of)(&header) {
                    return Some((shard, guest.socket, header));
                }
            }
            _ => {}
        }
        ring.close(guest.socket);
        None
    }

    /// Give up those who take too long.
    pub(super) fn tick(&mut self, ring: &mut Ring<Op>, now: Nanos) {
        for guest in self.guests.iter_mut().filter(|guest| guest.until < now && !guest.leaving) {
            guest.leaving = true;
            ring.cancel_all_on(guest.socket.as_raw_fd());
        }
    }
}
