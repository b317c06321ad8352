//! The provided buffers of one ring: memory from which the kernel picks when bytes of a client arrive, so
//! that a thousand idle connections need no thousand buffers.
//!
//! The kernel takes buffers from the head of a shared ring of entries; [`ReceiveBuffers::recycle`] puts them
//! back at its tail. No buffer is in the hands of both at a time.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// How many buffers a ring has; a power of two.
pub const RECEIVE_BUFFERS: u16 = 256;
/// Bytes of each.
pub const RECEIVE_BUFFER_BYTES: usize = 16 << 10;

const ENTRIES_BYTES: usize = RECEIVE_BUFFERS as usize * size_of::<BufRingEntry>();
const MEMORY_BYTES: usize = RECEIVE_BUFFERS as usize * RECEIVE_BUFFER_BYTES;

const _: () = assert!(RECEIVE_BUFFERS.is_power_of_two());

/// Buffers and the ring of entries that hands them to the kernel, in one mapping: entries first.
pub(super) struct ReceiveBuffers {
    start: *mut u8,
    tail: u16,
    leaked: bool,
}

impl ReceiveBuffers {
    /// The buffer group's number.
    pub(super) const GROUP: u16 = 0;
    /// Where the buffers begin: the entries fill whole pages before them.
    const OFFSET: usize = ENTRIES_BYTES.next_multiple_of(4096);

    /// Map the memory, register it with `uring`, and hand all buffers to the kernel.
    pub(super) fn register(uring: &IoUring) -> io::Result<ReceiveBuffers> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), Self::OFFSET + MEMORY_BYTES, protection, MapFlags::PRIVATE)
        }?;
        let mut buffers = ReceiveBuffers { start: start.cast(), tail: 0, leaked: false };
        // SAFETY: the entries are page aligned and live until `drop`, which the ring calls after its last
        // operation ended, or never (`leak`).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(start as u64, RECEIVE_BUFFERS, Self::GROUP, 0)
        }?;
        for buffer in 0..RECEIVE_BUFFERS {
            buffers.recycle(buffer);
        }
        Ok(buffers)
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        assert!(buffer < RECEIVE_BUFFERS, "the kernel names buffers it was given");
        // SAFETY: inside the mapping by the check above.
        unsafe { self.start.add(Self::OFFSET + buffer as usize * RECEIVE_BUFFER_BYTES) }
    }

    /// The first `len` bytes of a buffer the kernel handed back.
    pub(super) fn bytes(&self, buffer: u16, len: usize) -> &[u8] {
        assert!(len <= RECEIVE_BUFFER_BYTES);
        // SAFETY: inside the mapping; zeroed or received into, so initialised; the kernel does not touch it
        // before `recycle`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.at(buffer), len) }
    }

    /// Hand a buffer to the kernel.
    pub(super) fn recycle(&mut self, buffer: u16) {
        let address = self.at(buffer) as u64;
        let place = (self.tail & (RECEIVE_BUFFERS - 1)) as usize;
        let entries = self.start.cast::<BufRingEntry>();
        // SAFETY: `place` is inside the ring of entries, and the kernel does not read an entry at or past
        // the tail. The first entry's spare field is the tail, which the setters leave alone.
        let entry = unsafe { &mut *entries.add(place) };
        entry.set_addr(address);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, is aligned for a u16, and is shared with the kernel only
        // as an atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    /// Never unmap: the kernel may still write here.
    pub(super) fn leak(&mut self) {
        self.leaked = true;
    }
}

impl Drop for ReceiveBuffers {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: mapped by `register` with this length. The kernel pinned the entries' pages for as
            // long as the ring lives, and no operation that could pick a buffer is left.
            let _ = unsafe { munmap(self.start.cast(), Self::OFFSET + MEMORY_BYTES) };
        }
    }
}
