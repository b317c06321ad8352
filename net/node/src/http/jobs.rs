//! Jobs of the control threads: what is handed in to them for connections, and what becomes of it.
//!
//! Promises: what lies in their queues is bounded; its bodies stay in the books until it is done, also if the
//! client that asked is gone; what nobody waits for is not done; and what takes long to free is not freed on
//! the shard's thread.

use super::slots::{Slot, SlotState};
use super::{Http, HttpClient, HttpContext, waiting};
use crate::ids::ConnId;
use crate::job::{Asker, Job, JobDone, Queue};
use crate::subrequest::share::{MANY_BYTES, MANY_RESULTS, Wanted};
use crate::subrequest::{Edit, Report};
use std::collections::BTreeMap;
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

    /// Nobody waits for the jobs of these slots any more. Returns how many bytes of bodies they hold.
    pub(super) fn orphan<'p>(&mut self, slots: impl Iterator<Item = &'p Slot>) -> usize {
        let mut bytes = 0;
        for slot in slots {
            let SlotState::Job(ticket) = slot.state else { continue };
            if let Some(pending) = self.0.get_mut(&ticket) {
                pending.orphaned = slot.body_bytes;
                bytes += slot.body_bytes;
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

impl Http {
    /// Gives a job to the control threads; returns its ticket.
    pub fn hand_in(&mut self, conn: ConnId, job: Job, cx: &mut HttpContext<'_>) -> u64 {
        // Nothing waits for a verdict but what asks again by itself.
        let is_tracked = !matches!(job, Job::Judge(_) | Job::Discard(_));
        let queue = job.queue();
        let ticket = cx.tickets.hand_in(job, cx.out);
        if is_tracked {
            self.jobs.0.insert(ticket, Pending { conn, queue, orphaned: 0 });
        }
        ticket
    }

    /// The same for a report that is of no use to anybody.
    pub(super) fn discard_report(&mut self, report: Report, cx: &mut HttpContext<'_>) {
        let heavy = match &report {
            Report::Done(served) => served.spent.len() > MANY_RESULTS || served.answer.bytes() > MANY_BYTES,
            Report::Outdated | Report::Edited(_) | Report::Refused(_) => false,
        };
        if heavy {
            cx.discard(report);
        }
    }

    /// The same for a plan that is not carried out.
    pub(super) fn discard_plan(&mut self, wanted: Wanted, cx: &mut HttpContext<'_>) {
        if matches!(wanted, Wanted::Documents { count, .. } if count > MANY_RESULTS) {
            cx.discard(wanted);
        }
    }

    /// The control threads did a job.
    pub fn job_done(&mut self, ticket: u64, done: JobDone, cx: &mut HttpContext<'_>) {
        let Some(Pending { conn, orphaned, .. }) = self.jobs.0.remove(&ticket) else { return };
        self.bodies -= orphaned;
        let waiting = waiting(cx);
        let Some(mut client) = self.clients.remove(&conn) else { return cx.discard(done) };
        let waits = |slot: &&mut Slot| matches!(slot.state, SlotState::Job(known) if known == ticket);
        if let Some(slot) = client.slots.iter_mut().find(waits) {
            let id = slot.id;
            slot.state = waiting;
            match done {
                JobDone::Planned { request, wanted } => self.planned(&mut client, id, request, *wanted, cx),
                JobDone::Concluded(wanted) => self.carry_out(&mut client, id, *wanted, cx),
                JobDone::Administered(response) => slot.answer(*response),
                JobDone::Sealed { users, then } => {
                    self.edit(&mut client, id, Edit::Users { users, then }, cx);
                }
                JobDone::Status(status) => self.status(&mut client, id, &status, cx),
                JobDone::Judged { .. } | JobDone::Dropped => {
                    unreachable!("a verdict goes elsewhere, and somebody waits for the rest")
                }
            }
        } else {
            cx.discard(done);
        }
        self.put_back(client, cx);
    }
}
