//! From a request to what is to be done, and to whom it is given.
//!
//! The path: who asks (`auth`) → what is to be done (`documents::plan`, or `admin`) → may the user → sub-requests to
//! the shards. A request that needs something that is not there yet keeps its slot and begins again.

use super::intent::Intent;
use super::slots::{EXPECTED_READ_BYTES, EXPECTED_WRITE_BYTES, Gathering, Part, Slot, SlotState, Then};
use super::{Http, HttpClient, HttpContext, Local, RESPONSE_BACKLOG_BYTES, waiting};
use crate::events::Command;
use crate::ids::ConnId;
use crate::job::{Job, Queue};
use crate::mail::Mail;
use crate::metadata::{KEEPER, is_over};
use crate::subrequest::share::{Share, Wanted};
use crate::subrequest::{Edit, NotServed, Staleness, SubRequest, Work};
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

impl Http {
    /// Takes a request: it gets its slot, and is begun.
    pub(super) fn request(
        &mut self,
        client: &mut HttpClient,
        request: Box<Request>,
        cx: &mut HttpContext<'_>,
    ) {
        cx.stats.commands_processed += 1;
        let id = cx.tickets.ticket();
        let (head, keep_alive) = (request.method == Method::Head, request.keep_alive);
        let intent = if is_too_large(&request, request.body.len()) {
            Err(too_large())
        } else if !cx.options.settings.auth && is_of_another_site(&request) {
            let text = "without users, no web page of another site may change anything (Origin is not Host)";
            Err(Response::error(403, 11, text))
        } else {
            Intent::of(&request)
        };
        match intent {
            Ok(intent) => {
                client.slots.push_back(Slot::new(id, intent, request, waiting(cx)));
                self.begin(client, id, cx);
            }
            Err(response) => {
                let intent = Intent { head, keep_alive, ..Intent::default() };
                let mut slot = Slot::new(id, intent, request, waiting(cx));
                slot.answer(response);
                client.slots.push_back(slot);
            }
        }
    }

    /// Tries again what could not be begun.
    pub(super) fn try_again(&mut self, client: &mut HttpClient, cx: &mut HttpContext<'_>) {
        let mut waiting: Vec<(u64, Nanos)> = Vec::new();
        for slot in &mut client.slots {
            if let SlotState::Waiting { since, seen } = &mut slot.state {
                *seen = cx.metadata.generation;
                waiting.push((slot.id, *since));
            }
        }
        for (id, since) in waiting {
            if is_over(cx.clock.now, since) {
                self.refuse(client, id, NotServed::NotNow, cx);
            } else {
                self.begin(client, id, cx);
            }
        }
    }

    /// Begins a request, or leaves it waiting.
    pub(super) fn begin(&mut self, client: &mut HttpClient, id: u64, cx: &mut HttpContext<'_>) {
        let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let Some(metadata) = cx.metadata.current.clone() else { return };
        let Some(mut request) = slot.request.take() else { return };
        let large = request.body.len() > LARGE_BODY_BYTES;
        let cost = REQUEST_COST + if large { 0 } else { request.body.len() };
        if self.planned + cost > PLANNED_PER_TURN {
            self.hungry = true;
            if let SlotState::Waiting { seen, .. } = &mut slot.state {
                // Due in the next turn.
                *seen = cx.metadata.generation.wrapping_sub(1);
            }
            slot.request = Some(request);
            return;
        }
        self.planned += cost;
        if cx.options.settings.auth {
            match self.asker(client.conn, &request, cx) {
                // Judged, or refused, when it is tried again.
                None => return self.keep(client, id, request),
                // What takes long is not done for nobody.
                Some(None) if !is_for_nobody(&request) => {
                    return self.answer(client, id, unauthorized());
                }
                // Judged once and for all: a request that has been planned may have lost its body.
                Some(asker) => {
                    if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
                        slot.asker = asker;
                    }
                }
            }
        }
        let (seed, wall_ms) = (self.draw(), cx.clock.wall_ms);
        if large {
            if self.jobs.is_full(Queue::Slow) {
                return self.refuse(client, id, NotServed::Crowded, cx);
            }
            let job = Job::Plan { request, metadata, seed, wall_ms, asker: client.asker() };
            let ticket = self.hand_in(client.conn, job, cx);
            return self.state(client, id, SlotState::Job(ticket));
        }
        let plan = documents::plan(&request, &metadata, seed, wall_ms);
        match &plan {
            // Made while it was planned.
            Plan::Reply(answer) => self.planned += answer.body.len(),
            Plan::NotMine => {}
            _ => request.body = Vec::new(),
        }
        let wanted = Wanted::of(plan, &cx.options.settings);
        self.planned(client, id, request, wanted, cx);
    }

    pub(super) fn keep(&mut self, client: &mut HttpClient, id: u64, request: Box<Request>) {
        if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
            slot.request = Some(request);
        }
    }

    pub(super) fn state(&mut self, client: &mut HttpClient, id: u64, state: SlotState) {
        if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
            slot.state = state;
        }
    }

    pub(super) fn answer(&mut self, client: &mut HttpClient, id: u64, response: Response) {
        if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
            slot.answer(response);
        }
    }

    /// Who asks: `Some(None)` is nobody, or one whose credentials are wrong; `None`: not known yet.
    fn asker(&mut self, conn: ConnId, request: &Request, cx: &mut HttpContext<'_>) -> Option<Option<String>> {
        let metadata = cx.metadata.current.clone()?;
        let token_key = metadata.token_key.as_deref().map(str::as_bytes);
        let now_s = cx.clock.wall_ms / 1000;
        let header = request.headers.get("authorization");
        let passwords = &mut cx.metadata.passwords;
        match auth::authenticate(header, &metadata.users, token_key, passwords, now_s) {
            Gate::User(user) => Some(Some(user)),
            Gate::Nobody | Gate::Refused => Some(None),
            Gate::Judge(claim) => {
                self.hand_in(conn, Job::Judge(claim), cx);
                None
            }
            Gate::Wait => None,
        }
    }

    /// It is known what has to be done for a request: done, if the user may.
    pub(super) fn planned(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        mut wanted: Wanted,
        cx: &mut HttpContext<'_>,
    ) {
        let Some((database, segments)) = database_of(&request) else {
            return self.answer(
                client,
                id,
                Response::error(400, 400, "the path is not percent-encoded UTF-8"),
            );
        };
        if cx.options.settings.auth {
            let reads = matches!(request.method, Method::Get | Method::Head | Method::Options)
                || matches!(wanted, Wanted::Documents { .. } | Wanted::Other(Plan::EveryShard(_)))
                    && !wanted.writes();
            let path = format!("/{}", segments.join("/"));
            let needed = auth::requirement(request.method.as_str(), &path, reads);
            let asker = client.slots.iter().find(|slot| slot.id == id).and_then(|p| p.asker.clone());
            let Some(metadata) = cx.metadata.current.as_deref() else { return };
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
                self.answer(client, id, response);
                return self.discard_plan(wanted, cx);
            }
        }
        match wanted {
            Wanted::Other(Plan::NotMine) => self.administer(client, id, request, &segments, cx),
            wanted => {
                // An answer may turn out to be made from outdated metadata.
                self.keep(client, id, request);
                self.carry_out(client, id, wanted, cx);
            }
        }
    }

    /// Carries out a plan for a slot.
    pub(super) fn carry_out(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        wanted: Wanted,
        cx: &mut HttpContext<'_>,
    ) {
        let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let ack = slot.intent.ack.unwrap_or(crate::serving::level(cx.options.settings.ack));
        let brings = matches!(wanted, Wanted::Documents { .. } | Wanted::Other(Plan::EveryShard(_)));
        // What has begun is gone on with.
        if brings && !slot.served && self.answers.is_full() {
            self.refuse(client, id, NotServed::Crowded, cx);
            return self.discard_plan(wanted, cx);
        }
        match wanted {
            Wanted::Other(Plan::Reply(response)) if slot.served => slot.answer(response),
            Wanted::Other(Plan::Reply(response)) => {
                let version = cx.metadata.version();
                let work = vec![(KEEPER, Work::Confirm { version }, Vec::new())];
                self.send(client, id, work, Then::Answer(response), false, Ack::Durable, cx);
            }
            Wanted::Documents { write, wait_for_sync, render, count, shares } => {
                let ack = if wait_for_sync { Ack::Durable } else { ack };
                let work = shares
                    .into_iter()
                    .map(|Share { shard, ops, order }| (shard, Work::Documents(ops), order))
                    .collect();
                let durable = ack == Ack::Durable;
                let then = Then::Conclude { render, count, write, durable };
                self.send(client, id, work, then, write, ack, cx);
            }
            // Refused as a whole, before a part of it is removed here.
            Wanted::Other(Plan::EveryShard(ScanBatch { write: true, .. }))
                if cx.group.topology().is_split() =>
            {
                self.refuse(client, id, NotServed::Split, cx);
            }
            Wanted::Other(Plan::EveryShard(ScanBatch { write, wait_for_sync, scan, render })) => {
                let ack = if wait_for_sync { Ack::Durable } else { ack };
                slot.barrier |= write;
                let shards = (0..cx.options.settings.shards).map(ShardId);
                let count = usize::from(cx.options.settings.shards);
                let work = shards.map(|shard| (shard, Work::Scan(scan.clone()), Vec::new())).collect();
                let durable = ack == Ack::Durable;
                let then = Then::Conclude { render, count, write, durable };
                self.send(client, id, work, then, write, ack, cx);
            }
            Wanted::Other(Plan::Metadata(change)) => self.edit(client, id, Edit::Documents(change), cx),
            Wanted::Other(Plan::WithUsers { users, change }) => {
                self.seal(client, id, users, Some(change), cx);
            }
            Wanted::Other(Plan::NotMine | Plan::Documents(_)) => {
                unreachable!("administration begins with a request, operations are sorted")
            }
        }
    }

    /// Has the passwords of users hashed; then the users are changed, and the rest with them.
    fn seal(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        users: Vec<api::UserChange>,
        then: Option<MetadataChange>,
        cx: &mut HttpContext<'_>,
    ) {
        if self.jobs.is_full(Queue::Secret) {
            return self.refuse(client, id, NotServed::Crowded, cx);
        }
        let ticket = self.hand_in(client.conn, Job::Seal { users, then }, cx);
        self.state(client, id, SlotState::Job(ticket));
    }

    /// Has the metadata changed; the answer is the response.
    pub(super) fn edit(&mut self, client: &mut HttpClient, id: u64, edit: Edit, cx: &mut HttpContext<'_>) {
        if let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) {
            slot.barrier = true;
        }
        let work = vec![(KEEPER, Work::Edit(edit), Vec::new())];
        self.send(client, id, work, Then::Edited, true, Ack::Durable, cx);
    }

    /// Sends sub-requests to the shards.
    #[expect(clippy::too_many_arguments, reason = "all of it goes into one subrequest")]
    fn send(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        work: Vec<(ShardId, Work, Vec<usize>)>,
        then: Then,
        write: bool,
        ack: Ack,
        cx: &mut HttpContext<'_>,
    ) {
        let first = cx.tickets.tickets(work.len());
        let Some(slot) = client.slots.iter_mut().find(|slot| slot.id == id) else { return };
        let asked = slot.intent.stale.filter(|_| !write);
        if !matches!(then, Then::Answer(_)) {
            slot.request = None;
        }
        let expected = work.iter().map(|(_, work, _)| expected_bytes(work, write)).sum();
        let mut parts = Vec::with_capacity(work.len());
        let mut subrequests = Vec::with_capacity(work.len());
        let (from, conn) = (cx.options.shard, client.conn);
        for (ticket, (shard, work, order)) in (first..).zip(work) {
            parts.push(Part { order, report: None });
            // Where no node leads all shards, nobody could go through all of them otherwise.
            let elsewhere = matches!(work, Work::Scan(_)) && !write && leads_first_but_not(shard, cx);
            let stale = asked.or(elsewhere.then_some(Staleness { at_most: None }));
            let answer = self.answers.open();
            let arrived = cx.clock.now;
            let subrequest = SubRequest { from, conn, ticket, work, write, stale, ack, answer, arrived };
            subrequests.push((shard, subrequest));
        }
        slot.state = SlotState::Gathering(Box::new(Gathering { first, parts, then, expected }));
        for (shard, subrequest) in subrequests {
            if shard == from {
                self.local.push_back(Local::Begin(Box::new(subrequest)));
            } else {
                client.asked_others = true;
                cx.out.push(Command::Mail {
                    to: shard,
                    mail: Box::new(Mail::SubRequest(Box::new(subrequest))),
                });
            }
        }
    }

    /// `/_open/auth` and `/_api/user`; `false`: it is about something else.
    pub(super) fn users(
        &mut self,
        client: &mut HttpClient,
        id: u64,
        request: Box<Request>,
        segments: &[String],
        cx: &mut HttpContext<'_>,
    ) -> Option<Box<Request>> {
        let Some(metadata) = cx.metadata.current.clone() else { return Some(request) };
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let databases: Vec<&str> = metadata.databases.keys().map(String::as_str).collect();
        let full = request.parameter("full").is_some_and(|value| value == "true" || value == "1");
        let method = request.method.as_str();
        let Some(planned) = api::plan(method, &path, full, &request.body, &metadata.users, &databases) else {
            return Some(request);
        };
        match planned {
            api::UserPlan::Answer(answer) if path.first() == Some(&"_open") => {
                self.answer(client, id, told(answer));
            }
            // Of the newest users, and only the leader knows these.
            api::UserPlan::Answer(answer) => {
                self.keep(client, id, request);
                self.carry_out(client, id, Wanted::Other(Plan::Reply(told(answer))), cx);
            }
            api::UserPlan::Login { .. } if !cx.options.settings.auth => {
                // Nobody is asked for a token, but drivers that were given a password ask for one. It must never
                // become good, should the group have users later: its key ends with this process.
                let key = token::derived_key(&cx.options.secret, "a token for nobody");
                let token = token::issue(&key, auth::ROOT, "", cx.clock.wall_ms / 1000);
                self.answer(client, id, told(Answer::token(&token)));
            }
            api::UserPlan::Login { user, password } => {
                match cx.metadata.passwords.ask(&metadata.users, &user, &password) {
                    Asked::Right => match (&metadata.token_key, metadata.users.get(&user)) {
                        (Some(key), Some(found)) => {
                            let now_s = cx.clock.wall_ms / 1000;
                            let token = token::issue(key.as_bytes(), &user, &found.password, now_s);
                            self.answer(client, id, told(Answer::token(&token)));
                        }
                        // The leader is about to make the key.
                        (None, _) | (_, None) => self.refuse(client, id, NotServed::NotNow, cx),
                    },
                    Asked::Wrong => self.answer(client, id, told(Answer::wrong_credentials())),
                    Asked::Judge(claim) => {
                        self.hand_in(client.conn, Job::Judge(claim), cx);
                        self.keep(client, id, request);
                    }
                    Asked::Wait => self.keep(client, id, request),
                }
            }
            api::UserPlan::Change(change) => {
                self.seal(client, id, vec![change], None, cx);
            }
        }
        None
    }
}

/// Whether this node leads shard 0, and another this one.
fn leads_first_but_not(shard: ShardId, cx: &HttpContext<'_>) -> bool {
    let leader = |shard: ShardId| cx.group.topology().shards[usize::from(shard.0)].leader;
    let me = Some(cx.group.topology().me);
    leader(KEEPER) == me && leader(shard).is_some_and(|_| leader(shard) != me)
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
