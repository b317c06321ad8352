//! Only a member of the in-sync set is promoted (rule 3), and the leader changes only with the epoch.

use agency::configuration::Configuration;

/// One configuration and its successor.
pub fn verdict(old: &Configuration, new: &Configuration) -> Result<(), String> {
    if new.leader != old.leader && !old.in_sync.contains(new.leader) {
        return Err(format!("a node outside of the in-sync set was promoted: {old:?} before {new:?}"));
    }
    if new.epoch == old.epoch && !new.same_reign(old) {
        return Err(format!("the writer changed within an epoch: {old:?} before {new:?}"));
    }
    Ok(())
}
