//! A steady load on a service, and what came of it (`load.py` sends it).

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::repository;

/// A load that is being sent.
pub(crate) struct Load {
    process: Child,
    said: BufReader<ChildStdout>,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome(Value);

impl Load {
    /// Begins to send, and returns when requests are answered.
    pub(crate) fn start(cluster: &Cluster<'_>, service: &str) -> anyhow::Result<Self> {
        let object = cluster.get("inferenceservice", service)?;
        let model = object["status"]["model"]["name"]
            .as_str()
            .unwrap_or(service);
        let address = cluster.get("service", service)?["spec"]["clusterIP"].clone();
        let address = address.as_str().context("the Service has no address")?;
        let program = repository().join("tests/cluster/load.py");
        let mut command = cluster.bed.command("python3");
        command.arg(program).args(["--model", model]);
        command.args(["--url", &format!("http://{address}/v1")]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the load")?;
        let said = process.stdout.take().context("the load has no output")?;
        let mut load = Self {
            process,
            said: BufReader::new(said),
        };
        let first = load.line()?;
        ensure!(first == "sending", "the load said {first:?}");
        Ok(load)
    }

    /// Sends no more, and waits for the last answer.
    pub(crate) fn finish(mut self) -> anyhow::Result<Outcome> {
        drop(self.process.stdin.take());
        let line = self.line()?;
        let outcome = serde_json::from_str(&line).with_context(|| format!("reading {line:?}"))?;
        Ok(Outcome(outcome))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line).context("hearing the load")?;
        ensure!(read > 0, "the load ended without a word");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("ending the load: {error}");
        }
    }
}

impl Outcome {
    /// Requests that were not answered as they should have been.
    pub(crate) fn failed(&self) -> u64 {
        self.0["failed"].as_u64().unwrap_or(u64::MAX)
    }

    /// The longest time in which no request was answered.
    pub(crate) fn gap_seconds(&self) -> f64 {
        self.0["longest_gap_seconds"].as_f64().unwrap_or(f64::MAX)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value::Object(fields) = &self.0 else {
            return write!(f, "{}", self.0);
        };
        write!(
            f,
            "{} requests in {} s, {} failed, longest gap {} s",
            fields["sent"], fields["seconds"], fields["failed"], fields["longest_gap_seconds"]
        )?;
        if self.failed() > 0 {
            write!(f, ": {} {}", fields["causes"], fields["examples"])?;
        }
        Ok(())
    }
}
