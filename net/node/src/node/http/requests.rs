//! From a request to what is to be done, and to whom it is given.
//!
//! The path: who asks (`auth`) → what is to be done (`documents::plan`, or `admin`) → may the user → errands to
//! the shards. A request that needs something that is not there yet keeps its place and begins again.

use super::places::{EXPECTED_READ_BYTES, EXPECTED_WRITE_BYTES, Gathering, Part, Place, State, Then};
use super::{HttpClient, Node, RESPONSE_BACKLOG_BYTES};
use crate::job::{Job, Queue};
use crate::mail::{Edit, Errand, Mail, Refusal, Staleness, Work};
use crate::node::known::{KEEPER, is_over};
use crate::node::shares::{Share, Wanted};
use crate::seam::{Action, ConnId};
use crate::units::Span;
use agency::ids::Nanos;
use engine::ids::ShardId;
use faces::auth::api::{self, Answer};
use faces::auth::{self, Asked, Gate, token};
use faces::documents::{self, MetadataChange, Plan, ScanBatch, database_of};
use faces::http::{Method, Request, Response};
use faces::resp::Ack;

/// A body above this size is planned by the control threads: parsing it would hold up everybody else. JSON of the
/// worst kind takes a quarter of a microsecond per byte.
const LARGE_BODY_BYTES: usize = 16 << 10;
/// Largest body of a request that is not about documents: it is parsed on the shard's thread, at the very least
/// for `/_open/auth`, which anybody may ask.
const MAX_ADMINISTRATION_BODY_BYTES: usize = 16 << 10;
const _: () = assert!(MAX_ADMINISTRATION_BODY_BYTES <= LARGE_BODY_BYTES);
/// What one turn plans, in bytes of bodies and of answers that are known at once; further requests wait for the
/// next turn.
const PLANNED_PER_TURN: usize = 32 << 10;
/// What a request costs besides its body, in bytes of bodies.
const REQUEST_COST: usize = 128;

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
        let at_most = match headers.get("x-baton-max-staleness").map(str::parse::<Span>) {
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
        let intent = if is_too_large(&request, request.body.len()) {
            Err(too_large())
        } else if !self.options.settings.auth && is_of_another_site(&request) {
            let text = "without users, no web page of another site may change anything (Origin is not Host)";
            Err(Response::error(403, 11, text))
        } else {
            Intent::of(&request)
        };
        match intent {
            Ok(intent) => {
                client.places.push_back(Place::new(id, intent, request, self.http_waiting()));
                self.http_begin(client, id, out);
            }
            Err(response) => {
                let intent = Intent { head, keep_alive, ..Intent::default() };
                let mut place = Place::new(id, intent, request, self.http_waiting());
                place.answer(response);
                client.places.push_back(place);
            }
        }
    }

    /// Tries again what could not be begun.
    pub(super) fn http_try_again(&mut self, client: &mut HttpClient, out: &mut Vec<Action>) {
        let mut waiting: Vec<(u64, Nanos)> = Vec::new();
        for place in &mut client.places {
            if let State::Waiting { since, seen } = &mut place.state {
                *seen = self.known.generation;
                waiting.push((place.id, *since));
            }
        }
        for (id, since) in waiting {
            if is_over(self.now, since) {
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
            if let State::Waiting { seen, .. } = &mut place.state {
                // Due in the next turn.
                *seen = self.known.generation.wrapping_sub(1);
            }
            place.request = Some(request);
            return;
        }
        self.http.planned += cost;
        if self.options.settings.auth {
            match self.http_asker(client.conn, &request, out) {
                // Judged, or refused, when it is tried again.
                None => return self.http_keep(client, id, request),
                // What takes long is not done for nobody.
                Some(None) if !is_for_nobody(&request) => {
                    return self.http_answer(client, id, unauthorized());
                }
                // Judged once and for all: a request that has been planned may have lost its body.
                Some(asker) => {
                    if let Some(place) = client.places.iter_mut().find(|place| place.id == id) {
                        place.asker = asker;
                    }
                }
            }
        }
        let (seed, wall_ms) = (self.http.draw(), self.wall_ms);
        if large {
            if self.http.jobs.is_full(Queue::Slow) {
                return self.http_refuse(client, id, Refusal::Crowded);
            }
            let job = Job::Plan { request, metadata, seed, wall_ms, asker: client.asker() };
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
        let wanted = Wanted::of(plan, &self.options.settings);
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
        let token_key = metadata.token_key.as_deref().map(str::as_bytes);
        let now_s = self.wall_ms / 1000;
        let header = request.headers.get("authorization");
        let passwords = &mut self.known.passwords;
        match auth::authenticate(header, &metadata.users, token_key, passwords, now_s) {
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
    pub(super) fn http_planned(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        mut wanted: Wanted,
        out: &mut Vec<Action>,
    ) {
        let Some((database, segments)) = database_of(&request) else {
            return self.http_answer(
                client,
                id,
                Response::error(400, 400, "the path is not percent-encoded UTF-8"),
            );
        };
        if self.options.settings.auth {
            let reads = matches!(request.method, Method::Get | Method::Head | Method::Options)
                || matches!(wanted, Wanted::Documents { .. } | Wanted::Other(Plan::EveryShard(_)))
                    && !wanted.writes();
            let path = format!("/{}", segments.join("/"));
            let needed = auth::requirement(request.method.as_str(), &path, reads);
            let asker = client.places.iter().find(|place| place.id == id).and_then(|p| p.asker.clone());
            let Some(metadata) = self.known.metadata.as_deref() else { return };
            if auth::permitted(&metadata.users, asker.as_deref(), &database, &needed) {
                if let Some(user) = &asker
                    && path == "/_api/database/user"
                    && matches!(&wanted, Wanted::Other(Plan::Reply(names)) if names.status == 200)
                {
                    wanted = Wanted::Other(Plan::Reply(documents::databases_of(metadata, user)));
                }
            } else {
                let response = match asker {
                    Some(_) => told(Answer::forbidden()),
                    None => unauthorized(),
                };
                self.http_answer(client, id, response);
                return self.discard_plan(wanted, out);
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
        let ack = place.intent.ack.unwrap_or(crate::node::serve::level(self.options.settings.ack));
        let brings = matches!(wanted, Wanted::Documents { .. } | Wanted::Other(Plan::EveryShard(_)));
        // What has begun is gone on with.
        if brings && !place.served && self.http.answers.is_full() {
            self.http_refuse(client, id, Refusal::Crowded);
            return self.discard_plan(wanted, out);
        }
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
                let shards = (0..self.options.settings.shards).map(ShardId);
                let count = usize::from(self.options.settings.shards);
                let work = shards.map(|shard| (shard, Work::Scan(scan.clone()), Vec::new())).collect();
                let durable = ack == Ack::Durable;
                let then = Then::Conclude { render, count, write, durable };
                self.http_send(client, id, work, then, write, ack, out);
            }
            Wanted::Other(Plan::Metadata(change)) => self.http_edit(client, id, Edit::Documents(change), out),
            Wanted::Other(Plan::WithUsers { users, change }) => {
                self.http_seal(client, id, users, Some(change), out);
            }
            Wanted::Other(Plan::NotMine | Plan::Documents(_)) => {
                unreachable!("administration begins with a request, operations are sorted")
            }
        }
    }

    /// Has the passwords of users hashed; then the users are changed, and the rest with them.
    fn http_seal(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        users: Vec<api::UserChange>,
        then: Option<MetadataChange>,
        out: &mut Vec<Action>,
    ) {
        if self.http.jobs.is_full(Queue::Secret) {
            return self.http_refuse(client, id, Refusal::Crowded);
        }
        let ticket = self.hand_in(client.conn, Job::Seal { users, then }, out);
        self.http_state(client, id, State::Job(ticket));
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
        let expected = work.iter().map(|(_, work, _)| expected_bytes(work, write)).sum();
        let mut parts = Vec::with_capacity(work.len());
        let mut errands = Vec::with_capacity(work.len());
        let (from, conn) = (self.options.shard, client.conn);
        for (ticket, (shard, work, order)) in (first..).zip(work) {
            parts.push(Part { order, report: None });
            // Where no node leads all shards, nobody could go through all of them otherwise.
            let elsewhere = matches!(work, Work::Scan(_)) && !write && self.leads_first_but_not(shard);
            let stale = asked.or(elsewhere.then_some(Staleness { at_most: None }));
            let answer = self.http.answers.open();
            errands.push((shard, Errand { from, conn, ticket, work, write, stale, ack, answer }));
        }
        place.state = State::Gathering(Box::new(Gathering { first, parts, then, expected }));
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
            api::UserPlan::Answer(answer) if path.first() == Some(&"_open") => {
                self.http_answer(client, id, told(answer));
            }
            // Of the newest users, and only the leader knows these.
            api::UserPlan::Answer(answer) => {
                self.http_keep(client, id, request);
                self.http_carry_out(client, id, Wanted::Other(Plan::Reply(told(answer))), out);
            }
            api::UserPlan::Login { .. } if !self.options.settings.auth => {
                // Nobody is asked for a token, but drivers that were given a password ask for one. It must never
                // become good, should the group have users later: its key ends with this process.
                let key = token::derived_key(&self.options.secret, "a token for nobody");
                let token = token::issue(&key, auth::ROOT, "", self.wall_ms / 1000);
                self.http_answer(client, id, told(Answer::token(&token)));
            }
            api::UserPlan::Login { user, password } => {
                match self.known.passwords.ask(&metadata.users, &user, &password) {
                    Asked::Right => match (&metadata.token_key, metadata.users.get(&user)) {
                        (Some(key), Some(found)) => {
                            let now_s = self.wall_ms / 1000;
                            let token = token::issue(key.as_bytes(), &user, &found.password, now_s);
                            self.http_answer(client, id, told(Answer::token(&token)));
                        }
                        // The leader is about to make the key.
                        (None, _) | (_, None) => self.http_refuse(client, id, Refusal::NotNow),
                    },
                    Asked::Wrong => self.http_answer(client, id, told(Answer::wrong_credentials())),
                    Asked::Judge(claim) => {
                        self.hand_in(client.conn, Job::Judge(claim), out);
                        self.http_keep(client, id, request);
                    }
                    Asked::Wait => self.http_keep(client, id, request),
                }
            }
            api::UserPlan::Change(change) => {
                self.http_seal(client, id, vec![change], None, out);
            }
        }
        None
    }
}

/// What is expected to come of it.
fn expected_bytes(work: &Work, write: bool) -> usize {
    match work {
        Work::Documents(ops) if write => ops.len() * EXPECTED_WRITE_BYTES,
        Work::Documents(ops) => ops.len() * EXPECTED_READ_BYTES,
        // One of them at a time, whatever it is.
        Work::Scan(_) => RESPONSE_BACKLOG_BYTES,
        Work::Confirm { .. } | Work::Edit(_) => 0,
    }
}

/// Whether one may ask without saying who one is.
fn is_for_nobody(request: &Request) -> bool {
    let Some((_, segments)) = database_of(request) else { return false };
    let path = format!("/{}", segments.join("/"));
    auth::requirement(request.method.as_str(), &path, false) == auth::Requirement::Nothing
}

/// Whether a body of this length is more than such a request may have.
pub(super) fn is_too_large(request: &Request, bytes: usize) -> bool {
    let administers = |(_, segments): (String, Vec<String>)| {
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        documents::is_not_mine(&path)
    };
    bytes > MAX_ADMINISTRATION_BODY_BYTES && database_of(request).is_some_and(administers)
}

/// The answer to that.
pub(super) fn too_large() -> Response {
    let text = format!("the body of such a request has at most {MAX_ADMINISTRATION_BODY_BYTES} bytes");
    Response::error(413, 413, &text)
}

/// Whether a browser says that a page from elsewhere made this request, which may change something.
fn is_of_another_site(request: &Request) -> bool {
    let reads = matches!(request.method, Method::Get | Method::Head | Method::Options);
    let host = request.headers.get("host").unwrap_or_default();
    let is_host = |(_, site): (&str, &str)| site.eq_ignore_ascii_case(host);
    !reads && request.headers.all("origin").any(|origin| !origin.split_once("://").is_some_and(is_host))
}

fn told(answer: Answer) -> Response {
    Response::json(answer.status, &answer.body)
}

fn unauthorized() -> Response {
    told(Answer::unauthorized()).with("WWW-Authenticate", "Bearer token_type=\"JWT\", realm=\"Baton\"")
}
