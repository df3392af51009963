//! Mapping a model's file into memory.

use std::{fs::File, io, ops::Range, sync::Arc};

use memmap2::Mmap;

/// Bytes of a file that stays mapped.
#[derive(Debug, Clone)]
pub(super) struct MappedBytes {
    pub(super) map: Arc<Mmap>,
    pub(super) place: Range<usize>,
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.place.clone()]
    }
}

/// Maps a file to be read.
#[expect(
    unsafe_code,
    reason = "mapping a file is only sound while nobody changes it"
)]
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only. Models and cached weights are written to a new place and then named, not changed in place; a
    // file that shrinks meanwhile ends the process.
    unsafe { Mmap::map(file) }
}

/// Gives back the memory of these bytes of a map: the file still has them, and reading them again takes them from there.
#[cfg_attr(
    unix,
    expect(unsafe_code, reason = "advice that may change private memory")
)]
pub(super) fn release(map: &Mmap, bytes: Range<usize>) {
    #[cfg(unix)]
    {
        // SAFETY: the map is of a file and read-only, so that no page of it has anything that the file has not.
        let released = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len())
        };
        // What is not given back now is with the map.
        drop(released);
    }
    #[cfg(not(unix))]
    let _ = (map, bytes);
}
