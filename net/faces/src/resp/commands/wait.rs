//! `WAIT` and `WAITAOF`: only the arguments are understood here; the node counts the copies.

use super::{Call, CommandOutcome, Ran, Stop, integer};
use crate::resp::number::parse_i64;

pub fn wait(c: &mut Call<'_>) -> Ran {
    let replicas = integer(c.request.arg(1))?;
    let timeout_ms = timeout(c.request.arg(2))?;
    Ok(CommandOutcome::Wait { replicas: clamped(replicas), timeout_ms })
}

pub fn waitaof(c: &mut Call<'_>) -> Ran {
    let local = match integer(c.request.arg(1))? {
        local @ (0 | 1) => local as u32,
        _ => return Err("ERR value is out of range, value must between 0 and 1".into()),
    };
    let replicas = integer(c.request.arg(2))?;
    if replicas < 0 {
        return Err("ERR value is out of range, must be positive".into());
    }
    let timeout_ms = timeout(c.request.arg(3))?;
    Ok(CommandOutcome::WaitAof { local, replicas: clamped(replicas), timeout_ms })
}

fn timeout(arg: &[u8]) -> Result<u64, Stop> {
    let ms = parse_i64(arg).ok_or("ERR timeout is not an integer or out of range")?;
    u64::try_from(ms).map_err(|_| "ERR timeout is negative".into())
}

/// Fewer than none is none; more than any group has stays more than any group has.
fn clamped(count: i64) -> u32 {
    count.clamp(0, u32::MAX.into()) as u32
}
