//! What kind of thing the log is written to, and so which thread must carry a write into it.
//!
//! Promises that the answer is the file's own: it is asked for each file, and nothing is measured.
//! `docs/decisions/0006-who-carries-a-log-write.md` says why.

use rustix::fs::{FileType, fstat};
use std::io;
use std::os::fd::AsFd;

/// Where the bytes of a file lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A raw block device: it has no inode whose times change. Submitting a write does not wait.
    Device,
    /// A file of a file system. Submitting a write may wait for the file system's journal, whoever keeps
    /// that busy.
    FileSystem,
}

/// Which thread carries a write into its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The one that submits it, within the system call that does.
    Submitter,
    /// One of io_uring's workers, which may wait (`IOSQE_ASYNC`).
    Worker,
}

impl Medium {
    /// What this open file is.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn of(file: impl AsFd) -> io::Result<Medium> {
        match FileType::from_raw_mode(fstat(file)?.st_mode) {
            FileType::BlockDevice => Ok(Medium::Device),
            _ => Ok(Medium::FileSystem),
        }
    }

    /// Who writes to it.
    pub fn carrier(self) -> Carrier {
        match self {
            Medium::Device => Carrier::Submitter,
            Medium::FileSystem => Carrier::Worker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_device() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Medium::of(&file).unwrap(), Medium::FileSystem);
        assert_eq!(Medium::FileSystem.carrier(), Carrier::Worker);
        assert_eq!(Medium::Device.carrier(), Carrier::Submitter);
    }
}
