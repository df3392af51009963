//! Who owns which fields, and server-side apply over them: merging by the keys of lists, removing what the applier gave
//! up and nobody else has, and conflicts with other managers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Between the steps of a path; sorts before everything that a name may hold.
const STEP: char = '\u{1}';

/// Paths into an object, each of a leaf or of an item of a list.
pub(crate) type Paths = BTreeSet<String>;

/// How a list is merged.
enum List {
    /// As one value.
    Atomic,
    /// By these fields of its items.
    Map(&'static [&'static str]),
    /// By its items.
    Set,
}

/// Fields of objects that are merged as one value.
const ATOMIC_MAPS: [&str; 8] = [
    "selector",
    "podSelector",
    "namespaceSelector",
    "nodeSelector",
    "labelSelector",
    "secretKeyRef",
    "configMapKeyRef",
    "fieldRef",
];

/// Where a walk through an object is.
#[derive(Clone, Default)]
struct Place<'a> {
    /// Names of fields from the root on, without the items of lists.
    names: Vec<&'a str>,
    path: String,
}

impl<'a> Place<'a> {
    fn field(&self, name: &'a str) -> Self {
        let mut names = self.names.clone();
        names.push(name);
        Self {
            names,
            path: format!("{}{STEP}{name}", self.path),
        }
    }

    fn item(&self, key: &str) -> Self {
        Self {
            names: self.names.clone(),
            path: format!("{}{STEP}[{key}]", self.path),
        }
    }

    fn is_atomic(&self) -> bool {
        self.names
            .last()
            .is_some_and(|name| ATOMIC_MAPS.contains(name))
    }

    /// How a list here is merged, by the schemas of Kubernetes and of the InferenceService.
    fn list(&self) -> List {
        let inside = |name: &str| self.names.contains(&name);
        match self.names.last().copied().unwrap_or_default() {
            "finalizers" => List::Set,
            "ownerReferences" => List::Map(&["uid"]),
            "conditions" => List::Map(&["type"]),
            "env" => List::Map(&["name"]),
            // A list of the InferenceService's `spec.pod` is one value.
            "containers" | "initContainers" | "volumes" | "imagePullSecrets" | "claims"
            | "resourceClaims"
                if !inside("pod") =>
            {
                List::Map(&["name"])
            }
            "volumeMounts" => List::Map(&["mountPath"]),
            "ports" if inside("containers") => List::Map(&["containerPort", "protocol"]),
            "ports" if self.names == ["spec", "ports"] => List::Map(&["port", "protocol"]),
            "topologySpreadConstraints" if inside("template") => {
                List::Map(&["topologyKey", "whenUnsatisfiable"])
            }
            _ => List::Atomic,
        }
    }
}

fn item_key(list: &List, item: &Value) -> String {
    let List::Map(keys) = list else {
        return item.to_string();
    };
    let pair = |key: &&str| match (item.get(*key), *key) {
        (None, "protocol") => "protocol=\"TCP\"".to_owned(),
        (value, key) => format!("{key}={}", value.unwrap_or(&Value::Null)),
    };
    keys.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// The leaves of an object by their paths, and the items of its lists, whose value is null.
fn leaves(object: &Value) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    collect(object, &Place::default(), &mut found);
    found
}

fn collect<'a>(value: &'a Value, place: &Place<'a>, found: &mut BTreeMap<String, &'a Value>) {
    match (value, place.list()) {
        (Value::Object(fields), _) if !fields.is_empty() && !place.is_atomic() => {
            for (name, value) in fields {
                collect(value, &place.field(name), found);
            }
        }
        (Value::Array(items), list @ (List::Map(_) | List::Set)) if !items.is_empty() => {
            for item in items {
                let place = place.item(&item_key(&list, item));
                found.insert(place.path.clone(), &Value::Null);
                if item.is_object() {
                    collect(item, &place, found);
                }
            }
        }
        (leaf, _) => drop(found.insert(place.path.clone(), leaf)),
    }
}

/// Every field of `object`.
pub(crate) fn paths(object: &Value) -> Paths {
    leaves(object).into_keys().collect()
}

/// Fields of `after` that `before` lacks or has otherwise.
pub(crate) fn changed(before: &Value, after: &Value) -> Paths {
    let before = leaves(before);
    let differs = |(path, value): &(String, &Value)| before.get(path) != Some(value);
    let after = leaves(after).into_iter();
    after.filter(differs).map(|(path, _)| path).collect()
}

/// Lays `over` on `under`: maps by their fields, lists by their keys, everything else whole.
pub(crate) fn lay_over(under: &mut Value, over: &Value) {
    lay(under, over, &Place::default());
}

fn lay<'a>(under: &mut Value, over: &'a Value, place: &Place<'a>) {
    match (&mut *under, over, place.list()) {
        (Value::Object(under), Value::Object(over), _) if !place.is_atomic() => {
            for (name, over) in over {
                let slot = under.entry(name).or_insert(Value::Null);
                lay(slot, over, &place.field(name));
            }
        }
        (Value::Array(under), Value::Array(over), list @ (List::Map(_) | List::Set)) => {
            lay_items(under, over, &list, place);
        }
        (Value::Null, Value::Object(over), _) if !place.is_atomic() => {
            // Nested lists need their keys looked at even where nothing was before.
            *under = Value::Object(serde_json::Map::new());
            for (name, over) in over {
                under[name] = over.clone();
            }
        }
        (under, over, _) => *under = over.clone(),
    }
}

/// Items keep the order of `over`; those that only `under` has stay where they are among them.
fn lay_items<'a>(under: &mut Vec<Value>, over: &'a [Value], list: &List, place: &Place<'a>) {
    let mut waiting: Vec<(String, &Value)> = over
        .iter()
        .map(|item| (item_key(list, item), item))
        .collect();
    let mut before: Vec<(String, Value)> = under
        .drain(..)
        .map(|item| (item_key(list, &item), item))
        .collect();
    let merged = |key: &str, item: &'a Value, before: &mut Vec<(String, Value)>| {
        let found = before.iter().position(|(other, _)| other == key);
        let mut merged = found.map_or(Value::Null, |at| before[at].1.clone());
        lay(&mut merged, item, &place.item(key));
        merged
    };
    for (key, item) in before.clone() {
        match waiting.iter().position(|(other, _)| *other == key) {
            None if over.iter().any(|over| item_key(list, over) == key) => {}
            None => under.push(item),
            Some(at) => {
                for (key, item) in waiting.drain(..=at) {
                    under.push(merged(&key, item, &mut before));
                }
            }
        }
    }
    for (key, item) in waiting {
        under.push(merged(&key, item, &mut before));
    }
}

/// Removes from `object` what `given_up` has and `owned` has no part of.
pub(crate) fn prune(object: &mut Value, given_up: &Paths, owned: &Paths) {
    prune_at(object, &Place::default(), given_up, owned);
}

fn prune_at(value: &mut Value, place: &Place<'_>, given_up: &Paths, owned: &Paths) {
    let is_gone = |path: &str| reaches(given_up, path) && !reaches(owned, path);
    match value {
        Value::Object(fields) if !place.is_atomic() => {
            fields.retain(|name, _| !is_gone(&place.field(name).path));
            for (name, value) in fields {
                let place = place.field(name);
                if reaches(given_up, &place.path) {
                    prune_at(value, &place, given_up, owned);
                }
            }
        }
        Value::Array(items) => {
            let list = place.list();
            if matches!(list, List::Atomic) {
                return;
            }
            items.retain(|item| !is_gone(&place.item(&item_key(&list, item)).path));
            for item in items {
                let place = place.item(&item_key(&list, item));
                if reaches(given_up, &place.path) {
                    prune_at(item, &place, given_up, owned);
                }
            }
        }
        _ => {}
    }
}

/// Whether `paths` has `path` or something below it.
fn reaches(paths: &Paths, path: &str) -> bool {
    let mut from = paths.range(path.to_owned()..);
    from.next().is_some_and(|found| {
        found
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(STEP))
    })
}

/// A path as the API server writes it in a conflict.
pub(crate) fn shown(path: &str) -> String {
    path.replace(STEP, ".").replace(".[", "[")
}

/// RFC 7386: null removes, everything else replaces.
pub(crate) fn merge_patch(under: &mut Value, over: &Value) {
    let Value::Object(over) = over else {
        *under = over.clone();
        return;
    };
    if !under.is_object() {
        *under = Value::Object(serde_json::Map::new());
    }
    for (name, over) in over {
        if over.is_null() {
            under.as_object_mut().and_then(|under| under.remove(name));
        } else {
            merge_patch(&mut under[name], over);
        }
    }
}
