//! A shard's loop with a small core of the test's own, real sockets and a real ring: who comes in when, what is
//! one turn's, and what is known of a client that nobody reads from.

use agency::configuration::{Configuration, Why};
use agency::ids::{Epoch, Incarnation, Nanos, NodeId, NodeSet, Version};
use agency::shard::{RequestStatus, ShardProgress, ShardUpdate};
use engine::disk::{DiskCommand, DiskDone, DiskError, DiskWork};
use engine::io::medium::Carrier;
use engine::io::ring::{LogMemory, RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};
use engine::memory::{AlignedBlocks, MirrorBuffer};
use node::events::{Command, ConnId, Event, Face, Lease, Part};
use rustix::event::{EventfdFlags, eventfd};
use server::control::Desk;
use server::descriptors::{Descriptors, PER_SHARD, RESERVE};
use server::post::Post;
use server::process::Process;
use server::shard_loop::core::Core;
use server::shard_loop::sockets::{self, Kind};
use server::shard_loop::{self, DiskSetup, Door, Greeting, ROLE_PATIENCE, Setup, TURN_COMPLETIONS};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use warden::page::SharedPage;

const PATIENCE: Duration = Duration::from_secs(20);
/// What the ring's buffers hold, of all clients together: what is in them when a client is paused still comes.
const RECEIVE_BYTES: u64 = (RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES) as u64;

/// What the core saw, for the test to look at.
#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    opened: AtomicUsize,
    half_closed: AtomicUsize,
    closed: AtomicUsize,
    /// Most events between two ends of turns.
    most_events: AtomicUsize,
    written: Mutex<Vec<DiskDone>>,
}

/// Answers each `*` with `+OK`, stops reading from whoever says `P` and goes on reading when it says nothing for
/// long, writes a block at a `W`.
#[derive(Default)]
struct Small {
    seen: Arc<Seen>,
    events: usize,
    replies: BTreeMap<ConnId, Vec<u8>>,
    sending: Vec<ConnId>,
    paused: Vec<ConnId>,
}

impl Core for Small {
    fn handle(&mut self, _now: Nanos, event: Event<'_>, out: &mut Vec<Command>) {
        self.events += 1;
        match event {
            Event::ClientOpened { .. } => drop(self.seen.opened.fetch_add(1, SeqCst)),
            Event::ClientBytes { conn, bytes } => {
                self.seen.bytes.fetch_add(bytes.len() as u64, SeqCst);
                for byte in bytes {
                    match byte {
                        b'*' => self.replies.entry(conn).or_default().extend(b"+OK\r\n"),
                        b'P' if !self.paused.contains(&conn) => {
                            self.paused.push(conn);
                            out.push(Command::ClientPause { conn, paused: true });
                        }
                        b'U' => {
                            for conn in self.paused.drain(..) {
                                out.push(Command::ClientPause { conn, paused: false });
                            }
                        }
                        b'W' => {
                            let work = DiskWork::Pulse { bytes: AlignedBlocks::zeroed(4096) };
                            out.push(Command::Disk(DiskCommand { ticket: 7, work }));
                        }
                        _ => {}
                    }
                }
            }
            Event::ClientSent { conn } => self.sending.retain(|other| *other != conn),
            Event::ClientHalfClosed { .. } => drop(self.seen.half_closed.fetch_add(1, SeqCst)),
            Event::ClientClosed { conn } => {
                self.seen.closed.fetch_add(1, SeqCst);
                self.replies.remove(&conn);
                self.paused.retain(|other| *other != conn);
            }
            Event::Disk(done) => self.seen.written.lock().unwrap().push(done),
            _ => {}
        }
    }

    fn finish_turn(&mut self, _now: Nanos, _wall_ms: u64, _lease: Lease, out: &mut Vec<Command>) {
        self.seen.most_events.fetch_max(std::mem::take(&mut self.events), SeqCst);
        for (conn, bytes) in self.replies.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            if !self.sending.contains(conn) {
                self.sending.push(*conn);
                out.push(Command::ClientSend {
                    conn: *conn,
                    parts: vec![Part::Owned(std::mem::take(bytes))],
                });
            }
        }
    }

    fn deadline(&self) -> Nanos {
        Nanos(u64::MAX)
    }

    fn progress(&self) -> ShardProgress {
        ShardProgress::default()
    }
}

struct Running {
    seen: Arc<Seen>,
    address: SocketAddr,
    page: Arc<SharedPage>,
    process: Process,
    post: Post,
    bell: OwnedFd,
    _thread: JoinHandle<()>,
}

fn start(descriptors: usize) -> Running {
    let (post, mut mailboxes) = Post::new(1).unwrap();
    let (page, _fd) = SharedPage::create(1, Incarnation(1)).unwrap();
    let page = Arc::new(page);
    // The thread keeps its lock in the page for ever.
    std::mem::forget(Arc::clone(&page));
    let process = Process::start(std::io::stderr(), Descriptors::new(descriptors, 1)).unwrap();
    let socket = sockets::claim(([127, 0, 0, 1], 0).into(), Kind::Client, false).unwrap();
    let address = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let seen = Arc::<Seen>::default();
    let core = Small { seen: Arc::clone(&seen), ..Small::default() };
    let (mailbox, warden_bell) = (mailboxes.remove(0), rustix::io::dup(&bell).unwrap());
    let (its_page, its_process) = (Arc::clone(&page), process.clone());
    let thread = std::thread::spawn(move || {
        let buffer = MirrorBuffer::new(1 << 20).unwrap();
        let setup = Setup {
            listeners: vec![(Door::Clients(Face::Shard), socket)],
            greeting: Greeting { header_bytes: 64, shard_of: |_| None },
            peers: Vec::new(),
            max_clients: 10_000,
            // SAFETY: the buffer lives until the loop has ended and the ring is gone.
            log: unsafe { LogMemory::of(&buffer) },
            disk: DiskSetup {
                segments: Vec::new(),
                pulse: tempfile::tempfile().unwrap().into(),
                carrier: Carrier::Worker,
                run_cold: Box::new(|op| {
                    (None, DiskDone { ticket: op.ticket, result: Err(DiskError::NoSpace) })
                }),
            },
            mailbox,
            page: its_page,
            process: its_process,
            place: Arc::default(),
            desk: Desk::unattended(),
            warden_bell,
            wake_warden: Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap()),
        };
        shard_loop::run(core, setup, || ()).unwrap();
    });
    Running { seen, address, page, process, post, bell, _thread: thread }
}

impl Running {
    fn refuses(&self) -> bool {
        TcpStream::connect(self.address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    }

    fn tell_role(&self) {
        let update = ShardUpdate {
            configuration: Configuration {
                epoch: Epoch(1),
                version: Version(1),
                leader: NodeId(0),
                leader_incarnation: Incarnation(1),
                in_sync: NodeSet::of(&[NodeId(0)]),
                members: NodeSet::of(&[NodeId(0)]),
                why: Why::Founded,
                at_ms: 0,
            },
            request: 0,
            outcome: RequestStatus::None,
            leader_lost: false,
        };
        self.page.shard(agency::ids::ShardId(0)).set_update(&update);
        rustix::io::write(&self.bell, &1u64.to_ne_bytes()).unwrap();
    }

    /// Ready, and with a role.
    fn serve(self) -> Running {
        self.page.set_node_ready();
        self.tell_role();
        wait_for("the door", || !self.refuses());
        // Whoever found it open has left again.
        wait_for("nobody", || self.seen.opened.load(SeqCst) == 1 && self.seen.closed.load(SeqCst) == 1);
        self
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"*").unwrap();
    let mut reply = [0; 64];
    let len = client.read(&mut reply).unwrap();
    String::from_utf8_lossy(&reply[..len]).into_owned()
}

#[test]
fn nobody_comes_in_before_the_shard_is_ready_and_knows_its_role() {
    let running = start(10_000);
    std::thread::sleep(Duration::from_millis(50));
    assert!(running.refuses(), "the node is not ready");
    running.page.set_node_ready();
    std::thread::sleep(Duration::from_millis(50));
    assert!(running.refuses(), "it does not know its role");
    let before = Instant::now();
    running.tell_role();
    wait_for("the door", || !running.refuses());
    assert!(before.elapsed() < ROLE_PATIENCE / 2);
    assert_eq!(ask(&mut running.connect()), "+OK\r\n");
}

#[test]
fn without_a_role_they_come_in_in_the_end() {
    let running = start(10_000);
    let before = Instant::now();
    running.page.set_node_ready();
    wait_for("the door", || !running.refuses());
    assert!(before.elapsed() >= ROLE_PATIENCE);
}

#[test]
fn an_orderly_stop_begins_with_the_door() {
    let running = start(10_000).serve();
    let mut client = running.connect();
    assert_eq!(ask(&mut client), "+OK\r\n");
    running.post.stop_all();
    wait_for("the door is shut", || running.refuses());
    assert_eq!(ask(&mut client), "+OK\r\n", "who is in stays in");
}

#[test]
fn a_flood_of_connections_comes_in_bit_by_bit() {
    const CLIENTS: usize = 3000;
    let limit = server::descriptors::raise(rustix::process::Resource::Nofile).unwrap_or(1 << 20);
    let clients = CLIENTS.min((limit as usize - 200) / 2);
    let running = start(100_000).serve();
    let word = || running.page.shard(agency::ids::ShardId(0)).progress().turns;
    let before = word();
    let mut all: Vec<TcpStream> = (0..clients).map(|_| running.connect()).collect();
    for client in &mut all {
        client.write_all(b"*").unwrap();
    }
    for client in &mut all {
        let mut reply = [0; 5];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+OK\r\n");
    }
    assert!(running.seen.opened.load(SeqCst) >= clients);
    let most = running.seen.most_events.load(SeqCst);
    assert!(most <= TURN_COMPLETIONS + 8, "{most} events in a turn");
    assert!(word() >= before + 2 * clients as u64, "the progress word moves with every event");
}

#[test]
fn clients_never_get_the_last_descriptors() {
    let running = start(RESERVE + PER_SHARD + 3).serve();
    let mut inside: Vec<TcpStream> = (0..3).map(|_| running.connect()).collect();
    for client in &mut inside {
        assert_eq!(ask(client), "+OK\r\n");
    }
    let mut refused = String::new();
    running.connect().read_to_string(&mut refused).unwrap();
    assert_eq!(refused, "-ERR max number of clients reached\r\n");
    assert_eq!(running.process.descriptors.refused_so_far(), 1);
    inside.pop();
    wait_for("a place", || ask(&mut running.connect()) == "+OK\r\n");
}

#[test]
fn of_a_paused_client_it_is_known_when_it_closes() {
    let running = start(10_000).serve();
    let (before, base) = (running.seen.closed.load(SeqCst), running.seen.bytes.load(SeqCst));
    let mut client = running.connect();
    client.write_all(b"P").unwrap();
    wait_for("the pause", || running.seen.bytes.load(SeqCst) == base + 1);
    std::thread::sleep(Duration::from_millis(20));
    // Nobody reads them, so the end behind them does not come by reading.
    client.write_all(b"****").unwrap();
    assert_eq!(running.seen.half_closed.load(SeqCst), 0);
    drop(client);
    wait_for("the end", || running.seen.half_closed.load(SeqCst) == 1);
    assert_eq!(running.seen.bytes.load(SeqCst), base + 1, "it is left unread");
    assert_eq!(running.seen.closed.load(SeqCst), before);
    // Read on, it is seen to the end.
    running.connect().write_all(b"U").unwrap();
    wait_for("its last bytes", || running.seen.bytes.load(SeqCst) == base + 6);
    wait_for("its close", || running.seen.closed.load(SeqCst) > before);
}

#[test]
fn a_paused_client_that_is_reset_is_gone_at_once() {
    let running = start(10_000).serve();
    let before = running.seen.closed.load(SeqCst);
    let mut client = running.connect();
    client.write_all(b"P").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    client.write_all(b"****").unwrap();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    wait_for("its close", || running.seen.closed.load(SeqCst) == before + 1);
    assert_eq!(running.seen.half_closed.load(SeqCst), 0);
}

#[test]
fn a_paused_client_that_floods_is_left_unread() {
    let running = start(10_000).serve();
    let mut client = running.connect();
    client.write_all(b"P").unwrap();
    client.set_nonblocking(true).unwrap();
    let (chunk, start) = (vec![b'.'; 1 << 20], Instant::now());
    let mut taken = 0;
    while start.elapsed() < Duration::from_millis(300) {
        match client.write(&chunk) {
            Ok(len) => taken += len,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let read = running.seen.bytes.load(SeqCst);
    assert!(taken as u64 > read, "the kernel holds the rest");
    assert!(read <= RECEIVE_BYTES, "{read} bytes were read of a client that is paused");
}

#[test]
fn a_worker_writes_to_a_file() {
    let running = start(10_000).serve();
    running.connect().write_all(b"W").unwrap();
    wait_for("the write", || !running.seen.written.lock().unwrap().is_empty());
    let done = running.seen.written.lock().unwrap().remove(0);
    assert_eq!((done.ticket, done.result), (7, Ok(())));
}
