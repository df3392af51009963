//! The shipped example: it becomes Ready, answers, says what the answer cost, and stops saying so when told to.

use anyhow::{Context, ensure};
use candela_tests::poll::{Seen, wait_for};
use serde_json::Value;

use crate::chat::{Response, ask};
use crate::cluster::Cluster;
use crate::{PATIENCE, repository};

/// The headers, in the order of the contract.
const HEADERS: [&str; 10] = [
    "x-vllm-total-time",
    "x-vllm-queue-time",
    "x-vllm-inference-time",
    "x-vllm-prefill-time",
    "x-vllm-decode-time",
    "x-vllm-prompt-tokens",
    "x-vllm-completion-tokens",
    "x-vllm-cached-tokens",
    "x-vllm-time-per-output-token",
    "x-candela-compute-time",
];
/// Headers carry two decimals, so each is off by up to half of the last one, and a sum of three by three halves.
const ROUNDING_MS: f64 = 0.016;
/// Headers and body come from one record: they differ by rounding alone.
const HEADER_ROUNDING_MS: f64 = 0.0051;

/// The example's name, as its file gives it.
pub(crate) fn name() -> anyhow::Result<String> {
    let path = repository().join("docs/examples/demo.yaml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let object: Value = serde_yaml::from_str(&text).context("reading the example")?;
    Ok(object["metadata"]["name"]
        .as_str()
        .context("the example has no name")?
        .to_owned())
}

pub(crate) fn becomes_ready(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let example = repository()
        .join("docs/examples/demo.yaml")
        .display()
        .to_string();
    cluster.kubectl(&["apply", "--filename", &example])?;
    cluster.wait_condition(&name()?, "Ready")?;
    let service = cluster.get("inferenceservice", &name()?)?;
    let status = &service["status"];
    ensure!(
        status["observedGeneration"] == service["metadata"]["generation"],
        "Ready speaks of another generation: {status}"
    );
    ensure!(
        status["stats"]["headers"] == true,
        "stats in effect: {}",
        status["stats"]
    );
    ensure!(status["readyReplicas"] == 1, "ready replicas: {status}");
    Ok(())
}

/// Asks by the name in the status, so cluster DNS is part of it, and then by address.
pub(crate) fn answers_with_cost(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let (name, service) = (name()?, cluster.get("inferenceservice", &name()?)?);
    let url = service["status"]["url"]
        .as_str()
        .context("the status has no url")?;
    let model = service["status"]["model"]["name"]
        .as_str()
        .unwrap_or(&name)
        .to_owned();
    check_cost(&ask(cluster, url, &model)?).context("asked by name")?;
    let address = cluster.get("service", &name)?["spec"]["clusterIP"].clone();
    let address = address.as_str().context("the Service has no address")?;
    check_cost(&ask(cluster, &format!("http://{address}/v1"), &model)?).context("asked by address")
}

/// Every header and member is there, and they agree with each other.
fn check_cost(response: &Response) -> anyhow::Result<()> {
    let answer = response.body["choices"][0]["message"]["content"]
        .as_str()
        .unwrap_or_default();
    ensure!(
        !answer.trim().is_empty(),
        "an empty answer: {}",
        response.body
    );
    let mut values = [0.0; HEADERS.len()];
    for (value, header) in values.iter_mut().zip(HEADERS) {
        *value = response.number(header)?;
        ensure!(*value >= 0.0, "{header} is negative: {value}");
    }
    let [
        total,
        queue,
        inference,
        prefill,
        decode,
        prompt,
        completion,
        cached,
        per_token,
        compute,
    ] = values;
    close(
        prefill + decode,
        inference,
        ROUNDING_MS,
        "prefill + decode = inference",
    )?;
    ensure!(
        queue + inference <= total + ROUNDING_MS,
        "{queue} + {inference} > {total}"
    );
    ensure!(
        inference > 0.0 && compute > 0.0,
        "an answer that cost nothing: {:?}",
        response.headers
    );
    ensure!(
        compute <= total + ROUNDING_MS,
        "one request alone used more than its time"
    );
    ensure!(
        cached <= prompt,
        "{cached} cached of {prompt} prompt tokens"
    );
    let usage = &response.body["usage"];
    ensure!(
        usage["prompt_tokens"].as_f64() == Some(prompt),
        "prompt tokens: {usage}"
    );
    ensure!(
        usage["completion_tokens"].as_f64() == Some(completion),
        "completion tokens: {usage}"
    );
    ensure!(completion >= 4.0, "min_tokens was 4, and {completion} came");
    close(
        per_token * (completion - 1.0),
        decode,
        ROUNDING_MS * completion,
        "time per token",
    )?;

    let metrics = &response.body["metrics"];
    for (member, header) in [
        ("total_time_ms", total),
        ("queue_time_ms", queue),
        ("inference_time_ms", inference),
        ("prefill_time_ms", prefill),
        ("time_to_first_token_ms", prefill),
        ("generation_time_ms", decode),
        ("mean_itl_ms", per_token),
        ("compute_time_ms", compute),
        ("cached_tokens", cached),
    ] {
        let value = metrics[member].as_f64();
        let value = value.with_context(|| format!("metrics.{member} is missing: {metrics}"))?;
        close(value, header, HEADER_ROUNDING_MS, member)?;
    }
    let (speed, exact) = (
        &metrics["tokens_per_second"],
        metrics["inference_time_ms"].as_f64(),
    );
    let expected = completion * 1000.0 / exact.context("no inference time")?;
    close(
        speed.as_f64().context("no speed")?,
        expected,
        expected * 1e-6,
        "tokens per second",
    )
}

fn close(left: f64, right: f64, tolerance: f64, what: &str) -> anyhow::Result<()> {
    ensure!(
        (left - right).abs() <= tolerance,
        "{what}: {left} is not {right} within {tolerance}"
    );
    Ok(())
}

/// Flips the one field, waits for other pods, and asks again.
pub(crate) fn headers_off(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let name = name()?;
    let before = pods(cluster, &name)?;
    let patch = r#"{"spec":{"stats":{"headers":false}}}"#;
    cluster.kubectl(&[
        "patch",
        "inferenceservice",
        &name,
        "--type=merge",
        "--patch",
        patch,
    ])?;
    wait_for("other pods", PATIENCE, || {
        let now = pods(cluster, &name)?;
        let other = !now.is_empty() && now.iter().all(|uid| !before.contains(uid));
        Ok(if other {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{before:?} -> {now:?}"))
        })
    })?;
    let service = cluster.wait("inferenceservice", &name, |service| {
        let status = &service["status"];
        let observed = status["observedGeneration"] == service["metadata"]["generation"];
        let off = status["stats"]["headers"] == false;
        if observed && off && is_ready(status) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })?;
    let url = service["status"]["url"]
        .as_str()
        .context("the status has no url")?;
    let response = ask(
        cluster,
        url,
        service["status"]["model"]["name"].as_str().unwrap_or(&name),
    )?;
    for header in HEADERS {
        ensure!(response.header(header).is_none(), "{header} is still there");
    }
    ensure!(
        response.body["metrics"].is_object(),
        "the body's metrics have a gate of their own"
    );
    Ok(())
}

pub(crate) fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    conditions
        .iter()
        .any(|own| own["type"] == "Ready" && own["status"] == "True")
}

/// The identities of a service's pods.
fn pods(cluster: &Cluster<'_>, name: &str) -> anyhow::Result<Vec<String>> {
    let pods = cluster.list("pods", &format!("app.kubernetes.io/instance={name}"))?;
    Ok(pods
        .iter()
        .filter_map(|pod| pod["metadata"]["uid"].as_str())
        .map(str::to_owned)
        .collect())
}
