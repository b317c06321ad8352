//! The bytes of the values that warden and node exchange through the shared page.
//!
//! Promises that `decode_*` gives back what `encode_*` took, and that bytes which are no such value give
//! `None`, never a panic. Both sides are the same program (the page carries a layout version): nothing here
//! is a format for keeps.

use agency::configuration::{Change, EvictReason};
use agency::history::MAX_TALLIES;
use agency::ids::{Epoch, HISTORY_LIMIT, Incarnation, MAX_MEMBERS, MAX_SHARDS, Nanos};
use agency::shard::{Health, RequestStatus, ShardProgress, ShardRequest, ShardUpdate, Standing};
use agency::view::{AgentView, ClusterView, NodeView, ShardView};
use agency::wire::{CONFIGURATION_BYTES, Malformed, Reader, TALLY_BYTES, Write};

/// Words of a [`ShardProgress`].
pub(super) const PROGRESS_WORDS: usize = 10;

/// A bound on the bytes of an encoded [`ClusterView`]: everything at its named limit.
pub(super) const VIEW_BYTES: usize = MAX_MEMBERS * (32 + MAX_SHARDS * PROGRESS_BYTES)
    + MAX_MEMBERS * 2
    + MAX_SHARDS * (2 + CONFIGURATION_BYTES)
    + HISTORY_LIMIT * (2 + CONFIGURATION_BYTES)
    + MAX_TALLIES * TALLY_BYTES
    + 25;

const PROGRESS_BYTES: usize = PROGRESS_WORDS * 8 + 1;

/// A shard's own account of itself in words; `standing` is the warden's to say and not among them.
pub(super) fn progress_words(p: &ShardProgress) -> [u64; PROGRESS_WORDS] {
    [
        p.turns,
        p.disk_ok_at.0,
        p.disk_waiting_since.0,
        p.health as u64,
        p.last_epoch.0,
        p.written,
        p.durable,
        p.committed,
        p.applied,
        u64::from(p.stopping),
    ]
}

/// The inverse of [`progress_words`]. A health that does not exist counts as damaged: never trusted to lead.
pub(super) fn progress_of(words: &[u64; PROGRESS_WORDS]) -> ShardProgress {
    let [
        turns,
        disk_ok_at,
        disk_waiting_since,
        health,
        last_epoch,
        written,
        durable,
        committed,
        applied,
        stopping,
    ] = *words;
    ShardProgress {
        turns,
        disk_ok_at: Nanos(disk_ok_at),
        disk_waiting_since: Nanos(disk_waiting_since),
        health: match health {
            0 => Health::Starting,
            1 => Health::Ready,
            _ => Health::Damaged,
        },
        standing: Standing::default(),
        stopping: stopping != 0,
        last_epoch: Epoch(last_epoch),
        written,
        durable,
        committed,
        applied,
    }
}

pub(super) fn encode_update(update: &ShardUpdate, out: &mut Vec<u8>) {
    out.put_configuration(&update.configuration);
    out.put_u64(update.request);
    out.put_u8(update.outcome as u8);
    out.put_flag(update.leader_lost);
}

pub(super) fn decode_update(bytes: &[u8]) -> Option<ShardUpdate> {
    let mut r = Reader(bytes);
    let read = |r: &mut Reader| {
        Ok::<_, Malformed>(ShardUpdate {
            configuration: r.configuration()?,
            request: r.u64()?,
            outcome: match r.u8()? {
                0 => RequestStatus::None,
                1 => RequestStatus::Pending,
                2 => RequestStatus::Decided,
                3 => RequestStatus::Refused,
                _ => return Err(Malformed),
            },
            leader_lost: r.flag()?,
        })
    };
    let update = read(&mut r).ok()?;
    r.end().ok().map(|()| update)
}

/// A request; `Promote` is never one (see [`ShardRequest::change`]).
pub(super) fn encode_request(request: &ShardRequest, out: &mut Vec<u8>) {
    out.put_u64(request.id);
    out.put_configuration(&request.on_top_of);
    let (kind, whom, reason) = match request.change {
        Change::Evict(nodes, reason) => (1, nodes.0, reason as u8),
        Change::Admit(node) => (2, node.0, 0),
        Change::Handoff(node) => (3, node.0, 0),
        Change::Yield(node) => (4, node.0, 0),
        Change::Force(node) => (5, node.0, 0),
        Change::Promote(..) => panic!("a shard never asks for its own promotion"),
    };
    out.put_u8(kind);
    out.put_u8(whom);
    out.put_u8(reason);
}

pub(super) fn decode_request(bytes: &[u8]) -> Option<ShardRequest> {
    let mut r = Reader(bytes);
    let read = |r: &mut Reader| {
        let (id, on_top_of, kind) = (r.u64()?, r.configuration()?, r.u8()?);
        let change = match kind {
            1 => {
                let (nodes, reason) = (r.nodes()?, usize::from(r.u8()?));
                Change::Evict(nodes, *EvictReason::ALL.get(reason).ok_or(Malformed)?)
            }
            2..=5 => {
                let (node, _) = (r.node()?, r.u8()?);
                match kind {
                    2 => Change::Admit(node),
                    3 => Change::Handoff(node),
                    4 => Change::Yield(node),
                    _ => Change::Force(node),
                }
            }
            _ => return Err(Malformed),
        };
        Ok::<_, Malformed>(ShardRequest { id, on_top_of, change })
    };
    let request = read(&mut r).ok()?;
    r.end().ok().map(|()| request)
}

pub(super) fn encode_view(view: &ClusterView, out: &mut Vec<u8>) {
    out.put_u64(view.told_at.0);
    out.put_flag(view.majority);
    out.put_list(&view.nodes, |out, node| {
        out.put_u8(node.id.0);
        out.put_u32(node.pid);
        out.put_u32(node.warden_pid);
        out.put_u64(node.incarnation.0);
        out.put_flag(node.up);
        out.put_flag(node.suspect);
        out.put_flag(node.stopping);
        out.put_list(&node.progress, |out, p| {
            for word in progress_words(p) {
                out.put_u64(word);
            }
            out.put_u8(p.standing as u8);
        });
    });
    out.put_list(&view.agents, |out, agent| {
        out.put_u8(agent.id.0);
        out.put_flag(agent.up);
    });
    out.put_list(&view.shards, |out, shard| {
        out.put_flag(shard.configuration.is_some());
        if let Some(configuration) = &shard.configuration {
            out.put_configuration(configuration);
        }
        out.put_flag(shard.leader_lost);
    });
    out.put_list(&view.history, |out, (shard, configuration)| {
        out.put_u16(shard.0);
        out.put_configuration(configuration);
    });
    out.put_list(&view.tallies, Write::put_tally);
}

pub(super) fn decode_view(bytes: &[u8]) -> Option<ClusterView> {
    let mut r = Reader(bytes);
    let view = read_view(&mut r).ok()?;
    r.end().ok().map(|()| view)
}

fn read_view(r: &mut Reader) -> Result<ClusterView, Malformed> {
    Ok(ClusterView {
        told_at: Nanos(r.u64()?),
        majority: r.flag()?,
        nodes: r.list(MAX_MEMBERS, |r| {
            Ok(NodeView {
                id: r.node()?,
                pid: r.u32()?,
                warden_pid: r.u32()?,
                incarnation: Incarnation(r.u64()?),
                up: r.flag()?,
                suspect: r.flag()?,
                stopping: r.flag()?,
                progress: r.list(MAX_SHARDS, |r| {
                    let mut words = [0; PROGRESS_WORDS];
                    for word in &mut words {
                        *word = r.u64()?;
                    }
                    Ok(ShardProgress { standing: r.standing()?, ..progress_of(&words) })
                })?,
            })
        })?,
        agents: r.list(MAX_MEMBERS, |r| Ok(AgentView { id: r.node()?, up: r.flag()? }))?,
        shards: r.list(MAX_SHARDS, |r| {
            Ok(ShardView {
                configuration: if r.flag()? { Some(r.configuration()?) } else { None },
                leader_lost: r.flag()?,
            })
        })?,
        history: r.list(HISTORY_LIMIT, |r| Ok((r.shard()?, r.configuration()?)))?,
        tallies: r.list(MAX_TALLIES, Reader::tally)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use agency::configuration::{Configuration, Why};
    use agency::history::Tally;
    use agency::ids::{NodeId, NodeSet, ShardId, Version};

    fn configuration() -> Configuration {
        Configuration {
            epoch: Epoch(3),
            version: Version(9),
            leader: NodeId(1),
            leader_incarnation: Incarnation(4),
            in_sync: NodeSet(3),
            members: NodeSet(3),
            why: Why::LeaderDied,
            at_ms: 1_700_000_000_000,
        }
    }

    fn largest_view() -> ClusterView {
        let progress = ShardProgress {
            turns: u64::MAX,
            standing: Standing::Starved,
            stopping: true,
            ..Default::default()
        };
        let node = NodeView {
            id: NodeId(7),
            pid: 1,
            warden_pid: 2,
            incarnation: Incarnation(3),
            up: true,
            suspect: false,
            stopping: true,
            progress: vec![progress; MAX_SHARDS],
        };
        let tally =
            Tally { shard: ShardId(63), member: NodeId(7), count: 9, first_ms: 5, newest: configuration() };
        let shard = ShardView { configuration: Some(configuration()), leader_lost: true };
        ClusterView {
            told_at: Nanos(u64::MAX),
            majority: true,
            nodes: vec![node; MAX_MEMBERS],
            agents: vec![AgentView { id: NodeId(2), up: true }; MAX_MEMBERS],
            shards: vec![shard; MAX_SHARDS],
            history: vec![(ShardId(63), configuration()); HISTORY_LIMIT],
            tallies: vec![tally; MAX_TALLIES],
        }
    }

    #[test]
    fn the_largest_view_fits_and_comes_back() {
        let mut bytes = Vec::new();
        encode_view(&largest_view(), &mut bytes);
        assert!(bytes.len() <= VIEW_BYTES, "{} > {VIEW_BYTES}", bytes.len());
        assert_eq!(decode_view(&bytes), Some(largest_view()));
        for cut in 0..200 {
            assert_eq!(decode_view(&bytes[..cut * bytes.len() / 200]), None);
        }
    }

    #[test]
    fn updates_and_requests_come_back() {
        for outcome in
            [RequestStatus::None, RequestStatus::Pending, RequestStatus::Decided, RequestStatus::Refused]
        {
            let update =
                ShardUpdate { configuration: configuration(), request: 5, outcome, leader_lost: true };
            let mut bytes = Vec::new();
            encode_update(&update, &mut bytes);
            assert_eq!(decode_update(&bytes), Some(update));
            assert_eq!(decode_update(&bytes[1..]), None);
        }
        let evictions = EvictReason::ALL.map(|reason| Change::Evict(NodeSet(2), reason));
        let (a, b) = (NodeId(0), NodeId(1));
        let others = [Change::Admit(b), Change::Handoff(a), Change::Yield(b), Change::Force(b)];
        for change in evictions.into_iter().chain(others) {
            let request = ShardRequest { id: 8, on_top_of: configuration(), change };
            let mut bytes = Vec::new();
            encode_request(&request, &mut bytes);
            assert_eq!(decode_request(&bytes), Some(request));
            assert_eq!(decode_request(&bytes[..bytes.len() - 1]), None);
        }
    }
}
