//! The page that a warden shares with one incarnation of its node, and the fds that go with it.
//!
//! Promises that values written as a whole are read as a whole (a lease deadline never comes with another
//! epoch), that a process killed in the middle of anything leaves the page readable, and that the end of a
//! shard's thread releases its robust lock before the kernel frees the process's memory. Each value has one
//! writer: the node's shard thread or the warden's loop, as its method says. Does not wake anybody: that is
//! the eventfds' part.

mod cell;
mod codec;
mod fds;

pub use fds::{Attached, ChildFds, FDS_VARIABLE};

use agency::ids::{Epoch, Incarnation, MAX_SHARDS, Nanos, ShardId};
use agency::shard::{ShardProgress, ShardRequest, ShardUpdate};
use agency::view::ClusterView;
use cell::Cell;
use codec::{
    PROGRESS_WORDS, VIEW_BYTES, decode_request, decode_update, decode_view, encode_request, encode_update,
    encode_view, progress_of, progress_words,
};
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::cell::UnsafeCell;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};
use thiserror::Error;

const MAGIC: u64 = u64::from_le_bytes(*b"BatonPag");
/// Raised with every change of what lies where.
const LAYOUT: u64 = 3;
const VIEW_WORDS: usize = VIEW_BYTES.div_ceil(8) + 1;
/// Longest reason kept by [`SharedPage::fail`], in bytes; longer ones are cut.
pub const FAILURE_BYTES: usize = 504;
const FAILURE_WORDS: usize = FAILURE_BYTES / 8 + 1;

const NODE_READY: u32 = 1;
const NODE_STOPPING: u32 = 2;

const FAILURE_CLAIMED: u32 = 1;
const FAILURE_WRITTEN: u32 = 2;

/// Why a node cannot use the page it was given.
#[derive(Debug, Error)]
pub enum PageError {
    #[error("{FDS_VARIABLE} is not set: a node is started by its warden (`baton serve`), not by hand")]
    NotAChild,
    #[error("{FDS_VARIABLE}={0:?} is not a list of fds")]
    BadList(String),
    #[error("the page's fd {fd} cannot be used")]
    Fd { fd: RawFd, source: io::Error },
    #[error("its life cannot be tied to its warden's: {0}")]
    Tie(#[source] io::Error),
    #[error("its warden, process {0}, is gone")]
    Orphan(u32),
    #[error("the page cannot be mapped")]
    Map(#[source] io::Error),
    #[error("this is not a warden's page")]
    Magic,
    #[error("the page has layout version {0}, this program has {LAYOUT}: warden and node differ in version")]
    Layout(u64),
    #[error("the page says {0} shards, its size or the number of fds says otherwise")]
    Shards(u64),
}

/// The start of the page; one [`ShardArea`] per shard follows.
#[repr(C, align(4096))]
struct Header {
    magic: AtomicU64,
    layout: AtomicU64,
    shards: AtomicU64,
    incarnation: AtomicU64,
    state: AtomicU32,
    failure_state: AtomicU32,
    failure: Cell<FAILURE_WORDS>,
    view: Cell<VIEW_WORDS>,
}

/// What one shard and the warden exchange. Lines written by the node and by the warden are kept apart.
#[repr(C)]
pub struct ShardArea {
    held: Held,
    progress: Line<Cell<PROGRESS_WORDS>>,
    request: Line<Cell<12>>,
    update: Line<Cell<12>>,
    lease: Line<Cell<2>>,
}

#[repr(C, align(128))]
struct Held {
    alive: UnsafeCell<libc::pthread_mutex_t>,
    /// Thread id of the holder; 0 until the lock is held.
    thread: AtomicU32,
    /// The progress word.
    word: AtomicU64,
}

#[repr(C, align(128))]
struct Line<T>(T);

// SAFETY: the mutex is only touched through pthread calls, which synchronize; all else is atomic.
unsafe impl Sync for ShardArea {}

/// The mapped page. Share it by `Arc` between threads.
pub struct SharedPage {
    base: NonNull<Header>,
    size: usize,
    shards: u16,
}

// SAFETY: the mapping stays until drop and everything in it is atomic or synchronizes itself.
unsafe impl Send for SharedPage {}
// SAFETY: as above.
unsafe impl Sync for SharedPage {}

fn size_for(shards: u16) -> usize {
    size_of::<Header>() + usize::from(shards) * size_of::<ShardArea>()
}

impl SharedPage {
    /// Warden: makes a page for one incarnation, and the fd that the node inherits (close-on-exec here; see
    /// `child`). Panics if `shards` is 0 or above [`MAX_SHARDS`].
    ///
    /// # Errors
    /// Out of memory or fds.
    pub fn create(shards: u16, incarnation: Incarnation) -> io::Result<(SharedPage, OwnedFd)> {
        assert!((1..=MAX_SHARDS).contains(&usize::from(shards)));
        let fd = rustix::fs::memfd_create("baton-page", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, size_for(shards) as u64)?;
        // A size that never changes keeps both sides from SIGBUS.
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let page = SharedPage::map(&fd, size_for(shards), shards)?;
        for shard in 0..shards {
            page.shard(ShardId(shard)).init_mutex()?;
        }
        let header = page.header();
        header.layout.store(LAYOUT, Release);
        header.shards.store(u64::from(shards), Release);
        header.incarnation.store(incarnation.0, Release);
        header.magic.store(MAGIC, Release);
        Ok((page, fd))
    }

    /// Node: maps the page it inherited and checks that both sides mean the same by it.
    ///
    /// # Errors
    /// The fd is not such a page.
    pub fn open(fd: impl AsFd) -> Result<SharedPage, PageError> {
        let raw = fd.as_fd().as_raw_fd();
        let stat = rustix::fs::fstat(&fd).map_err(|e| PageError::Fd { fd: raw, source: e.into() })?;
        let size = usize::try_from(stat.st_size).unwrap_or(0);
        if size < size_for(1) {
            return Err(PageError::Magic);
        }
        let mut page = SharedPage::map(&fd, size, 0).map_err(PageError::Map)?;
        if page.header().magic.load(Acquire) != MAGIC {
            return Err(PageError::Magic);
        }
        let layout = page.header().layout.load(Acquire);
        if layout != LAYOUT {
            return Err(PageError::Layout(layout));
        }
        let shards = page.header().shards.load(Acquire);
        page.shards = u16::try_from(shards)
            .ok()
            .filter(|s| (1..=MAX_SHARDS).contains(&usize::from(*s)) && size_for(*s) == size)
            .ok_or(PageError::Shards(shards))?;
        Ok(page)
    }

    fn map(fd: impl AsFd, size: usize, shards: u16) -> io::Result<SharedPage> {
        // SAFETY: a new mapping at an address of the kernel's choice; its size is that of the sealed file.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                0,
            )
        }?;
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at zero");
        Ok(SharedPage { base, size, shards })
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping is page-aligned, at least that long, lives as long as `self`, and any bytes
        // are valid atomics.
        unsafe { self.base.as_ref() }
    }

    /// The area of one shard. Panics if there is no such shard.
    pub fn shard(&self, shard: ShardId) -> &ShardArea {
        assert!(shard.0 < self.shards, "shard {} of {}", shard.0, self.shards);
        // SAFETY: `create` and `open` checked that the mapping holds the header and `shards` areas; the
        // header's size is a multiple of its alignment, which is above that of an area.
        unsafe { self.base.add(1).cast::<ShardArea>().add(usize::from(shard.0)).as_ref() }
    }

    /// Which life of the node this page belongs to.
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.header().incarnation.load(Acquire))
    }

    /// How many shards the node has.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Whether every shard's thread holds its lock: only then does a released lock mean death.
    pub fn all_held(&self) -> bool {
        (0..self.shards).all(|s| self.shard(ShardId(s)).thread().is_some())
    }

    /// Node: every port is open and every shard recovered. For the log; leading needs `Health::Ready`.
    pub fn set_node_ready(&self) {
        self.header().state.fetch_max(NODE_READY, AcqRel);
    }

    /// Node: an orderly stop has begun, whoever asked for it. Threads that end from now on are no crash:
    /// what they still have to say to clients is not cut off by a reset.
    pub fn set_node_stopping(&self) {
        self.header().state.fetch_max(NODE_STOPPING, AcqRel);
    }

    /// Warden: whether the node called [`set_node_ready`](Self::set_node_ready).
    pub fn node_ready(&self) -> bool {
        self.header().state.load(Acquire) >= NODE_READY
    }

    /// Warden: whether the node called [`set_node_stopping`](Self::set_node_stopping).
    pub fn node_stopping(&self) -> bool {
        self.header().state.load(Acquire) >= NODE_STOPPING
    }

    /// Warden: replaces the view of the group.
    pub fn publish_view(&self, view: &ClusterView) {
        let mut bytes = Vec::with_capacity(VIEW_BYTES / 4);
        encode_view(view, &mut bytes);
        self.header().view.write_bytes(&bytes);
    }

    /// Node: the newest view, if it is newer than what `last_seen` (0 at first) stands for.
    pub fn view(&self, last_seen: &mut u64) -> Option<ClusterView> {
        self.header().view.read_bytes(last_seen).and_then(|bytes| decode_view(&bytes))
    }

    /// Node: its last words before it ends itself. The first reason given is kept.
    pub fn fail(&self, reason: &str) {
        let state = &self.header().failure_state;
        if state.compare_exchange(0, FAILURE_CLAIMED, AcqRel, Acquire).is_ok() {
            let mut end = reason.len().min(FAILURE_BYTES);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            self.header().failure.write_bytes(&reason.as_bytes()[..end]);
            state.store(FAILURE_WRITTEN, Release);
        }
    }

    /// Warden: the node's last words.
    pub fn failure(&self) -> Option<String> {
        if self.header().failure_state.load(Acquire) != FAILURE_WRITTEN {
            return None;
        }
        self.header().failure.read_bytes(&mut 0).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `map`, of this size; no reference into it outlives `self`. No thread
        // of this process holds a lock in it: `wait_for_death` lets go, and a holder never drops its page.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size) };
        debug_assert!(unmapped.is_ok());
    }
}

impl ShardArea {
    fn init_mutex(&self) -> io::Result<()> {
        let check = |code| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
        // SAFETY: called once, before anybody else knows of the page; the attributes live through the call.
        unsafe {
            let mut attributes = std::mem::zeroed::<libc::pthread_mutexattr_t>();
            check(libc::pthread_mutexattr_init(&mut attributes))?;
            check(libc::pthread_mutexattr_setpshared(&mut attributes, libc::PTHREAD_PROCESS_SHARED))?;
            check(libc::pthread_mutexattr_setrobust(&mut attributes, libc::PTHREAD_MUTEX_ROBUST))?;
            check(libc::pthread_mutex_init(self.held.alive.get(), &attributes))?;
            check(libc::pthread_mutexattr_destroy(&mut attributes))
        }
    }

    /// Node, on the shard's thread, once, before it serves: from now on the end of this thread is known to
    /// the warden at once. The lock is never released otherwise; the page must not be unmapped by this
    /// process (keep it in an `Arc` that is never dropped). Panics if called twice.
    pub fn hold_alive(&self) {
        // SAFETY: `init_mutex` made it a robust mutex.
        let code = unsafe { libc::pthread_mutex_lock(self.held.alive.get()) };
        assert_eq!(code, 0, "a shard's lock is taken once in a page's life");
        self.held.thread.store(rustix::thread::gettid().as_raw_nonzero().get() as u32, Release);
    }

    /// Thread id of the shard's thread, once it holds its lock.
    pub fn thread(&self) -> Option<u32> {
        Some(self.held.thread.load(Acquire)).filter(|t| *t != 0)
    }

    /// Warden, on its watch thread: blocks until the thread that holds the lock has ended. `false` if nobody
    /// ever held it: no proof of anything.
    pub(crate) fn wait_for_death(&self) -> bool {
        // SAFETY: `init_mutex` made it a robust mutex. What it gives us we give back at once, so that this
        // thread's list of robust locks never names memory that gets unmapped; a mutex given back without
        // `consistent` is unusable from then on, which is the truth.
        unsafe {
            let code = libc::pthread_mutex_lock(self.held.alive.get());
            if code == 0 || code == libc::EOWNERDEAD {
                libc::pthread_mutex_unlock(self.held.alive.get());
            }
            code == libc::EOWNERDEAD || code == libc::ENOTRECOVERABLE
        }
    }

    /// Node, shard thread: how it stands; once per turn of its loop. Its `turns` are the progress word, as
    /// [`raise_progress`](Self::raise_progress) sets it. `standing` is not the node's to say.
    pub fn set_progress(&self, progress: &ShardProgress) {
        self.progress.0.write(&progress_words(progress));
        self.raise_progress(progress.turns);
    }

    /// Node, shard thread: it moves. Any number of times in a turn, each time with a higher `word`.
    pub fn raise_progress(&self, word: u64) {
        self.held.word.store(word, Release);
    }

    /// Warden: what the shard said last, with the progress word as its `turns`; `standing` is unknown.
    pub fn progress(&self) -> ShardProgress {
        ShardProgress { turns: self.held.word.load(Acquire), ..progress_of(&self.progress.0.read().1) }
    }

    /// Node, shard thread: asks for a change; then wake the warden. Replaces the request before.
    pub fn set_request(&self, request: &ShardRequest) {
        let mut bytes = Vec::with_capacity(96);
        encode_request(request, &mut bytes);
        self.request.0.write_bytes(&bytes);
    }

    /// Warden: the newest request, if it is newer than what `last_seen` (0 at first) stands for.
    pub fn request(&self, last_seen: &mut u64) -> Option<ShardRequest> {
        self.request.0.read_bytes(last_seen).and_then(|bytes| decode_request(&bytes))
    }

    /// Warden: publishes what is decided; then wake the shard.
    pub fn set_update(&self, update: &ShardUpdate) {
        let mut bytes = Vec::with_capacity(96);
        encode_update(update, &mut bytes);
        self.update.0.write_bytes(&bytes);
    }

    /// Node: the newest update, if it is newer than what `last_seen` (0 at first) stands for.
    pub fn update(&self, last_seen: &mut u64) -> Option<ShardUpdate> {
        self.update.0.read_bytes(last_seen).and_then(|bytes| decode_update(&bytes))
    }

    /// Warden: reads may be served as leader of `epoch` until `until`; `Nanos(0)` takes the lease away.
    pub fn set_lease(&self, epoch: Epoch, until: Nanos) {
        self.lease.0.write(&[epoch.0, until.0]);
    }

    /// The lease: always a pair that was set together; zeroes before the first.
    pub fn lease(&self) -> (Epoch, Nanos) {
        let (_, [epoch, until]) = self.lease.0.read();
        (Epoch(epoch), Nanos(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn both_sides_see_the_same_page() {
        let (warden, fd) = SharedPage::create(3, Incarnation(7)).unwrap();
        let node = SharedPage::open(&fd).unwrap();
        assert_eq!((node.incarnation(), node.shards()), (Incarnation(7), 3));
        let progress = ShardProgress { turns: 5, written: 80, ..Default::default() };
        node.shard(ShardId(2)).set_progress(&progress);
        assert_eq!(warden.shard(ShardId(2)).progress(), progress);
        assert_eq!(warden.shard(ShardId(1)).progress(), ShardProgress::default());
        node.shard(ShardId(2)).raise_progress(6);
        assert_eq!(warden.shard(ShardId(2)).progress(), ShardProgress { turns: 6, ..progress });
        assert_eq!(node.view(&mut 0), None);
        warden.publish_view(&ClusterView::default());
        let mut seen = 0;
        assert_eq!(node.view(&mut seen), Some(ClusterView::default()));
        assert_eq!(node.view(&mut seen), None);
    }

    #[test]
    fn the_first_reason_of_failure_is_kept_and_cut_at_a_character() {
        let (page, _fd) = SharedPage::create(1, Incarnation(1)).unwrap();
        assert_eq!(page.failure(), None);
        let long = "ü".repeat(FAILURE_BYTES);
        page.fail(&long);
        page.fail("second");
        assert_eq!(page.failure(), Some("ü".repeat(FAILURE_BYTES / 2)));
    }

    #[test]
    fn a_lease_deadline_never_comes_with_another_epoch() {
        let (warden, fd) = SharedPage::create(1, Incarnation(1)).unwrap();
        let node = SharedPage::open(&fd).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let (epoch, until) = node.shard(ShardId(0)).lease();
                    assert_eq!(until.0, epoch.0 * 1000);
                }
            });
            for epoch in 1..=300_000 {
                warden.shard(ShardId(0)).set_lease(Epoch(epoch), Nanos(epoch * 1000));
            }
            done.store(true, Relaxed);
        });
    }

    #[test]
    fn a_thread_that_ends_releases_its_lock() {
        let (page, _fd) = SharedPage::create(2, Incarnation(1)).unwrap();
        assert!(!page.shard(ShardId(1)).wait_for_death(), "never held is no proof");
        std::thread::scope(|scope| {
            scope.spawn(|| page.shard(ShardId(0)).hold_alive());
        });
        assert!(page.shard(ShardId(0)).thread().is_some());
        assert!(!page.all_held());
        assert!(page.shard(ShardId(0)).wait_for_death());
        assert!(page.shard(ShardId(0)).wait_for_death(), "once dead, always dead");
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let other = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&other, size_for(1) as u64).unwrap();
        assert!(matches!(SharedPage::open(&other), Err(PageError::Magic)));
        let (page, fd) = SharedPage::create(1, Incarnation(1)).unwrap();
        page.header().layout.store(LAYOUT + 1, Release);
        assert!(matches!(SharedPage::open(&fd), Err(PageError::Layout(_))));
    }
}
