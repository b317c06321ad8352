//! Jobs of the control threads: what is handed in to them for connections, and what becomes of it.
//!
//! Promises: what lies in their queues is bounded; its bodies stay in the books until it is done, also if the
//! client that asked is gone; what nobody waits for is not done; and what takes long to free is not freed on
//! the shard's thread.

use super::places::{Place, State};
use super::{HttpClient, Node};
use crate::job::{Asker, Job, JobDone, Queue};
use crate::mail::{Edit, Report};
use crate::node::shares::{MANY_BYTES, MANY_RESULTS, Wanted};
use crate::seam::{Action, ConnId};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Jobs of one shard thread in a queue above which no new ones are begun; what is under way already may add the
/// making of its answer.
const MAX_JOBS: usize = 64;

/// A job that is not done.
struct Pending {
    conn: ConnId,
    queue: Queue,
    /// Bytes of bodies in it that are no longer counted with a client.
    orphaned: usize,
}

/// All of a shard, by their tickets.
#[derive(Default)]
pub(super) struct Jobs(BTreeMap<u64, Pending>);

impl Jobs {
    /// Whether no new job may be begun.
    pub(super) fn is_full(&self, queue: Queue) -> bool {
        self.0.values().filter(|pending| pending.queue == queue).count() >= MAX_JOBS
    }

    /// Nobody waits for the jobs of these places any more. Returns how many bytes of bodies they hold.
    pub(super) fn orphan<'p>(&mut self, places: impl Iterator<Item = &'p Place>) -> usize {
        let mut bytes = 0;
        for place in places {
            let State::Job(ticket) = place.state else { continue };
            if let Some(pending) = self.0.get_mut(&ticket) {
                pending.orphaned = place.body_bytes;
                bytes += place.body_bytes;
            }
        }
        bytes
    }
}

impl HttpClient {
    /// For a job: whether anybody still waits for it.
    pub(super) fn asker(&self) -> Asker {
        Arc::downgrade(&self.alive)
    }
}

impl Node {
    /// Gives a job to the control threads; returns its ticket.
    pub(in crate::node) fn hand_in(&mut self, conn: ConnId, job: Job, out: &mut Vec<Action>) -> u64 {
        let ticket = self.ticket();
        // Nothing waits for a verdict but what asks again by itself.
        if !matches!(job, Job::Judge(_) | Job::Discard(_)) {
            self.http.jobs.0.insert(ticket, Pending { conn, queue: job.queue(), orphaned: 0 });
        }
        out.push(Action::Control { ticket, job: Box::new(job) });
        ticket
    }

    /// Has something freed elsewhere, because that takes long.
    pub(in crate::node) fn discard(&mut self, waste: impl Debug + Send + 'static, out: &mut Vec<Action>) {
        let ticket = self.ticket();
        out.push(Action::Control { ticket, job: Box::new(Job::Discard(Box::new(waste))) });
    }

    /// The same for a report that is of no use to anybody.
    pub(super) fn discard_report(&mut self, report: Report, out: &mut Vec<Action>) {
        let heavy = match &report {
            Report::Done(served) => served.spent.len() > MANY_RESULTS || served.answer.bytes() > MANY_BYTES,
            Report::Outdated | Report::Edited(_) | Report::Refused(_) => false,
        };
        if heavy {
            self.discard(report, out);
        }
    }

    /// The same for a plan that is not carried out.
    pub(super) fn discard_plan(&mut self, wanted: Wanted, out: &mut Vec<Action>) {
        if matches!(wanted, Wanted::Documents { count, .. } if count > MANY_RESULTS) {
            self.discard(wanted, out);
        }
    }

    /// The control threads did a job.
    pub(in crate::node) fn job_done(&mut self, ticket: u64, done: JobDone, out: &mut Vec<Action>) {
        if let JobDone::Judged { claim, right } = &done {
            // Those who wait for it ask again by themselves.
            self.known.passwords.learn(claim, *right);
            self.known.generation += 1;
            self.errands.hungry = true;
            return;
        }
        let Some(Pending { conn, orphaned, .. }) = self.http.jobs.0.remove(&ticket) else { return };
        self.http.bodies -= orphaned;
        let waiting = self.http_waiting();
        let Some(mut client) = self.http.clients.remove(&conn) else { return self.discard(done, out) };
        let waits = |place: &&mut Place| matches!(place.state, State::Job(known) if known == ticket);
        if let Some(place) = client.places.iter_mut().find(waits) {
            let id = place.id;
            place.state = waiting;
            match done {
                JobDone::Planned { request, wanted } => {
                    self.http_planned(&mut client, id, request, *wanted, out)
                }
                JobDone::Concluded(wanted) => self.http_carry_out(&mut client, id, *wanted, out),
                JobDone::HandedOver(response) => place.answer(*response),
                JobDone::Sealed { users, then } => {
                    self.http_edit(&mut client, id, Edit::Users { users, then }, out);
                }
                JobDone::Status(status) => self.http_status(&mut client, id, &status),
                JobDone::Judged { .. } | JobDone::Dropped => {
                    unreachable!("somebody waits, and for an answer")
                }
            }
        } else {
            self.discard(done, out);
        }
        self.http_put_back(client, out);
    }
}
