//! A file through a memory map, read by bounds-checked copies only.
//!
//! No reference into the map is ever made: a running node may be writing the file, so what is read is copied
//! out first and judged in the copy. A place that the device cannot read, or a file cut short meanwhile, is an
//! error of that read (`MADV_POPULATE_READ`, Linux 5.14), not the end of the process.

use engine::limits::BLOCK;
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::fs::File;
use std::io;
use std::path::Path;

/// What is copied out at once while going through a file.
const WINDOW_BYTES: u64 = 1 << 20;

/// One file, and the stretch of it that was copied last.
pub struct MappedFile {
    /// `None` for an empty file, which cannot be mapped.
    map: Option<MmapRaw>,
    window: Vec<u8>,
    window_start: u64,
}

impl MappedFile {
    /// Maps the file as long as it is now, for reading.
    ///
    /// # Errors
    /// It cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        let map = match file.metadata()?.len() {
            0 => None,
            len => Some(MmapOptions::new().len(len as usize).map_raw_read_only(&file)?),
        };
        Ok(MappedFile { map, window: Vec::new(), window_start: 0 })
    }

    /// The file's length in bytes when it was mapped.
    pub fn len(&self) -> u64 {
        self.map.as_ref().map_or(0, |map| map.len() as u64)
    }

    /// A copy of `len` bytes at `offset`, or of fewer at the file's end.
    ///
    /// # Errors
    /// The place cannot be read.
    pub fn read(&mut self, offset: u64, len: u64) -> io::Result<&[u8]> {
        let offset = offset.min(self.len());
        let end = offset.saturating_add(len).min(self.len());
        if offset == end {
            return Ok(&[]);
        }
        let held = self.window_start..self.window_start + self.window.len() as u64;
        if offset < held.start || end > held.end {
            let start = offset / BLOCK * BLOCK;
            let ahead = (end - start).max(WINDOW_BYTES).min(self.len() - start);
            self.window.clear();
            if self.copy(start, ahead).is_err() {
                // Perhaps only what lies ahead is unreadable.
                self.copy(start, end - start)?;
            }
        }
        let from = (offset - self.window_start) as usize;
        Ok(&self.window[from..from + (end - offset) as usize])
    }

    /// Makes the window the `len` bytes at `start`.
    fn copy(&mut self, start: u64, len: u64) -> io::Result<()> {
        let Some(map) = self.map.as_ref().filter(|_| len > 0) else { return Ok(()) };
        let (start, len) = (start as usize, len as usize);
        assert!(start.checked_add(len).is_some_and(|end| end <= map.len()), "a read outside the map");
        match map.advise_range(Advice::PopulateRead, start, len) {
            // An older kernel does not know the advice.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => return Err(error),
            _ => {}
        }
        self.window.clear();
        self.window.reserve(len);
        // SAFETY: `start + len` lies in the map (asserted), the window has room for `len` bytes, and the two do
        // not overlap. The bytes may change while they are copied, since another process writes the file; no
        // reference to them exists, any value is a valid `u8`, and only the copy is looked at.
        unsafe {
            std::ptr::copy_nonoverlapping(map.as_ptr().add(start), self.window.as_mut_ptr(), len);
            self.window.set_len(len);
        }
        self.window_start = start as u64;
        Ok(())
    }
}
