//! Least power: what the operator asks of an API server is what the chart's rules let it, no less and no more.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use candela_operator::leader::{self, Candidate};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    fake::{
        Fake, NAMESPACE, cluster,
        operator::{self, Options},
    },
    in_virtual_time,
    world::{IMAGE, NAME, REST, store},
};

/// Verb, group and resource.
type Right = (String, String, String);

/// The rules under `define "candela.rules"` and those of the Role for the Lease, without what helm would fill in.
fn allowed() -> BTreeSet<Right> {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/candela/templates");
    let read = |name: &str| fs::read_to_string(templates.join(name)).unwrap();
    let helpers = read("_helpers.tpl");
    let (_, rules) = helpers.split_once("define \"candela.rules\"").unwrap();
    let (_, rules) = rules.split_once('\n').unwrap();
    let (rules, _) = rules.split_once("{{- end }}").unwrap();
    let roles = read("rbac.yaml");
    let lease = roles
        .split("\n---\n")
        .find(|role| role.contains("kind: Role\n") && role.contains("-lease"))
        .unwrap();
    let (_, lease) = lease.split_once("\nrules:\n").unwrap();
    [rules, lease].into_iter().flat_map(rights).collect()
}

fn rights(rules: &str) -> Vec<Right> {
    let lines: Vec<String> = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with("{{"))
        .map(|line| line.replace("{{ $name }}", "operator"))
        .collect();
    let rules: Value =
        Value::deserialize(serde_yaml::Deserializer::from_str(&lines.join("\n"))).unwrap();
    let list = |rule: &Value, name: &str| -> Vec<String> {
        let list = rule[name].as_array().into_iter().flatten();
        list.filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let mut rights = Vec::new();
    for rule in rules.as_array().unwrap() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                for verb in list(rule, "verbs") {
                    rights.push((verb, group.clone(), resource.clone()));
                }
            }
        }
    }
    rights
}

/// A life that leads everywhere: every child comes and goes, the same is told twice, and the lease is taken, kept and
/// given back.
async fn live(fake: &Fake) {
    let cluster = tokio::spawn(cluster::run(fake.clone()));
    let client = fake.client("operator");
    let run = |policies| {
        let options = Options {
            network_policy: policies,
            ..Options::of(IMAGE)
        };
        tokio::spawn(operator::run_replica(client.clone(), options, "one"))
    };
    let replica = run(true);
    let most = json!({"model": {"uri": "hf://org/repo"}, "replicas": 2,
                      "cache": {"size": "10Gi", "accessModes": ["ReadWriteMany"]}});
    let claimed = json!({"model": {"uri": "pvc://absent"}, "pod": {"serviceAccountName": "mine"}});
    let unreadable = json!({"replicas": 1});
    for spec in [&most, &claimed, &unreadable, &most, &claimed, &most] {
        store(fake, NAME, spec);
        tokio::time::sleep(REST).await;
    }
    tokio::time::sleep(Duration::from_secs(3 * 60 * 60)).await;
    replica.abort();
    let replica = run(false);
    tokio::time::sleep(REST).await;
    replica.abort();
    let candidate = Candidate {
        namespace: NAMESPACE.to_owned(),
        name: "candela-operator".to_owned(),
        identity: "one".to_owned(),
    };
    leader::step_down(client.clone(), &candidate).await.unwrap();
    cluster.abort();
}

#[test]
fn the_rules_of_the_chart_are_what_the_operator_uses() {
    let used: BTreeSet<Right> = in_virtual_time(1, async {
        let fake = Fake::default();
        live(&fake).await;
        let rights = fake.rights().into_iter();
        rights
            .map(|(verb, group, resource)| (verb.to_owned(), group.to_owned(), resource))
            .collect()
    });
    let allowed = allowed();
    let unused: Vec<_> = allowed.difference(&used).collect();
    let missing: Vec<_> = used.difference(&allowed).collect();
    assert!(missing.is_empty(), "not allowed by the chart: {missing:?}");
    assert!(
        unused.is_empty(),
        "allowed by the chart and not used: {unused:?}"
    );
}
