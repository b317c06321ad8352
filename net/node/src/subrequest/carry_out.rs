//! What HTTP requests want of this shard: carried out here, reported to the shard that holds the connection.
//!
//! Promises: the sub-requests of one connection are carried out in order; a report leaves only when what it
//! depends on holds (commit, copies, lease), as replies of RESP do; a turn does a bounded amount of work. An
//! sub-request whose outcome is not known when the leadership is lost, or when no lease is to be had for what it read,
//! is reported so; one that only read begins anew, or is refused.

use super::queue::{Await, Running, SubRequests, Waste, Weight};
use super::{NotServed, Report, SubRequest, Work};
use crate::events::Command;
use crate::ids::{ConnId, Lane};
use crate::mail::Mail;
use crate::metadata::edit;
use crate::mutants::{Mutant, lacks};
use crate::reads::{ReadFor, Reader};
use crate::replication::Role;
use crate::serving::{Needs, PARK_LIMIT, Serving, Standing};
use crate::store::{ShardStore, ValueRead};
use engine::ids::Lsn;
use engine::shard::{Shard, View};
use faces::documents::{self, Changed, Done, ScanJob, ScanStep};
use std::time::Duration;

/// What one turn carries out: an operation costs one, and one more for each [`BYTES_PER_STEP`] it goes through or
/// writes, however it ends.
const STEPS_PER_TURN: usize = 128;
const BYTES_PER_STEP: usize = 4 << 10;
/// What one step of a scan costs.
const SCAN_STEP_COST: usize = 64;
/// What all scans together may take of a turn.
const SCAN_STEPS_PER_TURN: usize = STEPS_PER_TURN / 2;

impl SubRequests {
    /// Takes a sub-request, and does as much of it as can be done now.
    pub fn came(&mut self, subrequest: SubRequest, at: &mut Serving<'_>) {
        let (lane, id) = ((subrequest.from, subrequest.conn), at.cx.tickets.ticket());
        self.list(lane);
        self.lanes.entry(lane).or_default().push_back(Running::new(id, subrequest));
        self.run_lane(lane, at);
    }

    /// Nobody waits for these any more.
    pub fn forget(&mut self, lane: Lane, at: &mut Serving<'_>) {
        let mut waste = Vec::new();
        for mut running in self.lanes.remove(&lane).unwrap_or_default() {
            running.strip(&mut waste);
        }
        discard(waste, at);
    }

    /// Goes on with the sub-requests that can go on, as far as a turn goes. Who was served is last in the next turn, who
    /// was not is first.
    pub fn run_all(&mut self, at: &mut Serving<'_>) {
        self.steps = STEPS_PER_TURN;
        self.scan_steps = SCAN_STEPS_PER_TURN;
        let (mut left_over, mut denied) = (false, Vec::new());
        for _ in 0..self.order.len() {
            if self.steps == 0 {
                left_over = true;
                break;
            }
            let Some(lane) = self.order.pop_front() else { break };
            self.listed.remove(&lane);
            let before = self.steps;
            self.hungry = false;
            self.run_lane(lane, at);
            left_over |= self.hungry;
            if !self.lanes.contains_key(&lane) {
                continue;
            }
            if self.hungry && self.steps == before {
                denied.push(lane);
            } else {
                self.list(lane);
            }
        }
        for lane in denied.into_iter().rev() {
            self.listed.insert(lane);
            self.order.push_front(lane);
        }
        self.hungry = left_over;
    }

    fn run_lane(&mut self, lane: Lane, at: &mut Serving<'_>) {
        let Some(mut queue) = self.lanes.remove(&lane) else { return };
        for running in &mut queue {
            if matches!(running.state, Await::Needs) {
                continue;
            }
            self.run(lane, running, at);
            if !matches!(running.state, Await::Needs) {
                break;
            }
        }
        self.lanes.insert(lane, queue);
    }

    fn run(&mut self, lane: Lane, running: &mut Running, at: &mut Serving<'_>) {
        match running.state {
            Await::Reads { outstanding: 1.., .. } | Await::Blocks => return,
            _ => {}
        }
        let view = match standing(&running.subrequest, at) {
            Ok(Standing::Execute(view)) => view,
            Ok(Standing::Redirect) => return running.refuse(leader_of_this(at)),
            Ok(Standing::TooFewCopies) => return running.refuse(NotServed::TooFewCopies),
            Ok(Standing::Refuse) => return running.refuse(NotServed::NoLeader),
            Err(refusal) => return running.refuse(refusal),
            Ok(Standing::Park(limit)) => {
                let since = match running.state {
                    Await::Parked { since } => since,
                    _ => at.cx.clock.now,
                };
                if at.cx.clock.now < since + limit {
                    running.state = Await::Parked { since };
                    return;
                }
                let leads = at.replication.leads() && limit != PARK_LIMIT;
                return running.refuse(if leads { NotServed::NotNow } else { NotServed::NoLeader });
            }
        };
        if running.subrequest.write
            && view == View::Newest
            && at.metadata.read_only()
            && !edit::is_always_allowed(&running.subrequest.work)
        {
            return running.refuse(NotServed::ReadOnly);
        }
        running.stale |= view == View::Committed;
        running.needs.leased |= view == View::Newest && !running.subrequest.write;
        if matches!(running.subrequest.work, Work::Scan(_)) {
            return self.scan(lane, running, view, at);
        }
        if let Work::Confirm { version } = running.subrequest.work {
            running.outdated = !at.metadata.is_newest(version, &mut at.cx);
            running.state = Await::Needs;
            return;
        }
        self.operate(lane, running, view, at);
    }

    /// Operations on documents, or a change of the metadata.
    fn operate(&mut self, lane: Lane, running: &mut Running, view: View, at: &mut Serving<'_>) {
        let mut fetched = match std::mem::replace(&mut running.state, Await::Turn) {
            Await::Reads { fetched, .. } => fetched,
            _ => Vec::new(),
        };
        while running.has_more() {
            if self.steps == 0 {
                self.hungry = true;
                running.state = Await::Reads { outstanding: 0, fetched };
                return;
            }
            match running.weigh(at.cx.options.settings.shards) {
                Weight::Fits => {}
                Weight::Crowded => return running.refuse(NotServed::Crowded),
                Weight::TooLarge => {
                    running.answer_is_too_large();
                    self.steps -= 1;
                    continue;
                }
            }
            let end_before = at.cx.shard.tail();
            let mut store = at.store(view, &fetched);
            let (ended, looked) = execute(running, &mut store);
            let ShardStore { wanted, wait, wrote, no_room, .. } = store;
            let moved = looked + (at.cx.shard.tail().0 - end_before.0) as usize;
            self.steps = self.steps.saturating_sub(1 + moved / BYTES_PER_STEP);
            if ended {
                // What it wrote itself it waits for at its own level, also where it read it again.
                running.needs.read_upto = running.needs.read_upto.max(wait.min(end_before));
                running.needs.leased |= view == View::Newest && wrote.is_none();
                running.needs.wrote_upto = running.needs.wrote_upto.max(wrote.unwrap_or_default());
                fetched.clear();
                continue;
            }
            // If the log has no room for the moment, there is nothing to read.
            assert!(no_room || !wanted.is_empty(), "blocked by nothing");
            running.state = Await::Reads { outstanding: wanted.len(), fetched };
            return at.read_values(Reader::SubRequest { lane, id: running.id }, wanted);
        }
        running.state = Await::Needs;
    }

    fn scan(&mut self, lane: Lane, running: &mut Running, view: View, at: &mut Serving<'_>) {
        let Work::Scan(scan) = &running.subrequest.work else { return };
        let wall_ms = at.cx.clock.wall_ms;
        let new = || Box::new(ScanJob::new(scan.clone(), at.cx.shard, view, wall_ms));
        let mut job = running.scan.take().unwrap_or_else(new);
        while self.scan_step(lane, running, &mut job, view, at) {}
        // What was refused is not gone on with; what is carried out needs it no more.
        if !matches!(running.state, Await::Needs) {
            running.scan = Some(job);
        }
    }

    /// One step of a scan. Whether the next one may follow at once.
    fn scan_step(
        &mut self,
        lane: Lane,
        running: &mut Running,
        job: &mut ScanJob,
        view: View,
        at: &mut Serving<'_>,
    ) -> bool {
        if self.steps == 0 || self.scan_steps == 0 {
            self.hungry = true;
            running.state = Await::Turn;
            return false;
        }
        self.steps = self.steps.saturating_sub(SCAN_STEP_COST);
        if running.subrequest.answer.is_full() && !running.subrequest.write {
            running.refuse(NotServed::Crowded);
            return false;
        }
        self.scan_steps = self.scan_steps.saturating_sub(SCAN_STEP_COST);
        let step = job.step(at.cx.shard, at.cx.clock.wall_ms);
        running.subrequest.answer.set(job.page_bytes());
        match step {
            ScanStep::Again => return true,
            ScanStep::NoRoom => running.state = Await::Turn,
            ScanStep::Read(spec) => {
                running.state = Await::Blocks;
                at.cx.read(ReadFor::Scan { lane, id: running.id }, spec);
            }
            ScanStep::Damaged(lsn) => {
                running.state = Await::Blocks;
                if !at.repairs.scanned(lane, running.id, lsn, &mut at.cx) {
                    running.state = Await::Turn;
                    job.mended(at.cx.shard, None);
                    return true;
                }
            }
            ScanStep::Done { done, read_upto, wrote_upto } => {
                running.done.push(done);
                running.needs.read_upto = read_upto;
                running.needs.wrote_upto = wrote_upto.unwrap_or_default();
                // That nothing is there to be removed is a read like any other.
                running.needs.leased |= view == View::Newest && wrote_upto.is_none();
                running.state = Await::Needs;
            }
        }
        false
    }

    /// A value came from the disk for a sub-request.
    pub fn fetched(&mut self, lane: Lane, id: u64, value: ValueRead, at: &mut Serving<'_>) {
        let queue = self.lanes.get_mut(&lane);
        let Some(running) = queue.and_then(|queue| queue.iter_mut().find(|one| one.id == id)) else { return };
        if let Await::Reads { outstanding, fetched } = &mut running.state {
            fetched.push(value);
            *outstanding -= 1;
            if *outstanding == 0 {
                self.run_lane(lane, at);
            }
        }
    }

    /// Blocks came from the disk for a scan.
    pub fn scan_read(&mut self, lane: Lane, id: u64, bytes: Option<&[u8]>, at: &mut Serving<'_>) {
        self.scan_fed(lane, id, |job, shard| job.blocks(shard, bytes), at);
    }

    /// A frame that is damaged here came from another node for a scan; `None`: nobody has it.
    pub fn scan_mended(&mut self, lane: Lane, id: u64, frame: Option<&[u8]>, at: &mut Serving<'_>) {
        self.scan_fed(lane, id, |job, shard| job.mended(shard, frame), at);
    }

    fn scan_fed(
        &mut self,
        lane: Lane,
        id: u64,
        feed: impl FnOnce(&mut ScanJob, &Shard),
        at: &mut Serving<'_>,
    ) {
        let queue = self.lanes.get_mut(&lane);
        let Some(running) = queue.and_then(|queue| queue.iter_mut().find(|one| one.id == id)) else { return };
        if !matches!(running.state, Await::Blocks) {
            return;
        }
        running.state = Await::Turn;
        if let Some(job) = &mut running.scan {
            feed(job, at.cx.shard);
        }
        self.run_lane(lane, at);
    }

    /// Hands over the reports whose conditions hold, in order.
    pub fn release(&mut self, at: &mut Serving<'_>) {
        if self.lanes.is_empty() {
            return;
        }
        if at.lease_is_not_to_be_had() {
            self.refuse_leaseless(at);
        }
        if at.cx.isolated {
            let committed = at.cx.shard.committed();
            self.take_out(at, |running, _| {
                let needs = running.needs;
                matches!(running.state, Await::Needs) && needs.wrote_upto.max(needs.read_upto) > committed
            });
        }
        let allowed = at.allowed();
        let epoch = at.cx.group.topology().shards[usize::from(at.cx.options.shard.0)].epoch;
        let lag = match &at.replication.role {
            // Without the lease there may be another by now, with commits that this one has not seen.
            Role::Leader(_) => at.lease_holds().then_some(Duration::ZERO),
            Role::Follower(follower) => follower.lag(at.cx.clock.now),
            Role::Idle => None,
        };
        let (mut reports, mut waste) = (Vec::new(), Vec::new());
        let metadata = &*at.metadata;
        self.lanes.retain(|lane, queue| {
            let free = |one: &Running| {
                matches!(one.state, Await::Needs)
                    && allowed.allows(&one.needs)
                    && (one.version == 0 || metadata.is_held(one.version))
            };
            while queue.front().is_some_and(free) {
                let Some(running) = queue.pop_front() else { break };
                let ticket = running.subrequest.ticket;
                reports.push((*lane, ticket, running.report(epoch, lag, &mut waste)));
            }
            !queue.is_empty()
        });
        discard(waste, at);
        for (lane, ticket, report) in reports {
            self.report(lane, ticket, Some(report), at);
        }
    }

    /// What was carried out may be told only under a lease, and none comes: a read is refused, as one that comes
    /// now; of what also wrote nobody can say how it ends.
    fn refuse_leaseless(&mut self, at: &mut Serving<'_>) {
        self.take_out(at, |running, at| {
            if !matches!(running.state, Await::Needs) || !running.needs.leased {
                return false;
            }
            if running.needs.wrote_upto == Lsn(0) {
                running.restart(at.cx.tickets.ticket());
                running.refuse(NotServed::NoLeader);
                return false;
            }
            true
        });
    }

    /// This node no longer leads the shard; see the head of this file.
    pub fn settle(&mut self, at: &mut Serving<'_>) {
        let committed = at.cx.shard.committed();
        self.take_out(at, |running, at| {
            let needs = running.needs;
            if needs.wrote_upto == Lsn(0) {
                running.restart(at.cx.tickets.ticket());
                return false;
            }
            if needs.wrote_upto > committed || needs.read_upto > committed || needs.leased {
                return !lacks(Mutant::SettlesByGuess);
            }
            running.needs = Needs::at(running.subrequest.ack);
            false
        });
    }

    /// Drops those that `lost` says so of, and reports that nobody here knows how they end.
    fn take_out(
        &mut self,
        at: &mut Serving<'_>,
        mut lost: impl FnMut(&mut Running, &mut Serving<'_>) -> bool,
    ) {
        let (mut waste, mut unknown) = (Vec::new(), Vec::new());
        self.lanes.retain(|lane, queue| {
            queue.retain_mut(|running| {
                let is_lost = lost(running, at);
                if is_lost {
                    running.strip(&mut waste);
                    unknown.push((*lane, running.subrequest.ticket));
                }
                !is_lost
            });
            !queue.is_empty()
        });
        discard(waste, at);
        for (lane, ticket) in unknown {
            self.report(lane, ticket, None, at);
        }
    }

    fn report(&mut self, lane: Lane, ticket: u64, report: Option<Report>, at: &mut Serving<'_>) {
        let (from, conn) = lane;
        if from == at.cx.options.shard {
            self.reports.push_back((conn, ticket, report));
        } else {
            let mail = Box::new(Mail::Report { conn, ticket, report });
            at.cx.out.push(Command::Mail { to: from, mail });
        }
    }

    /// The next report for a connection of this shard.
    pub fn take_report(&mut self) -> Option<(ConnId, u64, Option<Report>)> {
        self.reports.pop_front()
    }

    /// Whether something is left to be done at once.
    pub fn is_hungry(&self) -> bool {
        self.hungry
    }

    /// Lanes may go on: what they waited for may be there.
    pub fn wake(&mut self) {
        self.hungry = true;
    }
}

/// Whether this node may do it, and how.
fn standing(subrequest: &SubRequest, at: &Serving<'_>) -> Result<Standing, NotServed> {
    let Some(staleness) = subrequest.stale.filter(|_| !subrequest.write) else {
        return Ok(at.standing(subrequest.write, false));
    };
    match &at.replication.role {
        Role::Leader(leader) if leader.serves() && !at.cx.stopping && at.lease_holds() => {
            Ok(Standing::Execute(View::Newest))
        }
        Role::Follower(follower) => match (staleness.at_most, follower.lag(at.cx.clock.now)) {
            (None, _) => Ok(Standing::Execute(View::Committed)),
            (Some(most), Some(lag)) if lag <= most => Ok(Standing::Execute(View::Committed)),
            (Some(_), _) => Err(NotServed::TooStale(at.cx.group.other_leader(at.cx.options.shard))),
        },
        Role::Leader(_) | Role::Idle if staleness.at_most.is_none() => Ok(Standing::Execute(View::Committed)),
        Role::Leader(_) | Role::Idle => Ok(at.standing(false, false)),
    }
}

fn leader_of_this(at: &Serving<'_>) -> NotServed {
    at.cx.group.other_leader(at.cx.options.shard).map_or(NotServed::NoLeader, NotServed::LedBy)
}

/// Carries out the next operation, or the change. Whether it ended, and how many bytes it looked at.
fn execute(running: &mut Running, store: &mut ShardStore<'_>) -> (bool, usize) {
    let op = match &running.subrequest.work {
        Work::Documents(ops) => &ops[running.done.len()],
        Work::Edit(change) => {
            let Changed::Done { answer, metadata } = edit::edit(change, store) else { return (false, 0) };
            running.version = metadata.map_or(0, |metadata| metadata.version);
            running.edited = Some(answer);
            running.subrequest.answer.add(size_of::<Done>());
            return (true, 0);
        }
        Work::Scan(_) | Work::Confirm { .. } => unreachable!("these are dealt with elsewhere"),
    };
    match documents::execute(op, store) {
        documents::OpOutcome::Done { done, looked } => {
            running.note(done);
            (true, looked)
        }
        documents::OpOutcome::Blocked => (false, 0),
    }
}

fn discard(waste: Vec<Waste>, at: &mut Serving<'_>) {
    if !waste.is_empty() {
        at.cx.discard(waste);
    }
}
