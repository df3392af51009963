//! Compiles `kernels/*.cu`, each into one file with machine code for every architecture, and writes the list that `src/kernels.rs`
//! embeds. What was compiled is kept by content where CANDELA_CACHE names a folder, and in OUT_DIR in any case.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use sha2::{Digest, Sha256};

use super::toolkit::Toolkit;

const FOLDER: &str = "kernels";

/// Ampere and Ada (8.0 runs on all of 8.x), Hopper with its own instructions, Blackwell of data centres and of workstations. Later GPUs
/// compile what is for [`PORTABLE`] when the engine starts.
const ARCHITECTURES: &str = "80 90a 100 120";
const PORTABLE: &str = "90";

const FLAGS: [&str; 5] = [
    "-std=c++17",
    "-O3",
    "--expt-relaxed-constexpr",
    "--fatbin",
    "-Werror=all-warnings",
];

pub(crate) fn build(toolkit: &Toolkit, out: &Path) -> Result<(), String> {
    for variable in ["CANDELA_CUDA_ARCHITECTURES", "CANDELA_CACHE", "NVCC_CCBIN"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed={FOLDER}");
    let asked = env::var("CANDELA_CUDA_ARCHITECTURES").unwrap_or_default();
    let asked = if asked.trim().is_empty() {
        ARCHITECTURES
    } else {
        &asked
    };
    let flags = flags(asked)?;
    let files = files()?;
    let (sources, headers): (Vec<_>, Vec<_>) = files.iter().partition(|path| ends_in(path, "cu"));

    let mut shared = Sha256::new();
    shared.update(&toolkit.version);
    shared.update(flags.join(" "));
    for header in headers {
        shared.update(read(header)?);
    }
    let kept = env::var_os("CANDELA_CACHE").map_or_else(|| out.to_owned(), PathBuf::from);
    let kept = kept.join("kernels");
    fs::create_dir_all(&kept).map_err(|error| format!("creating {}: {error}", kept.display()))?;
    let mut jobs = Vec::new();
    for &source in &sources {
        let key = shared.clone().chain_update(read(source)?).finalize();
        let key = key
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let name = source.file_stem().and_then(|stem| stem.to_str());
        let name = name.ok_or_else(|| format!("{} has no plain name", source.display()))?;
        let binary = kept.join(format!("{name}-{}.fatbin", &key[..24]));
        jobs.push(Job {
            name,
            source,
            binary,
        });
    }
    compile(toolkit, &flags, &jobs)?;
    write_list(out, &jobs, asked)
}

struct Job<'a> {
    name: &'a str,
    source: &'a Path,
    binary: PathBuf,
}

/// nvcc's arguments: machine code of each architecture of the list, and portable code.
fn flags(architectures: &str) -> Result<Vec<String>, String> {
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    for architecture in architectures.split_whitespace() {
        let number = architecture.trim_end_matches(|letter| matches!(letter, 'a' | 'f'));
        if !matches!(number.parse::<u32>(), Ok(80..)) {
            return Err(format!(
                "CANDELA_CUDA_ARCHITECTURES has {architecture:?}; it takes compute capabilities from 8.0 on \
                 without their dot, separated by spaces: {ARCHITECTURES:?}"
            ));
        }
        flags.push(format!(
            "-gencode=arch=compute_{architecture},code=sm_{architecture}"
        ));
    }
    flags.push(format!(
        "-gencode=arch=compute_{PORTABLE},code=compute_{PORTABLE}"
    ));
    Ok(flags)
}

/// Kernels and what they include, in the order of their names.
fn files() -> Result<Vec<PathBuf>, String> {
    let listed = fs::read_dir(FOLDER).map_err(|error| format!("reading {FOLDER}: {error}"))?;
    let mut files: Vec<PathBuf> = listed
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            ["cu", "cuh", "h"]
                .iter()
                .any(|ending| ends_in(path, ending))
        })
        .collect();
    files.sort();
    Ok(files)
}

fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own == ending)
}

/// Compiles those that are not there yet, as many at a time as cargo allows.
fn compile(toolkit: &Toolkit, flags: &[String], jobs: &[Job<'_>]) -> Result<(), String> {
    let missing: Vec<&Job<'_>> = jobs.iter().filter(|job| !job.binary.is_file()).collect();
    let limit = env::var("NUM_JOBS")
        .ok()
        .and_then(|number| number.parse().ok());
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(job) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
            compile_one(toolkit, flags, job)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..limit.unwrap_or(1).min(missing.len()))
            .map(|_| scope.spawn(worker))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .map_err(|_| "a compiler's thread broke".to_owned())?
        })
    })
}

fn compile_one(toolkit: &Toolkit, flags: &[String], job: &Job<'_>) -> Result<(), String> {
    let mut unfinished = OsString::from(&job.binary);
    unfinished.push(format!(".{}", std::process::id()));
    let run = Command::new(&toolkit.nvcc)
        .args(flags)
        .arg("-o")
        .arg(&unfinished)
        .arg(job.source)
        // Flags that are meant for other kernels.
        .env_remove("NVCC_APPEND_FLAGS")
        .env_remove("NVCC_PREPEND_FLAGS")
        .output()
        .map_err(|error| format!("running nvcc: {error}"))?;
    if !run.status.success() {
        let said = [run.stdout, run.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        return Err(format!(
            "nvcc cannot compile {}:\n{said}",
            job.source.display()
        ));
    }
    fs::rename(&unfinished, &job.binary)
        .map_err(|error| format!("keeping {}: {error}", job.binary.display()))
}

fn write_list(out: &Path, jobs: &[Job<'_>], architectures: &str) -> Result<(), String> {
    let mut list = format!(
        "/// Compute capabilities with machine code of their own.\n\
         pub const ARCHITECTURES: &str = {architectures:?};\n\
         /// Every file of kernels, by name, with its code.\n\
         const MODULES: &[(&str, &[u8])] = &[\n"
    );
    for Job { name, binary, .. } in jobs {
        println!("cargo::rerun-if-changed={}", binary.display());
        let _ = writeln!(list, "    ({name:?}, include_bytes!({binary:?})),");
    }
    list.push_str("];\n");
    let path = out.join("modules.rs");
    fs::write(&path, list).map_err(|error| format!("writing {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))
}
