//! The first process inside the namespaces. It does what such a process must, and nothing else: reap orphans, and end when the
//! one that does the work has ended, which ends everything.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::{Pid, WaitOptions, wait};

/// Starts this program again as `inside` with the same arguments, and reaps until it ends.
///
/// # Errors
/// When it cannot be started, or ends with a failure.
pub fn init(arguments: &[OsString]) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let child = Command::new(program).arg("inside").args(arguments).spawn();
    let child = child.context("starting `inside`")?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    loop {
        let Some((ended, status)) = wait(WaitOptions::empty()).context("waiting for a child")?
        else {
            continue;
        };
        if Some(ended) == child {
            match status.exit_status() {
                Some(0) => return Ok(()),
                Some(code) => bail!("`inside` ended with status {code}"),
                None => bail!(
                    "`inside` was ended by signal {:?}",
                    status.terminating_signal()
                ),
            }
        }
    }
}
