//! A ring of bytes that is mapped twice back to back, so that every range of it is contiguous.
//!
//! With `mapping` the only `unsafe` of the engine outside `io` and the meter of tests: making the mapping, and slices
//! of it.

use crate::limits::BLOCK;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fmt;
use std::ptr::{self, NonNull};

/// A ring of bytes whose memory is mapped twice in a row: a range that wraps around the end is contiguous.
///
/// The kernel reads and writes parts of it while the shard works on others; the shard's cursors keep them
/// apart (`log`), which is why access goes through positions and never through one big slice.
pub struct MirrorBuffer {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for MirrorBuffer {}

impl MirrorBuffer {
    /// Maps a ring of `capacity` bytes, rounded up to the page size.
    ///
    /// # Errors
    /// What the kernel says when memory, address space or file descriptors are short.
    pub fn new(capacity: usize) -> std::io::Result<MirrorBuffer> {
        let page = rustix::param::page_size().max(BLOCK as usize);
        let capacity = capacity.max(1).div_ceil(page) * page;
        let memory = memfd_create("baton-log", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, capacity as u64)?;
        // SAFETY: a fresh reservation at an address of the kernel's choice touches no memory in use.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), 2 * capacity, ProtFlags::empty(), MapFlags::PRIVATE)? };
        let mapping =
            MirrorBuffer { start: NonNull::new(start.cast()).expect("a mapping is not null"), capacity };
        for half in 0..2 {
            // SAFETY: the half lies inside the reservation made above, which nothing else uses.
            unsafe {
                mmap(
                    start.cast::<u8>().add(half * capacity).cast::<c_void>(),
                    capacity,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::SHARED | MapFlags::FIXED,
                    &memory,
                    0,
                )?;
            }
        }
        Ok(mapping)
    }

    /// The ring's size in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The first byte of the double mapping, for registering it with the kernel.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Length of the double mapping: twice the capacity.
    pub fn mapped_len(&self) -> usize {
        2 * self.capacity
    }

    /// Where the byte of this log position lies in the mapping.
    pub fn position(&self, at: u64) -> usize {
        (at % self.capacity as u64) as usize
    }

    /// The `len` bytes at log position `at`.
    pub fn slice(&self, at: u64, len: usize) -> &[u8] {
        assert!(len <= self.capacity, "a range longer than the ring");
        // SAFETY: position < capacity and len <= capacity, so the range lies inside the double mapping, which
        // lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().add(self.position(at)), len) }
    }

    /// The `len` bytes at log position `at`, for writing.
    pub fn slice_mut(&mut self, at: u64, len: usize) -> &mut [u8] {
        assert!(len <= self.capacity, "a range longer than the ring");
        // SAFETY: as in `slice`; a range no longer than the ring holds no byte twice, and `&mut self` keeps
        // other slices away.
        unsafe { std::slice::from_raw_parts_mut(self.as_ptr().add(self.position(at)), len) }
    }
}

impl Drop for MirrorBuffer {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this address and length and nobody holds a slice of it.
        // A failure would leave the mapping in place, which is harmless.
        let _ = unsafe { munmap(self.as_ptr().cast(), self.mapped_len()) };
    }
}

impl fmt::Debug for MirrorBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MirrorBuffer({} bytes)", self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_over_the_end_is_contiguous() {
        let mut ring = MirrorBuffer::new(8192).unwrap();
        let capacity = ring.capacity() as u64;
        ring.slice_mut(capacity - 3, 6).copy_from_slice(b"abcdef");
        assert_eq!(ring.slice(0, 3), b"def");
        assert_eq!(ring.slice(2 * capacity - 3, 6), b"abcdef");
    }
}
