//! The program on machines of every kind, played by a driver that is compiled here: with no driver, an old one, no GPU, two GPUs. It
//! is linked with none of CUDA's libraries, so it starts on all of them; what it calls of the driver it finds then.
#![cfg(feature = "cuda")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fs, path::Path, process::Command};

/// What `examples/devices.rs` prints on a machine whose `libcuda.so.1` is compiled with these macros, and whether it succeeded. `None`:
/// that file is not a library.
fn devices(driver: Option<&[&str]>) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libcuda.so.1");
    match driver {
        None => fs::write(&library, "no library").unwrap(),
        Some(macros) => {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/driver.c");
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-o"]).arg(&library);
            let status = compiler.args(macros).arg(source).status().unwrap();
            assert!(status.success(), "cc cannot compile the driver");
        }
    }
    let target = env::current_exe().unwrap();
    let target = target.parent().and_then(Path::parent).unwrap();
    let run = Command::new(target.join("examples/devices"))
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].concat();
    (String::from_utf8(said).unwrap(), run.status.success())
}

fn refused(driver: Option<&[&str]>, expected: &[&str]) {
    let (said, succeeded) = devices(driver);
    assert!(!succeeded, "{said}");
    for words in expected {
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}

#[test]
fn without_a_driver_one_line_says_so() {
    refused(
        None,
        &["has no NVIDIA driver", "libcuda.so.1", "--device=cpu"],
    );
    assert_eq!(devices(None).0.lines().count(), 1);
}

#[test]
fn an_old_driver_is_told_from_a_missing_one() {
    let driver = ["-DVERSION=12040", "-DDEVICES=1"];
    refused(
        Some(&driver),
        &["up to 12.4", "needs 13.", "update the driver"],
    );
}

#[test]
fn a_driver_without_a_gpu_is_told_from_a_missing_one() {
    let driver = ["-DVERSION=13000", "-DDEVICES=0"];
    refused(
        Some(&driver),
        &["shows this process no GPU", "nvidia.com/gpu"],
    );
}

#[test]
fn every_gpu_is_described() {
    let (said, succeeded) = devices(Some(&["-DVERSION=13020", "-DDEVICES=2"]));
    assert!(succeeded, "{said}");
    assert_eq!(
        said,
        "cuda:0 First GPU-28292a2b-2c2d-2e2f-3031-323334353637 9.0 40000 bytes\n\
         cuda:1 Second GPU-292a2b2c-2d2e-2f30-3132-333435363738 9.1 41000 bytes\n"
    );
}

#[test]
fn a_function_that_the_driver_lacks_is_named() {
    let driver = ["-DVERSION=13000", "-DDEVICES=1", "-DWITHOUT_UUID"];
    refused(
        Some(&driver),
        &["libcuda.so.1: cuDeviceGetUuid_v2 cannot be called"],
    );
}
