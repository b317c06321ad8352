//! Commands that do arithmetic on values. They keep the key's expiry.

use super::{Call, CommandOutcome, NOT_AN_INTEGER, Ran, Stop, fetch, integer, put};
use crate::resp::long_double::LongDouble;
use crate::resp::number::parse_i64;
use crate::resp::reply::push_decimal;

pub fn incr(c: &mut Call<'_>) -> Ran {
    add(c, 1)
}

pub fn decr(c: &mut Call<'_>) -> Ran {
    add(c, -1)
}

pub fn incrby(c: &mut Call<'_>) -> Ran {
    let by = integer(c.request.arg(2))?;
    add(c, by)
}

pub fn decrby(c: &mut Call<'_>) -> Ran {
    let by = integer(c.request.arg(2))?;
    let negated = by.checked_neg().ok_or("ERR decrement would overflow")?;
    add(c, negated)
}

fn add(c: &mut Call<'_>, by: i64) -> Ran {
    let key = c.request.arg(1);
    let (old, expiry_ms) = match fetch(c.store, key)? {
        Some(entry) => (parse_i64(entry.value).ok_or(NOT_AN_INTEGER)?, entry.expiry_ms),
        None => (0, 0),
    };
    let new = old.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
    let mut value = Vec::new();
    push_decimal(&mut value, new);
    put(c.store, key, &value, expiry_ms)?;
    c.reply.integer(new);
    Ok(CommandOutcome::Done)
}

pub fn incrbyfloat(c: &mut Call<'_>) -> Ran {
    let key = c.request.arg(1);
    let number = |text: &[u8]| LongDouble::parse(text).ok_or(Stop::from("ERR value is not a valid float"));
    let (old, expiry_ms) = match fetch(c.store, key)? {
        Some(entry) => (number(entry.value)?, entry.expiry_ms),
        None => (LongDouble::ZERO, 0),
    };
    let new = old.add(number(c.request.arg(2))?);
    let value = new.map(LongDouble::print).ok_or("ERR increment would produce NaN or Infinity")?;
    put(c.store, key, value.as_bytes(), expiry_ms)?;
    c.reply.bulk(value.as_bytes());
    Ok(CommandOutcome::Done)
}
