//! What becomes of one request: executed here, forwarded to another shard, redirected, parked or refused.

use super::access::{Access, Fetched, FetchedValue};
use super::clients::Client;
use super::known::is_over;
use super::repair::Fault;
use super::waiting::Wait;
use super::{Node, ReadFor, Reader, Role};
use crate::job::Job;
use crate::mail::Mail;
use crate::mutants::{Mutant, lacks};
use crate::seam::{Action, Face};
use crate::settings;
use agency::ids::Nanos;
use engine::ids::{Lsn, ShardId};
use engine::segment::Location;
use engine::shard::{Decoded, Found, Op, View};
use faces::auth::Asked;
use faces::resp::{
    self, Ack, CLUSTER_DOWN, CROSS_SLOT, CommandOutcome, Context, Gather, Parsed, Replica, Request, Route,
    TRY_AGAIN, Verdict, parse, route,
};

/// A request that nobody can serve is parked this long before it is refused: long enough for a failover.
pub(super) const PARK_LIMIT: Nanos = Nanos(200_000_000);
/// The same at a leader that is starting or handing over.
const LEADER_PARK_LIMIT: Nanos = Nanos(3_000_000_000);
/// What a writer is told while clients may only read.
const READ_ONLY: &[u8] = b"-READONLY the group is in read-only mode\r\n";
/// What is told to one whose password was not judged in time, or who came before the users were known.
const NOT_JUDGED: &[u8] = b"-TRYAGAIN it could not be found out in time who may connect\r\n";
/// A possible attack is told at most this often.
const WARNING_INTERVAL: Nanos = Nanos(60_000_000_000);
/// Most expired keys deleted in one turn.
const EXPIRED_PER_TURN: usize = 64;

/// What is to be done with a request for keys of this shard.
pub(super) enum Standing {
    Execute(View),
    Park(Nanos),
    Redirect,
}

/// Whether the request was dealt with.
enum Flow {
    Next,
    /// Not yet: `Client::wait` says why. The request stays in the inbox.
    Hold,
}

impl Node {
    /// Serves requests from the front of `bytes` as far as possible; returns how many bytes were taken.
    pub(super) fn serve_all(&mut self, client: &mut Client, bytes: &[u8], out: &mut Vec<Action>) -> usize {
        let mut at = 0;
        while !client.closing {
            client.stranger = self.options.settings.auth && client.session.user.is_none();
            if !client.has_reply_room() {
                client.wait = Wait::Backlog;
                break;
            }
            let limits = if client.stranger { &self.clients.strangers } else { &self.clients.limits };
            match parse(&bytes[at..], limits, &mut client.parse) {
                Parsed::Incomplete => break,
                Parsed::Skipped { consumed } => at += consumed,
                Parsed::Bad { consumed, reply, fatal } => {
                    at += consumed;
                    client.reply(self.turns, &reply);
                    client.closing = fatal;
                }
                Parsed::Request { consumed, request } => {
                    let whole = &bytes[at..at + consumed];
                    match self.serve(client, &request, whole, out) {
                        Flow::Next => at += consumed,
                        Flow::Hold => return at,
                    }
                    if !matches!(client.wait, Wait::No) {
                        return at;
                    }
                }
            }
        }
        if client.closing { bytes.len() } else { at }
    }

    fn warn_of_attack(&mut self, client: &Client, out: &mut Vec<Action>) {
        if self.clients.warned_at.is_some_and(|at| self.now.0 < at.0 + WARNING_INTERVAL.0) {
            return;
        }
        self.clients.warned_at = Some(self.now);
        let peer = &client.session.peer;
        let text = format!(
            "possible attack: {peer} sent an HTTP request to a port for Redis clients, as a web page can make a \
             browser do; its connection is closed"
        );
        out.push(Action::Warn { text });
    }

    fn serve(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> Flow {
        let routed = route(request);
        if let Route::Error(reply) = &routed {
            if is_http(request) {
                client.closing = true;
                self.warn_of_attack(client, out);
                return Flow::Next;
            }
            client.reply(self.turns, reply);
            return Flow::Next;
        }
        if self.options.settings.auth {
            let Some(metadata) = &self.known.metadata else {
                let since = client.wait.for_users();
                return self.wait_for_users(client, since);
            };
            let is_database = |name: &str| metadata.databases.contains_key(name);
            if let Some(text) = resp::refusal(request, &client.session, &metadata.users, &is_database) {
                client.wait = Wait::No;
                if !client.session.user.as_ref().is_some_and(|login| login.holds(&metadata.users)) {
                    client.session.user = None;
                }
                client.reply(self.turns, format!("-{text}\r\n").as_bytes());
                return Flow::Next;
            }
        }
        let (slot, keys, write) = match routed {
            Route::Error(_) => unreachable!("answered above"),
            Route::NoKeys => {
                if self.keeps_asker_waiting(client, request) {
                    return Flow::Hold;
                }
                return match resp::scatter_to_all(request) {
                    Some(gather) if client.forwards() && self.options.settings.shards > 1 => {
                        self.forward_to_all(client, gather, bytes, out);
                        Flow::Next
                    }
                    _ => self.execute(client, request, None, None, out),
                };
            }
            Route::Keys { slot, keys, write } => (slot, keys, write),
        };
        let settings = &self.options.settings;
        // Nearly every request has one key, whose slot is known already.
        let (one_slot, owner) = if keys.clone().nth(1).is_none() {
            (true, Some(settings.shard_of_slot(slot).0))
        } else {
            (keys.same(|slot| slot).is_some(), keys.same(|slot| settings.shard_of_slot(slot).0))
        };
        if client.face == Face::Shard && !one_slot {
            client.reply(self.turns, CROSS_SLOT);
            return Flow::Next;
        }
        match owner {
            Some(shard) if shard == self.options.shard.0 => {}
            Some(shard) if client.forwards() => {
                let ticket = self.ticket();
                client.expect_remote(ticket, 1, None);
                self.forward(client, ShardId(shard), ticket, bytes.to_vec(), out);
                return Flow::Next;
            }
            None if client.forwards() => {
                self.scatter(client, request, out);
                return Flow::Next;
            }
            _ => {
                client.reply(self.turns, &self.topology.moved(slot));
                return Flow::Next;
            }
        }
        match self.standing(write, client.session.readonly) {
            Standing::Execute(_) if write && self.known.read_only() => {
                client.wait = Wait::No;
                client.reply(self.turns, READ_ONLY);
                Flow::Next
            }
            Standing::Execute(view) => self.execute(client, request, Some(view), None, out),
            Standing::Redirect => {
                client.wait = Wait::No;
                client.reply(self.turns, &self.topology.moved(slot));
                Flow::Next
            }
            Standing::Park(limit) => {
                let since = match client.wait {
                    Wait::Parked { since } => since,
                    _ => self.now,
                };
                if self.now.0 >= since.0 + limit.0 {
                    client.wait = Wait::No;
                    let leads = matches!(self.role, Role::Leader(_));
                    client.reply(self.turns, if leads { TRY_AGAIN } else { CLUSTER_DOWN });
                    return Flow::Next;
                }
                client.wait = Wait::Parked { since };
                Flow::Hold
            }
        }
    }

    /// Whether a question about who leads had better wait, because somebody is about to: drivers that are told
    /// of no leader forget the nodes that they know.
    fn keeps_asker_waiting(&self, client: &mut Client, request: &Request<'_>) -> bool {
        let name = request.spec().map(|spec| spec.full_name);
        if !matches!(name, Some("cluster|slots" | "cluster|shards" | "cluster|nodes")) {
            return false;
        }
        let topology = &self.topology;
        let led = topology.shards.iter().all(|shard| topology.live_leader(shard).is_some());
        let since = match client.wait {
            Wait::Parked { since } => since,
            _ => self.now,
        };
        if led || self.now.0 >= since.0 + PARK_LIMIT.0 {
            return false;
        }
        client.wait = Wait::Parked { since };
        true
    }

    pub(super) fn standing(&self, write: bool, readonly: bool) -> Standing {
        match &self.role {
            Role::Leader(leader) if leader.serves() && self.stopping.is_none() => {
                if (write && !lacks(Mutant::StopsWithoutMajority)) || self.lease_holds() {
                    Standing::Execute(View::Newest)
                } else {
                    Standing::Park(PARK_LIMIT)
                }
            }
            Role::Leader(_) => Standing::Park(LEADER_PARK_LIMIT),
            Role::Follower(_) if readonly && !write => Standing::Execute(View::Committed),
            Role::Follower(follower) => {
                let broken = follower.lost_since().is_some_and(|at| self.now.0 < at.0 + PARK_LIMIT.0);
                let shard = &self.topology.shards[self.options.shard.0 as usize];
                let lost = self.update.is_none_or(|update| update.leader_lost) || broken;
                if lost || self.topology.live_leader(shard).is_none() {
                    Standing::Park(PARK_LIMIT)
                } else {
                    Standing::Redirect
                }
            }
            Role::Idle => Standing::Park(PARK_LIMIT),
        }
    }

    /// Holds a request back until more is known of users; it has waited `since` then. In the end it is refused.
    fn wait_for_users(&self, client: &mut Client, since: Option<Nanos>) -> Flow {
        let since = since.unwrap_or(self.now);
        if is_over(self.now, since) {
            client.wait = Wait::No;
            client.reply(self.turns, NOT_JUDGED);
            return Flow::Next;
        }
        client.wait = Wait::Users { since, seen: self.known.generation };
        Flow::Hold
    }

    /// Finds out whether the password in a request is right, then runs the request.
    fn judge(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        since: Option<Nanos>,
        out: &mut Vec<Action>,
    ) -> Flow {
        let Some(metadata) = self.known.metadata.clone() else { return self.wait_for_users(client, since) };
        let claimed = resp::claimed(request, &metadata.users);
        let (user, password) = claimed.expect("only a request with a password is judged");
        let right = match self.known.passwords.ask(&metadata.users, &user, &password) {
            Asked::Right => true,
            Asked::Wrong => false,
            Asked::Judge(claim) => {
                self.hand_in(client.conn, Job::Judge(claim), out);
                return self.wait_for_users(client, since);
            }
            Asked::Wait => return self.wait_for_users(client, since),
        };
        self.execute(client, request, None, Some(&Verdict { user, right }), out)
    }

    /// Runs a command. `view` is `None` for commands without keys, which any node answers; `verdict` is on the
    /// password in the request.
    fn execute(
        &mut self,
        client: &mut Client,
        request: &Request<'_>,
        view: Option<View>,
        verdict: Option<&Verdict>,
        out: &mut Vec<Action>,
    ) -> Flow {
        let since = client.wait.for_users();
        let fetched = match std::mem::take(&mut client.wait) {
            Wait::Reads { fetched, .. } => fetched,
            _ => Vec::new(),
        };
        let replicas = if view.is_none() { self.replicas() } else { Vec::new() };
        let default_ack = level(self.options.settings.ack);
        let level = client.session.ack.unwrap_or(default_ack);
        let turn = self.turns;
        let role = match (&self.role, &self.update) {
            (Role::Leader(_), _) => resp::ShardRole::Leader,
            (_, Some(update)) if update.configuration.in_sync.contains(self.options.me) => {
                resp::ShardRole::Follower
            }
            _ => resp::ShardRole::Learner,
        };
        let known = self.options.settings.auth.then(|| self.known.metadata.clone()).flatten();
        let others = &self.clients.map;
        let wall_ms = self.wall_ms;
        let describe = |lines: &mut String| others.values().for_each(|c| c.session.describe(wall_ms, lines));
        self.clients.stats.commands_processed += 1;
        let context = Context {
            limits: &self.clients.limits,
            users: known.as_deref().map(|metadata| &metadata.users),
            verdict,
            topology: &self.topology,
            shard: self.options.shard.0 as usize,
            role,
            leader_link_up: matches!(&self.role, Role::Follower(follower) if follower.streams()),
            replicas: &replicas,
            written_lsn: self.shard.tail().0,
            committed_lsn: self.shard.committed().0,
            default_ack,
            port: client.port,
            pid: self.options.pid,
            uptime_s: wall_ms.saturating_sub(self.options.started_ms) / 1000,
            version: env!("CARGO_PKG_VERSION"),
            other_keys: 0,
            stats: &self.clients.stats,
            clients: &describe,
        };
        let mut access = Access {
            shard: &mut self.shard,
            view: view.unwrap_or(View::Committed),
            wall_ms,
            fetched: &fetched,
            expired: &mut self.clients.expired,
            wanted: Vec::new(),
            wait: Lsn(0),
            wrote: None,
            no_room: false,
        };
        let mut chunk = client.open_chunk(turn, level);
        let outcome = resp::execute(request, &mut client.session, &context, &mut access, &mut chunk.bytes);
        let Access { wanted, wait, wrote, no_room, .. } = access;
        if !matches!(outcome, CommandOutcome::Blocked) {
            let wait = if lacks(Mutant::ServesUncommitted) { Lsn(0) } else { wait };
            let needs = &mut chunk.needs;
            needs.read_upto = needs.read_upto.max(wait);
            needs.leased |= view == Some(View::Newest) && wrote.is_none();
            if let Some(end) = wrote {
                needs.wrote_upto = needs.wrote_upto.max(end);
                client.last_write = end;
            }
        }
        client.close_chunk(chunk);
        match outcome {
            CommandOutcome::Done => {}
            CommandOutcome::Close => client.closing = true,
            CommandOutcome::Judge => return self.judge(client, request, since, out),
            CommandOutcome::Shutdown => out.push(Action::StopNode),
            CommandOutcome::Wait { replicas, timeout_ms } => {
                self.wait_for_copies(client, 0, replicas, false, timeout_ms)
            }
            CommandOutcome::WaitAof { local, replicas, timeout_ms } => {
                self.wait_for_copies(client, local, replicas, true, timeout_ms)
            }
            CommandOutcome::Blocked if no_room => {
                client.wait = Wait::Room;
                return Flow::Hold;
            }
            CommandOutcome::Blocked => {
                client.wait = Wait::Reads { outstanding: wanted.len(), fetched };
                for want in wanted {
                    let ticket = self.ticket();
                    let reader = Reader::Client(client.conn);
                    let reason = ReadFor::Client { reader, at: want.at, key: want.key };
                    self.reads.insert(ticket, reason);
                    out.push(Action::Read { ticket, spec: want.spec });
                }
                return Flow::Hold;
            }
        }
        Flow::Next
    }

    fn replicas(&self) -> Vec<Replica> {
        let (Role::Leader(leader), Some(update)) = (&self.role, &self.update) else { return Vec::new() };
        let place = |index: u8| self.topology.nodes.iter().position(|node| node.index == index);
        leader
            .followers()
            .filter_map(|(node, cursors)| {
                let in_sync = update.configuration.in_sync.contains(node);
                Some(Replica { node: place(node.0)?, durable_lsn: cursors.durable.0, in_sync })
            })
            .collect()
    }

    /// The answer to a read for a held command.
    pub(super) fn client_read_done(
        &mut self,
        reader: Reader,
        at: Location,
        key: Box<[u8]>,
        bytes: Option<&[u8]>,
        out: &mut Vec<Action>,
    ) {
        let found = match bytes.map(|bytes| self.shard.decode(at, &key, bytes)) {
            Some(Decoded::Value { value, expiry_ms, revision }) => {
                FetchedValue::Value { value: value.to_vec(), expiry_ms, revision }
            }
            Some(Decoded::Missing) => FetchedValue::OtherKey,
            Some(Decoded::More(spec)) => {
                let ticket = self.ticket();
                self.reads.insert(ticket, ReadFor::Client { reader, at, key });
                return out.push(Action::Read { ticket, spec });
            }
            Some(Decoded::Corrupt) => return self.repair_value(reader, at, key, Fault::Checksum, out),
            None => return self.repair_value(reader, at, key, Fault::Unreadable, out),
        };
        self.hand_over(reader, Fetched { at, key, found }, out);
    }

    /// Gives a value to whoever wants it.
    pub(super) fn hand_over(&mut self, reader: Reader, value: Fetched, out: &mut Vec<Action>) {
        match reader {
            Reader::Client(conn) => self.fetched(conn, value, out),
            Reader::Errand { lane, id } => self.errand_fetched(lane, id, value, out),
            Reader::Metadata => self.metadata_fetched(value, out),
        }
    }

    fn wait_for_copies(
        &mut self,
        client: &mut Client,
        local: u32,
        replicas: u32,
        aof: bool,
        timeout_ms: u64,
    ) {
        if !matches!(self.role, Role::Leader(_)) {
            let text: &[u8] = if aof {
                b"-ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.\r\n"
            } else {
                b"-ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to replicas are just local and are not propagated.\r\n"
            };
            return client.reply(self.turns, text);
        }
        let until = (timeout_ms > 0).then(|| Nanos(self.now.0 + timeout_ms.saturating_mul(1_000_000)));
        client.wait = Wait::Copies { lsn: client.last_write, local, replicas, aof, until };
        if self.count_copies(client) {
            client.wait = Wait::No;
        }
    }

    /// Answers a `WAIT` or `WAITAOF` whose copies are there or whose time is over.
    pub(super) fn count_copies(&mut self, client: &mut Client) -> bool {
        let Wait::Copies { lsn, local, replicas, aof, until } = client.wait else { return false };
        let over = until.is_some_and(|until| self.now >= until);
        let (copies, here) = match &self.role {
            Role::Leader(leader) if aof => (leader.copies(lsn, |c| c.durable), self.shard.durable() >= lsn),
            Role::Leader(leader) => (leader.copies(lsn, |c| c.received), true),
            Role::Follower(_) | Role::Idle => {
                client.closing = true;
                return true;
            }
        };
        if !over && (copies < replicas || (local > 0 && !here)) {
            return false;
        }
        let text = if aof {
            format!("*2\r\n:{}\r\n:{copies}\r\n", u32::from(here))
        } else {
            format!(":{copies}\r\n")
        };
        client.reply(self.turns, text.as_bytes());
        true
    }

    /// Deletes keys that were seen to have expired: the leader's frame decides, followers obey.
    pub(super) fn drop_expired(&mut self) {
        let mut expired = std::mem::take(&mut self.clients.expired);
        if matches!(&self.role, Role::Leader(leader) if leader.serves()) {
            expired.sort();
            expired.dedup();
            for key in expired.iter().take(EXPIRED_PER_TURN) {
                let still = match self.shard.find(key, View::Newest) {
                    Found::Here { expiry_ms, .. } => expiry_ms != 0 && expiry_ms <= self.wall_ms,
                    _ => false,
                };
                if still && self.shard.append(&[Op::Delete { key }], self.wall_ms).is_err() {
                    break;
                }
            }
        }
        expired.clear();
        self.clients.expired = expired;
    }

    fn forward(&self, client: &Client, to: ShardId, ticket: u64, bytes: Vec<u8>, out: &mut Vec<Action>) {
        let (from, conn, session) = (self.options.shard, client.conn, client.session.clone());
        out.push(Action::Mail { to, mail: Box::new(Mail::Request { from, conn, ticket, session, bytes }) });
    }

    /// The same request for every shard of the node.
    fn forward_to_all(&mut self, client: &mut Client, gather: Gather, bytes: &[u8], out: &mut Vec<Action>) {
        let shards = self.options.settings.shards;
        let first = self.next_ticket + 1;
        self.next_ticket += u64::from(shards);
        client.expect_remote(first, shards.into(), Some(gather));
        for (ticket, shard) in (first..).zip(0..shards) {
            self.forward(client, ShardId(shard), ticket, bytes.to_vec(), out);
        }
    }

    /// One request per key, where that keeps the command's meaning.
    fn scatter(&mut self, client: &mut Client, request: &Request<'_>, out: &mut Vec<Action>) {
        let Some(scatter) = resp::scatter(request) else {
            return client.reply(self.turns, CROSS_SLOT);
        };
        let parts: Vec<(u16, Vec<u8>)> = scatter
            .parts()
            .map(|(slot, part)| {
                let mut bytes = Vec::new();
                part.encode(&mut bytes);
                (slot, bytes)
            })
            .collect();
        let first = self.next_ticket + 1;
        self.next_ticket += parts.len() as u64;
        client.expect_remote(first, parts.len(), Some(scatter.gather));
        for (ticket, (slot, bytes)) in (first..).zip(parts) {
            let owner = self.options.settings.shard_of_slot(slot);
            self.forward(client, ShardId(owner.0), ticket, bytes, out);
        }
    }
}

/// Whether this is a line of an HTTP request: what follows it may be commands in a body that a web page made up.
fn is_http(request: &Request<'_>) -> bool {
    let word = request.arg(0);
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

/// The acknowledgement level of the configuration file as the protocol names it.
pub(super) fn level(configured: settings::Ack) -> Ack {
    match configured {
        settings::Ack::Durable => Ack::Durable,
        settings::Ack::Received => Ack::Received,
        settings::Ack::Local => Ack::Local,
    }
}
