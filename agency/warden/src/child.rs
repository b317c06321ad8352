//! The node's process: started, signalled, waited for.
//!
//! Promises that a node never outlives its warden (`PR_SET_PDEATHSIG`, and SIGKILL when its [`Child`] is
//! dropped), that it has a session of its own, ahead of ordinary ones, that signals go to exactly the process that was started (pidfd), and that a node inherits no signal
//! mask and no fds but the ones of [`ChildFds`].

use super::page::ChildFds;
use super::sched::go_ahead;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A started node.
pub(super) struct Child {
    pid: u32,
    pidfd: OwnedFd,
    reaped: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Child {
    /// Starts `command` with the fds. Blocks until the program is loaded.
    pub fn start(mut command: Command, fds: &ChildFds) -> io::Result<Child> {
        let (name, value) = fds.to_env();
        command.env(name, value);
        let inherited: Vec<i32> =
            [fds.page, fds.wake_warden].into_iter().chain(fds.wake_shards.iter().copied()).collect();
        let warden = rustix::process::getpid().as_raw_nonzero().get();
        // SAFETY: between fork and exec the closure only makes system calls and touches what it owns.
        unsafe { command.pre_exec(move || prepare(&inherited, warden)) };
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Child { pid: child.id(), pidfd, reaped: false })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; a process that already ended takes none.
    pub fn signal(&self, signal: Signal) {
        if !self.reaped {
            // ESRCH: it is ending anyway.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// How it ended, once it has.
    pub fn try_wait(&mut self) -> io::Result<Option<Exit>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else {
            return Ok(None);
        };
        self.reaped = true;
        Ok(Some(match status.exit_status() {
            Some(code) => Exit::Code(code),
            None => Exit::Signal(status.terminating_signal().unwrap_or(0)),
        }))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// In the child, before exec.
fn prepare(inherited: &[i32], warden: i32) -> io::Result<()> {
    let check = |code: i32| if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // SAFETY: system calls on numbers and on a local signal set.
    unsafe {
        for fd in inherited {
            check(libc::fcntl(*fd, libc::F_SETFD, 0))?;
        }
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()))?;
        go_ahead();
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The warden may have died before the line above took effect.
        if libc::getppid() != warden {
            libc::_exit(1);
        }
    }
    Ok(())
}
