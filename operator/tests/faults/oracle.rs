//! What must hold of any run, whatever went wrong: judged from everything that the server saw and stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    fake::{Seen, call::Verb, store::Change},
    specs::{STEP, is_valid},
    world::{OPERATOR, Snapshot, World},
};

/// How long after the last fault everything has come to rest, if watches lost no event.
pub(crate) const RECOVERY: Duration = Duration::from_secs(15 * 60);
/// The same, if a watch lost an event and nothing tells so.
pub(crate) const RECOVERY_UNTOLD: Duration = Duration::from_secs(2 * 60 * 60);
/// How long it then stays so without a write.
pub(crate) const QUIET: Duration = Duration::from_secs(10 * 60);
/// Between two looks at a cluster that comes to rest.
const LOOK: Duration = Duration::from_secs(10);
/// Most calls of the operator in a minute, whatever goes wrong, for one service.
pub(crate) const CALLS_PER_MINUTE_MAX: usize = 600;

/// Whether what there is becomes `wanted` within `bound`, and stays so without a write.
pub(crate) async fn comes_to_rest(
    world: &mut World,
    wanted: &Snapshot,
    bound: Duration,
) -> Result<(), String> {
    let mut waited = Duration::ZERO;
    loop {
        let now = world.snapshot();
        if now == *wanted {
            break;
        }
        if waited >= bound {
            return Err(format!(
                "after {bound:?} it is not what a fresh run makes: {}",
                difference(&now, wanted)
            ));
        }
        world.pass(LOOK).await;
        waited += LOOK;
    }
    world.pass(REST_OF_EVENTS).await;
    let writes = writes(world);
    world.pass(QUIET).await;
    let now = world.snapshot();
    if now != *wanted {
        return Err(format!("it did not stay so: {}", difference(&now, wanted)));
    }
    let after = self::writes(world);
    match after - writes {
        0 => Ok(()),
        more => Err(format!(
            "{more} writes in {QUIET:?} of rest: {:?}",
            last_writes(world, more)
        )),
    }
}

/// What is not compared, events and figures of a start, may still be under way when everything else is there: for as long
/// as the longest wait after failures.
const REST_OF_EVENTS: Duration = Duration::from_secs(400);

/// Calls of the operator that write.
fn writes(world: &World) -> usize {
    let calls = world.fake.calls();
    calls
        .iter()
        .filter(|call| call.by == OPERATOR && call.verb.is_write())
        .count()
}

fn last_writes(world: &World, count: usize) -> Vec<String> {
    let calls = world.fake.calls();
    let writes = calls
        .iter()
        .rev()
        .filter(|call| call.by == OPERATOR && call.verb.is_write());
    writes
        .take(count.min(6))
        .map(|call| format!("{} {}", call.verb.as_str(), call.resource))
        .collect()
}

/// The first paths at which two snapshots differ.
pub(crate) fn difference(now: &Snapshot, wanted: &Snapshot) -> String {
    let mut found = Vec::new();
    let keys: BTreeSet<_> = now.keys().chain(wanted.keys()).collect();
    for key in keys {
        let path = format!("{}/{}", key.resource, key.name);
        differ(now.get(key), wanted.get(key), &path, &mut found);
    }
    found.truncate(8);
    found.join("; ")
}

fn differ(now: Option<&Value>, wanted: Option<&Value>, path: &str, found: &mut Vec<String>) {
    match (now, wanted) {
        (Some(now), Some(wanted)) if now == wanted => {}
        (Some(Value::Object(now)), Some(Value::Object(wanted))) => {
            let names: BTreeSet<&String> = now.keys().chain(wanted.keys()).collect();
            for name in names {
                differ(
                    now.get(name),
                    wanted.get(name),
                    &format!("{path}.{name}"),
                    found,
                );
            }
        }
        (Some(Value::Array(now)), Some(Value::Array(wanted))) if now.len() == wanted.len() => {
            for (index, (now, wanted)) in now.iter().zip(wanted).enumerate() {
                differ(Some(now), Some(wanted), &format!("{path}[{index}]"), found);
            }
        }
        (now, wanted) => {
            let shown = |value: Option<&Value>| {
                let text = value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                text.chars().take(160).collect::<String>()
            };
            found.push(format!(
                "{path} is {} and should be {}",
                shown(now),
                shown(wanted)
            ));
        }
    }
}

/// Everything that was done wrong in a run.
pub(crate) fn breaches(world: &World) -> Vec<String> {
    let history = world.fake.history();
    let mut breaches = Vec::new();
    let calls = world.fake.calls();
    let ours = calls.iter().filter(|call| call.by == OPERATOR);
    let mut judge = Judge {
        calls: ours.clone().collect(),
        ..Judge::default()
    };
    for change in &history {
        judge.look(change, &mut breaches);
    }
    let ours: Vec<_> = ours.collect();
    let minute = Duration::from_secs(60);
    let minutes = (0..ours.len()).map(|at| {
        let end = ours[at].at + minute;
        &ours[at..][..ours[at..].partition_point(|later| later.at < end)]
    });
    if let Some(busiest) = minutes.max_by_key(|minute| minute.len())
        && busiest.len() > CALLS_PER_MINUTE_MAX
    {
        let mut counts = BTreeMap::<_, usize>::new();
        for call in busiest {
            let what = (call.verb.as_str(), call.resource.as_str());
            *counts.entry(what).or_default() += 1;
        }
        breaches.push(format!("{} calls in a minute: {counts:?}", busiest.len()));
    }
    breaches
}

/// What a run has come to so far.
#[derive(Default)]
struct Judge<'a> {
    /// The specifications that were stored, and when.
    specs: Vec<(Instant, Value)>,
    /// The operator's, in the order in which they arrived.
    calls: Vec<&'a Seen>,
    owner: Value,
    /// The highest step whose template was written.
    step: usize,
    templates: BTreeMap<usize, Value>,
}

impl Judge<'_> {
    fn look(&mut self, change: &Change, breaches: &mut Vec<String>) {
        let mut breach =
            |text: String| breaches.push(format!("version {}: {text}", change.version));
        let name = format!("{} {}", change.key.resource, change.key.name);
        if change.key.resource == "inferenceservices" {
            self.look_at_service(change, &mut breach);
            return;
        }
        if change.by != OPERATOR || change.key.resource == "events" {
            return;
        }
        let owned = |object: &Value| {
            let owners = object["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten();
            owners.into_iter().any(|owner| owner["uid"] == self.owner)
        };
        if change
            .before
            .as_deref()
            .is_some_and(|before| !owned(before))
        {
            breach(format!("{name} of somebody else was written"));
        }
        match &change.after {
            None if self.wants(change.key.resource, change.at) => {
                breach(format!("{name} was deleted, which is wanted"));
            }
            Some(after) if change.key.resource == "deployments" => {
                self.look_at_template(after, &mut breach)
            }
            _ => {}
        }
    }

    fn look_at_service(&mut self, change: &Change, breach: &mut impl FnMut(String)) {
        let Some(after) = &change.after else {
            self.specs.push((change.at, Value::Null));
            return;
        };
        self.owner = after["metadata"]["uid"].clone();
        self.specs.push((change.at, after["spec"].clone()));
        let before = change.before.as_deref().unwrap_or(&Value::Null);
        if change.by == OPERATOR && before["spec"] != after["spec"] {
            breach("the operator wrote a specification".to_owned());
        }
        let (seen, real) = (
            &after["status"]["observedGeneration"],
            &after["metadata"]["generation"],
        );
        if seen.as_i64() > real.as_i64() {
            breach(format!("observed generation {seen} is ahead of {real}"));
        }
        for condition in after["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let earlier = before["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten();
            let mut earlier = earlier.filter(|earlier| earlier["type"] == condition["type"]);
            let since = "lastTransitionTime";
            if earlier.any(|e| e["status"] == condition["status"] && e[since] != condition[since]) {
                breach(format!(
                    "{} moved its time without its status",
                    condition["type"]
                ));
            }
        }
    }

    /// Templates of a later specification stay, and one specification has one template.
    fn look_at_template(&mut self, deployment: &Value, breach: &mut impl FnMut(String)) {
        let template = &deployment["spec"]["template"];
        let step = template["metadata"]["annotations"][STEP].as_str();
        let Some(step) = step.and_then(|step| step.parse().ok()) else {
            return;
        };
        if step < self.step {
            breach(format!(
                "the template went back from step {} to {step}",
                self.step
            ));
        }
        self.step = self.step.max(step);
        let first = self
            .templates
            .entry(step)
            .or_insert_with(|| template.clone());
        if first != template {
            breach(format!("the template of step {step} changed"));
        }
    }

    /// Whether every specification wants this child that was stored since the operator last asked for the service: what
    /// changes between that and a deletion cannot be known to it. A deletion that was put off (429) comes again without asking.
    fn wants(&self, resource: &str, at: Instant) -> bool {
        let earlier = &self.calls[..self.calls.partition_point(|call| call.at <= at)];
        let deletion = |call: &&Seen| call.verb == Verb::Delete && call.resource == resource;
        let sent = earlier.iter().rposition(deletion).unwrap_or(earlier.len());
        let read = |call: &&&Seen| call.verb == Verb::Get && call.resource == "inferenceservices";
        let asked = earlier[..sent].iter().rfind(read);
        let asked = asked.map_or(at, |call| call.at);
        let first = self.specs.partition_point(|(stored, _)| *stored <= asked);
        let since = &self.specs[first.saturating_sub(1)..];
        since.iter().all(|(_, spec)| wants(spec, resource))
    }
}

/// Whether a specification wants this child.
fn wants(spec: &Value, resource: &str) -> bool {
    if spec.is_null() || !is_valid(spec) {
        return !spec.is_null();
    }
    match resource {
        "poddisruptionbudgets" => spec["replicas"].as_u64().unwrap_or(1) > 1,
        "serviceaccounts" => spec["pod"]["serviceAccountName"].is_null(),
        "persistentvolumeclaims" => !spec["cache"]["size"].is_null(),
        _ => true,
    }
}
