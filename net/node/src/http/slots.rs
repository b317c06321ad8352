//! The slots of responses in their order, and how reports become the response of a slot.

use super::intent::Intent;
use super::{Http, HttpClient, HttpContext, endpoint, waiting};
use crate::ids::ConnId;
use crate::job::Job;
use crate::metadata::MetadataCopy;
use crate::subrequest::share::{MANY_RESULTS, Results, Wanted};
use crate::subrequest::{NotServed, Report, Served};
use agency::ids::Nanos;
use faces::documents::{self, Render};
use faces::http::{Request, Response};
use std::time::Duration;

/// What a slot waits for.
#[derive(Debug)]
pub(super) enum SlotState {
    /// Nothing: these bytes are the response, and then the slot's `body`.
    Ready(Vec<u8>),
    /// Reports of the sub-requests with tickets from `first` on.
    Gathering(Box<Gathering>),
    /// A job of the control threads.
    Job(u64),
    /// To be taken up again: credentials are being judged, or nothing is known of the metadata yet.
    /// `seen` is what was known of users when it was looked last.
    Waiting { since: Nanos, seen: u64 },
}

/// What the result of an operation that reads is taken to weigh before it is there; of one that writes.
pub(super) const EXPECTED_READ_BYTES: usize = 128 << 10;
pub(super) const EXPECTED_WRITE_BYTES: usize = 256;

/// Sub-requests under way for one response.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) first: u64,
    pub(super) parts: Vec<Part>,
    pub(super) then: Then,
    /// Bytes of results that are expected.
    pub(super) expected: usize,
}

/// One sub-request.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Where its results belong among all; empty: one result, in the order of the parts.
    pub(super) order: Vec<usize>,
    pub(super) report: Option<Report>,
}

/// What becomes of the reports.
#[derive(Debug)]
pub(super) enum Then {
    /// Results of operations or scans, made an answer.
    Conclude { render: Render, count: usize, write: bool, durable: bool },
    /// This answer, unless the metadata it was made from is outdated.
    Answer(Response),
    /// The report of a change is the answer.
    Edited,
}

/// The slot of one response.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) intent: Intent,
    /// Kept as long as it may have to be planned again.
    pub(super) request: Option<Box<Request>>,
    /// Who asks, as it was judged before the request was planned; `None`: nobody in particular.
    pub(super) asker: Option<String>,
    pub(super) body_bytes: usize,
    pub(super) state: SlotState,
    /// What a response is followed by that is too large to be copied behind its head.
    pub(super) body: Vec<u8>,
    /// No further request is read before this one is answered.
    pub(super) barrier: bool,
    /// What the served parts said so far.
    pub(super) epoch: u64,
    pub(super) lag: Option<Duration>,
    pub(super) stale: bool,
    pub(super) served: bool,
}

impl Slot {
    pub(super) fn new(id: u64, intent: Intent, request: Box<Request>, waiting: SlotState) -> Slot {
        let body_bytes = request.body.len();
        Slot {
            id,
            intent,
            request: Some(request),
            asker: None,
            body_bytes,
            state: waiting,
            body: Vec::new(),
            barrier: false,
            epoch: 0,
            lag: Some(Duration::ZERO),
            stale: false,
            served: false,
        }
    }

    /// Nothing but bytes.
    pub(super) fn ready(bytes: Vec<u8>) -> Slot {
        Slot {
            id: 0,
            intent: Intent::default(),
            request: None,
            asker: None,
            body_bytes: 0,
            state: SlotState::Ready(bytes),
            body: Vec::new(),
            barrier: false,
            epoch: 0,
            lag: None,
            stale: false,
            served: false,
        }
    }

    /// Tells a client that waits to send its body.
    pub(super) fn go_on() -> Slot {
        Slot::ready(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())
    }

    /// Bytes of the response, if it is ready.
    pub(super) fn ready_bytes(&self) -> usize {
        match &self.state {
            SlotState::Ready(bytes) => bytes.len() + self.body.len(),
            _ => 0,
        }
    }

    /// Bytes of the response, or of what will be made one.
    pub(super) fn weight(&self) -> usize {
        match &self.state {
            SlotState::Ready(_) => self.ready_bytes(),
            SlotState::Gathering(gathering) => {
                let come = gathering.parts.iter().map(|part| match &part.report {
                    Some(Report::Done(served)) => served.answer.bytes(),
                    _ => 0,
                });
                come.sum::<usize>().max(gathering.expected)
            }
            SlotState::Job(_) | SlotState::Waiting { .. } => 0,
        }
    }

    /// Whether freeing it takes long.
    pub(super) fn is_heavy(&self) -> bool {
        let many = |gathering: &Gathering| gathering.expected > MANY_RESULTS * EXPECTED_WRITE_BYTES;
        matches!(&self.state, SlotState::Gathering(gathering) if many(gathering))
    }

    pub(super) fn is_barrier(&self) -> bool {
        match self.state {
            SlotState::Ready(_) => false,
            SlotState::Waiting { .. } | SlotState::Job(_) => true,
            SlotState::Gathering(_) => self.barrier,
        }
    }

    /// Whether it is to be taken up again now.
    pub(super) fn is_due(&self, now: Nanos, known: &MetadataCopy) -> bool {
        matches!(self.state, SlotState::Waiting { since, seen } if known.is_due(now, since, seen))
    }

    /// This is the answer.
    pub(super) fn answer(&mut self, mut response: Response) {
        if self.served {
            response = response.with("X-Baton-Epoch", self.epoch.to_string());
            if let Some(lag) = self.lag {
                response = response.with("X-Baton-Lag", lag.as_micros().to_string());
            }
            if self.stale {
                response = response.with("X-Arango-Potential-Dirty-Read", "true");
            }
        }
        let (head, body) = response.into_parts(self.intent.head, self.intent.keep_alive);
        (self.state, self.body) = (SlotState::Ready(head), body);
        self.request = None;
        self.body_bytes = 0;
    }

    fn note(&mut self, served: &Served) {
        self.served = true;
        self.epoch = self.epoch.max(served.epoch);
        self.stale |= served.stale;
        self.lag = self.lag.zip(served.lag).map(|(one, other)| one.max(other));
    }
}

impl Http {
    /// A shard reports on a sub-request. `None`: its outcome is unknown.
    pub fn report(&mut self, conn: ConnId, ticket: u64, report: Option<Report>, cx: &mut HttpContext<'_>) {
        let Some(report) = report else { return self.break_off(conn, cx) };
        let Some(mut client) = self.clients.remove(&conn) else {
            return self.discard_report(report, cx);
        };
        let (mut complete, mut report) = (None, Some(report));
        for slot in &mut client.slots {
            let SlotState::Gathering(gathering) = &mut slot.state else { continue };
            let at = ticket.checked_sub(gathering.first).map(|at| at as usize);
            if let Some(part) = at.and_then(|at| gathering.parts.get_mut(at)) {
                part.report = report.take();
                complete = gathering.parts.iter().all(|part| part.report.is_some()).then_some(slot.id);
                break;
            }
        }
        if let Some(report) = report {
            self.discard_report(report, cx);
        }
        if let Some(id) = complete {
            self.gathered(&mut client, id, cx);
        }
        self.put_back(client, cx);
    }

    /// All reports for a slot are there.
    fn gathered(&mut self, client: &mut HttpClient, id: u64, cx: &mut HttpContext<'_>) {
        let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let waiting = waiting(cx);
        let SlotState::Gathering(gathering) = std::mem::replace(&mut slot.state, waiting) else { return };
        let Gathering { parts, then, .. } = *gathering;
        match then {
            Then::Conclude { render, count, write, durable } => match gather(slot, parts, count, write) {
                Ok(results) if results.are_many(&render) => {
                    let (render, asker) = (Box::new(render), client.asker());
                    let job = Job::Conclude { render, results, durable, asker };
                    let ticket = self.hand_in(client.conn, job, cx);
                    if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
                        slot.state = SlotState::Job(ticket);
                    }
                }
                Ok(results) => {
                    let plan = documents::conclude(render, results.in_order(), durable);
                    let wanted = Wanted::of(plan, &cx.options.settings);
                    self.carry_out(client, id, wanted, cx);
                }
                Err((refusal, results)) => {
                    self.refuse(client, id, refusal, cx);
                    if results.are_many(&render) {
                        cx.discard((render, results));
                    }
                }
            },
            Then::Answer(answer) => match parts.into_iter().next().and_then(|part| part.report) {
                Some(Report::Done(served)) => {
                    slot.note(&served);
                    slot.answer(answer);
                }
                Some(Report::Refused(refusal)) => self.refuse(client, id, refusal, cx),
                // Planned again, now that the metadata is here.
                Some(Report::Outdated | Report::Edited(_)) | None => self.begin(client, id, cx),
            },
            Then::Edited => match parts.into_iter().next().and_then(|part| part.report) {
                Some(Report::Edited(answer)) => slot.answer(*answer),
                Some(Report::Refused(refusal)) => self.refuse(client, id, refusal, cx),
                Some(Report::Outdated | Report::Done(_)) | None => {
                    unreachable!("a change is reported as one")
                }
            },
        }
    }

    /// Answers that this node does not serve the request.
    pub(super) fn refuse(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        refusal: NotServed,
        cx: &HttpContext<'_>,
    ) {
        let response = refusal_response(refusal, cx);
        if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
            slot.answer(response);
        }
    }
}

/// ArangoDB's number for an election that is going on.
const NO_LEADER: u32 = 1495;

/// What the shards brought back, or why the request as a whole was refused: because nothing was done, or only
/// reads were.
fn gather(
    slot: &mut Slot,
    parts: Vec<Part>,
    count: usize,
    write: bool,
) -> Result<Results, (NotServed, Results)> {
    let mut results = Results::new(count);
    let (mut refused, mut served_any, mut written) = (None, false, false);
    for (number, part) in parts.into_iter().enumerate() {
        let order = if part.order.is_empty() { vec![number] } else { part.order };
        match part.report {
            Some(Report::Done(served)) => {
                slot.note(&served);
                served_any = true;
                written |= write;
                refused = refused.or(served.rest);
                results.add(order, *served);
            }
            Some(Report::Refused(refusal)) => refused = refused.or(Some(refusal)),
            Some(Report::Outdated | Report::Edited(_)) | None => {
                unreachable!("operations and scans are reported as done or refused")
            }
        }
    }
    match refused {
        // Written arrays say in their entries what was not written.
        Some(NotServed::LedBy(_)) if served_any && write == results.of_scans() => {
            Err((NotServed::Split, results))
        }
        Some(refusal) if !written || results.of_scans() => Err((refusal, results)),
        _ => Ok(results),
    }
}

/// What clients are told when this node does not serve them: `docs/CLIENT-HTTP.md`.
fn refusal_response(refusal: NotServed, cx: &HttpContext<'_>) -> Response {
    let number = cx.options.settings.http.not_leader_error;
    let led_by = |leader: Option<usize>, number: u32, text: &str| {
        let endpoint = leader.map_or(String::new(), |node| endpoint("http", node, cx));
        Response::error(503, number, text).with("X-Arango-Endpoint", endpoint)
    };
    match refusal {
        NotServed::LedBy(leader) => led_by(Some(leader), number, "not a leader"),
        NotServed::TooStale(leader) => {
            let number = if leader.is_some() { number } else { NO_LEADER };
            led_by(leader, number, "not a leader, and not as fresh as was asked for")
        }
        NotServed::NoLeader => led_by(None, NO_LEADER, "no leader is known at this moment"),
        NotServed::NotNow => {
            Response::error(503, 503, "this node is changing its role").with("Retry-After", "1")
        }
        // No endpoint: the one node would send the client to the other, and that one back.
        NotServed::Split => {
            let text = "this needs several shards, and they are led by different nodes: `baton handoff \
                --to NODE` gives all of them to one";
            Response::error(503, 503, text).with("Retry-After", "1")
        }
        NotServed::Crowded => {
            let text = "too much is asked for at once: ask again in a moment";
            Response::error(503, 503, text).with("Retry-After", "1")
        }
        NotServed::TooFewCopies => {
            let text = "fewer nodes are in sync than min_in_sync asks for: nothing is written";
            Response::error(503, 503, text).with("Retry-After", "1")
        }
        NotServed::ReadOnly => Response::error(403, 1004, "the group is in read-only mode"),
    }
}
