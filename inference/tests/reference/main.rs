//! The pages of `docs/reference` that are made from the code are what the code says now.

use std::{fs, path::Path};

mod pages;

#[test]
fn pages_are_what_the_code_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    let stale: Vec<&str> = pages::all()
        .into_iter()
        .filter(|(name, page)| fs::read_to_string(folder.join(name)).ok().as_ref() != Some(page))
        .map(|(name, _)| name)
        .collect();
    assert!(
        stale.is_empty(),
        "{stale:?} are not what the code says: cargo run -p candela-engine --example reference"
    );
}
