//! The control threads of a node: what must not be in front of data traffic. One answers administrators, and
//! waits where that takes waiting; one computes what takes long, large requests; and one judges and hashes
//! passwords, so that whoever guesses at these is in nobody's way but of those who log in.
//!
//! They hold no socket: shard threads ask by a [`Desk`] and find the answers in their mailboxes. Nothing is
//! decided here: the page of the warden is read, and wishes are put into the shards' mailboxes. What lies in
//! their queues is bounded by who asks (`node::http::jobs`); a job that nobody waits for any more is not done.

mod promotion;
pub mod signals;

use crate::post::{Parcel, Post};
use agency::ids::{NodeId, ShardId};
use agency::shard::{Health, ShardProgress};
use agency::view::ClusterView;
use faces::auth::password::Salt;
use faces::http::Response;
use node::job::{Job, JobDone, Queue};
use node::settings::Settings;
use node::status::Status;
use promotion::Promotion;
use serde_json::json;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use warden::page::SharedPage;

/// How long a handoff may take before the answer says that it did not happen yet.
pub const HANDOFF_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the page is looked at while a handoff or a promotion is awaited.
const OUTCOME_POLL: Duration = Duration::from_millis(1);
/// How nice the computing threads are to those that serve.
const WORKER_NICE: i32 = 10;

/// What the control threads work with.
pub struct Control {
    pub settings: Arc<Settings>,
    pub page: Arc<SharedPage>,
    pub post: Post,
}

/// A job, and to whom its end is told.
struct Asked {
    from: engine::ids::ShardId,
    ticket: u64,
    job: Job,
}

/// Where shard threads hand in their jobs.
#[derive(Clone)]
pub struct Desk {
    quick: Sender<Asked>,
    slow: Sender<Asked>,
    secret: Sender<Asked>,
}

impl Desk {
    /// A desk that nobody sits at: what is handed in there is never done. For loops without a node.
    pub fn unattended() -> Desk {
        Desk { quick: channel().0, slow: channel().0, secret: channel().0 }
    }

    /// Hand in a job. Its end comes as a parcel with this ticket.
    pub(crate) fn hand_in(&self, from: engine::ids::ShardId, ticket: u64, job: Job) {
        let queue = match job.queue() {
            Queue::Quick => &self.quick,
            Queue::Slow => &self.slow,
            Queue::Secret => &self.secret,
        };
        // The threads end only with the process.
        let _ = queue.send(Asked { from, ticket, job });
    }
}

/// Start the control threads; they live as long as the process.
///
/// # Errors
/// No more threads.
pub fn start(control: Control) -> io::Result<Desk> {
    let (quick, administration) = channel();
    let (post, settings) = (control.post.clone(), Arc::clone(&control.settings));
    std::thread::Builder::new().name("baton-control".into()).spawn(move || {
        let view = ClusterView::default();
        Office { control, seen: 0, view, handoffs: Vec::new(), promotions: Vec::new() }.work(&administration);
    })?;
    let slow = computing("baton-worker", post.clone(), Arc::clone(&settings))?;
    let secret = computing("baton-password", post, settings)?;
    Ok(Desk { quick, slow, secret })
}

/// Start a thread that does one job after the other.
fn computing(name: &str, post: Post, settings: Arc<Settings>) -> io::Result<Sender<Asked>> {
    let (sender, jobs) = channel();
    // Opened once: a node without a free descriptor must not fail over a password.
    let mut random = File::open("/dev/urandom")?;
    std::thread::Builder::new().name(name.into()).spawn(move || {
        let _ = rustix::process::setpriority_process(None, WORKER_NICE);
        let mut salt = || {
            let mut salt = Salt::default();
            random.read_exact(&mut salt).expect("/dev/urandom never ends");
            salt
        };
        for Asked { from, ticket, job } in jobs {
            let done = Box::new(job.compute(&settings, &mut salt));
            post.send(from, Parcel::Control { ticket, done });
        }
    })?;
    Ok(sender)
}

/// A handoff that is awaited.
struct Handoff {
    from: engine::ids::ShardId,
    ticket: u64,
    shards: Vec<ShardId>,
    to: Option<NodeId>,
    since: Instant,
}

/// The administrators' thread.
struct Office {
    control: Control,
    seen: u64,
    view: ClusterView,
    handoffs: Vec<Handoff>,
    promotions: Vec<Promotion>,
}

impl Office {
    fn work(mut self, jobs: &Receiver<Asked>) {
        loop {
            let asked = match self.handoffs.is_empty() && self.promotions.is_empty() {
                true => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => jobs.recv_timeout(OUTCOME_POLL),
            };
            match asked {
                Ok(Asked { from, ticket, job: Job::HandOver { to, shard } }) => {
                    match self.begin_handoff(to.as_deref(), shard.as_deref()) {
                        Ok((shards, to)) => {
                            let since = Instant::now();
                            self.handoffs.push(Handoff { from, ticket, shards, to, since });
                        }
                        Err(refused) => self.administered(from, ticket, refused),
                    }
                }
                Ok(Asked { from, ticket, job: Job::Promote }) => match self.begin_promotion(from, ticket) {
                    Ok(promotion) => self.promotions.push(promotion),
                    Err(refused) => self.administered(from, ticket, refused),
                },
                Ok(Asked { from, ticket, .. }) => {
                    let status = Box::new(self.status());
                    self.tell(from, ticket, JobDone::Status(status));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_after_handoffs();
            self.look_after_promotions();
        }
    }

    fn tell(&self, to: engine::ids::ShardId, ticket: u64, done: JobDone) {
        self.control.post.send(to, Parcel::Control { ticket, done: Box::new(done) });
    }

    fn administered(&self, to: engine::ids::ShardId, ticket: u64, response: Response) {
        self.tell(to, ticket, JobDone::Administered(Box::new(response)));
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.control.settings.shards).map(ShardId)
    }

    fn refresh(&mut self) {
        if let Some(view) = self.control.page.view(&mut self.seen) {
            self.view = view;
        }
    }

    fn status(&mut self) -> Status {
        self.refresh();
        let own: Vec<ShardProgress> =
            self.shards().map(|shard| self.control.page.shard(shard).progress()).collect();
        Status::new(&self.control.settings, &self.view, &own, warden::now())
    }

    /// The leader of each shard.
    fn leaders(&mut self) -> Vec<Option<NodeId>> {
        self.refresh();
        let view = &self.view;
        let leader = |shard: ShardId| view.shards.get(shard.0 as usize)?.configuration.map(|c| c.leader);
        self.shards().map(leader).collect()
    }

    /// Asks the shards in question; says which these are and whom they go to.
    fn begin_handoff(
        &mut self,
        to: Option<&str>,
        shard: Option<&str>,
    ) -> Result<(Vec<ShardId>, Option<NodeId>), Response> {
        let settings = Arc::clone(&self.control.settings);
        let to = match to.map(|name| settings.node_named(name)) {
            None => None,
            Some(Some(node)) if settings.data_nodes().contains(node) => Some(node),
            Some(_) => return Err(Response::error(400, 10, "to= names no data node of this group")),
        };
        let only = match shard.map(str::parse::<u16>) {
            None => None,
            Some(Ok(shard)) if shard < settings.shards => Some(ShardId(shard)),
            Some(_) => return Err(Response::error(400, 10, "shard= is no shard of this group")),
        };
        let (me, before) = (settings.me(), self.leaders());
        let wanted: Vec<ShardId> =
            self.shards().filter(|shard| only.is_none_or(|only| only == *shard)).collect();
        let leads = |shard: &&ShardId| before[shard.0 as usize] == Some(me) && to != Some(me);
        let mine: Vec<ShardId> = wanted.iter().filter(leads).copied().collect();
        let there = |shard: &ShardId| to.is_some() && before[shard.0 as usize] == to;
        if mine.is_empty() && !wanted.iter().all(there) {
            let text = "this node leads none of these shards: ask their leader";
            return Err(Response::error(409, 1496, text));
        }
        for shard in &mine {
            self.control.post.send(engine::ids::ShardId(shard.0), Parcel::Handoff(to));
        }
        Ok((mine, to))
    }

    /// Asks every shard without a leader to lead it from here, with what it has.
    fn begin_promotion(&mut self, from: engine::ids::ShardId, ticket: u64) -> Result<Promotion, Response> {
        let status = self.status();
        let lost = status.shards.iter().filter(|shard| shard.serving_leader().is_none());
        let shards: Vec<ShardId> = lost.map(|shard| ShardId(shard.id)).collect();
        let page = &self.control.page;
        let starts = |shard: &&ShardId| page.shard(**shard).progress().health == Health::Starting;
        if shards.is_empty() {
            return Err(Response::error(409, 409, "every shard has a leader: there is nothing to promote"));
        }
        if let Some(starting) = shards.iter().find(starts) {
            let text = format!("shard {} is not recovered yet: what it has is not known", starting.0);
            return Err(Response::error(503, 503, &text));
        }
        let promotion = Promotion::new(from, ticket, &shards, page);
        for shard in &shards {
            self.control.post.send(engine::ids::ShardId(shard.0), Parcel::Promote);
        }
        Ok(promotion)
    }

    /// Answers those whose promotion is decided or refused, or whose time is over.
    fn look_after_promotions(&mut self) {
        let me = self.control.settings.me();
        for promotion in std::mem::take(&mut self.promotions) {
            match promotion.answer(me, &self.control.page) {
                Some(answer) => self.administered(promotion.from, promotion.ticket, answer),
                None => self.promotions.push(promotion),
            }
        }
    }

    /// Answers those whose handoff has happened, or whose time is over.
    fn look_after_handoffs(&mut self) {
        if self.handoffs.is_empty() {
            return;
        }
        let (me, now) = (self.control.settings.me(), self.leaders());
        for handoff in std::mem::take(&mut self.handoffs) {
            let moved = |shard: &ShardId| match now[shard.0 as usize] {
                Some(leader) => leader != me && handoff.to.is_none_or(|to| to == leader),
                None => false,
            };
            let answer = if handoff.shards.iter().all(moved) {
                let moved: Vec<u16> = handoff.shards.iter().map(|shard| shard.0).collect();
                let took_us = handoff.since.elapsed().as_micros() as u64;
                Response::json(200, &json!({ "moved": moved, "took_us": took_us }))
            } else if handoff.since.elapsed() > HANDOFF_TIMEOUT {
                let text = "the handoff has not happened: is the other node up and in sync?";
                Response::error(504, 504, text)
            } else {
                self.handoffs.push(handoff);
                continue;
            };
            self.administered(handoff.from, handoff.ticket, answer);
        }
    }
}
