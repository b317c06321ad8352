//! The bytes of the messages between wardens.
//!
//! Promises that what one side encodes the other decodes to the same message, and that bytes from anywhere
//! never make `decode` panic or allocate beyond its bounds. `docs/AGENCY.md` describes the bytes.

use crate::error::CodecError;
use crate::ids::{Epoch, Incarnation, MAX_SHARDS, Nanos, Version};
use crate::message::{
    AcceptAnswer, AcceptItem, AcceptedItem, MAX_DECIDED, Message, NodeReport, PromiseAnswer, PromiseItem,
    Proof, ShardBeat, YieldItem,
};
use crate::shard::{Health, ShardProgress};
use crate::wire::{BALLOT_BYTES, CONFIGURATION_BYTES, Malformed, Reader, Write};
use std::time::Duration;

/// Version of the protocol; peers of another version are refused.
pub const PROTOCOL: u8 = 2;

/// Longest body of a message, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// Bytes before the body: magic (2), protocol (1), kind (1), length of the body (4), CRC32 of the body (4).
pub const HEADER: usize = 12;

const MAGIC: [u8; 2] = *b"Ba";

/// A bound on the bytes of one item of a list.
const LARGEST_ITEM: usize = 128;

const _: () = {
    let lists = 64 + MAX_SHARDS * LARGEST_ITEM;
    let decided = 2 + MAX_DECIDED * (2 + CONFIGURATION_BYTES);
    assert!(lists <= MAX_BODY && decided <= MAX_BODY, "every message fits into a body");
    let accept = 2 + BALLOT_BYTES + CONFIGURATION_BYTES + 18;
    let promise = 2 + BALLOT_BYTES + 2 + BALLOT_BYTES + CONFIGURATION_BYTES;
    let beat = 3 * 8 + 5 + 8 * 8;
    assert!(
        accept <= LARGEST_ITEM && promise <= LARGEST_ITEM && beat <= LARGEST_ITEM,
        "every item is that short"
    );
};

impl Message {
    fn kind(&self) -> u8 {
        match self {
            Message::Hello { .. } => 1,
            Message::Heartbeat { .. } => 2,
            Message::Granted { .. } => 3,
            Message::Died { .. } => 4,
            Message::Prepare(_) => 5,
            Message::Promised(_) => 6,
            Message::Accept(_) => 7,
            Message::Accepted(_) => 8,
            Message::Decided(_) => 9,
            Message::Pull(_) => 10,
            Message::Yield(_) => 11,
        }
    }

    /// Appends the message's bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put(&MAGIC);
        out.put_u8(PROTOCOL);
        out.put_u8(self.kind());
        out.put_u64(0);
        self.encode_body(out);
        let body = start + HEADER;
        let length = out.len() - body;
        assert!(length <= MAX_BODY, "a message is bounded by the number of shards");
        let crc = crc32fast::hash(&out[body..]);
        out[start + 4..start + 8].copy_from_slice(&(length as u32).to_le_bytes());
        out[start + 8..body].copy_from_slice(&crc.to_le_bytes());
    }

    /// Takes one message off the front of `bytes` and says how many bytes it was; `None` if more are needed.
    ///
    /// # Errors
    /// The bytes are not a message; the link should be closed.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Message, usize)>, CodecError> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        if header[..2] != MAGIC {
            return Err(CodecError::Magic);
        }
        if header[2] != PROTOCOL {
            return Err(CodecError::Protocol(header[2], PROTOCOL));
        }
        let mut rest = Reader(&header[4..]);
        let (length, crc) = rest.u32().and_then(|l| Ok((l as usize, rest.u32()?))).expect("a whole header");
        if length > MAX_BODY {
            return Err(CodecError::TooLong(length, MAX_BODY));
        }
        let Some(body) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
        if crc32fast::hash(body) != crc {
            return Err(CodecError::Checksum);
        }
        if !(1..=11).contains(&header[3]) {
            return Err(CodecError::Kind(header[3]));
        }
        let message = decode_body(header[3], body).map_err(|Malformed| CodecError::Malformed)?;
        Ok(Some((message, HEADER + length)))
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Message::Hello { group, node, shards } => {
                out.put_u128(*group);
                out.put_u8(node.0);
                out.put_u16(*shards);
            }
            Message::Heartbeat { seq, report, hears, suspects, shards } => {
                out.put_u64(*seq);
                put_report(out, report);
                out.put_u8(hears.0);
                out.put_u8(suspects.0);
                out.put_list(shards, put_beat);
            }
            Message::Granted { seq, incarnation, shards } => {
                out.put_u64(*seq);
                out.put_u64(incarnation.0);
                out.put_list(shards, |out, (shard, epoch)| {
                    out.put_u16(shard.0);
                    out.put_u64(epoch.0);
                });
            }
            Message::Died { incarnation, hung } => {
                out.put_u64(incarnation.0);
                out.put_flag(*hung);
            }
            Message::Prepare(items) => out.put_list(items, |out, (shard, ballot)| {
                out.put_u16(shard.0);
                out.put_ballot(*ballot);
            }),
            Message::Promised(items) => out.put_list(items, put_promise),
            Message::Accept(items) => out.put_list(items, |out, item| {
                out.put_u16(item.shard.0);
                out.put_ballot(item.ballot);
                out.put_configuration(&item.value);
                put_proof(out, item.proof);
            }),
            Message::Accepted(items) => out.put_list(items, put_accepted),
            Message::Decided(items) => out.put_list(items, |out, (shard, configuration)| {
                out.put_u16(shard.0);
                out.put_configuration(configuration);
            }),
            Message::Pull(items) => out.put_list(items, |out, (shard, version)| {
                out.put_u16(shard.0);
                out.put_u64(version.0);
            }),
            Message::Yield(items) => out.put_list(items, |out, item| {
                out.put_u16(item.shard.0);
                out.put_configuration(&item.value);
                out.put_u64(item.seq);
            }),
        }
    }
}

fn put_report(out: &mut Vec<u8>, report: &NodeReport) {
    out.put_u32(report.pid);
    out.put_u32(report.warden_pid);
    out.put_u64(report.incarnation.0);
    out.put_flag(report.running);
    out.put_u64(report.dead.0);
    out.put_flag(report.hung);
    out.put_u128(report.disk_id);
}

fn put_promise(out: &mut Vec<u8>, item: &PromiseItem) {
    out.put_u16(item.shard.0);
    out.put_ballot(item.ballot);
    match &item.answer {
        PromiseAnswer::Promised(accepted) => {
            out.put_u8(0);
            out.put_accepted(accepted);
        }
        PromiseAnswer::Beaten(by) => {
            out.put_u8(1);
            out.put_ballot(*by);
        }
    }
}

fn put_accepted(out: &mut Vec<u8>, item: &AcceptedItem) {
    out.put_u16(item.shard.0);
    out.put_ballot(item.ballot);
    match item.answer {
        AcceptAnswer::Accepted => out.put_u8(0),
        AcceptAnswer::Beaten(by) => {
            out.put_u8(1);
            out.put_ballot(by);
        }
        AcceptAnswer::Leased(remaining) => {
            out.put_u8(2);
            out.put_u64(u64::try_from(remaining.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

fn put_proof(out: &mut Vec<u8>, proof: Option<Proof>) {
    match proof {
        None => out.put_u8(0),
        Some(Proof::Died(node, incarnation)) => {
            out.put_u8(1);
            out.put_u8(node.0);
            out.put_u64(incarnation.0);
        }
        Some(Proof::Released { holder, incarnation, seq }) => {
            out.put_u8(2);
            out.put_u8(holder.0);
            out.put_u64(incarnation.0);
            out.put_u64(seq);
        }
    }
}

fn proof(r: &mut Reader) -> Result<Option<Proof>, Malformed> {
    Ok(match r.u8()? {
        0 => None,
        1 => Some(Proof::Died(r.node()?, Incarnation(r.u64()?))),
        2 => Some(Proof::Released { holder: r.node()?, incarnation: Incarnation(r.u64()?), seq: r.u64()? }),
        _ => return Err(Malformed),
    })
}

fn put_beat(out: &mut Vec<u8>, beat: &ShardBeat) {
    out.put_u64(beat.accepted.0);
    out.put_u64(beat.decided.0);
    out.put_flag(beat.asks.is_some());
    out.put_u64(beat.asks.unwrap_or_default().0);
    out.put_flag(beat.withheld);
    out.put_flag(beat.waits);
    let p = &beat.progress;
    out.put_u8(p.health as u8);
    out.put_u8(p.standing as u8);
    out.put_flag(p.stopping);
    for word in [
        p.turns,
        p.disk_ok_at.0,
        p.disk_waiting_since.0,
        p.last_epoch.0,
        p.written,
        p.durable,
        p.committed,
        p.applied,
    ] {
        out.put_u64(word);
    }
}

fn beat(r: &mut Reader) -> Result<ShardBeat, Malformed> {
    let (accepted, decided) = (Version(r.u64()?), Version(r.u64()?));
    let (has_asks, epoch) = (r.flag()?, Epoch(r.u64()?));
    let (withheld, waits) = (r.flag()?, r.flag()?);
    let health = match r.u8()? {
        0 => Health::Starting,
        1 => Health::Ready,
        2 => Health::Damaged,
        _ => return Err(Malformed),
    };
    let progress = ShardProgress {
        health,
        standing: r.standing()?,
        stopping: r.flag()?,
        turns: r.u64()?,
        disk_ok_at: Nanos(r.u64()?),
        disk_waiting_since: Nanos(r.u64()?),
        last_epoch: Epoch(r.u64()?),
        written: r.u64()?,
        durable: r.u64()?,
        committed: r.u64()?,
        applied: r.u64()?,
    };
    Ok(ShardBeat { accepted, decided, asks: has_asks.then_some(epoch), withheld, waits, progress })
}

fn decode_body(kind: u8, body: &[u8]) -> Result<Message, Malformed> {
    let mut reader = Reader(body);
    let r = &mut reader;
    let message = match kind {
        1 => Message::Hello { group: r.u128()?, node: r.node()?, shards: r.u16()? },
        2 => {
            let seq = r.u64()?;
            let report = NodeReport {
                pid: r.u32()?,
                warden_pid: r.u32()?,
                incarnation: Incarnation(r.u64()?),
                running: r.flag()?,
                dead: Incarnation(r.u64()?),
                hung: r.flag()?,
                disk_id: r.u128()?,
            };
            let (hears, suspects) = (r.nodes()?, r.nodes()?);
            Message::Heartbeat { seq, report, hears, suspects, shards: r.list(MAX_SHARDS, beat)? }
        }
        3 => Message::Granted {
            seq: r.u64()?,
            incarnation: Incarnation(r.u64()?),
            shards: r.list(MAX_SHARDS, |r| Ok((r.shard()?, Epoch(r.u64()?))))?,
        },
        4 => Message::Died { incarnation: Incarnation(r.u64()?), hung: r.flag()? },
        5 => Message::Prepare(r.list(MAX_SHARDS, |r| Ok((r.shard()?, r.foreign_ballot()?)))?),
        6 => Message::Promised(r.list(MAX_SHARDS, |r| {
            let (shard, ballot) = (r.shard()?, r.foreign_ballot()?);
            let answer = match r.u8()? {
                0 => PromiseAnswer::Promised(r.accepted()?),
                1 => PromiseAnswer::Beaten(r.foreign_ballot()?),
                _ => return Err(Malformed),
            };
            Ok(PromiseItem { shard, ballot, answer })
        })?),
        7 => Message::Accept(r.list(MAX_SHARDS, |r| {
            Ok(AcceptItem {
                shard: r.shard()?,
                ballot: r.foreign_ballot()?,
                value: r.configuration()?,
                proof: proof(r)?,
            })
        })?),
        8 => Message::Accepted(r.list(MAX_SHARDS, |r| {
            let (shard, ballot) = (r.shard()?, r.foreign_ballot()?);
            let answer = match r.u8()? {
                0 => AcceptAnswer::Accepted,
                1 => AcceptAnswer::Beaten(r.foreign_ballot()?),
                2 => AcceptAnswer::Leased(Duration::from_nanos(r.u64()?)),
                _ => return Err(Malformed),
            };
            Ok(AcceptedItem { shard, ballot, answer })
        })?),
        9 => Message::Decided(r.list(MAX_DECIDED, |r| Ok((r.shard()?, r.configuration()?)))?),
        10 => Message::Pull(r.list(MAX_SHARDS, |r| Ok((r.shard()?, Version(r.u64()?))))?),
        11 => Message::Yield(r.list(MAX_SHARDS, |r| {
            Ok(YieldItem { shard: r.shard()?, value: r.configuration()?, seq: r.u64()? })
        })?),
        _ => return Err(Malformed),
    };
    reader.end()?;
    Ok(message)
}
