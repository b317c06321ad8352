//! Commands that read and write whole values or parts of them.
//!
//! Promises: what Redis 7.0 answers, the order of its checks included. Does not do arithmetic (`numbers`).

use super::{
    Call, CommandOutcome, Entry, Ran, SYNTAX_ERROR, Stop, delete, fetch, integer, is, put, wrong_arity,
};
use crate::resp::parse::MAX_ANNOUNCED_BULK;
use crate::store::{Fetch, Store, Write, WriteError};

/// An expiry as a command's options give it, not yet checked.
#[derive(Clone, Copy)]
struct ExpiryOption<'r> {
    text: &'r [u8],
    seconds: bool,
    relative: bool,
}

impl ExpiryOption<'_> {
    /// Wall time in ms since the epoch of Unix at which the key expires, for `command` run at `now_ms`.
    fn at_ms(self, now_ms: u64, command: &str) -> Result<u64, Stop> {
        let amount = integer(self.text)?;
        let invalid = || Stop::from(format!("ERR invalid expire time in '{command}' command"));
        if amount <= 0 {
            return Err(invalid());
        }
        let ms = if self.seconds { amount.checked_mul(1000) } else { Some(amount) };
        let base = if self.relative { now_ms as i64 } else { 0 };
        ms.and_then(|ms| ms.checked_add(base)).map(|at| at as u64).ok_or_else(invalid)
    }
}

/// The options of `SET` and `GETEX`.
#[derive(Default)]
struct Options<'r> {
    if_missing: bool,
    if_exists: bool,
    get: bool,
    keep_ttl: bool,
    persist: bool,
    /// The newest of them; its kind is the only one given.
    expiry: Option<ExpiryOption<'r>>,
    /// Which of EX, PX, EXAT, PXAT was given.
    expiry_word: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OptionsOf {
    Set,
    GetEx,
}

/// Read options from the argument `first` on. One kind of expiry may be repeated, the last one counts.
fn options<'r>(c: &Call<'r>, first: usize, of: OptionsOf) -> Result<Options<'r>, Stop> {
    let request = c.request;
    let mut o = Options::default();
    let mut at = first;
    while at < request.len() {
        let word = request.arg(at);
        let next = (at + 1 < request.len()).then(|| request.arg(at + 1));
        at += 1;
        if of == OptionsOf::Set && is(word, "NX") && !o.if_exists {
            o.if_missing = true;
        } else if of == OptionsOf::Set && is(word, "XX") && !o.if_missing {
            o.if_exists = true;
        } else if of == OptionsOf::Set && is(word, "GET") {
            o.get = true;
        } else if of == OptionsOf::Set && is(word, "KEEPTTL") && o.expiry.is_none() {
            o.keep_ttl = true;
        } else if of == OptionsOf::GetEx && is(word, "PERSIST") && o.expiry.is_none() {
            o.persist = true;
        } else {
            let kind = ["EX", "PX", "EXAT", "PXAT"].into_iter().find(|kind| is(word, kind));
            let (Some(kind), Some(text)) = (kind, next) else { return Err(SYNTAX_ERROR.into()) };
            let other_kind = o.expiry.is_some() && o.expiry_word != kind;
            if o.keep_ttl || o.persist || other_kind {
                return Err(SYNTAX_ERROR.into());
            }
            o.expiry_word = kind;
            o.expiry =
                Some(ExpiryOption { text, seconds: kind.starts_with('E'), relative: !kind.ends_with("AT") });
            at += 1;
        }
    }
    Ok(o)
}

/// Write a value that expires at `expiry_ms` (0: never), or delete the key if that time has passed.
fn put_expiring(store: &mut dyn Store, key: &[u8], value: &[u8], expiry_ms: u64) -> Result<(), Stop> {
    if expiry_ms != 0 && expiry_ms <= store.wall_ms() {
        return delete(store, key);
    }
    put(store, key, value, expiry_ms)
}

pub fn get(c: &mut Call<'_>) -> Ran {
    match fetch(c.store, c.request.arg(1))? {
        Some(entry) if entry.value.len() > c.ctx.large_bytes => return Err(Stop::Long),
        Some(entry) => c.reply.bulk(entry.value),
        None => c.reply.null(),
    }
    Ok(CommandOutcome::Done)
}

pub fn set(c: &mut Call<'_>) -> Ran {
    let (key, value) = (c.request.arg(1), c.request.arg(2));
    if c.request.len() == 3 {
        put(c.store, key, value, 0)?;
        c.reply.ok();
        return Ok(CommandOutcome::Done);
    }
    let o = options(c, 3, OptionsOf::Set)?;
    let mut expiry_ms = match o.expiry {
        Some(expiry) => expiry.at_ms(c.store.wall_ms(), c.spec.full_name)?,
        None => 0,
    };
    let mut wanted = true;
    if o.get || o.if_missing || o.if_exists || o.keep_ttl {
        let old = fetch(c.store, key)?;
        wanted = if old.is_some() { !o.if_missing } else { !o.if_exists };
        if let (Some(old), true) = (old, o.keep_ttl) {
            expiry_ms = old.expiry_ms;
        }
        match old {
            Some(old) if o.get => c.reply.bulk(old.value),
            None if o.get => c.reply.null(),
            _ if !wanted => c.reply.null(),
            _ => {}
        }
    }
    if wanted {
        put_expiring(c.store, key, value, expiry_ms)?;
        if !o.get {
            c.reply.ok();
        }
    }
    Ok(CommandOutcome::Done)
}

pub fn getdel(c: &mut Call<'_>) -> Ran {
    let key = c.request.arg(1);
    match fetch(c.store, key)? {
        Some(entry) => {
            c.reply.bulk(entry.value);
            delete(c.store, key)?;
        }
        None => c.reply.null(),
    }
    Ok(CommandOutcome::Done)
}

pub fn getex(c: &mut Call<'_>) -> Ran {
    let o = options(c, 2, OptionsOf::GetEx)?;
    let key = c.request.arg(1);
    let now = c.store.wall_ms();
    let Some(Entry { value, expiry_ms: old }) = fetch(c.store, key)? else {
        c.reply.null();
        return Ok(CommandOutcome::Done);
    };
    let new = match o.expiry {
        Some(expiry) => expiry.at_ms(now, c.spec.full_name)?,
        None if o.persist => 0,
        None => old,
    };
    c.reply.bulk(value);
    if new != old {
        let value = value.to_vec();
        put_expiring(c.store, key, &value, new)?;
    }
    Ok(CommandOutcome::Done)
}

pub fn setnx(c: &mut Call<'_>) -> Ran {
    let key = c.request.arg(1);
    let missing = fetch(c.store, key)?.is_none();
    if missing {
        put(c.store, key, c.request.arg(2), 0)?;
    }
    c.reply.integer(missing.into());
    Ok(CommandOutcome::Done)
}

pub fn setex(c: &mut Call<'_>) -> Ran {
    set_relative(c, true)
}

pub fn psetex(c: &mut Call<'_>) -> Ran {
    set_relative(c, false)
}

fn set_relative(c: &mut Call<'_>, seconds: bool) -> Ran {
    let expiry = ExpiryOption { text: c.request.arg(2), seconds, relative: true };
    let expiry_ms = expiry.at_ms(c.store.wall_ms(), c.spec.full_name)?;
    put(c.store, c.request.arg(1), c.request.arg(3), expiry_ms)?;
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

pub fn getset(c: &mut Call<'_>) -> Ran {
    let key = c.request.arg(1);
    match fetch(c.store, key)? {
        Some(entry) => c.reply.bulk(entry.value),
        None => c.reply.null(),
    }
    put(c.store, key, c.request.arg(2), 0)?;
    Ok(CommandOutcome::Done)
}

pub fn mget(c: &mut Call<'_>) -> Ran {
    c.reply.array(c.request.len() - 1);
    let (mut blocked, mut bytes) = (false, 0);
    for key in c.request.args_from(1) {
        // After one that is pending the others are still asked for, so that the disk reads them together.
        match c.store.fetch(key) {
            Fetch::Pending => blocked = true,
            _ if blocked => {}
            Fetch::Value { value, .. } => {
                bytes += value.len();
                if bytes > c.ctx.large_bytes {
                    return Err(Stop::Long);
                }
                c.reply.bulk(value);
            }
            Fetch::Missing => c.reply.null(),
            Fetch::Failed(fault) => return Err(fault.into()),
        }
    }
    if blocked { Err(Stop::Blocked) } else { Ok(CommandOutcome::Done) }
}

pub fn mset(c: &mut Call<'_>) -> Ran {
    let writes = pairs(c)?;
    c.store.write(&writes)?;
    c.reply.ok();
    Ok(CommandOutcome::Done)
}

pub fn msetnx(c: &mut Call<'_>) -> Ran {
    let writes = pairs(c)?;
    let mut blocked = false;
    for key in c.request.args_from(1).step_by(2) {
        match c.store.fetch(key) {
            Fetch::Pending => blocked = true,
            // One is enough: the others need not be read.
            Fetch::Value { .. } => {
                c.reply.integer(0);
                return Ok(CommandOutcome::Done);
            }
            Fetch::Missing => {}
            Fetch::Failed(fault) => return Err(fault.into()),
        }
    }
    if blocked {
        return Err(Stop::Blocked);
    }
    c.store.write(&writes)?;
    c.reply.integer(1);
    Ok(CommandOutcome::Done)
}

/// The writes that keys and values in turn stand for. A key may come twice: the last value counts.
fn pairs<'r>(c: &Call<'r>) -> Result<Vec<Write<'r>>, Stop> {
    let request = c.request;
    if request.len().is_multiple_of(2) {
        return Err(wrong_arity(c.spec));
    }
    let pair = |i| Write::Put { key: request.arg(i), value: request.arg(i + 1), expiry_ms: 0 };
    Ok((1..request.len()).step_by(2).map(pair).collect())
}

pub fn strlen(c: &mut Call<'_>) -> Ran {
    let length = fetch(c.store, c.request.arg(1))?.map_or(0, |entry| entry.value.len());
    c.reply.integer(length as i64);
    Ok(CommandOutcome::Done)
}

pub fn append(c: &mut Call<'_>) -> Ran {
    let (key, tail) = (c.request.arg(1), c.request.arg(2));
    let limit = c.ctx.limits.max_value_bytes;
    let (mut value, expiry_ms) = owned(fetch(c.store, key)?);
    check_length(value.len() as i64, tail.len(), limit)?;
    value.extend_from_slice(tail);
    put(c.store, key, &value, expiry_ms)?;
    c.reply.integer(value.len() as i64);
    Ok(CommandOutcome::Done)
}

pub fn setrange(c: &mut Call<'_>) -> Ran {
    let (key, part) = (c.request.arg(1), c.request.arg(3));
    let offset = integer(c.request.arg(2))?;
    if offset < 0 {
        return Err("ERR offset is out of range".into());
    }
    let entry = fetch(c.store, key)?;
    if part.is_empty() {
        c.reply.integer(entry.map_or(0, |entry| entry.value.len()) as i64);
        return Ok(CommandOutcome::Done);
    }
    check_length(offset, part.len(), c.ctx.limits.max_value_bytes)?;
    let (mut value, expiry_ms) = owned(entry);
    let end = offset as usize + part.len();
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset as usize..end].copy_from_slice(part);
    put(c.store, key, &value, expiry_ms)?;
    c.reply.integer(value.len() as i64);
    Ok(CommandOutcome::Done)
}

/// A copy to change, empty and never expiring if there is no such key.
fn owned(entry: Option<Entry<'_>>) -> (Vec<u8>, u64) {
    entry.map_or((Vec::new(), 0), |entry| (entry.value.to_vec(), entry.expiry_ms))
}

/// Refuse a value of `length` + `more` bytes before any of it is built.
fn check_length(length: i64, more: usize, limit: usize) -> Result<(), Stop> {
    match length.checked_add(more as i64) {
        Some(total) if total <= limit as i64 => Ok(()),
        Some(total) if total <= MAX_ANNOUNCED_BULK => Err(WriteError::ValueTooLarge { limit }.into()),
        _ => Err("ERR string exceeds maximum allowed size (proto-max-bulk-len)".into()),
    }
}

pub fn getrange(c: &mut Call<'_>) -> Ran {
    let start = integer(c.request.arg(2))?;
    let end = integer(c.request.arg(3))?;
    let value = fetch(c.store, c.request.arg(1))?.map_or(b"".as_slice(), |entry| entry.value);
    c.reply.bulk(part_of(value, start, end));
    Ok(CommandOutcome::Done)
}

/// The bytes from `start` to `end`, both included; negative ones count from the end.
fn part_of(value: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let length = value.len() as i64;
    let absolute = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (absolute(start), absolute(end).min(length - 1));
    if start > end { b"" } else { &value[start as usize..=end as usize] }
}
