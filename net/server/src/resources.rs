//! What the process and its host have and use, looked at once a second by a thread of its own and told to
//! every shard.

use crate::post::{Parcel, Post};
use crate::process::Process;
use engine::ids::ShardId;
use node::events::Resources;
use rustix::fs::statvfs;
use std::mem::MaybeUninit;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Between two looks.
pub const LOOK: Duration = Duration::from_secs(1);

/// Start the thread, which lives as long as the process. `dir` is where the data lies.
///
/// # Errors
/// No more threads.
pub(crate) fn watch(dir: PathBuf, process: Process, post: Post) -> std::io::Result<()> {
    let work = move || {
        loop {
            let found = look(&dir, &process);
            for shard in 0..post.shards() {
                post.send(ShardId(shard), Parcel::Resources(found));
            }
            std::thread::sleep(LOOK);
        }
    };
    std::thread::Builder::new().name("baton-resources".into()).spawn(work).map(drop)
}

fn look(dir: &std::path::Path, process: &Process) -> Resources {
    let page = rustix::param::page_size() as u64;
    let memory = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident_pages = memory.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0u64);
    let system = rustix::system::sysinfo();
    let (cpu_user_us, cpu_sys_us) = cpu_times();
    let disk = statvfs(dir).map(|disk| (disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize));
    let (disk_total_bytes, disk_free_bytes) = disk.unwrap_or_default();
    Resources {
        resident_bytes: resident_pages * page,
        system_memory_bytes: system.totalram as u64 * u64::from(system.mem_unit),
        cpu_user_us,
        cpu_sys_us,
        disk_total_bytes,
        disk_free_bytes,
        rejected_connections: process.descriptors.refused_so_far() as u64,
        submission_stalls: process.lost.stalls.load(Relaxed),
        submission_stall_max_us: process.lost.longest_us.load(Relaxed),
    }
}

/// CPU time of the process in user mode and in the kernel, in microseconds.
fn cpu_times() -> (u64, u64) {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type, which is valid as zeroes, too.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let us = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (us(usage.ru_utime), us(usage.ru_stime))
}
