//! Where a group asks for so many copies, no write is taken while fewer members than that are in sync (rule 22).

use super::zombies::values;

/// A leader that knows of so many members in sync appended these frames.
pub fn appended(host: usize, in_sync: usize, least: usize, bytes: &[u8]) -> Result<(), String> {
    if in_sync >= least {
        return Ok(());
    }
    match values(bytes).into_iter().next() {
        Some((key, value)) => {
            Err(format!("host {host} takes {value} for {key} with {in_sync} of {least} copies"))
        }
        None => Ok(()),
    }
}
