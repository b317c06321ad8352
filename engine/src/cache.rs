//! Values read from disk, kept within a byte budget.
//!
//! The key is the frame's place and the key's hash, and frames never change: nothing has to be invalidated but
//! by a rewind.

use crate::ids::{Epoch, Lsn, Revision};
use crate::key::BuildAlreadyHashed;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

/// What an entry costs besides its value.
const ENTRY_OVERHEAD: u64 = 96;
/// The cache's own guess of an entry's size, for sizing its tables.
const TYPICAL_VALUE_BYTES: usize = 512;

pub(crate) struct CachedValue {
    pub value: Box<[u8]>,
    pub expiry_ms: u64,
    pub epoch: Epoch,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u64, u128), CachedValue> for ByBytes {
    fn weight(&self, _key: &(u64, u128), cached: &CachedValue) -> u64 {
        cached.value.len() as u64 + ENTRY_OVERHEAD
    }
}

pub(crate) struct ValueCache(Cache<(u64, u128), CachedValue, ByBytes, BuildAlreadyHashed>);

impl ValueCache {
    pub fn new(bytes: usize) -> ValueCache {
        let items = bytes / TYPICAL_VALUE_BYTES + 1;
        ValueCache(Cache::with(
            items,
            bytes as u64,
            ByBytes,
            BuildAlreadyHashed::default(),
            Default::default(),
        ))
    }

    pub fn get(&self, lsn: Lsn, hash: u128) -> Option<&CachedValue> {
        self.0.get(&(lsn.0, hash))
    }

    pub fn put(&mut self, revision: Revision, hash: u128, value: &[u8], expiry_ms: u64) {
        if value.len() as u64 + ENTRY_OVERHEAD <= self.0.capacity() {
            let Revision { epoch, lsn } = revision;
            self.0.insert((lsn.0, hash), CachedValue { value: value.into(), expiry_ms, epoch });
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
