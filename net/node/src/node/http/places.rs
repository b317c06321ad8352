//! The places of responses in their order, and how reports become the response of a place.

use super::requests::Intent;
use super::{HttpClient, Node};
use crate::job::Job;
use crate::mail::{Refusal, Report, Served};
use crate::node::known::Known;
use crate::node::shares::{MANY_RESULTS, Results, Wanted};
use crate::seam::{Action, ConnId};
use agency::ids::Nanos;
use faces::documents::{self, Render};
use faces::http::{Request, Response};

/// What a place waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing: these bytes are the response, and then the place's `body`.
    Ready(Vec<u8>),
    /// Reports of the errands with tickets from `first` on.
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

/// Errands under way for one response.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) first: u64,
    pub(super) parts: Vec<Part>,
    pub(super) then: Then,
    /// Bytes of results that are expected.
    pub(super) expected: usize,
}

/// One errand.
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

/// The place of one response.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) intent: Intent,
    /// Kept as long as it may have to be planned again.
    pub(super) request: Option<Box<Request>>,
    /// Who asks, as it was judged before the request was planned; `None`: nobody in particular.
    pub(super) asker: Option<String>,
    pub(super) body_bytes: usize,
    pub(super) state: State,
    /// What a response is followed by that is too large to be copied behind its head.
    pub(super) body: Vec<u8>,
    /// No further request is read before this one is answered.
    pub(super) barrier: bool,
    /// What the served parts said so far.
    pub(super) epoch: u64,
    pub(super) lag: Option<Nanos>,
    pub(super) stale: bool,
    pub(super) served: bool,
}

impl Place {
    pub(super) fn new(id: u64, intent: Intent, request: Box<Request>, waiting: State) -> Place {
        let body_bytes = request.body.len();
        Place {
            id,
            intent,
            request: Some(request),
            asker: None,
            body_bytes,
            state: waiting,
            body: Vec::new(),
            barrier: false,
            epoch: 0,
            lag: Some(Nanos(0)),
            stale: false,
            served: false,
        }
    }

    /// Nothing but bytes.
    pub(super) fn ready(bytes: Vec<u8>) -> Place {
        Place {
            id: 0,
            intent: Intent::default(),
            request: None,
            asker: None,
            body_bytes: 0,
            state: State::Ready(bytes),
            body: Vec::new(),
            barrier: false,
            epoch: 0,
            lag: None,
            stale: false,
            served: false,
        }
    }

    /// Tells a client that waits to send its body.
    pub(super) fn go_on() -> Place {
        Place::ready(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec())
    }

    /// Bytes of the response, if it is ready.
    pub(super) fn ready_bytes(&self) -> usize {
        match &self.state {
            State::Ready(bytes) => bytes.len() + self.body.len(),
            _ => 0,
        }
    }

    /// Bytes of the response, or of what will be made one.
    pub(super) fn weight(&self) -> usize {
        match &self.state {
            State::Ready(_) => self.ready_bytes(),
            State::Gathering(gathering) => {
                let come = gathering.parts.iter().map(|part| match &part.report {
                    Some(Report::Done(served)) => served.answer.bytes(),
                    _ => 0,
                });
                come.sum::<usize>().max(gathering.expected)
            }
            State::Job(_) | State::Waiting { .. } => 0,
        }
    }

    /// Whether freeing it takes long.
    pub(super) fn is_heavy(&self) -> bool {
        let many = |gathering: &Gathering| gathering.expected > MANY_RESULTS * EXPECTED_WRITE_BYTES;
        matches!(&self.state, State::Gathering(gathering) if many(gathering))
    }

    pub(super) fn is_barrier(&self) -> bool {
        match self.state {
            State::Ready(_) => false,
            State::Waiting { .. } | State::Job(_) => true,
            State::Gathering(_) => self.barrier,
        }
    }

    /// Whether it is to be taken up again now.
    pub(super) fn is_due(&self, now: Nanos, known: &Known) -> bool {
        matches!(self.state, State::Waiting { since, seen } if known.is_due(now, since, seen))
    }

    /// This is the answer.
    pub(super) fn answer(&mut self, mut response: Response) {
        if self.served {
            response = response.with("X-Baton-Epoch", self.epoch.to_string());
            if let Some(lag) = self.lag {
                response = response.with("X-Baton-Lag", (lag.0 / 1000).to_string());
            }
            if self.stale {
                response = response.with("X-Arango-Potential-Dirty-Read", "true");
            }
        }
        let (head, body) = response.into_parts(self.intent.head, self.intent.keep_alive);
        (self.state, self.body) = (State::Ready(head), body);
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

impl Node {
    /// A shard reports on an errand. `None`: its outcome is unknown.
    pub(in crate::node) fn http_report(
        &mut self,
        conn: ConnId,
        ticket: u64,
        report: Option<Report>,
        out: &mut Vec<Action>,
    ) {
        let Some(report) = report else { return self.http_break_off(conn, out) };
        let Some(mut client) = self.http.clients.remove(&conn) else {
            return self.discard_report(report, out);
        };
        let (mut complete, mut report) = (None, Some(report));
        for place in &mut client.places {
            let State::Gathering(gathering) = &mut place.state else { continue };
            let at = ticket.checked_sub(gathering.first).map(|at| at as usize);
            if let Some(part) = at.and_then(|at| gathering.parts.get_mut(at)) {
                part.report = report.take();
                complete = gathering.parts.iter().all(|part| part.report.is_some()).then_some(place.id);
                break;
            }
        }
        if let Some(report) = report {
            self.discard_report(report, out);
        }
        if let Some(id) = complete {
            self.http_gathered(&mut client, id, out);
        }
        self.http_put_back(client, out);
    }

    /// The state of one that is looked at now.
    pub(super) fn http_waiting(&self) -> State {
        State::Waiting { since: self.now, seen: self.known.generation }
    }

    /// All reports for a place are there.
    fn http_gathered(&mut self, client: &mut HttpClient, id: u64, out: &mut Vec<Action>) {
        let Some(place) = client.places.iter_mut().find(|place| place.id == id) else { return };
        let waiting = self.http_waiting();
        let State::Gathering(gathering) = std::mem::replace(&mut place.state, waiting) else { return };
        let Gathering { parts, then, .. } = *gathering;
        match then {
            Then::Conclude { render, count, write, durable } => match gather(place, parts, count, write) {
                Ok(results) if results.are_many(&render) => {
                    let (render, asker) = (Box::new(render), client.asker());
                    let job = Job::Conclude { render, results, durable, asker };
                    let ticket = self.hand_in(client.conn, job, out);
                    if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
                        place.state = State::Job(ticket);
                    }
                }
                Ok(results) => {
                    let plan = documents::conclude(render, results.in_order(), durable);
                    let wanted = Wanted::of(plan, &self.options.settings);
                    self.http_carry_out(client, id, wanted, out);
                }
                Err((refusal, results)) => {
                    self.http_refuse(client, id, refusal);
                    if results.are_many(&render) {
                        self.discard((render, results), out);
                    }
                }
            },
            Then::Answer(answer) => match parts.into_iter().next().and_then(|part| part.report) {
                Some(Report::Done(served)) => {
                    place.note(&served);
                    place.answer(answer);
                }
                Some(Report::Refused(refusal)) => self.http_refuse(client, id, refusal),
                // Planned again, now that the metadata is here.
                Some(Report::Outdated | Report::Edited(_)) | None => self.http_begin(client, id, out),
            },
            Then::Edited => match parts.into_iter().next().and_then(|part| part.report) {
                Some(Report::Edited(answer)) => place.answer(*answer),
                Some(Report::Refused(refusal)) => self.http_refuse(client, id, refusal),
                Some(Report::Outdated | Report::Done(_)) | None => {
                    unreachable!("a change is reported as one")
                }
            },
        }
    }

    /// Answers that this node does not serve the request.
    pub(super) fn http_refuse(&mut self, client: &mut HttpClient, id: u64, refusal: Refusal) {
        let response = self.refusal(refusal);
        if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
            place.answer(response);
        }
    }

    /// What clients are told when this node does not serve them: `docs/CLIENT-HTTP.md`.
    pub(super) fn refusal(&self, refusal: Refusal) -> Response {
        let number = self.options.settings.http.not_leader_error;
        let led_by = |leader: Option<usize>, number: u32, text: &str| {
            let endpoint = leader.map_or(String::new(), |node| self.endpoint("http", node));
            Response::error(503, number, text).with("X-Arango-Endpoint", endpoint)
        };
        match refusal {
            Refusal::LedBy(leader) => led_by(Some(leader), number, "not a leader"),
            Refusal::TooStale(leader) => {
                let number = if leader.is_some() { number } else { NO_LEADER };
                led_by(leader, number, "not a leader, and not as fresh as was asked for")
            }
            Refusal::NoLeader => led_by(None, NO_LEADER, "no leader is known at this moment"),
            Refusal::NotNow => {
                Response::error(503, 503, "this node is changing its role").with("Retry-After", "1")
            }
            // No endpoint: the one node would send the client to the other, and that one back.
            Refusal::Split => {
                let text = "this needs several shards, and they are led by different nodes: `baton handoff \
                    --to NODE` gives all of them to one";
                Response::error(503, 503, text).with("Retry-After", "1")
            }
            Refusal::Crowded => {
                let text = "too much is asked for at once: ask again in a moment";
                Response::error(503, 503, text).with("Retry-After", "1")
            }
            Refusal::ReadOnly => Response::error(403, 1004, "the group is in read-only mode"),
        }
    }
}

/// ArangoDB's number for an election that is going on.
const NO_LEADER: u32 = 1495;

/// What the shards brought back, or why the request as a whole was refused: because nothing was done, or only
/// reads were.
fn gather(
    place: &mut Place,
    parts: Vec<Part>,
    count: usize,
    write: bool,
) -> Result<Results, (Refusal, Results)> {
    let mut results = Results::new(count);
    let (mut refused, mut served_any, mut written) = (None, false, false);
    for (number, part) in parts.into_iter().enumerate() {
        let order = if part.order.is_empty() { vec![number] } else { part.order };
        match part.report {
            Some(Report::Done(served)) => {
                place.note(&served);
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
        Some(Refusal::LedBy(_)) if served_any && write == results.of_scans() => {
            Err((Refusal::Split, results))
        }
        Some(refusal) if !written || results.of_scans() => Err((refusal, results)),
        _ => Ok(results),
    }
}
