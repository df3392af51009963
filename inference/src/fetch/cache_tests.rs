//! A published folder is whole or named as damaged; refs and names stay inside the cache.

use super::*;

fn place(folder: &Path) -> Place {
    Place::new(folder.join("hf/a/b"), "0123".into())
}

fn publish(place: &Place, files: &[(&str, &str)]) {
    let staging = place.begin(&[]).unwrap();
    let marked = files.iter().map(|(name, content)| {
        let path = staging.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let sums = digest::of_file(&path, &Digest::None).unwrap().finish();
        MarkedFile::of(&staging, name, sums.sha256).unwrap()
    });
    let marker = Marker::new("hf://a/b".into(), "0123".into(), marked.collect());
    place.publish(&marker).unwrap();
}

fn damaged(place: &Place, check: Check) -> Vec<String> {
    match place.look(check).unwrap() {
        Found::Damaged(files) => files.into_iter().map(|(name, _)| name).collect(),
        Found::Complete(_) => Vec::new(),
        Found::Nothing => panic!("it was published"),
    }
}

#[test]
fn a_model_is_published_whole() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    assert!(matches!(place.look(Check::Quick).unwrap(), Found::Nothing));
    place.begin(&[]).unwrap();
    assert!(matches!(place.look(Check::Quick).unwrap(), Found::Nothing));
    publish(&place, &[("config.json", "{}"), ("sub/m.gguf", "weights")]);
    assert!(!place.staging().exists());
    let Found::Complete(marker) = place.look(Check::Whole).unwrap() else {
        panic!("it was published")
    };
    assert_eq!(marker.bytes(), 9);
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let files = [("config.json", "{}"), ("model.safetensors", "weights")];
    publish(&place, &files);
    let path = place.published().join("model.safetensors");
    // Shorter: seen by its size.
    fs::write(&path, "weight").unwrap();
    assert_eq!(damaged(&place, Check::Quick), ["model.safetensors"]);
    // Of the same size, but written again: its time leads to its content.
    fs::write(&path, "Weights").unwrap();
    assert_eq!(damaged(&place, Check::Quick), ["model.safetensors"]);
    // Damaged below the file system: only reading everything finds it.
    fs::write(&path, "weights").unwrap();
    assert!(
        damaged(&place, Check::Quick).is_empty(),
        "times are noted again"
    );
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "weighty").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert!(damaged(&place, Check::Quick).is_empty());
    let Found::Damaged(files) = place.look(Check::Whole).unwrap() else {
        panic!("it is damaged")
    };
    assert!(files[0].1.contains("SHA-256"), "{files:?}");

    let staging = place.begin(&files).unwrap();
    assert!(!place.published().exists() && staging.join("config.json").exists());
    assert!(!staging.join("model.safetensors").exists());
}

#[test]
fn a_missing_or_foreign_marker_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    publish(&place, &[("config.json", "{}")]);
    for marker in [
        Some("{}"),
        Some(r#"{"format":2,"source":"","version":"","files":[]}"#),
        None,
    ] {
        let path = place.published().join(MARKER);
        match marker {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert_eq!(damaged(&place, Check::Quick), [MARKER]);
    }
}

#[tokio::test]
async fn one_holds_the_lock_and_the_next_waits() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let held = place.lock(|_| panic!("nobody has it")).await.unwrap();
    let (seen, mut looks) = tokio::sync::mpsc::unbounded_channel();
    let other = place.clone();
    let next = tokio::spawn(async move { other.lock(|first| seen.send(first).unwrap()).await });
    assert_eq!(looks.recv().await, Some(true));
    drop(held);
    next.await.unwrap().unwrap();
}

#[test]
fn refs_are_remembered_and_stay_in_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("hf/a/b");
    assert_eq!(read_ref(&source, "main"), None);
    write_ref(&source, "main", "0123");
    write_ref(&source, "refs/pr/1", "4567");
    write_ref(&source, "..", "89ab");
    assert_eq!(read_ref(&source, "main").as_deref(), Some("0123"));
    assert_eq!(read_ref(&source, "refs/pr/1").as_deref(), Some("4567"));
    let mut names: Vec<_> = fs::read_dir(source.join("refs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["%2E.", "main", "refs%2Fpr%2F1"]);
    fs::write(source.join("refs/main"), "../../x").unwrap();
    assert_eq!(read_ref(&source, "main"), None);
}

#[test]
fn a_disk_that_is_too_small_is_refused_with_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    check_space(folder.path(), 0).unwrap();
    check_space(folder.path(), 1).unwrap();
    let error = check_space(folder.path(), 1 << 60).unwrap_err().to_string();
    assert!(
        error.contains("1.15 EB more are needed") && error.contains("are free"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_cannot_sync_a_folder_is_fine() {
    // It answers that the argument is invalid, as some network file systems do.
    sync_folder(Path::new("/proc")).unwrap();
    assert!(sync_folder(Path::new("/nowhere")).is_err());
}
