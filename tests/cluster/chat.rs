//! One HTTP request from inside the cluster's network, and what came back.

use anyhow::{Context, ensure};
use candela_tests::poll::{Seen, wait_for};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::cluster::Cluster;

/// A response, its header names in lower case.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header that holds a number.
    pub(crate) fn number(&self, name: &str) -> anyhow::Result<f64> {
        let text = self
            .header(name)
            .with_context(|| format!("the header {name} is missing"))?;
        text.parse()
            .with_context(|| format!("the header {name} holds {text:?}"))
    }
}

/// Asks one chat question at `url` (which ends in `/v1`) and opts in to the metrics.
pub(crate) fn ask(cluster: &Cluster<'_>, url: &str, model: &str) -> anyhow::Result<Response> {
    let request = json!({
        "model": model,
        "messages": [{"role": "user", "content": "What is the sun?"}],
        "max_tokens": 24,
        "min_tokens": 4,
        "temperature": 0,
        "include_metrics": true,
    });
    let url = format!("{url}/chat/completions");
    wait_for_route(cluster, &url)?;
    let request = request.to_string();
    let mut arguments = vec!["--silent", "--show-error", "--include", "--max-time", "60"];
    arguments.extend([
        "--header",
        "content-type: application/json",
        "--data",
        &request,
        &url,
    ]);
    let printed = cluster.run("curl", &arguments)?;
    let response = parse(&printed)?;
    ensure!(
        response.status == 200,
        "{url} answered {}: {}",
        response.status,
        response.body
    );
    Ok(response)
}

/// Ready is said a moment before every node's packet filter knows of the new pod: until then the address refuses.
fn wait_for_route(cluster: &Cluster<'_>, url: &str) -> anyhow::Result<()> {
    wait_for(&format!("a way to {url}"), PATIENCE, || {
        Ok(
            match cluster.run(
                "curl",
                &["--silent", "--show-error", "--max-time", "10", url],
            ) {
                Ok(_) => Seen::Yes(()),
                Err(error) => Seen::NotYet(error.to_string()),
            },
        )
    })
}

fn parse(printed: &str) -> anyhow::Result<Response> {
    let (head, body) = printed
        .split_once("\r\n\r\n")
        .context("a response without a head")?;
    let mut lines = head.lines();
    let status_line = lines.next().context("a response without a status line")?;
    let status = status_line
        .split(' ')
        .nth(1)
        .context("a status line without a status")?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Response {
        status: status
            .parse()
            .with_context(|| format!("reading {status_line:?}"))?,
        headers,
        body: serde_json::from_str(body).with_context(|| format!("reading {body:?}"))?,
    })
}
