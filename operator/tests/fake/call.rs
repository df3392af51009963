//! A request as the API server understands it: who is meant, what is to be done, and with which parameters.

use std::collections::BTreeMap;

use http::{Method, request::Parts};
use serde_json::Value;

/// A kind that is served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) kind: &'static str,
    /// Has a status of its own path, which a write to the object leaves alone.
    pub(crate) has_status: bool,
    /// Counts changes of its specification.
    pub(crate) has_generation: bool,
}

const fn kind(
    (group, version, resource, kind): (&'static str, &'static str, &'static str, &'static str),
    has_status: bool,
    has_generation: bool,
) -> Kind {
    Kind {
        group,
        version,
        resource,
        kind,
        has_status,
        has_generation,
    }
}

/// Every kind that is served.
pub(crate) const KINDS: &[Kind] = &[
    kind(
        (
            "inference.candela.dev",
            "v1alpha1",
            "inferenceservices",
            "InferenceService",
        ),
        true,
        true,
    ),
    kind(("apps", "v1", "deployments", "Deployment"), true, true),
    kind(("apps", "v1", "replicasets", "ReplicaSet"), true, true),
    kind(("", "v1", "services", "Service"), true, false),
    kind(
        ("", "v1", "serviceaccounts", "ServiceAccount"),
        false,
        false,
    ),
    kind(
        ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
        true,
        false,
    ),
    kind(("", "v1", "pods", "Pod"), true, false),
    kind(("", "v1", "configmaps", "ConfigMap"), false, false),
    kind(("", "v1", "events", "Event"), false, false),
    kind(("events.k8s.io", "v1", "events", "Event"), false, false),
    kind(
        (
            "policy",
            "v1",
            "poddisruptionbudgets",
            "PodDisruptionBudget",
        ),
        true,
        true,
    ),
    kind(
        (
            "networking.k8s.io",
            "v1",
            "networkpolicies",
            "NetworkPolicy",
        ),
        false,
        true,
    ),
    kind(
        ("coordination.k8s.io", "v1", "leases", "Lease"),
        false,
        false,
    ),
];

impl Kind {
    /// `apps/v1`, or `v1`.
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `deployments.apps`, as messages name it.
    pub(crate) fn qualified(&self) -> String {
        match self.group {
            "" => self.resource.to_owned(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// The kind that `api_version` and `kind` name.
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<&'static Self> {
        KINDS
            .iter()
            .find(|known| known.kind == kind && known.api_version() == api_version)
    }
}

/// Where an object is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What a request wants, in the words of access rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    pub(crate) fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

/// How the body of a PATCH is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Apply,
    Merge,
    Unknown,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) kind: &'static Kind,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) form: Form,
    pub(crate) body: Value,
    /// Who calls if the query names no field manager.
    pub(crate) agent: String,
}

impl Call {
    /// Reads a request; `None` for a path that leads nowhere.
    pub(crate) fn read(head: &Parts, body: Value) -> Option<Self> {
        let parts: Vec<&str> = head.uri.path().trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let (resource, name, subresource) = match rest {
            [resource] => (*resource, None, None),
            [resource, name] => (*resource, Some(*name), None),
            [resource, name, subresource] => (*resource, Some(*name), Some(*subresource)),
            _ => return None,
        };
        let kind = KINDS
            .iter()
            .find(|kind| (kind.group, kind.version, kind.resource) == (group, version, resource))?;
        let query = query(head.uri.query().unwrap_or_default());
        let watches = matches!(query.get("watch").map(String::as_str), Some("true" | "1"));
        let verb = match (&head.method, name) {
            (&Method::GET, Some(_)) => Verb::Get,
            (&Method::GET, None) if watches => Verb::Watch,
            (&Method::GET, None) => Verb::List,
            (&Method::POST, None) => Verb::Create,
            (&Method::PUT, Some(_)) => Verb::Update,
            (&Method::PATCH, Some(_)) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            _ => return None,
        };
        let content = head.headers.get(http::header::CONTENT_TYPE);
        let form = match content.and_then(|content| content.to_str().ok()) {
            Some("application/apply-patch+yaml") => Form::Apply,
            Some("application/merge-patch+json") => Form::Merge,
            _ => Form::Unknown,
        };
        Some(Self {
            verb,
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
            query,
            form,
            body,
            agent: "unknown".to_owned(),
        })
    }

    /// Where the object is kept that is meant.
    pub(crate) fn key(&self) -> Key {
        let given = self
            .name
            .as_deref()
            .or(self.body["metadata"]["name"].as_str());
        Key {
            group: storage_group(self.kind),
            resource: self.kind.resource,
            namespace: self.namespace.clone().unwrap_or_default(),
            name: given.unwrap_or_default().to_owned(),
        }
    }

    /// `deployments`, or `deployments/status`, as access rules name it.
    pub(crate) fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.kind.resource),
            None => self.kind.resource.to_owned(),
        }
    }

    /// A parameter that is there and says something.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Who will own the fields that this call writes.
    pub(crate) fn manager(&self) -> &str {
        self.parameter("fieldManager").unwrap_or(&self.agent)
    }
}

/// Events of both groups are the same objects.
pub(crate) fn storage_group(kind: &Kind) -> &'static str {
    match kind.resource {
        "events" => "",
        _ => kind.group,
    }
}

fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next(), bytes.next()].map(|digit| digit.unwrap_or(b'0'));
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&plain).into_owned()
}
