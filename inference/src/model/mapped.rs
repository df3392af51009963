//! Mapping a model's file into memory.

use std::{fs::File, io};

use memmap2::Mmap;

/// Maps a file to be read.
#[expect(
    unsafe_code,
    reason = "mapping a file is only sound while nobody changes it"
)]
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only, read while loading, and dropped after. Models are written to a
    // new place and then named, not changed in place; a file that shrinks meanwhile ends the process.
    unsafe { Mmap::map(file) }
}
