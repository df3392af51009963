//! The program with a folder for its weights: later starts use what the first one kept, whatever became of it meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    client::Connection,
    program::Program,
    server::{CHAT, JSON, chat_body, until},
};

/// The files of the folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Starts the engine, asks it something, waits for `done`, and stops it: the answer and the log.
fn answer_and_log(folder: &Path, flags: &[&str], done: impl Fn() -> bool) -> (String, String) {
    let cache = format!("--weights-cache-dir={}", folder.display());
    let program = Program::start(&[&["--drain-grace=0", &cache], flags].concat());
    let mut connection = Connection::open(program.address);
    let body = chat_body("Who are you?", json!({"temperature": 0, "logprobs": true}));
    connection.request("POST", CHAT, &[JSON], body.to_string().as_bytes());
    let answer = connection.reply().json()["choices"][0].to_string();
    until("the weights are kept", done);
    program.terminate();
    let (status, log) = program.end();
    assert!(status.success(), "{log}");
    (answer, log)
}

#[test]
fn weights_that_were_kept_answer_as_those_that_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = |count: usize| {
        let files = files(folder);
        let is_whole = |path: &PathBuf| path.extension().is_some_and(|end| end == "weights");
        files.len() == count && files.iter().all(is_whole)
    };
    let (packed, _) = answer_and_log(folder, &[], || whole(1));
    let (kept, log) = answer_and_log(folder, &[], || true);
    assert!(log.contains("the weights are as they were kept"), "{log}");
    assert_eq!(packed, kept);
    // Another type is another file.
    let (_, log) = answer_and_log(folder, &["--dtype=float32"], || whole(2));
    assert!(!log.contains("the weights are as they were kept"), "{log}");
}

#[test]
fn a_damaged_file_costs_a_warning_and_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = || {
        files(folder)
            .iter()
            .any(|path| path.extension().is_some_and(|end| end == "weights"))
    };
    let (packed, _) = answer_and_log(folder, &[], whole);
    let path = files(folder).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for damaged in [&flipped[..], &bytes[..bytes.len() / 2], b""] {
        fs::write(&path, damaged).unwrap();
        let (answer, log) = answer_and_log(folder, &[], || fs::read(&path).unwrap() == bytes);
        assert!(log.contains("it is written again"), "{log}");
        assert_eq!(answer, packed);
    }
    let (_, log) = answer_and_log(folder, &[], || true);
    assert!(log.contains("the weights are as they were kept"), "{log}");
}

#[test]
fn a_folder_that_cannot_be_written_costs_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (answer, log) = answer_and_log(&file, &[], || true);
    assert!(answer.contains("message"), "{answer}");
    assert!(log.contains("the weights cannot be kept"), "{log}");
}
