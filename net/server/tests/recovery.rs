//! A long recovery is no stuck one: the warden sees it move.

use agency::ids::Incarnation;
use engine::ids::{GroupId, ShardId};
use engine::io::dir::{FormatOptions, open_or_format};
use engine::memory::MirrorBuffer;
use engine::shard::ShardOptions;
use server::recovery::recover;
use warden::page::SharedPage;

#[test]
fn the_progress_word_moves_while_a_log_is_recovered() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let group = GroupId(7);
    let mut options = ShardOptions::new(group, ShardId(1));
    options.segment_bytes = 4 << 20;
    options.max_value_bytes = 64 << 10;
    let format =
        FormatOptions { group, node_name: "a".into(), shards: 2, segment_bytes: options.segment_bytes };
    let (page, _fd) = SharedPage::create(2, Incarnation(1)).unwrap();
    let word = |shard| page.shard(agency::ids::ShardId(shard)).progress().turns;
    let open = || {
        let dir = open_or_format(&scratch.path().join("a"), &format).unwrap();
        let buffer = MirrorBuffer::new(1 << 20).unwrap();
        drop(recover(&page, &dir, &options, buffer).unwrap());
        word(1)
    };
    let first = open();
    let second = open();
    assert!(second > first, "{first}, then {second}: nothing of what was read was seen");
    assert_eq!(word(0), 0, "the other shard is not opened");
}
