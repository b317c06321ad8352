//! The shard loop by itself: answers every line with `+OK`, one shard, no disk, no replication. What
//! remains is the price of the loop: run `redis-benchmark -p PORT -t set` against it, and
//! `strace -f -c -p PID` beside it.
//!
//! `cargo run --release -p baton-net --example echo -- PORT`

use agency::ids::{Incarnation, Nanos};
use agency::shard::ShardProgress;
use engine::disk::{DiskDone, DiskError};
use engine::io::medium::Carrier;
use engine::io::ring::LogMemory;
use engine::memory::MirrorBuffer;
use glommio::{LocalExecutorBuilder, Placement};
use node::events::{Command, ConnId, Event, Face, Lease, Part};
use server::control::Desk;
use server::descriptors::Descriptors;
use server::post::Post;
use server::process::Process;
use server::shard_loop::core::Core;
use server::shard_loop::{self, DiskSetup, Door, Greeting, Setup, sockets};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use warden::page::SharedPage;

#[derive(Default)]
struct Echo {
    replies: BTreeMap<ConnId, Vec<u8>>,
    sending: BTreeSet<ConnId>,
}

impl Core for Echo {
    fn handle(&mut self, _now: Nanos, event: Event<'_>, _out: &mut Vec<Command>) {
        match event {
            Event::ClientBytes { conn, bytes } => {
                let commands = bytes.iter().filter(|byte| **byte == b'*').count();
                self.replies.entry(conn).or_default().extend(b"+OK\r\n".repeat(commands));
            }
            Event::ClientSent { conn } => {
                self.sending.remove(&conn);
            }
            Event::ClientClosed { conn } => {
                self.sending.remove(&conn);
                self.replies.remove(&conn);
            }
            _ => {}
        }
    }

    fn finish_turn(&mut self, _now: Nanos, _wall_ms: u64, _lease: Lease, out: &mut Vec<Command>) {
        for (conn, bytes) in self.replies.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            if self.sending.insert(*conn) {
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

fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("which port?")?.parse()?;
    let (_post, mut mailboxes) = Post::new(1)?;
    let (page, _fd) = SharedPage::create(1, Incarnation(1))?;
    let page = Arc::new(page);
    let ready = Arc::clone(&page);
    let buffer = MirrorBuffer::new(1 << 20)?;
    let eventfd = || rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
    let setup = Setup {
        listeners: vec![(
            Door::Clients(Face::Shard),
            sockets::claim(([127, 0, 0, 1], port).into(), sockets::Kind::Client, true)?,
        )],
        greeting: Greeting { header_bytes: 64, shard_of: |_| None },
        peers: Vec::new(),
        max_clients: 1000,
        // SAFETY: the buffer lives to the end of `main`, which waits for the shard's thread.
        log: unsafe { LogMemory::of(&buffer) },
        disk: DiskSetup {
            segments: Vec::new(),
            pulse: std::fs::File::open("/dev/null")?.into(),
            carrier: Carrier::Submitter,
            run_cold: Box::new(|op| (None, DiskDone { ticket: op.ticket, result: Err(DiskError::NoSpace) })),
        },
        mailbox: mailboxes.remove(0),
        process: Process::start(std::io::stderr(), Descriptors::new(10_000, 1))?,
        place: Arc::default(),
        page,
        desk: Desk::unattended(),
        warden_bell: eventfd()?,
        wake_warden: Arc::new(eventfd()?),
    };
    println!("pid {} port {port}", std::process::id());
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("baton-shard-0")
        .spawn(
            move || async move { shard_loop::run(Echo::default(), setup, move || ready.set_node_ready()) },
        )?
        .join()??;
    Ok(())
}
