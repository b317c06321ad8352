//! Wardens and stand-in nodes as real processes: the test binary started again in another role.
//!
//! A test starts [`Warden`]s, reads what they say line by line, and waits for lines; nothing here measures
//! time against a bound but the one generous limit on waiting. Every process is killed with its handle, and
//! a stand-in node dies with its warden.

pub mod roles;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Free ports; others may take them between here and their use, which a rerun cures.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|l| l.local_addr().unwrap().port())
}

pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What a warden's process is told; a plain list of environment variables.
#[derive(Clone)]
pub struct Setup(Vec<(&'static str, String)>);

impl Setup {
    /// Warden `me` of a group with these agency ports; the last is the witness's.
    pub fn new(me: usize, agency_ports: &[u16], dir: &Path) -> Setup {
        let ports = agency_ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let dir = dir.join(me.to_string());
        Setup(vec![
            ("T_ROLE", "warden".into()),
            ("T_ME", me.to_string()),
            ("T_PORTS", ports),
            ("T_DIR", dir.to_str().unwrap().into()),
        ])
    }

    pub fn with(mut self, name: &'static str, value: impl ToString) -> Setup {
        self.0.push((name, value.to_string()));
        self
    }

    /// With a node that listens there.
    pub fn node(self, port: u16) -> Setup {
        self.with("T_NODE_PORT", port)
    }
}

/// The command that starts this very test binary in a role.
pub fn role_command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]);
    command
}

/// A warden's process and what it and its node said.
pub struct Warden {
    child: Child,
    lines: Receiver<String>,
    pub said: Vec<String>,
    /// Lines that a wait has found; each counts once.
    found: Vec<bool>,
    /// Incarnations as they were first named: in what was said they are numbered from 1.
    incarnations: Vec<String>,
}

impl Warden {
    pub fn start(setup: &Setup) -> Warden {
        let mut command = role_command();
        command.envs(setup.0.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The harness's own threads must leave SIGTERM to the warden: block it in the whole process.
        let block = || {
            // SAFETY: a local set, and a system call.
            unsafe {
                let mut set = std::mem::zeroed::<libc::sigset_t>();
                libc::sigemptyset(&mut set);
                libc::sigaddset(&mut set, libc::SIGTERM);
                libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            }
            Ok(())
        };
        // SAFETY: the closure makes one system call on a local.
        unsafe { command.pre_exec(block) };
        let mut child = command.spawn().unwrap();
        let (to_us, lines) = channel();
        collect(child.stdout.take().unwrap(), to_us.clone());
        collect(child.stderr.take().unwrap(), to_us);
        Warden { child, lines, said: Vec::new(), found: Vec::new(), incarnations: Vec::new() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `part` and was not found by an earlier wait, and gives what follows
    /// `part` in it. Log and output come by different ways: their order means nothing.
    pub fn wait_for(&mut self, part: &str) -> String {
        let give_up = Instant::now() + PATIENCE;
        let mut looked = 0;
        loop {
            for at in looked..self.said.len() {
                if let (false, Some(place)) = (self.found[at], self.said[at].find(part)) {
                    self.found[at] = true;
                    return self.said[at][place + part.len()..].trim().to_owned();
                }
            }
            looked = self.said.len();
            let left = give_up.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("never said {part:?}, but:\n{}", self.said.join("\n"));
            };
            let line = self.renumber(&line);
            self.said.push(line);
            self.found.push(false);
        }
    }

    /// Incarnations are wall times; tests name them by their order.
    fn renumber(&mut self, line: &str) -> String {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 1..words.len() {
            let named =
                matches!(words[at - 1].as_str(), "incarnation" | "started" | "died" | "hears" | "stored");
            let digits = words[at].chars().take_while(char::is_ascii_digit).count();
            if !named || digits == 0 {
                continue;
            }
            let (number, rest) = words[at].split_at(digits);
            let (number, rest) = (number.to_owned(), rest.to_owned());
            let known = self.incarnations.iter().position(|known| *known == number);
            let place = known.unwrap_or_else(|| {
                self.incarnations.push(number);
                self.incarnations.len() - 1
            });
            words[at] = format!("{}{rest}", place + 1);
        }
        words.join(" ")
    }

    /// Where in all that was said the first line with `part` is.
    pub fn place_of(&self, part: &str) -> usize {
        let place = self.said.iter().position(|l| l.contains(part));
        place.unwrap_or_else(|| panic!("did not say {part:?}, but:\n{}", self.said.join("\n")))
    }

    pub fn signal(&self, signal: i32) {
        signal_process(self.pid(), signal);
    }

    /// Waits for the process's end, which must be its own.
    pub fn wait(&mut self) -> ExitStatus {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            let line = self.renumber(&line);
            self.said.push(line);
            self.found.push(false);
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signals a process that this test started, or that a warden of it did.
pub fn signal_process(pid: u32, signal: i32) {
    // SAFETY: a system call on numbers.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0, "signal {signal} to {pid}");
}

fn collect(from: impl Read + Send + 'static, to: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
