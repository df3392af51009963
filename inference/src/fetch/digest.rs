//! Checksums: the one that the source gives, and SHA-256, under which the cache knows a file.

use std::{fs::File, io, io::Read, path::Path};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::remote::Digest;

const READ_BYTES: usize = 1 << 20;

/// Checksums of what was put in so far.
#[derive(Clone)]
pub(super) struct Hashes {
    bytes: u64,
    sha256: Sha256,
    other: Other,
}

#[derive(Clone)]
enum Other {
    None,
    GitBlob(Sha1),
    Md5(Md5),
}

/// Checksums in lower-case hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) sha256: String,
    /// Of the kind that the source gives, if it is another one.
    other: Option<String>,
}

impl Hashes {
    /// Of nothing yet. `size` is what the file will have; git puts it in front.
    pub(super) fn new(wanted: &Digest, size: u64) -> Self {
        let other = match wanted {
            Digest::Sha256(_) | Digest::None => Other::None,
            Digest::GitBlob(_) => Other::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
            Digest::Md5(_) => Other::Md5(Md5::new()),
        };
        Self {
            bytes: 0,
            sha256: Sha256::new(),
            other,
        }
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.sha256.update(chunk);
        match &mut self.other {
            Other::None => {}
            Other::GitBlob(sha1) => sha1.update(chunk),
            Other::Md5(md5) => md5.update(chunk),
        }
    }

    /// Bytes put in.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn finish(self) -> Sums {
        Sums {
            sha256: hex(&self.sha256.finalize()),
            other: match self.other {
                Other::None => None,
                Other::GitBlob(sha1) => Some(hex(&sha1.finalize())),
                Other::Md5(md5) => Some(hex(&md5.finalize())),
            },
        }
    }
}

impl Sums {
    /// Algorithm, found and wanted checksum, where they differ.
    pub(super) fn differs(&self, wanted: &Digest) -> Option<(&'static str, String, String)> {
        let other = || self.other.clone().unwrap_or_default();
        let (algorithm, found, wanted) = match wanted {
            Digest::None => return None,
            Digest::Sha256(wanted) => ("SHA-256", self.sha256.clone(), wanted),
            Digest::GitBlob(wanted) => ("git blob SHA-1", other(), wanted),
            Digest::Md5(wanted) => ("MD5", other(), wanted),
        };
        (found != *wanted).then(|| (algorithm, found, wanted.clone()))
    }
}

/// The checksums of a file as it is on disk.
pub(super) fn of_file(path: &Path, wanted: &Digest) -> io::Result<Hashes> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    of_reader(&mut file, wanted, size)
}

/// The checksums of what a reader gives to its end.
pub(super) fn of_reader(reader: &mut impl Read, wanted: &Digest, size: u64) -> io::Result<Hashes> {
    let mut hashes = Hashes::new(wanted, size);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hashes),
            read => hashes.update(&buffer[..read]),
        }
    }
}

/// SHA-256 of a text, for names that follow from content.
pub(super) fn sha256_of(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(content: &str, wanted: &Digest) -> Option<(&'static str, String, String)> {
        let mut hashes = Hashes::new(wanted, content.len() as u64);
        for chunk in content.as_bytes().chunks(3) {
            hashes.update(chunk);
        }
        assert_eq!(hashes.bytes(), content.len() as u64);
        hashes.finish().differs(wanted)
    }

    #[test]
    fn checksums_are_those_that_other_programs_compute() {
        // From sha256sum, md5sum, and git hash-object.
        for wanted in [
            Digest::Sha256(
                "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".into(),
            ),
            Digest::Md5("b1946ac92492d2347c6235b4d2611184".into()),
            Digest::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".into()),
            Digest::None,
        ] {
            assert_eq!(differs("hello\n", &wanted), None);
            let other = differs("hello!", &wanted);
            assert_eq!(other.is_none(), wanted == Digest::None, "{other:?}");
        }
    }
}
