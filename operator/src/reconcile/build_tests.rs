//! Children are what the specification says, byte for byte the same every time, and confined.

use candela_crds::InferenceService;
use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn settings() -> Settings {
    Settings {
        images: Images {
            cpu: "engine:cpu".into(),
            gpu: Some("engine:gpu".into()),
        },
        image_pull_secrets: Vec::new(),
        network_policy: None,
    }
}

fn service(spec: &Value) -> InferenceService {
    let document = json!({
        "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
        "metadata": {"name": "demo", "namespace": "team-a", "uid": "u-1"}, "spec": spec,
    });
    let checked = candela_crds::check(document);
    assert!(!checked.is_refused(), "{:?}", checked.findings);
    checked.service.unwrap()
}

fn children(spec: &Value) -> Children {
    children_with(spec, &Observed::default(), &settings())
}

fn children_with(spec: &Value, observed: &Observed, settings: &Settings) -> Children {
    let service = service(spec);
    build(
        &validate(&service, observed, settings).unwrap(),
        observed,
        settings,
    )
}

fn pod(children: &Children) -> PodSpec {
    children
        .deployment
        .spec
        .clone()
        .unwrap()
        .template
        .spec
        .unwrap()
}

#[test]
fn every_field_of_the_specification_shows_in_the_pod() {
    let case = candela_crds::cases()
        .into_iter()
        .find(|case| case.name == "every field that this version carries out")
        .unwrap();
    let children = children(&case.spec);
    let pod = pod(&children);
    let engine = &pod.containers[0];
    assert_eq!(
        engine.args.as_deref().unwrap(),
        [
            "--model=/models/qwen3-8b",
            "--served-model-name=qwen3-8b",
            "--max-model-len=32768",
            "--api-key-file=/etc/candela/api-keys/keys",
            "--shutdown-timeout=10",
            "--enable-request-stats-headers",
            "--enable-per-request-metrics=always",
            "--seed=1",
            "--dtype",
            "float32"
        ]
    );
    assert_eq!(engine.image.as_deref(), Some("engine:1"));
    assert_eq!(engine.env.as_ref().unwrap().len(), 2);
    assert_eq!(
        engine.startup_probe.as_ref().unwrap().failure_threshold,
        Some(60)
    );
    let sleep = engine
        .lifecycle
        .clone()
        .unwrap()
        .pre_stop
        .unwrap()
        .sleep
        .unwrap();
    assert_eq!(
        (sleep.seconds, pod.termination_grace_period_seconds),
        (5, Some(20))
    );
    let volumes: Vec<&str> = pod
        .volumes
        .iter()
        .flatten()
        .map(|v| v.name.as_str())
        .collect();
    assert_eq!(volumes, ["tmp", "models", "api-keys"]);
    assert!(
        engine
            .volume_mounts
            .iter()
            .flatten()
            .all(|m| m.name == "tmp" || m.read_only == Some(true))
    );
    assert_eq!(pod.service_account_name.as_deref(), Some("mine"));
    assert!(children.service_account.is_none() && children.disruption_budget.is_some());
    assert_eq!(pod.priority_class_name.as_deref(), Some("high"));
    assert_eq!(pod.runtime_class_name.as_deref(), Some("nvidia"));
    assert!(pod.affinity.is_some() && pod.node_selector.is_some() && pod.tolerations.is_some());
    assert!(pod.topology_spread_constraints.is_some() && pod.image_pull_secrets.is_some());
    let template = children
        .deployment
        .spec
        .clone()
        .unwrap()
        .template
        .metadata
        .unwrap();
    assert_eq!(template.labels.unwrap()["team"], "a");
    assert_eq!(template.annotations.unwrap()["note"], "b");
}

#[test]
fn a_gpu_chooses_the_image_and_a_rollout_without_a_spare() {
    let rollout = |children: &Children| {
        let strategy = children.deployment.spec.clone().unwrap().strategy.unwrap();
        let rolling = serde_json::to_value(strategy.rolling_update.unwrap()).unwrap();
        (
            rolling["maxSurge"].as_i64().unwrap(),
            rolling["maxUnavailable"].as_i64().unwrap(),
        )
    };
    let model = json!({"uri": "builtin://demo"});
    let cpu = children(&json!({"model": model}));
    let gpu = children(&json!({"model": model, "resources": {"limits": {"nvidia.com/gpu": 1}}}));
    let none = children(&json!({"model": model, "resources": {"limits": {"nvidia.com/gpu": 0}}}));
    let claim = children(
        &json!({"model": model, "resources": {"claims": [{"name": "gpu"}]},
        "pod": {"resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]}}),
    );
    let half = children(&json!({"model": model, "rollout": {"maxSurge": 0}}));
    for (children, image, pods) in [
        (&cpu, "engine:cpu", (1, 0)),
        (&gpu, "engine:gpu", (0, 1)),
        (&claim, "engine:gpu", (0, 1)),
        (&none, "engine:cpu", (1, 0)),
        (&half, "engine:cpu", (0, 1)),
    ] {
        assert_eq!(pod(children).containers[0].image.as_deref(), Some(image));
        assert_eq!(rollout(children), pods);
    }
}

#[test]
fn pods_keep_to_the_restricted_standard() {
    let pod = pod(&children(&json!({"model": {"uri": "builtin://demo"}})));
    let whole = pod.security_context.unwrap();
    assert_eq!(whole.run_as_non_root, Some(true));
    assert_eq!(whole.seccomp_profile.unwrap().type_, "RuntimeDefault");
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
    for container in &pod.containers {
        let own = container.security_context.clone().unwrap();
        assert_eq!(own.allow_privilege_escalation, Some(false));
        assert_eq!(own.read_only_root_filesystem, Some(true));
        assert_eq!(own.capabilities.unwrap().drop.unwrap(), ["ALL"]);
        assert!(
            container
                .ports
                .iter()
                .flatten()
                .all(|port| port.host_port.is_none())
        );
    }
    let kinds: Vec<_> = pod
        .volumes
        .iter()
        .flatten()
        .map(|v| v.host_path.is_none())
        .collect();
    assert!(kinds.iter().all(|allowed| *allowed));
}

#[test]
fn a_new_operator_leaves_the_image_alone_until_the_pod_changes() {
    let spec = |replicas: u32, headers: bool| {
        json!({"model": {"uri": "builtin://demo"}, "replicas": replicas,
               "stats": {"headers": headers}, "rollout": {"maxSurge": replicas}})
    };
    let image = |children: &Children| pod(children).containers[0].image.clone().unwrap();
    let old = children(&spec(1, false));
    let observed = Observed {
        deployment: Some(old.deployment.clone()),
        ..Default::default()
    };
    let newer = Settings {
        images: Images {
            cpu: "engine:newer".into(),
            gpu: None,
        },
        image_pull_secrets: Vec::new(),
        network_policy: None,
    };
    let scaled = children_with(&spec(3, false), &observed, &newer);
    assert_eq!(image(&scaled), "engine:cpu");
    let template = |children: &Children| children.deployment.spec.clone().unwrap().template;
    assert_eq!(template(&scaled), template(&old));
    let changed = children_with(&spec(1, true), &observed, &newer);
    assert_eq!(image(&changed), "engine:newer");
    assert_eq!(
        changed.deployment.annotations()[candela_crds::names::IMAGE_ANNOTATION],
        "engine:newer"
    );
}

#[test]
fn a_model_from_elsewhere_is_downloaded_before_the_engine_starts() {
    let children = children(&json!({
        "model": {"uri": "hf://Qwen/Qwen3-8B", "revision": "v1", "secretRef": {"name": "token"}},
        "engine": {"env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
                   "extraArgs": ["--seed=1", "--download_plain_http"]},
    }));
    let pod = pod(&children);
    let download = &pod.init_containers.as_ref().unwrap()[0];
    assert_eq!(
        download.args.as_deref().unwrap(),
        [
            "pull",
            "hf://Qwen/Qwen3-8B@v1",
            "--download-dir=/cache",
            "--link=/model/current",
            "--report=/dev/termination-log",
            "--listen=0.0.0.0:8000",
            "--download_plain_http"
        ]
    );
    let args = download.args.iter().flatten().map(Into::into);
    candela_flags::parse_pull_flags(args).unwrap();
    let secret = download.env_from.as_ref().unwrap()[0].secret_ref.clone();
    assert_eq!(secret.unwrap().name, "token");
    assert_eq!(download.env.as_ref().unwrap()[0].name, "HTTPS_PROXY");
    let engine = &pod.containers[0];
    assert_eq!(engine.args.as_ref().unwrap()[0], "--model=/model/current");
    // What downloads has the credentials and may write; what serves has neither.
    let writable = |container: &k8s_openapi::api::core::v1::Container, path: &str| {
        let mut mounts = container.volume_mounts.iter().flatten();
        let mount = mounts.find(|mount| mount.mount_path == path).unwrap();
        mount.read_only.is_none()
    };
    for path in ["/cache", "/model"] {
        assert!(
            writable(download, path) && !writable(engine, path),
            "{path}"
        );
    }
    assert!(engine.env_from.is_none());
    assert_eq!(download.security_context, engine.security_context);
    let volume = |name: &str| {
        let mut volumes = pod.volumes.iter().flatten();
        volumes.find(|volume| volume.name == name).unwrap().clone()
    };
    assert!(volume("cache").empty_dir.is_some() && volume("model").empty_dir.is_some());
    assert_eq!(children.cache_claim, None);
}

#[test]
fn a_cache_is_a_claim_of_the_services_own_or_of_someone_else() {
    let model = json!({"uri": "s3://models/qwen3"});
    let claim = |children: &Children| {
        let pod = pod(children);
        let cache = pod.volumes.unwrap();
        let cache = cache.into_iter().find(|volume| volume.name == "cache");
        cache.unwrap().persistent_volume_claim.unwrap().claim_name
    };
    let own = children(&json!({
        "model": model, "rollout": {"maxSurge": 0},
        "cache": {"size": "50Gi", "storageClassName": "fast"},
    }));
    assert_eq!(claim(&own), "demo");
    let spec = own.cache_claim.unwrap().spec.unwrap();
    assert_eq!(spec.access_modes.unwrap(), ["ReadWriteOnce"]);
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
    assert_eq!(
        spec.resources.unwrap().requests.unwrap()["storage"].0,
        "50Gi"
    );
    let other = children(&json!({"model": model, "cache": {"claimName": "shared"}}));
    assert_eq!(claim(&other), "shared");
    assert_eq!(other.cache_claim, None);
}

#[test]
fn a_registrys_credentials_are_mounted_as_docker_has_them() {
    let children = children(&json!({
        "model": {"uri": "oci://registry.example/models/qwen3:v1", "secretRef": {"name": "pull"}},
    }));
    let pod = pod(&children);
    let download = &pod.init_containers.unwrap()[0];
    let variable = &download.env.as_ref().unwrap()[0];
    assert_eq!(variable.name, "DOCKER_CONFIG");
    let folder = variable.value.as_deref().unwrap();
    let mut mounts = download.volume_mounts.iter().flatten();
    let mount = mounts.find(|mount| mount.mount_path == folder).unwrap();
    let mut volumes = pod.volumes.iter().flatten();
    let volume = volumes.find(|volume| volume.name == mount.name).unwrap();
    let items = volume.secret.as_ref().unwrap().items.as_ref().unwrap();
    assert_eq!(
        (&*items[0].key, &*items[0].path),
        (".dockerconfigjson", "config.json")
    );
    assert!(download.env_from.is_none());
}

#[test]
fn what_this_version_cannot_do_is_refused_in_words() {
    use candela_crds::AcceptedReason::{InvalidSpec, InvalidStats};
    let refusal = |service: &InferenceService, settings: &Settings| {
        validate(service, &Observed::default(), settings).unwrap_err()
    };
    let mut unknown = service(&json!({"model": {"uri": "builtin://demo"}}));
    unknown.spec.model.uri = "builtin://other".into();
    assert_eq!(refusal(&unknown, &settings()).reason, InvalidSpec);
    let no_gpu = Settings {
        images: Images {
            gpu: None,
            ..settings().images
        },
        image_pull_secrets: Vec::new(),
        network_policy: None,
    };
    let gpu = json!({"model": {"uri": "builtin://demo"},
                     "resources": {"limits": {"nvidia.com/gpu": 1}}});
    assert!(
        refusal(&service(&gpu), &no_gpu)
            .message
            .contains("engine.images.gpu")
    );
    // A stored object can be older than the rule.
    let mut stored = service(&json!({"model": {"uri": "builtin://demo"}}));
    stored.spec.stats.logging = false;
    stored.spec.stats.headers = true;
    assert_eq!(refusal(&stored, &settings()).reason, InvalidStats);
}

proptest! {
    #[test]
    fn the_same_specification_gives_the_same_bytes(
        replicas in 0u32..5, surge in proptest::option::of(1u32..3), headers: bool, gpu: bool,
        sequences in proptest::option::of(1u32..4096), drain in proptest::option::of(0u32..600),
        labels in proptest::collection::btree_map("[a-z]{1,5}", "[a-z]{0,5}", 0..4),
    ) {
        let spec = json!({
            "model": {"uri": "builtin://demo"}, "replicas": replicas, "stats": {"headers": headers},
            "resources": if gpu { json!({"limits": {"nvidia.com/gpu": 1}}) } else { json!(null) },
            "engine": {"maxSequences": sequences},
            "rollout": {"maxSurge": surge, "drainTimeoutSeconds": drain},
            "pod": {"labels": labels},
        });
        let bytes = |children: &Children| {
            let Children {
                deployment, service, service_account, disruption_budget, network_policy, cache_claim,
            } = children;
            json!([deployment, service, service_account, disruption_budget, network_policy, cache_claim]).to_string()
        };
        let first = children(&spec);
        prop_assert_eq!(bytes(&first), bytes(&children(&spec)));
        let observed = Observed {
            deployment: Some(first.deployment.clone()),
            service: Some(first.service.clone()),
            ..Default::default()
        };
        prop_assert_eq!(bytes(&first), bytes(&children_with(&spec, &observed, &settings())));
        // The engine's own parser takes what is rendered.
        let args = pod(&first).containers[0].args.clone().unwrap();
        let line = std::iter::once("candela-engine".to_owned()).chain(args);
        let flags = candela_flags::parse_engine_flags(line.map(Into::into)).unwrap();
        prop_assert_eq!(flags.enable_request_stats_headers, headers);
    }
}
