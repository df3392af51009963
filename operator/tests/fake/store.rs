//! Objects, what became of them version by version, and every rule of writing them: versions, generations, identities,
//! preconditions, ownership of fields, finalizers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    call::{Call, Form, KINDS, Key, Kind, Verb, storage_group},
    defaults, events,
    fields::{self, Paths},
    rules::{
        ownable, preconditions, preconditions_of_patch, remove_from_metadata, settled,
        specification,
    },
    status::{Answer, Refusal, deleted},
};

/// The version that a new server starts from; watches from before are too old.
pub(crate) const FIRST_VERSION: u64 = 1000;
/// The time at which every server starts, in seconds.
const EPOCH_SECONDS: i64 = 1_900_000_000;

/// Who owns fields: a manager, whether by apply, and through which subresource.
type Owner = (String, bool, Option<String>);

/// One stored object and who owns its fields.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) object: Arc<Value>,
    owners: BTreeMap<Owner, Paths>,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    /// `None`: it is new.
    pub(crate) before: Option<Arc<Value>>,
    /// `None`: it is gone.
    pub(crate) after: Option<Arc<Value>>,
    /// As it was last, under the version of this change.
    pub(crate) shown: Arc<Value>,
    /// Who did it: the name of a client, or of a controller of the cluster.
    pub(crate) by: String,
    /// Of the server.
    pub(crate) at: Instant,
}

/// Everything that the server knows.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<Key, Stored>,
    pub(crate) version: u64,
    /// Watches and pages from before this version are answered 410.
    pub(crate) oldest: u64,
    pub(crate) history: Vec<Change>,
    /// Verb, group and resource of everything that was asked.
    pub(crate) rights: BTreeSet<(&'static str, &'static str, String)>,
    started: Instant,
    uids: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            version: FIRST_VERSION,
            oldest: FIRST_VERSION,
            history: Vec::new(),
            rights: BTreeSet::new(),
            started: Instant::now(),
            uids: 0,
        }
    }

    /// The time of day here: it passes as tokio's does.
    pub(crate) fn now(&self) -> String {
        let seconds = i64::try_from(self.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::from_second(EPOCH_SECONDS.saturating_add(seconds));
        now.unwrap_or_default().to_string()
    }

    /// Carries out a call that reads or writes one object.
    pub(crate) fn answer(&mut self, call: &Call, by: &str) -> Answer {
        let key = call.key();
        let kept = Call {
            body: events::kept(call.kind, call.body.clone()),
            ..call.clone()
        };
        let answer = self.carry_out(&kept, key, by);
        answer.map(|object| events::shown(call.kind, object))
    }

    fn carry_out(&mut self, call: &Call, key: Key, by: &str) -> Answer {
        match call.verb {
            Verb::Get => self.read(call, &key),
            Verb::Create => self.create(call, key, by),
            Verb::Update => self.update(call, &key, by),
            Verb::Patch => match call.form {
                Form::Apply => self.apply(call, key, by),
                Form::Merge => self.merge(call, &key, by),
                Form::Unknown => Err(Refusal::unsupported_media()),
            },
            Verb::Delete => self.delete(call, &key, by),
            Verb::List | Verb::Watch => Err(Refusal::no_such_path()),
        }
    }

    fn found(&self, call: &Call, key: &Key) -> Result<&Stored, Refusal> {
        let found = self.objects.get(key);
        found.ok_or_else(|| Refusal::not_found(call.kind, &key.name))
    }

    fn read(&self, call: &Call, key: &Key) -> Answer {
        Ok((*self.found(call, key)?.object).clone())
    }

    fn create(&mut self, call: &Call, mut key: Key, by: &str) -> Answer {
        let mut object = call.body.clone();
        if key.name.is_empty() {
            let Some(prefix) = object["metadata"]["generateName"].as_str() else {
                let why = "Required value: name or generateName is required";
                return Err(Refusal::invalid(call.kind, "", "metadata.name", why));
            };
            key.name = format!("{prefix}{:05x}", self.uids);
            object["metadata"]["name"] = json!(key.name);
        }
        if self.objects.contains_key(&key) {
            return Err(Refusal::exists(call.kind, &key.name));
        }
        if object["metadata"]["resourceVersion"]
            .as_str()
            .is_some_and(|v| !v.is_empty())
        {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::bad_request(why));
        }
        remove_from_metadata(&mut object, "uid");
        self.insert(
            call,
            key,
            object,
            (call.manager().to_owned(), false, None),
            by,
        )
    }

    /// Stores what is new.
    fn insert(
        &mut self,
        call: &Call,
        key: Key,
        mut object: Value,
        owner: Owner,
        by: &str,
    ) -> Answer {
        let kind = call.kind;
        if kind.has_status {
            object
                .as_object_mut()
                .and_then(|object| object.remove("status"));
        }
        object["metadata"]["namespace"] = json!(key.namespace);
        remove_from_metadata(&mut object, "managedFields");
        let owned = fields::paths(&ownable(call, &object));
        self.complete(kind, &mut object);
        defaults::fill(kind, &mut object, None);
        defaults::check(kind, &key.name, &object, None)?;
        let owners = BTreeMap::from([(owner, owned)]);
        Ok(self.write(key, None, object, owners, by))
    }

    /// What the server gives to a new object.
    fn complete(&mut self, kind: &Kind, object: &mut Value) {
        self.uids += 1;
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.uids);
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        let now = self.now();
        let metadata = &mut object["metadata"];
        if metadata["uid"].is_null() {
            metadata["uid"] = json!(uid);
        }
        metadata["creationTimestamp"] = json!(now);
        if kind.has_generation {
            metadata["generation"] = json!(1);
        }
    }

    fn update(&mut self, call: &Call, key: &Key, by: &str) -> Answer {
        let stored = self.found(call, key)?;
        let version = call.body["metadata"]["resourceVersion"].as_str();
        if version.is_none_or(str::is_empty) && call.kind.group == "inference.candela.dev" {
            let why = "Invalid value: 0: must be specified for an update";
            let field = "metadata.resourceVersion";
            return Err(Refusal::invalid(call.kind, &key.name, field, why));
        }
        preconditions(call.kind, key, &stored.object, &call.body["metadata"])?;
        self.replace(call, key, call.body.clone(), by)
    }

    fn merge(&mut self, call: &Call, key: &Key, by: &str) -> Answer {
        let stored = self.found(call, key)?;
        preconditions_of_patch(call, key, &stored.object, &call.body["metadata"])?;
        let mut object = (*stored.object).clone();
        fields::merge_patch(&mut object, &call.body);
        self.replace(call, key, object, by)
    }

    /// Writes a whole object in place of another, as PUT and merge patches do.
    fn replace(&mut self, call: &Call, key: &Key, object: Value, by: &str) -> Answer {
        let Stored {
            object: before,
            mut owners,
        } = self.found(call, key)?.clone();
        let object = settled(call, &before, object);
        let changed = fields::changed(&before, &object);
        let present = fields::paths(&object);
        let owner = (call.manager().to_owned(), false, call.subresource.clone());
        for paths in owners.values_mut() {
            paths.retain(|path| present.contains(path) && !changed.contains(path));
        }
        owners.entry(owner).or_default().extend(changed);
        owners.retain(|_, paths| !paths.is_empty());
        self.finish(call, key, object, owners, by)
    }

    fn apply(&mut self, call: &Call, key: Key, by: &str) -> Answer {
        let Some(manager) = call.parameter("fieldManager") else {
            return Err(Refusal::bad_request(
                "fieldManager is required for apply patch",
            ));
        };
        let owner = (manager.to_owned(), true, call.subresource.clone());
        let mut config = call.body.clone();
        let Some(Stored {
            object: before,
            mut owners,
        }) = self.objects.get(&key).cloned()
        else {
            if call.subresource.is_some() {
                return Err(Refusal::not_found(call.kind, &key.name));
            }
            if let Some(uid) = config["metadata"]["uid"].as_str() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Refusal::conflict(call.kind, &key.name, &why));
            }
            self.rights
                .insert(("create", call.kind.group, call.kind.resource.to_owned()));
            remove_from_metadata(&mut config, "resourceVersion");
            return self.insert(call, key, config, owner, by);
        };
        preconditions_of_patch(call, &key, &before, &config["metadata"])?;
        let config = ownable(call, &config);
        let wanted = fields::paths(&config);
        let mut merged = (*before).clone();
        fields::lay_over(&mut merged, &config);
        let changed: Paths = fields::changed(&before, &merged);
        let mut conflicts = Vec::new();
        for ((manager, ..), paths) in owners.iter_mut().filter(|(other, _)| **other != owner) {
            let taken: Vec<String> = paths
                .iter()
                .filter(|path| wanted.contains(*path) && changed.contains(*path))
                .cloned()
                .collect();
            conflicts.extend(
                taken
                    .iter()
                    .map(|path| (fields::shown(path), manager.clone())),
            );
            paths.retain(|path| !taken.contains(path));
        }
        let forced = call.parameter("force") == Some("true");
        if !conflicts.is_empty() && !forced {
            return Err(Refusal::owned_by_others(&conflicts));
        }
        let given_up = owners.insert(owner, wanted).unwrap_or_default();
        owners.retain(|_, paths| !paths.is_empty());
        let owned: Paths = owners.values().flatten().cloned().collect();
        fields::prune(&mut merged, &given_up, &owned);
        let merged = settled(call, &before, merged);
        self.finish(call, &key, merged, owners, by)
    }

    /// Fills in, checks and stores a changed object, or leaves it under its version if nothing changed.
    fn finish(
        &mut self,
        call: &Call,
        key: &Key,
        mut object: Value,
        owners: BTreeMap<Owner, Paths>,
        by: &str,
    ) -> Answer {
        let stored = self.found(call, key)?;
        let before = Arc::clone(&stored.object);
        let same_owners = stored.owners == owners;
        defaults::fill(call.kind, &mut object, Some(&before));
        defaults::check(call.kind, &key.name, &object, Some(&before))?;
        if object == *before && same_owners {
            return Ok(object);
        }
        if call.kind.has_generation && specification(&before) != specification(&object) {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let leaving = !object["metadata"]["deletionTimestamp"].is_null();
        let held = object["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if leaving && !held {
            return Ok(self.remove(key, by).unwrap_or(object));
        }
        Ok(self.write(key.clone(), Some(before), object, owners, by))
    }

    fn delete(&mut self, call: &Call, key: &Key, by: &str) -> Answer {
        let Stored {
            object: before,
            owners,
        } = self.found(call, key)?.clone();
        preconditions(call.kind, key, &before, &call.body["preconditions"])?;
        let foreground = call.body["propagationPolicy"] == "Foreground";
        let held = before["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        if held || foreground {
            let mut object = (*before).clone();
            if foreground && before["metadata"]["deletionTimestamp"].is_null() {
                let metadata = &mut object["metadata"];
                let mut finalizers = metadata["finalizers"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                finalizers.push(json!("foregroundDeletion"));
                metadata["finalizers"] = json!(finalizers);
            }
            if object["metadata"]["deletionTimestamp"].is_null() {
                object["metadata"]["deletionTimestamp"] = json!(self.now());
            }
            return Ok(self.write(key.clone(), Some(before), object, owners, by));
        }
        let uid = before["metadata"]["uid"].clone();
        self.remove(key, by);
        Ok(deleted(call.kind, key, &uid))
    }

    /// Removes an object for good.
    pub(crate) fn remove(&mut self, key: &Key, by: &str) -> Option<Value> {
        let before = self.objects.remove(key)?.object;
        self.version += 1;
        let mut last = (*before).clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push(Change {
            version: self.version,
            key: key.clone(),
            before: Some(before),
            after: None,
            shown: Arc::new(last.clone()),
            by: by.to_owned(),
            at: Instant::now(),
        });
        Some(last)
    }

    fn write(
        &mut self,
        key: Key,
        before: Option<Arc<Value>>,
        mut object: Value,
        owners: BTreeMap<Owner, Paths>,
        by: &str,
    ) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.need_finalizers(&object, before.as_deref());
        let shared = Arc::new(object.clone());
        self.history.push(Change {
            version: self.version,
            key: key.clone(),
            before,
            after: Some(Arc::clone(&shared)),
            shown: Arc::clone(&shared),
            by: by.to_owned(),
            at: Instant::now(),
        });
        self.objects.insert(
            key,
            Stored {
                object: shared,
                owners,
            },
        );
        object
    }

    /// An owner reference that holds up a deletion takes the right to set the owner's finalizers, where the API server
    /// checks that.
    fn need_finalizers(&mut self, object: &Value, before: Option<&Value>) {
        let references = |object: &Value| object["metadata"]["ownerReferences"].clone();
        let now = references(object);
        if before.map(references).as_ref() == Some(&now) {
            return;
        }
        for reference in now.as_array().into_iter().flatten() {
            let text = |name: &str| reference[name].as_str().unwrap_or_default();
            if reference["blockOwnerDeletion"] == true
                && let Some(kind) = Kind::of(text("apiVersion"), text("kind"))
            {
                let resource = format!("{}/finalizers", kind.resource);
                self.rights.insert(("update", kind.group, resource));
            }
        }
    }

    /// Stores an object past all rules; with a uid of its own if it has one.
    pub(crate) fn put(&mut self, key: Key, mut object: Value, by: &str) {
        let Some(kind) = kind_of(&key) else { return };
        let stored = self.objects.get(&key).cloned();
        object["metadata"]["namespace"] = json!(key.namespace);
        let Some(Stored {
            object: before,
            mut owners,
        }) = stored
        else {
            self.complete(kind, &mut object);
            defaults::fill(kind, &mut object, None);
            self.write(key, None, object, BTreeMap::new(), by);
            return;
        };
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        for name in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
            match &before["metadata"][name] {
                Value::Null => remove_from_metadata(&mut object, name),
                value => object["metadata"][name] = value.clone(),
            }
        }
        defaults::fill(kind, &mut object, Some(&before));
        if object == *before {
            return;
        }
        if kind.has_generation && specification(&before) != specification(&object) {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let changed = fields::changed(&before, &object);
        let present = fields::paths(&object);
        for paths in owners.values_mut() {
            paths.retain(|path| present.contains(path) && !changed.contains(path));
        }
        owners
            .entry((by.to_owned(), false, None))
            .or_default()
            .extend(changed);
        self.write(key, Some(before), object, owners, by);
    }

    /// The objects of a kind as they were at `version`.
    pub(crate) fn at_version(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        version: u64,
    ) -> BTreeMap<Key, Arc<Value>> {
        let mut objects = BTreeMap::new();
        let of_kind = |key: &Key| {
            key.resource == kind.resource
                && key.group == storage_group(kind)
                && namespace.is_none_or(|namespace| key.namespace == namespace)
        };
        for change in self
            .history
            .iter()
            .take_while(|change| change.version <= version)
        {
            if of_kind(&change.key) {
                match &change.after {
                    Some(after) => drop(objects.insert(change.key.clone(), Arc::clone(after))),
                    None => drop(objects.remove(&change.key)),
                }
            }
        }
        objects
    }
}

/// The kind of what is kept at `key`.
pub(crate) fn kind_of(key: &Key) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.resource == key.resource && kind.group == key.group)
}
