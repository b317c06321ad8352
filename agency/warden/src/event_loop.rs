//! The warden's loop: one thread, one epoll, one brain.
//!
//! Promises that the report of a node's death is handled before anything else that is ready, and that the
//! peers' sockets got its notice before the reset, the reaping and the log begin. Nothing in it waits but
//! `epoll_wait`.

use super::brain::Brain;
use super::child::Exit;
use super::clock::{now, wall_ms};
use super::config::{Spawn, WardenConfig};
use super::error::{ExitReason, WardenError, system};
use super::links::{LinkEvent, Links};
use super::log::Log;
use super::node_life::{Life, LifeStage, Lives};
use super::report::{Born, Report, Reports, ResetDone, drain, eventfd, reports};
use super::reset::Resetter;
use super::reset_thread::ResetThread;
use super::sched;
use super::spawn::SpawnThread;
use super::store::Store;
use super::store_thread::StoreThread;
use super::watch::Watch;
use agency::events::{Command, Event};
use agency::ids::{Epoch, Incarnation, Nanos, ShardId};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Signal;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

const TOKEN_REPORT: u64 = 0;
const TOKEN_TIMER: u64 = 1;
const TOKEN_SIGNAL: u64 = 2;
const TOKEN_NODE: u64 = 3;
const TOKEN_CHILD: u64 = 4;
const TOKEN_LINKS: u64 = 8;

/// Events taken per `epoll_wait`.
const BATCH: usize = 64;
/// Ticks come no closer than this, whatever deadline the brain names.
const SHORTEST_TICK: Duration = Duration::from_micros(100);
/// How long the end of the warden may wait for its last messages to leave.
const LINGER: Duration = Duration::from_millis(100);

/// The loop and all it owns.
pub(super) struct EventLoop<B> {
    config: WardenConfig,
    brain: B,
    log: Arc<Log>,
    epoll: Arc<OwnedFd>,
    timer: OwnedFd,
    armed: Nanos,
    signals: OwnedFd,
    reports: Receiver<Report>,
    report_wake: Arc<OwnedFd>,
    wake_warden: OwnedFd,
    links: Links,
    store: StoreThread,
    watch: Watch,
    spawner: SpawnThread,
    reset: Option<ResetThread>,
    lives: Option<Lives>,
    commands: Vec<Command>,
    last_tick: Nanos,
    worst_tick: Duration,
    /// An orderly stop is under way; the node is killed at that time.
    stopping: Option<Nanos>,
    killed: bool,
    exit: Option<ExitReason>,
}

impl<B: Brain> EventLoop<B> {
    /// `signals`: from `signals::take`.
    pub fn new(
        config: WardenConfig,
        brain: B,
        store: Store,
        spawn: Option<Spawn>,
        signals: OwnedFd,
        log: Arc<Log>,
    ) -> Result<EventLoop<B>, WardenError> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC).map_err(system("make an epoll"))?);
        let timer = rustix::time::timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )
        .map_err(system("make a timer"))?;
        let (to_loop, reports, report_wake) = reports().map_err(system("make an eventfd"))?;
        let wake_warden = eventfd().map_err(system("make an eventfd"))?;
        for (fd, token) in [
            (report_wake.as_fd(), TOKEN_REPORT),
            (timer.as_fd(), TOKEN_TIMER),
            (signals.as_fd(), TOKEN_SIGNAL),
            (wake_warden.as_fd(), TOKEN_NODE),
        ] {
            epoll::add(&*epoll, fd, EventData::new_u64(token), EventFlags::IN)
                .map_err(system("use an epoll"))?;
        }
        let links = Links::open(&config, Arc::clone(&epoll), TOKEN_LINKS, Arc::clone(&log))?;
        let threads = system("start a thread");
        let store = StoreThread::start(store, to_loop.clone(), Arc::clone(&log)).map_err(&threads)?;
        let watch = Watch::start(to_loop.clone()).map_err(&threads)?;
        let spawner = SpawnThread::start(to_loop.clone()).map_err(&threads)?;
        let reset = start_reset(&config, to_loop, &log).map_err(&threads)?;
        let lives = config.node.clone().zip(spawn).map(|(options, spawn)| Lives::new(options, spawn));
        Ok(EventLoop {
            config,
            brain,
            log,
            epoll,
            timer,
            armed: Nanos(0),
            signals,
            reports,
            report_wake,
            wake_warden,
            links,
            store,
            watch,
            spawner,
            reset,
            lives,
            commands: Vec::new(),
            last_tick: now(),
            worst_tick: Duration::ZERO,
            stopping: None,
            killed: false,
            exit: None,
        })
    }

    /// Serves until the end. `loss_accepted`: see [`Event::DataLossAccepted`].
    pub fn run(&mut self, loss_accepted: bool) -> Result<ExitReason, WardenError> {
        self.log.line(&format!(
            "up: pid {}, agency on {}, {} shards",
            std::process::id(),
            self.config.listen,
            self.config.shards
        ));
        if loss_accepted {
            self.handle(Event::DataLossAccepted);
        }
        let mut ready = Vec::with_capacity(BATCH);
        loop {
            self.tick_if_due()?;
            if let Some(reason) = self.exit {
                self.linger();
                self.log.line(&format!("worst tick {} us late", self.worst_tick.as_micros()));
                return Ok(reason);
            }
            self.arm().map_err(system("set a timer"))?;
            ready.clear();
            match epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut ready), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(system("wait")(error)),
            }
            // A death comes before all else.
            ready.sort_unstable_by_key(|event| event.data.u64());
            for event in &ready {
                match event.data.u64() {
                    TOKEN_REPORT => self.take_reports()?,
                    TOKEN_TIMER => drain(&self.timer),
                    TOKEN_SIGNAL => self.take_signals(),
                    TOKEN_NODE => {
                        drain(&self.wake_warden);
                        self.look_at_node(now());
                        self.take_requests();
                    }
                    TOKEN_CHILD => self.reap()?,
                    token => self.links.ready(token, now()),
                }
                self.take_link_events();
            }
        }
    }

    /// Hands one event to the brain and carries out what it wants.
    fn handle(&mut self, event: Event) {
        let mut commands = std::mem::take(&mut self.commands);
        self.brain.handle(now(), wall_ms(), event, &mut commands);
        for command in commands.drain(..) {
            match command {
                Command::Send(to, message) => self.links.send(to, &message),
                Command::Store { ticket, image } => self.store.put(ticket, image),
                Command::Publish(shard, update) => {
                    if let Some(life) = self.living() {
                        life.page.shard(shard).set_update(&update);
                        life.wake(shard);
                    }
                }
                Command::Lease { shard, epoch, until } => self.set_lease(shard, epoch, until),
                Command::KillNode(incarnation) => self.kill_hanging(incarnation),
                Command::Log(line) => self.log.line(&line),
            }
        }
        self.commands = commands;
        self.links.flush();
        if self.brain.view_changed()
            && let Some(life) = self.lives.as_mut().and_then(Lives::life).filter(|l| l.died.is_none())
        {
            life.page.publish_view(&self.brain.view());
            life.wake_all();
        }
    }

    /// The node's life, if it is not known to be dead.
    fn living(&mut self) -> Option<&mut Life> {
        self.lives.as_mut().and_then(Lives::life).filter(|life| life.died.is_none())
    }

    fn set_lease(&mut self, shard: ShardId, epoch: Epoch, until: Nanos) {
        if let Some(life) = self.living() {
            life.page.shard(shard).set_lease(epoch, until);
            if until == Nanos(0) {
                life.wake(shard);
            }
        }
    }

    fn kill_hanging(&mut self, incarnation: Incarnation) {
        if let Some(life) = self.living().filter(|life| life.incarnation == incarnation) {
            life.child.signal(Signal::KILL);
            self.log.line(&format!("node incarnation {} hangs: killed", incarnation.0));
        }
    }

    fn take_link_events(&mut self) {
        while let Some(event) = self.links.next_event() {
            self.handle(match event {
                LinkEvent::Up(peer) => Event::LinkUp(peer),
                LinkEvent::Down(peer) => Event::LinkDown(peer),
                LinkEvent::Message(peer, message) => Event::Message(peer, message),
            });
        }
    }

    fn take_reports(&mut self) -> Result<(), WardenError> {
        drain(&self.report_wake);
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Died(incarnation) => self.node_died(incarnation, "its threads ended"),
                Report::Stored(ticket) => self.handle(Event::Stored(ticket)),
                Report::Raised(incarnation) => self.conceive(incarnation),
                Report::Started(incarnation, born) => self.begin_life(incarnation, born)?,
                Report::StoreFailed(error) => return Err(error.into()),
                Report::Reset(done) => self.reset_done(&done),
            }
        }
        Ok(())
    }

    /// Proof of death. The order is the point: first the peers, then the sockets, then words.
    fn node_died(&mut self, incarnation: Incarnation, how: &str) {
        let Some(life) = self.living().filter(|life| life.incarnation == incarnation) else { return };
        let died_at = now();
        life.died = Some(died_at);
        self.handle(Event::NodeDied(incarnation));
        let told = now().since(died_at);
        let orderly = self.stopping.is_some() && !self.killed;
        let Some(life) = self.lives.as_mut().and_then(Lives::life) else { return };
        sched::let_others_run(life.child.pid());
        // A node that stops in order may still be answering: its sockets close by themselves.
        if let Some(reset) = &self.reset
            && !orderly
            && !life.page.node_stopping()
        {
            life.resetting = true;
            reset.reset(incarnation, died_at);
        }
        self.log.line(&format!(
            "node incarnation {} is dead ({how}); peers told {} us after the notice",
            incarnation.0,
            told.as_micros()
        ));
    }

    fn reset_done(&mut self, done: &ResetDone) {
        let times = format!(
            "in {} us, {} us after the death notice",
            done.took.as_micros(),
            done.since_death.as_micros()
        );
        self.log.line(&match &done.error {
            None => format!("reset {} sockets of the dead node {times}", done.sockets),
            Some(error) => format!("the dead node's sockets are not reset ({error}) {times}"),
        });
        if let Some(life) = self.lives.as_mut().and_then(Lives::life)
            && life.incarnation == done.incarnation
        {
            life.resetting = false;
        }
        self.end_life();
    }

    /// The process may have ended.
    fn reap(&mut self) -> Result<(), WardenError> {
        let Some(life) = self.lives.as_mut().and_then(Lives::life) else { return Ok(()) };
        if life.exit.is_some() {
            return Ok(());
        }
        // To take a process out of /proc the kernel waits, turning, for the threads of it that are being taken out.
        let ended = sched::as_ordinary(|| life.child.try_wait());
        let Some(exit) = ended.map_err(system("wait for the node"))? else { return Ok(()) };
        epoll::delete(&*self.epoll, &life.child).map_err(system("use an epoll"))?;
        life.exit = Some(exit);
        let incarnation = life.incarnation;
        let words = life.page.failure().map(|f| format!(": {f}")).unwrap_or_default();
        self.node_died(incarnation, "its process ended");
        self.log.line(&format!("node incarnation {} ended by {exit}{words}", incarnation.0));
        self.end_life();
        Ok(())
    }

    /// Once process and sockets are gone: what comes next.
    fn end_life(&mut self) {
        let stopping = self.stopping.is_some();
        let killed = std::mem::take(&mut self.killed);
        let Some(lives) = &mut self.lives else { return };
        let Some(life) = lives.life().filter(|l| !l.resetting) else { return };
        let Some(exit) = life.exit else { return };
        let at = now();
        let young = life.is_young(at);
        if stopping {
            lives.stage = LifeStage::None;
            self.exit = Some(if killed { ExitReason::NodeKilled } else { ExitReason::Stopped });
        } else if exit == Exit::Code(0) {
            lives.stage = LifeStage::None;
            self.exit = Some(ExitReason::NodeStopped);
        } else {
            lives.plan_next(at, young);
            let next = match lives.stage {
                LifeStage::Waiting { .. } => {
                    format!("the node starts again in {} ms", lives.wait().as_millis())
                }
                _ => "the node is not started again".to_owned(),
            };
            self.log.line(&next);
        }
    }

    /// The incarnation is durable: has the process started.
    fn conceive(&mut self, incarnation: Incarnation) {
        let Some(lives) = self.lives.as_mut().filter(|l| matches!(l.stage, LifeStage::Raising)) else {
            return;
        };
        if let Err(error) = lives.conceive(incarnation, self.config.shards, &self.wake_warden, &self.spawner)
        {
            lives.plan_next(now(), true);
            self.log.line(&format!("the node cannot be started: {error}"));
        }
    }

    /// The process runs.
    fn begin_life(&mut self, incarnation: Incarnation, born: io::Result<Born>) -> Result<(), WardenError> {
        let Some(lives) = &mut self.lives else { return Ok(()) };
        let Born { child, disk_id } = match born {
            Ok(born) => born,
            Err(error) => {
                lives.plan_next(now(), true);
                self.log.line(&format!("the node cannot be started: {error}"));
                return Ok(());
            }
        };
        let Some(life) = lives.begin(incarnation, child, now()) else { return Ok(()) };
        epoll::add(&*self.epoll, &life.child, EventData::new_u64(TOKEN_CHILD), EventFlags::IN)
            .map_err(system("use an epoll"))?;
        life.page.publish_view(&self.brain.view());
        let pid = life.child.pid();
        self.log.line(&format!("node incarnation {} starts: pid {pid}", incarnation.0));
        self.handle(Event::NodeStarted { incarnation, pid, disk_id });
        Ok(())
    }

    /// How the shards stand: at every tick, and when the node has something to say.
    fn look_at_node(&mut self, at: Nanos) {
        if let Some(progress) = self.living().map(|life| life.progress(at)) {
            self.handle(Event::Progress(progress));
        }
    }

    fn take_requests(&mut self) {
        let requests = self.living().map(Life::requests).unwrap_or_default();
        for (shard, request) in requests {
            self.handle(Event::Request(shard, request));
        }
    }

    fn take_signals(&mut self) {
        drain(&self.signals);
        let Some(lives) = &mut self.lives else {
            self.exit = Some(ExitReason::Stopped);
            return;
        };
        let timeout = lives.options.stop_timeout;
        match (&mut lives.stage, self.stopping) {
            (LifeStage::Living(life), None) => {
                life.child.signal(Signal::TERM);
                self.stopping = Some(now() + timeout);
                self.log.line("told to stop: the node stops first");
            }
            // Told twice: now.
            (LifeStage::Living(_), Some(_)) => self.stopping = Some(now()),
            _ => self.exit = Some(ExitReason::Stopped),
        }
    }

    fn tick_if_due(&mut self) -> Result<(), WardenError> {
        let at = now();
        if at < self.armed {
            return Ok(());
        }
        let late = if self.armed == Nanos(0) { Duration::ZERO } else { at.since(self.armed) };
        if late > self.config.hang_after / 2 {
            self.log.line(&format!("a tick came {} us late: this host stalls", late.as_micros()));
        }
        self.worst_tick = self.worst_tick.max(late);
        let span = at.since(self.last_tick).min(self.config.tick);
        self.last_tick = at;
        self.tick_node(at);
        self.look_at_node(at);
        // A request whose wake-up was lost with a crash of its writer is seen here at the latest.
        self.take_requests();
        self.handle(Event::Tick);
        self.links.tick(at, span);
        self.take_link_events();
        Ok(())
    }

    /// What the node's life wants from time to time.
    fn tick_node(&mut self, at: Nanos) {
        let Some(lives) = &mut self.lives else { return };
        match &mut lives.stage {
            LifeStage::Waiting { until } if at >= *until => {
                lives.stage = LifeStage::Raising;
                self.store.raise_incarnation();
            }
            LifeStage::Living(life) => {
                if !life.watched && life.died.is_none() && life.page.all_held() {
                    life.watched = true;
                    self.watch.watch(Arc::clone(&life.page));
                }
                if !life.ready && life.page.node_ready() {
                    life.ready = true;
                    let took = at.since(life.started).as_millis();
                    self.log
                        .line(&format!("node incarnation {} is ready after {took} ms", life.incarnation.0));
                }
                // Neither an orderly stop nor a process whose shards have all ended may take for ever.
                let timeout = lives.options.stop_timeout;
                let overdue = self.stopping.is_some_and(|deadline| at >= deadline)
                    || life.died.is_some_and(|died| at.since(died) >= timeout);
                if overdue && !self.killed && life.exit.is_none() {
                    self.killed = true;
                    life.child.signal(Signal::KILL);
                }
            }
            _ => {}
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        let wanted = self.brain.deadline().min(self.last_tick + self.config.tick);
        let wanted = wanted.max(self.last_tick + SHORTEST_TICK);
        if wanted != self.armed {
            self.armed = wanted;
            let value = Timespec {
                tv_sec: (wanted.0 / 1_000_000_000) as i64,
                tv_nsec: (wanted.0 % 1_000_000_000) as _,
            };
            let timer = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer)?;
        }
        Ok(())
    }

    /// Lets the last messages leave before the sockets close.
    fn linger(&mut self) {
        let end = now() + LINGER;
        let mut ready = Vec::with_capacity(BATCH);
        while !self.links.is_flushed() && now() < end {
            ready.clear();
            let pause = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
            // Failing to linger costs the peers a timeout, nothing more.
            let _ = epoll::wait(&*self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&pause));
            self.links.flush();
        }
    }
}

fn start_reset(config: &WardenConfig, reports: Reports, log: &Log) -> io::Result<Option<ResetThread>> {
    let Some(node) = &config.node else { return Ok(None) };
    let resetter = match Resetter::new(node.listens.clone()).and_then(|mut r| r.probe().map(|()| r)) {
        Ok(resetter) => resetter,
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::PermissionDenied => "CAP_NET_ADMIN is missing".to_owned(),
                io::ErrorKind::Unsupported => "the kernel lacks INET_DIAG_DESTROY".to_owned(),
                _ => error.to_string(),
            };
            log.line(&format!(
                "sockets of a dead node cannot be reset ({why}): its clients will wait until the kernel has \
                 freed its memory"
            ));
            return Ok(None);
        }
    };
    ResetThread::start(resetter, reports).map(Some)
}
