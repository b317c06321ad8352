//! Recovery over a damaged disk: what comes up is a prefix of what was written, whose values are right or named
//! as damaged, or recovery refuses by name; what the pulse vouches for and is missing is called damage; opening
//! twice gives the same; nothing panics, and memory is bounded.

use crate::dice::Dice;
use crate::meter;
use engine::error::AppendError;
use engine::frame::peek;
use engine::ids::{Epoch, GroupId, Lsn, SegmentId, ShardId};
use engine::limits::BLOCK;
use engine::memory::MirrorBuffer;
use engine::recover::recover;
use engine::segment::{DATA_START, FOOTER_ENTRY_BYTES};
use engine::shard::{Decoded, Found, Op, Shard, ShardOptions, View};
use engine::testing::{Effect, MemoryDisk, SECTOR};
use std::collections::{BTreeMap, BTreeSet};

const SEGMENT_BYTES: u64 = 256 << 10;
const KEYS: usize = 24;
/// Disks made of one log.
const IMAGES: usize = 12;
/// What recovery may hold besides the log buffer: its window, footers, the index.
const RECOVERY_BYTES: usize = 8 << 20;

fn options() -> ShardOptions {
    let mut options = ShardOptions::new(GroupId(77), ShardId(3));
    options.segment_bytes = SEGMENT_BYTES;
    options.max_value_bytes = 20_000;
    options.cache_bytes = 1 << 16;
    options
}

fn buffer() -> MirrorBuffer {
    MirrorBuffer::new(512 << 10).expect("memory for a log buffer")
}

fn settle(shard: &mut Shard, disk: &mut MemoryDisk) {
    while let Some(op) = shard.poll_disk() {
        let done = disk.run(&op, shard);
        shard.disk_done(done).expect("the disk in memory does not fail");
    }
}

/// The end of a frame and what it says.
struct Append {
    end: Lsn,
    ops: Vec<(usize, Option<Vec<u8>>)>,
}

/// A log on its disk, and what is in it.
struct Written {
    disk: MemoryDisk,
    appends: Vec<Append>,
    ends: BTreeSet<u64>,
    /// What the pulse vouches for; 0 without one.
    vouched: u64,
}

fn operations(dice: &mut Dice) -> Vec<(usize, Option<Vec<u8>>)> {
    let count = if dice.one_in(6) { 1 + dice.below(5) } else { 1 };
    let one = |dice: &mut Dice| {
        let len = match dice.below(8) {
            0 => dice.below(20_000),
            1 => 3900 + dice.below(300),
            _ => dice.below(400),
        };
        let fill = dice.word() as u8;
        (dice.below(KEYS), (!dice.one_in(6)).then(|| vec![fill; len]))
    };
    (0..count).map(|_| one(dice)).collect()
}

fn append(shard: &mut Shard, ops: &[(usize, Option<Vec<u8>>)]) -> Result<Lsn, AppendError> {
    let keys: Vec<_> = ops.iter().map(|(key, _)| key.to_le_bytes()).collect();
    let ops: Vec<_> = keys
        .iter()
        .zip(ops)
        .map(|(key, (_, value))| match value {
            Some(value) => Op::Put { key, value, expiry_ms: 0 },
            None => Op::Delete { key },
        })
        .collect();
    shard.append(&ops, 5)
}

fn write(dice: &mut Dice) -> Written {
    let mut disk = MemoryDisk::new(SEGMENT_BYTES);
    let mut shard = recover(&options(), buffer(), &disk).expect("an empty disk");
    let mut appends = Vec::new();
    let mut epoch = 0;
    settle(&mut shard, &mut disk);
    for _ in 0..30 + dice.below(250) {
        if epoch == 0 || dice.one_in(60) {
            epoch += 1 + dice.below(3) as u64;
            if shard.begin_epoch(Epoch(epoch), 5).is_err() {
                settle(&mut shard, &mut disk);
                shard.begin_epoch(Epoch(epoch), 5).expect("there is room for an epoch start");
            }
        }
        let ops = operations(dice);
        if let Ok(end) = append(&mut shard, &ops) {
            appends.push(Append { end, ops });
        }
        if dice.one_in(5) {
            settle(&mut shard, &mut disk);
            shard.commit_to(shard.durable());
            shard.apply_some(1 + dice.below(20));
        }
    }
    settle(&mut shard, &mut disk);
    let committed = shard.committed();
    let later: Vec<Lsn> = appends.iter().map(|append| append.end).filter(|end| *end > committed).collect();
    if !later.is_empty() && dice.one_in(3) {
        let to = *dice.pick(&later);
        shard.rewind_to(to, 9).expect("not committed yet");
        settle(&mut shard, &mut disk);
        appends.retain(|append| append.end <= to);
    }
    shard.commit_to(shard.durable());
    let mut vouched = 0;
    if !dice.one_in(3) {
        let op = shard.pulse().expect("none is under way");
        let done = disk.run(&op, &shard);
        shard.disk_done(done).expect("the disk in memory does not fail");
        vouched = shard.durable().0;
    }
    settle(&mut shard, &mut disk);
    let ends = frame_ends(&shard, &disk);
    Written { disk, appends, ends, vouched }
}

fn frame_ends(shard: &Shard, disk: &MemoryDisk) -> BTreeSet<u64> {
    let mut log = Vec::new();
    while (log.len() as u64) < shard.durable().0 {
        let (spec, skip, len) = shard.read_log(Lsn(log.len() as u64), 1 << 20);
        log.extend_from_slice(&disk.read_blocks(spec)[skip..skip + len]);
    }
    let mut ends = BTreeSet::from([0]);
    let mut at = 0;
    while let Some(header) = peek(&log[at..]) {
        at += header.len.get() as usize;
        ends.insert(at as u64);
    }
    ends
}

/// What was done to a disk.
#[derive(Default)]
struct Damage {
    /// The pulse is not what it was.
    pulse: bool,
    /// A checksum was made to fit: anything may be believed, but nothing may panic.
    forged: bool,
}

fn hurt(dice: &mut Dice, disk: &mut MemoryDisk, damage: &mut Damage) {
    let ids: Vec<SegmentId> = disk.files().map(|(id, _)| id).collect();
    if ids.is_empty() {
        return;
    }
    let (id, other) = (*dice.pick(&ids), *dice.pick(&ids));
    let source = disk.file_mut(other).expect("listed").clone();
    let file = disk.file_mut(id).expect("listed");
    // Most of a file may be unused: aim at where something is.
    let used = file.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = if dice.one_in(3) { file.len() - 1 - dice.below(2 * BLOCK as usize) } else { dice.below(used) };
    let unit = *dice.pick(&[1, 8, SECTOR, BLOCK as usize]);
    let at = at / unit * unit;
    let len = (unit * (1 + dice.below(4))).min(file.len() - at);
    match dice.below(10) {
        0..3 => file[at] ^= 1 << dice.below(8),
        3 => file[at..at + len].fill(0),
        4 => file[at..at + len].copy_from_slice(&dice.bytes(len)),
        5 => {
            let from = dice.below(source.len() - len) / unit * unit;
            file[at..at + len].copy_from_slice(&source[from..from + len]);
        }
        6 if dice.one_in(2) => file.copy_from_slice(&source),
        6 => disk.apply(&Effect::Remove { segment: id }),
        7 => {
            damage.pulse = true;
            if dice.one_in(2) {
                disk.lose_pulse();
            } else {
                disk.apply(&Effect::Pulse { bytes: dice.bytes(BLOCK as usize) });
            }
        }
        _ => {
            damage.forged = true;
            forge(dice, file);
        }
    }
}

/// Changes a field of a header, a footer, or a frame, and makes the checksum over it right again.
fn forge(dice: &mut Dice, file: &mut [u8]) {
    let end = file.len() - BLOCK as usize;
    let word = dice.odd_number().to_le_bytes();
    match dice.below(4) {
        0 => {
            let at = 12 + dice.below(60 - 8);
            file[at..at + 8].copy_from_slice(&word);
            let crc = crc32fast::hash(&file[12..72]);
            file[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        1 => {
            let at = end + 12 + dice.below(84);
            file[at..at + 8].copy_from_slice(&word);
            let crc = crc32fast::hash(&file[end + 12..]);
            file[end + 8..end + 12].copy_from_slice(&crc.to_le_bytes());
        }
        2 => forge_entry(dice, file, &word),
        _ => {
            let mut at = DATA_START as usize;
            for _ in 0..dice.below(60) {
                let Some(header) = peek(&file[at..]) else { return };
                let next = at + header.len.get() as usize;
                if next == at || next + 48 > file.len() {
                    break;
                }
                at = next;
            }
            let Some(len) = peek(&file[at..]).map(|header| header.len.get() as usize) else { return };
            if len < 48 || at + len > file.len() {
                return;
            }
            let field = at + 4 + dice.below(len - 12);
            file[field..field + 8].copy_from_slice(&word);
            let crc = crc32fast::hash(&file[at + 4..at + len]);
            file[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
    }
}

fn forge_entry(dice: &mut Dice, file: &mut [u8], word: &[u8; 8]) {
    let end = file.len() - BLOCK as usize;
    let entries = u64::from_le_bytes(file[end + 40..end + 48].try_into().expect("8 bytes")) as usize;
    if &file[end..end + 8] != b"BatonFTR" || entries == 0 || entries > end / FOOTER_ENTRY_BYTES {
        return;
    }
    let bytes = entries * FOOTER_ENTRY_BYTES;
    let start = end - bytes.next_multiple_of(BLOCK as usize);
    let at = start + dice.below(bytes - 8);
    file[at..at + 8].copy_from_slice(word);
    let crc = crc32fast::hash(&file[start..start + bytes]);
    file[end + 12..end + 16].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&file[end + 12..]);
    file[end + 8..end + 12].copy_from_slice(&crc.to_le_bytes());
}

/// A key's value, or `None` if its frame is damaged.
fn get(shard: &mut Shard, disk: &MemoryDisk, key: usize) -> Option<Option<Vec<u8>>> {
    let key = key.to_le_bytes();
    let (at, mut spec) = match shard.find(&key, View::Newest) {
        Found::Missing { .. } => return Some(None),
        Found::Here { value, .. } => return Some(Some(value.to_vec())),
        Found::OnDisk { at, spec, .. } => (at, spec),
    };
    loop {
        if spec.offset + u64::from(spec.len) > SEGMENT_BYTES {
            return None;
        }
        let bytes = disk.read_blocks(spec);
        match shard.decode(at, &key, &bytes) {
            Decoded::Value { value, .. } => return Some(Some(value.to_vec())),
            Decoded::Missing => return Some(None),
            Decoded::More(more) => spec = more,
            Decoded::Corrupt => return None,
        }
    }
}

/// The shard holds what was written up to its tail, and nothing else.
fn judge(written: &Written, shard: &mut Shard, disk: &MemoryDisk) {
    let tail = shard.tail();
    assert!(written.ends.contains(&tail.0), "the log ends at {tail}, inside a frame");
    let mut expected = BTreeMap::new();
    for append in written.appends.iter().filter(|append| append.end <= tail) {
        expected.extend(append.ops.iter().cloned());
    }
    for key in 0..KEYS {
        if let Some(found) = get(shard, disk, key) {
            assert!(found == expected.get(&key).cloned().flatten(), "key {key} with a log up to {tail}");
        }
    }
}

pub fn case(dice: &mut Dice) {
    let written = write(dice);
    for _ in 0..IMAGES {
        let mut disk = written.disk.clone();
        let mut damage = Damage::default();
        for _ in 0..1 + dice.below(3) {
            hurt(dice, &mut disk, &mut damage);
        }
        let buffer = buffer();
        let Ok(mut shard) = meter::within(RECOVERY_BYTES, || recover(&options(), buffer, &disk)) else {
            continue;
        };
        if !damage.forged {
            judge(&written, &mut shard, &disk);
            let missing = shard.tail().0 < written.vouched;
            assert!(shard.damaged() || damage.pulse || !missing, "what was vouched for is gone unnoticed");
        }
        go_on(dice, &written, &mut shard, &mut disk, &damage);
    }
}

/// A shard that came up tidies its disk, comes up the same again, and takes new writes.
fn go_on(dice: &mut Dice, written: &Written, shard: &mut Shard, disk: &mut MemoryDisk, damage: &Damage) {
    let tail = shard.tail();
    settle(shard, disk);
    if damage.forged {
        (0..KEYS).for_each(|key| drop(get(shard, disk, key)));
        drop(recover(&options(), buffer(), disk));
        return;
    }
    let mut again = recover(&options(), buffer(), disk).expect("what came up once comes up again");
    assert_eq!((again.tail(), again.rewinding()), (tail, false), "nothing is left to be tidied away");
    assert!(again.damaged() || !shard.damaged(), "damage is forgotten");
    settle(&mut again, disk);
    judge(written, &mut again, disk);
    let epoch = Epoch(again.last_epoch().0 + 1);
    again.begin_epoch(epoch, 7).expect("an empty log buffer has room");
    let ops = operations(dice);
    let end = append(&mut again, &ops).expect("and for a frame");
    settle(&mut again, disk);
    assert_eq!(again.durable(), end);
    let last = recover(&options(), buffer(), disk).expect("what came up once comes up again");
    assert_eq!((last.tail(), last.last_epoch()), (end, epoch));
}
