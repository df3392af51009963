//! Names that outlive a release: labels, annotations, ports, mount paths, names of children.
//! Changing one of them restarts pods or orphans objects.

use std::collections::BTreeMap;

/// Who applies children, in every server-side apply.
pub const FIELD_MANAGER: &str = "candela-operator";
/// Value of `app.kubernetes.io/name` on engine pods; half of the selector.
pub const ENGINE_APP: &str = "candela-engine";
/// Name of the engine's container and of its program.
pub const ENGINE_CONTAINER: &str = "engine";
/// The engine's program, on PATH of its image.
pub const ENGINE_PROGRAM: &str = "candela-engine";
/// Port that the engine listens on.
pub const ENGINE_PORT: u16 = 8000;
/// Name of that port in pod and Service.
pub const ENGINE_PORT_NAME: &str = "http";
/// Port of the Service.
pub const SERVICE_PORT: u16 = 80;
/// Annotation of the Deployment: the image that the operator chose.
pub const IMAGE_ANNOTATION: &str = "inference.candela.dev/image";
/// Annotation of the Deployment: digest of the fields that the choice was made for.
pub const IMAGE_INPUTS_ANNOTATION: &str = "inference.candela.dev/image-inputs";
/// Annotation of every child: digest of what the operator applied to it last.
pub const APPLIED_ANNOTATION: &str = "inference.candela.dev/applied";
/// Folder of the engine's container where a `pvc://` source is mounted.
pub const MODELS_FOLDER: &str = "/models";
/// Name of the init container that downloads a model.
pub const DOWNLOAD_CONTAINER: &str = "download";
/// Folder of both containers where downloads are kept.
pub const CACHE_FOLDER: &str = "/cache";
/// Folder of both containers with the name of the pod's own model in the cache.
pub const MODEL_FOLDER: &str = "/model";
/// That name: a link, which the download makes.
pub const MODEL_LINK: &str = "/model/current";
/// Folder of the download's container where a Secret for a registry is mounted.
pub const DOWNLOAD_SECRET_FOLDER: &str = "/etc/candela/download";
/// Folder of the engine's container where API keys are mounted.
pub const API_KEYS_FOLDER: &str = "/etc/candela/api-keys";
/// User and group of every container.
pub const NON_ROOT_ID: i64 = 65_532;
/// Longest name of an InferenceService.
pub const NAME_LENGTH_MAX: usize = 52;

/// Label of children, but not of pods: the version of the operator that wrote them last.
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";

const NAME: &str = "app.kubernetes.io/name";
const INSTANCE: &str = "app.kubernetes.io/instance";

/// Labels that select the engine pods of `service`: name and instance, for ever.
pub fn selector_labels(service: &str) -> BTreeMap<String, String> {
    [(NAME, ENGINE_APP), (INSTANCE, service)]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into()
}

/// [`selector_labels`] in the form of a query.
pub fn selector_text(service: &str) -> String {
    format!("{NAME}={ENGINE_APP},{INSTANCE}={service}")
}

/// Labels of every child of `service`. They bear no version, so that upgrading the operator changes
/// no pod template.
pub fn child_labels(service: &str) -> BTreeMap<String, String> {
    let mut labels = selector_labels(service);
    labels.extend(
        [
            ("app.kubernetes.io/component", "inference"),
            ("app.kubernetes.io/part-of", "candela"),
            ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    labels
}

/// Whether `name` can be a Service's name (DNS-1035) of at most [`NAME_LENGTH_MAX`] characters.
pub fn is_service_name(name: &str) -> bool {
    name.len() <= NAME_LENGTH_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
