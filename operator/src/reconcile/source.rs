//! Where a service's model comes from, and what its pods need for it: the init container that downloads it, and the volumes. Pure.

use candela_crds::{
    Cache, InferenceServiceSpec, ModelSource, SecretRef,
    names::{
        CACHE_FOLDER, DOWNLOAD_CONTAINER, DOWNLOAD_SECRET_FOLDER, ENGINE_PORT, MODEL_FOLDER,
        MODEL_LINK, MODELS_FOLDER,
    },
};
use candela_flags::normalize_flag;
use k8s_openapi::{
    api::core::v1::{
        Container, EmptyDirVolumeSource, EnvFromSource, EnvVar, KeyToPath,
        PersistentVolumeClaimVolumeSource, ResourceRequirements, SecretEnvSource,
        SecretVolumeSource, Volume, VolumeMount,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::pod::{container_security, mount};

/// A source that this version serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Compiled into the engine.
    BuiltinDemo,
    /// A folder of a volume claim.
    Claim {
        /// Name of the claim.
        claim: String,
        /// Folder in it; empty for its root.
        path: String,
    },
    /// Downloaded before the engine starts.
    Download(Download),
}

/// A model that is downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// As `candela-engine pull` takes it.
    pub uri: String,
    /// How the credentials reach the download.
    pub credentials: Credentials,
}

/// How the credentials of a download reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Every key of the Secret is an environment variable: HF_TOKEN, AWS_ACCESS_KEY_ID and so on.
    Environment,
    /// The Secret is one for pulling images.
    DockerConfig,
}

/// The flag of `spec.engine.extraArgs` that is the download's as well.
const PLAIN_HTTP: &str = "--download-plain-http";
/// Key of a Secret for pulling images.
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";
/// Mode of mounted Secrets: readable by the pod's group alone.
const SECRET_MODE: i32 = 0o440;

impl Source {
    /// The source of `spec`; `None` when its URI has no form that we know.
    pub(super) fn of(spec: &InferenceServiceSpec) -> Option<Self> {
        let model = &spec.model;
        let download = |credentials| {
            let uri = model.uri_with_revision();
            Self::Download(Download { uri, credentials })
        };
        Some(match ModelSource::parse(&model.uri)? {
            ModelSource::BuiltinDemo => Self::BuiltinDemo,
            ModelSource::Claim { claim, path } => Self::Claim { claim, path },
            ModelSource::HuggingFace { .. } | ModelSource::S3 { .. } => {
                download(Credentials::Environment)
            }
            ModelSource::Oci { .. } => download(Credentials::DockerConfig),
        })
    }

    /// What the engine's `--model` says.
    pub(super) fn engine_model(&self, spec: &InferenceServiceSpec) -> String {
        match self {
            Self::BuiltinDemo => spec.model.uri.clone(),
            Self::Claim { path, .. } => format!("{MODELS_FOLDER}/{path}")
                .trim_end_matches('/')
                .to_owned(),
            Self::Download(_) => MODEL_LINK.to_owned(),
        }
    }

    /// The volumes that hold the model.
    pub(super) fn volumes(&self, service: &str, spec: &InferenceServiceSpec) -> Vec<Volume> {
        match self {
            Self::BuiltinDemo => Vec::new(),
            Self::Claim { claim, .. } => vec![claim_volume("models", claim, true)],
            Self::Download(Download { credentials, .. }) => {
                let mut volumes = vec![cache_volume(service, spec.cache.as_ref()), empty("model")];
                if let (Credentials::DockerConfig, Some(SecretRef { name })) =
                    (credentials, &spec.model.secret_ref)
                {
                    volumes.push(secret_file(
                        "download-secret",
                        name,
                        DOCKER_CONFIG_KEY,
                        "config.json",
                    ));
                }
                volumes
            }
        }
    }

    /// Where the engine finds them; it only reads.
    pub(super) fn engine_mounts(&self) -> Vec<VolumeMount> {
        match self {
            Self::BuiltinDemo => Vec::new(),
            Self::Claim { .. } => vec![mount("models", MODELS_FOLDER, true)],
            Self::Download(_) => vec![
                mount("cache", CACHE_FOLDER, true),
                mount("model", MODEL_FOLDER, true),
            ],
        }
    }

    /// The containers that run before the engine's.
    pub(super) fn init_containers(
        &self,
        spec: &InferenceServiceSpec,
        image: &str,
    ) -> Option<Vec<Container>> {
        match self {
            Self::Download(download) => Some(vec![download.container(spec, image)]),
            _ => None,
        }
    }
}

impl Download {
    /// `candela-engine pull`, which says how far it is and what came of it.
    fn container(&self, spec: &InferenceServiceSpec, image: &str) -> Container {
        let secret = spec.model.secret_ref.as_ref();
        // Proxies, endpoints and regions are given there.
        let engine = spec.engine.as_ref();
        let mut env = engine.and_then(|engine| engine.env.clone());
        let mut mounts = vec![
            mount("tmp", "/tmp", false),
            mount("cache", CACHE_FOLDER, false),
            mount("model", MODEL_FOLDER, false),
        ];
        let mut env_from = None;
        if let Some(SecretRef { name }) = secret {
            match self.credentials {
                Credentials::Environment => {
                    env_from = Some(vec![EnvFromSource {
                        secret_ref: Some(SecretEnvSource {
                            name: name.clone(),
                            optional: None,
                        }),
                        ..Default::default()
                    }]);
                }
                Credentials::DockerConfig => {
                    mounts.push(mount("download-secret", DOWNLOAD_SECRET_FOLDER, true));
                    env.get_or_insert_default().push(EnvVar {
                        name: "DOCKER_CONFIG".to_owned(),
                        value: Some(DOWNLOAD_SECRET_FOLDER.to_owned()),
                        value_from: None,
                    });
                }
            }
        }
        let args = [
            "pull",
            &self.uri,
            &format!("--download-dir={CACHE_FOLDER}"),
            &format!("--link={MODEL_LINK}"),
            "--report=/dev/termination-log",
            &format!("--listen=0.0.0.0:{ENGINE_PORT}"),
        ];
        let extra = engine.and_then(|engine| engine.extra_args.as_deref());
        let of_downloads = |arg: &&String| normalize_flag(arg) == PLAIN_HTTP;
        let extra = extra.into_iter().flatten().filter(of_downloads).cloned();
        let args = args.map(str::to_owned).into_iter().chain(extra);
        Container {
            name: DOWNLOAD_CONTAINER.to_owned(),
            image: Some(image.to_owned()),
            args: Some(args.collect()),
            env,
            env_from,
            resources: Some(resources()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            security_context: Some(container_security()),
            volume_mounts: Some(mounts),
            ..Default::default()
        }
    }
}

/// What a download needs, whatever the model: less than an engine, so that the pod needs no more for it.
fn resources() -> ResourceRequirements {
    let amounts = |amounts: &[(&str, &str)]| {
        let amount = |(name, amount): &(&str, &str)| ((*name).into(), Quantity((*amount).into()));
        Some(amounts.iter().map(amount).collect())
    };
    ResourceRequirements {
        requests: amounts(&[("cpu", "100m"), ("memory", "128Mi")]),
        limits: amounts(&[("memory", "1Gi")]),
        claims: None,
    }
}

/// The name of the volume claim that downloads are kept in; `None`: they go with the pod.
pub(super) fn cache_claim<'a>(service: &'a str, cache: Option<&'a Cache>) -> Option<&'a str> {
    cache.map(|cache| cache.claim_name.as_deref().unwrap_or(service))
}

fn cache_volume(service: &str, cache: Option<&Cache>) -> Volume {
    match cache_claim(service, cache) {
        Some(claim) => claim_volume("cache", claim, false),
        None => empty("cache"),
    }
}

fn claim_volume(name: &str, claim: &str, read_only: bool) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: read_only.then_some(true),
        }),
        ..Default::default()
    }
}

pub(super) fn empty(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Default::default()
    }
}

/// A volume with one key of a Secret, as this file.
pub(super) fn secret_file(name: &str, secret: &str, key: &str, file: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(SECRET_MODE),
            items: Some(vec![KeyToPath {
                key: key.to_owned(),
                path: file.to_owned(),
                mode: None,
            }]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
