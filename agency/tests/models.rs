//! Small scopes of the agency, searched to the end with `stateright`: the real acceptor, proposer and lease,
//! over a network that loses, doubles and reorders at will (what was sent stays deliverable for ever).

use agency::acceptor::Acceptor;
use agency::ballot::Ballot;
use agency::configuration::{Change, Configuration, EvictReason, Why};
use agency::ids::{Epoch, Incarnation, Nanos, NodeId, NodeSet, Version};
use agency::lease::{Grantor, Holder};
use agency::proposer::{Attempt, Proposer};
use agency::timing::Timing;
use stateright::{Checker, Model, Property};
use std::collections::BTreeSet;
use std::time::Duration;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const AGENTS: NodeSet = NodeSet(0b111);
const QUORUM: usize = 2;

/// What is explored.
#[derive(Clone)]
struct Scope {
    /// Ballots that A may spend on SOLO, and B on PROMOTE.
    attempts: [u8; 2],
    /// B starts with a ballot prepared at all agents: the fast path.
    prepared: bool,
    /// Leases that A asks for, steps of the clock, restarts of agents.
    asks: u64,
    steps: u8,
    restarts: u8,
}

/// Messages; ordered, so that the network is a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Mail {
    Prepare(Ballot, NodeId),
    Promised(Ballot, NodeId, Option<(Ballot, u8)>),
    Accept(Ballot, NodeId, u8),
    Accepted(Ballot, NodeId),
    Ask(u64, NodeId),
    Granted(u64, NodeId),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: Nanos,
    steps: u8,
    restarts: u8,
    attempts: [u8; 2],
    acceptors: [Acceptor; 3],
    grantors: [Grantor; 3],
    proposers: [Proposer; 2],
    holder: Holder,
    sent: Vec<Nanos>,
    mail: BTreeSet<Mail>,
    /// Who accepted what by which ballot, ever.
    votes: BTreeSet<(Ballot, u8, NodeId)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Start(usize),
    Deliver(Mail),
    Ask,
    Clock,
    Restart(usize),
}

fn timing() -> Timing {
    Timing::default()
}

fn founded() -> Configuration {
    Configuration {
        epoch: Epoch(1),
        version: Version(1),
        leader: A,
        leader_incarnation: Incarnation(1),
        in_sync: NodeSet(0b11),
        members: NodeSet(0b11),
        why: Why::Founded,
        at_ms: 0,
    }
}

/// The few values there can be, by number: 0 founded, 1 SOLO of A, 2 PROMOTE of B.
fn value(number: u8) -> Configuration {
    let change = match number {
        0 => return founded(),
        1 => Change::Evict(NodeSet::of(&[B]), EvictReason::Gone),
        _ => Change::Promote(B, Why::LeaseExpired),
    };
    founded().apply(change, Incarnation(1), 0).unwrap()
}

fn number(configuration: Configuration) -> u8 {
    (0..3).find(|n| value(*n) == configuration).expect("nobody proposes anything else")
}

impl World {
    fn chosen(&self) -> BTreeSet<u8> {
        let by = |ballot: Ballot| self.votes.iter().filter(|v| v.0 == ballot).count();
        self.votes.iter().filter(|v| by(v.0) >= QUORUM).map(|v| v.1).collect()
    }

    fn deliver(&mut self, mail: Mail) {
        match mail {
            Mail::Prepare(ballot, agent) => {
                if let Ok(seen) = self.acceptors[usize::from(agent.0)].prepare(ballot) {
                    let seen = seen.map(|(b, c)| (b, number(c)));
                    self.mail.insert(Mail::Promised(ballot, agent, seen));
                }
            }
            Mail::Promised(ballot, agent, seen) => {
                let seen = seen.map(|(b, n)| (b, value(n)));
                let who = usize::from(ballot.node.0);
                if let Some(ballot) = self.proposers[who].promised(self.now, agent, ballot, seen) {
                    for other in AGENTS.without(ballot.node).iter() {
                        self.mail.insert(Mail::Prepare(ballot, other));
                    }
                }
                self.propose(who);
            }
            Mail::Accept(ballot, agent, number) => {
                let at = usize::from(agent.0);
                let waits = self.grantors[at].remaining(self.now, &value(number)).is_some();
                if !waits && self.acceptors[at].accept(ballot, value(number)).is_ok() {
                    self.votes.insert((ballot, number, agent));
                    self.mail.insert(Mail::Accepted(ballot, agent));
                }
            }
            Mail::Accepted(ballot, agent) => {
                let proposer = &mut self.proposers[usize::from(ballot.node.0)];
                if let Some(chosen) = proposer.accepted(agent, ballot) {
                    proposer.learned(&chosen);
                }
            }
            Mail::Ask(seq, agent) => {
                let at = usize::from(agent.0);
                let newest = self.acceptors[at].accepted().expect("the group is founded").1;
                let leads = newest.leader == A && newest.epoch == Epoch(1);
                if leads && self.grantors[at].grant(self.now, &newest, seq, &timing()) {
                    self.mail.insert(Mail::Granted(seq, agent));
                }
            }
            Mail::Granted(seq, agent) => {
                let sent = self.sent[seq as usize - 1];
                self.holder.granted(agent, Epoch(1), seq, sent, &timing());
            }
        }
    }

    /// The overseer's rule: what was seen and may be chosen comes before the own wish.
    fn propose(&mut self, who: usize) {
        let Attempt::Prepared { ballot, best } = self.proposers[who].attempt() else { return };
        let seen = best.expect("the group is founded").1;
        let wish = if seen.version > Version(1) { seen } else { value(who as u8 + 1) };
        self.proposers[who].propose(self.now, wish, None, false);
        for agent in AGENTS.iter() {
            self.mail.insert(Mail::Accept(ballot, agent, number(wish)));
        }
    }
}

impl Model for Scope {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let first = Ballot { round: 1, node: A };
        let mut world = World {
            now: Nanos(1_000_000_000),
            steps: 0,
            restarts: 0,
            attempts: [0; 2],
            acceptors: [Acceptor::restore(first, Some((first, founded()))); 3],
            grantors: [Grantor::default(); 3],
            proposers: [Proposer::new(A, AGENTS), Proposer::new(B, AGENTS)],
            holder: Holder::default(),
            sent: Vec::new(),
            mail: BTreeSet::new(),
            votes: AGENTS.iter().map(|a| (first, 0, a)).collect(),
        };
        if self.prepared {
            let ballot = world.proposers[1].start(first, false);
            for agent in [B, A, NodeId(2)] {
                let seen = world.acceptors[usize::from(agent.0)].prepare(ballot).unwrap();
                world.proposers[1].promised(world.now, agent, ballot, seen);
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for who in 0..2 {
            let prepared = matches!(world.proposers[who].attempt(), Attempt::Prepared { .. });
            if prepared || world.attempts[who] < self.attempts[who] {
                steps.push(Step::Start(who));
            }
        }
        steps.extend(world.mail.iter().map(|m| Step::Deliver(*m)));
        if (world.sent.len() as u64) < self.asks {
            steps.push(Step::Ask);
        }
        if world.steps < self.steps {
            steps.push(Step::Clock);
        }
        if world.restarts < self.restarts {
            steps.extend((0..3).map(Step::Restart));
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Start(who) if matches!(world.proposers[who].attempt(), Attempt::Prepared { .. }) => {
                world.propose(who);
            }
            Step::Start(who) => {
                world.attempts[who] += 1;
                world.proposers[who].spoil();
                let home = world.acceptors[who].promised();
                let ballot = world.proposers[who].start(home, false);
                world.mail.insert(Mail::Prepare(ballot, ballot.node));
            }
            Step::Deliver(mail) => world.deliver(mail),
            Step::Ask => {
                world.sent.push(world.now);
                let seq = world.sent.len() as u64;
                world.mail.extend(AGENTS.iter().map(|a| Mail::Ask(seq, a)));
            }
            Step::Clock => {
                world.steps += 1;
                world.now = world.now + Duration::from_millis(40);
            }
            Step::Restart(agent) => {
                world.restarts += 1;
                let newest = world.acceptors[agent].accepted().map(|a| a.1);
                world.grantors[agent] = Grantor::after_restart(world.now, newest, &timing());
                if agent < 2 {
                    let me = NodeId(agent as u8);
                    world.proposers[agent] = Proposer::new(me, AGENTS);
                }
                if agent == 0 {
                    world.holder = Holder::default();
                }
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Scope>> {
        vec![
            Property::always("one value per version", |_, world: &World| {
                let chosen = world.chosen();
                !(chosen.contains(&1) && chosen.contains(&2))
            }),
            Property::always("no lease while a successor leads", |_, world: &World| {
                let leased = world.holder.until(Epoch(1), AGENTS, QUORUM) > world.now;
                !(leased && world.chosen().contains(&2))
            }),
            Property::sometimes("the successor can win", |_, world: &World| world.chosen().contains(&2)),
            Property::sometimes("the leader can stay alone", |scope: &Scope, world: &World| {
                scope.attempts[0] == 0 || world.chosen().contains(&1)
            }),
        ]
    }
}

/// Searches to the end, and says how many states that were. The number is part of the test: another one means
/// that the scope, or what is searched, has changed.
fn search(name: &str, scope: Scope, states: usize) {
    let begun = std::time::Instant::now();
    let checker = scope.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    let found = checker.unique_state_count();
    println!("{name}: all {found} states, {} deep, in {:.1?}", checker.max_depth(), begun.elapsed());
    assert_eq!(found, states, "{name}");
}

#[test]
fn solo_against_promote_with_ballots_of_both() {
    let scope = Scope { attempts: [1, 1], prepared: false, asks: 0, steps: 0, restarts: 0 };
    search("SOLO against PROMOTE", scope, 17_053);
}

#[test]
fn solo_against_promote_with_a_second_attempt() {
    let scope = Scope { attempts: [2, 1], prepared: false, asks: 0, steps: 0, restarts: 0 };
    search("SOLO, twice, against PROMOTE", scope, 810_331);
}

#[test]
fn solo_against_promote_while_agents_restart() {
    let scope = Scope { attempts: [1, 1], prepared: false, asks: 0, steps: 0, restarts: 2 };
    search("SOLO against PROMOTE, two restarts of agents", scope, 193_460);
}

#[test]
fn solo_against_promote_on_the_fast_path() {
    let scope = Scope { attempts: [1, 0], prepared: true, asks: 0, steps: 0, restarts: 0 };
    search("SOLO against a prepared PROMOTE", scope, 2_071);
}

#[test]
fn the_fast_path_while_agents_restart() {
    let scope = Scope { attempts: [1, 0], prepared: true, asks: 0, steps: 0, restarts: 2 };
    search("SOLO against a prepared PROMOTE, two restarts of agents", scope, 17_089);
}

#[test]
fn a_lease_and_a_promotion_never_overlap() {
    let scope = Scope { attempts: [0, 0], prepared: true, asks: 2, steps: 2, restarts: 0 };
    search("leases against PROMOTE", scope, 218_600);
}

#[test]
fn nor_when_agents_restart() {
    let scope = Scope { attempts: [0, 0], prepared: true, asks: 1, steps: 2, restarts: 1 };
    search("a lease against PROMOTE, a restart of an agent", scope, 45_847);
}

#[test]
fn a_lease_and_solo_against_promote_while_an_agent_restarts() {
    let scope = Scope { attempts: [1, 0], prepared: true, asks: 1, steps: 1, restarts: 1 };
    search("a lease and SOLO against a prepared PROMOTE, a restart of an agent", scope, 769_185);
}
