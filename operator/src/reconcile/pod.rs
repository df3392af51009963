//! The pod template: the engine's container, its arguments, probes, volumes and confinement. Pure.

use std::collections::BTreeMap;

use candela_crds::{
    Auth, InferenceServiceSpec, PodSettings, SecretKeyRef,
    names::{
        API_KEYS_FOLDER, ENGINE_CONTAINER, ENGINE_PORT, ENGINE_PORT_NAME, NON_ROOT_ID, child_labels,
    },
};
use candela_flags::{DrainSeconds, EngineFlags};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, HTTPGetAction, Lifecycle, LifecycleHandler,
        PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SeccompProfile, SecurityContext,
        SleepAction, Volume, VolumeMount,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{
    Validated,
    source::{empty, secret_file},
};

const STARTUP_SECONDS: i32 = 1800;
const DRAIN: DrainSeconds = DrainSeconds::of::<60>();
/// Seconds that a stopping pod still serves new requests while endpoints and clients take notice.
const GRACE_SECONDS_MAX: u64 = 5;
/// Seconds between the end of the engine's shutdown and the kubelet's kill.
const KILL_MARGIN_SECONDS: u64 = 5;

/// The template of a service's pods, running `image`.
pub(super) fn pod_template(valid: &Validated<'_>, image: &str) -> PodTemplateSpec {
    let settings = valid.service.spec.pod.clone().unwrap_or_default();
    let PodSettings {
        labels,
        annotations,
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
        runtime_class_name,
        service_account_name,
        image_pull_secrets,
        resource_claims,
    } = settings;
    let mut all_labels: BTreeMap<String, String> = labels.unwrap_or_default();
    all_labels.extend(child_labels(valid.name));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations,
            ..Default::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(service_account_name.unwrap_or(valid.name.to_owned())),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(Drain::of(valid).kill_after_seconds()),
            security_context: Some(pod_security()),
            init_containers: valid.source.init_containers(&valid.service.spec, image),
            containers: vec![engine(valid, image)],
            volumes: Some(volumes(valid)),
            node_selector,
            tolerations,
            affinity,
            topology_spread_constraints,
            priority_class_name,
            runtime_class_name,
            image_pull_secrets,
            resource_claims,
            ..Default::default()
        }),
    }
}

/// Seconds that a pod has to become ready.
pub(super) fn startup_seconds(spec: &InferenceServiceSpec) -> i32 {
    let asked = spec
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.startup_timeout_seconds);
    asked.map_or(STARTUP_SECONDS, |seconds| seconds.get())
}

/// The engine's flags that the specification's fields stand for.
pub(super) fn engine_flags(valid: &Validated<'_>) -> EngineFlags {
    let spec = &valid.service.spec;
    let mut flags = EngineFlags::for_model(valid.source.engine_model(spec));
    flags.served_model_name = vec![served_name(valid).to_owned()];
    if let Some(engine) = &spec.engine {
        flags.max_model_len = engine.context_length;
        flags.max_num_seqs = engine.max_sequences.unwrap_or(flags.max_num_seqs);
    }
    flags.api_key_file = api_keys(spec).map(|_| format!("{API_KEYS_FOLDER}/keys").into());
    flags.disable_log_stats = !spec.stats.logging;
    flags.enable_request_stats_headers = spec.stats.headers;
    flags.enable_per_request_metrics = spec.stats.per_request_metrics.flag();
    let drain = Drain::of(valid);
    flags.shutdown_timeout = drain.timeout;
    flags.drain_grace = drain.grace;
    flags
}

/// The name that clients ask for.
pub(super) fn served_name<'a>(valid: &Validated<'a>) -> &'a str {
    valid
        .service
        .spec
        .model
        .name
        .as_deref()
        .unwrap_or(valid.name)
}

fn engine(valid: &Validated<'_>, image: &str) -> Container {
    let spec = &valid.service.spec;
    let settings = spec.engine.clone().unwrap_or_default();
    let mut args = engine_flags(valid).to_args();
    args.extend(settings.extra_args.into_iter().flatten());
    Container {
        name: ENGINE_CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        args: Some(args),
        env: settings.env,
        resources: spec.resources.clone(),
        ports: Some(vec![ContainerPort {
            name: Some(ENGINE_PORT_NAME.to_owned()),
            container_port: i32::from(ENGINE_PORT),
            protocol: Some("TCP".to_owned()),
            ..Default::default()
        }]),
        startup_probe: Some(probe("/ready", 1, startup_seconds(spec))),
        readiness_probe: Some(probe("/ready", 5, 2)),
        liveness_probe: Some(probe("/health", 10, 3)),
        lifecycle: Drain::of(valid).lifecycle(),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(container_security()),
        volume_mounts: Some(volume_mounts(valid)),
        ..Default::default()
    }
}

/// How a pod stops: it sleeps while it is still being called, then the engine drains.
struct Drain {
    timeout: DrainSeconds,
    grace: DrainSeconds,
}

impl Drain {
    fn of(valid: &Validated<'_>) -> Self {
        let rollout = valid.service.spec.rollout.as_ref();
        let timeout = rollout
            .and_then(|rollout| rollout.drain_timeout_seconds)
            .unwrap_or(DRAIN);
        let grace = DrainSeconds::new(timeout.get().min(GRACE_SECONDS_MAX)).unwrap_or(timeout);
        Self { timeout, grace }
    }

    fn lifecycle(&self) -> Option<Lifecycle> {
        let seconds = i64::try_from(self.grace.get())
            .ok()
            .filter(|seconds| *seconds > 0)?;
        Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds }),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    fn kill_after_seconds(&self) -> i64 {
        let seconds = self.grace.get() + self.timeout.get() + KILL_MARGIN_SECONDS;
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(ENGINE_PORT_NAME.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..Default::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Default::default()
    }
}

fn api_keys(spec: &InferenceServiceSpec) -> Option<&SecretKeyRef> {
    spec.auth
        .as_ref()
        .map(|Auth { api_key_secret_ref }| api_key_secret_ref)
}

fn volumes(valid: &Validated<'_>) -> Vec<Volume> {
    let mut volumes = vec![empty("tmp")];
    volumes.extend(valid.source.volumes(valid.name, &valid.service.spec));
    if let Some(SecretKeyRef { name, key }) = api_keys(&valid.service.spec) {
        volumes.push(secret_file("api-keys", name, key, "keys"));
    }
    volumes
}

fn volume_mounts(valid: &Validated<'_>) -> Vec<VolumeMount> {
    let mut mounts = vec![mount("tmp", "/tmp", false)];
    mounts.extend(valid.source.engine_mounts());
    if valid.service.spec.auth.is_some() {
        mounts.push(mount("api-keys", API_KEYS_FOLDER, true));
    }
    mounts
}

pub(super) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..Default::default()
    }
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NON_ROOT_ID),
        run_as_group: Some(NON_ROOT_ID),
        fs_group: Some(NON_ROOT_ID),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..Default::default()
    }
}

pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..Default::default()
    }
}
