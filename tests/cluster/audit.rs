//! What the operator asked of the API server, by the server's own audit log, and what it is allowed to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::install::{NAMESPACE, RELEASE};

/// What changes something.
const WRITES: [&str; 6] = [
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "apply",
];
/// A right that no call uses: the API server itself asks for it when an owner reference blocks a deletion.
const CHECKED_BY_ADMISSION: &str = "inference.candela.dev/inferenceservices/finalizers update";

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Group, resource and subresource.
    pub(crate) resource: String,
    pub(crate) verb: String,
    /// The status of the answer.
    pub(crate) code: u64,
    /// The pod that asked.
    pub(crate) pod: String,
}

impl Call {
    fn read(event: &Value) -> Option<Self> {
        let object = event["objectRef"].as_object()?;
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let mut resource = format!(
            "{}/{}",
            text("apiGroup").unwrap_or_default(),
            text("resource")?
        );
        if let Some(part) = text("subresource") {
            resource = format!("{resource}/{part}");
        }
        let pod = &event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0];
        Some(Self {
            resource,
            verb: event["verb"].as_str()?.to_owned(),
            code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            pod: pod.as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Whether it changed, or would have changed, anything but who leads.
    pub(crate) fn is_write(&self) -> bool {
        WRITES.contains(&self.verb.as_str()) && !self.resource.ends_with("/leases")
    }

    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The rights it took. An apply that creates takes two.
    fn rights(&self) -> impl Iterator<Item = String> {
        let created = self.verb == "patch" && self.code == 201;
        let verbs = [
            Some(self.verb.clone()),
            created.then(|| "create".to_owned()),
        ];
        let resource = self.resource.clone();
        verbs
            .into_iter()
            .flatten()
            .map(move |verb| format!("{resource} {verb}"))
    }
}

/// Every call so far.
pub(crate) fn calls(cluster: &Cluster<'_>) -> anyhow::Result<Vec<Call>> {
    let path = cluster.bed.audit_log();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // A line that is being written has no end yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let read = |line: &str| serde_json::from_str::<Value>(line).context("reading an audit event");
    let events = whole
        .lines()
        .map(read)
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(events.iter().filter_map(Call::read).collect())
}

/// The operator used every right that the chart gives it, and no other.
pub(crate) fn rights_are_those_used(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    for call in calls(cluster)? {
        // A refusal counts as a use: it shows below if no rule allows it. An API server that has just started refuses for a
        // moment what its rules allow.
        for right in call.rights() {
            *used.entry(right).or_default() += 1;
        }
    }
    let mut allowed = rules(cluster, &["clusterrole", &format!("{RELEASE}-operator")])?;
    let lease = format!("{RELEASE}-operator-lease");
    allowed.extend(rules(cluster, &["role", &lease, "--namespace", NAMESPACE])?);
    for (right, count) in &used {
        eprintln!("           {count:6} {right}");
    }
    let missing: Vec<_> = used
        .keys()
        .filter(|right| !allowed.contains(*right))
        .collect();
    ensure!(
        missing.is_empty(),
        "used without a rule of the chart's: {missing:?}"
    );
    let idle = allowed.iter().filter(|right| !used.contains_key(*right));
    let idle: Vec<_> = idle
        .filter(|right| *right != CHECKED_BY_ADMISSION)
        .collect();
    ensure!(
        idle.is_empty(),
        "in the chart's rules and never used: {idle:?}"
    );
    Ok(())
}

fn rules(cluster: &Cluster<'_>, role: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let printed = cluster.kubectl(&[&["get", "--output=json"], role].concat())?;
    let role: Value = serde_json::from_str(&printed).context("reading a role")?;
    let texts = |own: &Value| -> Vec<String> {
        let texts = own
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.insert(format!("{group}/{resource} {verb}"));
                }
            }
        }
    }
    Ok(rights)
}
