//! What is encoded is decoded; what is not a message is refused, never a panic.

use agency::acceptor::Acceptor;
use agency::ballot::Ballot;
use agency::codec::{HEADER, MAX_BODY};
use agency::configuration::{Configuration, LAST_VERSION, Why};
use agency::error::{CodecError, ImageError};
use agency::history::Tally;
use agency::ids::{Epoch, Incarnation, MAX_MEMBERS, MAX_SHARDS, Nanos, NodeId, NodeSet, ShardId, Version};
use agency::message::{
    AcceptAnswer, AcceptItem, AcceptedItem, Message, NodeReport, PromiseAnswer, PromiseItem, Proof,
    ShardBeat, YieldItem,
};
use agency::register::{Identity, Image, ShardImage};
use agency::shard::{Health, ShardProgress, Standing};
use proptest::prelude::*;
use std::time::Duration;

fn node() -> impl Strategy<Value = NodeId> {
    (0u8..8).prop_map(NodeId)
}

fn shard() -> impl Strategy<Value = ShardId> {
    (0..MAX_SHARDS as u16).prop_map(ShardId)
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (0..=Ballot::LAST_ROUND, node()).prop_map(|(round, node)| Ballot { round, node })
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let whys = prop::sample::select(Why::ALL.to_vec());
    let versions = (1..=LAST_VERSION.0).prop_flat_map(|version| (1..=version, Just(version)));
    let sets = (node(), any::<[u8; 2]>());
    (versions, sets, any::<[u64; 2]>(), whys).prop_map(|((epoch, version), (leader, sets), words, why)| {
        let in_sync = NodeSet(sets[0]).with(leader);
        let members = in_sync.union(NodeSet(sets[1]));
        let (leader_incarnation, at_ms) = (Incarnation(words[0]), words[1]);
        let (epoch, version) = (Epoch(epoch), Version(version));
        Configuration { epoch, version, leader, leader_incarnation, in_sync, members, why, at_ms }
    })
}

fn beat() -> impl Strategy<Value = ShardBeat> {
    let health = prop::sample::select(vec![Health::Starting, Health::Ready, Health::Damaged]);
    let standing = prop::sample::select(Standing::ALL.to_vec());
    (any::<[u64; 10]>(), any::<Option<u64>>(), any::<[bool; 3]>(), health, standing).prop_map(
        |(w, asks, [stopping, withheld, waits], health, standing)| {
            let progress = ShardProgress {
                turns: w[2],
                disk_ok_at: Nanos(w[3]),
                disk_waiting_since: Nanos(w[4]),
                standing,
                stopping,
                health,
                last_epoch: Epoch(w[5]),
                written: w[6],
                durable: w[7],
                committed: w[8],
                applied: w[9],
            };
            let (accepted, decided) = (Version(w[0]), Version(w[1]));
            ShardBeat { accepted, decided, asks: asks.map(Epoch), withheld, waits, progress }
        },
    )
}

fn proof() -> impl Strategy<Value = Option<Proof>> {
    prop_oneof![
        Just(None),
        (node(), any::<u64>()).prop_map(|(n, i)| Some(Proof::Died(n, Incarnation(i)))),
        (node(), any::<u64>(), any::<u64>()).prop_map(|(holder, i, seq)| Some(Proof::Released {
            holder,
            incarnation: Incarnation(i),
            seq
        })),
    ]
}

fn list<T: std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(item, 0..=MAX_SHARDS)
}

fn message() -> impl Strategy<Value = Message> {
    let promise = prop_oneof![
        prop::option::of((ballot(), configuration())).prop_map(PromiseAnswer::Promised),
        ballot().prop_map(PromiseAnswer::Beaten),
    ];
    let accepted = prop_oneof![
        Just(AcceptAnswer::Accepted),
        ballot().prop_map(AcceptAnswer::Beaten),
        any::<u64>().prop_map(|n| AcceptAnswer::Leased(Duration::from_nanos(n))),
    ];
    prop_oneof![
        (any::<u128>(), node(), any::<u16>()).prop_map(|(group, node, shards)| Message::Hello {
            group,
            node,
            shards
        }),
        (
            any::<[u64; 3]>(),
            any::<[u32; 2]>(),
            any::<[bool; 2]>(),
            any::<u128>(),
            any::<[u8; 2]>(),
            list(beat())
        )
            .prop_map(|(w, pids, flags, disk_id, sets, shards)| Message::Heartbeat {
                seq: w[0],
                report: NodeReport {
                    pid: pids[0],
                    warden_pid: pids[1],
                    incarnation: Incarnation(w[1]),
                    running: flags[0],
                    dead: Incarnation(w[2]),
                    hung: flags[1],
                    disk_id,
                },
                hears: NodeSet(sets[0]),
                suspects: NodeSet(sets[1]),
                shards,
            }),
        (any::<u64>(), any::<u64>(), list((shard(), any::<u64>().prop_map(Epoch))))
            .prop_map(|(seq, i, shards)| Message::Granted { seq, incarnation: Incarnation(i), shards }),
        (any::<u64>(), any::<bool>())
            .prop_map(|(i, hung)| Message::Died { incarnation: Incarnation(i), hung }),
        list((shard(), ballot())).prop_map(Message::Prepare),
        list((shard(), ballot(), promise).prop_map(|(shard, ballot, answer)| PromiseItem {
            shard,
            ballot,
            answer
        }))
        .prop_map(Message::Promised),
        list(
            (shard(), ballot(), configuration(), proof())
                .prop_map(|(shard, ballot, value, proof)| { AcceptItem { shard, ballot, value, proof } })
        )
        .prop_map(Message::Accept),
        list((shard(), ballot(), accepted).prop_map(|(shard, ballot, answer)| AcceptedItem {
            shard,
            ballot,
            answer
        }))
        .prop_map(Message::Accepted),
        list((shard(), configuration())).prop_map(Message::Decided),
        list((shard(), any::<u64>().prop_map(Version))).prop_map(Message::Pull),
        list((shard(), configuration(), any::<u64>()).prop_map(|(shard, value, seq)| YieldItem {
            shard,
            value,
            seq
        }))
        .prop_map(Message::Yield),
    ]
}

/// What an agent stores.
fn image() -> impl Strategy<Value = Image> {
    let accepted = prop::option::of((ballot(), configuration()));
    let shard_image =
        (ballot(), accepted, prop::option::of(configuration())).prop_map(|(promised, accepted, decided)| {
            let promised = accepted.map_or(promised, |(by, _)| promised.max(by));
            ShardImage { acceptor: Acceptor::restore(promised, accepted), decided }
        });
    let identities = any::<[(u64, u128); MAX_MEMBERS]>()
        .prop_map(|all| all.map(|(i, disk_id)| Identity { incarnation: Incarnation(i), disk_id }));
    let history = prop::collection::vec((shard(), configuration()), 0..=12);
    let shards = prop::collection::vec(shard_image, 0..=6);
    let tally = (shard(), node(), any::<[u64; 2]>(), configuration());
    let tally = tally.prop_map(|(shard, member, [count, first_ms], newest)| Tally {
        shard,
        member,
        count,
        first_ms,
        newest,
    });
    let tallies = prop::collection::vec(tally, 0..=5);
    (any::<u128>(), node(), any::<bool>(), shards, identities, history, tallies).prop_map(
        |(group, me, joined, shards, identities, history, tallies)| Image {
            group,
            me,
            joined,
            shards,
            identities,
            history,
            tallies,
        },
    )
}

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_come_back_as_they_were(first in message(), second in message()) {
        let mut bytes = bytes_of(&first);
        second.encode(&mut bytes);
        let (one, used) = Message::decode(&bytes).unwrap().unwrap();
        let (two, rest) = Message::decode(&bytes[used..]).unwrap().unwrap();
        prop_assert_eq!((one, two, used + rest), (first, second, bytes.len()));
    }

    #[test]
    fn a_part_of_a_message_asks_for_more(message in message(), cut in any::<prop::sample::Index>()) {
        let bytes = bytes_of(&message);
        prop_assert_eq!(Message::decode(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn damage_is_never_taken_for_a_message(
        message in message(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut bytes = bytes_of(&message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // The kind is outside the checksum; another kind's body rarely fits, and never panics.
        prop_assert!(at == 3 || !matches!(Message::decode(&bytes), Ok(Some(_))));
    }

    #[test]
    fn a_register_comes_back_as_it_was_and_no_flipped_bit_is_believed(image in image()) {
        let good = image.encode();
        prop_assert_eq!(Image::decode(&good), Ok(image));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Image::decode(&bad).is_err(), "bit {bit}");
        }
        for cut in 0..good.len() {
            prop_assert!(Image::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn foreign_registers_never_panic(body in prop::collection::vec(any::<u8>(), 0..600), sealed in any::<bool>()) {
        let crc = if sealed { crc32fast::hash(&body) } else { 7 };
        let image = [b"BaAg\x02", &crc.to_le_bytes()[..], &body].concat();
        let _ = Image::decode(&image);
        let _ = Image::decode(&body);
    }

    #[test]
    fn foreign_bodies_never_panic(kind in 0u8..=13, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = b"Ba\x02".to_vec();
        bytes.push(kind);
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(&body).to_le_bytes());
        bytes.extend(body);
        let _ = Message::decode(&bytes);
    }
}

fn founded() -> Configuration {
    let both = NodeSet::of(&[NodeId(0), NodeId(1)]);
    Configuration {
        epoch: Epoch(1),
        version: Version(1),
        leader: NodeId(0),
        leader_incarnation: Incarnation(1),
        in_sync: both,
        members: both,
        why: Why::Founded,
        at_ms: 0,
    }
}

/// The bytes of an announcement, with its one configuration changed.
fn announced(change: impl Fn(&mut Configuration)) -> Result<Option<(Message, usize)>, CodecError> {
    let mut configuration = founded();
    change(&mut configuration);
    Message::decode(&bytes_of(&Message::Decided(vec![(ShardId(0), configuration)])))
}

#[test]
fn a_configuration_that_no_agency_decides_is_malformed() {
    assert!(matches!(announced(|_| {}), Ok(Some(_))));
    let malformed = Err(CodecError::Malformed);
    assert_eq!(announced(|c| c.in_sync = NodeSet::default()), malformed);
    assert_eq!(announced(|c| c.leader = NodeId(2)), malformed);
    assert_eq!(announced(|c| c.members = NodeSet::of(&[NodeId(0)])), malformed);
    assert_eq!(announced(|c| c.epoch = Epoch(4)), malformed);
    assert_eq!(announced(|c| c.version = Version(u64::MAX)), malformed);
}

#[test]
fn a_ballot_that_nobody_can_count_on_from_is_malformed() {
    let decode = |round| {
        let prepare = Message::Prepare(vec![(ShardId(0), Ballot { round, node: NodeId(1) })]);
        Message::decode(&bytes_of(&prepare)).map(|m| m.is_some())
    };
    assert_eq!(decode(Ballot::LAST_ROUND), Ok(true));
    assert_eq!(decode(Ballot::LAST_ROUND + 1), Err(CodecError::Malformed));
    assert_eq!(decode(u64::MAX), Err(CodecError::Malformed));
}

#[test]
fn an_image_that_accepted_above_its_promise_is_malformed() {
    let ballot = |round| Ballot { round, node: NodeId(0) };
    let image = |round| {
        let shards = vec![ShardImage { acceptor: Acceptor::restore(ballot(round), None), decided: None }];
        let identities = [Identity::default(); MAX_MEMBERS];
        let (history, tallies) = (Vec::new(), Vec::new());
        Image { group: 1, me: NodeId(0), joined: true, shards, identities, history, tallies }.encode()
    };
    // The promise is the first thing of the first shard: after group, member, flag and count.
    let mut bytes = image(5);
    assert_eq!(bytes[9 + 20..9 + 28], 5u64.to_le_bytes());
    let configuration = bytes_of(&Message::Decided(vec![(ShardId(0), founded())]))[HEADER + 4..].to_vec();
    let accepted = [&[1][..], &5u64.to_le_bytes(), &[0], &configuration].concat();
    bytes.splice(9 + 29..9 + 30, accepted);
    let seal = |bytes: &mut Vec<u8>| {
        let crc = crc32fast::hash(&bytes[9..]).to_le_bytes();
        bytes[5..9].copy_from_slice(&crc);
    };
    seal(&mut bytes);
    assert!(Image::decode(&bytes).is_ok());
    bytes[9 + 20] = 4;
    seal(&mut bytes);
    assert_eq!(Image::decode(&bytes), Err(ImageError::Malformed));
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_it_is_read() {
    let mut bytes = bytes_of(&Message::Died { incarnation: Incarnation(1), hung: false });
    bytes[4..8].copy_from_slice(&(MAX_BODY as u32 + 1).to_le_bytes());
    assert_eq!(Message::decode(&bytes[..HEADER]), Err(CodecError::TooLong(MAX_BODY + 1, MAX_BODY)));
    bytes[2] = 9;
    assert_eq!(Message::decode(&bytes), Err(CodecError::Protocol(9, 2)));
    bytes[0] = b'X';
    assert_eq!(Message::decode(&bytes), Err(CodecError::Magic));
}
