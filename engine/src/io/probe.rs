//! Which durable write is cheaper on this device?

use crate::io::cold::{open_direct, write_all};
use crate::limits::BLOCK;
use crate::memory::AlignedBlocks;
use rustix::fs::{OFlags, fdatasync, fsync, unlink};
use rustix::io::{ReadWriteFlags, pwritev2};
use std::io::IoSlice;
use std::path::Path;
use std::time::{Duration, Instant};

/// Writes of each kind that are measured.
const ROUNDS: u64 = 24;

/// How a hot write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMethod {
    /// One write with `RWF_DSYNC`.
    Dsync,
    /// A write, and a linked `fdatasync`.
    WriteThenFdatasync,
}

/// What was measured: medians of one durable block.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub method: WriteMethod,
    pub dsync: Duration,
    pub write_then_fdatasync: Duration,
}

/// Measures both ways in a file of its own in `dir`, which is removed again.
///
/// # Errors
/// What the kernel says if the directory cannot be written to.
pub fn probe(dir: &Path) -> std::io::Result<Probe> {
    let path = dir.join("probe.new");
    let measured = measure(&path);
    // Nothing depends on the file being gone.
    let _ = unlink(&path);
    measured
}

fn measure(path: &Path) -> std::io::Result<Probe> {
    let file = open_direct(path, OFlags::CREATE | OFlags::TRUNC)?;
    let block = AlignedBlocks::zeroed(BLOCK as usize);
    for at in 0..ROUNDS {
        write_all(&file, block.as_slice(), at * BLOCK)?;
    }
    fsync(&file)?;
    let median = |write: &dyn Fn(u64) -> std::io::Result<()>| -> std::io::Result<Duration> {
        let mut times = Vec::new();
        for at in 0..ROUNDS {
            let start = Instant::now();
            write(at * BLOCK)?;
            times.push(start.elapsed());
        }
        times.sort();
        Ok(times[times.len() / 2])
    };
    let dsync = median(&|offset| {
        pwritev2(&file, &[IoSlice::new(block.as_slice())], offset, ReadWriteFlags::DSYNC)?;
        Ok(())
    })?;
    let write_then_fdatasync = median(&|offset| {
        write_all(&file, block.as_slice(), offset)?;
        Ok(fdatasync(&file)?)
    })?;
    let method =
        if dsync <= write_then_fdatasync { WriteMethod::Dsync } else { WriteMethod::WriteThenFdatasync };
    Ok(Probe { method, dsync, write_then_fdatasync })
}
