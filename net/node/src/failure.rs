//! Why a node gives up: the closed list of what ends its process (rule 14).

use engine::disk::DiskError;
use engine::error::{AppendError, RewindError};
use engine::ids::{Epoch, Lsn};

/// What failed. The texts are for the log of the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A write, a flush, a preparation or a cut failed: what the disk holds is for recovery to find out.
    #[error("the disk failed: {}", describe(.0))]
    Disk(DiskError),
    /// A preparation, a save or a cut is under way for longer than any takes.
    #[error("the disk failed: preparing or cutting a segment does not end")]
    ColdWorkHangs,
    /// The log's only copy of what is not committed yet cannot be read.
    #[error("the disk failed: cannot read the log at LSN {at}")]
    LogUnreadable { at: Lsn },
    /// The leader's history parts from what is committed here.
    #[error("the leader's log and this one part at LSN {at}: {error}")]
    LogsPart { at: Lsn, error: RewindError },
    /// The epoch-start frame cannot be appended, and will not be.
    #[error("cannot begin epoch {epoch}: {error}")]
    CannotBegin { epoch: Epoch, error: AppendError },
}

impl Failure {
    /// Whether the disk is to blame; otherwise logs or epochs contradict each other.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Failure::Disk(_) | Failure::ColdWorkHangs | Failure::LogUnreadable { .. } => true,
            Failure::LogsPart { .. } | Failure::CannotBegin { .. } => false,
        }
    }
}

fn describe(error: &DiskError) -> String {
    match error {
        DiskError::NoSpace => "no space left".to_owned(),
        DiskError::Failed { errno } => std::io::Error::from_raw_os_error(*errno).to_string(),
    }
}
