//! Names: which are allowed, which key of the store a document is, and how a revision is written.
//!
//! The rules are ArangoDB's traditional ones, so that every name that its drivers make is taken and no name
//! contains a `/`: the parts of a store key can always be told apart.

use super::metadata::SYSTEM;
use engine::ids::Revision;

/// Longest document key in bytes.
pub(super) const MAX_KEY_BYTES: usize = 254;
/// Longest collection name in bytes.
pub(super) const MAX_COLLECTION_BYTES: usize = 256;
/// Longest database name in bytes.
pub(super) const MAX_DATABASE_BYTES: usize = 64;

/// May this be a document's key?
pub(super) fn is_key(key: &[u8]) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len())
        && key.iter().all(|&b| b.is_ascii_alphanumeric() || b"_-:.@()+,=;$!*'%".contains(&b))
}

/// May this be a collection's name? A leading underscore is for system collections.
pub(super) fn is_collection(name: &str, system: bool) -> bool {
    let first = name.as_bytes().first().copied().unwrap_or(b' ');
    (1..=MAX_COLLECTION_BYTES).contains(&name.len())
        && (first.is_ascii_alphabetic() || (system && first == b'_'))
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// May this be the name of a new database?
pub(super) fn is_database(name: &str) -> bool {
    (1..=MAX_DATABASE_BYTES).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphabetic()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// The key of the store that a document is kept under.
pub(super) fn store_key(database: &str, collection: &str, key: &str) -> Vec<u8> {
    let mut out = prefix(database, collection);
    out.extend_from_slice(key.as_bytes());
    out
}

/// What the keys of a collection's documents begin with.
pub(super) fn prefix(database: &str, collection: &str) -> Vec<u8> {
    let parts = if database == SYSTEM { vec![collection, ""] } else { vec![database, collection, ""] };
    parts.join("/").into_bytes()
}

/// A revision as `_rev`: opaque to clients, compared by equality.
pub(super) fn revision(revision: Revision) -> String {
    format!("{:x}-{:x}", revision.epoch.0, revision.lsn.0)
}

/// Reads what [`revision`] wrote.
pub(super) fn parse_revision(text: &str) -> Option<Revision> {
    let (epoch, lsn) = text.split_once('-')?;
    let number = |part| u64::from_str_radix(part, 16).ok();
    Some(Revision { epoch: engine::ids::Epoch(number(epoch)?), lsn: engine::ids::Lsn(number(lsn)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_the_traditional_rules() {
        for good in ["a", "_", "-", "A-Z:0.9@(x)+,=;$!*'%", &"k".repeat(254)] {
            assert!(is_key(good.as_bytes()), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a{b}", "a\"", "\0", &"k".repeat(255)] {
            assert!(!is_key(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn names_follow_the_traditional_rules() {
        assert!(is_collection("users-2_x", false) && is_collection("_graphs", true));
        for bad in ["", "_users", "2users", "a/b", "ü", "a b"] {
            assert!(!is_collection(bad, false), "{bad}");
        }
        assert!(is_database("shop") && !is_database("_shop") && !is_database(&"d".repeat(65)));
    }

    #[test]
    fn a_revision_is_read_back() {
        let (epoch, lsn) = (engine::ids::Epoch(17), engine::ids::Lsn(1 << 40));
        let there = Revision { epoch, lsn };
        assert_eq!(parse_revision(&revision(there)), Some(there));
        assert_eq!(parse_revision("x-1"), None);
    }
}
