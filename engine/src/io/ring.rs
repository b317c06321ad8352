//! One io_uring ring: everything hot that a shard thread asks of the kernel, with one system call per turn.
//!
//! Promises:
//! * Memory lent to the kernel stays where it is until the kernel's last word about it. An operation's
//!   buffers move into the ring and come back with its final [`Completion`]; ranges of the log buffer are
//!   named by position and are the caller's to leave alone until then.
//! * A durable write has one completion: it succeeded only if every byte was written and is durable.
//! * A write that is given to a worker is never waited for by the thread that submits it.
//! * Nothing is lost when queues run full: a full submission queue is submitted, the kernel keeps
//!   completions that do not fit.
//!
//! Not here: what a completion means (`net::shard_loop`), and when to wait.
//! This file holds all of the project's `unsafe` that has to do with io_uring.

use crate::io::medium::Carrier;
use crate::io::ring_buffers::ReceiveBuffers;
use crate::limits::MAX_LOG_BUFFER_BYTES;
use crate::memory::{AlignedBlocks, MirrorBuffer};
use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, TimeoutFlags, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use rustix::net::SocketAddrAny;
use rustix::net::addr::SocketAddrArg;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

pub use crate::io::ring_buffers::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS};

/// Operations that fit into the submission queue between two system calls; more cost an extra one.
pub const SUBMISSION_ENTRIES: u32 = 1024;
/// Completions that fit into the queue before the kernel must store them elsewhere.
pub const COMPLETION_ENTRIES: u32 = 8192;
/// The same two where the limit on locked memory, which newer kernels count rings against, has no room.
const SMALL_RING_ENTRIES: (u32, u32) = (128, 512);
/// Sends at most this large normally end inside the system call that submits them; see [`Ring::enter`].
pub const INLINE_SEND_BYTES: usize = 16 << 10;
/// Largest memory that one registered buffer may be.
pub const MAX_REGISTERED_BYTES: usize = 1 << 30;

const _: () = assert!(2 * MAX_LOG_BUFFER_BYTES <= MAX_REGISTERED_BYTES as u64);

const LOG_BUFFER_INDEX: u16 = 0;
/// `user_data` with this bit belongs to no slot.
const SPECIAL: u64 = 1 << 63;
const IGNORED: u64 = SPECIAL;
const RUNG: u64 = SPECIAL | 1;
/// Marks the first of two linked operations that share a slot.
const FIRST_OF_TWO: u64 = 1 << 62;
const GENERATION_MASK: u32 = (1 << 30) - 1;
static ONE: u64 = 1;

/// Why there is no ring. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    #[error(
        "io_uring is forbidden here ({0}): set sysctl kernel.io_uring_disabled=0, \
         or let the container's seccomp profile allow io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Forbidden(io::Error),
    #[error("this kernel is too old for Baton's use of io_uring ({0}): Linux 6.1 or newer is needed")]
    TooOld(io::Error),
    #[error(
        "the limit on locked memory leaves no room for io_uring ({0}): raise it (ulimit -l, LimitMEMLOCK=), \
         or give the process CAP_IPC_LOCK"
    )]
    Locked(io::Error),
    #[error("cannot set up io_uring: {step}: {source}")]
    Setup { step: &'static str, source: io::Error },
}

/// Whether this process may use io_uring as Baton does. Asked before anything else of the process does,
/// because libraries built on io_uring panic where it is forbidden.
///
/// # Errors
/// Why not, and what to change.
pub fn check() -> Result<(), RingError> {
    set_up(1, 2).map(drop)
}

fn set_up(submissions: u32, completions: u32) -> Result<IoUring, RingError> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork()
        .build(submissions)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => RingError::Forbidden(error),
            Some(libc::EINVAL) => RingError::TooOld(error),
            Some(libc::ENOMEM) => RingError::Locked(error),
            _ => RingError::Setup { step: "io_uring_setup", source: error },
        })
}

/// What a write promises when it is done, and who carries it into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteWay {
    /// What was written is durable.
    pub durable: bool,
    pub carrier: Carrier,
}

impl WriteWay {
    /// The flush is part of the write.
    fn rw_flags(self) -> i32 {
        if self.durable && !self.flushes_apart() { libc::RWF_DSYNC } else { 0 }
    }

    /// The flush is an operation of its own, linked to the write. A kernel carries out the flush of an `RWF_DSYNC`
    /// write to a file by threads of its own, of no priority: where cores are short it waits for one, for seconds.
    fn flushes_apart(self) -> bool {
        self.durable && self.carrier == Carrier::Worker
    }

    fn entry_flags(self) -> squeue::Flags {
        match self.carrier {
            Carrier::Submitter => squeue::Flags::empty(),
            Carrier::Worker => squeue::Flags::ASYNC,
        }
    }
}

/// The log buffer as the ring sees it: an address and a length, valid for as long as the ring.
#[derive(Clone, Copy, Debug)]
pub struct LogMemory {
    start: *mut u8,
    capacity: usize,
}

// SAFETY: an address and a length; what is done with the memory is bounded by the promise given to `of`.
unsafe impl Send for LogMemory {}

impl LogMemory {
    /// The memory of `buffer`.
    ///
    /// # Safety
    /// `buffer` must outlive every ring made with this. Whoever holds the buffer must neither read a range
    /// while the ring receives into it nor change a range while the ring sends or writes it.
    pub unsafe fn of(buffer: &MirrorBuffer) -> LogMemory {
        LogMemory { start: buffer.as_ptr(), capacity: buffer.capacity() }
    }

    fn at(&self, position: u64, len: usize) -> *mut u8 {
        assert!(len <= self.capacity, "a range longer than the log buffer");
        // SAFETY: the mapping is twice the capacity long and position % capacity + len stays inside it.
        unsafe { self.start.add((position % self.capacity as u64) as usize) }
    }
}

/// A part of what is sent in one go.
#[derive(Debug)]
pub enum Piece {
    /// Bytes of its own.
    Bytes(Vec<u8>),
    /// Bytes that others have, too, and nobody changes.
    Shared(Arc<Vec<u8>>),
    /// `len` bytes of the log buffer at the log position `at`.
    Log { at: u64, len: usize },
}

impl Piece {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Shared(bytes) => bytes.len(),
            Piece::Log { len, .. } => *len,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What was lent to the kernel for an operation.
#[derive(Debug, Default)]
pub enum Lent {
    /// Nothing that the caller wants back.
    #[default]
    Nothing,
    /// The bytes sent, or received into.
    Bytes(Vec<u8>),
    /// The blocks written, or read into.
    Blocks(AlignedBlocks),
    /// The pieces sent.
    Pieces(Vec<Piece>),
    /// Not lent but made by the kernel: a connection that [`Ring::accept`] accepted.
    Accepted(OwnedFd),
}

/// Memory that must stay at its address while the kernel works.
enum Held {
    Nothing,
    /// Results are new descriptors.
    Accepting,
    Bytes(Vec<u8>),
    Blocks(AlignedBlocks),
    Message(Box<Message>),
    Pieces(Vec<Piece>),
    Address(#[expect(dead_code, reason = "only the kernel reads it")] Box<SocketAddrAny>),
    Time(Box<Timespec>),
}

struct Message {
    header: libc::msghdr,
    vectors: Vec<libc::iovec>,
    pieces: Vec<Piece>,
}

/// A submitted operation, to be named when it is cancelled. Outdated names are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(u64);

/// The kernel's word on an operation.
#[derive(Debug)]
pub struct Completion<T> {
    /// The caller's name for the operation; `None` if another ring rang this one ([`Ring::ring_other`]).
    pub token: Option<T>,
    /// What the system call of the same kind returns, or the negative error number.
    pub result: i32,
    /// More completions of this operation follow; the memory is still lent.
    pub more: bool,
    /// A zero-copy send's second word: its memory is free. `result` says nothing.
    pub notification: bool,
    /// The received bytes lie in this provided buffer, to be given back by [`Ring::recycle`].
    pub buffer: Option<u16>,
    /// What the caller lent, with the last completion.
    pub lent: Lent,
}

struct Slot<T> {
    token: T,
    held: Held,
    generation: u32,
    /// For two linked operations: what the first one must return, then what it did.
    first: Option<First>,
}

#[derive(Clone, Copy)]
struct First {
    pair: Pair,
    wanted: i32,
    /// What both linked operations count as, if the first does not return `wanted`.
    failure: Option<i32>,
}

/// Which two operations are linked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    /// The result is the second's.
    HeaderThenLog,
    /// The result is the write's.
    WriteThenFlush,
}

impl First {
    fn of(pair: Pair, wanted: usize) -> First {
        First { pair, wanted: wanted as i32, failure: None }
    }

    /// The first of the two ended.
    fn ended(&mut self, result: i32) {
        if result != self.wanted {
            self.failure = Some(match self.pair {
                Pair::HeaderThenLog => -libc::EPIPE,
                Pair::WriteThenFlush if result < 0 => result,
                Pair::WriteThenFlush => -libc::EIO,
            });
        }
    }

    /// What both count as, where the second ended so.
    fn both(&self, second: i32) -> i32 {
        match (self.failure, self.pair) {
            (Some(failure), _) => failure,
            (None, Pair::WriteThenFlush) if second == 0 => self.wanted,
            (None, _) => second,
        }
    }
}

/// See the head of this file. `T` is the caller's name for an operation.
///
/// A ring belongs to the thread that made it.
pub struct Ring<T> {
    uring: IoUring,
    slots: Vec<Option<Slot<T>>>,
    generations: Vec<u32>,
    free: Vec<u32>,
    expected_inline: usize,
    log: LogMemory,
    log_registered: bool,
    receive: ReceiveBuffers,
}

impl<T: Copy> Ring<T> {
    /// Set up a ring on this thread.
    ///
    /// # Errors
    /// If the kernel forbids or lacks io_uring. A log buffer that cannot be registered (locked memory
    /// limit) is no error: see [`Ring::log_registered`].
    pub fn new(log: LogMemory) -> Result<Ring<T>, RingError> {
        let uring = match set_up(SUBMISSION_ENTRIES, COMPLETION_ENTRIES) {
            Err(RingError::Locked(_)) => set_up(SMALL_RING_ENTRIES.0, SMALL_RING_ENTRIES.1)?,
            other => other?,
        };
        let log_registered = 2 * log.capacity <= MAX_REGISTERED_BYTES && {
            let all = libc::iovec { iov_base: log.start.cast(), iov_len: 2 * log.capacity };
            // SAFETY: `LogMemory::of` promises that the mapping outlives this ring.
            unsafe { uring.submitter().register_buffers(&[all]) }.is_ok()
        };
        let receive = ReceiveBuffers::register(&uring).map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL) => RingError::TooOld(source),
            Some(libc::ENOMEM) => RingError::Locked(source),
            _ => RingError::Setup { step: "provided buffers", source },
        })?;
        let ring = Ring {
            uring,
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            expected_inline: 0,
            log,
            log_registered,
            receive,
        };
        Ok(ring)
    }

    /// Whether the log buffer is registered; if not, writes and zero-copy sends pin its pages each time.
    pub fn log_registered(&self) -> bool {
        self.log_registered
    }

    /// The descriptor of the ring itself, for [`Ring::ring_other`] of other rings.
    pub fn raw_fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// How many operations the kernel still works on.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn slot(&mut self, token: T, held: Held) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() as u32 - 1
        });
        let generation = self.generations[index as usize].wrapping_add(1) & GENERATION_MASK;
        self.generations[index as usize] = generation;
        self.slots[index as usize] = Some(Slot { token, held, generation, first: None });
        index as u64 | (generation as u64) << 32
    }

    fn held(&mut self, id: u64) -> &mut Held {
        &mut self.slots[id as u32 as usize].as_mut().expect("a slot just filled").held
    }

    /// Make room for `entries` that must be submitted together.
    fn reserve(&mut self, entries: usize) {
        let full = {
            let queue = self.uring.submission();
            queue.capacity() - queue.len() < entries
        };
        if full {
            // An error here shows again at the next `enter`, which reports it.
            let _ = self.uring.submit();
        }
    }

    fn push(&mut self, entry: squeue::Entry, id: u64) -> OpId {
        self.reserve(1);
        self.push_reserved(entry, id);
        OpId(id)
    }

    fn push_reserved(&mut self, entry: squeue::Entry, id: u64) {
        let entry = entry.user_data(id);
        loop {
            // SAFETY: every memory an entry names is static, the log buffer, a provided buffer or held by
            // the slot of `id` until its last completion; descriptors are only numbers to the kernel.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            let _ = self.uring.submit();
        }
    }

    /// Accept one connection ([`Lent::Accepted`]). Not more: how many come at once is the caller's to bound,
    /// because each costs the thread time and the process a descriptor.
    pub fn accept(&mut self, listener: RawFd, token: T) -> OpId {
        let id = self.slot(token, Held::Accepting);
        let nowhere = std::ptr::null_mut();
        let entry = opcode::Accept::new(Fd(listener), nowhere, std::ptr::null_mut());
        self.push(entry.flags(libc::SOCK_CLOEXEC).build(), id)
    }

    /// Wait once until the other end of a connection closed its side of it, or the connection failed. The
    /// result is of `poll(2)`'s kind.
    pub fn await_hang_up(&mut self, socket: RawFd, token: T) -> OpId {
        let id = self.slot(token, Held::Nothing);
        self.push(opcode::PollAdd::new(Fd(socket), libc::POLLRDHUP as u32).build(), id)
    }

    /// Receive into provided buffers until cancelled, failed, closed by the peer (result 0), or out of
    /// buffers (`ENOBUFS`).
    pub fn receive(&mut self, socket: RawFd, token: T) -> OpId {
        let id = self.slot(token, Held::Nothing);
        self.push(opcode::RecvMulti::new(Fd(socket), ReceiveBuffers::GROUP).build(), id)
    }

    /// Receive into `bytes[range]`; all of it unless the connection ends.
    pub fn receive_bytes(
        &mut self,
        socket: RawFd,
        mut bytes: Vec<u8>,
        range: Range<usize>,
        token: T,
    ) -> OpId {
        let target = &mut bytes[range];
        let entry = opcode::Recv::new(Fd(socket), target.as_mut_ptr(), target.len() as u32)
            .flags(libc::MSG_WAITALL)
            .build();
        let id = self.slot(token, Held::Bytes(bytes));
        self.push(entry, id)
    }

    /// Receive `len` bytes into the log buffer at position `at`; all of it unless the connection ends.
    pub fn receive_log(&mut self, socket: RawFd, at: u64, len: usize, token: T) -> OpId {
        let entry =
            opcode::Recv::new(Fd(socket), self.log.at(at, len), len as u32).flags(libc::MSG_WAITALL).build();
        let id = self.slot(token, Held::Nothing);
        self.push(entry, id)
    }

    /// Send `bytes[from..]`. The result may be short only if the connection fails or the kernel lacks
    /// memory.
    pub fn send_bytes(&mut self, socket: RawFd, bytes: Vec<u8>, from: usize, token: T) -> OpId {
        let rest = &bytes[from..];
        let entry = opcode::Send::new(Fd(socket), rest.as_ptr(), rest.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build();
        self.expect_inline(rest.len());
        let id = self.slot(token, Held::Bytes(bytes));
        self.push(entry, id)
    }

    /// Where the kernel finds a piece. It only reads it.
    fn memory_of(&self, piece: &Piece) -> (*mut u8, usize) {
        match piece {
            Piece::Bytes(bytes) => (bytes.as_ptr().cast_mut(), bytes.len()),
            Piece::Shared(bytes) => (bytes.as_ptr().cast_mut(), bytes.len()),
            Piece::Log { at, len } => (self.log.at(*at, *len), *len),
        }
    }

    /// Send all the pieces but for the first `skip` bytes, in one go.
    pub fn send_pieces(&mut self, socket: RawFd, pieces: Vec<Piece>, mut skip: usize, token: T) -> OpId {
        if let [piece] = &pieces[..] {
            // Nearly every reply is one: neither a list has to be made, nor does the kernel have to read one.
            let (start, len) = self.memory_of(piece);
            assert!(skip <= len, "more is skipped than there is");
            let entry = opcode::Send::new(Fd(socket), start.wrapping_add(skip), (len - skip) as u32)
                .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
                .build();
            self.expect_inline(len - skip);
            let id = self.slot(token, Held::Pieces(pieces));
            return self.push(entry, id);
        }
        let mut vectors = Vec::with_capacity(pieces.len());
        let mut total = 0;
        for piece in &pieces {
            let (start, len) = self.memory_of(piece);
            let skipped = skip.min(len);
            skip -= skipped;
            if skipped < len {
                // `wrapping_add`, because the address is computed here and used by the kernel only.
                vectors.push(libc::iovec {
                    iov_base: start.wrapping_add(skipped).cast(),
                    iov_len: len - skipped,
                });
                total += len - skipped;
            }
        }
        // SAFETY: a msghdr of zeros is a valid one: no name, no vectors, no control data.
        let mut message = Box::new(Message { header: unsafe { std::mem::zeroed() }, vectors, pieces });
        message.header.msg_iov = message.vectors.as_mut_ptr();
        message.header.msg_iovlen = message.vectors.len() as _;
        let entry = opcode::SendMsg::new(Fd(socket), &message.header)
            .flags((libc::MSG_WAITALL | libc::MSG_NOSIGNAL) as u32)
            .build();
        self.expect_inline(total);
        let id = self.slot(token, Held::Message(message));
        self.push(entry, id)
    }

    /// Send `header`, then without copying `len` bytes of the log buffer at position `at`.
    ///
    /// The completion's result counts the log bytes only; `EPIPE` if the header did not go out. If `more`
    /// is set, a notification follows, and until then the range is in use.
    pub fn send_log_zero_copy(
        &mut self,
        socket: RawFd,
        header: Vec<u8>,
        at: u64,
        len: usize,
        token: T,
    ) -> OpId {
        let with_header = !header.is_empty();
        let header_entry = opcode::Send::new(Fd(socket), header.as_ptr(), header.len() as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL | libc::MSG_MORE)
            .build()
            .flags(squeue::Flags::IO_LINK);
        let first = First::of(Pair::HeaderThenLog, header.len());
        let id = self.slot(token, Held::Bytes(header));
        let log_entry = opcode::SendZc::new(Fd(socket), self.log.at(at, len), len as u32)
            .flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .buf_index(self.log_registered.then_some(LOG_BUFFER_INDEX))
            .build();
        self.reserve(2);
        if with_header {
            self.set_first(id, first);
            self.push_reserved(header_entry, id | FIRST_OF_TWO);
        }
        self.push_reserved(log_entry, id);
        OpId(id)
    }

    /// Write `len` bytes of the log buffer at position `at` to `offset` of `file`.
    ///
    /// Writes that overlap may take effect in any order if one is submitted before another has ended.
    pub fn write_log(
        &mut self,
        file: RawFd,
        offset: u64,
        at: u64,
        len: usize,
        way: WriteWay,
        token: T,
    ) -> OpId {
        let start = self.log.at(at, len);
        let entry = if self.log_registered {
            opcode::WriteFixed::new(Fd(file), start, len as u32, LOG_BUFFER_INDEX)
                .offset(offset)
                .rw_flags(way.rw_flags())
                .build()
        } else {
            opcode::Write::new(Fd(file), start, len as u32).offset(offset).rw_flags(way.rw_flags()).build()
        };
        let id = self.slot(token, Held::Nothing);
        self.push_write(entry, file, len, way, id)
    }

    /// Push a write of `len` bytes, and its flush if that is apart.
    fn push_write(&mut self, entry: squeue::Entry, file: RawFd, len: usize, way: WriteWay, id: u64) -> OpId {
        let flags = way.entry_flags();
        if !way.flushes_apart() {
            return self.push(entry.flags(flags), id);
        }
        self.set_first(id, First::of(Pair::WriteThenFlush, len));
        let flush = opcode::Fsync::new(Fd(file)).flags(FsyncFlags::DATASYNC).build().flags(flags);
        self.reserve(2);
        self.push_reserved(entry.flags(flags | squeue::Flags::IO_LINK), id | FIRST_OF_TWO);
        self.push_reserved(flush, id);
        OpId(id)
    }

    /// Write whole blocks to `offset` of `file`; about order see [`Ring::write_log`].
    pub fn write_blocks(
        &mut self,
        file: RawFd,
        offset: u64,
        blocks: AlignedBlocks,
        way: WriteWay,
        token: T,
    ) -> OpId {
        let bytes = blocks.as_slice();
        let len = bytes.len();
        let entry = opcode::Write::new(Fd(file), bytes.as_ptr(), len as u32)
            .offset(offset)
            .rw_flags(way.rw_flags())
            .build();
        let id = self.slot(token, Held::Blocks(blocks));
        self.push_write(entry, file, len, way, id)
    }

    fn set_first(&mut self, id: u64, first: First) {
        self.slots[id as u32 as usize].as_mut().expect("a slot just filled").first = Some(first);
    }

    /// Fill `blocks` from `offset` of `file`; short at the end of the file.
    pub fn read_blocks(&mut self, file: RawFd, offset: u64, mut blocks: AlignedBlocks, token: T) -> OpId {
        let bytes = blocks.as_mut_slice();
        let entry =
            opcode::Read::new(Fd(file), bytes.as_mut_ptr(), bytes.len() as u32).offset(offset).build();
        let id = self.slot(token, Held::Blocks(blocks));
        self.push(entry, id)
    }

    /// Wait until this eventfd is not zero, and take its count (which is not told).
    pub fn read_eventfd(&mut self, eventfd: RawFd, token: T) -> OpId {
        let mut count = vec![0u8; 8];
        let entry = opcode::Read::new(Fd(eventfd), count.as_mut_ptr(), 8).build();
        let id = self.slot(token, Held::Bytes(count));
        self.push(entry, id)
    }

    /// Add one to an eventfd. Nothing reports its end.
    pub fn raise_eventfd(&mut self, eventfd: RawFd) {
        let one = (&raw const ONE).cast();
        self.push(opcode::Write::new(Fd(eventfd), one, 8).build(), IGNORED);
        self.expected_inline += 1;
    }

    /// Ring another ring: its owner finds a completion without token.
    pub fn ring_other(&mut self, other: RawFd, token: T) {
        let id = self.slot(token, Held::Nothing);
        self.push(opcode::MsgRingData::new(Fd(other), 0, RUNG, None).build(), id);
    }

    /// Connect a socket. Result 0 or the error.
    pub fn connect(&mut self, socket: RawFd, to: SocketAddr, token: T) -> OpId {
        let address = Box::new(to.as_any());
        let entry = opcode::Connect::new(Fd(socket), address.as_ptr().cast(), address.addr_len()).build();
        let id = self.slot(token, Held::Address(address));
        self.push(entry, id)
    }

    /// A completion (`ETIME`) every `period`, until cancelled.
    pub fn tick(&mut self, period: Duration, token: T) -> OpId {
        let id = self.slot(token, Held::Time(Box::new(timespec(period))));
        let flags = TimeoutFlags::MULTISHOT;
        let entry = opcode::Timeout::new(self.time_of(id)).count(0).flags(flags).build();
        self.push(entry, id)
    }

    fn time_of(&mut self, id: u64) -> *const Timespec {
        match self.held(id) {
            Held::Time(time) => &raw const **time,
            _ => unreachable!("the slot was filled with a time"),
        }
    }

    /// Ask the kernel to give up an operation. Its own last completion still comes: cancelled, failed or
    /// done. Nothing happens if it has ended.
    pub fn cancel(&mut self, op: OpId) {
        self.push(opcode::AsyncCancel::new(op.0).build(), IGNORED);
    }

    /// Ask the kernel to give up every operation on this descriptor.
    pub fn cancel_all_on(&mut self, descriptor: RawFd) {
        let all = CancelBuilder::fd(Fd(descriptor)).all();
        self.push(opcode::AsyncCancel2::new(all).build(), IGNORED);
    }

    /// Close a descriptor without waiting for it. The caller must own it and forget it.
    pub fn close(&mut self, descriptor: OwnedFd) {
        self.push(opcode::Close::new(Fd(descriptor.into_raw_fd())).build(), IGNORED);
    }

    fn expect_inline(&mut self, bytes: usize) {
        if bytes <= INLINE_SEND_BYTES {
            self.expected_inline += 1;
        }
    }

    /// The turn's system call: submit everything, let deferred work run, and with `wait` block until
    /// something happened or that much time passed.
    ///
    /// Small sends end within the call that submits them and would end every wait at once, only to be
    /// told so: the wait is for one completion more than there are such sends. Where a send did not end at
    /// once after all, other news waits for it, at most `wait`.
    ///
    /// # Errors
    /// What io_uring_enter says, but for what time heals: interruptions, timeouts, a full queue.
    pub fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let inline = std::mem::take(&mut self.expected_inline);
        let (queued, deferred) = {
            let queue = self.uring.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        let flags = EnterFlags::GETEVENTS.bits();
        let result = match wait {
            None if queued == 0 && !deferred => return Ok(()),
            None => {
                // SAFETY: no argument is passed; the entries were checked where they were pushed.
                unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued as u32, 0, flags, None) }
            }
            Some(wait) => {
                let time = timespec(wait);
                let args = SubmitArgs::new().timespec(&time);
                let flags = flags | EnterFlags::EXT_ARG.bits();
                let want = 1 + inline as u32;
                // SAFETY: with EXT_ARG the argument is a SubmitArgs, alive during the call.
                unsafe { self.uring.submitter().enter(queued as u32, want, flags, Some(&args)) }
            }
        };
        match result.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) => Ok(()),
            Err((Some(libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Take over what has completed, at most `limit` at a time.
    pub fn reap(&mut self, limit: usize, out: &mut impl Extend<Completion<T>>) {
        let (slots, free) = (&mut self.slots, &mut self.free);
        out.extend(self.uring.completion().take(limit).filter_map(|entry| {
            let data = entry.user_data();
            match data {
                RUNG => Some(Completion {
                    token: None,
                    result: 0,
                    more: false,
                    notification: false,
                    buffer: None,
                    lent: Lent::Nothing,
                }),
                _ if data & SPECIAL == 0 => settle(slots, free, data, &entry),
                _ => None,
            }
        }));
    }

    /// Whether something has completed that was not taken over.
    pub fn has_completed(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// The bytes of a completed [`Ring::receive`].
    pub fn received(&self, buffer: u16, len: usize) -> &[u8] {
        self.receive.bytes(buffer, len)
    }

    /// Give a provided buffer back to the kernel.
    pub fn recycle(&mut self, buffer: u16) {
        self.receive.recycle(buffer);
    }
}

fn settle<T: Copy>(
    slots: &mut [Option<Slot<T>>],
    free: &mut Vec<u32>,
    data: u64,
    entry: &cqueue::Entry,
) -> Option<Completion<T>> {
    let index = data as u32;
    let place = &mut slots[index as usize];
    // The first of two linked operations may be reported after the second, which ended the slot.
    let slot = place.as_mut().filter(|slot| slot.generation == (data >> 32) as u32 & GENERATION_MASK)?;
    let mut result = entry.result();
    if let Some(first) = &mut slot.first {
        if data & FIRST_OF_TWO != 0 {
            first.ended(result);
            return None;
        }
        result = first.both(result);
    }
    let more = cqueue::more(entry.flags());
    let mut completion = Completion {
        token: Some(slot.token),
        result,
        more,
        notification: cqueue::notif(entry.flags()),
        buffer: cqueue::buffer_select(entry.flags()),
        lent: Lent::Nothing,
    };
    if matches!(slot.held, Held::Accepting) && result >= 0 {
        // SAFETY: a descriptor that the kernel just made for this operation, told nowhere else.
        completion.lent = Lent::Accepted(unsafe { OwnedFd::from_raw_fd(result) });
    }
    if !more {
        let slot = place.take().expect("checked above");
        free.push(index);
        match slot.held {
            Held::Bytes(bytes) => completion.lent = Lent::Bytes(bytes),
            Held::Blocks(blocks) => completion.lent = Lent::Blocks(blocks),
            Held::Message(message) => completion.lent = Lent::Pieces(message.pieces),
            Held::Pieces(pieces) => completion.lent = Lent::Pieces(pieces),
            Held::Nothing | Held::Accepting | Held::Address(_) | Held::Time(_) => {}
        }
    }
    Some(completion)
}

fn timespec(span: Duration) -> Timespec {
    Timespec::new().sec(span.as_secs()).nsec(span.subsec_nanos())
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // The kernel may still write into what it was lent: wait for it, or rather leak the memory.
        let cancelled = self.uring.submitter().register_sync_cancel(None, CancelBuilder::any());
        let busy = self.slots.len() > self.free.len();
        if busy || cancelled.is_err() {
            std::mem::forget(std::mem::take(&mut self.slots));
            self.receive.leak();
        }
    }
}
