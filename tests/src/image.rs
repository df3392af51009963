//! Container images without a registry or a container engine, written as a `docker-archive` tar that `ctr images import` takes: a
//! program, CA certificates and an empty `/tmp` in one layer, below it one with the shared libraries that the program needs, if it needs any. The
//! same input always gives the same bytes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Where a Debian machine keeps its certificate authorities, and where the image does: programs look there by default.
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The numeric user and group the program runs as; Kubernetes can check a number, not a name.
const USER: u64 = 65532;

/// What goes into an image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Repository and tag, for example `registry.local/candela-engine:test`.
    pub reference: String,
    /// The program; it becomes the entry point under its own file name. Statically linked, unless `libraries` has a loader.
    pub program: PathBuf,
    /// Whether the program talks TLS to the world and needs certificate authorities.
    pub ca_certificates: bool,
    /// Files of this machine, and their paths in the image.
    pub libraries: Vec<(PathBuf, PathBuf)>,
    /// Variables, `NAME=VALUE`.
    pub environment: Vec<String>,
}

/// Writes the image to `out` and returns the size of the file in bytes.
///
/// # Errors
/// When the program is dynamically linked and no loader is among the libraries (it could not start), or a file cannot be read or written.
pub fn write(image: &Image, out: &Path) -> anyhow::Result<u64> {
    let program = fs::read(&image.program)
        .with_context(|| format!("reading the program {}", image.program.display()))?;
    if let Some(loader) = loader(&program)
        && !image.libraries.iter().any(|(_, path)| path == &loader)
    {
        bail!(
            "{} is dynamically linked: build it with -C target-feature=+crt-static and an explicit --target, or put its loader, {}, \
             and its libraries into the image",
            image.program.display(),
            loader.display()
        );
    }
    let name = image
        .program
        .file_name()
        .context("the program has no file name")?;
    let name = name.to_str().context("the program's name is not UTF-8")?;
    let mut layers = Vec::new();
    if !image.libraries.is_empty() {
        let path = out.with_extension("libraries");
        layers.push(Layer::write(path, |layer| {
            add_libraries(layer, &image.libraries)
        })?);
    }
    layers.push(Layer::write(out.with_extension("program"), |layer| {
        add_program(layer, name, &program, image.ca_certificates)
    })?);
    write_archive(image, name, &layers, out)
}

fn write_archive(image: &Image, name: &str, layers: &[Layer], out: &Path) -> anyhow::Result<u64> {
    let mut environment = vec![format!("SSL_CERT_FILE={CA_BUNDLE}"), "PATH=/".to_owned()];
    environment.extend(image.environment.iter().cloned());
    let digests: Vec<_> = layers
        .iter()
        .map(|layer| format!("sha256:{}", layer.digest))
        .collect();
    let config = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": [format!("/{name}")],
            "Env": environment,
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": digests},
        "history": layers.iter().map(|_| json!({"created_by": "candela image"})).collect::<Vec<_>>(),
    }))?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let names: Vec<_> = (0..layers.len())
        .map(|number| format!("layer{number}.tar"))
        .collect();
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name, "RepoTags": [image.reference], "Layers": names,
    }]))?;

    let file = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    let mut archive = Builder::new(file);
    append(
        &mut archive,
        &config_name,
        EntryType::Regular,
        0o644,
        &config,
    )?;
    for (name, layer) in names.iter().zip(layers) {
        append_file(&mut archive, name, 0o644, &layer.path)?;
    }
    append(
        &mut archive,
        "manifest.json",
        EntryType::Regular,
        0o644,
        &manifest,
    )?;
    let file = archive
        .into_inner()
        .with_context(|| format!("writing {}", out.display()))?;
    Ok(file
        .metadata()
        .with_context(|| format!("measuring {}", out.display()))?
        .len())
}

/// A layer in a file beside the archive, which goes when it is dropped.
struct Layer {
    path: PathBuf,
    digest: String,
}

impl Layer {
    fn write(
        path: PathBuf,
        add: impl FnOnce(&mut Builder<Hashed>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut builder = Builder::new(Hashed {
            to: io::BufWriter::new(file),
            hash: Sha256::new(),
        });
        add(&mut builder)?;
        let mut hashed = builder.into_inner().context("writing the layer")?;
        hashed.flush().context("writing the layer")?;
        let digest = hex(&hashed.hash.finalize());
        Ok(Self { path, digest })
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        // What stays is a file too many, in a build folder.
        let _ = fs::remove_file(&self.path);
    }
}

/// A file, and the hash of what was written to it.
struct Hashed {
    to: io::BufWriter<File>,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn add_libraries<W: Write>(
    layer: &mut Builder<W>,
    libraries: &[(PathBuf, PathBuf)],
) -> anyhow::Result<()> {
    for (file, path) in libraries {
        let path = path.strip_prefix("/").unwrap_or(path);
        let path = path.to_str().context("a library's path is not UTF-8")?;
        append_file(layer, path, 0o755, file)?;
    }
    Ok(())
}

fn add_program<W: Write>(
    layer: &mut Builder<W>,
    name: &str,
    program: &[u8],
    ca_certificates: bool,
) -> anyhow::Result<()> {
    for (folder, mode) in [
        ("etc/", 0o755),
        ("etc/ssl/", 0o755),
        ("etc/ssl/certs/", 0o755),
        ("tmp/", 0o1777),
    ] {
        append(layer, folder, EntryType::Directory, mode, &[])?;
    }
    let passwd = format!("candela:x:{USER}:{USER}::/tmp:/none\n");
    append(
        layer,
        "etc/passwd",
        EntryType::Regular,
        0o644,
        passwd.as_bytes(),
    )?;
    append(
        layer,
        "etc/nsswitch.conf",
        EntryType::Regular,
        0o644,
        b"passwd: files\ngroup: files\nhosts: files dns\n",
    )?;
    if ca_certificates {
        let bundle = fs::read(CA_BUNDLE)
            .with_context(|| format!("reading {CA_BUNDLE}: install the package ca-certificates"))?;
        append(layer, &CA_BUNDLE[1..], EntryType::Regular, 0o644, &bundle)?;
    }
    append(layer, name, EntryType::Regular, 0o755, program)
}

/// Appends a file's content, as [`append`] does.
fn append_file<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    mode: u32,
    file: &Path,
) -> anyhow::Result<()> {
    let reading = || format!("reading {}", file.display());
    let content = File::open(file).with_context(reading)?;
    let size = content.metadata().with_context(reading)?.len();
    append_from(archive, path, EntryType::Regular, mode, size, content)
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    entry_type: EntryType,
    mode: u32,
    content: &[u8],
) -> anyhow::Result<()> {
    append_from(
        archive,
        path,
        entry_type,
        mode,
        content.len() as u64,
        content,
    )
}

/// Appends one entry with nothing of this machine or moment in it: owner 0, time 0.
fn append_from<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    entry_type: EntryType,
    mode: u32,
    size: u64,
    content: impl Read,
) -> anyhow::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("adding {path}"))
}

/// The dynamic loader that a 64-bit ELF file names (its `PT_INTERP` program header), read from its header table.
fn loader(elf: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let usize_at = |at: usize| {
        let bytes = elf.get(at..at + 8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    if !elf.starts_with(b"\x7fELF") {
        return None; // a script, or a test's text: no loader of its own
    }
    let (start, size, count) = (
        usize_at(32)?,
        usize::from(u16_at(54)?),
        usize::from(u16_at(56)?),
    );
    let header = (0..count)
        .map(|index| start + index * size)
        .find(|&at| u32_at(at) == Some(PT_INTERP))?;
    let (offset, length) = (usize_at(header + 8)?, usize_at(header + 32)?);
    let name = elf
        .get(offset..offset + length)?
        .split(|&byte| byte == 0)
        .next()?;
    Some(PathBuf::from(String::from_utf8_lossy(name).into_owned()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image_in(folder: &Path) -> Image {
        let program = folder.join("engine");
        fs::write(&program, "a program").unwrap();
        Image {
            reference: "registry.local/engine:1".into(),
            program,
            ca_certificates: false,
            libraries: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// The files of a tar archive.
    fn files(archive: impl Read) -> std::collections::BTreeMap<String, Vec<u8>> {
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let image = image_in(folder.path());
        let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
        write(&image, &one).unwrap();
        write(&image, &two).unwrap();
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn the_layer_holds_the_program_and_the_config_its_digest_and_user() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("image.tar");
        write(&image_in(folder.path()), &out).unwrap();
        let files = files(File::open(&out).unwrap());
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "registry.local/engine:1");
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        let layer = &files["layer0.tar"];
        let digest = format!("sha256:{}", hex(&Sha256::digest(layer)));
        assert_eq!(config["rootfs"]["diff_ids"][0], digest.as_str());
        let paths = self::files(layer.as_slice());
        assert!(paths.contains_key("engine") && paths.contains_key("tmp/"));
        assert_eq!(files.len(), 3, "a config, a layer, a manifest");
    }

    #[test]
    fn libraries_are_a_layer_below_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("image.tar");
        let mut image = image_in(folder.path());
        image.libraries = vec![(image.program.clone(), "/usr/lib/a.so".into())];
        image.environment = vec!["LD_LIBRARY_PATH=/usr/lib".to_owned()];
        write(&image, &out).unwrap();
        let files = files(File::open(&out).unwrap());
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["Layers"], json!(["layer0.tar", "layer1.tar"]));
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["config"]["Env"][2], "LD_LIBRARY_PATH=/usr/lib");
        assert_eq!(
            config["rootfs"]["diff_ids"].as_array().map(Vec::len),
            Some(2)
        );
        let libraries = self::files(files["layer0.tar"].as_slice());
        assert_eq!(libraries["usr/lib/a.so"], b"a program");
        let beside: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(beside.len(), 2, "the program and the image: {beside:?}");
    }

    #[test]
    fn a_dynamically_linked_program_is_refused_without_its_loader() {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap(); // this test itself is linked dynamically
        let needed = loader(&fs::read(&program).unwrap()).expect("it needs a loader");
        let mut image = Image {
            program,
            ..image_in(folder.path())
        };
        let out = folder.path().join("x.tar");
        let error = write(&image, &out).expect_err("it needs a loader");
        assert!(error.to_string().contains("crt-static"), "{error}");
        image.libraries = vec![(needed.clone(), needed)];
        write(&image, &out).unwrap();
    }
}
