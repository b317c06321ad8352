//! A running group is struck, and waited for.

use super::{CLIENT_PORTS, LOOKS_AT_REST, RunningGroup, WITNESS, send};
use crate::processes::{self, Part};
use bench::failover::router::Endpoint;
use bench::failover::{Blow, Group, GroupError, SILENCE, STALL, Standing};
use node::status::{HistoryEntry, ShardStatus, Status};
use rustix::process::Signal;
use std::thread;
use std::time::{Duration, Instant};

/// How the group stood before a blow, as far as what came of it is judged by that.
#[derive(Default)]
pub(super) struct Dealt {
    blow: Option<Blow>,
    before: Status,
    /// What each node said first after the group was started again, by its name.
    first: Vec<(String, Status)>,
}

/// Reasons in the history by which a member leaves an in-sync set, or comes back to one.
const SET_CHANGED: [&str; 4] = ["evicted", "slow", "left", "admitted"];

impl Dealt {
    fn before(blow: Blow, before: Status) -> Dealt {
        Dealt { blow: Some(blow), before, first: Vec::new() }
    }

    /// What a client cannot see and yet should not be.
    fn findings(&self, now: &Status) -> Vec<String> {
        match self.blow {
            Some(Blow::Disk | Blow::Handoff) => self.killed(now),
            Some(Blow::StopGroup) => self.set_changes(now),
            _ => Vec::new(),
        }
    }

    /// Nodes that were started again since, though nobody was to be killed.
    fn killed(&self, now: &Status) -> Vec<String> {
        let both = self.before.nodes.iter().zip(&now.nodes);
        let killed = both.filter(|(before, now)| before.incarnation != now.incarnation);
        killed.map(|(_, node)| format!("node {} was ended and started again", node.name)).collect()
    }

    /// What befell the in-sync sets since: an orderly stop leaves them whole.
    fn set_changes(&self, now: &Status) -> Vec<String> {
        let new = |entry: &&HistoryEntry| {
            SET_CHANGED.contains(&entry.why.as_str()) && !self.before.history.contains(entry)
        };
        let told =
            |e: &HistoryEntry| format!("shard {}: {} at {}, after an orderly stop", e.shard, e.why, e.at);
        let first = self.first.iter().flat_map(|(name, status)| {
            let lacks = |shard: &&ShardStatus| shard.in_sync.len() < self.before.nodes.len();
            status.shards.iter().filter(lacks).map(move |shard| {
                let (id, in_sync) = (shard.id, &shard.in_sync);
                format!("shard {id}: in sync {in_sync:?}, says {name} first after an orderly stop")
            })
        });
        now.history.iter().filter(new).map(told).chain(first).collect()
    }
}

impl RunningGroup {
    /// Puts the leader's host to sleep for [`SILENCE`].
    fn silence(&mut self, leader: String) -> Result<Instant, GroupError> {
        let node = self.pid(&leader, Part::Node)?;
        let warden = self.pid(&leader, Part::Warden)?;
        // The warden first: it would end a node that stands still.
        let struck = Instant::now();
        send(warden, Signal::STOP)?;
        send(node, Signal::STOP)?;
        self.deposed = Some(leader);
        thread::spawn(move || {
            thread::sleep(SILENCE);
            // A host wakes all at once; whoever was killed meanwhile needs no waking.
            let _ = processes::signal(node, Signal::CONT);
            let _ = processes::signal(warden, Signal::CONT);
        });
        Ok(struck)
    }

    /// Makes the leader's file system stand still for [`STALL`].
    fn stall_disk(&mut self, leader: String) -> Result<Instant, GroupError> {
        let disk = self.disks.iter().find(|(name, _)| *name == leader);
        let (_, disk) = disk.ok_or_else(|| GroupError("the nodes have no disks of their own".to_owned()))?;
        let stalled = disk.stall()?;
        let struck = Instant::now();
        self.deposed = Some(leader);
        thread::spawn(move || {
            thread::sleep(STALL);
            drop(stalled);
        });
        Ok(struck)
    }
}

impl Group for RunningGroup {
    fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |node: &crate::start::ready::ReadyNode| {
            let any_key: std::net::SocketAddr = node.resp.parse().expect("a group on this machine");
            let ports = any_key.port()..=any_key.port() + CLIENT_PORTS;
            Endpoint { name: node.name.clone(), any_key, ports }
        };
        self.ready.nodes.iter().map(endpoint).collect()
    }

    fn strike(&mut self, blow: Blow) -> Result<Instant, GroupError> {
        let (leader, follower) = (self.leader()?, self.follower()?);
        self.blow = Dealt::before(blow, self.status()?);
        self.struck.clear();
        self.struck_witness = None;
        self.deposed = None;
        match blow {
            Blow::Node => {
                self.note(&[&leader])?;
                self.signal(&leader, Part::Node, Signal::KILL)
            }
            Blow::Stop => {
                self.note(&[&leader])?;
                self.signal(&leader, Part::Node, Signal::STOP)
            }
            Blow::Follower => {
                self.note(&[&follower])?;
                self.signal(&follower, Part::Node, Signal::KILL)
            }
            Blow::Witness => {
                self.struck_witness = Some(self.pid(WITNESS, Part::Warden)?);
                self.signal(WITNESS, Part::Warden, Signal::KILL)
            }
            Blow::Both => {
                self.note(&[&leader, &follower])?;
                let other = self.pid(&follower, Part::Node)?;
                let struck = self.signal(&leader, Part::Node, Signal::KILL)?;
                send(other, Signal::KILL)?;
                Ok(struck)
            }
            Blow::WardenAndNode => {
                self.note(&[&leader])?;
                let node = self.pid(&leader, Part::Node)?;
                let struck = self.signal(&leader, Part::Warden, Signal::KILL)?;
                // The kernel kills the node with its warden; it may be gone already.
                let _ = processes::signal(node, Signal::KILL);
                Ok(struck)
            }
            Blow::Silence => self.silence(leader),
            Blow::Terminate => {
                self.note(&[&leader])?;
                self.told_to_stop = Some(leader.clone());
                self.signal(&leader, Part::Warden, Signal::TERM)
            }
            Blow::Disk => self.stall_disk(leader),
            Blow::StopGroup => {
                let struck = Instant::now();
                self.blow.first = self.stop_and_start()?;
                Ok(struck)
            }
            Blow::Handoff => {
                let http = self.http(&leader).to_owned();
                let path = format!("/_admin/baton/handoff?to={follower}");
                let struck = Instant::now();
                let answer = crate::http_client::request("POST", &http, &path, Duration::from_secs(10));
                self.deposed = Some(leader);
                match answer {
                    Ok(response) if response.status == 200 => Ok(struck),
                    other => Err(GroupError(format!("handoff: {other:?}"))),
                }
            }
        }
    }

    fn findings(&mut self) -> Result<Vec<String>, GroupError> {
        Ok(self.blow.findings(&self.status()?))
    }

    fn whole(&mut self, limit: Duration) -> Result<Standing, GroupError> {
        if let Some(name) = self.told_to_stop.take() {
            self.revive(&name, limit)?;
        }
        let views = self.until(limit, || self.agreement())?;
        self.standing(&views[0])
    }

    fn caught_up(&mut self, limit: Duration) -> Result<Standing, GroupError> {
        let mut at_rest = 0;
        let mut before: Vec<u64> = Vec::new();
        let views = self.until(limit, || {
            let views = self.agreement()?;
            let ends: Vec<u64> = views
                .iter()
                .flat_map(|v| v.shards.iter().flat_map(|s| s.nodes.values()))
                .flat_map(|place| [place.written, place.applied])
                .collect();
            let caught_up = views.iter().flat_map(|v| &v.shards).all(|shard| {
                let end = shard.nodes.values().map(|p| p.written).max();
                shard.nodes.values().all(|p| Some(p.applied) == end)
            });
            at_rest = if caught_up && ends == before { at_rest + 1 } else { 0 };
            before = ends;
            match at_rest >= LOOKS_AT_REST {
                true => Ok(views),
                false => Err(GroupError(format!("not every node has applied everything: {views:?}"))),
            }
        })?;
        self.standing(&views[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderly_stop_leaves_every_copy_in_sync() {
        let whole: Status = serde_json::from_str(crate::status::sample::SAMPLE).unwrap();
        let mut dealt = Dealt::before(Blow::StopGroup, whole.clone());
        dealt.first = vec![("a".to_owned(), whole.clone()), ("b".to_owned(), whole.clone())];
        assert_eq!(dealt.findings(&whole), Vec::<String>::new());
        for why in ["evicted", "slow", "left", "admitted"] {
            let mut now = whole.clone();
            now.history[0].why = why.to_owned();
            assert_eq!(dealt.findings(&now).len(), 1, "{why}");
        }
        dealt.first[1].1.shards[0].in_sync.pop();
        assert_eq!(dealt.findings(&whole), [r#"shard 0: in sync ["a"], says b first after an orderly stop"#]);
    }
}
