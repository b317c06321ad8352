//! What the execution of requests sees, of RESP clients and of sub-requests alike: the data, this node's role, the
//! metadata; and what must hold before a reply may leave.

use crate::metadata::MetadataCopy;
use crate::mutants::{Mutant, lacks};
use crate::reads::{ReadFor, Reader};
use crate::replication::leader::Leader;
use crate::replication::repair::Repairs;
use crate::replication::{Replication, Role};
use crate::settings;
use crate::shared::Context;
use crate::store::{ShardStore, ValueRead, WantedRead};
use agency::ids::Nanos;
use engine::ids::Lsn;
use engine::shard::View;
use faces::resp::Ack;
use std::time::Duration;

/// A request that nobody can serve is parked this long before it is refused: long enough for a failover.
pub(crate) const PARK_LIMIT: Duration = Duration::from_millis(200);
/// The same at a leader that is starting, handing over, or whose disk stands still.
const LEADER_PARK_LIMIT: Duration = Duration::from_secs(3);

/// A leader that got no lease and could not commit what it wrote for this long answers that it cannot.
pub(crate) const LEASELESS_LIMIT: Duration = Duration::from_secs(2);
/// A request that came longer ago is not carried out any more: who sent it may have given it up, and sent it again.
pub(crate) const REQUEST_LIFETIME: Duration = Duration::from_secs(3);

/// See the head of this file.
pub(crate) struct Serving<'a> {
    pub cx: Context<'a>,
    pub replication: &'a Replication,
    pub metadata: &'a mut MetadataCopy,
    pub repairs: &'a mut Repairs,
    /// Keys seen to have expired in this turn.
    pub expired: &'a mut Vec<Box<[u8]>>,
}

/// What is to be done with a request for keys of this shard.
pub(crate) enum Standing {
    Execute(View),
    Park(Duration),
    Redirect,
    /// A write, and fewer nodes would acknowledge it than `min_in_sync` asks for.
    TooFewCopies,
    /// Nothing that it could do would ever be confirmed: it sees no majority.
    Refuse,
}

/// What must hold before a reply may leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub level: Ack,
    /// Must be committed: the newest value that was read.
    pub read_upto: Lsn,
    /// Must be acknowledged at `level`: the newest frame that was written.
    pub wrote_upto: Lsn,
    /// There is a linearizable read in it: leaves only under a lease.
    pub leased: bool,
}

impl Needs {
    /// Nothing yet.
    pub fn at(level: Ack) -> Needs {
        Needs { level, read_upto: Lsn(0), wrote_upto: Lsn(0), leased: false }
    }
}

/// What the cursors allow to leave at this moment.
pub(crate) struct Allowed {
    committed: Lsn,
    /// Committed by enough members.
    confirmed: Lsn,
    received: Lsn,
    local: Lsn,
    lease: bool,
    leads: bool,
}

impl Allowed {
    pub fn allows(&self, needs: &Needs) -> bool {
        let wrote = match needs.level {
            Ack::Durable => self.confirmed,
            Ack::Received => self.received,
            Ack::Local => self.local,
        };
        needs.wrote_upto <= wrote
            && needs.read_upto <= self.committed
            && (!needs.leased || self.lease)
            && (needs.wrote_upto == Lsn(0) || self.leads)
    }
}

impl Serving<'_> {
    /// Whether this node may execute it, and how.
    pub fn standing(&self, write: bool, readonly: bool) -> Standing {
        let cx = &self.cx;
        match &self.replication.role {
            // The wardens' view may tell of a successor before this shard was told that it is deposed.
            Role::Leader(_) if cx.isolated => match cx.group.other_leader(cx.options.shard) {
                Some(_) => Standing::Redirect,
                None => Standing::Refuse,
            },
            Role::Leader(leader) if leader.serves() && !cx.stopping => {
                if write && !leader.has_enough_copies(cx) {
                    return Standing::TooFewCopies;
                }
                if (write && !lacks(Mutant::StopsWithoutMajority)) || self.lease_holds() {
                    Standing::Execute(View::Newest)
                } else if self.lease_is_not_to_be_had() {
                    Standing::Park(PARK_LIMIT)
                } else {
                    // It may yet come, within a failover's time; where the disk stands still, after the disk does.
                    Standing::Park(LEADER_PARK_LIMIT)
                }
            }
            Role::Leader(_) => Standing::Park(LEADER_PARK_LIMIT),
            Role::Follower(_) if readonly && !write => Standing::Execute(View::Committed),
            Role::Follower(follower) => {
                let broken = follower.lost_since().is_some_and(|at| cx.clock.now < at + PARK_LIMIT);
                let topology = cx.group.topology();
                let shard = &topology.shards[usize::from(cx.options.shard.0)];
                let lost = cx.group.update().is_none_or(|update| update.leader_lost) || broken;
                if lost || topology.live_leader(shard).is_none() {
                    Standing::Park(PARK_LIMIT)
                } else {
                    Standing::Redirect
                }
            }
            Role::Idle => Standing::Park(PARK_LIMIT),
        }
    }

    pub fn lease_holds(&self) -> bool {
        self.replication.lease_holds(&self.cx)
    }

    /// No lease has come for longer than anybody is made to wait for one.
    pub fn lease_is_not_to_be_had(&self) -> bool {
        self.cx.leaseless_since.is_some_and(|since| self.cx.clock.now > since + PARK_LIMIT)
    }

    /// Whether it has been parked for as long as a failover takes.
    pub fn is_over(&self, since: Nanos) -> bool {
        self.cx.clock.now >= since + PARK_LIMIT
    }

    /// Whether a request that came then is too old to be carried out.
    pub fn is_too_old(&self, arrived: Nanos) -> bool {
        self.cx.clock.now > arrived + REQUEST_LIFETIME && !lacks(Mutant::CarriesOutZombies)
    }

    /// What may leave at this moment.
    pub fn allowed(&self) -> Allowed {
        let durable = self.cx.shard.durable();
        let leader = self.replication.leader();
        let confirmed = leader.map_or(Lsn(0), Leader::confirmed);
        let enough = leader.is_none_or(|leader| leader.has_enough_copies(&self.cx));
        let received = self.replication.least_copy(durable, |cursors| cursors.received, &self.cx);
        Allowed {
            committed: self.cx.shard.committed(),
            confirmed,
            received: if enough { received } else { confirmed },
            local: durable,
            lease: self.lease_holds(),
            leads: self.replication.leads(),
        }
    }

    /// The data, for one command.
    pub fn store<'s>(&'s mut self, view: View, fetched: &'s [ValueRead]) -> ShardStore<'s> {
        let wall_ms = self.cx.clock.wall_ms;
        ShardStore::new(self.cx.shard, view, wall_ms, fetched, self.expired)
    }

    /// Reads from the disk what a command lacks.
    pub fn read_values(&mut self, reader: Reader, wanted: Vec<WantedRead>) {
        for WantedRead { at, spec, key } in wanted {
            self.cx.read(ReadFor::Value { reader, at, key }, spec);
        }
    }
}

/// The acknowledgement level of the configuration file as the protocol names it.
pub(crate) fn level(configured: settings::Ack) -> Ack {
    match configured {
        settings::Ack::Durable => Ack::Durable,
        settings::Ack::Received => Ack::Received,
        settings::Ack::Local => Ack::Local,
    }
}
