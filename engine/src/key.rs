//! A key's identity in the index: a keyed 128-bit hash (`docs/decisions/0002-index-key-identity.md`).

use crate::ids::GroupId;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::{BuildHasherDefault, Hasher};

/// SipHash-1-3 with 128 bits of output, keyed by the group: the same on every node, not known to clients.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher(SipHasher13);

impl KeyHasher {
    pub fn new(group: GroupId) -> KeyHasher {
        KeyHasher(SipHasher13::new_with_key(&group.0.to_le_bytes()))
    }

    pub fn hash(&self, key: &[u8]) -> u128 {
        let mut hasher = self.0;
        hasher.write(key);
        hasher.finish128().as_u128()
    }
}

/// For maps whose keys are such hashes already.
#[derive(Default)]
pub(crate) struct AlreadyHashed(u64);

pub(crate) type BuildAlreadyHashed = BuildHasherDefault<AlreadyHashed>;

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("keys of this map are integers")
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(32) ^ value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64((value >> 64) as u64);
        self.0 ^= value as u64;
    }
}
