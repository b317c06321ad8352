//! The agent's durable state: one file with two checksummed copies. Written by `store_thread` alone.
//!
//! Promises that what was reported as stored is found after a crash at any moment: a write goes over the
//! copy that is *not* the newest, and once things are quiet the other copy is brought up to it too, so that a
//! single damaged copy is repaired from its twin. If neither copy is whole the agent does not start: an agent
//! that forgot what it promised is worse than none. A failed write is final (rule 14).
//!
//! The file `agency`: two slots of [`SLOT`] bytes. A slot, little-endian: magic (8), layout (4), length of
//! the image (4), sequence (8), incarnation (8), CRC32 of all that and the image (4), zero (4); then the
//! image. A slot never written is all zero. Does not know what the image means.

use super::log::Log;
use agency::ids::Incarnation;
use agency::register::LARGEST_IMAGE;
use rustix::fs::{FlockOperation, OFlags};
use std::alloc::Layout;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of one copy.
pub const SLOT: usize = 256 * 1024;
/// Bytes before the image.
const HEADER: usize = 40;
/// Longest image, in bytes.
pub const MAX_IMAGE: usize = SLOT - HEADER;
/// The file's name within the warden's directory.
pub const FILE: &str = "agency";

const MAGIC: [u8; 8] = *b"BatonAgt";
const LAYOUT: u32 = 1;
/// Alignment that direct writes need on any disk in use.
const BLOCK: usize = 4096;

const _: () = {
    assert!(SLOT.is_multiple_of(BLOCK), "slots are written block by block");
    assert!(LARGEST_IMAGE <= MAX_IMAGE, "what an agent may have to store fits into a slot");
};

/// Why the agent's state cannot be read or kept.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is in use by another warden")]
    InUse(PathBuf),
    #[error(
        "both copies in {0} are damaged: this agent no longer knows what it promised; \
         restore the file, or remove this member from the group"
    )]
    Damaged(PathBuf),
    #[error("{path} has layout version {found}, this program has {LAYOUT}")]
    Layout { path: PathBuf, found: u32 },
    #[error("an image of {0} bytes is longer than the limit of {MAX_IMAGE}")]
    TooLong(usize),
}

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rises with each write.
    pub sequence: u64,
    /// The newest incarnation of the node that was ever started; 0 before the first.
    pub incarnation: Incarnation,
    /// The overseer's image; empty before the first.
    pub image: Vec<u8>,
}

/// Reads the state in a warden's directory without touching it; for inspectors. `None` if there is none.
///
/// # Errors
/// It cannot be read, or neither copy is whole.
pub fn read(dir: &Path) -> Result<Option<Stored>, StoreError> {
    let path = dir.join(FILE);
    match File::open(&path) {
        Ok(file) => load(&file, &path).map(|(stored, ..)| Some(stored).filter(|s| s.sequence > 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io { path, source }),
    }
}

/// The marker's name within the warden's directory: a person accepts, for the next start, that this member leads what
/// nobody else can, though acknowledged writes may be missing there (rule 5).
pub const ACCEPTANCE: &str = "promote-accepted";

/// Leaves the marker in a warden's directory, durably. The warden need not run; its next start honours it, once.
///
/// # Errors
/// There is no agent's state in the directory, or the marker cannot be written.
pub fn accept_data_loss(dir: &Path) -> Result<(), StoreError> {
    let io_error = |path: &Path, source| StoreError::Io { path: path.to_owned(), source };
    let state = dir.join(FILE);
    state.metadata().map_err(|source| io_error(&state, source))?;
    let marker = dir.join(ACCEPTANCE);
    let written = File::create(&marker).and_then(|file| file.sync_all());
    written.and_then(|()| File::open(dir)?.sync_all()).map_err(|source| io_error(&marker, source))
}

/// Whether the marker is there. It is gone, durably, before this returns: it counts for one start.
pub(super) fn take_acceptance(dir: &Path) -> Result<bool, StoreError> {
    let marker = dir.join(ACCEPTANCE);
    match std::fs::remove_file(&marker).and_then(|()| File::open(dir)?.sync_all()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Io { path: marker, source }),
    }
}

/// One copy as found.
enum Copy {
    Blank,
    Torn,
    Whole(Stored),
}

/// The newest state, the slot it is in, and whether the other slot is damaged.
fn load(file: &File, path: &Path) -> Result<(Stored, usize, bool), StoreError> {
    let copies = [parse(file, 0, path)?, parse(file, 1, path)?];
    match copies {
        [Copy::Blank, Copy::Blank] => Ok((Stored::default(), 1, false)),
        // A first write that was torn was never reported as stored.
        [Copy::Torn, Copy::Blank] => Ok((Stored::default(), 1, true)),
        [Copy::Whole(a), Copy::Whole(b)] => {
            Ok(if a.sequence >= b.sequence { (a, 0, false) } else { (b, 1, false) })
        }
        [Copy::Whole(a), other] => Ok((a, 0, matches!(other, Copy::Torn))),
        [other, Copy::Whole(b)] => Ok((b, 1, matches!(other, Copy::Torn))),
        [_, Copy::Torn] => Err(StoreError::Damaged(path.to_owned())),
    }
}

fn parse(file: &File, slot: usize, path: &Path) -> Result<Copy, StoreError> {
    let io_error = |source| StoreError::Io { path: path.to_owned(), source };
    let mut bytes = vec![0; SLOT];
    let mut filled = 0;
    while filled < SLOT {
        match file.read_at(&mut bytes[filled..], (slot * SLOT + filled) as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io_error(error)),
        }
    }
    if bytes.iter().all(|b| *b == 0) {
        return Ok(Copy::Blank);
    }
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let length = u32_at(12) as usize;
    if bytes[..8] != MAGIC || length > MAX_IMAGE {
        return Ok(Copy::Torn);
    }
    let image = &bytes[HEADER..HEADER + length];
    if u32_at(32) != checksum(&bytes[..32], image) {
        return Ok(Copy::Torn);
    }
    if u32_at(8) != LAYOUT {
        return Err(StoreError::Layout { path: path.to_owned(), found: u32_at(8) });
    }
    Ok(Copy::Whole(Stored {
        sequence: u64_at(16),
        incarnation: Incarnation(u64_at(24)),
        image: image.to_vec(),
    }))
}

fn checksum(header: &[u8], image: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    crc.update(image);
    crc.finalize()
}

/// Memory that direct writes take.
struct Aligned {
    start: std::ptr::NonNull<u8>,
}

impl Aligned {
    const LAYOUT: Layout = match Layout::from_size_align(SLOT, BLOCK) {
        Ok(layout) => layout,
        Err(_) => panic!("a slot is a number of blocks"),
    };

    fn new() -> Aligned {
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc_zeroed(Aligned::LAYOUT) };
        let Some(start) = std::ptr::NonNull::new(start) else {
            std::alloc::handle_alloc_error(Aligned::LAYOUT)
        };
        Aligned { start }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with this size and zeroed in `new`; borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), SLOT) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), Aligned::LAYOUT) };
    }
}

// SAFETY: it owns plain memory.
unsafe impl Send for Aligned {}

/// The open file. Holds the directory's lock.
pub(super) struct Store {
    file: File,
    path: PathBuf,
    buffer: Aligned,
    newest: usize,
    twin_differs: bool,
    stored: Stored,
}

impl Store {
    /// Opens or makes the file in `dir` and locks it.
    pub fn open(dir: &Path, log: &Log) -> Result<Store, StoreError> {
        let path = dir.join(FILE);
        let io_error = |source| StoreError::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir).map_err(io_error)?;
        let open = |flags: OFlags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(flags.bits() as i32).open(&path)
        };
        // Some file systems know no direct I/O; durable they are all the same.
        let direct = open(OFlags::DSYNC | OFlags::DIRECT);
        let file = direct.or_else(|_| open(OFlags::DSYNC)).map_err(io_error)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse(path)),
            Err(error) => return Err(io_error(error.into())),
        }
        let (stored, newest, torn) = {
            let plain = File::open(&path).map_err(io_error)?;
            load(&plain, &path)?
        };
        if torn {
            log.line(&format!("one copy in {} was torn or damaged; using the other", path.display()));
        }
        let mut store = Store { file, path, buffer: Aligned::new(), newest, twin_differs: true, stored };
        if store.stored.sequence == 0 {
            store.format()?;
        }
        store.copy_to_twin()?;
        Ok(store)
    }

    /// Zeroes both slots and makes the file's very existence durable, so that later writes change no metadata.
    fn format(&mut self) -> Result<(), StoreError> {
        self.buffer.bytes().fill(0);
        for slot in 0..2 {
            self.write_slot(slot, SLOT)?;
        }
        let io_error = |source| StoreError::Io { path: self.path.clone(), source };
        self.file.sync_all().map_err(io_error)?;
        let dir = self.path.parent().expect("the file is in a directory");
        File::open(dir).and_then(|d| d.sync_all()).map_err(io_error)?;
        self.twin_differs = false;
        Ok(())
    }

    /// Whether the older copy lags behind the newer one.
    pub fn twin_differs(&self) -> bool {
        self.twin_differs
    }

    /// What is stored.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Makes this durable.
    pub fn put(&mut self, incarnation: Incarnation, image: Vec<u8>) -> Result<(), StoreError> {
        if image.len() > MAX_IMAGE {
            return Err(StoreError::TooLong(image.len()));
        }
        assert!(incarnation >= self.stored.incarnation, "incarnations only rise (rule 18)");
        self.stored = Stored { sequence: self.stored.sequence + 1, incarnation, image };
        let slot = 1 - self.newest;
        self.fill_and_write(slot)?;
        assert!(slot != self.newest && slot < 2, "the newest copy is never written over");
        self.newest = slot;
        self.twin_differs = true;
        Ok(())
    }

    /// Brings the older copy up to the newer one.
    pub fn copy_to_twin(&mut self) -> Result<(), StoreError> {
        if self.twin_differs && self.stored.sequence > 0 {
            self.fill_and_write(1 - self.newest)?;
        }
        self.twin_differs = false;
        Ok(())
    }

    fn fill_and_write(&mut self, slot: usize) -> Result<(), StoreError> {
        let Stored { sequence, incarnation, image } = &self.stored;
        let bytes = self.buffer.bytes();
        let end = HEADER + image.len();
        let padded = end.next_multiple_of(BLOCK);
        assert!(padded <= SLOT, "a copy stays in its slot");
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(image.len() as u32).to_le_bytes());
        bytes[16..24].copy_from_slice(&sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&incarnation.0.to_le_bytes());
        let crc = checksum(&bytes[..32], image);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes[36..HEADER].fill(0);
        bytes[HEADER..end].copy_from_slice(image);
        bytes[end..padded].fill(0);
        self.write_slot(slot, padded)
    }

    fn write_slot(&mut self, slot: usize, length: usize) -> Result<(), StoreError> {
        let bytes = &self.buffer.bytes()[..length];
        let written = self.file.write_all_at(bytes, (slot * SLOT) as u64);
        written.map_err(|source| StoreError::Io { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Result<Store, StoreError> {
        Store::open(dir, &Log::start("test").unwrap())
    }

    fn damage(dir: &Path, slot: usize) {
        let file = OpenOptions::new().write(true).open(dir.join(FILE)).unwrap();
        file.write_all_at(&[0xff; 3], (slot * SLOT + HEADER + 1) as u64).unwrap();
    }

    #[test]
    fn what_was_put_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        for n in 0..20u64 {
            let mut store = open(dir.path()).unwrap();
            assert_eq!(store.stored().sequence, n);
            store.put(Incarnation(n + 1), vec![n as u8; n as usize * 777]).unwrap();
            let found = read(dir.path()).unwrap().unwrap();
            assert_eq!(&found, store.stored());
        }
    }

    #[test]
    fn a_torn_write_leaves_what_was_stored_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        store.put(Incarnation(1), b"first".to_vec()).unwrap();
        store.put(Incarnation(1), b"second".to_vec()).unwrap();
        let torn = store.newest;
        drop(store);
        damage(dir.path(), torn);
        assert_eq!(open(dir.path()).unwrap().stored().image, b"first");
    }

    #[test]
    fn a_damaged_copy_is_repaired_from_its_twin() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        store.put(Incarnation(1), b"first".to_vec()).unwrap();
        store.put(Incarnation(1), b"second".to_vec()).unwrap();
        store.copy_to_twin().unwrap();
        drop(store);
        for slot in [0, 1, 0] {
            damage(dir.path(), slot);
            assert_eq!(open(dir.path()).unwrap().stored().image, b"second", "slot {slot} damaged");
        }
    }

    #[test]
    fn an_agent_that_forgot_everything_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        store.put(Incarnation(1), b"promise".to_vec()).unwrap();
        store.copy_to_twin().unwrap();
        drop(store);
        damage(dir.path(), 0);
        damage(dir.path(), 1);
        assert!(matches!(open(dir.path()), Err(StoreError::Damaged(_))));
        assert!(matches!(read(dir.path()), Err(StoreError::Damaged(_))));
    }

    #[test]
    fn an_accepted_loss_counts_for_one_start_of_an_agent_that_has_a_past() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            matches!(accept_data_loss(dir.path()), Err(StoreError::Io { .. })),
            "nothing was ever stored here"
        );
        open(dir.path()).unwrap().put(Incarnation(1), b"promise".to_vec()).unwrap();
        assert!(!take_acceptance(dir.path()).unwrap());
        accept_data_loss(dir.path()).unwrap();
        accept_data_loss(dir.path()).unwrap();
        assert!(take_acceptance(dir.path()).unwrap());
        assert!(!take_acceptance(dir.path()).unwrap());
    }

    #[test]
    fn a_directory_serves_one_warden() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::InUse(_))));
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).unwrap();
        assert!(matches!(store.put(Incarnation(1), vec![0; MAX_IMAGE + 1]), Err(StoreError::TooLong(_))));
        store.put(Incarnation(1), vec![1; MAX_IMAGE]).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().image, vec![1; MAX_IMAGE]);
    }
}
