//! What HTTP requests want of this shard: carried out here, reported to the shard that holds the connection.
//!
//! Promises: the errands of one connection are carried out in order; a report leaves only when what it
//! depends on holds (commit, copies, lease), as replies of RESP do; a turn does a bounded amount of work. An
//! errand whose outcome is not known when the leadership is lost, or when no lease is to be had for what it read,
//! is reported so; one that only read begins anew, or is refused.

use super::access::{Access, Fetched};
use super::clients::Needs;
use super::lanes::{Await, Lane, Running, Waste};
use super::serve::{PARK_LIMIT, Standing};
use super::{Node, ReadFor, Reader, Role, edits};
use crate::mail::{Errand, Mail, Refusal, Report, Work};
use crate::mutants::{Mutant, lacks};
use crate::seam::Action;
use agency::ids::Nanos;
use engine::ids::Lsn;
use engine::shard::{Shard, View};
use faces::documents::{self, Changed, Done, Failure, ScanJob, ScanStep};

/// What one turn carries out: an operation costs one, and one more for each [`BYTES_PER_STEP`] it goes through or
/// writes, however it ends.
const STEPS_PER_TURN: usize = 128;
const BYTES_PER_STEP: usize = 4 << 10;
/// Most bytes of documents that the errands of one request bring back; what is asked for beyond is refused.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// And of the errands of one that writes, while answers are crowded: what it has begun, it goes on with.
const CROWDED_ANSWER_BYTES: usize = 1 << 20;
/// What one step of a scan costs.
const SCAN_STEP_COST: usize = 64;
/// What all scans together may take of a turn.
const SCAN_STEPS_PER_TURN: usize = STEPS_PER_TURN / 2;

impl Node {
    /// Takes an errand, and does as much of it as can be done now.
    pub(super) fn errand_came(&mut self, errand: Errand, out: &mut Vec<Action>) {
        let (lane, id) = ((errand.from, errand.conn), self.ticket());
        self.errands.list(lane);
        self.errands.lanes.entry(lane).or_default().push_back(Running::new(id, errand));
        self.run_lane(lane, out);
    }

    /// Nobody waits for these any more.
    pub(super) fn forget_errands(&mut self, lane: Lane, out: &mut Vec<Action>) {
        let mut waste = Vec::new();
        for mut running in self.errands.lanes.remove(&lane).unwrap_or_default() {
            running.strip(&mut waste);
        }
        self.discard_all(waste, out);
    }

    fn discard_all(&mut self, waste: Vec<Waste>, out: &mut Vec<Action>) {
        if !waste.is_empty() {
            self.discard(waste, out);
        }
    }

    /// Goes on with the errands that can go on, as far as a turn goes. Who was served is last in the next turn, who
    /// was not is first.
    pub(super) fn run_errands(&mut self, out: &mut Vec<Action>) {
        self.errands.steps = STEPS_PER_TURN;
        self.errands.scan_steps = SCAN_STEPS_PER_TURN;
        let (mut left_over, mut denied) = (false, Vec::new());
        for _ in 0..self.errands.order.len() {
            if self.errands.steps == 0 {
                left_over = true;
                break;
            }
            let Some(lane) = self.errands.order.pop_front() else { break };
            self.errands.listed.remove(&lane);
            let before = self.errands.steps;
            self.errands.hungry = false;
            self.run_lane(lane, out);
            left_over |= self.errands.hungry;
            if !self.errands.lanes.contains_key(&lane) {
                continue;
            }
            if self.errands.hungry && self.errands.steps == before {
                denied.push(lane);
            } else {
                self.errands.list(lane);
            }
        }
        denied.into_iter().rev().for_each(|lane| self.errands.order.push_front(lane));
        self.errands.hungry = left_over;
    }

    fn run_lane(&mut self, lane: Lane, out: &mut Vec<Action>) {
        let Some(mut queue) = self.errands.lanes.remove(&lane) else { return };
        for running in &mut queue {
            if matches!(running.state, Await::Needs) {
                continue;
            }
            self.run(lane, running, out);
            if !matches!(running.state, Await::Needs) {
                break;
            }
        }
        self.errands.lanes.insert(lane, queue);
    }

    fn run(&mut self, lane: Lane, running: &mut Running, out: &mut Vec<Action>) {
        match running.state {
            Await::Reads { outstanding: 1.., .. } | Await::Blocks => return,
            _ => {}
        }
        let view = match self.errand_standing(&running.errand) {
            Ok(Standing::Execute(view)) => view,
            Ok(Standing::Redirect) => return running.refuse(self.leader_of_this()),
            Err(refusal) => return running.refuse(refusal),
            Ok(Standing::Park(limit)) => {
                let since = match running.state {
                    Await::Parked { since } => since,
                    _ => self.now,
                };
                if self.now.0 < since.0 + limit.0 {
                    running.state = Await::Parked { since };
                    return;
                }
                let leads = matches!(self.role, Role::Leader(_)) && limit != PARK_LIMIT;
                return running.refuse(if leads { Refusal::NotNow } else { Refusal::NoLeader });
            }
        };
        if running.errand.write
            && view == View::Newest
            && self.known.read_only()
            && !edits::is_always_allowed(&running.errand.work)
        {
            return running.refuse(Refusal::ReadOnly);
        }
        running.stale |= view == View::Committed;
        running.needs.leased |= view == View::Newest && !running.errand.write;
        if matches!(running.errand.work, Work::Scan(_)) {
            return self.scan(lane, running, view, out);
        }
        if let Work::Confirm { version } = running.errand.work {
            running.outdated = !self.is_newest_metadata(version, out);
            running.state = Await::Needs;
            return;
        }
        self.operate(lane, running, view, out);
    }

    /// Whether this node may do it, and how.
    fn errand_standing(&self, errand: &Errand) -> Result<Standing, Refusal> {
        let Some(staleness) = errand.stale.filter(|_| !errand.write) else {
            return Ok(self.standing(errand.write, false));
        };
        match &self.role {
            Role::Leader(leader) if leader.serves() && self.stopping.is_none() && self.lease_holds() => {
                Ok(Standing::Execute(View::Newest))
            }
            Role::Follower(follower) => match (staleness.at_most, follower.lag(self.now)) {
                (None, _) => Ok(Standing::Execute(View::Committed)),
                (Some(most), Some(lag)) if lag <= most => Ok(Standing::Execute(View::Committed)),
                (Some(_), _) => {
                    let shard = &self.topology.shards[usize::from(self.options.shard.0)];
                    let leader = self.topology.live_leader(shard).filter(|node| *node != self.topology.me);
                    Err(Refusal::TooStale(leader))
                }
            },
            Role::Leader(_) | Role::Idle if staleness.at_most.is_none() => {
                Ok(Standing::Execute(View::Committed))
            }
            Role::Leader(_) | Role::Idle => Ok(self.standing(false, false)),
        }
    }

    fn leader_of_this(&self) -> Refusal {
        let shard = &self.topology.shards[usize::from(self.options.shard.0)];
        let other = self.topology.live_leader(shard).filter(|node| *node != self.topology.me);
        other.map_or(Refusal::NoLeader, Refusal::LedBy)
    }

    /// Operations on documents, or a change of the metadata.
    fn operate(&mut self, lane: Lane, running: &mut Running, view: View, out: &mut Vec<Action>) {
        let mut fetched = match std::mem::replace(&mut running.state, Await::Turn) {
            Await::Reads { fetched, .. } => fetched,
            _ => Vec::new(),
        };
        loop {
            let op = match &running.errand.work {
                Work::Documents(ops) => match ops.get(running.done.len()) {
                    Some(op) => Some(op),
                    None => break,
                },
                _ => None,
            };
            if self.errands.steps == 0 {
                self.errands.hungry = true;
                running.state = Await::Reads { outstanding: 0, fetched };
                return;
            }
            let crowded = op.is_some() && running.errand.answer.is_full();
            if crowded && !running.errand.write {
                return running.refuse(Refusal::Crowded);
            }
            let room = if crowded { CROWDED_ANSWER_BYTES } else { MAX_ANSWER_BYTES };
            if let Some(op) = op
                && running.done_bytes > room / usize::from(self.options.settings.shards)
            {
                let (key, failure) = (op.key.clone(), Failure::AnswerTooLarge);
                running.done.push(Done::Failed { key, failure });
                self.errands.steps -= 1;
                continue;
            }
            let end_before = self.shard.tail();
            let mut access = Access {
                shard: &mut self.shard,
                view,
                wall_ms: self.wall_ms,
                fetched: &fetched,
                expired: &mut self.clients.expired,
                wanted: Vec::new(),
                wait: Lsn(0),
                wrote: None,
                no_room: false,
            };
            let mut looked = 0;
            let ended = match (op, &running.errand.work) {
                (Some(op), _) => match documents::execute(op, &mut access) {
                    documents::OpOutcome::Done { done, looked: bytes } => {
                        running.done_bytes += done.bytes();
                        running.done.push(done);
                        looked = bytes;
                        true
                    }
                    documents::OpOutcome::Blocked => false,
                },
                (None, Work::Edit(edit)) => match edits::edit(edit, &mut access) {
                    Changed::Done { answer, metadata } => {
                        running.edited = Some(answer);
                        running.version = metadata.map_or(0, |metadata| metadata.version);
                        true
                    }
                    Changed::Blocked => false,
                },
                (None, _) => unreachable!("scans and confirmations are dealt with elsewhere"),
            };
            let Access { wanted, wait, wrote, no_room, .. } = access;
            let read = if ended { running.done.last().map_or(0, Done::bytes) } else { 0 };
            running.done_bytes += read;
            running.errand.answer.add(if ended { read + size_of::<Done>() } else { 0 });
            let moved = looked + (self.shard.tail().0 - end_before.0) as usize;
            self.errands.steps = self.errands.steps.saturating_sub(1 + moved / BYTES_PER_STEP);
            if ended {
                running.needs.read_upto = running.needs.read_upto.max(wait);
                running.needs.leased |= view == View::Newest && wrote.is_none();
                running.needs.wrote_upto = running.needs.wrote_upto.max(wrote.unwrap_or_default());
                fetched.clear();
                if running.edited.is_some() {
                    break;
                }
                continue;
            }
            // If the log has no room for the moment, there is nothing to read.
            debug_assert!(no_room || !wanted.is_empty(), "blocked by nothing");
            running.state = Await::Reads { outstanding: wanted.len(), fetched };
            for want in wanted {
                let ticket = self.ticket();
                let reader = Reader::Errand { lane, id: running.id };
                self.reads.insert(ticket, ReadFor::Client { reader, at: want.at, key: want.key });
                out.push(Action::Read { ticket, spec: want.spec });
            }
            return;
        }
        running.state = Await::Needs;
    }

    fn scan(&mut self, lane: Lane, running: &mut Running, view: View, out: &mut Vec<Action>) {
        let Work::Scan(scan) = &running.errand.work else { return };
        let wall_ms = self.wall_ms;
        let job = running
            .scan
            .get_or_insert_with(|| Box::new(ScanJob::new(scan.clone(), &self.shard, view, wall_ms)));
        loop {
            if self.errands.steps == 0 || self.errands.scan_steps == 0 {
                self.errands.hungry = true;
                running.state = Await::Turn;
                return;
            }
            self.errands.steps = self.errands.steps.saturating_sub(SCAN_STEP_COST);
            if running.errand.answer.is_full() && !running.errand.write {
                return running.refuse(Refusal::Crowded);
            }
            self.errands.scan_steps = self.errands.scan_steps.saturating_sub(SCAN_STEP_COST);
            let step = job.step(&mut self.shard, wall_ms);
            running.errand.answer.set(job.page_bytes());
            match step {
                ScanStep::Again => {}
                ScanStep::NoRoom => {
                    running.state = Await::Turn;
                    return;
                }
                ScanStep::Read(spec) => {
                    let ticket = self.ticket();
                    self.reads.insert(ticket, ReadFor::Scan { lane, id: running.id });
                    running.state = Await::Blocks;
                    return out.push(Action::Read { ticket, spec });
                }
                ScanStep::Damaged(lsn) => {
                    running.state = Await::Blocks;
                    if self.repair_scanned(lane, running.id, lsn) {
                        return;
                    }
                    running.state = Await::Turn;
                    job.mended(&self.shard, None);
                }
                ScanStep::Done { done, read_upto, wrote_upto } => {
                    running.done.push(done);
                    running.needs.read_upto = read_upto;
                    running.needs.wrote_upto = wrote_upto.unwrap_or_default();
                    // That nothing is there to be removed is a read like any other.
                    running.needs.leased |= view == View::Newest && wrote_upto.is_none();
                    running.state = Await::Needs;
                    break;
                }
            }
        }
        running.scan = None;
    }

    /// A value came from the disk for an errand.
    pub(super) fn errand_fetched(&mut self, lane: Lane, id: u64, value: Fetched, out: &mut Vec<Action>) {
        let queue = self.errands.lanes.get_mut(&lane);
        let Some(running) = queue.and_then(|queue| queue.iter_mut().find(|one| one.id == id)) else { return };
        if let Await::Reads { outstanding, fetched } = &mut running.state {
            fetched.push(value);
            *outstanding -= 1;
            if *outstanding == 0 {
                self.run_lane(lane, out);
            }
        }
    }

    /// Blocks came from the disk for a scan.
    pub(super) fn scan_read(&mut self, lane: Lane, id: u64, bytes: Option<&[u8]>, out: &mut Vec<Action>) {
        self.scan_fed(lane, id, |job, shard| job.blocks(shard, bytes), out);
    }

    /// A frame that is damaged here came from another node for a scan; `None`: nobody has it.
    pub(super) fn scan_mended(&mut self, lane: Lane, id: u64, frame: Option<&[u8]>, out: &mut Vec<Action>) {
        self.scan_fed(lane, id, |job, shard| job.mended(shard, frame), out);
    }

    fn scan_fed(
        &mut self,
        lane: Lane,
        id: u64,
        feed: impl FnOnce(&mut ScanJob, &Shard),
        out: &mut Vec<Action>,
    ) {
        let queue = self.errands.lanes.get_mut(&lane);
        let Some(running) = queue.and_then(|queue| queue.iter_mut().find(|one| one.id == id)) else { return };
        if !matches!(running.state, Await::Blocks) {
            return;
        }
        running.state = Await::Turn;
        if let Some(job) = &mut running.scan {
            feed(job, &self.shard);
        }
        self.run_lane(lane, out);
    }

    /// Hands over the reports whose conditions hold, in order.
    pub(super) fn release_errands(&mut self, out: &mut Vec<Action>) {
        if self.errands.lanes.is_empty() {
            return;
        }
        if self.lease_is_not_to_be_had() {
            self.refuse_leaseless_errands(out);
        }
        let allowed = self.allowed();
        let epoch = self.topology.shards[usize::from(self.options.shard.0)].epoch;
        let lag = match &self.role {
            // Without the lease there may be another by now, with commits that this one has not seen.
            Role::Leader(_) => self.lease_holds().then_some(Nanos(0)),
            Role::Follower(follower) => follower.lag(self.now),
            Role::Idle => None,
        };
        let (mut reports, mut waste) = (Vec::new(), Vec::new());
        let known = &self.known;
        self.errands.lanes.retain(|lane, queue| {
            let free = |one: &Running| {
                matches!(one.state, Await::Needs)
                    && allowed.allows(&one.needs)
                    && (one.version == 0 || known.is_held(one.version))
            };
            while queue.front().is_some_and(free) {
                let Some(running) = queue.pop_front() else { break };
                let ticket = running.errand.ticket;
                reports.push((*lane, ticket, running.report(epoch, lag, &mut waste)));
            }
            !queue.is_empty()
        });
        self.discard_all(waste, out);
        for (lane, ticket, report) in reports {
            self.report(lane, ticket, Some(report), out);
        }
    }

    /// What was carried out may be told only under a lease, and none comes: a read is refused, as one that comes
    /// now; of what also wrote nobody can say how it ends.
    fn refuse_leaseless_errands(&mut self, out: &mut Vec<Action>) {
        let next_ticket = &mut self.next_ticket;
        let mut waste = Vec::new();
        let unknown = self.errands.take_out(&mut waste, |running| {
            if !matches!(running.state, Await::Needs) || !running.needs.leased {
                return false;
            }
            if running.needs.wrote_upto == Lsn(0) {
                *next_ticket += 1;
                running.restart(*next_ticket);
                running.refuse(Refusal::NoLeader);
                return false;
            }
            true
        });
        self.discard_all(waste, out);
        for (lane, ticket) in unknown {
            self.report(lane, ticket, None, out);
        }
    }

    fn report(&mut self, lane: Lane, ticket: u64, report: Option<Report>, out: &mut Vec<Action>) {
        let (from, conn) = lane;
        if from == self.options.shard {
            self.http_report(conn, ticket, report, out);
        } else {
            out.push(Action::Mail { to: from, mail: Box::new(Mail::Report { conn, ticket, report }) });
        }
    }

    /// This node no longer leads the shard; see the head of this file.
    pub(super) fn settle_errands(&mut self, out: &mut Vec<Action>) {
        let committed = self.shard.committed();
        let next_ticket = &mut self.next_ticket;
        let mut waste = Vec::new();
        let unknown = self.errands.take_out(&mut waste, |running| {
            let needs = running.needs;
            if needs.wrote_upto == Lsn(0) {
                *next_ticket += 1;
                running.restart(*next_ticket);
                return false;
            }
            if needs.wrote_upto > committed || needs.read_upto > committed || needs.leased {
                return !lacks(Mutant::SettlesByGuess);
            }
            running.needs = Needs::at(running.errand.ack);
            false
        });
        self.discard_all(waste, out);
        for (lane, ticket) in unknown {
            self.report(lane, ticket, None, out);
        }
    }
}
