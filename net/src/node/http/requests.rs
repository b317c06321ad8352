//! From a request to what is to be done, and to whom it is given.
//!
//! The path: who asks (`auth`) → what is to be done (`documents::plan`, or `admin`) → may the user → errands to
//! the shards. A request that needs something that is not there yet keeps its place and begins again.

use super::places::{Gathering, Part, Place, State, Then};
use super::{HttpClient, Node};
use crate::auth::api::{self, Answer};
use crate::auth::{self, Asked, Gate};
use crate::config;
use crate::control::job::{Job, JobDone};
use crate::documents::{self, Plan, ScanBatch, database_of};
use crate::http::{Method, Request, Response};
use crate::mail::{Edit, Errand, Mail, Refusal, Staleness, Work};
use crate::node::known::KEEPER;
use crate::node::shares::{Share, Wanted};
use crate::resp::Ack;
use crate::seam::{Action, ConnId};
use agency::ids::Nanos;
use engine::ids::ShardId;

/// A body above this size is planned by the control threads: parsing it would hold up everybody else. JSON of the
/// worst kind takes a quarter of a microsecond per byte.
const LARGE_BODY_BYTES: usize = 16 << 10;
/// What one turn plans, in bytes of bodies and of answers that are known at once; further requests wait for the next turn.
const PLANNED_PER_TURN: usize = 32 << 10;
/// What a request costs besides its body, in bytes of bodies.
const REQUEST_COST: usize = 128;
/// How long a request waits for the metadata, or for its password to be judged.
const PATIENCE: Nanos = Nanos(5_000_000_000);

/// What a request's header says about how it is to be answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Intent {
    pub(super) head: bool,
    pub(super) keep_alive: bool,
    pub(super) stale: Option<Staleness>,
    pub(super) ack: Option<Ack>,
}

impl Intent {
    /// # Errors
    /// A header of Baton's own that cannot be understood.
    fn of(request: &Request) -> Result<Intent, Response> {
        let wrong = |what: &str| Err(Response::error(400, 10, what));
        let headers = &request.headers;
        let true_word = |text: &str| text.trim().eq_ignore_ascii_case("true");
        let dirty = headers.get("x-arango-allow-dirty-read").is_some_and(true_word);
        let at_most = match headers.get("x-baton-max-staleness").map(str::parse::<config::Span>) {
            None => None,
            Some(Ok(span)) => Some(Nanos(span.0.as_nanos() as u64)),
            Some(Err(_)) => return wrong("X-Baton-Max-Staleness takes a time such as 50ms"),
        };
        let ack = match headers.get("x-baton-ack") {
            None => None,
            Some("durable") => Some(Ack::Durable),
            Some("received") => Some(Ack::Received),
            Some("local") => Some(Ack::Local),
            Some(_) => return wrong("X-Baton-Ack takes durable, received or local"),
        };
        let stale = (dirty || at_most.is_some()).then_some(Staleness { at_most });
        Ok(Intent { head: request.method == Method::Head, keep_alive: request.keep_alive, stale, ack })
    }
}

impl Node {
    /// Takes a request: it gets its place, and is begun.
    pub(super) fn http_request(
        &mut self,
        client: &mut HttpClient,
        request: Box<Request>,
        out: &mut Vec<Action>,
    ) {
        self.clients.stats.commands_processed += 1;
        let id = self.ticket();
        let (head, keep_alive) = (request.method == Method::Head, request.keep_alive);
        match Intent::of(&request) {
            Ok(intent) => {
                client.places.push_back(Place::new(id, intent, request, self.now));
                self.http_begin(client, id, out);
            }
            Err(response) => {
                let intent = Intent { head, keep_alive, ..Intent::default() };
                let mut place = Place::new(id, intent, request, self.now);
                place.answer(response);
                client.places.push_back(place);
            }
        }
    }

    /// Tries again what could not be begun.
    pub(super) fn http_try_again(&mut self, client: &mut HttpClient, out: &mut Vec<Action>) {
        let waiting: Vec<(u64, Nanos)> = client
            .places
            .iter()
            .filter_map(|place| match place.state {
                State::Waiting { since } => Some((place.id, since)),
                _ => None,
            })
            .collect();
        for (id, since) in waiting {
            if self.now.0 > since.0 + PATIENCE.0 {
                self.http_refuse(client, id, Refusal::NotNow);
            } else {
                self.http_begin(client, id, out);
            }
        }
    }

    /// Begins a request, or leaves it waiting.
    pub(super) fn http_begin(&mut self, client: &mut HttpClient, id: u64, out: &mut Vec<Action>) {
        let Some(place) = client.places.iter_mut().find(|place| place.id == id) else { return };
        let Some(metadata) = self.known.metadata.clone() else { return };
        let Some(mut request) = place.request.take() else { return };
        let large = request.body.len() > LARGE_BODY_BYTES;
        let cost = REQUEST_COST + if large { 0 } else { request.body.len() };
        if self.http.planned + cost > PLANNED_PER_TURN {
            self.errands.hungry = true;
            return self.http_keep(client, id, request);
        }
        self.http.planned += cost;
        if self.options.config.auth {
            match self.http_asker(client.conn, &request, out) {
                // Judged, or refused, when it is tried again.
                None => return self.http_keep(client, id, request),
                // What takes long is not done for nobody.
                Some(None) if !is_for_nobody(&request) => {
                    return self.http_answer(client, id, unauthorized());
                }
                Some(_) => {}
            }
        }
        let (seed, wall_ms) = (self.http.draw(), self.wall_ms);
        if large {
            let job = Job::Plan { request, metadata, seed, wall_ms };
            let ticket = self.hand_in(client.conn, job, out);
            return self.http_state(client, id, State::Job(ticket));
        }
        let plan = documents::plan(&request, &metadata, seed, wall_ms);
        match &plan {
            // Made while it was planned.
            Plan::Reply(answer) => self.http.planned += answer.body.len(),
            Plan::NotMine => {}
            _ => request.body = Vec::new(),
        }
        let wanted = Wanted::of(plan, &self.options.config);
        self.http_planned(client, id, request, wanted, out);
    }

    pub(super) fn http_keep(&mut self, client: &mut HttpClient, id: u64, request: Box<Request>) {
        if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
            place.request = Some(request);
        }
    }

    pub(super) fn http_state(&mut self, client: &mut HttpClient, id: u64, state: State) {
        if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
            place.state = state;
        }
    }

    pub(super) fn http_answer(&mut self, client: &mut HttpClient, id: u64, response: Response) {
        if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
            place.answer(response);
        }
    }

    /// Who asks: `Some(None)` is nobody, or one whose credentials are wrong; `None`: not known yet.
    fn http_asker(
        &mut self,
        conn: ConnId,
        request: &Request,
        out: &mut Vec<Action>,
    ) -> Option<Option<String>> {
        let metadata = self.known.metadata.clone()?;
        let token_key = metadata.token_key.as_deref().unwrap_or_default();
        let now_s = self.wall_ms / 1000;
        let header = request.headers.get("authorization");
        let passwords = &mut self.known.passwords;
        match auth::authenticate(header, &metadata.users, token_key.as_bytes(), passwords, now_s) {
            Gate::User(user) => Some(Some(user)),
            Gate::Nobody | Gate::Refused => Some(None),
            Gate::Judge(claim) => {
                self.hand_in(conn, Job::Judge(claim), out);
                None
            }
            Gate::Wait => None,
        }
    }

    /// It is known what has to be done for a request: done, if the user may.
    fn http_planned(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        wanted: Wanted,
        out: &mut Vec<Action>,
    ) {
        let Some((database, segments)) = database_of(&request) else {
            return self.http_answer(
                client,
                id,
                Response::error(400, 400, "the path is not percent-encoded UTF-8"),
            );
        };
        if self.options.config.auth {
            let reads = matches!(request.method, Method::Get | Method::Head | Method::Options)
                || matches!(wanted, Wanted::Documents { .. } | Wanted::Other(Plan::EveryShard(_)))
                    && !wanted.writes();
            let path = format!("/{}", segments.join("/"));
            let needed = auth::requirement(request.method.as_str(), &path, reads);
            let Some(asker) = self.http_asker(client.conn, &request, out) else {
                return self.http_keep(client, id, request);
            };
            let users = self.known.metadata.as_ref().map(|metadata| &metadata.users);
            let allowed =
                users.is_some_and(|users| auth::permitted(users, asker.as_deref(), &database, &needed));
            if !allowed {
                let response = match asker {
                    Some(_) => told(Answer::forbidden()),
                    None => unauthorized(),
                };
                return self.http_answer(client, id, response);
            }
        }
        match wanted {
            Wanted::Other(Plan::NotMine) => self.http_administer(client, id, request, &segments, out),
            wanted => {
                // An answer may turn out to be made from outdated metadata.
                self.http_keep(client, id, request);
                self.http_carry_out(client, id, wanted, out);
            }
        }
    }

    /// Carries out a plan for a place.
    pub(super) fn http_carry_out(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        wanted: Wanted,
        out: &mut Vec<Action>,
    ) {
        let Some(place) = client.places.iter_mut().find(|place| place.id == id) else { return };
        let ack = place.intent.ack.unwrap_or(crate::node::serve::level(self.options.config.ack));
        match wanted {
            Wanted::Other(Plan::Reply(response)) if place.served => place.answer(response),
            Wanted::Other(Plan::Reply(response)) => {
                let version = self.known.version();
                let work = vec![(KEEPER, Work::Confirm { version }, Vec::new())];
                self.http_send(client, id, work, Then::Answer(response), false, Ack::Durable, out);
            }
            Wanted::Documents { write, wait_for_sync, render, count, shares } => {
                let ack = if wait_for_sync { Ack::Durable } else { ack };
                let work = shares
                    .into_iter()
                    .map(|Share { shard, ops, order }| (shard, Work::Documents(ops), order))
                    .collect();
                let durable = ack == Ack::Durable;
                let then = Then::Conclude { render, count, write, durable };
                self.http_send(client, id, work, then, write, ack, out);
            }
            // Refused as a whole, before a part of it is removed here.
            Wanted::Other(Plan::EveryShard(ScanBatch { write: true, .. })) if self.topology.is_split() => {
                self.http_refuse(client, id, Refusal::Split);
            }
            Wanted::Other(Plan::EveryShard(ScanBatch { write, wait_for_sync, scan, render })) => {
                let ack = if wait_for_sync { Ack::Durable } else { ack };
                place.barrier |= write;
                let shards = (0..self.options.config.shards).map(ShardId);
                let count = usize::from(self.options.config.shards);
                let work = shards.map(|shard| (shard, Work::Scan(scan.clone()), Vec::new())).collect();
                let durable = ack == Ack::Durable;
                let then = Then::Conclude { render, count, write, durable };
                self.http_send(client, id, work, then, write, ack, out);
            }
            Wanted::Other(Plan::Metadata(change)) => self.http_edit(client, id, Edit::Documents(change), out),
            Wanted::Other(Plan::NotMine | Plan::Documents(_)) => {
                unreachable!("administration begins with a request, operations are sorted")
            }
        }
    }

    /// Has the metadata changed; the answer is the response.
    pub(super) fn http_edit(&mut self, client: &mut HttpClient, id: u64, edit: Edit, out: &mut Vec<Action>) {
        if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
            place.barrier = true;
        }
        let work = vec![(KEEPER, Work::Edit(edit), Vec::new())];
        self.http_send(client, id, work, Then::Edited, true, Ack::Durable, out);
    }

    /// Sends errands to the shards.
    #[expect(clippy::too_many_arguments, reason = "all of it goes into one errand")]
    fn http_send(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        work: Vec<(ShardId, Work, Vec<usize>)>,
        then: Then,
        write: bool,
        ack: Ack,
        out: &mut Vec<Action>,
    ) {
        let first = self.next_ticket + 1;
        self.next_ticket += work.len() as u64;
        let Some(place) = client.places.iter_mut().find(|place| place.id == id) else { return };
        let asked = place.intent.stale.filter(|_| !write);
        if !matches!(then, Then::Answer(_)) {
            place.request = None;
        }
        let mut parts = Vec::with_capacity(work.len());
        let mut errands = Vec::with_capacity(work.len());
        let (from, conn) = (self.options.shard, client.conn);
        for (ticket, (shard, work, order)) in (first..).zip(work) {
            parts.push(Part { order, report: None });
            // Where no node leads all shards, nobody could go through all of them otherwise.
            let elsewhere = matches!(work, Work::Scan(_)) && !write && self.leads_first_but_not(shard);
            let stale = asked.or(elsewhere.then_some(Staleness { at_most: None }));
            errands.push((shard, Errand { from, conn, ticket, work, write, stale, ack }));
        }
        place.state = State::Gathering(Box::new(Gathering { first, parts, then }));
        for (shard, errand) in errands {
            if shard == from {
                self.errand_came(errand, out);
            } else {
                client.forwarded = true;
                out.push(Action::Mail { to: shard, mail: Box::new(Mail::Errand(Box::new(errand))) });
            }
        }
    }

    /// Whether this node leads shard 0, and another this one.
    fn leads_first_but_not(&self, shard: ShardId) -> bool {
        let leader = |shard: ShardId| self.topology.shards[usize::from(shard.0)].leader;
        let me = Some(self.topology.me);
        leader(KEEPER) == me && leader(shard).is_some_and(|_| leader(shard) != me)
    }

    /// Gives a job to the control threads; returns its ticket.
    pub(in crate::node) fn hand_in(&mut self, conn: ConnId, job: Job, out: &mut Vec<Action>) -> u64 {
        let ticket = self.ticket();
        self.http.jobs.insert(ticket, conn);
        out.push(Action::Control { ticket, job: Box::new(job) });
        ticket
    }

    /// The control threads did a job.
    pub(in crate::node) fn job_done(&mut self, ticket: u64, done: JobDone, out: &mut Vec<Action>) {
        let Some(conn) = self.http.jobs.remove(&ticket) else { return };
        if let JobDone::Judged { claim, right } = &done {
            // Those who wait for it ask again by themselves.
            self.known.passwords.learn(claim, *right);
            self.errands.hungry = true;
            return;
        }
        let Some(mut client) = self.http.clients.remove(&conn) else { return };
        let waits = |place: &&mut Place| matches!(place.state, State::Job(known) if known == ticket);
        if let Some(place) = client.places.iter_mut().find(waits) {
            let id = place.id;
            place.state = State::Waiting { since: self.now };
            match done {
                JobDone::Planned { request, wanted } => {
                    self.http_planned(&mut client, id, request, *wanted, out)
                }
                JobDone::Concluded(wanted) => self.http_carry_out(&mut client, id, *wanted, out),
                JobDone::HandedOver(response) => place.answer(*response),
                JobDone::Sealed(sealed) => self.http_edit(&mut client, id, Edit::User(sealed), out),
                JobDone::Status(status) => self.http_status(&mut client, id, &status),
                JobDone::Judged { .. } => unreachable!("dealt with above"),
            }
        }
        self.http_put_back(client, out);
    }

    /// `/_open/auth` and `/_api/user`; `false`: it is about something else.
    pub(super) fn http_users(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        segments: &[String],
        out: &mut Vec<Action>,
    ) -> Option<Box<Request>> {
        let Some(metadata) = self.known.metadata.clone() else { return Some(request) };
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let databases: Vec<&str> = metadata.databases.keys().map(String::as_str).collect();
        let full = request.parameter("full").is_some_and(|value| value == "true" || value == "1");
        let method = request.method.as_str();
        let Some(planned) = api::plan(method, &path, full, &request.body, &metadata.users, &databases) else {
            return Some(request);
        };
        match planned {
            api::Plan::Answer(answer) if path.first() == Some(&"_open") => {
                self.http_answer(client, id, told(answer));
            }
            // Of the newest users, and only the leader knows these.
            api::Plan::Answer(answer) => {
                self.http_keep(client, id, request);
                self.http_carry_out(client, id, Wanted::Other(Plan::Reply(told(answer))), out);
            }
            api::Plan::Login { .. } if !self.options.config.auth => {
                // Nobody is asked for a token, but drivers that were given a password ask for one.
                let token = auth::token::issue(b"", auth::ROOT, self.wall_ms / 1000);
                self.http_answer(client, id, told(Answer::token(&token)));
            }
            api::Plan::Login { user, password } => {
                match self.known.passwords.ask(&metadata.users, &user, &password) {
                    Asked::Right => {
                        let key = metadata.token_key.as_deref().unwrap_or_default();
                        let token = auth::token::issue(key.as_bytes(), &user, self.wall_ms / 1000);
                        self.http_answer(client, id, told(Answer::token(&token)));
                    }
                    Asked::Wrong => self.http_answer(client, id, told(Answer::wrong_credentials())),
                    Asked::Judge(claim) => {
                        self.hand_in(client.conn, Job::Judge(claim), out);
                        self.http_keep(client, id, request);
                    }
                    Asked::Wait => self.http_keep(client, id, request),
                }
            }
            api::Plan::Change(change) => {
                let ticket = self.hand_in(client.conn, Job::Seal(change), out);
                self.http_state(client, id, State::Job(ticket));
            }
        }
        None
    }
}

/// Whether one may ask without saying who one is.
fn is_for_nobody(request: &Request) -> bool {
    let Some((_, segments)) = database_of(request) else { return false };
    let path = format!("/{}", segments.join("/"));
    auth::requirement(request.method.as_str(), &path, false) == auth::Requirement::Nothing
}

fn told(answer: Answer) -> Response {
    Response::json(answer.status, &answer.body)
}

fn unauthorized() -> Response {
    told(Answer::unauthorized()).with("WWW-Authenticate", "Bearer token_type=\"JWT\", realm=\"Baton\"")
}
