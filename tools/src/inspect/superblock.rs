//! `baton inspect superblock`: what a directory is.

use super::data::Data;
use super::out::Out;
use super::survey::Finding;
use crate::cli::InspectDir;
use crate::failure::Failure;
use engine::superblock::SuperblockBytes;
use serde_json::json;

/// Runs the subcommand.
pub fn run(options: &InspectDir) -> Result<(), Failure> {
    let data = Data::open(&options.dir)?;
    let mut out = Out::new(options.json);
    let names: Vec<String> = data
        .copies
        .iter()
        .map(|copy| match copy {
            SuperblockBytes::Valid(found) if *found == data.superblock => "whole".to_owned(),
            SuperblockBytes::Valid(_) => "different".to_owned(),
            SuperblockBytes::Version(version) => format!("version {version}"),
            SuperblockBytes::Damaged => "damaged".to_owned(),
        })
        .collect();
    let s = &data.superblock;
    let text = || {
        format!(
            "node {}\ngroup {}\ndisk {}\nshards {}\nsegment size {} bytes\nfirst copy {}\nsecond copy {}",
            s.node_name, s.group, s.disk, s.shards, s.segment_bytes, names[0], names[1]
        )
    };
    let object = || {
        json!({
            "node": s.node_name, "group": s.group.to_string(), "disk": s.disk.to_string(), "shards": s.shards,
            "segment_bytes": s.segment_bytes, "copies": names, "process": data.process,
        })
    };
    out.line(text, object);
    for (number, _) in names.iter().enumerate().filter(|(_, name)| *name != "whole") {
        let what = format!("copy {number} of the superblock");
        out.count(&[Finding { lsn: None, what, damage: true, next_whole: None }]);
    }
    out.end()
}
