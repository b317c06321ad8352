//! Nothing that a peer says stops a warden: whatever comes in by a link, no assertion fails, and whatever goes out
//! is a message that the other side reads. What a peer says here decodes, and is nonsense otherwise.

use agency::ballot::Ballot;
use agency::configuration::{Change, Configuration, EvictReason, LAST_VERSION, Why};
use agency::events::{Command, Event};
use agency::ids::{Epoch, Incarnation, Nanos, NodeId, NodeSet, ShardId, Version};
use agency::message::{
    AcceptAnswer, AcceptItem, AcceptedItem, Message, NodeReport, PromiseAnswer, PromiseItem, Proof,
    ShardBeat, YieldItem,
};
use agency::overseer::{Overseer, OverseerOptions};
use agency::shard::{Health, ShardProgress, ShardRequest};
use agency::timing::Timing;
use proptest::prelude::*;
use std::time::Duration;

const ME: NodeId = NodeId(0);
const SHARDS: u16 = 2;
/// More than the ballots that a warden takes here: what it counts on to from a peer's is still read by others.
const COUNTED_ON: u64 = 100_000;

/// A number that is likely to fit what the warden knows, or as large as can be said.
fn small(last: u64) -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..8u64, 1 => Just(last), 1 => Just(last - 1)]
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![8 => 0..3u8, 1 => 3..8u8].prop_map(NodeId)
}

fn shard() -> impl Strategy<Value = ShardId> {
    prop_oneof![8 => 0..SHARDS, 1 => SHARDS..64].prop_map(ShardId)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (small(Ballot::LAST_ROUND - COUNTED_ON), node()).prop_map(|(round, node)| Ballot { round, node })
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    small(u64::MAX).prop_map(Incarnation)
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let why = prop::sample::select(vec![Why::Founded, Why::LeaderDied, Why::LeaseExpired, Why::Evicted]);
    let numbers = (small(LAST_VERSION.0), small(LAST_VERSION.0));
    (numbers, 0..2u8, incarnation(), 0..4u8, prop::bool::weighted(0.9), why).prop_map(
        |((epoch, version), leader, leader_incarnation, sets, usual, why)| {
            let in_sync = NodeSet(sets).with(NodeId(leader));
            Configuration {
                epoch: Epoch(epoch.clamp(1, version.max(1))),
                version: Version(version.max(1)),
                leader: NodeId(leader),
                leader_incarnation,
                in_sync,
                members: if usual { NodeSet(0b11) } else { in_sync },
                why,
                at_ms: 5,
            }
        },
    )
}

fn beat() -> impl Strategy<Value = ShardBeat> {
    let asks = prop::option::of(small(u64::MAX).prop_map(Epoch));
    (small(u64::MAX), small(u64::MAX), asks, any::<[bool; 4]>()).prop_map(
        |(accepted, decided, asks, [ready, withheld, waits, stopping])| {
            let health = if ready { Health::Ready } else { Health::Damaged };
            let progress = ShardProgress { health, stopping, ..ShardProgress::default() };
            let (accepted, decided) = (Version(accepted), Version(decided));
            ShardBeat { accepted, decided, asks, withheld, waits, progress }
        },
    )
}

fn proof() -> impl Strategy<Value = Option<Proof>> {
    prop_oneof![
        Just(None),
        (node(), incarnation()).prop_map(|(n, i)| Some(Proof::Died(n, i))),
        (node(), incarnation(), small(u64::MAX))
            .prop_map(|(holder, incarnation, seq)| Some(Proof::Released { holder, incarnation, seq })),
    ]
}

fn report() -> impl Strategy<Value = NodeReport> {
    (incarnation(), incarnation(), any::<[bool; 2]>(), 0..3u128).prop_map(
        |(incarnation, dead, [running, hung], disk_id)| NodeReport {
            pid: 1,
            warden_pid: 1,
            incarnation,
            running,
            dead,
            hung,
            disk_id,
        },
    )
}

fn list<T: std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(item, 0..6)
}

fn message() -> impl Strategy<Value = Message> {
    let promise = prop_oneof![
        3 => prop::option::of((ballot(), configuration())).prop_map(PromiseAnswer::Promised),
        1 => ballot().prop_map(PromiseAnswer::Beaten),
    ];
    let accepted = prop_oneof![
        4 => Just(AcceptAnswer::Accepted),
        1 => ballot().prop_map(AcceptAnswer::Beaten),
        1 => small(u64::MAX).prop_map(|n| AcceptAnswer::Leased(Duration::from_nanos(n))),
    ];
    let beats = prop::collection::vec(beat(), usize::from(SHARDS));
    prop_oneof![
        4 => (small(u64::MAX), report(), any::<[u8; 2]>(), beats).prop_map(
            |(seq, report, sets, shards)| Message::Heartbeat {
                seq,
                report,
                hears: NodeSet(sets[0]),
                suspects: NodeSet(sets[1]),
                shards,
            }
        ),
        1 => (small(u64::MAX), incarnation(), list((shard(), small(u64::MAX).prop_map(Epoch))))
            .prop_map(|(seq, incarnation, shards)| Message::Granted { seq, incarnation, shards }),
        1 => (incarnation(), any::<bool>()).prop_map(|(incarnation, hung)| Message::Died { incarnation, hung }),
        1 => list((shard(), ballot())).prop_map(Message::Prepare),
        3 => list((shard(), ballot(), promise).prop_map(|(shard, ballot, answer)| PromiseItem {
            shard,
            ballot,
            answer
        }))
        .prop_map(Message::Promised),
        2 => list(
            (shard(), ballot(), configuration(), proof())
                .prop_map(|(shard, ballot, value, proof)| AcceptItem { shard, ballot, value, proof })
        )
        .prop_map(Message::Accept),
        3 => list((shard(), ballot(), accepted).prop_map(|(shard, ballot, answer)| AcceptedItem {
            shard,
            ballot,
            answer
        }))
        .prop_map(Message::Accepted),
        2 => list((shard(), configuration())).prop_map(Message::Decided),
        1 => list((shard(), small(u64::MAX).prop_map(Version))).prop_map(Message::Pull),
        2 => list(
            (shard(), configuration(), small(u64::MAX))
                .prop_map(|(shard, value, seq)| YieldItem { shard, value, seq })
        )
        .prop_map(Message::Yield),
    ]
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Says(NodeId, Message),
    /// What a peer says fits the newest ballot that was heard from the warden.
    Answers(NodeId, Option<(Ballot, Configuration)>),
    Link(NodeId, bool),
    Time(u64),
    Stored,
    Dies,
    Wants(Change),
    AcceptsLoss,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || (1..3u8).prop_map(NodeId);
    let wish = prop_oneof![
        Just(Change::Evict(NodeSet(0b10), EvictReason::Gone)),
        Just(Change::Admit(NodeId(1))),
        Just(Change::Handoff(NodeId(1))),
        Just(Change::Yield(NodeId(1))),
        Just(Change::Force(ME)),
    ];
    prop_oneof![
        12 => (peer(), message()).prop_map(|(from, message)| Step::Says(from, message)),
        6 => (peer(), prop::option::of((ballot(), configuration())))
            .prop_map(|(from, seen)| Step::Answers(from, seen)),
        1 => (peer(), any::<bool>()).prop_map(|(peer, up)| Step::Link(peer, up)),
        6 => (0..30_000_000u64).prop_map(Step::Time),
        8 => Just(Step::Stored),
        1 => Just(Step::Dies),
        1 => wish.prop_map(Step::Wants),
        1 => Just(Step::AcceptsLoss),
    ]
}

fn started(incarnation: u64) -> Event {
    Event::NodeStarted { incarnation: Incarnation(incarnation), pid: 5, disk_id: 1 }
}

struct Warden {
    overseer: Overseer,
    now: Nanos,
    incarnation: u64,
    requests: u64,
    stored: u64,
    newest: Option<Ballot>,
}

impl Warden {
    fn start() -> Warden {
        let options = OverseerOptions {
            me: ME,
            data_nodes: NodeSet(0b11),
            agents: NodeSet(0b111),
            shards: SHARDS,
            timing: Timing::default(),
            witness: false,
            initial_leaders: vec![ME, NodeId(1)],
            prefer_leader: None,
            warden_pid: 1,
            group: 7,
            disk_id: 1,
        };
        let now = Nanos(1_000_000_000);
        let overseer = Overseer::new(options, None, now).unwrap();
        let mut warden = Warden { overseer, now, incarnation: 1, requests: 0, stored: 0, newest: None };
        for peer in [NodeId(1), NodeId(2)] {
            warden.handle(Event::LinkUp(peer));
            let report = NodeReport { incarnation: Incarnation(1), running: true, ..NodeReport::default() };
            let shards = vec![ShardBeat::default(); usize::from(SHARDS)];
            let (hears, suspects) = (NodeSet(0b111), NodeSet::default());
            let beat = Message::Heartbeat { seq: 1, report, hears, suspects, shards };
            warden.handle(Event::Message(peer, beat));
        }
        warden.handle(started(1));
        warden.handle(Event::Stored(warden.stored));
        warden
    }

    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.overseer.handle(self.now, 5, event, &mut out);
        for command in out {
            match command {
                Command::Send(_, message) => self.hear(&message),
                Command::Store { ticket, image } => {
                    agency::register::Image::decode(&image).expect("what is stored can be read");
                    self.stored = ticket;
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        match message {
            Message::Prepare(items) => self.newest = items.last().map(|i| i.1),
            Message::Accept(items) => self.newest = items.last().map(|i| i.ballot),
            _ => {}
        }
        let read = Message::decode(&bytes).unwrap_or_else(|error| panic!("{error}: {message:?}"));
        assert_eq!(read, Some((message.clone(), bytes.len())));
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Says(from, message) => self.handle(Event::Message(from, message)),
            Step::Answers(from, seen) => {
                let Some(ballot) = self.newest else { return };
                for shard in (0..SHARDS).map(ShardId) {
                    let answer = PromiseAnswer::Promised(seen);
                    let promise = Message::Promised(vec![PromiseItem { shard, ballot, answer }]);
                    self.handle(Event::Message(from, promise));
                    let answer = AcceptAnswer::Accepted;
                    let accepted = Message::Accepted(vec![AcceptedItem { shard, ballot, answer }]);
                    self.handle(Event::Message(from, accepted));
                }
            }
            Step::Link(peer, true) => self.handle(Event::LinkUp(peer)),
            Step::Link(peer, false) => self.handle(Event::LinkDown(peer)),
            Step::Time(span) => {
                self.now = self.now + Duration::from_nanos(span);
                let progress =
                    ShardProgress { turns: self.now.0, health: Health::Ready, ..Default::default() };
                self.handle(Event::Progress(vec![progress; usize::from(SHARDS)]));
                self.handle(Event::Tick);
            }
            Step::AcceptsLoss => self.handle(Event::DataLossAccepted),
            Step::Stored => self.handle(Event::Stored(self.stored)),
            Step::Dies => {
                self.handle(Event::NodeDied(Incarnation(self.incarnation)));
                self.incarnation += 1;
                self.handle(started(self.incarnation));
            }
            Step::Wants(change) => {
                for shard in (0..SHARDS).map(ShardId) {
                    let view = self.overseer.view().shards[usize::from(shard.0)];
                    let Some(on_top_of) = view.configuration else { continue };
                    self.requests += 1;
                    let request = ShardRequest { id: self.requests, on_top_of, change };
                    self.handle(Event::Request(shard, request));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_peer_says_stops_a_warden(steps in prop::collection::vec(step(), 0..120)) {
        let mut warden = Warden::start();
        for step in steps {
            warden.step(step);
        }
    }
}
