//! The engine on real files: formatting, locking, opening, the cold operations.

use super::{BUFFER_BYTES, options};
use crate::disk::{DiskCommand, DiskWork};
use crate::ids::{Epoch, GroupId, Lsn};
use crate::io::cold::{self, ColdContext, write_all};
use crate::io::dir::{self, DataDir, DirError, FormatOptions};
use crate::io::{Opening, ShardFiles, open_shard};
use crate::memory::MirrorBuffer;
use crate::shard::{Op, Shard, View};
use rustix::fs::fdatasync;

fn format_options() -> FormatOptions {
    FormatOptions {
        group: options().group,
        node_name: "a".into(),
        shards: 4,
        segment_bytes: options().segment_bytes,
    }
}

fn open(dir: &DataDir) -> (Shard, ShardFiles) {
    let buffer = MirrorBuffer::new(BUFFER_BYTES).unwrap();
    open_shard(dir, options().shard, &options(), buffer, &mut |_| ()).unwrap()
}

fn run(dir: &DataDir, shard: &mut Shard, files: &mut ShardFiles, op: DiskCommand) {
    let mut done = crate::disk::DiskDone { ticket: op.ticket, result: Ok(()) };
    match &op.work {
        DiskWork::WriteLog { segment, offset, range } => {
            let file = &files.segments[segment];
            write_all(file, shard.bytes(*range), *offset).unwrap();
            fdatasync(file).unwrap();
        }
        DiskWork::WriteBlocks { segment, offset, bytes } => {
            write_all(&files.segments[segment], bytes.as_slice(), *offset).unwrap();
        }
        DiskWork::Pulse { bytes } => write_all(&files.pulse, bytes.as_slice(), 0).unwrap(),
        _ => {
            let context =
                ColdContext { dir: dir.shard_dir(options().shard), segment_bytes: options().segment_bytes };
            let (made, cold_done) = cold::run(&context, &op);
            files.segments.extend(made);
            done = cold_done;
        }
    }
    shard.disk_done(done).unwrap();
}

fn settle(dir: &DataDir, shard: &mut Shard, files: &mut ShardFiles) {
    while let Some(op) = shard.poll_disk() {
        run(dir, shard, files, op);
    }
    while shard.apply_some(100) {}
}

#[test]
fn a_shard_comes_back_from_its_files() {
    let place = tempfile::tempdir().unwrap();
    let dir = dir::open_or_format(&place.path().join("a"), &format_options()).unwrap();
    let (mut shard, mut files) = open(&dir);
    assert!(shard.poll_disk().is_none(), "a spare is prepared already");
    shard.begin_epoch(Epoch(1), 1).unwrap();
    let mut middle = Lsn(0);
    for n in 0..5000u64 {
        let end =
            shard.append(&[Op::Put { key: &n.to_le_bytes(), value: &[3; 100], expiry_ms: 0 }], 2).unwrap();
        if n == 1000 {
            middle = end;
        }
        if n % 64 == 0 {
            settle(&dir, &mut shard, &mut files);
            shard.commit_to(shard.durable().min(if middle > Lsn(0) { middle } else { Lsn(u64::MAX) }));
        }
        if shard.buffer.has_room(shard.keep_from(), shard.tail().advance(60_000)) {
            continue;
        }
        break;
    }
    settle(&dir, &mut shard, &mut files);
    let tail = shard.tail();
    let pulse = shard.pulse().unwrap();
    run(&dir, &mut shard, &mut files, pulse);
    drop((shard, files));

    let (mut shard, mut files) = open(&dir);
    assert_eq!((shard.tail(), shard.durable(), shard.committed()), (tail, tail, middle));
    assert_eq!(shard.last_epoch(), Epoch(1));
    assert!(!shard.damaged());
    shard.rewind_to(middle, 3).unwrap();
    settle(&dir, &mut shard, &mut files);
    assert!(!shard.rewinding());
    let saved = std::fs::read_dir(dir.shard_dir(options().shard).join("rewound")).unwrap();
    let saved: Vec<_> = saved.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(saved.len(), 1);
    assert!(saved[0] >= 4096 + tail.0 - middle.0);
    shard.begin_epoch(Epoch(2), 1).unwrap();
    shard.append(&[Op::Put { key: b"new", value: b"1", expiry_ms: 0 }], 2).unwrap();
    settle(&dir, &mut shard, &mut files);
    let tail = shard.tail();
    drop((shard, files));

    let (shard, _files) = open(&dir);
    assert_eq!(shard.tail(), tail);
    assert_eq!(shard.history().entries(), &[(Epoch(1), Lsn(0)), (Epoch(2), middle)]);
    assert!(!matches!(shard.find(b"new", View::Newest), crate::shard::Found::Missing { .. }));
}

#[test]
fn an_opening_waits_for_the_writes_of_a_dead_process() {
    let place = tempfile::tempdir().unwrap();
    let dir = dir::open_or_format(&place.path().join("a"), &format_options()).unwrap();
    for of_pulse in [false, true] {
        let (shard, files) = open(&dir);
        let segment = &files.segments[files.segments.keys().min().unwrap()];
        let written = if of_pulse { &files.pulse } else { segment };
        // What a request under way holds of a process that is gone: the open file, and nothing else of it.
        let mut under_way = Some(written.try_clone().unwrap());
        drop((shard, files));
        let (mut drained, mut recovered) = (0, false);
        let buffer = MirrorBuffer::new(BUFFER_BYTES).unwrap();
        let mut tell = |opening: Opening<'_>| match opening {
            Opening::Draining { path } => {
                assert!(path.exists() && !recovered, "nothing is read before");
                drained += 1;
                under_way.take_if(|_| drained == 3);
            }
            Opening::Recovering(progress) => recovered |= progress.bytes_done > 0,
        };
        open_shard(&dir, options().shard, &options(), buffer, &mut tell).unwrap();
        assert!(drained >= 3 && recovered);
    }
}

#[test]
fn a_directory_is_not_mistaken_for_another() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    assert!(matches!(dir::open(&path, &format_options()), Err(DirError::NotFormatted { .. })));
    let dir = dir::format(&path, &format_options()).unwrap();
    let disk = dir.disk_id();
    match dir::open(&path, &format_options()) {
        Err(DirError::Locked { pid, .. }) => assert_eq!(pid, std::process::id()),
        other => panic!("{other:?}"),
    }
    drop(dir);
    let other = FormatOptions { group: GroupId(1), ..format_options() };
    let error = dir::open_or_format(&path, &other).unwrap_err();
    assert!(matches!(error, DirError::Mismatch { what: "the group", .. }), "{error}");
    let other = FormatOptions { shards: 5, ..format_options() };
    assert!(matches!(dir::open(&path, &other), Err(DirError::Mismatch { .. })));
    assert_eq!(dir::open(&path, &format_options()).unwrap().disk_id(), disk);
    let foreign = place.path().join("b");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("letter.txt"), "mine").unwrap();
    assert!(matches!(dir::open_or_format(&foreign, &format_options()), Err(DirError::NotOurs { .. })));
}

#[test]
fn one_whole_copy_of_the_superblock_is_enough() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a");
    drop(dir::format(&path, &format_options()).unwrap());
    let file = path.join("superblock");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    dir::open(&path, &format_options()).unwrap();
    bytes[4096 + 20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert!(matches!(dir::open(&path, &format_options()), Err(DirError::Damaged { .. })));
}

#[test]
fn nobody_but_the_owner_looks_into_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let dir = dir::open_or_format(&place.path().join("a"), &format_options()).unwrap();
    let (mut shard, mut files) = open(&dir);
    settle(&dir, &mut shard, &mut files);
    let mut seen = 0;
    let mut paths = vec![place.path().join("a")];
    while let Some(path) = paths.pop() {
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(found.permissions().mode() & 0o077, 0, "{}", path.display());
        seen += usize::from(path.extension().is_some_and(|extension| extension == "log"));
        if found.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 0, "there are segments");
}
