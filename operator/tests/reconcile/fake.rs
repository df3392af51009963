//! An API server in memory, as far as a reconcile can tell: resource versions, 404 and 409,
//! server-side apply with field ownership where an apply that changes nothing moves no version,
//! label selectors, and a switch that fails everything from the n-th write on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Map, Value, json};

/// One stored object and what its managers applied.
#[derive(Debug, Clone)]
struct Stored {
    object: Value,
    applied: BTreeMap<String, Value>,
}

#[derive(Debug, Default)]
struct State {
    /// By path, `/api/v1/namespaces/team-a/services/demo`.
    objects: BTreeMap<String, Stored>,
    version: u64,
    writes: Vec<String>,
    writes_left: Option<usize>,
}

/// The server; clones share their objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Fake {
    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let uri = head.uri;
                let query = uri.query().unwrap_or_default();
                let (status, answer) = fake.answer(&head.method, uri.path(), query, body);
                let answer = Body::from(serde_json::to_vec(&answer).unwrap());
                let response = Response::builder().status(status).body(answer).unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    /// Writes so far that changed something, as `VERB path`.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.lock().writes.clone()
    }

    /// Lets `writes` more changes through and fails every write after them.
    pub(crate) fn fail_after(&self, writes: Option<usize>) {
        self.lock().writes_left = writes;
    }

    /// The object at `path`.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.lock()
            .objects
            .get(path)
            .map(|stored| stored.object.clone())
    }

    /// Stores an object past all rules, as somebody else.
    pub(crate) fn put(&self, path: &str, mut object: Value) {
        let mut state = self.lock();
        state.version += 1;
        let version = state.version;
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
        metadata
            .entry("uid")
            .or_insert_with(|| json!(format!("uid-{version}")));
        let applied = state
            .objects
            .remove(path)
            .map(|stored| stored.applied)
            .unwrap_or_default();
        state
            .objects
            .insert(path.to_owned(), Stored { object, applied });
    }

    /// Changes an object past all rules, as somebody else.
    pub(crate) fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(path).unwrap();
        change(&mut object);
        self.put(path, object);
    }

    /// Removes an object, as somebody else.
    pub(crate) fn remove(&self, path: &str) {
        self.lock().objects.remove(path).unwrap();
    }

    /// Every object without what the server itself writes, for comparison.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, Value> {
        let bare = |stored: &Stored| {
            let mut object = stored.object.clone();
            for field in ["resourceVersion", "uid", "generation", "creationTimestamp"] {
                object["metadata"].as_object_mut().unwrap().remove(field);
            }
            if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
                conditions
                    .iter_mut()
                    .for_each(|c| c["lastTransitionTime"] = Value::Null);
            }
            object
        };
        let state = self.lock();
        let objects = state
            .objects
            .iter()
            .filter(|(path, _)| !path.contains("/events/"));
        objects
            .map(|(path, stored)| (path.clone(), bare(stored)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer(&self, method: &Method, path: &str, query: &str, body: Value) -> (StatusCode, Value) {
        let mut state = self.lock();
        match *method {
            Method::GET if is_collection(path) => (StatusCode::OK, state.list(path, query)),
            Method::GET => state.read(path),
            Method::PATCH => state.apply(path, query, body),
            Method::POST => state.create(path, body),
            Method::DELETE => state.delete(path, &body),
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

impl State {
    fn list(&self, path: &str, query: &str) -> Value {
        let selector = parameter(query, "labelSelector").unwrap_or_default();
        let wanted: Vec<(&str, &str)> = selector
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(own, _)| own.starts_with(&format!("{path}/")))
            .map(|(_, stored)| &stored.object)
            .filter(|object| {
                wanted
                    .iter()
                    .all(|(key, value)| object["metadata"]["labels"][key] == **value)
            })
            .collect();
        json!({"metadata": {}, "items": items})
    }

    fn read(&self, path: &str) -> (StatusCode, Value) {
        match self.objects.get(path) {
            Some(stored) => (StatusCode::OK, stored.object.clone()),
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn create(&mut self, path: &str, mut object: Value) -> (StatusCode, Value) {
        let name = match object["metadata"]["name"].as_str() {
            Some(name) => name.to_owned(),
            None => format!(
                "{}{}",
                object["metadata"]["generateName"].as_str().unwrap(),
                self.version
            ),
        };
        object["metadata"]["name"] = json!(name);
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        self.write(
            "POST",
            &path,
            Stored {
                object,
                applied: BTreeMap::new(),
            },
        )
    }

    fn apply(&mut self, path: &str, query: &str, mut body: Value) -> (StatusCode, Value) {
        let manager = parameter(query, "fieldManager").unwrap_or_default();
        let (path, is_status) = match path.strip_suffix("/status") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let before = self.objects.get(path).cloned();
        if is_status && before.is_none() {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        }
        let uid = body["metadata"]
            .as_object_mut()
            .and_then(|metadata| metadata.remove("uid"));
        let stored_uid = before
            .as_ref()
            .map(|stored| stored.object["metadata"]["uid"].clone());
        if uid.is_some() && uid != stored_uid {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        let mut stored = before.clone().unwrap_or(Stored {
            object: json!({"metadata": {}}),
            applied: BTreeMap::new(),
        });
        let key = if is_status {
            format!("{manager}/status")
        } else {
            manager
        };
        let earlier = stored
            .applied
            .insert(key, body.clone())
            .unwrap_or(Value::Null);
        let others = stored.applied.values().cloned().collect::<Vec<_>>();
        remove_disowned(&mut stored.object, &earlier, &body, &others);
        merge(&mut stored.object, &body);
        if before
            .as_ref()
            .is_some_and(|before| before.object == stored.object)
        {
            return (StatusCode::OK, stored.object);
        }
        let verb = if is_status { "STATUS" } else { "APPLY" };
        let spec = before.as_ref().map(|before| before.object["spec"].clone());
        if spec != Some(stored.object["spec"].clone()) {
            let generation = stored.object["metadata"]["generation"]
                .as_i64()
                .unwrap_or(0)
                + 1;
            stored.object["metadata"]["generation"] = json!(generation);
        }
        self.write(verb, path, stored)
    }

    fn delete(&mut self, path: &str, body: &Value) -> (StatusCode, Value) {
        let Some(stored) = self.objects.get(path) else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        let wanted = &body["preconditions"]["uid"];
        if !wanted.is_null() && *wanted != stored.object["metadata"]["uid"] {
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        if let Err(refused) = self.count("DELETE", path) {
            return refused;
        }
        self.objects.remove(path);
        (
            StatusCode::OK,
            json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
        )
    }

    fn write(&mut self, verb: &str, path: &str, mut stored: Stored) -> (StatusCode, Value) {
        if let Err(refused) = self.count(verb, path) {
            return refused;
        }
        self.version += 1;
        let version = self.version;
        let metadata = stored.object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".to_owned(), json!(version.to_string()));
        metadata
            .entry("uid")
            .or_insert_with(|| json!(format!("uid-{version}")));
        let object = stored.object.clone();
        self.objects.insert(path.to_owned(), stored);
        (StatusCode::OK, object)
    }

    fn count(&mut self, verb: &str, path: &str) -> Result<(), (StatusCode, Value)> {
        match &mut self.writes_left {
            Some(0) => return Err(failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.writes.push(format!("{verb} {path}"));
        Ok(())
    }
}

fn failure(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": status.as_u16(), "reason": reason, "message": reason,
    });
    (status, body)
}

/// Whether the path ends with a resource and not with a name.
fn is_collection(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let after = parts
        .iter()
        .position(|part| *part == "namespaces")
        .map_or(0, |at| at + 2);
    parts.len() == after + 1
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
    Some(
        value
            .replace("%3D", "=")
            .replace("%2C", ",")
            .replace("%2F", "/"),
    )
}

/// Lays `over` on `under`; lists are replaced whole.
fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, over) in over {
                merge(under.entry(name).or_insert(Value::Null), over);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Removes what the manager applied before, does not apply now, and nobody else applies.
fn remove_disowned(object: &mut Value, earlier: &Value, now: &Value, others: &[Value]) {
    let (Some(object), Some(earlier)) = (object.as_object_mut(), earlier.as_object()) else {
        return;
    };
    let empty = Map::new();
    let now = now.as_object().unwrap_or(&empty);
    for (name, earlier) in earlier {
        let others: Vec<Value> = others
            .iter()
            .filter_map(|other| other.get(name))
            .cloned()
            .collect();
        match (now.get(name), others.is_empty()) {
            (None, true) => {
                object.remove(name);
            }
            (now, _) => {
                if let Some(object) = object.get_mut(name) {
                    remove_disowned(object, earlier, now.unwrap_or(&Value::Null), &others);
                }
            }
        }
    }
}
