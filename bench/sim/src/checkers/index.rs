//! The index equals a replay of the log: every key of the committed log is found with the value it had at
//! what is committed, and no other key is. Readers see what is committed before it is applied.

use super::committed_log::{Log, digest};
use engine::disk::ReadSpec;
use engine::frame::FrameView;
use engine::limits::BLOCK;
use engine::shard::{Found, Shard, View};

/// Compares a shard's index with its log. `read` gives blocks of its disk.
pub fn verdict(engine: &Shard, log: &Log, read: impl Fn(ReadSpec) -> Vec<u8>) -> Result<(), String> {
    let committed = engine.committed().0;
    let mut there = 0;
    for (key, changes) in &log.keys {
        let expected = changes.iter().rev().find(|(end, _)| *end <= committed).and_then(|(_, value)| *value);
        there += u64::from(expected.is_some());
        let found = match engine.find(key, View::Committed) {
            Found::Missing { .. } => None,
            Found::Here { value, .. } => Some(digest(value)),
            Found::OnDisk { at, spec, .. } => {
                let blocks = read(spec);
                let frame = FrameView::of(&blocks[(at.offset % BLOCK) as usize..]).filter(FrameView::intact);
                let Some(frame) = frame else {
                    return Err(format!("{} is damaged at {at:?}", String::from_utf8_lossy(key)));
                };
                frame.find(key).filter(|operation| operation.put).map(|operation| digest(operation.value))
            }
        };
        if found != expected {
            let key = String::from_utf8_lossy(key);
            return Err(format!("{key} is {found:?}, the log up to {committed} says {expected:?}"));
        }
    }
    // What is committed and not yet on this disk is found, and not yet counted.
    if engine.applied() >= engine.committed() && engine.key_count() != there {
        return Err(format!("the index counts {} keys, the log has {there}", engine.key_count()));
    }
    Ok(())
}
