//! Serves the files of a folder as the repository `org/model` of a hub on loopback, for clients that the
//! tests do not start themselves. Prints its address, and ends when its standard input does.

#![expect(
    clippy::unwrap_used,
    reason = "a server of tests that cannot go on should say where"
)]

use std::{
    io::{Read, Write},
    path::PathBuf,
};

#[path = "../tests/fetch/hub.rs"]
#[expect(dead_code, reason = "it serves without faults and counts nothing")]
mod hub;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| std::io::Error::other("usage: hub FOLDER"))?;
    let hub = hub::Hub::of_folder(&folder);
    let (endpoint, commit) = (hub.endpoint(), hub.commit());
    writeln!(std::io::stdout(), "{endpoint} {} {commit}", hub::REPO)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
