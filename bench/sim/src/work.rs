//! What a core's work costs in time.
//!
//! Cores know no time, and a turn of theirs takes none here unless it is charged: by what was carried out, which the
//! engine's meter and the node's count of requests tell, and by the bytes that went in and out. A run draws its rates:
//! a fast core, or one that is many times slower.
//!
//! Promises that what costs next to nothing is done at once, so that idle turns stay as cheap as they are.

use crate::random::Dice;
use engine::meter;
use node::Node;
use node::events::Command;

/// Turns below this cost, in ns, are over at once.
const FREE: u64 = 20_000;
/// The rates of a fast core, in ns.
const REQUEST: u64 = 400;
const KEY: u64 = 300;
const KIB: u64 = 300;

/// What a core did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    pub requests: u64,
    pub keys: u64,
    /// Bytes of frames that were written or checked, and of what came in or went out otherwise.
    pub bytes: u64,
}

impl Done {
    /// All that this core, and with it this thread, has done so far.
    pub fn so_far(core: &Node) -> Done {
        let work = meter::done();
        Done { requests: core.requests(), keys: work.keys, bytes: work.bytes }
    }

    /// What was done since `before`, and `moved` bytes besides.
    pub fn since(self, before: Done, moved: u64) -> Done {
        Done {
            requests: self.requests - before.requests,
            keys: self.keys - before.keys,
            bytes: self.bytes - before.bytes + moved,
        }
    }
}

/// How long a core takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How many times slower than a fast one it is; 0: everything is done in no time.
    slower: u64,
}

impl Pace {
    /// Whatever is done takes no time.
    pub const TIMELESS: Pace = Pace { slower: 0 };

    pub const SLOWEST: Pace = Pace { slower: 16 };

    pub fn draw(dice: &mut Dice) -> Pace {
        Pace { slower: dice.pick(&[1, 1, 2, 4, 8, 16]).unwrap_or(1) }
    }

    /// What this costs, in ns; what is over at once costs nothing.
    pub fn cost(self, done: Done) -> u64 {
        let fast = done.requests * REQUEST + done.keys * KEY + done.bytes * KIB / 1024;
        let cost = fast * self.slower;
        if cost < FREE { 0 } else { cost }
    }
}

/// The bytes that commands move besides frames.
pub fn moved_by(commands: &[Command]) -> u64 {
    let bytes = |command: &Command| match command {
        Command::ClientSend { bytes, .. } | Command::LinkSend { bytes, .. } => bytes.len() as u64,
        _ => 0,
    };
    commands.iter().map(bytes).sum()
}
