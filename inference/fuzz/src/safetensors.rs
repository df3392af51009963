//! The files that say what a model is: a safetensors file's header, the index of several, and the
//! configuration. The first byte picks which is fuzzed; the others are the demo model's.

use std::{cell::OnceCell, fs, path::PathBuf};

use candela_engine::model::{self, ModelFiles, check_safetensors};
use candela_flags::EngineFlags;

const FILES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
];

/// Reads `data` as one of the files.
///
/// # Panics
/// When reading does, or when a refusal names no file.
pub fn run(data: &[u8]) {
    let Some((&which, file)) = data.split_first() else {
        return;
    };
    if let Err(error) = check_safetensors("the-file", file) {
        assert!(error.to_string().contains("the-file"), "{error}");
    }
    let which = usize::from(which) % FILES.len();
    with_folder(|folder, demo| {
        for name in FILES {
            let good = demo.read_optional(name).ok().flatten();
            let bytes = if name == FILES[which] {
                Some(file)
            } else {
                good.as_deref()
            };
            let path = folder.join(name);
            match bytes {
                Some(bytes) => fs::write(path, bytes).expect("the folder can be written"),
                // It is not there, then.
                None => drop(fs::remove_file(path)),
            }
        }
        let flags = EngineFlags::for_model("fuzzed");
        let path = folder.to_str().expect("a name of ASCII");
        if let Err(error) = model::open(path)
            .map_err(Into::into)
            .and_then(|files| model::describe(&files, &flags))
        {
            assert!(!error.to_string().is_empty());
        }
    });
}

/// A folder of this thread, and the demo model.
fn with_folder(work: impl FnOnce(&PathBuf, &ModelFiles)) {
    thread_local! {
        static FOLDER: OnceCell<(PathBuf, ModelFiles)> = const { OnceCell::new() };
    }
    FOLDER.with(|cell| {
        let (folder, demo) = cell.get_or_init(|| {
            // Memory, where there is such a folder.
            let memory = PathBuf::from("/dev/shm");
            let parent = Some(memory).filter(|path| path.is_dir());
            let parent = parent.unwrap_or_else(std::env::temp_dir);
            let thread = format!("{:?}", std::thread::current().id());
            let name = format!("candela-fuzz-{}-{thread}", std::process::id());
            let folder = parent.join(name);
            fs::create_dir_all(&folder).expect("a folder can be made");
            let demo = model::open("builtin://demo").expect("it is compiled in");
            (folder, demo)
        });
        work(folder, demo);
    });
}
