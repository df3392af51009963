//! Telling a story: a bed is made for it, its steps are taken one after another, and each says how long it took.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};
use candela_tests::bed::{self, Extent};
use candela_tests::poll::Deadline;
use candela_tests::stdout_of;
use candela_tests::tier::Tier;

use crate::cluster::Cluster;
use crate::{PATIENCE, repository};

/// A step of a story: what holds after it, and how it comes to hold.
pub(crate) type Step = (&'static str, fn(&Cluster<'_>) -> anyhow::Result<()>);

/// Two beds at once would be twice as slow each.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Tells the first story where there are nodes that run pods, else the second.
pub(crate) fn tell(on_a_node: &[Step], without: &[Step]) -> anyhow::Result<()> {
    match tier()? {
        Tier::Cluster => tell_in(Extent::Cluster { nodes: 1 }, on_a_node),
        Tier::ControlPlane { .. } => tell_in(Extent::ControlPlane, without),
    }
}

/// Tells a story that needs so many nodes that run pods. Where there can be none, it is not told.
pub(crate) fn tell_on_nodes(nodes: usize, story: &[Step]) -> anyhow::Result<()> {
    match tier()? {
        Tier::Cluster => tell_in(Extent::Cluster { nodes }, story),
        Tier::ControlPlane { .. } => {
            eprintln!("not told: no pods run here");
            Ok(())
        }
    }
}

fn tier() -> anyhow::Result<Tier> {
    let tier = Tier::detect();
    eprintln!("tier: {tier}");
    match tier {
        Tier::ControlPlane { .. } if std::env::var_os("CI").is_some() => {
            bail!("CI must run the cluster tier, but this machine offers {tier}")
        }
        tier => Ok(tier),
    }
}

fn tell_in(extent: Extent, story: &[Step]) -> anyhow::Result<()> {
    // A story that failed has said so itself.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let programs = kubernetes_programs()?;
    let bed = Path::new(env!("CARGO_BIN_EXE_bed"));
    bed::with(extent, bed, &programs, |bed| {
        let cluster = Cluster::new(bed);
        for (what, step) in story {
            let started = Deadline::after(PATIENCE);
            step(&cluster).with_context(|| format!("step: {what}"))?;
            eprintln!("{:7.2} s  {what}", started.elapsed().as_secs_f64());
        }
        Ok(())
    })
}

/// The folder of kube-apiserver and the rest; built here when the cache has none.
fn kubernetes_programs() -> anyhow::Result<PathBuf> {
    let build = repository().join("tests/bed/kube/build.sh");
    let printed = stdout_of(&mut Command::new(build)).context("building Kubernetes")?;
    Ok(printed.trim().into())
}
