//! A group under the limits that containers and services have: few open files, little locked memory. Clients
//! take what is left of the descriptors and nothing of the log's, and nothing changes because of them.

mod common;

use bench::resp_client::Reply;
use common::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// What the group's processes may have: open files, and KiB of locked memory.
const OPEN_FILES: u32 = 512;
const LOCKED_KIB: u32 = 64;
/// More connections than that leaves room for.
const CONNECTIONS: usize = 450;

/// A program that lowers its limits and then is `baton`.
fn limited(dir: &std::path::Path) -> PathBuf {
    let path = dir.join("limited");
    let text = format!("#!/bin/sh\nulimit -n {OPEN_FILES}\nulimit -l {LOCKED_KIB}\nexec {BATON} \"$@\"\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn clients_never_take_what_the_log_needs() {
    let scripts = directory();
    let mut group = TestGroup::start_with(9_400, |setup| {
        setup.binary = limited(scripts.path());
        setup.flags = ["--segment-mib", "1", "--max-value-kib", "64"].map(str::to_owned).to_vec();
    });
    group.wait_whole();
    let before = group.status().unwrap();
    let leader = group.leader().unwrap();
    let mut writer = group.connect(&leader);
    let (mut inside, mut refused) = (Vec::new(), 0);
    for _ in 0..CONNECTIONS {
        let mut client = TcpStream::connect(group.resp(&leader)).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        // Who is refused may be gone before it asks.
        let _ = client.write_all(b"PING\r\n");
        let mut reply = [0; 64];
        match client.read(&mut reply) {
            Ok(len) if &reply[..len] == b"+PONG\r\n" => inside.push(client),
            Ok(len) => {
                assert_eq!(&reply[..len], b"-ERR max number of clients reached\r\n");
                refused += 1;
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert!(inside.len() > 100 && refused > 0, "{} inside, {refused} refused", inside.len());
    // Several segments' worth, while the clients hold all that they may.
    let value = vec![b'x'; 60_000];
    for number in 0..100 {
        let key = format!("key:{number}");
        assert_eq!(writer.call(&[b"SET", key.as_bytes(), &value]).unwrap(), ok());
    }
    assert_eq!(writer.call(&[b"STRLEN", b"key:99"]).unwrap(), Reply::Integer(60_000));
    let after = group.status().unwrap();
    assert_eq!(after.shards[0].epoch, before.shards[0].epoch, "nobody died");
    drop(inside);
    assert!(group.logs().contains("open files leaves room for"), "it says so at start");
}
