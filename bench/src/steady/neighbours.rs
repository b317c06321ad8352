//! What else a machine does: cores that are busy, and somebody who writes and syncs on the same disk.

use crate::steady::Shared;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Write};
use std::path::Path;

/// Work between two looks at whether the run is over.
const BURN_STEPS: u64 = 10_000_000;
/// Size of one file of the neighbour, and of each of its writes.
const FILE_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 4 << 20;

/// Keeps a core busy.
pub fn burn(shared: &Shared) {
    while shared.goes_on() {
        black_box((0..BURN_STEPS).fold(0u64, |sum, n| black_box(sum.wrapping_mul(31).wrapping_add(n))));
    }
}

/// Writes large files into `dir`, syncs each, removes it, and begins anew.
pub fn write_and_sync(shared: &Shared, dir: &Path) {
    let path = dir.join("neighbour");
    while shared.goes_on() {
        if let Err(error) = one_file(shared, &path) {
            shared.wrong("neighbour", format!("{}: {error}", path.display()));
            return;
        }
    }
}

fn one_file(shared: &Shared, path: &Path) -> io::Result<()> {
    let piece = vec![0x5a; PIECE_BYTES];
    let mut file = File::create(path)?;
    for _ in 0..FILE_BYTES / PIECE_BYTES {
        if !shared.goes_on() {
            break;
        }
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    fs::remove_file(path)
}
