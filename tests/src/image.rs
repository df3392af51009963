//! Container images without a registry or a container engine: a static program, CA certificates and an empty `/tmp` in one layer,
//! written as a `docker-archive` tar that `ctr images import` takes. The same input always gives the same bytes.

use std::fs::{self, File};
use std::io::Write;
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
    /// The statically linked program; it becomes the entry point under its own file name.
    pub program: PathBuf,
    /// Whether the program talks TLS to the world and needs certificate authorities.
    pub ca_certificates: bool,
}

/// Writes the image to `out` and returns the size of the file in bytes.
///
/// # Errors
/// When the program is not statically linked (it could not start in an otherwise empty image), or a file cannot be read or written.
pub fn write(image: &Image, out: &Path) -> anyhow::Result<u64> {
    let program = fs::read(&image.program)
        .with_context(|| format!("reading the program {}", image.program.display()))?;
    if asks_for_a_loader(&program) {
        bail!(
            "{} is dynamically linked: build it with -C target-feature=+crt-static and an explicit --target",
            image.program.display()
        );
    }
    let name = image
        .program
        .file_name()
        .context("the program has no file name")?;
    let name = name.to_str().context("the program's name is not UTF-8")?;
    let layer = layer(name, &program, image.ca_certificates)?;
    let config = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": [format!("/{name}")],
            "Env": [format!("SSL_CERT_FILE={CA_BUNDLE}"), "PATH=/".to_owned()],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex_digest(&layer))]},
        "history": [{"created_by": "candela image"}],
    }))?;
    let config_name = format!("{}.json", hex_digest(&config));
    let manifest = serde_json::to_vec(&json!([{
        "Config": config_name, "RepoTags": [image.reference], "Layers": ["layer.tar"],
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
    append(&mut archive, "layer.tar", EntryType::Regular, 0o644, &layer)?;
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

fn layer(name: &str, program: &[u8], ca_certificates: bool) -> anyhow::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    for (folder, mode) in [
        ("etc/", 0o755),
        ("etc/ssl/", 0o755),
        ("etc/ssl/certs/", 0o755),
        ("tmp/", 0o1777),
    ] {
        append(&mut layer, folder, EntryType::Directory, mode, &[])?;
    }
    let passwd = format!("candela:x:{USER}:{USER}::/tmp:/none\n");
    append(
        &mut layer,
        "etc/passwd",
        EntryType::Regular,
        0o644,
        passwd.as_bytes(),
    )?;
    append(
        &mut layer,
        "etc/nsswitch.conf",
        EntryType::Regular,
        0o644,
        b"passwd: files\ngroup: files\nhosts: files dns\n",
    )?;
    if ca_certificates {
        let bundle = fs::read(CA_BUNDLE)
            .with_context(|| format!("reading {CA_BUNDLE}: install the package ca-certificates"))?;
        append(
            &mut layer,
            &CA_BUNDLE[1..],
            EntryType::Regular,
            0o644,
            &bundle,
        )?;
    }
    append(&mut layer, name, EntryType::Regular, 0o755, program)?;
    layer.into_inner().context("writing the layer")
}

/// Appends one entry with nothing of this machine or moment in it: owner 0, time 0.
fn append<W: Write>(
    archive: &mut Builder<W>,
    path: &str,
    entry_type: EntryType,
    mode: u32,
    content: &[u8],
) -> anyhow::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(entry_type);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    archive
        .append_data(&mut header, path, content)
        .with_context(|| format!("adding {path}"))
}

/// Whether the 64-bit ELF file names a dynamic loader (a `PT_INTERP` program header), read from its header table.
fn asks_for_a_loader(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| Some(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_le_bytes(elf.get(at..at + 8)?.try_into().ok()?));
    let headers = || -> Option<(usize, usize, usize)> {
        Some((
            usize::try_from(u64_at(32)?).ok()?,
            u16_at(54)?.into(),
            u16_at(56)?.into(),
        ))
    };
    if !elf.starts_with(b"\x7fELF") {
        return false; // a script, or a test's text: no loader of its own
    }
    let Some((start, size, count)) = headers() else {
        return false;
    };
    (0..count).any(|index| u32_at(start + index * size) == Some(PT_INTERP))
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
        }
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
        let mut archive = tar::Archive::new(File::open(&out).unwrap());
        let mut files = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            files.insert(path, content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "registry.local/engine:1");
        let config = &files[manifest[0]["Config"].as_str().unwrap()];
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        let digest = format!("sha256:{}", hex_digest(&files["layer.tar"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], digest.as_str());
        let mut layer = tar::Archive::new(files["layer.tar"].as_slice());
        let paths: Vec<_> = layer
            .entries()
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert!(
            paths.contains(&"engine".into()) && paths.contains(&"tmp/".into()),
            "{paths:?}"
        );
    }

    #[test]
    fn a_dynamically_linked_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap(); // this test itself is linked dynamically
        let image = Image {
            reference: "x:1".into(),
            program,
            ca_certificates: false,
        };
        let error = write(&image, &folder.path().join("x.tar")).expect_err("it needs a loader");
        assert!(error.to_string().contains("crt-static"), "{error}");
    }
}
