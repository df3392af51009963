//! The children of a service. Pure and total: the same specification and observation give the same
//! bytes. One function, one object; the pod is in `pod`.

use std::collections::BTreeMap;

use candela_crds::{
    AccessMode,
    names::{
        ENGINE_PORT_NAME, IMAGE_ANNOTATION, IMAGE_INPUTS_ANNOTATION, SERVICE_PORT, VERSION_LABEL,
        child_labels, selector_labels,
    },
};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            LocalObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec, Service,
            ServiceAccount, ServicePort, ServiceSpec, VolumeResourceRequirements,
        },
        networking::v1::{
            NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort,
            NetworkPolicySpec,
        },
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference},
        util::intstr::IntOrString,
    },
};
use kube::Resource;

use super::{
    NetworkPolicySettings, Observed, Settings, Source, Validated,
    pin::{self, Pin},
    pod::{pod_template, startup_seconds},
};

/// Seconds beyond the startup timeout after which a rollout counts as stuck: time to be placed and
/// to pull the image.
const PROGRESS_MARGIN_SECONDS: i32 = 60;
const DNS_PORT: i32 = 53;
/// Old ReplicaSets that are kept.
const REVISIONS_KEPT: i32 = 3;

/// Every object that a service should have; `None` for one it should not.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// Runs the pods.
    pub deployment: Deployment,
    /// Gives them an address.
    pub service: Service,
    /// Their identity, without a token; `None` if the specification names another.
    pub service_account: Option<ServiceAccount>,
    /// Keeps a drain from taking all of them; `None` for a single pod.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Lets requests in and, for a download, the model; `None` unless the chart asks for it.
    pub network_policy: Option<NetworkPolicy>,
    /// Keeps what was downloaded; `None` if the specification names another claim, or none.
    pub cache_claim: Option<PersistentVolumeClaim>,
}

/// Builds the children of a service.
pub fn build(valid: &Validated<'_>, observed: &Observed, settings: &Settings) -> Children {
    let pin = pin::pin(valid, observed.deployment.as_ref());
    Children {
        deployment: deployment(valid, &pin),
        service: service(valid),
        service_account: service_account(valid, &settings.image_pull_secrets),
        disruption_budget: disruption_budget(valid),
        network_policy: settings
            .network_policy
            .as_ref()
            .map(|settings| network_policy(valid, settings)),
        cache_claim: cache_claim(valid),
    }
}

fn deployment(valid: &Validated<'_>, pin: &Pin) -> Deployment {
    let spec = &valid.service.spec;
    let (surge, unavailable) = spec.surge_and_unavailable();
    let mut metadata = metadata(valid);
    metadata.annotations = Some(BTreeMap::from([
        (IMAGE_ANNOTATION.to_owned(), pin.image.clone()),
        (IMAGE_INPUTS_ANNOTATION.to_owned(), pin.inputs.clone()),
    ]));
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(spec.replicas.get()),
            revision_history_limit: Some(REVISIONS_KEPT),
            progress_deadline_seconds: Some(startup_seconds(spec) + PROGRESS_MARGIN_SECONDS),
            selector: selector(valid.name),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(surge)),
                    max_unavailable: Some(IntOrString::Int(unavailable)),
                }),
            }),
            template: pod_template(valid, &pin.image),
            ..Default::default()
        }),
        status: None,
    }
}

fn service(valid: &Validated<'_>) -> Service {
    Service {
        metadata: metadata(valid),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector_labels(valid.name)),
            ports: Some(vec![ServicePort {
                name: Some(ENGINE_PORT_NAME.to_owned()),
                port: i32::from(SERVICE_PORT),
                target_port: Some(IntOrString::String(ENGINE_PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        status: None,
    }
}

/// The Secrets to pull the image with are here and not in the pods, so that a change of the chart's values restarts nothing.
fn service_account(valid: &Validated<'_>, pull_secrets: &[String]) -> Option<ServiceAccount> {
    let pod = valid.service.spec.pod.as_ref();
    let secret = |name: &String| LocalObjectReference { name: name.clone() };
    let pull_secrets = pull_secrets.iter().map(secret).collect();
    pod.is_none_or(|pod| pod.service_account_name.is_none())
        .then(|| ServiceAccount {
            metadata: metadata(valid),
            automount_service_account_token: Some(false),
            image_pull_secrets: Some(pull_secrets).filter(|secrets: &Vec<_>| !secrets.is_empty()),
            ..Default::default()
        })
}

/// Requests come in by the engine's port and nothing else does. Nothing goes out, but for a download: its servers have any
/// address and port, and are found by name.
fn network_policy(valid: &Validated<'_>, settings: &NetworkPolicySettings) -> NetworkPolicy {
    let port = |protocol: &str, port: IntOrString| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(port),
        end_port: None,
    };
    let downloads = matches!(valid.source, Source::Download(_));
    let dns = port("UDP", IntOrString::Int(DNS_PORT));
    let any_tcp = NetworkPolicyPort {
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    NetworkPolicy {
        metadata: metadata(valid),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(valid.name)),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(settings.from.clone()).filter(|from| !from.is_empty()),
                ports: Some(vec![port(
                    "TCP",
                    IntOrString::String(ENGINE_PORT_NAME.to_owned()),
                )]),
            }]),
            egress: downloads.then(|| {
                vec![NetworkPolicyEgressRule {
                    ports: Some(vec![dns, any_tcp]),
                    to: None,
                }]
            }),
        }),
    }
}

fn disruption_budget(valid: &Validated<'_>) -> Option<PodDisruptionBudget> {
    (valid.service.spec.replicas.get() > 1).then(|| PodDisruptionBudget {
        metadata: metadata(valid),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(selector(valid.name)),
            // A pod that is not ready serves nobody, so it may not hold up a drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..Default::default()
        }),
        status: None,
    })
}

fn cache_claim(valid: &Validated<'_>) -> Option<PersistentVolumeClaim> {
    let cache = valid.service.spec.cache.as_ref()?;
    let size = cache.size.clone()?;
    let modes = cache
        .access_modes
        .as_deref()
        .unwrap_or(&[AccessMode::ReadWriteOnce]);
    Some(PersistentVolumeClaim {
        metadata: metadata(valid),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(modes.iter().map(|mode| mode.as_str().to_owned()).collect()),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size))].into()),
                limits: None,
            }),
            storage_class_name: cache.storage_class_name.clone(),
            ..Default::default()
        }),
        status: None,
    })
}

fn selector(name: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some(selector_labels(name)),
        match_expressions: None,
    }
}

fn metadata(valid: &Validated<'_>) -> ObjectMeta {
    type Owner = candela_crds::InferenceService;
    // On objects but not on pods, which a new version must not restart.
    let version = (
        VERSION_LABEL.to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    );
    let labels = child_labels(valid.name).into_iter().chain([version]);
    ObjectMeta {
        name: Some(valid.name.to_owned()),
        namespace: Some(valid.namespace.to_owned()),
        labels: Some(labels.collect()),
        owner_references: Some(vec![OwnerReference {
            api_version: Owner::api_version(&()).into_owned(),
            kind: Owner::kind(&()).into_owned(),
            name: valid.name.to_owned(),
            uid: valid.uid.to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..Default::default()
    }
}
