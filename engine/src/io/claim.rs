//! Who writes to a file: an exclusive `flock` on the very descriptor that the writes go through.
//!
//! Promises that no write of another process is under way to a file that is claimed. A process that was killed is
//! gone at once, but its direct writes are not: the kernel carries them out whenever the device takes them. Each
//! holds a reference to its open file until then, and a `flock` belongs to the open file: it is given up with the
//! last reference, not with the process. Writes by a blocked thread need no claim: as long as that thread lives,
//! all descriptors of its process stay open, that of the directory's lock among them.

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long the writes of a dead process are waited for. A device that takes longer is given another process to
/// wait for it.
pub(crate) const CLAIM_PATIENCE: Duration = Duration::from_secs(30);
const CLAIM_RETRY: Duration = Duration::from_millis(5);

/// Claims the file, waiting up to `patience` for who has it; `waits` is called again and again meanwhile.
///
/// # Errors
/// `WOULDBLOCK` if the patience is over, or what the kernel says.
pub(crate) fn claim(file: impl AsFd, patience: Duration, waits: &mut dyn FnMut()) -> Result<(), Errno> {
    let started = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if started.elapsed() < patience => {
                waits();
                std::thread::sleep(CLAIM_RETRY);
            }
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_claimed_when_the_last_descriptor_of_its_claimant_is_closed() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let first = place.reopen().unwrap();
        claim(&first, Duration::ZERO, &mut || ()).unwrap();
        let second = place.reopen().unwrap();
        let mut waited = 0;
        let error = claim(&second, 3 * CLAIM_RETRY, &mut || waited += 1).unwrap_err();
        assert!(error == Errno::WOULDBLOCK && waited >= 2, "it waits, but not for ever");
        // As a request under way does, this refers to the open file.
        let mut under_way = Some(first.try_clone().unwrap());
        drop(first);
        let mut waited = 0;
        let mut waits = || {
            waited += 1;
            under_way.take_if(|_| waited > 3);
        };
        claim(&second, CLAIM_PATIENCE, &mut waits).unwrap();
        assert_eq!(waited, 4);
    }
}
