//! What keeps the warden and its node ready on a busy host: the warden's memory locked, its threads ahead of
//! ordinary ones, and the node's a little less so.
//!
//! Promises to take what is permitted and to say in words what is not; nothing here is needed for safety.
//! No real-time priority is inherited: neither the node nor a thread has one that it did not ask for.

use super::log::Log;
use rustix::io::Errno;
use rustix::mm::MlockAllFlags;
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;
use std::ffi::CStr;
use std::io;

/// FIFO priorities. The way of a death notice comes first: watch, loop; then the disk of the agent, which
/// a promotion waits for; then the reset of the dead node's sockets.
pub(super) const WATCH_PRIORITY: i32 = 13;
pub(super) const LOOP_PRIORITY: i32 = 12;
pub(super) const STORE_PRIORITY: i32 = 11;
pub(super) const RESET_PRIORITY: i32 = 10;

const _: () = assert!(
    WATCH_PRIORITY > LOOP_PRIORITY && LOOP_PRIORITY > STORE_PRIORITY && STORE_PRIORITY > RESET_PRIORITY,
    "the way of a death notice comes first"
);

/// Of the node, and of the warden where FIFO is not permitted.
const NICE: i32 = -10;

/// The kernel shares cores among sessions first (`sched_autogroup_enabled`), whatever the nice values within them: a
/// session has one of its own, in this file.
const SESSION_NICE: (&CStr, &[u8]) = (c"/proc/self/autogroup", b"-10");

/// Puts the calling process, in a session of its own, ahead of ordinary ones, as far as permitted.
pub(super) fn go_ahead() {
    // SAFETY: plain system calls, on a path and bytes that are static. Allowed between fork and exec.
    unsafe {
        libc::setsid();
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        go_ahead_with_session();
    }
}

/// The same for the session, which must be the calling process's alone.
fn go_ahead_with_session() {
    let (path, nice) = SESSION_NICE;
    // SAFETY: plain system calls, on a path and bytes that are static.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, nice.as_ptr().cast(), nice.len());
            libc::close(file);
        }
    }
}

/// Locks what is mapped now, and what comes to be mapped as it is touched.
pub(super) fn lock_memory(log: &Log) {
    // Under a limit, "lock what comes" would make allocations fail later: then lock only what is there.
    let unlimited = getrlimit(Resource::Memlock).current.is_none()
        || rustix::thread::capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::IPC_LOCK));
    let mut result = rustix::mm::mlockall(MlockAllFlags::CURRENT);
    if unlimited && result.is_ok() {
        let later = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
        result = rustix::mm::mlockall(later);
    }
    if let Err(error) = result {
        log.line(&format!(
            "memory is not locked ({error}): under memory pressure a failover may wait for the disk; \
             allow it with CAP_IPC_LOCK or a higher `ulimit -l`"
        ));
    }
}

/// Puts the calling thread ahead of ordinary ones. Logs only if `log` is given (once per process is enough).
pub(super) fn prioritize(priority: i32, log: Option<&Log>) {
    let Err(error) = fifo(priority) else { return };
    // A session that others share is theirs, too.
    if rustix::process::getsid(None).is_ok_and(|leader| leader == rustix::process::getpid()) {
        go_ahead_with_session();
    }
    let nice = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    if let Some(log) = log {
        let instead = match nice {
            Ok(()) => "a higher nice value is used instead",
            Err(Errno::ACCESS | Errno::PERM) => "nor is a higher nice value",
            Err(_) => "nor did a higher nice value work",
        };
        log.line(&format!(
            "real-time scheduling is not permitted ({error}), {instead}: failover takes milliseconds longer \
             on busy CPUs; allow it with CAP_SYS_NICE"
        ));
    }
}

/// Leaves a dead process only the CPU time that nobody else wants. What its threads still do is give back
/// its memory, for milliseconds to seconds; a successor on the same host must not wait for that.
pub(super) fn let_others_run(pid: u32) {
    // Its session is ahead of others no longer, either.
    let _ = std::fs::write(format!("/proc/{pid}/autogroup"), "19");
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
    // SAFETY: all-zero is a valid `sched_param`, and the one for SCHED_IDLE.
    let param: libc::sched_param = unsafe { std::mem::zeroed() };
    for thread in threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        // SAFETY: the parameter lives through the call. A thread that is gone is an error without consequence.
        let _ = unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &param) };
    }
}

/// Does `work` without a real-time priority, for calls in which the kernel turns in a circle until an ordinary thread
/// got on: where that one waits for the same core, it would not before the kernel takes the core away, 950 ms later.
pub(super) fn as_ordinary<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: all-zero is a valid `sched_param`.
    let (mut before, ordinary) = unsafe { std::mem::zeroed::<(libc::sched_param, libc::sched_param)>() };
    // SAFETY: 0 is the calling thread; the parameters live through the calls.
    let policy = unsafe {
        libc::sched_getparam(0, &mut before);
        let policy = libc::sched_getscheduler(0);
        libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &ordinary);
        policy
    };
    let done = work();
    if policy >= 0 {
        // SAFETY: as above. What was permitted once is permitted again.
        unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &before) };
    }
    done
}

fn fifo(priority: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid `sched_param`.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = priority;
    // SAFETY: 0 is the calling thread; the parameter lives through the call.
    let code = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &param) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
