//! The cluster as the story sees it: objects applied and read as JSON, conditions waited for, commands run inside.

use std::any::Any;
use std::cell::RefCell;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use candela_tests::bed::Bed;
use candela_tests::poll::{Seen, wait_for};
use candela_tests::stdout_of;
use serde_json::Value;

use crate::PATIENCE;

/// A bed and the words to speak about what is in it.
pub(crate) struct Cluster<'a> {
    pub(crate) bed: &'a Bed,
    kept: RefCell<Vec<Box<dyn Any>>>,
}

impl<'a> Cluster<'a> {
    pub(crate) fn new(bed: &'a Bed) -> Self {
        Self {
            bed,
            kept: RefCell::default(),
        }
    }

    /// Keeps something that ends with the story.
    pub(crate) fn keep(&self, own: impl Any) {
        self.kept.borrow_mut().push(Box::new(own));
    }

    /// What a command inside the bed prints; it must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        stdout_of(self.bed.command(program).args(arguments))
    }

    /// What `kubectl` prints; it must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.bed.kubectl(arguments)
    }

    /// Applies a manifest; the error is what the API server said.
    pub(crate) fn apply(&self, manifest: &Value) -> anyhow::Result<()> {
        let mut command = self.bed.command("kubectl");
        command.args(["apply", "--filename", "-"]);
        feed(&mut command, manifest.to_string().as_bytes())
    }

    /// Changes an InferenceService by a merge patch.
    pub(crate) fn patch(&self, name: &str, patch: &Value) -> anyhow::Result<()> {
        let patch = patch.to_string();
        let words = ["--type=merge", "--patch", &patch];
        self.kubectl(&[&["patch", "inferenceservice", name][..], &words].concat())?;
        Ok(())
    }

    /// One object; an error where there is none.
    pub(crate) fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        let printed = self.kubectl(&["get", kind, name, "--output=json"])?;
        serde_json::from_str(&printed).with_context(|| format!("reading {kind}/{name}"))
    }

    /// The objects of some kinds (`pods,services`) with a label.
    pub(crate) fn list(&self, kinds: &str, label: &str) -> anyhow::Result<Vec<Value>> {
        let printed = self.kubectl(&["get", kinds, "--selector", label, "--output=json"])?;
        let mut list: Value = serde_json::from_str(&printed).context("reading a list")?;
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("a list of {kinds} has {other} for its items"),
        }
    }

    /// Waits until one object looks as wanted. `look` gives what it saw instead when it does not.
    pub(crate) fn wait(
        &self,
        kind: &str,
        name: &str,
        look: impl Fn(&Value) -> Result<(), String>,
    ) -> anyhow::Result<Value> {
        wait_for(&format!("{kind}/{name}"), PATIENCE, || {
            Ok(match self.get(kind, name) {
                Err(error) => Seen::NotYet(error.to_string()),
                Ok(object) => match look(&object) {
                    Ok(()) => Seen::Yes(object),
                    Err(seen) => Seen::NotYet(seen),
                },
            })
        })
    }

    /// Waits until a list of objects looks as wanted.
    pub(crate) fn wait_list(
        &self,
        kinds: &str,
        label: &str,
        look: impl Fn(&[Value]) -> bool,
    ) -> anyhow::Result<Vec<Value>> {
        wait_for(&format!("{kinds} of {label}"), PATIENCE, || {
            let objects = self.list(kinds, label)?;
            Ok(if look(&objects) {
                Seen::Yes(objects)
            } else {
                Seen::NotYet(format!("{} of them", objects.len()))
            })
        })
    }

    /// Waits until an InferenceService gives this reason for not being ready.
    pub(crate) fn wait_reason(&self, name: &str, reason: &str) -> anyhow::Result<Value> {
        self.wait("inferenceservice", name, |service| {
            let ready = condition(service, "Ready").cloned().unwrap_or_default();
            if ready["status"] == "False" && ready["reason"] == reason {
                Ok(())
            } else {
                Err(ready.to_string())
            }
        })
    }

    /// Waits until an InferenceService is ready as it is specified now.
    pub(crate) fn wait_ready(&self, name: &str) -> anyhow::Result<Value> {
        self.wait("inferenceservice", name, |service| {
            let status = &service["status"];
            let observed = status["observedGeneration"] == service["metadata"]["generation"];
            let ready = condition(service, "Ready").is_some_and(|own| own["status"] == "True");
            if observed && ready {
                Ok(())
            } else {
                Err(status["conditions"].to_string())
            }
        })
    }

    /// Waits for a condition of an InferenceService, as `kubectl wait` does.
    pub(crate) fn wait_condition(&self, name: &str, condition: &str) -> anyhow::Result<()> {
        let object = format!("inferenceservice/{name}");
        let condition = format!("--for=condition={condition}");
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", &object, &condition, &timeout])?;
        Ok(())
    }
}

/// A condition of an object.
pub(crate) fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|own| own["type"] == kind)
}

/// Runs the command with these bytes on its standard input; it must succeed.
fn feed(command: &mut Command, input: &[u8]) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting kubectl")?;
    child
        .stdin
        .take()
        .context("kubectl has no standard input")?
        .write_all(input)?;
    let output = child.wait_with_output().context("waiting for kubectl")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
