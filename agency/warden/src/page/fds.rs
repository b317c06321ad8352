//! The fds that a node inherits from its warden, and how it learns their numbers.

use super::{PageError, SharedPage};
use rustix::fd::{FromRawFd, OwnedFd, RawFd};
use std::io;

/// The environment variable by which the node learns its inherited fds.
pub const FDS_VARIABLE: &str = "BATON_FDS";

/// The fds a node inherits from its warden, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildFds {
    /// Process id of the warden.
    pub warden: u32,
    /// The memfd of the page.
    pub page: RawFd,
    /// Eventfd: the node writes it after `set_request`.
    pub wake_warden: RawFd,
    /// Eventfds, one per shard: written by the warden after `set_update`, a new view, or the loss of a lease.
    pub wake_shards: Vec<RawFd>,
}

/// What [`ChildFds::attach`] makes of the numbers.
pub struct Attached {
    pub page: SharedPage,
    pub wake_warden: OwnedFd,
    pub wake_shards: Vec<OwnedFd>,
}

impl ChildFds {
    /// Name and value of the environment variable that carries them.
    pub fn to_env(&self) -> (&'static str, String) {
        let mut value = format!("{},{},{}", self.warden, self.page, self.wake_warden);
        for fd in &self.wake_shards {
            value.push_str(&format!(",{fd}"));
        }
        (FDS_VARIABLE, value)
    }

    /// Reads the environment of a node's process.
    ///
    /// # Errors
    /// The variable is missing or no list of fds.
    pub fn from_env() -> Result<ChildFds, PageError> {
        let value = std::env::var(FDS_VARIABLE).map_err(|_| PageError::NotAChild)?;
        ChildFds::parse(&value).ok_or(PageError::BadList(value))
    }

    /// The warden asked for this before the program was loaded; but the kernel forgets it when a program with file
    /// capabilities is.
    fn live_no_longer_than_the_warden(&self) -> Result<(), PageError> {
        // SAFETY: system calls on numbers.
        let (code, parent) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL), libc::getppid()) };
        if code < 0 {
            return Err(PageError::Tie(io::Error::last_os_error()));
        }
        // It may have died before the line above took effect.
        if i64::from(parent) == i64::from(self.warden) { Ok(()) } else { Err(PageError::Orphan(self.warden)) }
    }

    fn parse(value: &str) -> Option<ChildFds> {
        let (warden, fds) = value.split_once(',')?;
        let warden = warden.parse().ok().filter(|pid| *pid > 0)?;
        let mut fds = fds.split(',').map(|n| n.parse().ok().filter(|n: &RawFd| *n > 2));
        let (page, wake_warden) = (fds.next()??, fds.next()??);
        let wake_shards = fds.collect::<Option<Vec<_>>>().filter(|s| !s.is_empty())?;
        Some(ChildFds { warden, page, wake_warden, wake_shards })
    }

    /// Node, once in its life, on its first thread: ties its life to its warden's, takes the fds over (and keeps them
    /// from any process it may start), and maps the page.
    ///
    /// # Errors
    /// The warden is gone, an fd is not open, or the page is not one.
    pub fn attach(&self) -> Result<Attached, PageError> {
        self.live_no_longer_than_the_warden()?;
        let own = |fd: RawFd| {
            // SAFETY: a plain query and flag change on a number; an unused number gives an error.
            let code = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
            if code < 0 {
                return Err(PageError::Fd { fd, source: io::Error::last_os_error() });
            }
            // SAFETY: it is open, was left to this process by its warden for exactly this, and nobody else
            // in it knows the number.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let page = SharedPage::open(own(self.page)?)?;
        if self.wake_shards.len() != usize::from(page.shards()) {
            return Err(PageError::Shards(u64::from(page.shards())));
        }
        let wake_warden = own(self.wake_warden)?;
        let wake_shards = self.wake_shards.iter().map(|fd| own(*fd)).collect::<Result<_, _>>()?;
        Ok(Attached { page, wake_warden, wake_shards })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fds_survive_the_environment() {
        let fds = ChildFds { warden: 9, page: 5, wake_warden: 6, wake_shards: vec![7, 8] };
        assert_eq!(ChildFds::parse(&fds.to_env().1), Some(fds));
        for bad in ["", "9", "9,5", "9,5,6", "9,5,6,x", "9,5,6,1", "0,5,6,7", "x,5,6,7"] {
            assert_eq!(ChildFds::parse(bad), None, "{bad:?}");
        }
    }
}
