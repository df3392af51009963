//! Downloads of one file from a source that fails in chosen ways.

use std::sync::Mutex;

use bytes::Bytes;
use futures::stream;

use super::*;
use crate::fetch::remote::Body;

/// What a source does with one request.
#[derive(Debug, Clone)]
enum Act {
    /// Sends everything from the offset on.
    Whole,
    /// Sends so many bytes, and the connection breaks.
    Cut(usize),
    /// Sends so many wrong bytes.
    Wrong(usize),
    /// Sends everything from the beginning, whatever was asked for.
    FromStart,
    /// Sends from another byte than was asked for.
    Elsewhere,
}

/// A source with one file, and what it was asked for.
struct Faulty {
    content: Vec<u8>,
    acts: Mutex<Vec<Act>>,
    offsets: Mutex<Vec<u64>>,
}

impl Source for Faulty {
    fn pinned(&self) -> Option<String> {
        None
    }

    async fn resolve(&self) -> Result<String, Failure> {
        Ok("v".into())
    }

    async fn list(&self, _: &str) -> Result<Vec<RemoteFile>, Failure> {
        Ok(Vec::new())
    }

    async fn open(&self, _: &str, _: &RemoteFile, offset: u64) -> Result<Body, Failure> {
        self.offsets.lock().unwrap().push(offset);
        let act = self.acts.lock().unwrap().pop().unwrap_or(Act::Whole);
        let rest = &self.content[offset as usize..];
        let broken = || Failure::passing(FetchError::Client("cut".into()));
        let (start, sent, cut) = match act {
            Act::Whole => (offset, rest.to_vec(), false),
            Act::Cut(bytes) => (offset, rest[..bytes].to_vec(), true),
            Act::Wrong(bytes) => (offset, vec![0; bytes], false),
            Act::FromStart => (0, self.content.clone(), false),
            Act::Elsewhere => (offset + 1, Vec::new(), false),
        };
        let mut chunks = vec![Ok(Bytes::from(sent))];
        chunks.extend(cut.then(|| Err(broken())));
        Ok(Body {
            start,
            digest_is_other: false,
            chunks: stream::iter(chunks).boxed(),
        })
    }
}

struct Outcome {
    result: Result<MarkedFile, FetchError>,
    offsets: Vec<u64>,
    progress: u64,
    folder: tempfile::TempDir,
}

const CONTENT: &[u8] = b"0123456789abcdef";

/// Downloads with the acts in order; `before` is what an earlier start left.
async fn run(before: &[u8], acts: &[Act]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let mut sums = Hashes::new(&Digest::None, 0);
    sums.update(CONTENT);
    let file = RemoteFile {
        name: "sub/m.gguf".into(),
        size: CONTENT.len() as u64,
        digest: Digest::Sha256(sums.finish().sha256),
        key: String::new(),
        tag: None,
    };
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/m.gguf.incomplete"), before).unwrap();
    let source = Faulty {
        content: CONTENT.to_vec(),
        acts: Mutex::new(acts.iter().rev().cloned().collect()),
        offsets: Mutex::default(),
    };
    let progress = Arc::new(DownloadProgress::default());
    let result = download(&source, "v", &file, folder.path(), &progress).await;
    Outcome {
        result,
        offsets: source.offsets.into_inner().unwrap(),
        progress: progress
            .bytes_done
            .load(std::sync::atomic::Ordering::Relaxed),
        folder,
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_on_the_way_the_file_is_whole() {
    for (before, acts, offsets) in [
        (&b""[..], &[][..], &[0][..]),
        (b"0123", &[], &[4]),
        (b"", &[Act::Cut(5), Act::Cut(0), Act::Cut(3)], &[0, 5, 5, 8]),
        // A server that knows no ranges starts again.
        (b"0123", &[Act::FromStart], &[4]),
        (b"", &[Act::Cut(5), Act::FromStart], &[0, 5]),
        // What an earlier start left was not of this file.
        (b"xxxx", &[], &[4, 0]),
        (b"longer than the file should be", &[], &[0]),
        (b"wrong, not short", &[], &[0]),
        (b"", &[Act::Wrong(16)], &[0, 0]),
        (b"", &[Act::Wrong(17)], &[0, 0]),
        (b"", &[Act::Wrong(4), Act::Elsewhere], &[0, 4, 4, 0]),
    ] {
        let outcome = run(before, acts).await;
        assert_eq!(outcome.offsets, offsets, "{acts:?}");
        let file = outcome.result.unwrap();
        assert_eq!((file.size, outcome.progress), (16, 16), "{acts:?}");
        let path = outcome.folder.path().join("sub/m.gguf");
        assert_eq!(fs::read(&path).unwrap(), CONTENT);
        assert!(!incomplete(&path).exists());
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_never_arrives_whole_is_given_up_and_named() {
    let outcome = run(b"", &[Act::Wrong(16), Act::Wrong(16), Act::Wrong(16)]).await;
    let error = outcome.result.unwrap_err().to_string();
    assert!(
        error.contains("sub/m.gguf: arrived damaged 3 times: its SHA-256 is"),
        "{error}"
    );
    assert!(!outcome.folder.path().join("sub/m.gguf").exists());
    let cuts = vec![Act::Cut(0); limits::ATTEMPTS_MAX as usize];
    let outcome = run(b"01", &cuts).await;
    assert_eq!(outcome.offsets.len(), limits::ATTEMPTS_MAX as usize);
    assert!(outcome.result.is_err());
    // What there was is kept for the next start.
    let partial = outcome.folder.path().join("sub/m.gguf.incomplete");
    assert_eq!(fs::read(partial).unwrap(), b"01");
}

#[test]
fn a_full_disk_is_said_with_both_numbers() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let error = (&full).write_all(b"x").unwrap_err();
    let folder = tempfile::tempdir().unwrap();
    let error = write_error(&folder.path().join("m"), 2_000_000, error).to_string();
    assert!(
        error.contains("too full: 2.00 MB more are needed") && error.contains("--download-dir"),
        "{error}"
    );
}
