//! The pods of a service: which there are, how many answered at the least while something went on, and what can be done to them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow, ensure};
use candela_tests::bed::{NODES, Node};
use candela_tests::poll::{Seen, wait_for};
use serde_json::Value;

use crate::PATIENCE;
use crate::cluster::Cluster;

/// One line per change of a pod.
const CHANGE: &str = r#"--output=jsonpath={.type}{"|"}{.object.metadata.uid}{"|"}{.object.metadata.deletionTimestamp}{"|"}{.object.status.conditions[?(@.type=="Ready")].status}{"\n"}"#;

/// Runs a command until standard input closes: what enters the bed would outlive the one that is killed here.
const UNTIL_CLOSED: &str = r#""$0" "$@" & read -r _; kill $!"#;

/// The label of a service's pods.
pub(crate) fn label(service: &str) -> String {
    format!("app.kubernetes.io/instance={service}")
}

/// The identities of a service's pods, those on their way out included.
pub(crate) fn identities(cluster: &Cluster<'_>, service: &str) -> anyhow::Result<Vec<String>> {
    let pods = cluster.list("pods", &label(service))?;
    Ok(pods.iter().map(uid).collect())
}

fn uid(pod: &Value) -> String {
    pod["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Whether a pod takes requests.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let ready = conditions.any(|own| own["type"] == "Ready" && own["status"] == "True");
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

/// Waits until a service has this many pods, all of which answer, and none of `gone` is left.
pub(crate) fn wait_for_pods(
    cluster: &Cluster<'_>,
    service: &str,
    count: usize,
    gone: &[String],
) -> anyhow::Result<Vec<Value>> {
    wait_for(&format!("{count} pods of {service}"), PATIENCE, || {
        let pods = cluster.list("pods", &label(service))?;
        let left = pods.iter().filter(|pod| gone.contains(&uid(pod))).count();
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Ok(if left == 0 && ready == count && pods.len() == count {
            Seen::Yes(pods)
        } else {
            let all = pods.len();
            Seen::NotYet(format!("{ready} ready of {all}, {left} of the old ones"))
        })
    })
}

/// The node of a pod, and the containerd task of its first container.
fn task(pod: &Value) -> anyhow::Result<(&'static Node, String)> {
    let node = &pod["spec"]["nodeName"];
    let node = NODES.iter().find(|own| node == own.name);
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    let container = container.and_then(|id| id.strip_prefix("containerd://"));
    Ok((
        node.context("the pod has no node")?,
        container.context("the pod has no container")?.to_owned(),
    ))
}

/// Ends a pod's process without a word.
pub(crate) fn kill(cluster: &Cluster<'_>, pod: &Value) -> anyhow::Result<()> {
    let (node, task) = task(pod)?;
    let words = ["tasks", "kill", "--signal", "SIGKILL", &task];
    cluster.bed.ctr(node, &words)?;
    Ok(())
}

/// Stops a pod's process where it is (`pause`), or lets it go on (`resume`).
pub(crate) fn freeze(cluster: &Cluster<'_>, pod: &Value, verb: &str) -> anyhow::Result<()> {
    let (node, task) = task(pod)?;
    cluster.bed.ctr(node, &["tasks", verb, &task])?;
    Ok(())
}

/// What a command prints that runs in a pod's network.
pub(crate) fn run_in_network(
    cluster: &Cluster<'_>,
    pod: &Value,
    words: &[&str],
) -> anyhow::Result<String> {
    let (node, task) = task(pod)?;
    let tasks = cluster.bed.ctr(node, &["tasks", "ls"])?;
    let process = tasks
        .lines()
        .find(|line| line.starts_with(&task))
        .and_then(|line| line.split_whitespace().nth(1));
    let process = process.context("the pod has no process")?;
    let mut arguments = vec!["--target", process, "--net"];
    arguments.extend(words);
    cluster.run("nsenter", &arguments)
}

/// Counts the pods that answer while something goes on.
pub(crate) struct Watch {
    process: Child,
    counted: Option<JoinHandle<anyhow::Result<usize>>>,
}

impl Watch {
    /// Begins to count, from as many as answer now.
    pub(crate) fn start(cluster: &Cluster<'_>, service: &str) -> anyhow::Result<Self> {
        let pods = cluster.list("pods", &label(service))?;
        let at_first = pods.iter().filter(|pod| is_ready(pod)).count();
        let selector = label(service);
        let mut command = cluster.bed.command("sh");
        command.args(["-c", UNTIL_CLOSED, "kubectl", "get", "pods"]);
        command.args(["--selector", &selector]);
        command.args(["--watch", "--output-watch-events", CHANGE]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("watching pods")?;
        let changes = process.stdout.take().context("the watch has no output")?;
        let counted = thread::spawn(move || least(BufReader::new(changes), at_first));
        Ok(Self {
            process,
            counted: Some(counted),
        })
    }

    /// The least number of pods that answered at any time.
    pub(crate) fn finish(mut self) -> anyhow::Result<usize> {
        drop(self.process.stdin.take());
        let counted = self.counted.take().context("the count is taken once")?;
        counted.join().map_err(|_| anyhow!("the count panicked"))?
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("ending a watch: {error}");
        }
    }
}

fn least(changes: impl BufRead, at_first: usize) -> anyhow::Result<usize> {
    let mut ready = BTreeMap::new();
    let mut least = None;
    for line in changes.lines() {
        let line = line.context("reading the watch")?;
        let fields: Vec<_> = line.split('|').collect();
        let [kind, uid, leaving, is_ready] = fields[..] else {
            anyhow::bail!("the watch said {line:?}");
        };
        let answers = kind != "DELETED" && leaving.is_empty() && is_ready == "True";
        ready.insert(uid.to_owned(), answers);
        let count = ready.values().filter(|answers| **answers).count();
        least = match least {
            None if count < at_first => None,
            None => Some(count),
            Some(before) => Some(count.min(before)),
        };
    }
    ensure!(least.is_some(), "the watch never saw {at_first} pods");
    least.context("no change was seen")
}
