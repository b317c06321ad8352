//! Carrying out one operation on the shard that owns the document.
//!
//! Promises: all or nothing. When a value must first come from the disk, or the log has no room for the
//! moment, nothing has changed and the same operation is run again later, from its start.

use super::body::{Body, MAX_MERGED_BYTES, Merge, is_mergeable, merged};
use super::failure::Failure;
use super::names;
use super::once::{REMEMBERED_MS, Record, record_key};
use super::op::{Action, Done, Effect, Expect, OnExisting, Op, Written};
use crate::mutants::{Mutant, lacks};
use crate::store::{Fetch, Store, Write, WriteError};
use engine::ids::Revision;
use serde_json::{Map, Number, Value};

/// To take a document apart and put it together again costs as much as to look at it so many times.
const MERGE_COST: usize = 4;

/// How an operation ended.
#[derive(Debug)]
pub enum OpOutcome {
    /// What became of it; the answer leaves when its write (if any) is acknowledged. `looked`: what was gone
    /// through for it, in bytes, merges counted [`MERGE_COST`] times.
    Done { done: Done, looked: usize },
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
    /// What is shown of it, or why it cannot be; an error, too, where nobody wants to see it.
    body: Result<Body, Failure>,
    expiry_ms: u64,
}

/// What is to be done with a stored value besides noting that it is there: the rest costs.
#[derive(Clone, Copy)]
enum See<'p> {
    Nothing,
    Shown,
    /// Merged with this patch.
    Merged(&'p [u8]),
}

/// The store, and how many bytes of it were gone through.
struct Looked<'s> {
    store: &'s mut dyn Store,
    bytes: usize,
}

/// Runs one operation.
pub fn execute(op: &Op, store: &mut dyn Store) -> OpOutcome {
    let mut looked = Looked { store, bytes: 0 };
    let done = match &op.action {
        Action::Read { expect } => read(op, expect, &mut looked),
        Action::Look => look(op, &mut looked),
        _ => write(op, &mut looked),
    };
    let done = match done {
        Ok(done) => done,
        Err(Stop::Blocked) => return OpOutcome::Blocked,
        Err(Stop::Failed(failure)) => Done::Failed { key: op.key.clone(), failure },
    };
    OpOutcome::Done { done, looked: looked.bytes }
}

impl Looked<'_> {
    /// The document under this key. `see` is told its revision.
    fn fetch<'p>(
        &mut self,
        key: &[u8],
        see: impl FnOnce(Revision) -> See<'p>,
    ) -> Result<Option<Existing>, Stop> {
        let (value, expiry_ms, revision) = match self.store.fetch(key) {
            Fetch::Value { value, expiry_ms, revision } => (value, expiry_ms, revision),
            Fetch::Missing => return Ok(None),
            Fetch::Pending => return Err(Stop::Blocked),
            Fetch::Failed(fault) => return Err(Failure::from(fault).into()),
        };
        self.bytes += value.len();
        let body = match see(revision) {
            See::Nothing => Err(Failure::NotADocument),
            See::Merged(patch) if !is_mergeable(value, patch) => {
                Err(Failure::TooLargeToMerge { limit: MAX_MERGED_BYTES })
            }
            seen => {
                if let See::Merged(patch) = seen {
                    self.bytes += (value.len() + patch.len()) * MERGE_COST;
                }
                Body::from_stored(value).ok_or(Failure::NotADocument)
            }
        };
        Ok(Some(Existing { revision, body, expiry_ms }))
    }
}

fn read(op: &Op, expect: &Expect, looked: &mut Looked<'_>) -> Result<Done, Stop> {
    let wanted = |revision| match expect {
        Expect::Is(wanted) => *wanted == names::revision(revision),
        Expect::IsNot(known) => *known != names::revision(revision),
        Expect::Any => true,
    };
    let see = |revision| if wanted(revision) { See::Shown } else { See::Nothing };
    let Existing { revision, body, .. } = looked.fetch(&op.store_key, see)?.ok_or(Failure::NotFound)?;
    match expect {
        Expect::Is(_) if !wanted(revision) => Err(Failure::Conflict(revision).into()),
        Expect::IsNot(_) if !wanted(revision) => Ok(Done::NotModified { revision }),
        Expect::Any | Expect::Is(_) | Expect::IsNot(_) => {
            Ok(Done::Read { key: op.key.clone(), revision, body: body? })
        }
    }
}

fn look(op: &Op, looked: &mut Looked<'_>) -> Result<Done, Stop> {
    let record_key = op.once.as_ref().map(|once| record_key(&op.store_key, once));
    let free = replay(op, record_key.as_deref(), looked)?.is_some()
        || looked.fetch(&op.store_key, |_| See::Nothing)?.is_none();
    Err(if free { Failure::NotFound } else { Failure::KeyExists }.into())
}

/// What a write leaves behind.
struct Change {
    effect: Effect,
    /// The new body and when it expires; `None` removes the document.
    put: Option<(Body, u64)>,
    /// What an increment came to.
    value: Option<Number>,
}

fn write(op: &Op, looked: &mut Looked<'_>) -> Result<Done, Stop> {
    let once = op.once.as_ref().filter(|_| !lacks(Mutant::ForgetsRepeats));
    let record_key = once.map(|once| record_key(&op.store_key, once));
    if let Some(done) = replay(op, record_key.as_deref(), looked)? {
        return Ok(done);
    }
    let see = |revision| match (expected(&op.action), merged_with(&op.action)) {
        (Expect::Is(wanted), _) if *wanted != names::revision(revision) => See::Nothing,
        (_, Some(patch)) => See::Merged(patch),
        (_, None) if op.returns.old => See::Shown,
        (_, None) => See::Nothing,
    };
    let existing = looked.fetch(&op.store_key, see)?;
    let store = &mut *looked.store;
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
    written.old = existing.and_then(|existing| existing.body.ok()).filter(|_| op.returns.old);
    written.value = change.value;
    Ok(Done::Written(written))
}

/// What is merged with the old body, if the new one depends on that.
fn merged_with(action: &Action) -> Option<&[u8]> {
    match action {
        Action::Update { patch, .. } => Some(patch.bytes()),
        Action::Insert { body, existing: OnExisting::Update(_), .. } => Some(body.bytes()),
        Action::Increment { .. } => Some(b""),
        Action::Insert { .. }
        | Action::Read { .. }
        | Action::Look
        | Action::Replace { .. }
        | Action::Remove { .. } => None,
    }
}

/// The revision that the action demands.
fn expected(action: &Action) -> &Expect {
    match action {
        Action::Read { expect }
        | Action::Insert { expect, .. }
        | Action::Replace { expect, .. }
        | Action::Update { expect, .. }
        | Action::Remove { expect } => expect,
        Action::Increment { .. } | Action::Look => &Expect::Any,
    }
}

fn refused(error: WriteError) -> Stop {
    Failure::of_write(error).map_or(Stop::Blocked, Stop::Failed)
}

/// What the write was answered, if it was done before.
fn replay(op: &Op, record_key: Option<&[u8]>, looked: &mut Looked<'_>) -> Result<Option<Done>, Stop> {
    let (Some(once), Some(record_key)) = (&op.once, record_key) else { return Ok(None) };
    let (record, revision) = match looked.store.fetch(record_key) {
        Fetch::Value { value, revision, .. } => (Record::decode(value), revision),
        Fetch::Missing => return Ok(None),
        Fetch::Pending => return Err(Stop::Blocked),
        Fetch::Failed(fault) => return Err(Failure::from(fault).into()),
    };
    let record = record.filter(|record| record.is_of(once)).ok_or(Failure::OnceReused)?;
    let old_revision = record.old();
    let removed = record.effect() == Effect::Removed;
    // The body can be shown as long as nobody wrote since.
    let see = |now| if now == revision { See::Shown } else { See::Nothing };
    let new = match op.returns.new && !removed {
        true => looked.fetch(&op.store_key, see)?.and_then(|now| now.body.ok()),
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
        (Action::Read { .. } | Action::Look, _) => unreachable!("reads write nothing"),
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
                Some(existing) => (existing.attributes()?, Effect::Updated, existing.expiry_ms),
                None if *create => (Map::new(), Effect::Created, 0),
                None => return Err(Failure::NotFound),
            };
            let value = match body.get(attribute) {
                None => by.clone(),
                Some(Value::Number(now)) => sum(now, by).ok_or(Failure::NotANumber)?,
                Some(_) => return Err(Failure::NotANumber),
            };
            body.insert(attribute.clone(), value.clone().into());
            Ok(Some(Change { effect, put: Some((Body::limited(&body)?, expiry_ms)), value: Some(value) }))
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
    let document = existing.attributes()?;
    let patch = patch.to_map().ok_or(Failure::NotAnObject)?;
    Body::limited(&merged(document, patch, rules))
}

impl Existing {
    /// Taken apart, to be merged.
    fn attributes(&self) -> Result<Map<String, Value>, Failure> {
        self.body.as_ref().map_err(Failure::clone)?.to_map().ok_or(Failure::NotADocument)
    }
}

/// Exact for integers; otherwise of floating-point numbers. `None` if the sum is no 64-bit integer or double.
fn sum(a: &Number, b: &Number) -> Option<Number> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Number::from_i128(a + b),
        _ => Number::from_f64(a.as_f64()? + b.as_f64()?),
    }
}
