//! A request that is carried out in slices: one of very many keys, of keys of several shards, or with a large answer.
//!
//! Promises: everything that can be refused is refused before anything is carried out (keys that nobody may touch,
//! that the user may not, of another shard). Each key is read or changed by itself, in order; its answer leaves as a
//! whole, and depends on everything that was read and written for it. An answer that would be larger than a client may
//! leave unread is refused before it is made. What lost its leader half way is not answered.

use super::Clients;
use super::connection::{Chunk, Client};
use super::execute::{Flow, Refused, TOO_OLD, forward, may_execute, refuse_stranger};
use super::progress::{Copied, Long, Others, Phase, Progress};
use super::wait::Wait;
use crate::budget::steps_of;
use crate::events::Face;
use crate::part::{Part, len_of};
use crate::reads::Reader;
use crate::serving::{Serving, level};
use crate::store::{FetchedValue, ShardStore, ValueRead};
use engine::ids::{Lsn, Revision, ShardId};
use engine::shard::View;
use engine::slot::slot_of;
use faces::resp::{CROSS_SLOT, Proto, RESERVED_KEY, Slicing, elements, integer_of, is_reserved};
use faces::store::{Fetch, Store, Write, WriteError};
use std::sync::Arc;

/// Keys that are checked, or asked for, at a time.
const SLICE_KEYS: usize = 256;
/// Keys that are checked for one step.
const CHECKS_PER_STEP: usize = 4;
/// Keys that are looked at ahead when one must be read from the disk.
const AHEAD_KEYS: usize = 64;
/// Bytes of a value that are copied at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Values from this size on are sent as they came from the disk, and not copied.
const SHARED_BYTES: usize = 32 << 10;
/// A value that changes each time before it is copied is copied at once after this often.
const RESTARTS: usize = 8;

/// What came of one step.
enum Step {
    More,
    End(Flow),
}

/// What came of one key.
enum KeyStep {
    Done {
        steps: usize,
    },
    /// A piece of its value was copied.
    Piece {
        steps: usize,
    },
    Pending,
    NoRoom,
    Refused(Vec<u8>),
}

impl Long {
    /// Ends it with another answer than it would have. Where something of it was changed, only what is an error for
    /// good may be told; else nobody here knows how it ends, and the client is left without an answer.
    fn refuse(&self, client: &mut Client, reply: &[u8], at: &Serving<'_>) -> Step {
        client.drop_long();
        client.wait = Wait::No;
        if self.progress.wrote && !reply.starts_with(b"-ERR") && !reply.starts_with(b"-OOM") {
            client.closing = true;
        } else {
            client.reply(at.cx.clock.turns, reply);
        }
        Step::End(Flow::Next)
    }
}

impl Clients {
    /// Goes on with the client's long request, which `bytes` begin with, as far as its steps go.
    pub(super) fn go_on(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
        taken: &mut usize,
        at: &mut Serving<'_>,
    ) -> Flow {
        let Some(mut long) = client.long.take() else { return Flow::Next };
        let flow = loop {
            if client.steps == 0 {
                break Flow::Later;
            }
            let step = match long.progress.phase {
                Phase::New => self.begin_long(client, &mut long, bytes, at),
                Phase::Check { .. } => self.check_slice(client, &mut long, bytes, at),
                Phase::Here { slot } => self.next_here(client, &mut long, bytes, slot, at),
                Phase::Others => self.next_of_others(client, &mut long, bytes, at),
            };
            match step {
                Step::More => {}
                Step::End(flow) => break flow,
            }
        };
        match flow {
            Flow::Next => *taken += long.request.bytes(),
            Flow::Hold | Flow::Later => client.long = Some(long),
            Flow::Slices(_) | Flow::Long(_) => unreachable!("it is one already"),
        }
        flow
    }

    /// Finds out how it is carried out. One that is carried out as a whole is.
    fn begin_long(
        &mut self,
        client: &mut Client,
        long: &mut Long,
        bytes: &[u8],
        at: &mut Serving<'_>,
    ) -> Step {
        self.charge(client, 1);
        let slicing = match long.request.slicing(bytes) {
            Ok(slicing) => slicing,
            Err(reply) => return long.refuse(client, &reply, at),
        };
        if slicing == Slicing::Whole {
            let request = long.request.slice(bytes, 1, long.request.len());
            self.charge(client, request.len());
            let whole = &bytes[..long.request.bytes()];
            return Step::End(self.serve(client, &request, whole, long.arrived, at));
        }
        let request = long.request.slice(bytes, 1, 2);
        if let Some(spec) = request.spec() {
            client.session.last_command = spec.full_name;
            client.session.last_command_ms = at.cx.clock.wall_ms;
        }
        at.cx.stats.commands_processed += 1;
        long.progress.slicing = slicing;
        long.progress.phase = Phase::Check { slot: None, one_slot: true, one_shard: true };
        Step::More
    }

    /// Checks some more keys; after the last, decides where it is carried out.
    fn check_slice(
        &mut self,
        client: &mut Client,
        long: &mut Long,
        bytes: &[u8],
        at: &mut Serving<'_>,
    ) -> Step {
        let Phase::Check { mut slot, mut one_slot, mut one_shard } = long.progress.phase else {
            return Step::More;
        };
        let (from, to) = (long.progress.next, (long.progress.next + SLICE_KEYS).min(long.request.len()));
        self.charge(client, 1 + (to - from) / CHECKS_PER_STEP);
        if at.cx.options.settings.auth {
            let request = long.request.slice(bytes, from, to);
            if let Some(flow) = refuse_stranger(client, &request, at) {
                return Step::End(flow);
            }
        }
        client.wait = Wait::No;
        for key in (from..to).map(|i| long.request.arg(bytes, i)) {
            if is_reserved(key) {
                return long.refuse(client, RESERVED_KEY, at);
            }
            let own = slot_of(key);
            let first = *slot.get_or_insert(own);
            let settings = &at.cx.options.settings;
            one_slot &= own == first;
            one_shard &= own == first || settings.shard_of_slot(own) == settings.shard_of_slot(first);
        }
        long.progress.next = to;
        if to < long.request.len() {
            long.progress.phase = Phase::Check { slot, one_slot, one_shard };
            return Step::More;
        }
        let slot = slot.unwrap_or_default();
        let owner = at.cx.options.settings.shard_of_slot(slot).0;
        long.progress.phase = match () {
            () if client.face == Face::Shard && !one_slot => return long.refuse(client, CROSS_SLOT, at),
            () if one_shard && owner == at.cx.options.shard.0 => Phase::Here { slot },
            () if client.forwards() => Phase::Others,
            () => return long.refuse(client, &at.cx.group.topology().moved(slot), at),
        };
        long.progress.next = 1;
        let mut chunk = open_chunk(client, at);
        if long.progress.slicing == Slicing::Values {
            chunk.bytes.extend_from_slice(format!("*{}\r\n", long.request.len() - 1).as_bytes());
        }
        client.close_chunk(chunk);
        Step::More
    }

    /// Carries out the next key, or a piece of its value.
    fn next_here(
        &mut self,
        client: &mut Client,
        long: &mut Long,
        bytes: &[u8],
        slot: u16,
        at: &mut Serving<'_>,
    ) -> Step {
        match &mut client.wait {
            // What it waited for has come.
            Wait::Reads { outstanding: 0, fetched } => {
                long.progress.fetched.append(fetched);
                client.wait = Wait::No;
            }
            _ if at.is_too_old(long.arrived) && !long.progress.wrote && long.writes() => {
                return long.refuse(client, TOO_OLD, at);
            }
            _ => {}
        }
        let view = match may_execute(client, slot, long.writes(), at) {
            Ok(view) => view,
            Err(Refused::Parked) => return Step::End(Flow::Hold),
            Err(Refused::Answer(reply)) => return long.refuse(client, &reply, at),
        };
        client.wait = Wait::No;
        let room = self.memory_limits.output_hard.saturating_sub(client.backlog);
        let mut chunk = open_chunk(client, at);
        let key = long.request.arg(bytes, long.progress.next);
        let step = key_step(&mut long.progress, key, view, client.session.proto, room, &mut chunk, at);
        client.last_write = client.last_write.max(chunk.needs.wrote_upto);
        client.close_chunk(chunk);
        match step {
            KeyStep::Done { steps } => {
                self.charge(client, 1 + steps);
                long.progress.next += 1;
                if long.progress.next >= long.progress.ahead_to {
                    long.progress.fetched.clear();
                }
                if long.progress.next == long.request.len() { finish(client, long, at) } else { Step::More }
            }
            KeyStep::Piece { steps } => {
                self.charge(client, 1 + steps);
                Step::More
            }
            KeyStep::Pending => {
                self.charge(client, AHEAD_KEYS);
                look_ahead(client, long, bytes, view, at);
                Step::End(Flow::Hold)
            }
            KeyStep::NoRoom => {
                client.wait = Wait::Room;
                Step::End(Flow::Hold)
            }
            KeyStep::Refused(reply) => long.refuse(client, &reply, at),
        }
    }

    /// Takes what other shards answered for a slice, then asks them for the next one.
    fn next_of_others(
        &mut self,
        client: &mut Client,
        long: &mut Long,
        bytes: &[u8],
        at: &mut Serving<'_>,
    ) -> Step {
        if let Some(others) = long.progress.others.take() {
            let answered: usize = others.answers.iter().flatten().map(|parts| len_of(parts)).sum();
            self.charge(client, 1 + steps_of(answered));
            client.backlog -= answered;
            if client.backlog + answered > self.memory_limits.output_hard {
                return long.refuse(client, &too_large(self.memory_limits.output_hard), at);
            }
            let answers: Vec<Vec<u8>> =
                others.answers.iter().map(|parts| Part::join(parts.as_deref().unwrap_or_default())).collect();
            long.progress.wrote |= long.progress.slicing == Slicing::Delete;
            if let Some(error) = answers.iter().find(|answer| answer.starts_with(b"-")) {
                // As when each key is asked for by itself: others may have been changed.
                client.drop_long();
                client.reply(at.cx.clock.turns, error);
                return Step::End(Flow::Next);
            }
            if long.progress.slicing == Slicing::Values {
                let mut values: Vec<&[u8]> = vec![b""; others.to - long.progress.next];
                for (answer, places) in answers.iter().zip(&others.places) {
                    elements(answer).zip(places).for_each(|(value, place)| values[*place] = value);
                }
                let mut chunk = open_chunk(client, at);
                values.into_iter().for_each(|value| chunk.bytes.extend_from_slice(value));
                client.close_chunk(chunk);
            } else {
                long.progress.count += answers.iter().map(|answer| integer_of(answer)).sum::<i64>();
            }
            long.progress.next = others.to;
            if others.to == long.request.len() {
                return finish(client, long, at);
            }
            return Step::More;
        }
        if at.is_too_old(long.arrived) && !long.progress.wrote && long.writes() {
            return long.refuse(client, TOO_OLD, at);
        }
        self.charge(client, SLICE_KEYS);
        ask_others(client, long, bytes, at);
        client.wait = Wait::Others;
        Step::End(Flow::Hold)
    }
}

/// The chunk that a long request's answer is gathered in.
fn open_chunk(client: &mut Client, at: &Serving<'_>) -> Chunk {
    let level = client.session.ack.unwrap_or(level(at.cx.options.settings.ack));
    client.open_long_chunk(at.cx.clock.turns, level)
}

/// Its answer is complete.
fn finish(client: &mut Client, long: &Long, at: &Serving<'_>) -> Step {
    let mut chunk = open_chunk(client, at);
    if matches!(long.progress.slicing, Slicing::Count | Slicing::Delete) {
        chunk.bytes.extend_from_slice(format!(":{}\r\n", long.progress.count).as_bytes());
    }
    chunk.unfinished = false;
    client.close_chunk(chunk);
    Step::End(Flow::Next)
}

fn too_large(limit: usize) -> Vec<u8> {
    format!("-ERR the answer would be larger than this group's limit of {limit} bytes\r\n").into_bytes()
}

/// Reads or changes one key. `room`: most bytes that its answer may have.
fn key_step(
    progress: &mut Progress,
    key: &[u8],
    view: View,
    proto: Proto,
    room: usize,
    chunk: &mut Chunk,
    at: &mut Serving<'_>,
) -> KeyStep {
    let wall_ms = at.cx.clock.wall_ms;
    let mut store = ShardStore::new(at.cx.shard, view, wall_ms, &progress.fetched, at.expired);
    let step = match (store.fetch(key), progress.slicing) {
        (Fetch::Pending, _) => return KeyStep::Pending,
        (Fetch::Failed(fault), _) => return KeyStep::Refused(format!("-ERR {fault}\r\n").into_bytes()),
        (Fetch::Missing, Slicing::Value | Slicing::Values) => {
            if let Some(copied) = progress.copied.take() {
                chunk.bytes.truncate(copied.start);
            }
            chunk.bytes.extend_from_slice(if proto == Proto::Resp2 { b"$-1\r\n" } else { b"_\r\n" });
            KeyStep::Done { steps: 0 }
        }
        (Fetch::Missing, _) => KeyStep::Done { steps: 0 },
        (Fetch::Value { value, .. }, Slicing::Value | Slicing::Values)
            if value.len() > room && progress.copied.is_none() =>
        {
            return KeyStep::Refused(too_large(room));
        }
        (Fetch::Value { value, revision, .. }, Slicing::Value | Slicing::Values) => {
            match shared(&progress.fetched, value).filter(|_| progress.copied.is_none()) {
                Some(value) => {
                    chunk.bytes.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                    chunk.push_shared(value);
                    chunk.bytes.extend_from_slice(b"\r\n");
                    KeyStep::Done { steps: 1 }
                }
                None => copy(&mut progress.copied, &mut progress.restarts, value, revision, chunk),
            }
        }
        (Fetch::Value { .. }, Slicing::Delete) => match store.write(&[Write::Delete { key }]) {
            Ok(()) => {
                progress.count += 1;
                progress.wrote = true;
                KeyStep::Done { steps: 1 }
            }
            Err(WriteError::Busy) => return KeyStep::NoRoom,
            Err(error @ WriteError::DiskFull) => {
                return KeyStep::Refused(format!("-OOM {error}\r\n").into_bytes());
            }
            Err(error) => return KeyStep::Refused(format!("-ERR {error}\r\n").into_bytes()),
        },
        (Fetch::Value { .. }, Slicing::Count | Slicing::Whole) => {
            progress.count += 1;
            KeyStep::Done { steps: 0 }
        }
    };
    let needs = &mut chunk.needs;
    needs.read_upto = needs.read_upto.max(store.must_be_committed());
    needs.leased |= view == View::Newest && store.wrote.is_none();
    needs.wrote_upto = needs.wrote_upto.max(store.wrote.unwrap_or(Lsn(0)));
    step
}

/// The value as it came from the disk, if it did and is large enough to be sent so.
fn shared(fetched: &[ValueRead], value: &[u8]) -> Option<Arc<Vec<u8>>> {
    let same = |read: &ValueRead| match &read.found {
        FetchedValue::Value { value: read, .. } if std::ptr::eq(read.as_slice(), value) => Some(read.clone()),
        _ => None,
    };
    if value.len() < SHARED_BYTES { None } else { fetched.iter().find_map(same) }
}

/// Copies the next piece of a value. Between two pieces it may have changed: then it is begun anew.
fn copy(
    copied: &mut Option<Copied>,
    restarts: &mut usize,
    value: &[u8],
    revision: Revision,
    chunk: &mut Chunk,
) -> KeyStep {
    if copied.as_ref().is_some_and(|copied| copied.revision != revision)
        && let Some(old) = copied.take()
    {
        chunk.bytes.truncate(old.start);
        *restarts += 1;
    }
    let now = copied.get_or_insert_with(|| {
        let start = chunk.bytes.len();
        chunk.bytes.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
        chunk.bytes.reserve(value.len() + 2);
        Copied { revision, start, done: 0 }
    });
    let most = if *restarts > RESTARTS { value.len() } else { PIECE_BYTES };
    let piece = &value[now.done..value.len().min(now.done + most)];
    chunk.bytes.extend_from_slice(piece);
    now.done += piece.len();
    let steps = steps_of(piece.len());
    if now.done < value.len() {
        return KeyStep::Piece { steps };
    }
    chunk.bytes.extend_from_slice(b"\r\n");
    *copied = None;
    *restarts = 0;
    KeyStep::Done { steps }
}

/// Reads the value of the next key from the disk, and with it those of the keys behind it.
fn look_ahead(client: &mut Client, long: &mut Long, bytes: &[u8], view: View, at: &mut Serving<'_>) {
    let progress = &mut long.progress;
    let to = (progress.next + AHEAD_KEYS).min(long.request.len());
    let wall_ms = at.cx.clock.wall_ms;
    let mut store = ShardStore::new(at.cx.shard, view, wall_ms, &progress.fetched, at.expired);
    for i in progress.next..to {
        store.fetch(long.request.arg(bytes, i));
    }
    let wanted = store.wanted;
    assert!(!wanted.is_empty(), "blocked by nothing");
    progress.ahead_to = to;
    client.wait = Wait::Reads { outstanding: wanted.len(), fetched: Vec::new() };
    at.read_values(Reader::Client(client.conn), wanted);
}

/// Sends the next slice to the shards that own its keys: to each the keys that it owns.
fn ask_others(client: &mut Client, long: &mut Long, bytes: &[u8], at: &mut Serving<'_>) {
    let (from, to) = (long.progress.next, (long.progress.next + SLICE_KEYS).min(long.request.len()));
    let mut shares: Vec<(ShardId, Vec<usize>)> = Vec::new();
    for i in from..to {
        let shard = at.cx.options.settings.shard_of_slot(slot_of(long.request.arg(bytes, i)));
        let shard = ShardId(shard.0);
        match shares.iter_mut().find(|(known, _)| *known == shard) {
            Some((_, places)) => places.push(i - from),
            None => shares.push((shard, vec![i - from])),
        }
    }
    let first_ticket = at.cx.tickets.tickets(shares.len());
    client.asked_others = true;
    for (ticket, (shard, places)) in (first_ticket..).zip(&shares) {
        let mut request = Vec::new();
        long.request.pick(bytes, places.iter().map(|place| from + place)).encode(&mut request);
        forward(client, *shard, ticket, request, long.arrived, at);
    }
    let answers = vec![None; shares.len()];
    let places = shares.into_iter().map(|(_, places)| places).collect();
    long.progress.others = Some(Others { first_ticket, answers, places, to });
}
