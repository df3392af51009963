//! The form of a file of packed weights:
//!
//! ```text
//! magic 8 · version 4 · 0 4 · key 16 · bytes of the index 8 · bytes of the file 8 · checksum 16
//! index, JSON: name, place and digests of each matrix
//! matrices, each at a multiple of 4096
//! ```
//!
//! The checksum is over the header, itself as zeros, and the index; the digests are over the pieces of each matrix. Numbers are
//! little endian. What is read is what was written, or it is refused with the reason.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    ops::Range,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use serde::{Deserialize, Serialize};
use twox_hash::{XxHash3_64, XxHash3_128};

use crate::model::ops::team;

const MAGIC: [u8; 8] = *b"candelaW";
/// Of the form of the file. How matrices are packed is part of the key.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Where the header has its checksum.
const CHECKSUM: Range<usize> = 48..64;
/// Matrices begin at multiples of it: a page.
const ALIGNMENT: usize = 4096;
/// What has a digest of its own, so that the threads share the work.
pub(super) const PIECE_BYTES: usize = 8 << 20;

/// What a file was made of, as a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct Key(pub(super) u128);

impl Key {
    /// Of `contents`, all their bytes, and of `made`, which says how the weights are made of them.
    pub(in crate::model) fn of(contents: &[(&str, &[u8])], made: &str) -> Self {
        let mut hash = XxHash3_128::new();
        let mut add = |bytes: &[u8]| {
            hash.write(&(bytes.len() as u64).to_le_bytes());
            hash.write(bytes);
        };
        add(made.as_bytes());
        for (name, content) in contents {
            add(name.as_bytes());
            let digests = digests(content);
            add(&(content.len() as u64).to_le_bytes());
            digests.iter().for_each(|digest| add(&digest.to_le_bytes()));
        }
        Self(hash.finish_128())
    }
}

/// A digest of each piece, by all compute threads.
fn digests(bytes: &[u8]) -> Vec<u64> {
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
    let digests: Vec<AtomicU64> = pieces.iter().map(|_| AtomicU64::new(0)).collect();
    team().run(pieces.len(), |piece| {
        let digest = XxHash3_64::oneshot(pieces[piece]);
        digests[piece].store(digest, Ordering::Relaxed);
    });
    digests.into_iter().map(AtomicU64::into_inner).collect()
}

/// A file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is no file of packed weights")]
    Magic,
    #[error("it is of version {0}, this engine reads {VERSION}")]
    Version(u32),
    #[error("it was made of other files than its name says")]
    Key,
    #[error("it has {found} bytes and should have {said}")]
    Length { found: u64, said: u64 },
    #[error("its header is damaged")]
    Header,
    #[error("the content of {0} is damaged")]
    Content(String),
}

/// Where a matrix is.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    /// From the beginning of the file.
    offset: usize,
    bytes: usize,
    /// One for each piece.
    digests: Vec<u64>,
}

/// Writes a file of these matrices.
pub(super) fn write(file: &File, key: Key, matrices: &[(&str, &[u8])]) -> io::Result<()> {
    let mut entries: Vec<Entry> = matrices
        .iter()
        .map(|(name, bytes)| Entry {
            name: (*name).to_owned(),
            offset: 0,
            bytes: bytes.len(),
            // By this thread alone: the others compute answers meanwhile.
            digests: bytes.chunks(PIECE_BYTES).map(XxHash3_64::oneshot).collect(),
        })
        .collect();
    // Offsets are written with all their digits, so that the index is as long as it will be.
    let index_bytes = serde_json::to_vec(&entries)?.len() + entries.len() * OFFSET_DIGITS;
    let mut end = HEADER_BYTES + index_bytes;
    for entry in &mut entries {
        entry.offset = end.next_multiple_of(ALIGNMENT);
        end = entry.offset + entry.bytes;
    }
    let mut index = serde_json::to_vec(&entries)?;
    index.resize(index_bytes, b' ');
    let mut out = BufWriter::new(file);
    out.write_all(&header(key, &index, end))?;
    out.write_all(&index)?;
    let mut at = HEADER_BYTES + index_bytes;
    for (entry, (_, bytes)) in entries.iter().zip(matrices) {
        out.write_all(&[0; ALIGNMENT][..entry.offset - at])?;
        out.write_all(bytes)?;
        at = entry.offset + entry.bytes;
    }
    out.flush()
}

/// Digits of the greatest offset.
const OFFSET_DIGITS: usize = 20;

fn header(key: Key, index: &[u8], file_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..32].copy_from_slice(&key.0.to_le_bytes());
    header[32..40].copy_from_slice(&(index.len() as u64).to_le_bytes());
    header[40..48].copy_from_slice(&(file_bytes as u64).to_le_bytes());
    let checksum = checksum(&header, index);
    header[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Of a header, whatever checksum it has, and an index.
fn checksum(header: &[u8; HEADER_BYTES], index: &[u8]) -> u128 {
    let mut hash = XxHash3_128::new();
    hash.write(&header[..CHECKSUM.start]);
    hash.write(index);
    hash.finish_128()
}

/// Reads a file and all its content: where each matrix is.
pub(super) fn read(bytes: &[u8], key: Key) -> Result<HashMap<String, Range<usize>>, Damage> {
    let (header, rest) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(Damage::Magic)?;
    if header[..8] != MAGIC {
        return Err(Damage::Magic);
    }
    let version = u32::from_le_bytes(number(header, 8));
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let (found, said) = (bytes.len() as u64, u64::from_le_bytes(number(header, 40)));
    if found != said {
        return Err(Damage::Length { found, said });
    }
    let index_bytes = usize::try_from(u64::from_le_bytes(number(header, 32)));
    let index = index_bytes.ok().and_then(|length| rest.get(..length));
    let index = index.ok_or(Damage::Header)?;
    if checksum(header, index) != u128::from_le_bytes(number(header, CHECKSUM.start)) {
        return Err(Damage::Header);
    }
    if key.0 != u128::from_le_bytes(number(header, 16)) {
        return Err(Damage::Key);
    }
    let entries: Vec<Entry> = serde_json::from_slice(index).map_err(|_| Damage::Header)?;
    check_contents(bytes, &entries)?;
    let place = |entry: Entry| (entry.name, entry.offset..entry.offset + entry.bytes);
    Ok(entries.into_iter().map(place).collect())
}

fn number<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let bytes = header[at..].first_chunk();
    *bytes.expect("every number lies within the header")
}

/// That every piece is as its digest says.
fn check_contents(bytes: &[u8], entries: &[Entry]) -> Result<(), Damage> {
    let mut pieces: Vec<(usize, &[u8], u64)> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let end = entry.offset.checked_add(entry.bytes);
        let content = end.and_then(|end| bytes.get(entry.offset..end));
        let content = content.ok_or(Damage::Header)?.chunks(PIECE_BYTES);
        if content.len() != entry.digests.len() {
            return Err(Damage::Header);
        }
        let content = content.zip(&entry.digests);
        pieces.extend(content.map(|(piece, &digest)| (index, piece, digest)));
    }
    let damaged = AtomicUsize::new(usize::MAX);
    team().run(pieces.len(), |piece| {
        let (entry, bytes, digest) = pieces[piece];
        if XxHash3_64::oneshot(bytes) != digest {
            damaged.fetch_min(entry, Ordering::Relaxed);
        }
    });
    match entries.get(damaged.into_inner()) {
        Some(entry) => Err(Damage::Content(entry.name.clone())),
        None => Ok(()),
    }
}
