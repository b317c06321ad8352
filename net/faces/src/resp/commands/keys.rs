//! Commands about keys whatever their values: delete, exists, type.

use super::{Call, CommandOutcome, Ran, Stop, fetch};
use crate::store::{Fetch, Write};
use std::collections::BTreeSet;

/// `DEL` and `UNLINK`: a key that is named twice is deleted, and counted, once.
pub fn del(c: &mut Call<'_>) -> Ran {
    let request = c.request;
    let mut seen = BTreeSet::new();
    let mut writes = Vec::new();
    let mut blocked = false;
    for key in request.args_from(1) {
        match c.store.fetch(key) {
            Fetch::Pending => blocked = true,
            Fetch::Value { .. } if request.len() == 2 || seen.insert(key) => {
                writes.push(Write::Delete { key })
            }
            Fetch::Value { .. } | Fetch::Missing => {}
            Fetch::Failed(fault) => return Err(fault.into()),
        }
    }
    if blocked {
        return Err(Stop::Blocked);
    }
    if !writes.is_empty() {
        c.store.write(&writes)?;
    }
    c.reply.integer(writes.len() as i64);
    Ok(CommandOutcome::Done)
}

/// `EXISTS` and `TOUCH`: a key that is named twice counts twice.
pub fn exists(c: &mut Call<'_>) -> Ran {
    let mut blocked = false;
    let mut count = 0;
    for key in c.request.args_from(1) {
        match c.store.fetch(key) {
            Fetch::Pending => blocked = true,
            Fetch::Value { .. } => count += 1,
            Fetch::Missing => {}
            Fetch::Failed(fault) => return Err(fault.into()),
        }
    }
    if blocked {
        return Err(Stop::Blocked);
    }
    c.reply.integer(count);
    Ok(CommandOutcome::Done)
}

pub fn type_of(c: &mut Call<'_>) -> Ran {
    let exists = fetch(c.store, c.request.arg(1))?.is_some();
    c.reply.simple(if exists { "string" } else { "none" });
    Ok(CommandOutcome::Done)
}
