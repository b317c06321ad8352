//! SIGTERM and SIGINT: an orderly stop of every shard.

use crate::post::Post;
use std::io;
use std::mem::MaybeUninit;

fn stop_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set before `sigaddset` reads it; the signals exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        set.assume_init()
    }
}

/// Keep both signals from this thread and those it starts.
///
/// # Errors
/// None that is known; the kernel's word is passed on.
pub fn block() -> io::Result<()> {
    let set = stop_signals();
    // SAFETY: the set is initialised and the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Start the thread that waits for them. [`block`] comes first.
///
/// # Errors
/// No more threads.
pub fn watch(post: Post) -> io::Result<()> {
    let wait = move || {
        let set = stop_signals();
        loop {
            let mut signal = 0;
            // SAFETY: both point to initialised memory of the right type.
            if unsafe { libc::sigwait(&set, &mut signal) } == 0 {
                post.stop_all();
            }
        }
    };
    std::thread::Builder::new().name("baton-signals".into()).spawn(wait).map(drop)
}
