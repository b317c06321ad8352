//! A group started by `baton start`, looked at and struck from outside.
//!
//! Everything it knows comes from where a user would look: the ready line, the status document of each node,
//! `/proc`. Dropping it ends every process it started.
//!
//! Reading order: this module (start, look, stop), [`blows`] (it is struck: [`bench::failover::Group`]),
//! [`disks`] (a file system of its own for a member), [`steady`] (it is left alone:
//! [`bench::steady::SteadyGroup`]).

mod blows;
pub mod disks;
mod steady;

use crate::processes::{self, Part};
use crate::serve::BALLAST_VARIABLE;
use crate::start::layout::LOG;
use crate::start::ready::{Ready, ReadyNode};
use crate::status;
use bench::failover::{GroupError, Standing};
use node::status::Status;
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How a group is started.
#[derive(Clone, Debug)]
pub struct Setup {
    pub binary: PathBuf,
    pub dir: PathBuf,
    pub port_base: u16,
    /// Further flags of `baton start`.
    pub flags: Vec<String>,
    /// MiB of memory that each node touches before it serves.
    pub ballast_mib: u64,
    /// Gives each data node a file system of its own, made in the group's directory; for root only.
    pub own_disks: bool,
}

impl Setup {
    /// Small segments, and dead nodes started again after 200 ms.
    pub fn new(binary: PathBuf, dir: PathBuf, port_base: u16) -> Setup {
        let flags = ["--respawn-after", "200ms", "--segment-mib", "64"].map(str::to_owned).to_vec();
        Setup { binary, dir, port_base, flags, ballast_mib: 0, own_disks: false }
    }

    /// The command that starts the group.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("start").arg("--json").arg("--dir").arg(&self.dir);
        command.arg("--port-base").arg(self.port_base.to_string()).args(&self.flags);
        if self.ballast_mib > 0 {
            command.env(BALLAST_VARIABLE, self.ballast_mib.to_string());
        }
        command.stdin(Stdio::null());
        command
    }
}

/// Longest wait for the ready line.
const READY_LIMIT: Duration = Duration::from_secs(180);
/// Longest wait for an orderly stop.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// Longest wait for one node's status.
const HTTP_LIMIT: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between two looks for the first thing that a node says.
const FIRST_LOOK_EVERY: Duration = Duration::from_millis(1);
/// So many looks in a row must agree before the group counts as at rest: what a node knows of another is
/// some heartbeats old.
const LOOKS_AT_REST: usize = 4;
/// Ports of one node that clients may be sent to: any key, and 64 shards.
const CLIENT_PORTS: u16 = 64;
/// Bytes of each log shown when something failed.
const LOG_SHOWN: usize = 6000;

/// See the module.
pub struct RunningGroup {
    setup: Setup,
    child: Child,
    ready: Ready,
    /// Nodes that were killed must come back with an incarnation above this one.
    struck: Vec<(String, u64)>,
    /// The witness's process that was killed and must have been replaced.
    struck_witness: Option<u32>,
    /// The leader that must not lead any more, after a blow that ends leadership without a death.
    deposed: Option<String>,
    /// The member that was told to stop and must be started again: `baton start` leaves it down.
    told_to_stop: Option<String>,
    /// Wardens that were started again here.
    revived: Vec<Child>,
    /// How the last blow was dealt, as far as [`bench::failover::Group::findings`] needs it.
    blow: blows::Dealt,
    /// By the name of the node that lives there. After everything that runs on them.
    disks: Vec<(String, disks::Disk)>,
}

impl RunningGroup {
    /// Starts the group and waits until it is ready.
    pub fn start(setup: Setup) -> Result<RunningGroup, GroupError> {
        let disks = if setup.own_disks { disks::for_nodes(&setup.dir, &NAMES[..2])? } else { Vec::new() };
        let (child, ready) = launch(&setup)?;
        Ok(RunningGroup {
            setup,
            child,
            ready,
            struck: Vec::new(),
            struck_witness: None,
            deposed: None,
            told_to_stop: None,
            revived: Vec::new(),
            blow: blows::Dealt::default(),
            disks,
        })
    }

    /// What it said when it was ready.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Where it lives.
    pub fn dir(&self) -> &Path {
        &self.setup.dir
    }

    /// The process id of `baton start`.
    pub fn supervisor_pid(&self) -> u32 {
        self.child.id()
    }

    /// The names of the data nodes.
    pub fn names(&self) -> Vec<String> {
        self.ready.nodes.iter().map(|n| n.name.clone()).collect()
    }

    /// `HOST:PORT` of a node's HTTP face.
    pub fn http(&self, name: &str) -> &str {
        let node = self.ready.nodes.iter().find(|n| n.name == name);
        &node.unwrap_or_else(|| panic!("no node {name}")).http
    }

    /// The place of a node among [`Group::endpoints`].
    pub fn place(&self, name: &str) -> Result<usize, GroupError> {
        let at = self.ready.nodes.iter().position(|n| n.name == name);
        at.ok_or_else(|| GroupError(format!("no node {name}")))
    }

    /// The status as one node gives it.
    pub fn status_of(&self, name: &str) -> Result<Status, GroupError> {
        let found = status::from_node(self.http(name), HTTP_LIMIT);
        found.map(|(_, status)| status).map_err(|e| GroupError(e.to_string()))
    }

    /// The status as the first node that answers gives it.
    pub fn status(&self) -> Result<Status, GroupError> {
        let mut last = GroupError("there are no nodes".to_owned());
        for node in &self.ready.nodes {
            match self.status_of(&node.name) {
                Ok(status) => return Ok(status),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The node that leads shard 0.
    pub fn leader(&self) -> Result<String, GroupError> {
        let status = self.status()?;
        let leader = status.shards.first().and_then(|s| s.serving_leader());
        leader.map(str::to_owned).ok_or_else(|| GroupError("shard 0 has no leader".to_owned()))
    }

    /// A node that does not lead shard 0.
    pub fn follower(&self) -> Result<String, GroupError> {
        let leader = self.leader()?;
        let other = self.names().into_iter().find(|name| *name != leader);
        other.ok_or_else(|| GroupError("there is one node only".to_owned()))
    }

    /// A member's configuration file.
    pub fn config_of(&self, name: &str) -> PathBuf {
        config_of(&self.setup.dir, name)
    }

    /// The process id of a part of a member.
    pub fn pid(&self, name: &str, part: Part) -> Result<u32, GroupError> {
        let found = processes::find(part, &self.config_of(name));
        found.ok_or_else(|| GroupError(format!("the {part:?} of {name} does not run")))
    }

    /// Sends a signal to a part of a member; answers the moment just before.
    pub fn signal(&self, name: &str, part: Part, signal: Signal) -> Result<Instant, GroupError> {
        let pid = self.pid(name, part)?;
        let now = Instant::now();
        send(pid, signal)?;
        Ok(now)
    }

    /// Waits until `condition` holds of the status (from any node), or says what it was last.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Status) -> bool,
    ) -> Result<Status, GroupError> {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if let Ok(status) = &status
                && condition(status)
            {
                return Ok(status.clone());
            }
            if begun.elapsed() > limit {
                return Err(GroupError(format!("{what}: not within {limit:?}; last: {status:?}")));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// An orderly stop, as by Ctrl-C.
    pub fn stop(mut self) -> Result<ExitStatus, GroupError> {
        self.stop_processes()
    }

    /// Stops it in order and starts it again on the same files. What each node said first after that, by its name.
    fn stop_and_start(&mut self) -> Result<Vec<(String, Status)>, GroupError> {
        self.stop_processes()?;
        let started = Arc::new(AtomicBool::new(false));
        let look = |node: &ReadyNode| {
            let (name, address, started) = (node.name.clone(), node.http.clone(), Arc::clone(&started));
            thread::spawn(move || Some((name, first_status(&address, &started)?)))
        };
        let looks: Vec<_> = self.ready.nodes.iter().map(look).collect();
        let launched = launch(&self.setup);
        started.store(true, Ordering::Relaxed);
        let first = looks.into_iter().map(|look| look.join().expect("looking does not panic"));
        let first = first.collect::<Option<Vec<_>>>();
        (self.child, self.ready) = launched?;
        first.ok_or_else(|| GroupError("a node that is ready gives no status".to_owned()))
    }

    fn stop_processes(&mut self) -> Result<ExitStatus, GroupError> {
        for mut warden in std::mem::take(&mut self.revived) {
            // Fails only for one that has ended already, as one that was told to stop twice has.
            let _ = send(warden.id(), Signal::TERM);
            let _ = warden.wait();
        }
        send(self.child.id(), Signal::INT)?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if let Ok(Some(status)) = self.child.try_wait() {
                return match status.success() {
                    true => Ok(status),
                    false => Err(GroupError(format!("baton start ended badly: {status}\n{}", self.logs()))),
                };
            }
            thread::sleep(LOOK_EVERY);
        }
        Err(GroupError(format!("baton start did not stop within {STOP_LIMIT:?}\n{}", self.logs())))
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        logs(&self.setup.dir)
    }

    /// Every node's view, if all answer, all agree on who leads, and nobody is missing.
    fn agreement(&self) -> Result<Vec<Status>, GroupError> {
        if let Some(old) = self.struck_witness
            && self.pid(WITNESS, Part::Warden)? == old
        {
            return Err(GroupError("the witness was not started again yet".to_owned()));
        }
        let mut views: Vec<Status> = Vec::new();
        for name in self.names() {
            let status = self.status_of(&name)?;
            if let Some(trouble) = status.troubles().first() {
                return Err(GroupError(format!("{name} says: {trouble}")));
            }
            for (struck, incarnation) in &self.struck {
                let node = status.nodes.iter().find(|n| n.name == *struck);
                if node.is_none_or(|n| n.incarnation <= *incarnation) {
                    return Err(GroupError(format!("{name} does not know that {struck} was started again")));
                }
            }
            if let Some(deposed) = &self.deposed
                && status.shards[0].leader.as_ref() == Some(deposed)
            {
                return Err(GroupError(format!("{name} still takes {deposed} for the leader")));
            }
            if let Some(first) = views.first() {
                let gist = |s: &Status| -> Vec<_> {
                    s.shards.iter().map(|s| (s.epoch, s.version, s.leader.clone())).collect()
                };
                if gist(first) != gist(&status) {
                    return Err(GroupError("the nodes do not agree yet".to_owned()));
                }
            }
            views.push(status);
        }
        Ok(views)
    }

    fn standing(&self, view: &Status) -> Result<Standing, GroupError> {
        let leader = view.shards[0].serving_leader().expect("a view without troubles has a leader");
        Ok(Standing { leader: self.place(leader)?, epochs: view.shards.iter().map(|s| s.epoch).collect() })
    }

    fn until<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut() -> Result<T, GroupError>,
    ) -> Result<T, GroupError> {
        let begun = Instant::now();
        loop {
            match look() {
                Ok(found) => return Ok(found),
                Err(error) if begun.elapsed() > limit => {
                    return Err(GroupError(format!("not within {limit:?}: {error}\n{}", self.logs())));
                }
                Err(_) => thread::sleep(LOOK_EVERY),
            }
        }
    }

    /// Starts a member again once it has stopped, as an administrator would.
    fn revive(&mut self, name: &str, limit: Duration) -> Result<(), GroupError> {
        self.until(limit, || match processes::find(Part::Warden, &self.config_of(name)) {
            Some(pid) => Err(GroupError(format!("{name} was told to stop and runs still: pid {pid}"))),
            None => Ok(()),
        })?;
        let mut command = Command::new(&self.setup.binary);
        command.arg("serve").arg("--config").arg(self.config_of(name));
        let log = fs::OpenOptions::new().append(true).open(self.setup.dir.join(name).join(LOG));
        let log = log.map_err(|error| GroupError(format!("the log of {name}: {error}")))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = crate::child::spawn(&mut command);
        self.revived.push(child.map_err(|error| GroupError(format!("cannot start {name}: {error}")))?);
        Ok(())
    }

    /// The incarnations of these nodes before they are killed.
    fn note(&mut self, names: &[&str]) -> Result<(), GroupError> {
        let status = self.status()?;
        for name in names {
            let node = status.nodes.iter().find(|n| n.name == *name);
            let node = node.ok_or_else(|| GroupError(format!("no node {name} in the status")))?;
            self.struck.push(((*name).to_owned(), node.incarnation));
        }
        Ok(())
    }
}

impl Drop for RunningGroup {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Its children get SIGTERM from the kernel, and what is left SIGKILL below.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        kill_all(&self.setup.dir);
    }
}

/// Asks a node that is being started until it answers; once after the whole group `started` at the latest.
fn first_status(address: &str, started: &AtomicBool) -> Option<Status> {
    loop {
        let last = started.load(Ordering::Relaxed);
        match status::from_node(address, HTTP_LIMIT) {
            Ok((_, status)) => return Some(status),
            Err(_) if last => return None,
            Err(_) => thread::sleep(FIRST_LOOK_EVERY),
        }
    }
}

/// Runs `baton start` and waits for its ready line.
fn launch(setup: &Setup) -> Result<(Child, Ready), GroupError> {
    let mut child = setup
        .command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| GroupError(format!("cannot start {}: {e}", setup.binary.display())))?;
    let (sender, lines) = mpsc::channel();
    let mut out = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut errors = child.stderr.take().expect("stderr is piped");
    // Both threads end when the pipes close, that is with the child.
    let complaints = thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    thread::spawn(move || {
        let mut line = String::new();
        let _ = out.read_line(&mut line);
        let _ = sender.send(line);
    });
    let line = lines.recv_timeout(READY_LIMIT).unwrap_or_default();
    match serde_json::from_str(&line) {
        Ok(ready) => Ok((child, ready)),
        Err(_) => {
            // It may have ended by itself already.
            let _ = child.kill();
            let _ = child.wait();
            kill_all(&setup.dir);
            let said = complaints.join().unwrap_or_default();
            Err(GroupError(format!("baton start was not ready: {}\n{}", said.trim(), logs(&setup.dir))))
        }
    }
}

fn send(pid: u32, signal: Signal) -> Result<(), GroupError> {
    processes::signal(pid, signal).map_err(|e| GroupError(format!("signal to {pid}: {e}")))
}

/// The name of the witness.
const WITNESS: &str = "w";
/// Members a group on one machine may have.
const NAMES: [&str; 4] = ["a", "b", "c", WITNESS];

fn config_of(dir: &Path, name: &str) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    dir.join(name).join(if name == WITNESS { "witness.toml" } else { "node.toml" })
}

/// Kills what still runs with a configuration file of this group, wardens first, and waits for its end.
fn kill_all(dir: &Path) {
    for part in [Part::Warden, Part::Node] {
        for name in NAMES {
            let begun = Instant::now();
            while let Some(pid) = processes::find(part, &config_of(dir, name)) {
                let _ = processes::signal(pid, Signal::KILL);
                if begun.elapsed() > STOP_LIMIT {
                    break;
                }
                thread::sleep(LOOK_EVERY);
            }
        }
    }
}

fn logs(dir: &Path) -> String {
    let mut all = String::new();
    for name in NAMES {
        if let Ok(text) = fs::read(dir.join(name).join(LOG)) {
            let from = text.len().saturating_sub(LOG_SHOWN);
            all.push_str(&format!("--- log of {name}\n{}\n", String::from_utf8_lossy(&text[from..])));
        }
    }
    all
}
