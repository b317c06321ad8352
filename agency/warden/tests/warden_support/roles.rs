//! The roles that the test binary plays when a test starts it again: a warden, or its stand-in node.

use agency::error::ImageError;
use agency::events::{Command, Event};
use agency::ids::{Incarnation, Nanos, NodeId, NodeSet, ShardId};
use agency::message::Message;
use agency::overseer::{Overseer, OverseerOptions};
use agency::shard::{Health, ShardProgress, Standing};
use agency::timing::Timing;
use agency::view::ClusterView;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};
use warden::page::{Attached, ChildFds};
use warden::{Brain, NodeOptions, Peer, Spawn, Start, WardenConfig, now, run};

const SHARDS: u16 = 2;
/// Ticks without a move after which the scripted brain wants its node killed.
const STILL_TICKS: u32 = 5;

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

fn say(line: &str) {
    // On a line of its own: the harness leaves one unfinished.
    println!("\n@ {line}");
}

/// Plays the role that the environment names, if it names one.
pub fn play() {
    match std::env::var("T_ROLE").as_deref() {
        Ok("warden") => warden(),
        Ok("node") => node(),
        _ => {}
    }
}

/// Identity of the disk: what the test wrote into the directory, else one of its own.
fn disk_id() -> std::io::Result<u128> {
    let dir = std::path::PathBuf::from(std::env::var("T_DIR").unwrap());
    match std::fs::read_to_string(dir.join("disk")) {
        Ok(text) => text.trim().parse().map_err(std::io::Error::other),
        Err(_) => Ok(variable::<u128>("T_ME").unwrap() + 1),
    }
}

fn warden() {
    let me: u8 = variable("T_ME").unwrap();
    let ports: Vec<u16> = std::env::var("T_PORTS").unwrap().split(',').map(|p| p.parse().unwrap()).collect();
    let peers = (0..).zip(&ports).filter(|(id, _)| *id != me);
    let node_port: Option<u16> = variable("T_NODE_PORT");
    let timing = Timing::default();
    let group = variable("T_GROUP").unwrap_or(77);
    let config = WardenConfig {
        name: format!("w{me}"),
        me: NodeId(me),
        group,
        shards: SHARDS,
        listen: super::local(ports[usize::from(me)]),
        peers: peers
            .map(|(id, port)| Peer { id: NodeId(id), name: format!("w{id}"), address: super::local(*port) })
            .collect(),
        dir: std::env::var("T_DIR").unwrap().into(),
        tick: timing.tick,
        hang_after: timing.hang_after,
        node: node_port.map(|port| NodeOptions {
            listens: vec![super::local(port)],
            respawn_after: variable("T_RESPAWN_MS").map(Duration::from_millis),
            stop_timeout: Duration::from_secs(10),
        }),
    };
    let spawn: Option<Spawn> = node_port.map(|_| -> Spawn {
        Box::new(|incarnation, _| {
            let mut command = super::role_command();
            command.env("T_ROLE", "node").env("T_INCARNATION", incarnation.0.to_string());
            Ok(Start { command, disk_id: Box::new(disk_id) })
        })
    });
    let data_nodes = NodeSet((1u8 << (ports.len() - 1)) - 1);
    let result = if std::env::var("T_BRAIN").as_deref() == Ok("overseer") {
        let options = OverseerOptions {
            me: NodeId(me),
            data_nodes,
            agents: data_nodes.with(NodeId(ports.len() as u8 - 1)),
            shards: SHARDS,
            timing,
            witness: node_port.is_none(),
            initial_leaders: vec![NodeId(0); usize::from(SHARDS)],
            prefer_leader: None,
            warden_pid: std::process::id(),
            group,
            disk_id: disk_id().unwrap(),
        };
        let make = |image: Option<&[u8]>, now| Overseer::new(options, image, now).map(Talking);
        run(config, make, spawn)
    } else {
        let script = Script {
            peers: config.peers.iter().map(|p| p.id).collect(),
            turns: Vec::new(),
            still: 0,
            life: Incarnation(0),
            beat: Nanos(0),
            now: Nanos(0),
        };
        run(config, |_, _| Ok::<_, ImageError>(script), spawn)
    };
    match result {
        Ok(reason) => say(&format!("warden ends {reason:?}")),
        Err(error) => {
            say(&format!("warden fails: {error}"));
            std::process::exit(1);
        }
    }
}

/// A brain that tells what happens, tells its peers of deaths, and kills a node that stands still.
struct Script {
    peers: Vec<NodeId>,
    turns: Vec<u64>,
    still: u32,
    life: Incarnation,
    beat: Nanos,
    now: Nanos,
}

impl Brain for Script {
    fn handle(&mut self, now: Nanos, _wall_ms: u64, event: Event, out: &mut Vec<Command>) {
        self.now = now;
        let to_all = |message: Message| self.peers.iter().map(move |p| Command::Send(*p, message.clone()));
        match event {
            Event::Tick if now.since(self.beat) >= Duration::from_millis(10) => {
                self.beat = now;
                out.extend(to_all(Message::Pull(vec![])));
            }
            Event::LinkUp(peer) => say(&format!("up {}", peer.0)),
            Event::LinkDown(peer) => say(&format!("down {}", peer.0)),
            Event::Message(peer, Message::Died { incarnation, .. }) => {
                say(&format!("hears {} of {} died", incarnation.0, peer.0));
            }
            Event::NodeStarted { incarnation, pid, disk_id } => {
                (self.life, self.still) = (incarnation, 0);
                out.push(Command::Store { ticket: incarnation.0, image: vec![1; 3000] });
                say(&format!("started {} as {pid}", incarnation.0));
                say(&format!("disk {disk_id}"));
            }
            Event::DataLossAccepted => say("the loss is accepted"),
            Event::Stored(ticket) => say(&format!("stored {ticket}")),
            Event::NodeDied(incarnation) => {
                out.extend(to_all(Message::Died { incarnation, hung: false }));
                say(&format!("died {}", incarnation.0));
            }
            Event::Progress(shards) => {
                let turns: Vec<u64> = shards.iter().map(|s| s.turns).collect();
                let ready = shards.iter().all(|s| s.health == Health::Ready);
                let hangs = |s: &ShardProgress| !matches!(s.standing, Standing::Working | Standing::Starved);
                let still = turns == self.turns && ready && shards.iter().all(hangs);
                self.still = if still { self.still + 1 } else { 0 };
                self.turns = turns;
                if self.still == STILL_TICKS {
                    out.push(Command::KillNode(self.life));
                }
            }
            _ => {}
        }
    }
    fn deadline(&self) -> Nanos {
        self.now + Duration::from_millis(5)
    }
    fn view(&self) -> ClusterView {
        ClusterView::default()
    }
    fn view_changed(&mut self) -> bool {
        false
    }
}

/// The real brain, and what it publishes said aloud.
struct Talking(Overseer);

impl Brain for Talking {
    fn handle(&mut self, now_: Nanos, wall_ms: u64, event: Event, out: &mut Vec<Command>) {
        if let Event::NodeDied(incarnation) = &event {
            say(&format!("died {} at {}", incarnation.0, now_.0));
        }
        if let Event::NodeStarted { incarnation, pid, .. } = &event {
            say(&format!("started {} as {pid}", incarnation.0));
        }
        let before = out.len();
        self.0.handle(now_, wall_ms, event, out);
        for command in &out[before..] {
            if let Command::Publish(shard, update) = command {
                let c = update.configuration;
                let (epoch, leader, at) = (c.epoch.0, c.leader.0, now().0);
                say(&format!(
                    "shard {} epoch {epoch} leader {leader} in_sync {:?} at {at}",
                    shard.0, c.in_sync
                ));
            }
        }
    }
    fn deadline(&self) -> Nanos {
        self.0.deadline()
    }
    fn view(&self) -> ClusterView {
        self.0.view()
    }
    fn view_changed(&mut self) -> bool {
        self.0.view_changed()
    }
}

/// What a client told the shards' threads to do instead of moving.
static ORDER: AtomicU8 = AtomicU8::new(0);
const WORK: u8 = 1;
const SLEEP: u8 = 2;
/// How long they do: far longer than a hang, far shorter than the longest work.
const LONG: Duration = Duration::from_millis(600);

/// Uses a CPU without taking a step.
fn work() {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
    if ORDER.swap(0, Relaxed) == WORK {
        say("node has worked");
    }
}

extern "C" fn leave(_signal: i32) {
    // SAFETY: ends the process at once; allowed in a signal handler.
    unsafe { libc::_exit(0) }
}

/// A stand-in node: holds its locks, moves its progress, takes connections. A client's byte makes it end, `q` in
/// order, `f` with last words; or stand still, `w` at work, `s` asleep.
fn node() {
    let handler = leave as extern "C" fn(i32);
    // SAFETY: the handler only ends the process.
    unsafe { libc::signal(libc::SIGTERM, handler as libc::sighandler_t) };
    if std::env::var_os("T_FORGETS_WARDEN").is_some() {
        // What the kernel does when a program with file capabilities is loaded.
        // SAFETY: a system call on numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    }
    let Attached { page, wake_shards, wake_warden: _wake } = ChildFds::from_env().unwrap().attach().unwrap();
    let page = Arc::new(page);
    let memory = vec![1u8; variable::<usize>("T_MIB").unwrap_or(1) << 20];
    let all_held = Arc::new(Barrier::new(wake_shards.len() + 1));
    for (shard, wake) in (0..).map(ShardId).zip(wake_shards) {
        let (page, all_held) = (Arc::clone(&page), Arc::clone(&all_held));
        std::thread::spawn(move || {
            let area = page.shard(shard);
            area.hold_alive();
            all_held.wait();
            let (mut turns, mut seen) = (0, 0);
            loop {
                turns += 1;
                match ORDER.load(Relaxed) {
                    WORK => work(),
                    SLEEP => std::thread::sleep(LONG),
                    _ => {}
                }
                area.set_progress(&ShardProgress { turns, health: Health::Ready, ..Default::default() });
                let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                if poll(&mut [PollFd::new(&wake, PollFlags::IN)], Some(&pause)).unwrap() > 0 {
                    rustix::io::read(&wake, &mut [0; 8]).unwrap();
                    if let Some(update) = area.update(&mut seen) {
                        say(&format!("node sees shard {} epoch {}", shard.0, update.configuration.epoch.0));
                    }
                }
                if turns % 10 == 0 && area.lease().1 > now() && seen != u64::MAX {
                    say(&format!("node leads shard {} epoch {}", shard.0, area.lease().0.0));
                    seen = u64::MAX;
                }
            }
        });
    }
    all_held.wait();
    let listener = TcpListener::bind(super::local(variable("T_NODE_PORT").unwrap())).unwrap();
    page.set_node_ready();
    say(&format!("node ready, {} MiB", memory.len() >> 20));
    for stream in listener.incoming() {
        let (mut stream, page) = (stream.unwrap(), Arc::clone(&page));
        std::thread::spawn(move || {
            let mut byte = [0];
            while stream.read(&mut byte).is_ok_and(|n| n == 1) {
                match byte[0] {
                    b'q' => {
                        page.set_node_stopping();
                        std::process::exit(0);
                    }
                    b'w' => ORDER.store(WORK, Relaxed),
                    b's' => ORDER.store(SLEEP, Relaxed),
                    b'f' => {
                        page.fail("the disk is on fire");
                        std::process::abort();
                    }
                    _ => say("node hears a client"),
                }
            }
        });
    }
}
