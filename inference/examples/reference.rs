//! Writes the pages of `docs/reference` that are made from the code.

use std::{fs, io, path::Path};

#[path = "../tests/reference/pages/mod.rs"]
mod pages;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for (name, page) in pages::all() {
        fs::write(folder.join(name), page)?;
    }
    Ok(())
}
