//! Starts child processes whose life is tied to ours.
//!
//! A child gets SIGTERM when this process ends, however it ends, so nothing is orphaned; and a session of its own, so
//! that a Ctrl-C at the terminal reaches only us and the order of stopping is ours, and that its share of the cores is
//! not that of the terminal. The tie
//! is to the *thread* that starts the child: start children from the main thread.

use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Starts the command.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only async-signal-safe calls may be made; these are three plain system
    // calls that neither allocate nor lock.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // We may have died before the tie was made.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        });
    }
    command.spawn()
}
