//! Cursors of listings: all that the next page needs, in the cursor's own name. The server keeps nothing.
//!
//! So a cursor outlives a failover and costs nothing when it is forgotten. It is not secret and not trusted:
//! what it says is checked like any other input.

use super::names;
use super::op::Items;
use engine::ids::Lsn;
use engine::key_scan::ScanPosition;
use serde::{Deserialize, Serialize};

/// Most documents of one page.
pub(super) const MAX_BATCH: usize = 10_000;
/// Documents of one page where the client does not say.
pub(super) const DEFAULT_BATCH: usize = 1000;
/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR_BYTES: usize = 2048;

/// A place in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub collection: String,
    pub items: Items,
    pub shard: u16,
    pub from: ScanPosition,
    /// Documents per page.
    pub batch: usize,
    /// How many documents may still follow.
    pub left: Option<u64>,
    /// How many the whole listing has, if the client asked.
    pub count: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Text(String, Items, u16, u64, u32, usize, Option<u64>, Option<u64>);

impl Cursor {
    /// Its name: letters and digits.
    pub fn encode(&self) -> String {
        let text = Text(
            self.collection.clone(),
            self.items,
            self.shard,
            self.from.frame.0,
            self.from.operation,
            self.batch,
            self.left,
            self.count,
        );
        let text = serde_json::to_string(&text).expect("a cursor is plain data");
        let name: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(name.len() <= MAX_CURSOR_BYTES, "a cursor that would not be looked at when it comes back");
        name
    }

    /// From a name; `None` if it is none of ours.
    pub fn decode(name: &str) -> Option<Cursor> {
        if name.len() > MAX_CURSOR_BYTES || !name.len().is_multiple_of(2) || !name.is_ascii() {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(name.get(at..at + 2)?, 16).ok();
        let text: Option<Vec<u8>> = (0..name.len()).step_by(2).map(byte).collect();
        let Text(collection, items, shard, frame, operation, batch, left, count) =
            serde_json::from_slice(&text?).ok()?;
        let sound = names::is_collection(&collection, true) && (1..=MAX_BATCH).contains(&batch);
        let from = ScanPosition { frame: Lsn(frame), operation };
        sound.then_some(Cursor { collection, items, shard, from, batch, left, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_anything_else_refused() {
        let from = ScanPosition { frame: Lsn(1 << 50), operation: 7 };
        let (collection, items) = ("users".to_owned(), Items::Ids);
        let cursor = Cursor { collection, items, shard: 3, from, batch: 100, left: Some(5), count: None };
        let name = cursor.encode();
        assert_eq!(Cursor::decode(&name), Some(cursor.clone()));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()));
        let huge = Cursor { batch: MAX_BATCH + 1, ..cursor };
        for bad in ["", "1", "12345", "zz", "é", &huge.encode(), &name[2..]] {
            assert_eq!(Cursor::decode(bad), None, "{bad}");
        }
    }
}
