//! Candela on a real Kubernetes, in stories of steps, each of which stands on those before it. The first goes the whole way, from
//! the chart's install to its uninstall; the others begin with the chart installed and go into one thing: rollouts, failures,
//! downloads, upgrades, faults. A story has a bed of its own, and one is told at a time.
//!
//! What runs depends on the machine, and is said first (see [`candela_tests::tier`]). With `CI` set, only the cluster tier will do.

mod admission;
mod audit;
mod chat;
mod cluster;
mod demo;
mod downloads;
mod failures;
mod faults;
mod gpu;
mod install;
mod load;
mod operator;
mod pods;
mod removal;
mod rollouts;
mod stores;
mod story;
mod upgrade;
mod volumes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use story::Step;

/// How long any one condition of a story may take. Seconds on an idle machine; machines are not always idle.
const PATIENCE: Duration = Duration::from_secs(240);

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
    story::tell(CLUSTER_STORY, CONTROL_PLANE_STORY)
}

#[test]
fn rollouts_lose_no_request() -> anyhow::Result<()> {
    story::tell_on_nodes(2, rollouts::STORY)
}

#[test]
fn failures_are_named() -> anyhow::Result<()> {
    story::tell_on_nodes(1, failures::STORY)
}

#[test]
fn models_are_downloaded() -> anyhow::Result<()> {
    story::tell_on_nodes(1, downloads::STORY)
}

#[test]
fn faults_are_survived() -> anyhow::Result<()> {
    story::tell_on_nodes(1, faults::STORY)
}

#[test]
fn an_upgrade_restarts_nothing() -> anyhow::Result<()> {
    story::tell_on_nodes(1, upgrade::STORY)
}

/// The root of the repository.
fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
