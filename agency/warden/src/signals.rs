//! The signals that tell a warden to stop, as something its loop can wait for.
//!
//! To be taken before the process starts any other thread: the kernel gives a signal to any thread that does
//! not block it, and the default of SIGTERM ends the whole process, node and all, out of order.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// SIGTERM and SIGINT as an fd; both are blocked on this thread and those it starts.
///
/// # Errors
/// What the kernel says.
pub fn take() -> io::Result<OwnedFd> {
    // SAFETY: a local set; the mask change and the signalfd take it by reference for the call.
    let fd = unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        let code = libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        if code != 0 {
            return Err(io::Error::from_raw_os_error(code));
        }
        libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
