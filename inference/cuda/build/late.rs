//! Archives that take the place of CUDA's shared libraries when the program is linked, so that it starts where there are
//! none, and finds them when it first calls them.
//!
//! candle links the driver (`-lcuda`), cuBLAS, cuRAND, NVRTC and the runtime. The linker looks for a library in one folder after
//! the other and takes a static one where a folder has no shared one; the folder made here comes first, since cargo
//! names the search paths of a package before those of what it depends on.
//!
//! - Driver, cuBLAS and NVRTC: every function that a header names becomes a jump through a table, whose entries
//!   `late/bind.c` fills at first use. The linker drops those that nobody calls.
//! - cuRAND: `late/curand.c`, which says why it needs no library.
//! - Runtime and C++ library: their own static archives, under the names that are linked.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::toolkit::Toolkit;

struct Library {
    /// What it is linked as.
    name: &'static str,
    /// What the names of its functions begin with.
    prefix: &'static str,
    headers: &'static [&'static str],
}

const LIBRARIES: [Library; 4] = [
    Library {
        name: "cuda",
        prefix: "cu",
        headers: &["cuda.h"],
    },
    Library {
        name: "cublas",
        prefix: "cublas",
        headers: &["cublas_api.h"],
    },
    Library {
        name: "cublasLt",
        prefix: "cublasLt",
        headers: &["cublasLt.h"],
    },
    Library {
        name: "nvrtc",
        prefix: "nvrtc",
        headers: &["nvrtc.h"],
    },
];

/// Of the driver too; their header is in none of the compiler's packages.
const PROFILER: [&str; 2] = ["cuProfilerStart", "cuProfilerStop"];

/// The driver is no part of the toolkit; its name has been the same since the first one.
const DRIVER: &str = "libcuda.so.1";

/// What `late/curand.c` has of cuRAND.
const CURAND: [&str; 4] = [
    "curandCreateGenerator",
    "curandDestroyGenerator",
    "curandSetPseudoRandomGeneratorSeed",
    "curandSetStream",
];

pub(crate) fn build(toolkit: &Toolkit, out: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed=late");
    let target = std::env::var("TARGET").unwrap_or_default();
    if target != "x86_64-unknown-linux-gnu" {
        return Err(format!(
            "the feature `cuda` is built for x86_64-unknown-linux-gnu, not for {target}"
        ));
    }
    let folder = out.join("late");
    fs::create_dir_all(&folder)
        .map_err(|error| format!("creating {}: {error}", folder.display()))?;
    for library in &LIBRARIES {
        let soname = match library.name {
            "cuda" => DRIVER.to_owned(),
            name => toolkit.soname(&format!("lib{name}.so"))?,
        };
        let variable = library.name.to_uppercase();
        println!("cargo::rustc-env=CANDELA_{variable}={soname}");
        let mut names = match library.name {
            "cuda" => BTreeSet::from(PROFILER.map(str::to_owned)),
            _ => BTreeSet::new(),
        };
        for header in library.headers {
            names.extend(functions(&toolkit.header(header)?, library.prefix));
        }
        let assembly = out.join(format!("{}.s", library.name));
        write(&assembly, &jumps(library.name, &soname, &names))?;
        archive(&folder, library.name, &["late/bind.c".into(), assembly])?;
    }
    let version = definition(&toolkit.header("cuda.h")?, "CUDA_VERSION")
        .ok_or("cuda.h does not say which version of CUDA it is of")?;
    println!("cargo::rustc-env=CANDELA_CUDA_VERSION={version}");
    let refused = out.join("curand.s");
    let mut names = functions(&toolkit.header("curand.h")?, "curand");
    names.retain(|name| !CURAND.contains(&name.as_str()));
    write(&refused, &refusals(&names))?;
    archive(&folder, "curand", &["late/curand.c".into(), refused])?;
    copy(
        &toolkit.library("libcudart_static.a")?,
        &folder.join("libcudart.a"),
    )?;
    copy(&compilers_own("libstdc++.a")?, &folder.join("libstdc++.a"))?;
    println!("cargo::rustc-link-search=native={}", folder.display());
    Ok(())
}

/// The functions that a header declares, under whatever name it has them exported, and some words beside that look the same.
fn functions(header: &str, prefix: &str) -> BTreeSet<String> {
    header
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| {
            let rest = word
                .strip_prefix(prefix)
                .and_then(|rest| rest.bytes().next());
            rest.is_some_and(|letter| letter.is_ascii_uppercase()) && !word.ends_with("_t")
        })
        .map(str::to_owned)
        .collect()
}

/// What a header defines `name` as.
fn definition(header: &str, name: &str) -> Option<String> {
    header.lines().find_map(|line| {
        let rest = line.strip_prefix("#define ")?.strip_prefix(name)?;
        Some(rest.strip_prefix(' ')?.trim().to_owned())
    })
}

/// One jump for each function, in sections of their own. An entry of the table is as `late/bind.c` has it.
fn jumps(library: &str, soname: &str, functions: &BTreeSet<String>) -> String {
    let mut text = format!(
        ".section .rodata.late_{library},\"a\",@progbits\n\
         .Lsoname: .asciz \"{soname}\"\n\
         .section .data.late_{library},\"aw\",@progbits\n\
         .p2align 3\n\
         .Llibrary: .quad .Lsoname, 0\n"
    );
    for (number, name) in functions.iter().enumerate() {
        let _ = write!(
            text,
            "\n.section .text.{name},\"ax\",@progbits\n\
             .globl {name}\n\
             .type {name},@function\n\
             {name}:\n\
             \tendbr64\n\
             \tjmp *.Lentry{number}(%rip)\n\
             .Lfirst{number}:\n\
             \tendbr64\n\
             \tleaq .Lentry{number}(%rip), %r11\n\
             \tjmp candela_late_call\n\
             .size {name}, .-{name}\n\
             .section .data.{name},\"aw\",@progbits\n\
             .p2align 3\n\
             .Lentry{number}: .quad .Lfirst{number}, .Lname{number}, .Llibrary\n\
             .section .rodata.{name},\"a\",@progbits\n\
             .Lname{number}: .asciz \"{name}\"\n"
        );
    }
    text + "\n.section .note.GNU-stack,\"\",@progbits\n"
}

/// Functions that return a status: that they are refused.
fn refusals(functions: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for name in functions {
        let _ = write!(
            text,
            ".section .text.{name},\"ax\",@progbits\n\
             .globl {name}\n\
             .type {name},@function\n\
             {name}:\n\
             \tendbr64\n\
             \tjmp candela_curand_refused\n\
             .size {name}, .-{name}\n"
        );
    }
    text + "\n.section .note.GNU-stack,\"\",@progbits\n"
}

/// Compiles `sources` into `lib{name}.a`.
fn archive(folder: &Path, name: &str, sources: &[PathBuf]) -> Result<(), String> {
    cc::Build::new()
        .files(sources)
        .out_dir(folder)
        .cargo_metadata(false)
        .warnings_into_errors(true)
        .extra_warnings(true)
        .flag("-ffunction-sections")
        .pic(true)
        .try_compile(name)
        .map_err(|error| format!("compiling lib{name}.a: {error}"))
}

/// A library of the C++ compiler.
fn compilers_own(file: &str) -> Result<PathBuf, String> {
    let compiler = cc::Build::new().cpp(true).try_get_compiler();
    let compiler = compiler.map_err(|error| format!("finding the C++ compiler: {error}"))?;
    let said = compiler
        .to_command()
        .arg(format!("-print-file-name={file}"))
        .output()
        .map_err(|error| format!("asking the C++ compiler for {file}: {error}"))?;
    let path = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
    // Asked for a file that it lacks, it says the bare name.
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!(
            "the C++ compiler has no {file}: install it (on Debian, g++)"
        ))
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| format!("copying {} to {}: {error}", from.display(), to.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))
}
