//! Directories that are not ours, ports that are taken: each says so in one line and nothing is touched.

mod common;

use baton_tools::processes::Part;
use common::*;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The text of the one line with which `baton` refuses.
fn refusal(words: &[&str]) -> String {
    let refused = run(BATON, words);
    let said = text(&refused);
    assert!(!refused.status.success(), "baton {words:?} should have been refused: {said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("baton: ")).collect();
    assert_eq!(lines.len(), 1, "one line says why: {said}");
    lines[0].to_owned()
}

/// A copy of a node's configuration in which one line is another.
fn altered(config: &Path, scratch: &Path, key: &str, value: &str) -> PathBuf {
    let text = fs::read_to_string(config).unwrap();
    let begins = format!("{key} = ");
    assert!(text.lines().any(|line| line.starts_with(&begins)), "{key} in {text}");
    let lines = text.lines().map(|line| match line.starts_with(&begins) {
        true => format!("{key} = {value}\n"),
        false => format!("{line}\n"),
    });
    let path = scratch.join(format!("altered-{key}.toml"));
    fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

#[test]
fn foreign_directories_are_refused_by_name() {
    let mut group = TestGroup::start(30_000);
    let config = group.config_of("a");
    group.stop();
    let data = config.parent().unwrap().to_str().unwrap().to_owned();
    for (key, value) in
        [("group", "\"00112233445566778899aabbccddeeff\""), ("shards", "3"), ("segment_bytes", "\"128MiB\"")]
    {
        let file = altered(&config, group.scratch(), key, value);
        let said = refusal(&["serve", "--config", file.to_str().unwrap()]);
        assert!(said.contains(&data), "{key}: {said}");
    }
    let unknown = altered(&config, group.scratch(), "group", "\"short\"");
    assert!(refusal(&["serve", "--config", unknown.to_str().unwrap()]).contains("short"));

    let superblock = Path::new(&data).join("superblock");
    let good = fs::read(&superblock).unwrap();
    fs::write(&superblock, vec![7; good.len()]).unwrap();
    assert!(refusal(&["serve", "--config", config.to_str().unwrap()]).contains(&data));
    fs::write(&superblock, good).unwrap();
    group.start_again();
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let group = TestGroup::start(30_400);
    let holder = group.pid("a", Part::Node).unwrap().to_string();
    let config = group.config_of("a");
    let said = refusal(&["serve", "--config", config.to_str().unwrap()]);
    assert!(said.contains(&holder), "process {holder} holds it: {said}");
    let leader = group.leader().unwrap();
    assert_eq!(redis_cli(group.resp(&leader), &["set", "still", "here"]), "OK");
}

#[test]
fn a_port_in_use_is_named_with_its_holder() {
    let _turn = turn();
    let dir = directory();
    let taken = TcpListener::bind("127.0.0.1:30880").unwrap();
    let group = dir.path().join("group");
    let said = refusal(&["start", "--dir", group.to_str().unwrap(), "--port-base", "30800"]);
    assert!(said.contains("port 30880"), "{said}");
    assert!(said.contains(&format!("pid {}", std::process::id())), "{said}");
    drop(taken);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let _turn = turn();
    // Nobody may make directories there, not even root.
    let said = refusal(&["start", "--dir", "/proc/baton-group", "--port-base", "31200"]);
    assert!(said.contains("/proc/baton-group"), "{said}");
}

#[test]
fn an_open_door_needs_a_word() {
    let mut group = TestGroup::start(29_600);
    let config = group.config_of("a");
    group.stop();
    let closed = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("bind = \"0.0.0.0\"\n{closed}")).unwrap();
    let said = refusal(&["serve", "--config", config.to_str().unwrap()]);
    assert!(said.contains("bind = 0.0.0.0") && said.contains("insecure_listen"), "{said}");
}

#[test]
fn a_node_is_not_started_by_hand() {
    let mut group = TestGroup::start(31_600);
    let config = group.config_of("a");
    group.stop();
    assert!(refusal(&["node", "--config", config.to_str().unwrap()]).contains("baton serve"));
    let missing = refusal(&["serve", "--config", "/nowhere/node.toml"]);
    assert!(missing.contains("/nowhere/node.toml"), "{missing}");
    let witness = refusal(&["witness", "--config", config.to_str().unwrap()]);
    assert!(witness.contains("baton serve"), "{witness}");
}

/// Makes the calling process, and what it starts, get EPERM from `io_uring_setup`: what a container's seccomp
/// profile does.
fn forbid_io_uring() -> io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_io_uring_setup as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, denied),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the filter lives through the calls, and both only restrict this process.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn a_kernel_that_forbids_io_uring_is_named() {
    let _turn = turn();
    let dir = directory();
    let group = dir.path().join("group");
    let mut start = Command::new(BATON);
    start.args(["start", "--dir", group.to_str().unwrap(), "--port-base", "16000"]);
    // SAFETY: between fork and exec only prctl is called, and nothing is allocated.
    unsafe { start.pre_exec(forbid_io_uring) };
    let refused = start.output().unwrap();
    let said = text(&refused);
    assert!(!refused.status.success(), "{said}");
    let reason = said.lines().find(|line| line.starts_with("baton: ")).unwrap_or_default();
    assert!(reason.contains("io_uring is forbidden") && reason.contains("seccomp"), "{said}");
}
