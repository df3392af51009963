//! Models that pods download before they serve: from a hub with a token, into a cache that outlives them, and every way in which a
//! download fails.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use candela_tests::bed::NODES;
use candela_tests::poll::{Seen, wait_for};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::admission::service;
use crate::cluster::{Cluster, condition};
use crate::failures::{Case, any_container, any_end, see_named};
use crate::install;
use crate::operator::Running;
use crate::pods::{identities, wait_for_pods};
use crate::repository;
use crate::stores;
use crate::story::Step;
use crate::volumes;

const PORT: u16 = 9090;
const TOKEN: &str = "hf_good";
/// The service with a cache of its own.
const CACHED: &str = "cached";
/// The volume that is too small at first.
const SMALL: &str = "too-small";

pub(crate) const STORY: &[Step] = &[
    ("the images are on the node", install::images),
    ("the chart is installed", install::chart),
    ("a hub serves the demo model to who has the token", hub),
    ("a download is followed to its end, and told", followed),
    ("every failed download is named within 30 s", named),
    ("once mended, every download succeeds", mended),
    (
        "a cache is filled, and the second start downloads nothing",
        cached,
    ),
    (
        "a bucket and a registry give models to who has the keys",
        stores::are_downloaded_from,
    ),
    (
        "the operator was never refused anything",
        install::rights_suffice,
    ),
];

fn log(cluster: &Cluster<'_>) -> PathBuf {
    cluster.bed.folder().join("logs/hub.log")
}

fn hub(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = volumes::folder(cluster, "hub", None)?;
    volumes::put_model(cluster, &folder)?;
    let address = NODES[0].address.to_string();
    let port = PORT.to_string();
    let out = File::create(log(cluster)).context("creating the hub's log")?;
    let mut command = cluster.bed.command("python3");
    command.arg(repository().join("tests/cluster/hub.py"));
    command.arg("--folder").arg(folder);
    command.args(["--address", &address, "--port", &port, "--token", TOKEN]);
    let process = command.stdout(out).spawn().context("starting the hub")?;
    cluster.keep(Running::of(process));
    let url = format!("http://{address}:{port}/api/models/org/model");
    wait_for("the hub", PATIENCE, || {
        let header = format!("authorization: Bearer {TOKEN}");
        let words = [
            "--silent",
            "--show-error",
            "--fail",
            "--header",
            &header,
            &url,
        ];
        Ok(match cluster.run("curl", &words) {
            Ok(_) => Seen::Yes(()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })?;
    secret(cluster, "good", TOKEN)
}

fn secret(cluster: &Cluster<'_>, name: &str, token: &str) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "default"},
        "stringData": {"HF_TOKEN": token},
    }))
}

/// A specification of a service whose model is this repository of the hub.
fn from_hub(repo: &str, secret: &str) -> Value {
    let endpoint = format!("http://{}:{PORT}", NODES[0].address);
    json!({
        "model": {"uri": format!("hf://{repo}"), "secretRef": {"name": secret}},
        "engine": {
            "env": [{"name": "HF_ENDPOINT", "value": endpoint}], "extraArgs": ["--download-plain-http"],
        },
    })
}

fn followed(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let name = "followed";
    cluster.apply(&service(name, &from_hub("org/slow", "good")))?;
    let seen = cluster.wait("inferenceservice", name, |own| {
        let ready = condition(own, "Ready").cloned().unwrap_or_default();
        let progress = own["status"]["model"]["progress"]
            .as_str()
            .unwrap_or_default();
        let begun = !["", "0%", "100%"].contains(&progress);
        if ready["reason"] == "Downloading" && begun {
            Ok(())
        } else {
            Err(format!("{ready}, progress {progress:?}"))
        }
    })?;
    eprintln!(
        "           {}",
        condition(&seen, "Ready").unwrap_or(&Value::Null)["message"]
    );
    let status = cluster.wait_ready(name)?["status"].take();
    eprintln!("           {} {}", status["model"], status["coldStart"]);
    let revision = status["model"]["revision"].as_str().unwrap_or_default();
    ensure!(revision.len() == 40, "the revision is {revision:?}");
    let bytes = status["model"]["sizeBytes"].as_u64().unwrap_or_default();
    let model = repository().join("inference/models/demo/model.safetensors");
    let weights = fs::metadata(model)
        .context("measuring the demo model")?
        .len();
    ensure!(
        bytes > weights,
        "{bytes} bytes, of which {weights} are weights"
    );
    ensure!(status["model"]["progress"] == "100%", "{}", status["model"]);
    let seconds = status["coldStart"]["downloadSeconds"].as_f64();
    ensure!(
        seconds.is_some_and(|seconds| seconds > 1.0),
        "{}",
        status["coldStart"]
    );
    cluster.kubectl(&["delete", "inferenceservice", name])?;
    Ok(())
}

fn cases() -> Vec<Case> {
    let failed = |name, spec, reason, words, mend| Case {
        name,
        spec,
        reason,
        words,
        cause: |pods| any_end(pods, |end| end["exitCode"] != 0),
        after: Duration::ZERO,
        mend,
    };
    let mut small = from_hub("org/model", "good");
    small["cache"] = json!({"claimName": SMALL});
    small["rollout"] = json!({"maxSurge": 0, "maxUnavailable": 1});
    let unauthorized = ("DownloadUnauthorized", &["HF_TOKEN"][..]);
    vec![
        failed(
            "bad-token",
            from_hub("org/model", "bad"),
            unauthorized.0,
            unauthorized.1,
            json!({}),
        ),
        failed(
            "no-such-model",
            from_hub("org/none", "good"),
            "ModelNotFound",
            &["org/none"],
            json!({"model": {"uri": "hf://org/model"}}),
        ),
        failed(SMALL, small, "DiskFull", &["spec.cache.size"], json!({})),
        Case {
            cause: |pods| any_container(pods, |own| !own["state"]["waiting"]["message"].is_null()),
            ..failed(
                "no-such-secret",
                from_hub("org/model", "missing"),
                "DownloadUnauthorized",
                &["missing", "secretRef"],
                json!({}),
            )
        },
    ]
}

fn named(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    secret(cluster, "bad", "hf_bad")?;
    let folder = volumes::folder(cluster, SMALL, Some("1m"))?;
    volumes::volume(cluster, SMALL, &folder)?;
    volumes::claim(cluster, SMALL)?;
    for case in cases() {
        cluster.apply(&service(case.name, &case.spec))?;
    }
    see_named(cluster, &cases())
}

fn mended(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    secret(cluster, "bad", TOKEN)?;
    secret(cluster, "missing", TOKEN)?;
    let folder = volumes::folder(cluster, SMALL, None)?.display().to_string();
    cluster.run("mount", &["-o", "remount,size=64m", &folder])?;
    for case in cases() {
        cluster.patch(case.name, &json!({"spec": case.mend}))?;
    }
    for case in cases() {
        cluster.wait_ready(case.name)?;
        cluster.kubectl(&["delete", "inferenceservice", case.name, "--wait=false"])?;
    }
    Ok(())
}

fn cached(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = volumes::folder(cluster, CACHED, None)?;
    volumes::volume(cluster, CACHED, &folder)?;
    let mut spec = from_hub("org/kept", "good");
    spec["cache"] = json!({"size": "64Mi"});
    spec["rollout"] = json!({"maxSurge": 0, "maxUnavailable": 1});
    cluster.apply(&service(CACHED, &spec))?;
    cluster.wait_ready(CACHED)?;
    let files = || -> anyhow::Result<usize> {
        let said = fs::read_to_string(log(cluster)).context("reading the hub's log")?;
        let file = |line: &&str| line.starts_with("GET /org/kept/resolve/");
        Ok(said.lines().filter(file).count())
    };
    let first = files()?;
    ensure!(first > 0, "nothing was downloaded");
    let before = identities(cluster, CACHED)?;
    cluster.patch(CACHED, &json!({"spec": {"stats": {"headers": true}}}))?;
    wait_for_pods(cluster, CACHED, 1, &before)?;
    let status = cluster.wait_ready(CACHED)?["status"].take();
    let second = files()? - first;
    eprintln!(
        "           {first} files at first, then {second}; {}",
        status["coldStart"]
    );
    ensure!(second == 0, "{second} files were downloaded again");
    Ok(())
}
