//! Finds and signals the processes of a group started by `baton start`, by what `/proc` says of them.
//!
//! A process is known by its command line: `baton serve|witness|node --config FILE`. `FILE` lies in the
//! group's directory, so processes of other groups never match.

use rustix::process::{Pid, Signal};
use std::fs;
use std::io;
use std::path::Path;

/// Which process of a member is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Warden,
    Node,
}

/// The process that runs `part` with the configuration `config`, if one does.
pub fn find(part: Part, config: &Path) -> Option<u32> {
    let subcommands: &[&[u8]] = match part {
        Part::Warden => &[b"serve", b"witness"],
        Part::Node => &[b"node"],
    };
    every_process().find(|pid| {
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.len() > 3
            && subcommands.contains(&words[1])
            && words[2] == b"--config"
            && words[3] == config.as_os_str().as_encoded_bytes()
            && !is_dead(*pid)
    })
}

/// Sends a signal.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// The most memory that a process had in use at once, in bytes; `None` if it is gone.
pub fn peak_memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Makes a process's peak of memory what it has in use now.
pub fn forget_peak_memory(pid: u32) -> io::Result<()> {
    const RESET_PEAK: &str = "5";
    fs::write(format!("/proc/{pid}/clear_refs"), RESET_PEAK)
}

/// Every process id of this machine that we may see.
pub fn every_process() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether the process has ended or is ending: its memory is given back before its files are closed, and both
/// may take long. (Threads of the kernel have no memory either: they are nobody's we look for.)
pub fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    matches!(state, None | Some('Z' | 'X')) || pages.starts_with("0 ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_among_the_processes_and_are_no_node() {
        assert!(every_process().any(|pid| pid == std::process::id()));
        assert!(!is_dead(std::process::id()));
        assert!(peak_memory(std::process::id()).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(find(Part::Node, Path::new("/nowhere/a/node.toml")), None);
    }
}
