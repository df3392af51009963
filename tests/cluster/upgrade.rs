//! From the chart as it was when the whole way was first gone (`charts/candela-of-the-whole-way.tgz`, packed by `helm package` at
//! commit 6d6defd) to today's, under load, and its end: no pod is restarted on the way. The images are today's throughout, and so
//! the operator gets rights beside the old chart's, until the upgrade.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::admission::service;
use crate::chat::ask;
use crate::cluster::Cluster;
use crate::install::{self, GPU_IMAGE, NAMESPACE, OPERATOR, RELEASE, cpu_image, operators};
use crate::load::Load;
use crate::pods::{identities, label, wait_for_pods};
use crate::repository;
use crate::story::Step;

const NAME: &str = "veteran";
const PODS: usize = 2;
/// The rights that today's operator takes and the old chart does not give.
const RIGHTS: &str = "todays-rights";
const DEFINITION: &str = "inferenceservices.inference.candela.dev";

pub(crate) const STORY: &[Step] = &[
    ("the images are on the node", install::images),
    ("the chart of the whole way installs", old_chart),
    ("a service becomes Ready under it", a_service),
    (
        "an upgrade to today's chart restarts no pod and loses no request",
        upgraded,
    ),
    (
        "today's operator carries out what is asked for now",
        carried_out,
    ),
    ("uninstalling leaves the service and its pods", uninstalled),
];

fn old_chart(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    install::namespace(cluster)?;
    let chart = repository().join("tests/cluster/charts/candela-of-the-whole-way.tgz");
    let chart = chart.display().to_string();
    let (repository, tag) = (
        format!("operator.image.repository={OPERATOR}"),
        env!("CARGO_PKG_VERSION"),
    );
    let tag = format!("operator.image.tag={tag}");
    let cpu = format!("engine.images.cpu={}", cpu_image());
    let gpu = format!("engine.images.gpu={GPU_IMAGE}");
    let mut words = vec!["install", RELEASE, &chart, "--namespace", NAMESPACE];
    words.extend(["--wait", "--timeout", "240s"]);
    for value in [&repository, &tag, &cpu, &gpu] {
        words.extend(["--set", value]);
    }
    cluster.run("helm", &words)?;
    Ok(())
}

fn a_service(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let account = format!("--serviceaccount={NAMESPACE}:{RELEASE}-operator");
    let words = ["create", "clusterrolebinding", RIGHTS, &account];
    cluster.kubectl(&[&words[..], &["--clusterrole=cluster-admin"]].concat())?;
    cluster.apply(&service(NAME, &json!({"replicas": PODS})))?;
    wait_for_pods(cluster, NAME, PODS, &[])?;
    cluster.wait_ready(NAME)?;
    Ok(())
}

fn restarts(pods: &[Value]) -> u64 {
    let count = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
    pods.iter().filter_map(count).sum()
}

fn upgraded(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let before = identities(cluster, NAME)?;
    let old_definition = cluster.get("crd", DEFINITION)?;
    let old_operator = operators(cluster)?;
    let load = Load::start(cluster, NAME)?;
    install::chart_with(cluster, &["operator.podAnnotations.upgraded=yes"])?;
    cluster.kubectl(&["delete", "clusterrolebinding", RIGHTS])?;
    let definition = cluster.get("crd", DEFINITION)?;
    ensure!(
        definition["metadata"]["generation"].as_u64()
            > old_definition["metadata"]["generation"].as_u64(),
        "the definition is the old one"
    );
    install::another_operator(cluster, &old_operator)?;
    // Today's operator has looked at the service when it has made its budget anew.
    cluster.kubectl(&["delete", "poddisruptionbudget", NAME])?;
    cluster.wait("poddisruptionbudget", NAME, |_| Ok(()))?;
    cluster.wait_ready(NAME)?;
    let outcome = load.finish()?;
    eprintln!("           {outcome}");
    ensure!(outcome.failed() == 0, "requests were lost: {outcome}");
    unchanged(cluster, &before)
}

fn unchanged(cluster: &Cluster<'_>, before: &[String]) -> anyhow::Result<()> {
    let after = identities(cluster, NAME)?;
    ensure!(before == after, "pods were {before:?} and are {after:?}");
    let restarts = restarts(&cluster.list("pods", &label(NAME))?);
    ensure!(restarts == 0, "{restarts} containers were restarted");
    Ok(())
}

fn carried_out(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let before = identities(cluster, NAME)?;
    cluster.patch(NAME, &json!({"spec": {"stats": {"headers": true}}}))?;
    wait_for_pods(cluster, NAME, PODS, &before)?;
    let status = cluster.wait_ready(NAME)?["status"].take();
    ensure!(
        status["stats"]["headers"] == true,
        "stats in effect: {}",
        status["stats"]
    );
    Ok(())
}

fn uninstalled(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let before = identities(cluster, NAME)?;
    let words = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"];
    cluster.run("helm", &words)?;
    install::no_operator(cluster)?;
    cluster.get("crd", DEFINITION)?;
    let object = cluster.get("inferenceservice", NAME)?;
    unchanged(cluster, &before)?;
    let url = object["status"]["url"].as_str().context("no url")?;
    ask(cluster, url, NAME)?;
    Ok(())
}
