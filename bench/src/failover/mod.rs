//! Kill something under load, measure what the clients felt, and judge what they read.
//!
//! Reading order: [`router`] (a client that finds the leader), [`writers`] (the load and its memory),
//! [`gap`] (how long nobody got an answer), [`verify`] (every key on every node), [`report`].
//!
//! [`run`] knows a group only by the trait [`Group`]; who implements it starts and kills the processes.

pub mod gap;
pub mod report;
pub mod router;
pub mod verify;
pub mod writers;

use crate::load::histogram::Latencies;
use report::{Report, Round};
use router::Endpoint;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use verify::{Role, VerifyError};
use writers::{Writers, WritersOptions};

/// What is done to the group in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL to the leader's node process.
    Node,
    /// SIGKILL to the leader's warden and node at once.
    WardenAndNode,
    /// SIGSTOP to the leader's node process; its warden ends it.
    Stop,
    /// SIGSTOP to the leader's warden and node, SIGCONT [`SILENCE`] later: a silent host.
    Silence,
    /// A planned handoff to the other node.
    Handoff,
    /// SIGTERM to the leader's warden: an orderly stop, which hands over first. The member is started again.
    Terminate,
    /// SIGKILL to the follower's node process.
    Follower,
    /// SIGKILL to the witness.
    Witness,
    /// SIGKILL to both node processes at once.
    Both,
    /// The leader's file system stands still for [`STALL`]; the other nodes have disks of their own.
    Disk,
    /// An orderly stop of the whole group, and its start on the same files.
    StopGroup,
}

/// How long a disk stands still.
pub const STALL: Duration = Duration::from_secs(5);

/// How long a silent host is silent.
pub const SILENCE: Duration = Duration::from_secs(2);

const BLOWS: [(Blow, &str); 11] = [
    (Blow::Node, "node"),
    (Blow::WardenAndNode, "warden+node"),
    (Blow::Stop, "stop"),
    (Blow::Silence, "silence"),
    (Blow::Handoff, "handoff"),
    (Blow::Terminate, "terminate"),
    (Blow::Follower, "follower"),
    (Blow::Witness, "witness"),
    (Blow::Both, "both"),
    (Blow::Disk, "disk"),
    (Blow::StopGroup, "stop-group"),
];

impl Blow {
    /// Whether it costs the leader its leadership, so that the epoch must rise.
    pub fn ends_leadership(self) -> bool {
        !matches!(self, Blow::Follower | Blow::Witness)
    }

    /// How long a client waits for an answer before it tries another node. Short where nothing tells it
    /// that the leader is gone.
    pub fn patience(self) -> Duration {
        match self {
            Blow::Silence => Duration::from_millis(50),
            _ => Duration::from_secs(2),
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = BLOWS.iter().find(|(blow, _)| blow == self).expect("every blow has a name");
        f.pad(name)
    }
}

impl FromStr for Blow {
    type Err = String;

    fn from_str(text: &str) -> Result<Blow, String> {
        let names: Vec<_> = BLOWS.iter().map(|(_, name)| *name).collect();
        match BLOWS.iter().find(|(_, name)| *name == text) {
            Some((blow, _)) => Ok(*blow),
            None => Err(format!("no such blow; one of {}", names.join(", "))),
        }
    }
}

/// Why a group could not do what was asked.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct GroupError(pub String);

/// How a group stands while it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The place among [`Group::endpoints`] of the node that leads shard 0.
    pub leader: usize,
    /// The epoch of each shard.
    pub epochs: Vec<u64>,
}

/// A group of two data nodes and a witness, started and supervised by the implementor.
pub trait Group {
    /// The data nodes, in an order that never changes.
    fn endpoints(&self) -> Vec<Endpoint>;
    /// Deals the blow, and answers the moment just before it fell. A silent host is woken again, a disk that
    /// stands still moves again, and this returns before that. A whole group that was stopped has been started
    /// again when this returns; nothing else is waited for.
    fn strike(&mut self, blow: Blow) -> Result<Instant, GroupError>;
    /// What was wrong about the last blow that no client can see, asked once the group is whole again.
    fn findings(&mut self) -> Result<Vec<String>, GroupError> {
        Ok(Vec::new())
    }
    /// Waits until every node runs and is in sync for every shard, and says how the group stands.
    fn whole(&mut self, limit: Duration) -> Result<Standing, GroupError>;
    /// Waits, while nobody writes, until every node has applied everything to its index.
    fn caught_up(&mut self, limit: Duration) -> Result<Standing, GroupError>;
}

/// What to run.
#[derive(Clone, Debug)]
pub struct FailoverOptions {
    pub rounds: usize,
    pub blow: Blow,
    /// Writers, one connection each.
    pub connections: usize,
    /// Keys of each writer.
    pub keys_per_writer: u64,
    pub value_bytes: usize,
    pub seed: u64,
    /// Load before each blow.
    pub warm_up: Duration,
    /// Longest wait for the group to be whole again.
    pub recovery_limit: Duration,
}

impl Default for FailoverOptions {
    fn default() -> FailoverOptions {
        FailoverOptions {
            rounds: 10,
            blow: Blow::Node,
            connections: 8,
            keys_per_writer: 250,
            value_bytes: 100,
            seed: 1,
            warm_up: Duration::from_millis(300),
            recovery_limit: Duration::from_secs(30),
        }
    }
}

/// Why a run ended early. What is wrong with the data or the epochs is no such reason: it is in the report.
#[derive(Debug, Error)]
pub enum FailoverError {
    #[error("round {round}: {source}")]
    Group { round: usize, source: GroupError },
    #[error("round {round}: writes did not come back within {limit:?}")]
    NoWrites { round: usize, limit: Duration },
    #[error("round {round}: {source}")]
    Verify { round: usize, source: VerifyError },
}

/// Deals the blows, each followed by a check of everything. `each` is shown every round as it ends.
pub fn run(
    options: &FailoverOptions,
    group: &mut dyn Group,
    mut each: impl FnMut(&Round),
) -> Result<Report, FailoverError> {
    let endpoints = group.endpoints();
    let fail = |round| move |source| FailoverError::Group { round, source };
    let mut before = group.whole(options.recovery_limit).map_err(fail(0))?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let writers = Writers::start(WritersOptions {
        endpoints: endpoints.clone(),
        connections: options.connections,
        keys_per_writer: options.keys_per_writer,
        value_bytes: options.value_bytes,
        space: format!("run-{:x}", started.as_micros()),
        seed: options.seed,
        patience: options.blow.patience(),
    });
    let mut report = Report { blow: options.blow.to_string(), ..Report::default() };
    let (mut gaps, mut felt) = (Latencies::default(), Latencies::default());
    for number in 1..=options.rounds {
        writers.resume();
        let lively =
            writers.wait_for_acks_after(writers.now() + nanos(options.warm_up), options.recovery_limit);
        if !lively {
            return Err(FailoverError::NoWrites { round: number, limit: options.recovery_limit });
        }
        let struck = group.strike(options.blow).map_err(fail(number))?;
        let blow_at = writers.at(struck);
        if !writers.wait_for_acks_after(blow_at + nanos(gap::AFTERMATH), options.recovery_limit) {
            return Err(FailoverError::NoWrites { round: number, limit: options.recovery_limit });
        }
        group.whole(options.recovery_limit).map_err(fail(number))?;
        let mut quiet = writers.pause();
        let standing = group.caught_up(options.recovery_limit).map_err(fail(number))?;

        let mut round = Round { number, epochs: standing.epochs.clone(), ..Round::default() };
        let gap = gap::around(&quiet.all_acks(), blow_at).unwrap_or_default();
        let worst = quiet.acks_by_writer().filter_map(|acks| gap::around(acks, blow_at)).max();
        gaps.record(gap);
        felt.record(worst.unwrap_or_default());
        round.gap_us = gap.as_secs_f64() * 1e6;
        round.worst_connection_us = worst.unwrap_or_default().as_secs_f64() * 1e6;
        round.errors = quiet.take_errors();
        round.redirects = quiet.take_redirects();
        for (place, endpoint) in endpoints.iter().enumerate() {
            let role = if place == standing.leader { Role::Leader } else { Role::Follower };
            let verified = verify::every_key(&mut quiet, endpoint, role)
                .map_err(|source| FailoverError::Verify { round: number, source })?;
            round.keys_checked += verified.keys;
            round.violations.extend(verified.violations);
        }
        quiet.settle();
        round.acknowledged = quiet.take_acknowledged();
        round.violations.extend(group.findings().map_err(fail(number))?);
        round.check_epochs(&before.epochs, options.blow.ends_leadership());
        before = standing;
        each(&round);
        report.rounds.push(round);
    }
    writers.stop();
    report.sum_up(&gaps, &felt);
    Ok(report)
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blow_reads_as_it_prints() {
        for (blow, name) in BLOWS {
            assert_eq!(name.parse(), Ok(blow));
            assert_eq!(blow.to_string(), name);
        }
        assert!("hammer".parse::<Blow>().unwrap_err().contains("warden+node"));
    }
}
