//! What becomes of one request: executed here, forwarded to another shard, redirected, parked or refused.

use super::Clients;
use super::connection::{Chunk, Client};
use super::inbox::Inbox;
use super::progress::Long;
use super::wait::{ParkedFor, Wait};
use crate::budget::{ARGS_PER_STEP, steps_of};
use crate::events::{Command, Face};
use crate::job::Job;
use crate::mail::Mail;
use crate::metadata::is_over;
use crate::mutants::{Mutant, lacks};
use crate::reads::Reader;
use crate::replication::Role;
use crate::serving::{Serving, Standing, level};
use crate::store::{FetchedValue, ShardStore, ValueRead, WantedRead};
use agency::ids::Nanos;
use engine::ids::{Lsn, ShardId};
use engine::shard::{Found, Op, View};
use faces::auth::Asked;
use faces::resp::{
    self, CLUSTER_DOWN, CROSS_SLOT, CommandOutcome, Context, Gather, LongRequest, Parsed, Replica, Request,
    Route, SHORT_ARGS, TRY_AGAIN, Verdict, parse, route,
};
use std::time::Duration;

/// What a writer is told where too few nodes would acknowledge, in Redis's words.
const NO_REPLICAS: &[u8] = b"-NOREPLICAS Not enough good replicas to write.\r\n";
/// What a writer is told while clients may only read.
const READ_ONLY: &[u8] = b"-READONLY the group is in read-only mode\r\n";
/// What is told to clients of a leader that sees no majority.
const NO_MAJORITY: &[u8] = b"-CLUSTERDOWN this leader sees no majority of its group\r\n";
/// What is told to one whose password was not judged in time, or who came before the users were known.
const NOT_JUDGED: &[u8] = b"-TRYAGAIN it could not be found out in time who may connect\r\n";
/// A possible attack is told at most this often.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Most expired keys deleted in one turn.
const EXPIRED_PER_TURN: usize = 64;

/// What is told to one whose request waited for too long to be carried out.
pub(super) const TOO_OLD: &[u8] = b"-TRYAGAIN the request waited for too long and was not carried out\r\n";
/// `GET` and `MGET` of more bytes are carried out in slices.
const LARGE_BYTES: usize = 64 << 10;
/// Bytes read from the disk for one command above which it is carried out in slices.
const MANY_READ_BYTES: usize = 4 << 20;
/// Arguments of a request above which each counts as a step.
const FEW_ARGS: usize = 8;

/// Whether the request was dealt with.
pub(super) enum Flow {
    Next,
    /// Not yet: `Client::wait` says why. The request stays in the inbox.
    Hold,
    /// It is to be carried out in slices; what was read from the disk for it.
    Slices(Vec<ValueRead>),
    /// So it is.
    Long(Box<Long>),
    /// Its client has had its share of this turn.
    Later,
}

impl Flow {
    fn or_long(self, request: &Request<'_>, bytes: &[u8], arrived: Nanos) -> Flow {
        match self {
            Flow::Slices(fetched) => {
                Flow::Long(Box::new(Long::new(LongRequest::of(request, bytes), arrived, fetched)))
            }
            other => other,
        }
    }
}

/// When the bytes came that are served.
#[derive(Clone, Copy)]
pub(super) enum Arrived<'a> {
    Now,
    At(Nanos),
    In(&'a Inbox),
}

impl Arrived<'_> {
    /// Those before `end`.
    fn before(self, end: usize, now: Nanos) -> Nanos {
        match self {
            Arrived::Now => now,
            Arrived::At(at) => at,
            Arrived::In(inbox) => inbox.arrived(end).unwrap_or(now),
        }
    }
}

impl Clients {
    /// Serves requests from the front of `bytes` as far as possible, and as the client's steps go; returns how many bytes
    /// were taken.
    pub(super) fn serve_all(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
        arrived: Arrived<'_>,
        at: &mut Serving<'_>,
    ) -> usize {
        let mut taken = 0;
        client.more = false;
        while !client.closing {
            if client.steps == 0 {
                client.more = client.long.is_some() || taken < bytes.len();
                return taken;
            }
            client.stranger = at.cx.options.settings.auth && client.session.user.is_none();
            let begins = client.long.is_none() && matches!(client.wait, Wait::No);
            if begins && !client.has_reply_room() {
                client.wait = Wait::Backlog;
                break;
            }
            let flow = if client.long.is_some() {
                self.go_on(client, &bytes[taken..], &mut taken, at)
            } else {
                match self.serve_next(client, &bytes[taken..], &mut taken, arrived, at) {
                    Some(flow) => flow,
                    None => break,
                }
            };
            match flow {
                Flow::Next => {}
                Flow::Slices(_) => unreachable!("it was made a long request"),
                Flow::Long(long) => client.long = Some(long),
                Flow::Hold => return taken,
                Flow::Later => {
                    client.more = true;
                    return taken;
                }
            }
            if !matches!(client.wait, Wait::No) {
                return taken;
            }
        }
        if client.closing { bytes.len() } else { taken }
    }

    /// Serves the request that `bytes` begin with, and notes how many were taken; `None`: it is not whole.
    fn serve_next(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
        taken: &mut usize,
        arrived: Arrived<'_>,
        at: &mut Serving<'_>,
    ) -> Option<Flow> {
        let limits = if client.stranger { &self.strangers } else { &self.limits };
        let before = client.backlog;
        match parse(bytes, limits, &mut client.parse) {
            Parsed::Incomplete => return None,
            Parsed::Unfinished => self.charge(client, SHORT_ARGS / ARGS_PER_STEP),
            Parsed::Skipped { consumed } => {
                *taken += consumed;
                self.charge(client, 1 + steps_of(consumed));
            }
            Parsed::Bad { consumed, reply, fatal } => {
                *taken += consumed;
                client.reply(at.cx.clock.turns, &reply);
                client.closing = fatal;
                self.charge(client, 1);
            }
            Parsed::Long { consumed, request } => {
                let came = arrived.before(*taken + consumed, at.cx.clock.now);
                self.charge(client, 1);
                return Some(Flow::Long(Box::new(Long::new(request, came, Vec::new()))));
            }
            Parsed::Request { consumed, request } => {
                let came = arrived.before(*taken + consumed, at.cx.clock.now);
                let flow = self.serve(client, &request, &bytes[..consumed], came, at);
                if matches!(flow, Flow::Next) {
                    *taken += consumed;
                }
                let args = if request.len() > FEW_ARGS { request.len() } else { 1 };
                let answered = client.backlog.saturating_sub(before);
                self.charge(client, args + steps_of(consumed) + steps_of(answered));
                return Some(flow);
            }
        }
        Some(Flow::Next)
    }

    /// So many steps were carried out for the client.
    pub(super) fn charge(&mut self, client: &mut Client, steps: usize) {
        client.steps = client.steps.saturating_sub(steps);
        self.budget.spend(steps);
    }

    fn warn_of_attack(&mut self, client: &Client, at: &mut Serving<'_>) {
        if self.warned_at.is_some_and(|told| at.cx.clock.now < told + WARNING_INTERVAL) {
            return;
        }
        self.warned_at = Some(at.cx.clock.now);
        let peer = &client.session.peer;
        let text = format!(
            "possible attack: {peer} sent an HTTP request to a port for Redis clients, as a web page can make a \
             browser do; its connection is closed"
        );
        at.cx.out.push(Command::Warn { text });
    }

    pub(super) fn serve(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        bytes: &[u8],
        arrived: Nanos,
        at: &mut Serving<'_>,
    ) -> Flow {
        let routed = route(request);
        if let Route::Error(reply) = &routed {
            if is_http(request) {
                client.closing = true;
                self.warn_of_attack(client, at);
            } else {
                client.reply(at.cx.clock.turns, reply);
            }
            return Flow::Next;
        }
        if at.cx.options.settings.auth
            && let Some(flow) = refuse_stranger(client, request, at)
        {
            return flow;
        }
        match routed {
            Route::Error(_) => unreachable!("answered above"),
            Route::NoKeys if keeps_asker_waiting(client, request, at) => Flow::Hold,
            Route::NoKeys => match resp::scatter_to_all(request) {
                Some(gather) if client.forwards() && at.cx.options.settings.shards > 1 => {
                    forward_to_all(client, gather, bytes, arrived, at);
                    Flow::Next
                }
                _ => self.execute(client, request, None, None, at).or_long(request, bytes, arrived),
            },
            Route::Keys { slot, keys, write } => {
                // What only reads, and has waited for the disk, is carried out whenever that answers.
                let reading = !write && matches!(client.wait, Wait::Reads { .. });
                if at.is_too_old(arrived) && !reading {
                    client.wait = Wait::No;
                    client.reply(at.cx.clock.turns, TOO_OLD);
                    return Flow::Next;
                }
                let settings = &at.cx.options.settings;
                // Nearly every request has one key, whose slot is known already.
                let (one_slot, owner) = if keys.clone().nth(1).is_none() {
                    (true, Some(settings.shard_of_slot(slot).0))
                } else {
                    (keys.same(|slot| slot).is_some(), keys.same(|slot| settings.shard_of_slot(slot).0))
                };
                if client.face == Face::Shard && !one_slot {
                    client.reply(at.cx.clock.turns, CROSS_SLOT);
                    return Flow::Next;
                }
                match owner {
                    Some(shard) if shard == at.cx.options.shard.0 => {
                        self.serve_here(client, request, slot, write, at).or_long(request, bytes, arrived)
                    }
                    Some(shard) if client.forwards() => {
                        let ticket = at.cx.tickets.ticket();
                        client.expect_remote(ticket, 1, None, bytes.len());
                        forward(client, ShardId(shard), ticket, bytes.to_vec(), arrived, at);
                        Flow::Next
                    }
                    None if client.forwards() && is_scattered(request) => {
                        Flow::Slices(Vec::new()).or_long(request, bytes, arrived)
                    }
                    None if client.forwards() => {
                        client.reply(at.cx.clock.turns, CROSS_SLOT);
                        Flow::Next
                    }
                    _ => {
                        client.reply(at.cx.clock.turns, &at.cx.group.topology().moved(slot));
                        Flow::Next
                    }
                }
            }
        }
    }

    /// A request for keys of this shard, all in `slot` if it is of one.
    fn serve_here(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        slot: u16,
        write: bool,
        at: &mut Serving<'_>,
    ) -> Flow {
        match may_execute(client, slot, write, at) {
            Ok(view) => self.execute(client, request, Some(view), None, at),
            Err(Refused::Parked) => Flow::Hold,
            Err(Refused::Answer(reply)) => {
                client.reply(at.cx.clock.turns, &reply);
                Flow::Next
            }
        }
    }

    /// Finds out whether the password in a request is right, then runs the request.
    fn judge(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        since: Option<Nanos>,
        at: &mut Serving<'_>,
    ) -> Flow {
        let Some(metadata) = at.metadata.current.clone() else { return wait_for_users(client, since, at) };
        let claimed = resp::claimed(request, &metadata.users);
        let (user, password) = claimed.expect("only a request with a password is judged");
        let right = match at.metadata.passwords.ask(&metadata.users, &user, &password) {
            Asked::Right => true,
            Asked::Wrong => false,
            Asked::Judge(claim) => {
                at.cx.hand_in(Job::Judge(claim));
                return wait_for_users(client, since, at);
            }
            Asked::Wait => return wait_for_users(client, since, at),
        };
        self.execute(client, request, None, Some(&Verdict { user, right }), at)
    }

    /// Runs a command. `view` is `None` for commands without keys, which any node answers; `verdict` is on the
    /// password in the request.
    fn execute(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        view: Option<View>,
        verdict: Option<&Verdict>,
        at: &mut Serving<'_>,
    ) -> Flow {
        let since = client.wait.for_users();
        let fetched = match std::mem::take(&mut client.wait) {
            Wait::Reads { fetched, .. } => fetched,
            _ => Vec::new(),
        };
        at.cx.stats.commands_processed += 1;
        let level = client.session.ack.unwrap_or(level(at.cx.options.settings.ack));
        let mut chunk = client.open_chunk(at.cx.clock.turns, level);
        let ran = self.run(client, request, view, verdict, &fetched, &mut chunk, at);
        client.close_chunk(chunk);
        match ran.outcome {
            CommandOutcome::Done => {}
            CommandOutcome::Long => return Flow::Slices(fetched),
            CommandOutcome::Close => client.closing = true,
            CommandOutcome::Judge => return self.judge(client, request, since, at),
            CommandOutcome::Shutdown => at.cx.out.push(Command::StopNode),
            CommandOutcome::Wait { replicas, timeout_ms } => {
                wait_for_copies(client, 0, replicas, false, timeout_ms, at);
            }
            CommandOutcome::WaitAof { local, replicas, timeout_ms } => {
                wait_for_copies(client, local, replicas, true, timeout_ms, at);
            }
            CommandOutcome::Blocked if ran.no_room => {
                client.wait = Wait::Room;
                return Flow::Hold;
            }
            CommandOutcome::Blocked if read_bytes(&fetched) > MANY_READ_BYTES && is_scattered(request) => {
                return Flow::Slices(fetched);
            }
            CommandOutcome::Blocked => {
                client.wait = Wait::Reads { outstanding: ran.wanted.len(), fetched };
                at.read_values(Reader::Client(client.conn), ran.wanted);
                return Flow::Hold;
            }
        }
        Flow::Next
    }

    /// Runs a command against the data; its reply goes into the chunk, with what that depends on.
    #[expect(clippy::too_many_arguments, reason = "one call's worth of what a command sees")]
    fn run(
        &self,
        client: &mut Client,
        request: &Request<'_>,
        view: Option<View>,
        verdict: Option<&Verdict>,
        fetched: &[ValueRead],
        chunk: &mut Chunk,
        at: &mut Serving<'_>,
    ) -> Ran {
        let replicas = if view.is_none() { replicas(at) } else { Vec::new() };
        let cx = &mut at.cx;
        let default_ack = level(cx.options.settings.ack);
        let wall_ms = cx.clock.wall_ms;
        let role = match (&at.replication.role, cx.group.configuration()) {
            (Role::Leader(_), _) => resp::ShardRole::Leader,
            (_, Some(configuration)) if configuration.in_sync.contains(cx.options.me) => {
                resp::ShardRole::Follower
            }
            _ => resp::ShardRole::Learner,
        };
        let users = cx.options.settings.auth.then_some(at.metadata.current.as_deref()).flatten();
        let describe =
            |lines: &mut String| self.map.values().for_each(|c| c.session.describe(wall_ms, lines));
        let context = Context {
            limits: &self.limits,
            large_bytes: LARGE_BYTES,
            users: users.map(|metadata| &metadata.users),
            verdict,
            topology: cx.group.topology(),
            shard: usize::from(cx.options.shard.0),
            role,
            leader_link_up: matches!(&at.replication.role, Role::Follower(follower) if follower.streams()),
            replicas: &replicas,
            written_lsn: cx.shard.tail().0,
            committed_lsn: cx.shard.committed().0,
            default_ack,
            port: client.port,
            pid: cx.options.pid,
            uptime_s: wall_ms.saturating_sub(cx.options.started_ms) / 1000,
            version: env!("CARGO_PKG_VERSION"),
            other_keys: 0,
            stats: cx.stats,
            clients: &describe,
        };
        let view_of_data = view.unwrap_or(View::Committed);
        let mut store = ShardStore::new(cx.shard, view_of_data, wall_ms, fetched, at.expired);
        let outcome = resp::execute(request, &mut client.session, &context, &mut store, &mut chunk.bytes);
        let ShardStore { wanted, wait, wrote, no_room, .. } = store;
        if !matches!(outcome, CommandOutcome::Blocked | CommandOutcome::Long) {
            let wait = if lacks(Mutant::ServesUncommitted) { Lsn(0) } else { wait };
            let needs = &mut chunk.needs;
            needs.read_upto = needs.read_upto.max(wait);
            needs.leased |= view == Some(View::Newest) && wrote.is_none();
            if let Some(end) = wrote {
                needs.wrote_upto = needs.wrote_upto.max(end);
                client.last_write = end;
            }
        }
        Ran { outcome, wanted, no_room }
    }
}

/// What came of a command.
struct Ran {
    outcome: CommandOutcome,
    /// Values that must be read first.
    wanted: Vec<WantedRead>,
    /// The log buffer is full.
    no_room: bool,
}

/// Why a request for keys of this shard is not executed.
pub(super) enum Refused {
    /// Not yet: `Client::wait` says so.
    Parked,
    Answer(Vec<u8>),
}

/// How a request for keys of this shard, the first in `slot`, may be executed, if it may.
pub(super) fn may_execute(
    client: &mut Client,
    slot: u16,
    write: bool,
    at: &Serving<'_>,
) -> Result<View, Refused> {
    let parked_since = client.wait.parked_since();
    let answer = match at.standing(write, client.session.readonly) {
        Standing::Execute(_) if write && at.metadata.read_only() => READ_ONLY.to_vec(),
        Standing::Execute(view) => return Ok(view),
        Standing::Redirect => at.cx.group.topology().moved(slot),
        Standing::Refuse => NO_MAJORITY.to_vec(),
        Standing::TooFewCopies => NO_REPLICAS.to_vec(),
        Standing::Park(limit) => {
            let since = parked_since.unwrap_or(at.cx.clock.now);
            if at.cx.clock.now < since + limit {
                client.wait = Wait::Parked { since, asks: ParkedFor::Keys { write } };
                return Err(Refused::Parked);
            }
            if at.replication.leads() { TRY_AGAIN } else { CLUSTER_DOWN }.to_vec()
        }
    };
    client.wait = Wait::No;
    Err(Refused::Answer(answer))
}

/// Bytes that were read from the disk for a command.
fn read_bytes(fetched: &[ValueRead]) -> usize {
    let bytes = |read: &ValueRead| match &read.found {
        FetchedValue::Value { value, .. } => value.len(),
        FetchedValue::OtherKey | FetchedValue::Failed(_) => 0,
    };
    fetched.iter().map(bytes).sum()
}

/// Whether its keys may be read or changed one by one.
fn is_scattered(request: &Request<'_>) -> bool {
    matches!(request.spec().map(|spec| spec.name), Some("mget" | "del" | "unlink" | "exists" | "touch"))
}

/// Whether one may not ask this, or not yet: then it is told so, or held back.
pub(super) fn refuse_stranger(client: &mut Client, request: &Request<'_>, at: &Serving<'_>) -> Option<Flow> {
    let Some(metadata) = &at.metadata.current else {
        let since = client.wait.for_users();
        return Some(wait_for_users(client, since, at));
    };
    let is_database = |name: &str| metadata.databases.contains_key(name);
    let text = resp::refusal(request, &client.session, &metadata.users, &is_database)?;
    client.wait = Wait::No;
    if !client.session.user.as_ref().is_some_and(|login| login.holds(&metadata.users)) {
        client.session.user = None;
    }
    client.reply(at.cx.clock.turns, format!("-{text}\r\n").as_bytes());
    Some(Flow::Next)
}

/// Whether a question about who leads had better wait, because somebody is about to: drivers that are told
/// of no leader forget the nodes that they know.
fn keeps_asker_waiting(client: &mut Client, request: &Request<'_>, at: &Serving<'_>) -> bool {
    let name = request.spec().map(|spec| spec.full_name);
    if !matches!(name, Some("cluster|slots" | "cluster|shards" | "cluster|nodes")) {
        return false;
    }
    let since = client.wait.parked_since().unwrap_or(at.cx.clock.now);
    if topology_is_led(at) || at.is_over(since) {
        return false;
    }
    client.wait = Wait::Parked { since, asks: ParkedFor::Leaders };
    true
}

/// Whether somebody is known to lead each shard.
pub(super) fn topology_is_led(at: &Serving<'_>) -> bool {
    let topology = at.cx.group.topology();
    topology.shards.iter().all(|shard| topology.live_leader(shard).is_some())
}

/// Holds a request back until more is known of users; it has waited `since` then. In the end it is refused.
fn wait_for_users(client: &mut Client, since: Option<Nanos>, at: &Serving<'_>) -> Flow {
    let since = since.unwrap_or(at.cx.clock.now);
    if is_over(at.cx.clock.now, since) {
        client.wait = Wait::No;
        client.reply(at.cx.clock.turns, NOT_JUDGED);
        return Flow::Next;
    }
    client.wait = Wait::Users { since, seen: at.metadata.generation };
    Flow::Hold
}

fn replicas(at: &Serving<'_>) -> Vec<Replica> {
    let (Some(leader), Some(configuration)) = (at.replication.leader(), at.cx.group.configuration()) else {
        return Vec::new();
    };
    let nodes = &at.cx.group.topology().nodes;
    let place = |index: u8| nodes.iter().position(|node| node.index == index);
    leader
        .followers()
        .filter_map(|(node, cursors)| {
            let in_sync = configuration.in_sync.contains(node);
            Some(Replica { node: place(node.0)?, durable_lsn: cursors.durable.0, in_sync })
        })
        .collect()
}

fn wait_for_copies(
    client: &mut Client,
    local: u32,
    replicas: u32,
    aof: bool,
    timeout_ms: u64,
    at: &Serving<'_>,
) {
    if !matches!(at.replication.role, Role::Leader(_)) {
        let text: &[u8] = if aof {
            b"-ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.\r\n"
        } else {
            b"-ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.\r\n"
        };
        return client.reply(at.cx.clock.turns, text);
    }
    let until = (timeout_ms > 0).then(|| Nanos(at.cx.clock.now.0 + timeout_ms.saturating_mul(1_000_000)));
    client.wait = Wait::Copies { lsn: client.last_write, local, replicas, aof, until };
    if count_copies(client, at) {
        client.wait = Wait::No;
    }
}

/// Answers a `WAIT` or `WAITAOF` whose copies are there or whose time is over.
pub(super) fn count_copies(client: &mut Client, at: &Serving<'_>) -> bool {
    let Wait::Copies { lsn, local, replicas, aof, until } = client.wait else { return false };
    let over = until.is_some_and(|until| at.cx.clock.now >= until);
    let (copies, here) = match &at.replication.role {
        Role::Leader(leader) if aof => (leader.copies(lsn, |c| c.durable), at.cx.shard.durable() >= lsn),
        Role::Leader(leader) => (leader.copies(lsn, |c| c.received), true),
        Role::Follower(_) | Role::Idle => {
            client.closing = true;
            return true;
        }
    };
    if at.cx.isolated && copies < replicas {
        client.closing = true;
        return true;
    }
    if !over && (copies < replicas || (local > 0 && !here)) {
        return false;
    }
    let text =
        if aof { format!("*2\r\n:{}\r\n:{copies}\r\n", u32::from(here)) } else { format!(":{copies}\r\n") };
    client.reply(at.cx.clock.turns, text.as_bytes());
    true
}

/// Deletes keys that were seen to have expired: the leader's frame decides, followers obey.
pub(crate) fn drop_expired(at: &mut Serving<'_>) {
    if at.replication.serves() {
        at.expired.sort();
        at.expired.dedup();
        for key in at.expired.iter().take(EXPIRED_PER_TURN) {
            let still = match at.cx.shard.find(key, View::Newest) {
                Found::Here { expiry_ms, .. } => expiry_ms != 0 && expiry_ms <= at.cx.clock.wall_ms,
                _ => false,
            };
            if still && at.cx.shard.append(&[Op::Delete { key }], at.cx.clock.wall_ms).is_err() {
                break;
            }
        }
    }
    at.expired.clear();
}

pub(super) fn forward(
    client: &Client,
    to: ShardId,
    ticket: u64,
    bytes: Vec<u8>,
    arrived: Nanos,
    at: &mut Serving<'_>,
) {
    let (from, conn, session) = (at.cx.options.shard, client.conn, client.session.clone());
    let mail = Mail::Request { from, conn, ticket, session, bytes, arrived };
    at.cx.out.push(Command::Mail { to, mail: Box::new(mail) });
}

/// The same request for every shard of the node.
fn forward_to_all(client: &mut Client, gather: Gather, bytes: &[u8], arrived: Nanos, at: &mut Serving<'_>) {
    let shards = at.cx.options.settings.shards;
    let first = at.cx.tickets.tickets(shards.into());
    client.expect_remote(first, shards.into(), Some(gather), bytes.len() * usize::from(shards));
    for (ticket, shard) in (first..).zip(0..shards) {
        forward(client, ShardId(shard), ticket, bytes.to_vec(), arrived, at);
    }
}

/// Whether this is a line of an HTTP request: what follows it may be commands in a body that a web page made up.
fn is_http(request: &Request<'_>) -> bool {
    let word = request.arg(0);
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}
