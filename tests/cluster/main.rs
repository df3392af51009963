//! The whole way on a real Kubernetes: images, chart, operator as a pod, an InferenceService, an answer with what it cost,
//! and everything gone again. One story in steps, each of which stands on those before it.
//!
//! What runs depends on the machine, and is said first (see [`candela_tests::tier`]). With `CI` set, only the cluster tier will do.

mod admission;
mod chat;
mod cluster;
mod demo;
mod gpu;
mod install;
mod operator;
mod removal;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use candela_tests::bed::{self, Extent};
use candela_tests::poll::Deadline;
use candela_tests::stdout_of;
use candela_tests::tier::Tier;

use cluster::Cluster;

/// How long any one condition of the story may take. Seconds on an idle machine; machines are not always idle.
const PATIENCE: Duration = Duration::from_secs(240);

/// A step of the story: what holds after it, and how it comes to hold.
type Step = (&'static str, fn(&Cluster<'_>) -> anyhow::Result<()>);

/// With a node that runs pods.
const CLUSTER_STORY: &[Step] = &[
    ("the images are on the node", install::images),
    (
        "the chart installs, and the operator runs in a restricted namespace",
        install::chart,
    ),
    (
        "the API server refuses what cannot work, and says why",
        admission::refusals,
    ),
    ("the demo becomes Ready", demo::becomes_ready),
    (
        "an answer carries what it cost, and the figures add up",
        demo::answers_with_cost,
    ),
    (
        "turning the headers off rolls the pods, and the headers are gone",
        demo::headers_off,
    ),
    (
        "a GPU service gets the GPU image and no surge",
        gpu::deployment,
    ),
    (
        "it waits for a GPU, says so, and runs once there is one",
        gpu::schedules,
    ),
    (
        "deleting a service removes all that was made for it",
        removal::of_a_service,
    ),
    (
        "the operator was never refused anything",
        install::rights_suffice,
    ),
    (
        "uninstalling the chart leaves services and pods alone",
        removal::of_the_chart,
    ),
];

/// Without: the chart's objects and the API's rules, up to the point where a pod would have to start.
const CONTROL_PLANE_STORY: &[Step] = &[
    ("the chart's objects are accepted", install::chart_objects),
    (
        "the API server refuses what cannot work, and says why",
        admission::refusals,
    ),
    (
        "the operator starts under the chart's rights",
        operator::start,
    ),
    (
        "a GPU service gets the GPU image and no surge",
        gpu::deployment,
    ),
    (
        "deleting a service removes all that was made for it",
        removal::of_a_service,
    ),
];

#[test]
fn an_inference_service_from_install_to_uninstall() -> anyhow::Result<()> {
    let tier = Tier::detect();
    eprintln!("tier: {tier}");
    let (extent, story) = match tier {
        Tier::Cluster => (Extent::Cluster, CLUSTER_STORY),
        Tier::ControlPlane { .. } if std::env::var_os("CI").is_some() => {
            bail!("CI must run the cluster tier, but this machine offers {tier}")
        }
        Tier::ControlPlane { .. } => (Extent::ControlPlane, CONTROL_PLANE_STORY),
    };
    let programs = kubernetes_programs()?;
    bed::with(
        extent,
        Path::new(env!("CARGO_BIN_EXE_bed")),
        &programs,
        |bed| {
            let cluster = Cluster::new(bed);
            for (what, step) in story {
                let started = Deadline::after(PATIENCE);
                step(&cluster).with_context(|| format!("step: {what}"))?;
                eprintln!("{:7.2} s  {what}", started.elapsed().as_secs_f64());
            }
            Ok(())
        },
    )
}

/// The folder of kube-apiserver and the rest; built here when the cache has none.
fn kubernetes_programs() -> anyhow::Result<PathBuf> {
    let build = repository().join("tests/bed/kube/build.sh");
    let printed = stdout_of(&mut Command::new(build)).context("building Kubernetes")?;
    Ok(printed.trim().into())
}

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
