//! What comes out of the folder is what went in, or nothing: whatever happens to a file, and whoever else writes.

use std::{process::Command, sync::Barrier, thread};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{file::PIECE_BYTES, *};

type Matrices = Vec<(String, Vec<u8>)>;

fn some_bytes(count: usize, seed: u8) -> Vec<u8> {
    let number = |at: usize| (at as u32).wrapping_mul(2_654_435_761) >> 24;
    (0..count).map(|at| number(at) as u8 ^ seed).collect()
}

/// One of no bytes, and one of more than a piece.
fn some_matrices() -> Matrices {
    [1, 4096, 0, PIECE_BYTES + 12_345, 10_000]
        .into_iter()
        .zip(1u8..)
        .map(|(bytes, seed)| (format!("layer {seed}"), some_bytes(bytes, seed)))
        .collect()
}

fn borrowed(matrices: &Matrices) -> Vec<(&str, &[u8])> {
    let borrow = |(name, bytes)| (String::as_str(name), Vec::as_slice(bytes));
    matrices
        .iter()
        .map(|(name, bytes)| borrow((name, bytes)))
        .collect()
}

fn cache(folder: &Path) -> WeightsCache {
    let contents = some_bytes(100, 7);
    WeightsCache::new(folder.to_owned(), Key::of(&[("model", &contents)], "test"))
}

fn kept(matrices: &Matrices) -> (TempDir, WeightsCache) {
    let folder = TempDir::new().unwrap();
    let cache = cache(folder.path());
    assert_eq!(cache.keep(&borrowed(matrices)).unwrap(), Kept::Written);
    (folder, cache)
}

/// Whether the weights are there; if so, all of them are as they were.
fn found(cache: &WeightsCache, matrices: &Matrices) -> bool {
    let Some(cached) = cache.find() else {
        return false;
    };
    for (name, bytes) in matrices {
        let matrix = cached.matrix(name).unwrap();
        assert!(matrix.as_ref() == bytes, "{name}");
        assert_eq!(matrix.as_ref().as_ptr() as usize % 4096, 0);
    }
    true
}

fn files(folder: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| name(entry.unwrap()))
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_kept_is_found_and_what_was_not_is_not() {
    let matrices = some_matrices();
    let (folder, cache) = kept(&matrices);
    assert!(found(&cache, &matrices));
    assert!(cache.find().unwrap().matrix("layer 9").is_none());
    assert_eq!(files(folder.path()).len(), 1);
    let other = WeightsCache::new(folder.path().to_owned(), Key::of(&[], "test"));
    assert!(other.find().is_none());
    assert_eq!(other.keep(&[]).unwrap(), Kept::Written);
    assert!(found(&other, &Vec::new()) && found(&cache, &matrices));
}

#[test]
fn a_key_depends_on_every_content_its_name_and_its_use() {
    let large = some_bytes(2 * PIECE_BYTES + 3, 1);
    let mut changed = large.clone();
    *changed.last_mut().unwrap() ^= 1;
    let of = |contents: &[(&str, &[u8])], made| Key::of(contents, made).0;
    let keys = [
        of(&[("a", &large)], "bf16"),
        of(&[("a", &changed)], "bf16"),
        of(&[("a", &large[1..])], "bf16"),
        of(&[("b", &large)], "bf16"),
        of(&[("a", &large)], "q8_0"),
        of(&[("a", b"x"), ("b", b"y")], "bf16"),
        of(&[("a", b"xb"), ("", b"y")], "bf16"),
        of(&[("a", b""), ("", b"xby")], "bf16"),
        of(&[], "bf16"),
    ];
    for (at, key) in keys.iter().enumerate() {
        assert!(!keys[..at].contains(key), "{at}");
    }
    assert_eq!(keys[0], of(&[("a", &large)], "bf16"));
}

#[test]
fn a_file_that_is_cut_off_or_goes_on_is_not_believed() {
    let matrices = some_matrices();
    let (_folder, cache) = kept(&matrices);
    let whole = fs::read(cache.published()).unwrap();
    let ends = (0..80).chain((80..whole.len()).step_by(whole.len() / 50));
    for end in ends.chain([whole.len() - 1]) {
        fs::write(cache.published(), &whole[..end]).unwrap();
        assert!(!found(&cache, &matrices), "{end}");
    }
    fs::write(cache.published(), [&whole[..], &[0]].concat()).unwrap();
    assert!(!found(&cache, &matrices));
    assert_eq!(cache.keep(&borrowed(&matrices)).unwrap(), Kept::Written);
    assert!(found(&cache, &matrices));
}

#[test]
fn no_byte_of_the_header_can_change() {
    let matrices = vec![("a".to_owned(), some_bytes(5000, 3))];
    let (_folder, cache) = kept(&matrices);
    let whole = fs::read(cache.published()).unwrap();
    let index_bytes = u64::from_le_bytes(*whole[32..].first_chunk().unwrap());
    for at in 0..64 + index_bytes as usize {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(cache.published(), flipped).unwrap();
        assert!(!found(&cache, &matrices), "{at}");
    }
}

#[test]
fn a_file_of_another_version_or_key_is_not_believed() {
    let matrices = some_matrices();
    let (folder, cache) = kept(&matrices);
    let other = WeightsCache::new(folder.path().to_owned(), Key(cache.key.0 ^ 1));
    fs::copy(cache.published(), other.published()).unwrap();
    assert!(!found(&other, &matrices));
    let mut bytes = fs::read(cache.published()).unwrap();
    bytes[8] += 1;
    let damage = file::read(&bytes, cache.key).unwrap_err();
    assert_eq!(damage, file::Damage::Version(2));
    assert_eq!(
        damage.to_string(),
        "it is of version 2, this engine reads 1"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_is_seen_or_lies_between_the_matrices(at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let matrices = vec![("a".to_owned(), some_bytes(30_000, 3)), ("b".to_owned(), some_bytes(70_000, 4))];
        let (_folder, cache) = kept(&matrices);
        let mut bytes = fs::read(cache.published()).unwrap();
        let at = at.index(bytes.len());
        let padding = cache.find().unwrap();
        let in_matrix = padding.places.values().any(|place| place.contains(&at));
        drop(padding);
        bytes[at] ^= 1u8 << bit;
        fs::write(cache.published(), bytes).unwrap();
        let found = found(&cache, &matrices);
        prop_assert!(!(found && in_matrix), "{at}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for bad in [file.clone(), file.join("below")] {
        assert!(cache(&bad).find().is_none());
        let error = cache(&bad).keep(&[]).unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
    // A folder in the place of the file: it cannot be renamed to it.
    let matrices = some_matrices();
    let cache = cache(&folder.path().join("weights"));
    fs::create_dir_all(cache.published().join("in the way")).unwrap();
    assert!(cache.keep(&borrowed(&matrices)).is_err());
    assert_eq!(files(&cache.folder).len(), 1);
}

#[test]
fn a_full_folder_takes_no_more_and_loses_nothing() {
    let (folder, cache) = kept(&some_matrices());
    for at in 1..CACHED_WEIGHTS_MAX {
        fs::write(folder.path().join(format!("{at:032x}.weights")), "").unwrap();
    }
    let other = WeightsCache::new(folder.path().to_owned(), Key(0));
    let error = other.keep(&[]).unwrap_err().to_string();
    assert!(error.contains("remove those"), "{error}");
    assert_eq!(files(folder.path()).len(), CACHED_WEIGHTS_MAX);
    // What is there may be written again.
    fs::write(cache.published(), "damaged").unwrap();
    assert_eq!(cache.keep(&[]).unwrap(), Kept::Written);
}

#[test]
fn what_a_dead_writer_left_is_removed_and_a_living_one_is_left_alone() {
    let (folder, cache) = kept(&some_matrices());
    let left = folder.path().join("01.weights.incomplete");
    let busy = folder.path().join("02.weights.incomplete");
    fs::write(&left, "cut off").unwrap();
    let writer = lock(&busy, true).unwrap().unwrap();
    assert!(cache.find().is_some());
    assert!(!left.exists() && busy.exists());
    drop(writer);
    assert!(cache.find().is_some() && !busy.exists());
    fs::write(&left, "cut off").unwrap();
    fs::write(cache.published(), "damaged").unwrap();
    let path = cache.published().with_added_extension(INCOMPLETE);
    let writer = lock(&path, true).unwrap();
    assert_eq!(cache.keep(&[]).unwrap(), Kept::Elsewhere);
    drop(writer);
    assert!(!left.exists());
    assert_eq!(cache.keep(&[]).unwrap(), Kept::Written);
}

#[test]
fn what_another_wrote_in_the_meantime_stays() {
    let (folder, cache) = kept(&some_matrices());
    let id = || fs::metadata(cache.published()).unwrap().modified().unwrap();
    let before = id();
    assert_eq!(
        cache.keep(&borrowed(&some_matrices())).unwrap(),
        Kept::Elsewhere
    );
    assert_eq!((id(), files(folder.path()).len()), (before, 1));
}

#[test]
fn writers_and_readers_at_once_see_whole_files_only() {
    let matrices = some_matrices();
    let folder = TempDir::new().unwrap();
    let cache = cache(folder.path());
    let (matrices, cache) = (&matrices, &cache);
    let start = &Barrier::new(6);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(move || {
                start.wait();
                for _ in 0..8 {
                    let _ = fs::remove_file(cache.published());
                    cache.keep(&borrowed(matrices)).unwrap();
                }
            });
            scope.spawn(move || {
                start.wait();
                for _ in 0..8 {
                    found(cache, matrices);
                }
            });
        }
    });
    // The last to come may have left it to one whose file was there a moment before.
    cache.keep(&borrowed(matrices)).unwrap();
    assert!(found(cache, matrices));
    assert_eq!(files(&cache.folder).len(), 1);
}

/// The other side of `two_processes_at_once_leave_one_whole_file`; by itself it does nothing.
#[test]
fn one_of_two_processes() {
    if let Some(folder) = std::env::var_os("CANDELA_TEST_WEIGHTS_CACHE") {
        let matrices = some_matrices();
        let cache = cache(Path::new(&folder));
        for _ in 0..10 {
            let _ = fs::remove_file(cache.published());
            cache.keep(&borrowed(&matrices)).unwrap();
            let is_there = cache.published().exists();
            assert!(found(&cache, &matrices) || !is_there);
        }
    }
}

#[test]
fn two_processes_at_once_leave_one_whole_file() {
    let folder = TempDir::new().unwrap();
    let other = || {
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "model::weights_cache::tests::one_of_two_processes",
            ])
            .env("CANDELA_TEST_WEIGHTS_CACHE", folder.path())
            .spawn()
            .unwrap()
    };
    let mut processes = [other(), other()];
    for process in &mut processes {
        assert!(process.wait().unwrap().success());
    }
    let cache = cache(folder.path());
    cache.keep(&borrowed(&some_matrices())).unwrap();
    assert!(found(&cache, &some_matrices()));
    assert_eq!(files(folder.path()).len(), 1);
}

/// A process that was killed in the middle: its lock is gone, its file is the next one's.
#[test]
fn a_write_that_was_cut_off_is_begun_anew() {
    let matrices = some_matrices();
    let folder = TempDir::new().unwrap();
    let cache = cache(folder.path());
    let incomplete = cache.published().with_added_extension(INCOMPLETE);
    fs::write(&incomplete, some_bytes(PIECE_BYTES * 3, 9)).unwrap();
    assert!(cache.find().is_none());
    assert_eq!(cache.keep(&borrowed(&matrices)).unwrap(), Kept::Written);
    assert!(found(&cache, &matrices) && !incomplete.exists());
}
