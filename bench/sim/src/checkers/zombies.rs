//! No zombie writes: what a client gave up does not take effect once the node has been told that it is gone.
//!
//! A write that was on its way to another shard of the node just then may still overtake the word, and a turn of a slow
//! core takes a while; hence a grace. Where the connection is the shard's own there is none.

use engine::frame::{FrameView, peek};
use engine::ids::ShardId;
use node::events::ConnId;
use std::collections::BTreeMap;

/// A connection of a node's life.
pub type Seat = (usize, u64, ConnId);

/// For how long a write of another shard may overtake the word that its client is gone.
const GRACE: u64 = 100_000_000;

/// See the module.
#[derive(Default)]
pub struct Zombies {
    /// What was under way when its client gave up: the numbers that the values begin with.
    given_up: BTreeMap<Seat, Vec<i64>>,
    /// Of those, whose end was handed to the core: to which shard, and when.
    gone: BTreeMap<(usize, i64), (ShardId, u64)>,
}

impl Zombies {
    /// A client closes while these writes of it are not answered.
    pub fn gave_up(&mut self, seat: Seat, values: Vec<i64>) {
        self.given_up.insert(seat, values);
    }

    /// The core of this shard is told that this client is gone.
    pub fn told(&mut self, seat: Seat, shard: ShardId, now: u64) {
        for value in self.given_up.remove(&seat).unwrap_or_default() {
            self.gone.insert((seat.0, value), (shard, now));
        }
    }

    /// Whether there is anything to look for at this host.
    pub fn haunt(&self, host: usize) -> bool {
        self.gone.range((host, i64::MIN)..=(host, i64::MAX)).next().is_some()
    }

    /// A leader appended these frames in a turn that began at `began`.
    pub fn appended(&self, host: usize, shard: ShardId, began: u64, bytes: &[u8]) -> Result<(), String> {
        for (key, value) in values(bytes) {
            let Some((by, told)) = self.gone.get(&(host, value)) else { continue };
            let grace = if *by == shard { 0 } else { GRACE };
            if began > told + grace {
                let late = (began - told) / 1_000_000;
                return Err(format!("host {host} writes {key} {late} ms after its client had closed"));
            }
        }
        Ok(())
    }
}

/// The keys that these frames write numbers to, and the numbers.
pub fn values(bytes: &[u8]) -> Vec<(String, i64)> {
    let number = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&text[..digits]).ok()?.parse::<i64>().ok()
    };
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(header) = bytes.get(at..).and_then(peek) {
        let Some(view) = bytes.get(at..).and_then(FrameView::of) else { break };
        for operation in view.operations().filter(|operation| operation.put) {
            let key = || String::from_utf8_lossy(operation.key).into_owned();
            found.extend(number(operation.value).map(|value| (key(), value)));
        }
        at += header.len.get() as usize;
    }
    found
}
