//! One run from its founding to its verdict.

use crate::checkers::{index, leaks, unavailable};
use crate::client::Again;
use crate::host::Host;
use crate::http_clients;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::{START, Violation, World};
use engine::ids::{Lsn, ShardId};
use engine::slot::slot_of;
use mutants::TakenAway;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// The group is founded and serves within this.
const FOUNDED_WITHIN: u64 = 20 * SECOND;
/// After the last fault every shard takes writes within this.
const SERVES_WITHIN: u64 = 15 * SECOND;
/// And everybody is in sync within this.
const WHOLE_WITHIN: u64 = 60 * SECOND;
/// Before the trials.
const CALM_DOWN: u64 = 3 * SECOND;
/// Meanwhile the configuration of a shard changes this often at most.
const FLAPS_MOST: u64 = 3;
const AUDITED_WITHIN: u64 = 60 * SECOND;
const READ_BYTES: usize = 256 << 10;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    /// Two runs of one seed have the same.
    pub hash: u64,
    pub simulated_ns: u64,
    pub events: u64,
    pub strikes: u64,
    /// Changes of configuration that were published.
    pub versions: u64,
    pub requests: u64,
    pub unknown: u64,
    pub undecided: u64,
    pub stale_reads: u64,
    pub violation: Option<Violation>,
}

/// Runs a scenario to its verdict.
pub fn simulate(scenario: Scenario, trace: Trace) -> Report {
    let _taken_away = TakenAway::new(scenario.mutant);
    let mut world = World::new(scenario, trace);
    run(&mut world);
    if world.trace.stops() {
        world.trace.say(world.now, format_args!("stopped"), format_args!("{}", state(&world)));
    }
    let shards = world.scenario.shards;
    let newest = |shard| world.checkers.configurations.newest(shard).map_or(0, |c| c.version.0);
    let versions = (0..shards).map(newest).sum();
    Report {
        seed: world.scenario.seed,
        hash: world.trace.hash(),
        simulated_ns: world.now - START,
        events: world.events,
        strikes: world.nemesis.strikes,
        versions,
        requests: world.checkers.history.requests,
        unknown: world.checkers.history.unknown,
        undecided: world.checkers.history.undecided,
        stale_reads: world.checkers.stale_reads.count() as u64,
        violation: world.violation,
    }
}

fn run(world: &mut World) {
    let scenario = world.scenario.clone();
    world.trace.say(world.now, format_args!("scenario"), format_args!("{scenario:?}"));
    world.trace.say(world.now, format_args!("faults"), format_args!("{:?}", world.nemesis.kinds()));
    let end = world.now + FOUNDED_WITHIN;
    if !world.run_until(end, |world| serving_since(world, &[])) && !world.trace.stops() {
        return world.violated("liveness", "the group was never founded".into());
    }
    stay_steady(world);
    let end = world.now + world.scenario.hostile;
    world.run_until(end, |_| false);
    world.checkers.steady.holds = false;
    world.make_peace();
    let peace = world.now;
    let before = answered(world);
    // Where two copies are asked for, somebody has to be admitted first.
    let within = if world.scenario.min_in_sync > 1 { WHOLE_WITHIN } else { SERVES_WITHIN };
    let end = world.now + within;
    let served = world.run_until(peace + within / 2, |world| serving_since(world, &before)) || {
        world.replace_needed_disks();
        world.run_until(end, |world| serving_since(world, &before))
    };
    if world.trace.stops() {
        return;
    }
    if !served && excused(world) {
        judge_unavailable(world, &before, peace);
    } else if !served {
        let within = within / SECOND;
        let what = format!("no write was answered within {within} s of the last fault; {}", state(world));
        return world.violated("liveness", what);
    }
    become_whole(world);
    world.checkers.steady.changes = 0;
    // A disk that was full is asked again after a second.
    let end = world.now + CALM_DOWN;
    world.run_until(end, |_| false);
    let verdict = world.checkers.steady.flaps(FLAPS_MOST * u64::from(world.scenario.shards));
    world.judge("steady", verdict);
    if served && !world.checkers.damage.any_stands() && whole(world) {
        world.try_without_majority();
        if !world.scenario.beyond_margin() {
            world.try_deaf_leader();
            become_whole(world);
            one_more_trial(world);
        }
        become_whole(world);
    }
    audit(world);
    judge(world);
}

/// One of the trials that take long.
fn one_more_trial(world: &mut World) {
    if world.violation.is_some() || !whole(world) {
        return;
    }
    match world.scenario.seed % 4 {
        0 => world.try_stuck_leader(),
        1 => world.try_shared_stall(),
        2 => world.try_stalled_leader(),
        _ => world.try_orderly_stop(),
    }
    become_whole(world);
    // What was whole after a stop may yet have to choose its leader.
    let end = world.now + SECOND;
    world.run_until(end, |_| false);
    become_whole(world);
    match world.scenario.seed / 4 % 3 {
        0 => world.try_slow_follower(),
        1 => world.try_stopping_follower(),
        _ => {}
    }
}

/// The crowd comes; for a while nothing else does, and nothing may change. Then the faults begin, if there are any.
fn stay_steady(world: &mut World) {
    if world.scenario.calm > 0 {
        become_whole(world);
        world.checkers.steady.holds = true;
        world.let_crowd_in();
        let end = world.now + world.scenario.calm;
        world.run_until(end, |_| false);
    }
    if !world.scenario.faultless {
        world.checkers.steady.holds = false;
        world.unleash();
    }
}

fn become_whole(world: &mut World) {
    let end = world.now + WHOLE_WITHIN;
    if world.violation.is_none() && !world.run_until(end, whole) && !excused(world) {
        let within = WHOLE_WITHIN / SECOND;
        let what = format!("not everybody is in sync {within} s after the last fault; {}", state(world));
        world.violated("liveness", what);
    }
}

/// Shards that nobody serves, because no whole copy is left, must say so.
fn judge_unavailable(world: &mut World, before: &[u64], peace: u64) {
    let now = answered(world);
    for shard in 0..world.scenario.shards {
        let place = usize::from(shard);
        let Some(c) = world.checkers.configurations.newest(shard).copied() else { continue };
        if now[place] == before[place] {
            let told = world.clients.iter().any(|client| client.refused_at[place] > peace);
            let verdict = unavailable::verdict(shard, &c, &world.hosts, told);
            world.judge("unavailable", verdict);
        }
    }
}

/// How many writes of each shard were answered so far.
fn answered(world: &World) -> Vec<u64> {
    let of = |shard: usize| world.clients.iter().map(|client| client.answered_writes[shard]).sum();
    (0..usize::from(world.scenario.shards)).map(of).collect()
}

fn serving_since(world: &World, before: &[u64]) -> bool {
    answered(world).iter().enumerate().all(|(shard, now)| *now > before.get(shard).copied().unwrap_or(0))
}

/// Everybody is in sync and nobody has anything left to do.
fn whole(world: &mut World) -> bool {
    let met = |(place, host): (usize, &Host)| {
        host.warden.as_ref().is_some_and(|warden| {
            warden
                .links
                .iter()
                .take(world.hosts.len())
                .enumerate()
                .all(|(peer, link)| peer == place || link.is_some())
        })
    };
    world.hosts.iter().enumerate().all(met)
        && (0..world.scenario.shards).all(|shard| {
            world.checkers.configurations.newest(shard).is_some_and(|c| {
                c.in_sync == c.members
                    && (0..world.scenario.data_nodes).all(|host| {
                        world.hosts[host].node.as_ref().is_some_and(|node| {
                            node.page.updates[usize::from(shard)].1.is_some_and(|u| u.configuration == *c)
                        })
                    })
            })
        })
}

/// Damage may leave a shard without a whole copy to lead from; then it must stay unavailable.
fn excused(world: &World) -> bool {
    world.violation.is_none()
        && world.checkers.damage.any()
        && (0..world.scenario.shards).any(|shard| {
            world.checkers.configurations.newest(shard).is_some_and(|c| {
                c.in_sync.iter().all(|node| world.checkers.damage.was_hit(usize::from(node.0)))
            })
        })
}

fn state(world: &World) -> String {
    let mut text = String::new();
    for shard in 0..world.scenario.shards {
        text += &format!("shard {shard}: {:?}; ", world.checkers.configurations.newest(shard));
        for (place, host) in world.hosts.iter().enumerate().take(world.scenario.data_nodes) {
            let node = host.node.as_ref().map(|node| node.page.progress[usize::from(shard)]);
            text += &format!("host {place}: warden {} node {node:?}; ", host.warden.is_some());
        }
    }
    text
}

/// Every key is read once more.
fn audit(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    world.nemesis.auditing = true;
    world.nemesis.audited_from = world.now;
    let keys: Vec<Vec<u8>> = world.checkers.history.keys().cloned().collect();
    let clients = world.scenario.stale_clients..world.scenario.clients;
    let (http, resp): (Vec<usize>, Vec<usize>) = clients.partition(|client| world.scenario.is_http(*client));
    // Those of one slot to one reader, which asks for them at once.
    for key in keys {
        let readers = if key.starts_with(http_clients::PREFIX) { &http } else { &resp };
        let reader = readers[usize::from(slot_of(&key)) % readers.len()];
        world.clients[reader].audit.push(key);
    }
    let end = world.now + AUDITED_WITHIN;
    let done = world.run_until(end, |world| world.clients.iter().all(|client| client.audited()));
    if !done && !excused(world) {
        world.violated("liveness", format!("not every key could be read in peace; {}", state(world)));
    }
    // The last commits reach the followers.
    let end = world.now + SECOND;
    world.run_until(end, |_| false);
}

fn judge(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    // What was to be sent again may have been carried out, or not.
    for client in 0..world.clients.len() {
        let Some(Again { asked, since, .. }) = world.clients[client].again.take() else { continue };
        for (key, asked) in asked {
            world.checkers.history.add(key, client, asked, since, None);
        }
    }
    let lenient = if world.scenario.beyond_margin() { world.nemesis.audited_from } else { 0 };
    let verdict = world.checkers.history.verdict(lenient);
    world.judge("linearizability", verdict);
    let (clients, hosts) = (world.clients.len() + world.crowd.len(), world.hosts.len());
    for host in 0..world.scenario.data_nodes {
        let verdict = leaks::of_host(host, &world.hosts[host], clients, hosts);
        world.judge("leaks", verdict);
        for shard in (0..world.scenario.shards).map(ShardId) {
            compare_disk(world, host, shard);
            check_index(world, host, shard);
        }
    }
    // Only now is all of the log known.
    let verdict = world.checkers.stale_reads.verdict(&world.checkers.committed_log);
    world.judge("stale reads", verdict);
    let shards = usize::from(world.scenario.shards);
    let verdict = leaks::of_network(world.live_connections(), clients, hosts, shards);
    world.judge("leaks", verdict);
}

/// The whole committed log as it is on a node's disk.
fn compare_disk(world: &mut World, host: usize, shard: ShardId) {
    let any = world.checkers.damage.any_stands();
    let damaged = world.checkers.damage.stands(host);
    let World { hosts, checkers, .. } = world;
    let me = &hosts[host];
    let Some(node) = &me.node else { return };
    let Some(core) = &node.shards[usize::from(shard.0)].core else { return };
    let engine = core.engine();
    let disk = &me.disks[usize::from(shard.0)].device.memory;
    let end = engine.committed().0.min(engine.durable().0);
    let mut at = engine.oldest().0;
    let mut verdict = Ok(());
    while at < end {
        let (spec, skip, len) = engine.read_log(Lsn(at), READ_BYTES);
        let blocks = disk.read_blocks(spec);
        match checkers.committed_log.compare(host, shard, at, end, &blocks[skip..skip + len]) {
            Ok(next) if next > at => at = next,
            Ok(_) if damaged => break,
            Ok(_) => {
                let shard = shard.0;
                verdict = Err(format!("host {host} shard {shard}: no frame on disk at LSN {at} below {end}"));
                break;
            }
            Err(flaw) => {
                let on_disk = |what| format!("on disk of shard {}: {what}", shard.0);
                verdict = flaw.judged(damaged, any).map_err(on_disk);
                break;
            }
        }
    }
    world.judge("committed log", verdict);
}

fn check_index(world: &mut World, host: usize, shard: ShardId) {
    let damaged = world.checkers.damage.stands(host);
    let World { hosts, checkers, .. } = world;
    let me = &hosts[host];
    let disk = &me.disks[usize::from(shard.0)].device.memory;
    let Some(core) = me.node.as_ref().and_then(|node| node.shards[usize::from(shard.0)].core.as_ref()) else {
        return;
    };
    let log = &checkers.committed_log.shards[usize::from(shard.0)];
    let verdict = index::verdict(core.engine(), log, |spec| disk.read_blocks(spec));
    if !damaged {
        world.judge("index", verdict.map_err(|what| format!("host {host} shard {}: {what}", shard.0)));
    }
}
