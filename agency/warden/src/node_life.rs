//! The lives of the node: each with an incarnation of its own, a page of its own, and one death.
//!
//! Promises that an incarnation is durable before its process starts, that its death is told exactly once
//! and before anything is cleaned up, and that the next one starts only when the last one has exited and its
//! sockets are reset. Keeps the state; the loop decides when to call.

use super::child::{Child, Exit};
use super::config::{NodeOptions, Spawn};
use super::page::{ChildFds, SharedPage};
use super::report::{eventfd, wake};
use super::spawn::{Birth, SpawnThread};
use super::stall::Stall;
use agency::ids::{Incarnation, Nanos, ShardId};
use agency::shard::{ShardProgress, ShardRequest};
use rustix::fd::{AsRawFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A node that ended sooner than this after its start died young: the next start waits longer.
const YOUNG: Duration = Duration::from_secs(2);
/// Longest wait before a start.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A life that has begun and is not wholly over.
pub(super) struct Life {
    pub incarnation: Incarnation,
    pub page: Arc<SharedPage>,
    pub child: Child,
    pub started: Nanos,
    /// The watch thread has the page.
    pub watched: bool,
    /// When the brain was told of its death.
    pub died: Option<Nanos>,
    /// The process has ended and was reaped.
    pub exit: Option<Exit>,
    /// A reset of its sockets is under way.
    pub resetting: bool,
    /// Its readiness was logged.
    pub ready: bool,
    wake_shards: Vec<OwnedFd>,
    requests_seen: Vec<u64>,
    stalls: Vec<Stall>,
}

/// A life whose process is being started.
pub(super) struct Unborn {
    incarnation: Incarnation,
    page: SharedPage,
    wake_shards: Vec<OwnedFd>,
}

/// Where the node stands.
pub(super) enum LifeStage {
    /// No node: a witness, or one that is not to be started (again).
    None,
    /// To be started then.
    Waiting { until: Nanos },
    /// The store makes the next incarnation durable.
    Raising,
    /// The process is being started.
    Starting(Unborn),
    /// Started.
    Living(Box<Life>),
}

/// The succession of lives.
pub(super) struct Lives {
    pub options: NodeOptions,
    pub stage: LifeStage,
    spawn: Spawn,
    wait: Duration,
}

impl Lives {
    pub fn new(options: NodeOptions, spawn: Spawn) -> Lives {
        Lives { options, stage: LifeStage::Waiting { until: Nanos(0) }, spawn, wait: Duration::ZERO }
    }

    /// The life that has begun, if one has.
    pub fn life(&mut self) -> Option<&mut Life> {
        match &mut self.stage {
            LifeStage::Living(life) => Some(life),
            _ => None,
        }
    }

    /// Has the spawn thread start the node. On failure it is tried again later.
    pub fn conceive(
        &mut self,
        incarnation: Incarnation,
        shards: u16,
        wake_warden: &OwnedFd,
        spawner: &SpawnThread,
    ) -> io::Result<()> {
        let (page, page_fd) = SharedPage::create(shards, incarnation)?;
        let wake_shards = (0..shards).map(|_| eventfd()).collect::<io::Result<Vec<_>>>()?;
        let fds = ChildFds {
            warden: std::process::id(),
            page: page_fd.as_raw_fd(),
            wake_warden: wake_warden.as_raw_fd(),
            wake_shards: wake_shards.iter().map(AsRawFd::as_raw_fd).collect(),
        };
        let start = (self.spawn)(incarnation, &fds)?;
        spawner.spawn(Birth { incarnation, start, fds, page: page_fd });
        self.stage = LifeStage::Starting(Unborn { incarnation, page, wake_shards });
        Ok(())
    }

    /// The spawn thread started this process. Gives the new life; a process nobody waits for is killed.
    pub fn begin(&mut self, incarnation: Incarnation, child: Child, now: Nanos) -> Option<&mut Life> {
        let stage = std::mem::replace(&mut self.stage, LifeStage::None);
        let unborn = match stage {
            LifeStage::Starting(unborn) if unborn.incarnation == incarnation => unborn,
            other => {
                self.stage = other;
                return None;
            }
        };
        let shards = unborn.page.shards();
        assert_eq!(unborn.page.incarnation(), incarnation, "a page belongs to one life");
        assert_eq!(unborn.wake_shards.len(), usize::from(shards), "every shard can be woken");
        self.stage = LifeStage::Living(Box::new(Life {
            incarnation,
            page: Arc::new(unborn.page),
            child,
            started: now,
            watched: false,
            died: None,
            exit: None,
            resetting: false,
            ready: false,
            wake_shards: unborn.wake_shards,
            requests_seen: vec![0; usize::from(shards)],
            stalls: (0..shards).map(|_| Stall::default()).collect(),
        }));
        self.life()
    }

    /// After the end of a life (or of an attempt): when the next one starts. `young`: it did not last.
    ///
    /// # Panics
    /// If the last one is not over.
    pub fn plan_next(&mut self, now: Nanos, young: bool) {
        assert!(self.life().is_none_or(|life| life.is_over()), "one life after the other");
        let Some(respawn_after) = self.options.respawn_after else {
            self.stage = LifeStage::None;
            return;
        };
        self.wait = if young { (self.wait * 2).clamp(respawn_after, LONGEST_WAIT) } else { respawn_after };
        self.stage = LifeStage::Waiting { until: now + self.wait };
    }

    /// How long the next start waits.
    pub fn wait(&self) -> Duration {
        self.wait
    }
}

impl Life {
    /// Whether its process has ended and its sockets are reset.
    pub fn is_over(&self) -> bool {
        self.exit.is_some() && self.died.is_some() && !self.resetting
    }

    /// Whether it ended soon after its start.
    pub fn is_young(&self, now: Nanos) -> bool {
        now.since(self.started) < YOUNG
    }

    /// Wakes one shard.
    pub fn wake(&self, shard: ShardId) {
        wake(&self.wake_shards[usize::from(shard.0)]);
    }

    /// Wakes every shard.
    pub fn wake_all(&self) {
        self.wake_shards.iter().for_each(wake);
    }

    /// What the shards say, and what the threads of those that stand still do.
    pub fn progress(&mut self, now: Nanos) -> Vec<ShardProgress> {
        let process = self.child.pid();
        let shards = (0..self.page.shards()).zip(&mut self.stalls);
        let look = |(shard, stall): (u16, &mut Stall)| {
            let area = self.page.shard(ShardId(shard));
            let progress = area.progress();
            let standing = stall.look(&progress, process, area.thread(), now);
            ShardProgress { standing, ..progress }
        };
        shards.map(look).collect()
    }

    /// Requests not seen before.
    pub fn requests(&mut self) -> Vec<(ShardId, ShardRequest)> {
        let shards = (0..self.page.shards()).map(ShardId).zip(&mut self.requests_seen);
        shards.filter_map(|(s, seen)| Some((s, self.page.shard(s).request(seen)?))).collect()
    }
}
