//! A file system of its own for a member: ext4 in a file, which can be told to stand still.
//!
//! Standing still is what `fsfreeze` does: every write to it waits in the kernel until it is thawed. Needs
//! root, `mkfs.ext4` and a loop device.

use bench::failover::GroupError;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Size of a file system; the file behind it takes only what was written.
const DISK_BYTES: u64 = 4 << 30;
/// Longest wait for whoever uses a file system that shall go.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// A mounted file system. Dropping it ends the mount; what is on it stays in its file.
#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
}

/// A file system that stands still until this is dropped.
#[derive(Debug)]
pub struct Stalled {
    mount: PathBuf,
}

/// One for each of these members of the group in `dir`.
pub(super) fn for_nodes(dir: &Path, names: &[&str]) -> Result<Vec<(String, Disk)>, GroupError> {
    let disk = |name: &&str| {
        let disk = Disk::mount(&dir.join(format!("disk-{name}")), &dir.join(name))?;
        Ok(((*name).to_owned(), disk))
    };
    names.iter().map(disk).collect()
}

impl Disk {
    /// Mounts the file system in the file `image` at `mount`; both are made if they are missing.
    pub fn mount(image: &Path, mount: &Path) -> Result<Disk, GroupError> {
        let failed = |error| GroupError(format!("{}: {error}", image.display()));
        fs::create_dir_all(mount).map_err(failed)?;
        let new = !image.exists();
        if new {
            File::create(image).and_then(|file| file.set_len(DISK_BYTES)).map_err(failed)?;
            run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), image])?;
        }
        run("mount", &["-o".as_ref(), "loop".as_ref(), image, mount])?;
        let disk = Disk { mount: mount.to_owned() };
        if new {
            // A data directory is found empty, or is refused.
            fs::remove_dir(mount.join("lost+found")).map_err(failed)?;
        }
        Ok(disk)
    }

    /// Makes it stand still.
    pub fn stall(&self) -> Result<Stalled, GroupError> {
        run("fsfreeze", &["--freeze".as_ref(), &self.mount])?;
        Ok(Stalled { mount: self.mount.clone() })
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // Nothing is left to be done where this fails: the file system is thawed already, or gone.
        let _ = run("fsfreeze", &["--unfreeze".as_ref(), &self.mount]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It may stand still, and whoever was killed on it may need a moment.
        drop(Stalled { mount: self.mount.clone() });
        let begun = Instant::now();
        while let Err(error) = run("umount", &[&self.mount]) {
            if begun.elapsed() > BUSY_LIMIT {
                eprintln!("baton: {error}");
                return;
            }
            thread::sleep(super::LOOK_EVERY);
        }
    }
}

fn run(program: &str, words: &[&Path]) -> Result<(), GroupError> {
    let done = Command::new(program).args(words).output();
    let done = done.map_err(|error| GroupError(format!("{program}: {error}")))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(GroupError(format!("{program}: {}", String::from_utf8_lossy(&done.stderr).trim()))),
    }
}
