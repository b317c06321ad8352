//! Anonymous memory straight from the kernel: zeroed when it is first touched, given back when dropped.

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::ptr::{self, NonNull};

/// A private mapping of its own.
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: through `&Mapping` it is only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `bytes` zero bytes, at least one, on a page boundary.
    ///
    /// # Panics
    /// If there is no memory.
    pub(super) fn zeroed(bytes: usize) -> Mapping {
        assert!(bytes > 0, "an empty mapping is none");
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory in use.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, protection, MapFlags::PRIVATE) };
        let start = start.expect("blocks fit into memory");
        Mapping { start: NonNull::new(start.cast()).expect("a mapping is not null"), bytes }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: the whole mapping, which lives as long as `self`; what was not written reads as zeroes.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` keeps other slices away.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Clone for Mapping {
    fn clone(&self) -> Mapping {
        let mut copy = Mapping::zeroed(self.bytes);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `zeroed` with this address and length and nobody holds a slice of
        // it. A failure would leave it in place, which is harmless.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
