//! Commands that read and change when a key expires. A time that has passed deletes the key.

use super::{Call, CommandOutcome, Ran, Stop, delete, fetch, integer, is, put};
use std::borrow::Cow;

pub fn ttl(c: &mut Call<'_>) -> Ran {
    let now = c.store.wall_ms();
    remaining(c, |expiry| rounded_seconds(expiry.saturating_sub(now)))
}

pub fn pttl(c: &mut Call<'_>) -> Ran {
    let now = c.store.wall_ms();
    remaining(c, |expiry| expiry.saturating_sub(now))
}

pub fn expiretime(c: &mut Call<'_>) -> Ran {
    remaining(c, rounded_seconds)
}

pub fn pexpiretime(c: &mut Call<'_>) -> Ran {
    remaining(c, |expiry| expiry)
}

fn rounded_seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

/// Reply with what `show` makes of the expiry; -2 without the key, -1 if it never expires.
fn remaining(c: &mut Call<'_>, show: impl Fn(u64) -> u64) -> Ran {
    let answer = match fetch(c.store, c.request.arg(1))?.map(|entry| entry.expiry_ms) {
        None => -2,
        Some(0) => -1,
        Some(expiry) => show(expiry) as i64,
    };
    c.reply.integer(answer);
    Ok(CommandOutcome::Done)
}

pub fn expire(c: &mut Call<'_>) -> Ran {
    set_expiry(c, true, true)
}

pub fn pexpire(c: &mut Call<'_>) -> Ran {
    set_expiry(c, false, true)
}

pub fn expireat(c: &mut Call<'_>) -> Ran {
    set_expiry(c, true, false)
}

pub fn pexpireat(c: &mut Call<'_>) -> Ran {
    set_expiry(c, false, false)
}

/// Under which condition the expiry is changed.
#[derive(Default)]
struct Conditions {
    if_none: bool,
    if_some: bool,
    if_later: bool,
    if_earlier: bool,
}

impl Conditions {
    fn read(c: &Call<'_>) -> Result<Conditions, Stop> {
        let mut conditions = Conditions::default();
        for word in c.request.args_from(3) {
            match word {
                _ if is(word, "NX") => conditions.if_none = true,
                _ if is(word, "XX") => conditions.if_some = true,
                _ if is(word, "GT") => conditions.if_later = true,
                _ if is(word, "LT") => conditions.if_earlier = true,
                _ => {
                    let text = [b"ERR Unsupported option ".as_slice(), word].concat();
                    return Err(Stop::Error(Cow::Owned(text)));
                }
            }
        }
        let Conditions { if_none, if_some, if_later, if_earlier } = conditions;
        if if_none && (if_some || if_later || if_earlier) {
            return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
        }
        if if_later && if_earlier {
            return Err("ERR GT and LT options at the same time are not compatible".into());
        }
        Ok(conditions)
    }

    /// Whether `new` may replace `old` (0: never expires, which is later than any time).
    fn allow(&self, old: u64, new: i64) -> bool {
        let old = (old != 0).then_some(old as i64);
        let refused = (self.if_none && old.is_some())
            || (self.if_some && old.is_none())
            || (self.if_later && old.is_none_or(|old| new <= old))
            || (self.if_earlier && old.is_some_and(|old| new >= old));
        !refused
    }
}

fn set_expiry(c: &mut Call<'_>, seconds: bool, relative: bool) -> Ran {
    let key = c.request.arg(1);
    let conditions = Conditions::read(c)?;
    let now = c.store.wall_ms();
    let amount = integer(c.request.arg(2))?;
    let ms = if seconds { amount.checked_mul(1000) } else { Some(amount) };
    let base = if relative { now as i64 } else { 0 };
    let at = ms
        .and_then(|ms| ms.checked_add(base))
        .ok_or_else(|| format!("ERR invalid expire time in '{}' command", c.spec.full_name))?;
    let changed = match fetch(c.store, key)? {
        Some(entry) if conditions.allow(entry.expiry_ms, at) => {
            if at <= now as i64 {
                delete(c.store, key)?;
            } else if at as u64 != entry.expiry_ms {
                let value = entry.value.to_vec();
                put(c.store, key, &value, at as u64)?;
            }
            true
        }
        _ => false,
    };
    c.reply.integer(changed.into());
    Ok(CommandOutcome::Done)
}

pub fn persist(c: &mut Call<'_>) -> Ran {
    let key = c.request.arg(1);
    let changed = match fetch(c.store, key)? {
        Some(entry) if entry.expiry_ms != 0 => {
            let value = entry.value.to_vec();
            put(c.store, key, &value, 0)?;
            true
        }
        _ => false,
    };
    c.reply.integer(changed.into());
    Ok(CommandOutcome::Done)
}
