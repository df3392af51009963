//! Running a program to its end and keeping what it said.

use std::process::{Command, Output};

use anyhow::{Context, bail};

/// Runs the command and returns what it printed on both streams, whatever its status.
///
/// # Errors
/// When it could not be started.
pub fn run(command: &mut Command) -> anyhow::Result<Output> {
    command
        .output()
        .with_context(|| format!("starting {}", shown(command)))
}

/// Runs the command and returns its standard output.
///
/// # Errors
/// When it could not be started, or failed: then with what it printed.
pub fn stdout_of(command: &mut Command) -> anyhow::Result<String> {
    let output = run(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() {
            String::from_utf8_lossy(&output.stdout)
        } else {
            said
        };
        bail!("{} ({}): {}", shown(command), output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading {}", shown(command)))
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
