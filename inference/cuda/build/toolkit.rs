//! Where CUDA's compiler, headers and libraries are on the machine that builds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const HOW: &str = "The feature `cuda` is built with CUDA 13.0's compiler. `make cuda` brings it from PyPI and builds the \
                   GPU engine; for a build of your own set CUDA_HOME to what `tests/setup/cuda.sh` prints, \
                   or to a CUDA toolkit of yours.";

/// A CUDA toolkit.
pub(crate) struct Toolkit {
    /// Its compiler.
    pub(crate) nvcc: PathBuf,
    /// What the compiler says it is.
    pub(crate) version: String,
    root: PathBuf,
}

impl Toolkit {
    /// The toolkit of CUDA_HOME or CUDA_PATH, of the `nvcc` on PATH, or where NVIDIA's packages put it.
    pub(crate) fn find() -> Result<Self, String> {
        for variable in ["CUDA_HOME", "CUDA_PATH", "PATH"] {
            println!("cargo::rerun-if-env-changed={variable}");
        }
        let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().find_map(|variable| {
            let root = env::var_os(variable).filter(|root| !root.is_empty())?;
            Some((variable, PathBuf::from(root)))
        });
        let root = match named {
            Some((variable, root)) if !root.join("bin/nvcc").is_file() => {
                let root = root.display();
                return Err(format!(
                    "{variable} is {root}, and there is no bin/nvcc in it. {HOW}"
                ));
            }
            Some((_, root)) => root,
            None => on_path()
                .or_else(|| Some(PathBuf::from("/usr/local/cuda")))
                .filter(|root| root.join("bin/nvcc").is_file())
                .ok_or_else(|| format!("no nvcc was found. {HOW}"))?,
        };
        let nvcc = root.join("bin/nvcc");
        let version = Command::new(&nvcc).arg("--version").output();
        match version {
            Ok(version) if version.status.success() => Ok(Self {
                nvcc,
                version: String::from_utf8_lossy(&version.stdout).into_owned(),
                root,
            }),
            Ok(version) => {
                let said = String::from_utf8_lossy(&version.stderr);
                Err(format!("{} --version failed: {said}", nvcc.display()))
            }
            Err(error) => Err(format!("{} does not run: {error}", nvcc.display())),
        }
    }

    /// The text of one of its headers.
    pub(crate) fn header(&self, name: &str) -> Result<String, String> {
        let path = ["include", "targets/x86_64-linux/include"]
            .map(|folder| self.root.join(folder).join(name))
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{name} is missing in {}/include", self.root.display()))?;
        fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))
    }

    /// One of its libraries, the file called exactly `name`.
    pub(crate) fn library(&self, name: &str) -> Result<PathBuf, String> {
        self.library_folders()
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{name} is missing in {}/lib", self.root.display()))
    }

    /// The name under which programs load one of its libraries: `libcublas.so.13` for `libcublas.so`.
    pub(crate) fn soname(&self, library: &str) -> Result<String, String> {
        let is_soname = |name: &str| {
            let version = name.strip_prefix(library)?.strip_prefix('.')?;
            version
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then_some(())
        };
        self.library_folders()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find(|name| is_soname(name).is_some())
            .ok_or_else(|| format!("{library} is missing in {}/lib", self.root.display()))
    }

    fn library_folders(&self) -> impl Iterator<Item = PathBuf> + use<'_> {
        ["lib", "lib64", "targets/x86_64-linux/lib"]
            .into_iter()
            .map(|folder| self.root.join(folder))
    }
}

fn on_path() -> Option<PathBuf> {
    let nvcc = env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file())?;
    let nvcc = fs::canonicalize(nvcc).ok()?;
    nvcc.parent().and_then(Path::parent).map(Path::to_owned)
}
