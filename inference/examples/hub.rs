//! Serves the files of a folder as the repository `org/model` of a hub on loopback, for clients that the
//! tests do not start themselves. Prints its address, and ends when its standard input does.

use std::{io::Read, path::PathBuf};

#[path = "../tests/fetch/hub.rs"]
#[expect(dead_code, reason = "it serves without faults and counts nothing")]
mod hub;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("usage: hub FOLDER"))?;
    let hub = hub::Hub::of_folder(&folder);
    println!("{} {} {}", hub.endpoint(), hub::REPO, hub.commit());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
