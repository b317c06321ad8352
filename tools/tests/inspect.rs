//! `baton inspect` on a real group's directories: while it runs, after a stop, and after damage.

mod common;

use baton_tools::processes::Part;
use common::*;
use engine::disk::{DiskCommand, DiskWork};
use engine::ids::{Lsn, SegmentId};
use engine::io::cold::{self, ColdContext};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt;

/// Keys written, with values of [`VALUE_BYTES`]: several segments of 1 MiB.
const KEYS: usize = 2500;
const VALUE_BYTES: usize = 1000;

/// The lines of an inspection as JSON, and its exit code.
fn inspect(words: &[&str]) -> (Vec<Value>, i32) {
    let words: Vec<&str> = ["inspect"].iter().chain(words).chain(&["--json"]).copied().collect();
    let done = run(BATON, &words);
    let lines = String::from_utf8_lossy(&done.stdout).into_owned();
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    (lines, done.status.code().unwrap_or_else(|| panic!("{words:?}: {}", text(&done))))
}

#[test]
fn a_groups_directories_are_told_as_they_are() {
    let mut group = TestGroup::start_with(19_600, |setup| {
        let size = setup.flags.iter().position(|flag| flag == "--segment-mib").expect("a flag of every test");
        setup.flags[size + 1] = "1".to_owned();
    });
    let leader = group.leader().unwrap();
    let mut connection = group.connect(&leader);
    for number in 0..KEYS {
        connection.push(&[b"SET", format!("k{number}").as_bytes(), &[b'v'; VALUE_BYTES]]);
    }
    connection.flush().unwrap();
    for _ in 0..KEYS {
        assert_eq!(connection.receive().unwrap(), ok());
    }
    let dirs = ["a", "b"].map(|name| group.setup().dir.join(name));
    let [a, b] = [dirs[0].to_str().unwrap(), dirs[1].to_str().unwrap()];

    let running = run(BATON, &["inspect", "frames", a, "--limit", "3"]);
    assert!(text(&running).contains("may be changing"), "{}", text(&running));
    group.signal(&leader, Part::Node, Signal::KILL).unwrap();
    group.wait_whole();
    group.stop();

    let (superblock, code) = inspect(&["superblock", a]);
    assert_eq!((superblock[0]["node"].as_str(), code), (Some("a"), 0));
    let (segments, code) = inspect(&["segments", a]);
    assert_eq!(code, 0, "{segments:?}");
    assert!(segments.iter().filter(|segment| segment["sealed"] == true).count() >= 2, "{segments:?}");
    let (frames, code) = inspect(&["frames", a]);
    assert_eq!(code, 0);
    let puts: Vec<&str> = frames
        .iter()
        .filter(|frame| frame["kind"] == "put")
        .map(|frame| frame["key"].as_str().unwrap())
        .collect();
    assert!((0..KEYS).all(|number| puts.contains(&format!("k{number}").as_str())), "every key is told");
    let second = frames[1]["lsn"].to_string();
    let (some, _) = inspect(&["frames", a, "--from", &second, "--limit", "2"]);
    assert_eq!(some, frames[1..3]);
    let (diff, code) = inspect(&["diff", a, b]);
    assert_eq!((diff[0]["identical"].as_bool(), code), (Some(true), 0), "{diff:?}");
    assert_eq!(inspect(&["rewound", a]).1, 0);

    // What a rewind to the third frame would save of the first segment.
    let (from, to) = (frames[2]["lsn"].as_u64().unwrap(), segments[0]["end"].as_u64().unwrap());
    let segment_bytes = superblock[0]["segment_bytes"].as_u64().unwrap();
    let first = SegmentId(segments[0]["segment"].as_u64().unwrap() as u32);
    let shard = dirs[0].join("shard-0");
    let context = ColdContext { dir: shard.clone(), segment_bytes };
    let work = DiskWork::SaveRewound {
        from: Lsn(from),
        to: Lsn(to),
        pieces: vec![(first, 4096 + from, to - from)],
        wall_ms: 1,
    };
    cold::run(&context, &DiskCommand { ticket: 0, work }).1.result.unwrap();
    let (rewound, code) = inspect(&["rewound", a]);
    let head = rewound.iter().position(|line| line["wall_ms"] == 1).expect("the saved file");
    assert_eq!((rewound[head]["from"].as_u64(), rewound[head + 1]["lsn"].as_u64()), (Some(from), Some(from)));
    let last = rewound.iter().rev().find(|line| line["kind"] == "seal").expect("the seal was cut as well");
    assert_eq!((last["end"].as_u64(), code), (Some(to), 0));

    // One flipped byte in a value of a sealed segment.
    let hit = frames.iter().find(|frame| frame["key"] == "k100").unwrap()["lsn"].as_u64().unwrap();
    let path = shard.join(engine::segment::file_name(first));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"x", 4096 + hit + 200).unwrap();
    let (after, code) = inspect(&["frames", a]);
    let bad = after.iter().find(|line| line["damage"] == true).expect("the bad frame is told");
    assert_eq!((bad["lsn"].as_u64(), code), (Some(hit), 1), "{bad}");
    assert!(bad["fault"].as_str().unwrap().contains("checksum"), "{bad}");
    assert_eq!(after.last(), frames.last(), "the scan goes on behind it");
    assert_eq!(inspect(&["segments", a]).1, 1);
    let (diff, code) = inspect(&["diff", a, b]);
    assert_eq!((diff[0]["difference"]["lsn"].as_u64(), code), (Some(hit + 200), 1), "{diff:?}");
    assert!(diff[0]["difference"]["b"].as_str().unwrap().contains("k100"), "{diff:?}");
}

#[test]
fn what_is_no_data_directory_is_wrong_usage() {
    assert_eq!(inspect(&["segments", "/nowhere"]).1, 2);
    assert_eq!(inspect(&["diff", "/nowhere", "/nowhere"]).1, 2);
}
