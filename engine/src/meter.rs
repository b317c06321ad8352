//! What the simulator's clock is driven by: how much this thread's shards have done.
//!
//! Promises that a build without the feature `mutants` counts nothing: there the calls are empty, and the compiler
//! removes them. Independent of any budget: who forgets to pay for a step is counted nevertheless.

/// Work done by this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Keys looked up, set or removed in an index.
    pub keys: u64,
    /// Bytes of frames that were written or checked.
    pub bytes: u64,
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static DONE: std::cell::Cell<Work> = const { std::cell::Cell::new(Work { keys: 0, bytes: 0 }) };
}

/// A key was looked up, set or removed.
#[inline(always)]
pub(crate) fn key() {
    #[cfg(feature = "mutants")]
    DONE.set(Work { keys: DONE.get().keys + 1, ..DONE.get() });
}

/// Bytes of a frame were written or checked.
#[inline(always)]
pub(crate) fn bytes(_len: usize) {
    #[cfg(feature = "mutants")]
    DONE.set(Work { bytes: DONE.get().bytes + _len as u64, ..DONE.get() });
}

/// All that this thread has done so far.
#[cfg(feature = "mutants")]
pub fn done() -> Work {
    DONE.get()
}

/// All that this thread has done so far: not counted.
#[cfg(not(feature = "mutants"))]
pub const fn done() -> Work {
    Work { keys: 0, bytes: 0 }
}
