//! A shard that stays unavailable says why: clients are refused in words, and some in-sync member is down,
//! damaged, or called a stranger (rules 5 and 8).

use crate::host::Host;
use agency::configuration::Configuration;
use agency::shard::Health;

/// Judges a shard that nobody serves although no fault strikes any more. `told`: a client was refused in words.
pub fn verdict(shard: u16, c: &Configuration, hosts: &[Host], told: bool) -> Result<(), String> {
    let reason = |place: usize| {
        let Some(node) = &hosts[place].node else { return true };
        let damaged = node.page.progress[usize::from(shard)].health == Health::Damaged;
        let strange = hosts.iter().filter_map(|host| host.warden.as_ref()).any(|warden| {
            warden.overseer.view().nodes.iter().any(|seen| usize::from(seen.id.0) == place && seen.suspect)
        });
        damaged || strange
    };
    if !c.in_sync.iter().any(|node| reason(usize::from(node.0))) {
        return Err(format!("shard {shard} is not served, and nobody says why: {c:?}"));
    }
    if !told {
        return Err(format!("shard {shard} is not served, and no client was told so"));
    }
    Ok(())
}
