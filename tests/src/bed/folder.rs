//! The folder of one run of the bed: who owns it, and what a killed run left behind.
//!
//! **Invariant** A run folder's `lock` is held by its owner for as long as the owner lives; so a folder whose lock can be taken
//! belongs to nobody, and its control groups may be removed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::node::Node;
use crate::poll::{Seen, wait_for};

/// How many folders of finished runs are kept for their logs.
const FOLDERS_KEPT: usize = 3;
/// How long the kernel may take to let go of the control groups of killed processes.
const CGROUP_REMOVAL: Duration = Duration::from_secs(10);
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const CGROUP_PREFIX: &str = "candela-bed-";

/// One run's folder, owned until dropped.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Sweeps up after dead runs and makes a folder for this one.
    pub(super) fn create() -> anyhow::Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let base = std::env::temp_dir().join(format!("candela-bed-{user}"));
        fs::create_dir_all(&base).with_context(|| format!("creating {}", base.display()))?;
        let entrance = File::create(base.join("lock")).context("creating the entrance lock")?;
        entrance.lock().context("taking the entrance lock")?;
        sweep(&base)?;
        for number in 0_u32.. {
            let path = base.join(format!("{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("creating {}", path.display()));
                }
            }
            let lock = File::create(path.join("lock")).context("creating the run's lock")?;
            lock.lock().context("taking the run's lock")?;
            for part in ["logs", "pki", "conf", "cni", "state", "home"] {
                fs::create_dir(path.join(part)).with_context(|| format!("creating {part}"))?;
            }
            return Ok(Self { path, _lock: lock });
        }
        unreachable!("the numbers do not run out")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn cgroup(&self) -> String {
        cgroup(&self.path)
    }

    /// Makes the run's control group under every controller, and one in it for each node.
    pub(super) fn create_cgroups(&self, nodes: &[Node]) -> anyhow::Result<()> {
        for root in cgroup_roots()? {
            let group = root.join(self.cgroup());
            create_group(&root, &group)?;
            for node in nodes {
                create_group(&group, &group.join(node.name))?;
            }
        }
        Ok(())
    }

    /// Removes the run's control groups once its processes are gone.
    pub(super) fn remove_cgroup(&self) -> anyhow::Result<()> {
        remove_cgroup(&self.cgroup())
    }
}

fn create_group(parent: &Path, group: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(group).with_context(|| format!("creating {}", group.display()))?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // Version 1 starts a group with an empty set, in which nothing may run.
        let (from, to) = (parent.join(file), group.join(file));
        if from.exists() && to.exists() {
            let set = fs::read(&from).with_context(|| format!("reading {file}"))?;
            fs::write(&to, set).with_context(|| format!("writing {}", to.display()))?;
        }
    }
    Ok(())
}

/// The control group under which every pod of a run lives, relative to the root: named after the run's folder.
pub(super) fn cgroup(run_folder: &Path) -> String {
    let id = run_folder.file_name().unwrap_or_default();
    format!("{CGROUP_PREFIX}{}", id.to_string_lossy())
}

/// Removes what dead runs left: control groups at once, folders when enough newer ones are there to look into.
fn sweep(base: &Path) -> anyhow::Result<()> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(base).with_context(|| format!("listing {}", base.display()))? {
        let path = entry?.path();
        let Ok(lock) = File::open(path.join("lock")) else {
            continue;
        };
        if lock.try_lock().is_err() {
            continue; // its owner lives
        }
        remove_cgroup(&cgroup(&path))?;
        let modified = path.metadata()?.modified()?;
        dead.push((modified, path));
    }
    dead.sort_unstable();
    let surplus = dead.len().saturating_sub(FOLDERS_KEPT);
    for (_, path) in dead.drain(..surplus) {
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

/// The folders in which a control group is made: one per controller in version 1, the root itself in version 2, none elsewhere.
fn cgroup_roots() -> anyhow::Result<Vec<PathBuf>> {
    let root = PathBuf::from(CGROUP_ROOT);
    if !root.exists() {
        return Ok(Vec::new());
    }
    if root.join("cgroup.controllers").exists() {
        return Ok(vec![root]);
    }
    let mut roots = Vec::new();
    for entry in fs::read_dir(&root).with_context(|| format!("listing {}", root.display()))? {
        let path = entry?.path();
        if path.join("cgroup.procs").exists() && !path.is_symlink() {
            roots.push(path);
        }
    }
    Ok(roots)
}

fn remove_cgroup(name: &str) -> anyhow::Result<()> {
    for root in cgroup_roots()? {
        let group = root.join(name);
        wait_for(
            &format!("{} to be empty", group.display()),
            CGROUP_REMOVAL,
            || {
                Ok(match remove_tree(&group) {
                    Ok(()) => Seen::Yes(()),
                    Err(error) => Seen::NotYet(error.to_string()),
                })
            },
        )?;
    }
    Ok(())
}

/// Removes a control group and those below it, leaves first: its files cannot be removed, nor need they be.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
