//! The files of a group on one machine: which members it has, at which ports, configured how.
//!
//! The first start writes `DIR/NAME/node.toml` (and `DIR/w/witness.toml`); every later one reads them, and
//! refuses a flag that contradicts them. To change what may be changed, edit the files.

use crate::cli::{self, StartOptions};
use crate::failure::{Failure, not_fine};
use crate::password;
use engine::ids::GroupId;
use faces::auth::password::{Secret, verify};
use server::config::{ByteSize, FRAME_OVERHEAD_BYTES, Member, NodeConfig, Respawn};
use std::fmt::Display;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where the group listens: this machine alone.
const HOST: &str = "127.0.0.1";
/// Port of the first member unless told otherwise.
const PORT_BASE: u16 = 7400;
/// Between the first ports of two members.
const PORT_STEP: u16 = 100;
/// The place of the witness, and of a third data node.
const THIRD: u16 = 2;
/// Names of data nodes.
const DATA_NODES: [&str; 3] = ["a", "b", "c"];
/// Name of the witness.
const WITNESS: &str = "w";

/// What is in the files is for whoever runs the group: data, and the hash of a password.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

/// Name of the log in a member's directory; the data directory's owner knows it as no data of its own.
pub const LOG: &str = "warden.log";

/// One member and its configuration file.
#[derive(Clone, Debug)]
pub struct MemberFile {
    pub path: PathBuf,
    pub config: NodeConfig,
}

impl MemberFile {
    /// Whether it is a witness.
    pub fn witness(&self) -> bool {
        self.config.my_member().witness
    }

    /// Where its processes log.
    pub fn log(&self) -> PathBuf {
        self.path.with_file_name(LOG)
    }
}

/// The group's files.
#[derive(Debug)]
pub struct Layout {
    pub members: Vec<MemberFile>,
    /// The password that was made up for `root`; nobody else knows it.
    pub made_up: Option<Secret>,
}

/// The group in `options.dir`, which is made if it does not exist.
pub fn find_or_make(options: &StartOptions) -> Result<Layout, Failure> {
    // The paths show in the processes' command lines, and must not depend on where this one was started.
    let dir = std::path::absolute(&options.dir)
        .map_err(|error| not_fine(format!("{}: {error}", options.dir.display())))?;
    let members = find(&dir)?;
    if members.is_empty() {
        return make(options, &dir);
    }
    agree(options, &members)?;
    Ok(Layout { members, made_up: None })
}

/// The members found in `dir`; none if it is empty or missing.
pub fn find(dir: &Path) -> Result<Vec<MemberFile>, Failure> {
    let mut members: Vec<MemberFile> = Vec::new();
    for name in DATA_NODES.iter().chain([&WITNESS]) {
        let path = file_of(dir, name);
        // A directory that we may not look into is as bad as one that we may not write: say it here.
        match fs::metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(not_fine(format!("{}: {error}", path.display()))),
        }
        let config = NodeConfig::load(&path)
            .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
        if let Some(first) = members.first()
            && first.config.group != config.group
        {
            return Err(not_fine(format!(
                "{} belongs to group {}, {} to group {}",
                first.path.display(),
                first.config.group,
                path.display(),
                config.group
            )));
        }
        members.push(MemberFile { path, config });
    }
    let expected = members.first().map_or(0, |m| m.config.members.len());
    if members.len() != expected {
        return Err(not_fine(format!(
            "{}: {} of the group's {expected} configuration files are there",
            dir.display(),
            members.len()
        )));
    }
    Ok(members)
}

fn file_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join(if name == WITNESS { "witness.toml" } else { "node.toml" })
}

fn make(options: &StartOptions, dir: &Path) -> Result<Layout, Failure> {
    let nodes = options.nodes.unwrap_or(2) as usize;
    let base = options.port_base.unwrap_or(PORT_BASE);
    let member = |name: &str, place: u16, witness| Member {
        name: name.to_owned(),
        host: HOST.to_owned(),
        port_base: base + place * PORT_STEP,
        witness,
    };
    let mut members: Vec<Member> =
        DATA_NODES[..nodes].iter().zip(0..).map(|(name, place)| member(name, place, false)).collect();
    if nodes == 2 {
        members.push(member(WITNESS, THIRD, true));
    }
    let group = GroupId(u128::from_le_bytes(password::random()?));
    let given = options.root_password_file.as_deref().map(|path| password::read(Some(path))).transpose()?;
    let made_up = (options.auth && given.is_none()).then(password::made_up).transpose()?;
    let root_password_hash = given.as_ref().or(made_up.as_ref()).map(password::hash).transpose()?;
    let mut files = Vec::new();
    for (place, member) in (0..).zip(&members) {
        let path = file_of(dir, &member.name);
        let home = path.parent().expect("a file in a directory").to_owned();
        let mut config = NodeConfig::new(group, &member.name, home, members.clone());
        apply(options, &mut config);
        config.root_password_hash.clone_from(&root_password_hash);
        share_cores(&mut config, place, nodes as u16);
        config.check().map_err(|error| Failure::Usage(error.to_string()))?;
        files.push(MemberFile { path, config });
    }
    // Nothing is written before everything was found sound.
    for file in &files {
        let failed = |error: io::Error| not_fine(format!("cannot write {}: {error}", file.path.display()));
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(&file.config.dir).map_err(failed)?;
        let text = file.config.to_toml().map_err(|e| not_fine(format!("cannot write TOML: {e}")))?;
        let mut open = OpenOptions::new();
        let made = open.write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&file.path);
        made.and_then(|mut made| made.write_all(text.as_bytes())).map_err(failed)?;
    }
    Ok(Layout { members: files, made_up })
}

fn respawn(flag: cli::Respawn) -> Respawn {
    match flag {
        cli::Respawn::After(span) => Respawn::After(span),
        cli::Respawn::Never => Respawn::Never,
    }
}

/// Gives each node of this machine cores of its own: where two share one, the memory of a killed node is
/// torn down on the very core that its successor needs. Without enough cores the kernel had better choose.
fn share_cores(config: &mut NodeConfig, place: u16, nodes: u16) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    config.pin = usize::from(nodes * config.shards) <= cores;
    config.first_core = if config.pin { place * config.shards } else { 0 };
}

/// Puts the flags that were given into a new configuration.
fn apply(options: &StartOptions, config: &mut NodeConfig) {
    if let Some(shards) = options.shards {
        config.shards = shards;
    }
    if let Some(mib) = options.segment_mib {
        config.segment_bytes = ByteSize(mib << 20);
        // Two frames of the largest value must fit into a segment.
        let fits = (config.segment_bytes.0 / 2).saturating_sub(FRAME_OVERHEAD_BYTES).next_power_of_two() / 2;
        config.max_value_bytes.0 = config.max_value_bytes.0.min(fits.max(1));
    }
    if let Some(kib) = options.max_value_kib {
        config.max_value_bytes = ByteSize(kib << 10);
    }
    if let Some(after) = options.respawn_after {
        config.respawn_after = respawn(after);
    }
    if let Some(ack) = options.ack {
        config.ack = ack;
    }
    if let Some(mode) = options.mode {
        config.mode = mode;
    }
    config.auth = options.auth;
}

/// Refuses flags that say something else than the files.
fn agree(options: &StartOptions, members: &[MemberFile]) -> Result<(), Failure> {
    let first = &members[0];
    let config = &first.config;
    let data_nodes = members.iter().filter(|m| !m.witness()).count();
    let contradiction = |flag: &str, given: &dyn Display, key: &str, found: &dyn Display| {
        Failure::Usage(format!(
            "{flag} {given} contradicts {key} = {found} in {}; leave the flag out, or take another --dir",
            first.path.display()
        ))
    };
    let given = |flag: &str, given: Option<String>, key: &str, found: String| match given {
        Some(given) if given != found => Err(contradiction(flag, &given, key, &found)),
        _ => Ok(()),
    };
    let text = |value: Option<u64>| value.map(|v| v.to_string());
    let words = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    given("--nodes", text(options.nodes.map(u64::from)), "the number of data nodes", data_nodes.to_string())?;
    given("--shards", text(options.shards.map(u64::from)), "shards", config.shards.to_string())?;
    let base = config.members[0].port_base.to_string();
    given("--port-base", text(options.port_base.map(u64::from)), "members.port_base", base)?;
    let segment_mib = (config.segment_bytes.0 >> 20).to_string();
    given("--segment-mib", text(options.segment_mib), "segment_bytes in MiB", segment_mib)?;
    let value_kib = (config.max_value_bytes.0 >> 10).to_string();
    given("--max-value-kib", text(options.max_value_kib), "max_value_bytes in KiB", value_kib)?;
    given("--ack", options.ack.map(|a| words(&a)), "ack", words(&config.ack))?;
    given("--mode", options.mode.map(|m| words(&m)), "mode", words(&config.mode))?;
    given("--auth", options.auth.then(|| "true".to_owned()), "auth", config.auth.to_string())?;
    if let Some(path) = &options.root_password_file
        && !verify(config.root_password_hash.as_deref(), &password::read(Some(path))?)
    {
        let path = path.display();
        return Err(contradiction(
            "--root-password-file",
            &path,
            "root_password_hash",
            &"another password's",
        ));
    }
    let shown = |respawn: Respawn| match respawn {
        Respawn::After(span) => span.to_string(),
        Respawn::Never => "never".to_owned(),
    };
    let after = options.respawn_after.map(|flag| shown(respawn(flag)));
    given("--respawn-after", after, "respawn_after", shown(config.respawn_after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Baton, Subcommand};
    use clap::Parser;

    fn options(dir: &Path, flags: &[&str]) -> StartOptions {
        let dir = dir.to_str().unwrap();
        let words = ["baton", "start", "--dir", dir].into_iter().chain(flags.iter().copied());
        match Baton::parse_from(words).command {
            Subcommand::Start(options) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_group_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let made =
            find_or_make(&options(dir.path(), &["--segment-mib", "1", "--shards", "2"])).unwrap().members;
        for member in &made {
            use std::os::unix::fs::PermissionsExt;
            for path in [&member.path, &member.config.dir] {
                let mode = fs::metadata(path).unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "others may look into {}", path.display());
            }
        }
        let names: Vec<_> = made.iter().map(|m| m.config.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "w"]);
        assert_eq!(made[2].config.my_member().agency_port(), 7400 + 291);
        let found = find_or_make(&options(dir.path(), &["--shards", "2"])).unwrap().members;
        assert!(made.iter().zip(&found).all(|(m, f)| m.config == f.config && m.path == f.path));
    }

    #[test]
    fn three_data_nodes_need_no_witness() {
        let dir = tempfile::tempdir().unwrap();
        let made = find_or_make(&options(dir.path(), &["--nodes", "3"])).unwrap().members;
        assert_eq!(made.iter().filter(|m| m.witness()).count(), 0);
        assert_eq!(made[2].config.my_member().port_base, 7600);
    }

    #[test]
    fn the_first_password_is_kept_as_a_hash_only() {
        let dir = tempfile::tempdir().unwrap();
        let made = find_or_make(&options(dir.path(), &["--auth"])).unwrap();
        let password = made.made_up.expect("nobody gave one");
        for member in &made.members {
            assert!(member.config.auth && verify(member.config.root_password_hash.as_deref(), &password));
            assert!(!fs::read_to_string(&member.path).unwrap().contains(&password.0));
        }
        assert_eq!(find_or_make(&options(dir.path(), &["--auth"])).unwrap().made_up, None);

        let (given, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = other.path().join("password");
        fs::write(&file, "swordfish\n").unwrap();
        let flags = ["--auth", "--root-password-file", file.to_str().unwrap()];
        assert_eq!(find_or_make(&options(given.path(), &flags)).unwrap().made_up, None);
        find_or_make(&options(given.path(), &flags)).unwrap();
        let refused = find_or_make(&options(dir.path(), &flags)).unwrap_err().to_string();
        assert!(refused.contains("--root-password-file") && !refused.contains("swordfish"), "{refused}");
    }

    #[test]
    fn contradictions_name_the_flag_and_the_file() {
        let dir = tempfile::tempdir().unwrap();
        find_or_make(&options(dir.path(), &[])).unwrap();
        for flags in [
            ["--shards", "4"],
            ["--nodes", "3"],
            ["--port-base", "8000"],
            ["--respawn-after", "never"],
            ["--segment-mib", "1"],
            ["--ack", "local"],
            ["--mode", "active-active"],
        ] {
            let refused = find_or_make(&options(dir.path(), &flags)).unwrap_err();
            let text = refused.to_string();
            assert!(text.contains(flags[0]) && text.contains("node.toml"), "{text}");
            assert_eq!(refused.exit_code(), 2);
        }
        find_or_make(&options(dir.path(), &["--respawn-after", "1s", "--ack", "durable"])).unwrap();
    }

    #[test]
    fn half_a_group_and_a_foreign_member_are_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        find_or_make(&options(one.path(), &[])).unwrap();
        find_or_make(&options(other.path(), &[])).unwrap();
        fs::remove_file(one.path().join("b/node.toml")).unwrap();
        let half = find_or_make(&options(one.path(), &[])).unwrap_err().to_string();
        assert!(half.contains("2 of the group's 3"), "{half}");
        fs::copy(other.path().join("b/node.toml"), one.path().join("b/node.toml")).unwrap();
        let foreign = find_or_make(&options(one.path(), &[])).unwrap_err().to_string();
        assert!(foreign.contains("belongs to group"), "{foreign}");
    }

    #[test]
    fn every_segment_size_makes_a_sound_configuration() {
        for mib in ["1", "2", "16", "64", "256"] {
            let dir = tempfile::tempdir().unwrap();
            find_or_make(&options(dir.path(), &["--segment-mib", mib])).unwrap();
        }
    }
}
