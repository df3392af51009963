//! Volumes made by hand, for want of a provisioner: folders of the node, with a bound on their size where one is wanted.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cluster::Cluster;
use crate::repository;

/// Who the pods run as; a folder of the node keeps its owner, whatever the pod's group.
const OWNER: &str = "65532:65532";
/// What an engine needs of a model's folder.
const MODEL_FILES: [&str; 6] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// Makes a folder for a volume; with `size`, one that holds no more than that, in the words of `mount`.
pub(crate) fn folder(
    cluster: &Cluster<'_>,
    name: &str,
    size: Option<&str>,
) -> anyhow::Result<PathBuf> {
    let path = cluster.bed.folder().join("state/volumes").join(name);
    let text = path.display().to_string();
    cluster.run("mkdir", &["--parents", &text])?;
    if let Some(size) = size {
        let options = format!("size={size}");
        cluster.run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", &text])?;
    }
    cluster.run("chown", &[OWNER, &text])?;
    Ok(path)
}

/// The demo model's files.
pub(crate) fn model_files() -> [PathBuf; MODEL_FILES.len()] {
    let model = repository().join("inference/models/demo");
    MODEL_FILES.map(|file| model.join(file))
}

/// Copies the demo model's files into a folder.
pub(crate) fn put_model(cluster: &Cluster<'_>, folder: &Path) -> anyhow::Result<()> {
    let files = model_files().map(|file| file.display().to_string());
    let to = folder.display().to_string();
    let mut words: Vec<_> = files.iter().map(String::as_str).collect();
    words.push(&to);
    cluster.run("cp", &words)?;
    Ok(())
}

/// A volume that only this claim of the namespace `default` gets.
pub(crate) fn volume(cluster: &Cluster<'_>, claim: &str, folder: &Path) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "claimRef": {"namespace": "default", "name": claim},
            "hostPath": {"path": folder},
        },
    }))
}

/// A claim of someone's own, as `pvc://` and `spec.cache.claimName` name one.
pub(crate) fn claim(cluster: &Cluster<'_>, name: &str) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }))
}
