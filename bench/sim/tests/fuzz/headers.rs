//! The replication codec: what is encoded is decoded, what is decoded is what its bytes say, arbitrary bytes are
//! refused without a panic.

use crate::dice::Dice;
use engine::history::EpochHistory;
use engine::ids::{Epoch, Lsn, ShardId};
use node::replication::message::{
    HEADER_BYTES, MAX_BODY_BYTES, MAX_HISTORY, MessageKind, RawHeader, decode_history, encode_history,
    is_fetch, shard_of,
};

pub const KINDS: [MessageKind; 7] = [
    MessageKind::Hello,
    MessageKind::Welcome,
    MessageKind::Refuse,
    MessageKind::Append,
    MessageKind::Ack,
    MessageKind::Fetch,
    MessageKind::Fetched,
];

/// Where the checksum stands, and what it covers.
const CHECKSUM_AT: usize = 60;

/// Makes the checksum of a mutated header right again.
pub fn seal(header: &mut [u8]) {
    if header.len() >= HEADER_BYTES {
        let crc = crc32fast::hash(&header[..CHECKSUM_AT]);
        header[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    }
}

fn header(dice: &mut Dice) -> RawHeader {
    RawHeader {
        kind: *dice.pick(&KINDS),
        shard: ShardId(dice.word() as u16),
        from: dice.word() as u8,
        flags: dice.word() as u8,
        body_bytes: dice.below(MAX_BODY_BYTES + 1),
        epoch: Epoch(dice.odd_number()),
        lsn: Lsn(dice.odd_number()),
        a: dice.odd_number(),
        b: dice.odd_number(),
        c: dice.odd_number() as u32,
        group: dice.word(),
    }
}

pub fn case(dice: &mut Dice) {
    let header = header(dice);
    let mut bytes = header.encode();
    assert_eq!(RawHeader::decode(&bytes, header.group), Ok(header));
    assert_eq!(shard_of(&bytes), Some(header.shard));
    assert_eq!(is_fetch(&bytes), header.kind == MessageKind::Fetch);
    assert!(RawHeader::decode(&bytes, header.group ^ 1).is_err());

    let before = bytes.clone();
    for _ in 0..1 + dice.below(4) {
        dice.mutate(&mut bytes, &[b"BTNR", &[0; 8], &[0xff; 8]]);
    }
    if bytes != before {
        assert!(RawHeader::decode(&bytes, header.group).is_err(), "a damaged header is noticed");
    }
    seal(&mut bytes);
    let group = bytes.get(48..56).map_or(0, |group| u64::from_le_bytes(group.try_into().expect("8 bytes")));
    if let Ok(decoded) = RawHeader::decode(&bytes, group) {
        assert!(decoded.body_bytes <= MAX_BODY_BYTES);
        let again = decoded.encode();
        assert_eq!(RawHeader::decode(&again, group), Ok(decoded));
        assert_eq!((&again[..10], &again[12..56]), (&bytes[..10], &bytes[12..56]), "it says what was there");
    }
    histories(dice);
}

fn histories(dice: &mut Dice) {
    let (mut epoch, mut start) = (0, 0);
    let mut entries = Vec::new();
    for _ in 0..dice.below(40) {
        epoch += 1 + dice.below(1 << 20) as u64;
        entries.push((Epoch(epoch), Lsn(start)));
        start += 8 + dice.below(1 << 30) as u64;
    }
    let history = EpochHistory::from_entries(entries).expect("both rise");
    let mut body = encode_history(&history);
    assert_eq!(decode_history(&body), Some(history));
    for _ in 0..1 + dice.below(4) {
        dice.mutate(&mut body, &[&[0; 16], &[0xff; 16]]);
    }
    if let Some(decoded) = decode_history(&body) {
        assert!(decoded.entries().len() <= MAX_HISTORY);
        assert_eq!(encode_history(&decoded), body, "it says what was there");
    }
}
