//! The disk of one shard thread: hot operations by the ring, cold ones by a helper thread.
//!
//! Promises one `Event::Disk` or `Event::ReadDone` per operation, and that the shard thread never waits for
//! a device or a file system. A write that ends short is a failed write. Want of descriptors is no failure of
//! the disk: the helper thread tries again.

use super::Op;
use super::discard::Discard;
use crate::notices::{About, Notices};
use crate::post::{Parcel, Post};
use crate::process::Process;
use engine::disk::{DiskCommand, DiskDone, DiskError, DiskWork, ReadSpec};
use engine::ids::{SegmentId, ShardId};
use engine::io::medium::Carrier;
use engine::io::ring::{Completion, Lent, Ring, WriteWay};
use engine::memory::AlignedBlocks;
use node::events::{Event, LinkId};
use std::collections::HashMap;
use std::io;
use std::net::ToSocketAddrs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Buffers for reads that are kept for the next.
const SPARE_READS: usize = 32;
/// Larger ones are not kept: a piece of a large value, and the blocks in which it begins and ends.
const SPARE_READ_BYTES: usize = (256 << 10) + 2 * 4096;
/// How long a cold operation that finds no free descriptor tries again, and how often.
const DESCRIPTOR_PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(10));

/// Carries out one cold operation, blocking: the engine's `io::cold`.
pub type RunCold = Box<dyn FnMut(&DiskCommand) -> (Option<(SegmentId, OwnedFd)>, DiskDone) + Send>;

/// The files of a shard and how to write them.
pub struct DiskSetup {
    /// Open segments.
    pub segments: Vec<(SegmentId, OwnedFd)>,
    /// The file `pulse`.
    pub pulse: OwnedFd,
    /// Which thread carries writes into these files.
    pub carrier: Carrier,
    /// What the helper thread runs.
    pub run_cold: RunCold,
}

pub(super) enum Job {
    Disk(DiskCommand),
    Resolve { link: LinkId, host: String, port: u16 },
}

pub(super) struct Disk {
    segments: HashMap<SegmentId, OwnedFd>,
    pulse: OwnedFd,
    carrier: Carrier,
    discard: Discard,
    helper: Sender<Job>,
    spare: Vec<AlignedBlocks>,
}

impl Disk {
    /// Take over the files and start the helper thread, which ends with this value.
    pub(super) fn start(setup: DiskSetup, shard: ShardId, post: Post, process: &Process) -> io::Result<Disk> {
        let (helper, jobs) = channel();
        let (mut run_cold, notices) = (setup.run_cold, process.notices.clone());
        std::thread::Builder::new().name(format!("baton-cold-{}", shard.0)).spawn(move || {
            for job in jobs {
                let parcel = match job {
                    Job::Disk(op) => {
                        let (file, done) = run_patiently(&mut run_cold, &op, &notices);
                        Parcel::Cold { done, file }
                    }
                    Job::Resolve { link, host, port } => {
                        let address = (host.as_str(), port).to_socket_addrs().ok().and_then(|mut a| a.next());
                        Parcel::Resolved { link, address }
                    }
                };
                post.send(shard, parcel);
            }
        })?;
        let segments = setup.segments.into_iter().collect();
        let (discard, spare) = (process.discard.clone(), Vec::new());
        Ok(Disk { segments, pulse: setup.pulse, carrier: setup.carrier, discard, helper, spare })
    }

    /// How many segments' files are open.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Look up a host's name off this thread.
    pub(super) fn resolve(&self, link: LinkId, host: &str, port: u16) {
        self.to_helper(Job::Resolve { link, host: host.to_owned(), port });
    }

    fn to_helper(&self, job: Job) {
        self.helper.send(job).expect("the helper thread lives as long as its queue");
    }

    /// Start an operation. An operation on a file that is not there has failed: its answer is returned.
    pub(super) fn start_op(&mut self, ring: &mut Ring<Op>, op: DiskCommand) -> Option<DiskDone> {
        let ticket = op.ticket;
        let unknown = Some(DiskDone { ticket, result: Err(DiskError::Failed { errno: libc::EBADF }) });
        let way = WriteWay { durable: true, carrier: self.carrier };
        match op.work {
            DiskWork::WriteLog { segment, offset, range } => {
                let Some(file) = self.segments.get(&segment) else { return unknown };
                let token = Op::Disk { ticket, wanted: range.len as i32 };
                ring.write_log(file.as_raw_fd(), offset, range.start.0, range.len, way, token);
            }
            DiskWork::WriteBlocks { segment, offset, bytes } => {
                let Some(file) = self.segments.get(&segment) else { return unknown };
                let token = Op::Disk { ticket, wanted: bytes.len() as i32 };
                ring.write_blocks(file.as_raw_fd(), offset, bytes, way, token);
            }
            DiskWork::Pulse { bytes } => {
                let token = Op::Disk { ticket, wanted: bytes.len() as i32 };
                let way = WriteWay { durable: false, ..way };
                ring.write_blocks(self.pulse.as_raw_fd(), 0, bytes, way, token);
            }
            DiskWork::PrepareSegment { .. } | DiskWork::SaveRewound { .. } => self.to_helper(Job::Disk(op)),
            DiskWork::Cut { ref remove, .. } => {
                for segment in remove {
                    self.segments.remove(segment);
                }
                self.to_helper(Job::Disk(op));
            }
        }
        None
    }

    /// A file that the helper thread made.
    pub(super) fn add_segment(&mut self, segment: SegmentId, file: OwnedFd) {
        self.segments.insert(segment, file);
    }

    /// The kernel's word on [`Op::Disk`].
    pub(super) fn written(ticket: u64, wanted: i32, result: i32) -> DiskDone {
        let result = match result {
            result if result == wanted => Ok(()),
            error if error == -libc::ENOSPC || error == -libc::EDQUOT => Err(DiskError::NoSpace),
            error if error < 0 => Err(DiskError::Failed { errno: -error }),
            _ => Err(DiskError::Failed { errno: libc::EIO }),
        };
        DiskDone { ticket, result }
    }

    /// Start a read. `false` if the segment is not there.
    pub(super) fn start_read(&mut self, ring: &mut Ring<Op>, ticket: u64, spec: ReadSpec) -> bool {
        let Some(file) = self.segments.get(&spec.segment) else { return false };
        let len = spec.len as usize;
        let blocks = match self.spare.iter().position(|blocks| blocks.len() == len) {
            Some(place) => self.spare.swap_remove(place),
            None => AlignedBlocks::zeroed(len),
        };
        ring.read_blocks(file.as_raw_fd(), spec.offset, blocks, Op::Read { ticket, wanted: spec.len });
        true
    }

    /// The kernel's word on [`Op::Read`].
    pub(super) fn read(
        &mut self,
        ticket: u64,
        wanted: u32,
        completion: Completion<Op>,
        deliver: &mut dyn FnMut(Event<'_>),
    ) {
        let Lent::Blocks(blocks) = completion.lent else { return };
        let whole = completion.result == wanted as i32;
        deliver(Event::ReadDone { ticket, bytes: whole.then(|| &blocks.as_slice()[..wanted as usize]) });
        if self.spare.len() < SPARE_READS && blocks.len() <= SPARE_READ_BYTES {
            self.spare.push(blocks);
        } else {
            self.discard.blocks(blocks);
        }
    }
}

/// Carry out a cold operation, again and again while the process has no descriptor for it. Where that lasts, a
/// segment cannot be prepared for want of room: the shard asks again later.
fn run_patiently(
    run_cold: &mut RunCold,
    op: &DiskCommand,
    notices: &Notices,
) -> (Option<(SegmentId, OwnedFd)>, DiskDone) {
    let start = Instant::now();
    loop {
        let (file, done) = run_cold(op);
        match done.result {
            Err(DiskError::Failed { errno: libc::EMFILE | libc::ENFILE }) => {}
            _ => return (file, done),
        }
        if start.elapsed() < DESCRIPTOR_PATIENCE.0 {
            std::thread::sleep(DESCRIPTOR_PATIENCE.1);
            continue;
        }
        notices
            .say(About::Descriptors, "no free descriptor for a file of the log: raise the limit (ulimit -n)");
        return match op.work {
            DiskWork::PrepareSegment { .. } => {
                (None, DiskDone { ticket: op.ticket, result: Err(DiskError::NoSpace) })
            }
            _ => (file, done),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(failures: usize) -> (usize, DiskDone) {
        let tried = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&tried);
        let mut run_cold: RunCold = Box::new(move |op| {
            let nth = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let failed = Err(DiskError::Failed { errno: libc::EMFILE });
            (None, DiskDone { ticket: op.ticket, result: if nth < failures { failed } else { Ok(()) } })
        });
        let notices = Notices::start(std::io::sink()).unwrap();
        let op = DiskCommand { ticket: 5, work: DiskWork::PrepareSegment { segment: SegmentId(1) } };
        let (_, done) = run_patiently(&mut run_cold, &op, &notices);
        (tried.load(std::sync::atomic::Ordering::Relaxed), done)
    }

    #[test]
    fn want_of_descriptors_is_no_failure_of_the_disk() {
        let (tried, done) = run(3);
        assert_eq!((tried, done.ticket, done.result), (4, 5, Ok(())));
        let (_, done) = run(usize::MAX);
        assert_eq!((done.ticket, done.result), (5, Err(DiskError::NoSpace)));
    }
}
