//! Idempotency keys: a write that comes again is answered, not done again.
//!
//! The record lies beside the document: under a reserved key in the same slot, written in the same frame as
//! the write it protects, so that it is replicated and survives a failover exactly when the write does. It
//! expires by itself. The revision of the write is that of the record's frame. Failed writes leave no record.

use super::names;
use super::op::{Effect, Once};
use engine::ids::Revision;
use engine::slot::slot_of;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The request's header, in lower case.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest key in bytes.
pub(super) const MAX_ONCE_BYTES: usize = 128;
/// How long a write is remembered.
pub(super) const REMEMBERED_MS: u64 = 10 * 60 * 1000;

/// What is remembered of a write.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The request's hash, in hexadecimal digits.
    request: String,
    effect: Effect,
    /// `_rev` of the document before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    /// What an increment came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Number>,
}

impl Record {
    pub fn new(once: &Once, effect: Effect, old: Option<Revision>, value: Option<Number>) -> Record {
        Record { request: format!("{:032x}", once.request), effect, old: old.map(names::revision), value }
    }

    /// From a stored value; `None` if it is none of ours.
    pub fn decode(value: &[u8]) -> Option<Record> {
        serde_json::from_slice(value).ok()
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is plain data")
    }

    /// Is it of this very request?
    pub fn is_of(&self, once: &Once) -> bool {
        self.request == format!("{:032x}", once.request)
    }

    pub fn effect(&self) -> Effect {
        self.effect
    }

    pub fn value(&self) -> Option<Number> {
        self.value.clone()
    }

    pub fn old(&self) -> Option<Revision> {
        self.old.as_deref().and_then(names::parse_revision)
    }
}

/// The key of the store that the record of a write to `document` is kept under: the document's own slot.
/// Keys of documents have no braces.
pub(super) fn record_key(document: &[u8], once: &Once) -> Vec<u8> {
    let key = [b"\0baton/once/{".as_slice(), document, b"}/", once.key.as_bytes()].concat();
    assert_eq!(slot_of(&key), slot_of(document), "a record lies where its document lies");
    key
}

/// May this be an idempotency key?
pub(super) fn is_once(key: &str) -> bool {
    (1..=MAX_ONCE_BYTES).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lies_in_the_slot_of_its_document() {
        let once = Once { key: "order {7}".to_owned(), request: 5 };
        let key = record_key(b"users/alice", &once);
        assert_eq!(slot_of(&key), slot_of(b"users/alice"));
        let record = Record::decode(&Record::new(&once, Effect::Created, None, None).encode()).unwrap();
        assert!(record.is_of(&once) && !record.is_of(&Once { request: 6, ..once }));
        assert!(!is_once("") && !is_once("a\n") && !is_once(&"x".repeat(129)) && is_once("a b"));
    }
}
