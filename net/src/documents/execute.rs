//! Carrying out one operation on the shard that owns the document.
//!
//! Promises: all or nothing. When a value must first come from the disk, or the log has no room for the
//! moment, nothing has changed and the same operation is run again later, from its start.

use super::body::{Body, MAX_MERGED_BYTES, merged};
use super::failure::Failure;
use super::names;
use super::once::{REMEMBERED_MS, Record, record_key};
use super::op::{Action, Done, Effect, Expect, Merge, OnExisting, Op, Written};
use crate::mutants::{Mutant, lacks};
use crate::resp::store::{Fetch, Store, Write, WriteError};
use engine::ids::Revision;
use serde_json::{Map, Number, Value};

/// How an operation ended.
#[derive(Debug)]
pub enum Outcome {
    /// What became of it; the answer leaves when its write (if any) is acknowledged.
    Done(Done),
    /// Nothing happened: run it again when the store has what it lacked.
    Blocked,
}

/// Why an operation ends early.
enum Stop {
    Blocked,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// A document as the store has it.
struct Existing {
    revision: Revision,
    /// `None`: the value is no JSON object, or nobody wants to see it.
    body: Option<Body>,
    expiry_ms: u64,
}

/// Runs one operation.
pub fn execute(op: &Op, store: &mut dyn Store) -> Outcome {
    let done = match &op.action {
        Action::Read { expect } => read(op, expect, store),
        _ => write(op, store),
    };
    match done {
        Ok(done) => Outcome::Done(done),
        Err(Stop::Blocked) => Outcome::Blocked,
        Err(Stop::Failed(failure)) => Outcome::Done(Done::Failed { key: op.key.clone(), failure }),
    }
}

/// The document under this key, its body only if that is wanted: checking it costs.
fn fetch(store: &mut dyn Store, key: &[u8], wanted: bool) -> Result<Option<Existing>, Stop> {
    match store.fetch(key) {
        Fetch::Value { value, expiry_ms, revision } => {
            let body = if wanted { Body::from_stored(value) } else { None };
            Ok(Some(Existing { revision, body, expiry_ms }))
        }
        Fetch::Missing => Ok(None),
        Fetch::Pending => Err(Stop::Blocked),
        Fetch::Failed(text) => Err(unreadable(text)),
    }
}

fn unreadable(text: &str) -> Stop {
    Failure::Unreadable(text.strip_prefix("ERR ").unwrap_or(text).to_owned()).into()
}

fn read(op: &Op, expect: &Expect, store: &mut dyn Store) -> Result<Done, Stop> {
    let existing = fetch(store, &op.store_key, true)?.ok_or(Failure::NotFound)?;
    let revision = existing.revision;
    match expect {
        Expect::Is(wanted) if *wanted != names::revision(revision) => {
            return Err(Failure::Conflict(revision).into());
        }
        Expect::IsNot(known) if *known == names::revision(revision) => {
            return Ok(Done::NotModified { revision });
        }
        Expect::Any | Expect::Is(_) | Expect::IsNot(_) => {}
    }
    let body = existing.body.ok_or(Failure::NotADocument)?;
    Ok(Done::Read { key: op.key.clone(), revision, body })
}

/// What a write leaves behind.
struct Change {
    effect: Effect,
    /// The new body and when it expires; `None` removes the document.
    put: Option<(Body, u64)>,
    /// What an increment came to.
    value: Option<Number>,
}

fn write(op: &Op, store: &mut dyn Store) -> Result<Done, Stop> {
    let once = op.once.as_ref().filter(|_| !lacks(Mutant::ForgetsRepeats));
    let record_key = once.map(|once| record_key(&op.store_key, once));
    if let Some(done) = replay(op, record_key.as_deref(), store)? {
        return Ok(done);
    }
    let existing = fetch(store, &op.store_key, op.returns.old || merges(&op.action))?;
    let old_revision = existing.as_ref().map(|existing| existing.revision);
    let mut written = Written {
        key: op.key.clone(),
        effect: Effect::Ignored,
        revision: old_revision.unwrap_or_default(),
        old_revision: None,
        new: None,
        old: None,
        value: None,
        replayed: false,
    };
    let Some(change) = decide(&op.action, existing.as_ref())? else { return Ok(Done::Written(written)) };
    let document = match &change.put {
        Some((body, expiry_ms)) => {
            Write::Put { key: &op.store_key, value: body.bytes(), expiry_ms: *expiry_ms }
        }
        None => Write::Delete { key: &op.store_key },
    };
    let result = match (once, &record_key) {
        (Some(once), Some(key)) => {
            let value = Record::new(once, change.effect, old_revision, change.value.clone()).encode();
            let expiry_ms = store.wall_ms() + REMEMBERED_MS;
            store.write(&[document, Write::Put { key, value: &value, expiry_ms }])
        }
        _ => store.write(&[document]),
    };
    result.map_err(refused)?;
    // The frame is in the log buffer: this does not go to the disk.
    if change.put.is_some() {
        written.revision = match store.fetch(&op.store_key) {
            Fetch::Value { revision, .. } => revision,
            other => unreachable!("what was just written reads as {other:?}"),
        };
    }
    written.effect = change.effect;
    written.old_revision = old_revision;
    written.new = change.put.map(|(body, _)| body).filter(|_| op.returns.new);
    written.old = existing.and_then(|existing| existing.body).filter(|_| op.returns.old);
    written.value = change.value;
    Ok(Done::Written(written))
}

/// Whether the new body depends on the old one.
fn merges(action: &Action) -> bool {
    match action {
        Action::Update { .. } | Action::Increment { .. } => true,
        Action::Insert { existing, .. } => matches!(existing, OnExisting::Update(_)),
        Action::Read { .. } | Action::Replace { .. } | Action::Remove { .. } => false,
    }
}

fn refused(error: WriteError) -> Stop {
    match error {
        WriteError::Busy => Stop::Blocked,
        WriteError::ValueTooLarge { limit }
        | WriteError::KeyTooLarge { limit }
        | WriteError::BatchTooLarge { limit } => Failure::TooLarge { limit }.into(),
        WriteError::DiskFull => Failure::DiskFull.into(),
    }
}

/// What the write was answered, if it was done before.
fn replay(op: &Op, record_key: Option<&[u8]>, store: &mut dyn Store) -> Result<Option<Done>, Stop> {
    let (Some(once), Some(record_key)) = (&op.once, record_key) else { return Ok(None) };
    let (record, revision) = match store.fetch(record_key) {
        Fetch::Value { value, revision, .. } => (Record::decode(value), revision),
        Fetch::Missing => return Ok(None),
        Fetch::Pending => return Err(Stop::Blocked),
        Fetch::Failed(text) => return Err(unreadable(text)),
    };
    let record = record.filter(|record| record.is_of(once)).ok_or(Failure::OnceReused)?;
    let old_revision = record.old();
    let removed = record.effect() == Effect::Removed;
    // The body can be shown as long as nobody wrote since.
    let new = match op.returns.new && !removed {
        true => {
            fetch(store, &op.store_key, true)?.filter(|now| now.revision == revision).and_then(|now| now.body)
        }
        false => None,
    };
    Ok(Some(Done::Written(Written {
        key: op.key.clone(),
        effect: record.effect(),
        revision: if removed { old_revision.unwrap_or(revision) } else { revision },
        old_revision,
        new,
        old: None,
        value: record.value(),
        replayed: true,
    })))
}

/// What the action makes of the document; `None` leaves it alone.
fn decide(action: &Action, existing: Option<&Existing>) -> Result<Option<Change>, Failure> {
    let put =
        |effect, body, expiry_ms| Ok(Some(Change { effect, put: Some((body, expiry_ms)), value: None }));
    match (action, existing) {
        (Action::Read { .. }, _) => unreachable!("reads write nothing"),
        (Action::Insert { body, .. }, None) => put(Effect::Created, body.clone(), 0),
        (Action::Insert { body, existing: rule, expect }, Some(existing)) => match rule {
            OnExisting::Fail => Err(Failure::KeyExists),
            OnExisting::Ignore => Ok(None),
            OnExisting::Replace => {
                check(expect, existing)?;
                put(Effect::Replaced, body.clone(), 0)
            }
            OnExisting::Update(rules) => {
                check(expect, existing)?;
                put(Effect::Updated, patched(existing, body, *rules)?, existing.expiry_ms)
            }
        },
        (Action::Increment { attribute, by, create }, existing) => {
            let (mut body, effect, expiry_ms) = match existing {
                Some(existing) => (existing.attributes(0)?, Effect::Updated, existing.expiry_ms),
                None if *create => (Map::new(), Effect::Created, 0),
                None => return Err(Failure::NotFound),
            };
            let value = match body.get(attribute) {
                None => by.clone(),
                Some(Value::Number(now)) => sum(now, by).ok_or(Failure::NotANumber)?,
                Some(_) => return Err(Failure::NotANumber),
            };
            body.insert(attribute.clone(), value.clone().into());
            Ok(Some(Change { effect, put: Some((Body::from_map(&body), expiry_ms)), value: Some(value) }))
        }
        (_, None) => Err(Failure::NotFound),
        (Action::Replace { body, expect }, Some(existing)) => {
            check(expect, existing)?;
            put(Effect::Replaced, body.clone(), 0)
        }
        (Action::Update { patch, merge, expect }, Some(existing)) => {
            check(expect, existing)?;
            put(Effect::Updated, patched(existing, patch, *merge)?, existing.expiry_ms)
        }
        (Action::Remove { expect }, Some(existing)) => {
            check(expect, existing)?;
            Ok(Some(Change { effect: Effect::Removed, put: None, value: None }))
        }
    }
}

fn check(expect: &Expect, existing: &Existing) -> Result<(), Failure> {
    match expect {
        Expect::Is(wanted) if *wanted != names::revision(existing.revision) => {
            Err(Failure::Conflict(existing.revision))
        }
        Expect::Any | Expect::Is(_) | Expect::IsNot(_) => Ok(()),
    }
}

fn patched(existing: &Existing, patch: &Body, rules: Merge) -> Result<Body, Failure> {
    let document = existing.attributes(patch.bytes().len())?;
    let patch = patch.to_map().ok_or(Failure::NotAnObject)?;
    Ok(Body::from_map(&merged(document, patch, rules)))
}

impl Existing {
    /// Taken apart, to be merged with `more` bytes.
    fn attributes(&self, more: usize) -> Result<Map<String, Value>, Failure> {
        let body = self.body.as_ref().ok_or(Failure::NotADocument)?;
        if body.bytes().len() + more > MAX_MERGED_BYTES {
            return Err(Failure::TooLargeToMerge { limit: MAX_MERGED_BYTES });
        }
        body.to_map().ok_or(Failure::NotADocument)
    }
}

/// Exact for integers; otherwise of floating-point numbers, if the sum is one.
fn sum(a: &Number, b: &Number) -> Option<Number> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.checked_add(b).map(Number::from),
        _ => Number::from_f64(a.as_f64()? + b.as_f64()?),
    }
}
