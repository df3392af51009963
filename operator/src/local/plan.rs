//! From a pod to a process: the same arguments and environment, but for host, port and paths. Pure,
//! but for looking whether files exist.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use candela_crds::{
    InferenceService,
    names::{API_KEYS_FOLDER, ENGINE_CONTAINER, MODEL_LINK, MODELS_FOLDER},
};
use k8s_openapi::api::core::v1::Container;

use crate::reconcile::{Children, Images, Observed, Refusal, Settings, Source, build, validate};

/// What stands in for the cluster on this machine.
#[derive(Debug, Clone)]
pub struct Stand {
    /// Port to listen on.
    pub port: u16,
    /// Folder that stands in for the volume claim of a `pvc://` source.
    pub models: Option<PathBuf>,
    /// File that stands in for the Secret with API keys.
    pub api_keys: Option<PathBuf>,
}

/// The pod's container as a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Arguments after the program.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What differs from the pod, one sentence each.
    pub changed: Vec<String>,
    /// The name that requests ask for.
    pub model: String,
    /// Kinds of the children that the operator would make.
    pub children: Vec<&'static str>,
}

/// Why a pod cannot become a process here.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The operator would not accept the specification.
    #[error("the operator would not accept this ({}): {}", .0.reason, .0.message)]
    Refused(Refusal),
    /// The model is on a volume of the cluster.
    #[error(
        "the model is on a volume of the cluster: give --models FOLDER with the folder that stands \
         in for the volume"
    )]
    NoModels,
    /// The API keys are in a Secret of the cluster.
    #[error(
        "spec.auth takes API keys from a Secret of the cluster: give --api-keys FILE with one key a \
         line"
    )]
    NoApiKeys,
}

/// Builds the children that the operator would make of `service`, and the command of its container.
///
/// # Errors
/// [`PlanError`].
pub fn plan(service: &InferenceService, stand: &Stand) -> Result<Plan, PlanError> {
    let mut service = service.clone();
    service
        .metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    let observed = Observed::default();
    // The image is not run, but the children name one.
    let image = "candela-engine".to_owned();
    let settings = Settings {
        images: Images {
            cpu: image.clone(),
            gpu: Some(image),
        },
        image_pull_secrets: Vec::new(),
        network_policy: None,
    };
    let valid = validate(&service, &observed, &settings).map_err(PlanError::Refused)?;
    let children = build(&valid, &observed, &settings);
    let container = container(&children);
    let mut changed = Vec::new();
    let download = match &valid.source {
        Source::Download(download) => Some(download.uri.as_str()),
        _ => None,
    };
    let args = args(container, stand, download, &mut changed)?;
    let env = env(container, &mut changed);
    let model = service
        .spec
        .model
        .name
        .as_deref()
        .unwrap_or(valid.name)
        .to_owned();
    Ok(Plan {
        args,
        env,
        changed,
        model,
        children: kinds(&children),
    })
}

/// The command as one would type it, at most `width` characters a line.
pub fn shell(program: &Path, plan: &Plan, indent: &str, width: usize) -> String {
    let words = plan
        .env
        .iter()
        .map(|(name, value)| format!("{name}={}", quote(value)));
    let words = words.chain([quote(&program.display().to_string())]);
    let words = words.chain(plan.args.iter().map(|arg| quote(arg)));
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        if column > 0 && column + 1 + word.len() > width {
            let _ = write!(text, " \\\n{indent}");
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        column += word.len();
        text.push_str(&word);
    }
    text
}

/// `word` as a POSIX shell takes it literally.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn container(children: &Children) -> &Container {
    let template = children.deployment.spec.as_ref().map(|spec| &spec.template);
    let pod = template.and_then(|template| template.spec.as_ref());
    pod.and_then(|pod| pod.containers.iter().find(|c| c.name == ENGINE_CONTAINER))
        .expect("build makes a Deployment with an engine container")
}

fn args(
    container: &Container,
    stand: &Stand,
    download: Option<&str>,
    changed: &mut Vec<String>,
) -> Result<Vec<String>, PlanError> {
    let mut args = Vec::new();
    for arg in container.args.iter().flatten() {
        let moved = if let Some(path) = in_folder(arg, "--model=", MODELS_FOLDER) {
            let folder = stand.models.as_ref().ok_or(PlanError::NoModels)?.join(path);
            Some(format!("--model={}", folder.display()))
        } else if in_folder(arg, "--api-key-file=", API_KEYS_FOLDER).is_some() {
            let file = stand.api_keys.as_ref().ok_or(PlanError::NoApiKeys)?;
            Some(format!("--api-key-file={}", file.display()))
        } else if in_folder(arg, "--model=", MODEL_LINK).is_some() {
            // The engine downloads by itself, into the user's cache, with the user's credentials.
            download.map(|uri| format!("--model={uri}"))
        } else {
            None
        };
        if let Some(moved) = &moved {
            changed.push(format!("{moved} (in the pod {arg})"));
        }
        args.push(moved.unwrap_or_else(|| arg.clone()));
    }
    args.push("--host=127.0.0.1".to_owned());
    args.push(format!("--port={}", stand.port));
    changed.push(format!(
        "--host=127.0.0.1 --port={} (in the pod every address, port 8000)",
        stand.port
    ));
    Ok(args)
}

/// The rest of the path that `arg` gives to `flag`, if it is in `folder`.
fn in_folder<'a>(arg: &'a str, flag: &str, folder: &str) -> Option<&'a str> {
    let rest = arg.strip_prefix(flag)?.strip_prefix(folder)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

fn env(container: &Container, changed: &mut Vec<String>) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for variable in container.env.iter().flatten() {
        if variable.value_from.is_some() {
            changed.push(format!(
                "{} is not set: the cluster has its value",
                variable.name
            ));
            continue;
        }
        env.push((
            variable.name.clone(),
            variable.value.clone().unwrap_or_default(),
        ));
    }
    env
}

fn kinds(children: &Children) -> Vec<&'static str> {
    let Children {
        deployment: _,
        service: _,
        service_account,
        disruption_budget,
        network_policy: _,
        cache_claim,
    } = children;
    let mut kinds = vec!["Deployment", "Service"];
    kinds.extend(service_account.is_some().then_some("ServiceAccount"));
    kinds.extend(disruption_budget.is_some().then_some("PodDisruptionBudget"));
    kinds.extend(cache_claim.is_some().then_some("PersistentVolumeClaim"));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn service(spec: &Value) -> InferenceService {
        let document = json!({
            "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
            "metadata": {"name": "demo"}, "spec": spec,
        });
        candela_crds::check(document).service.unwrap()
    }

    fn stand() -> Stand {
        Stand {
            port: 9000,
            models: None,
            api_keys: None,
        }
    }

    #[test]
    fn a_process_has_the_pods_own_arguments_and_an_address_of_its_own() {
        let spec = json!({
            "model": {"uri": "builtin://demo"},
            "stats": {"headers": true, "perRequestMetrics": "OnRequest"},
            "engine": {"extraArgs": ["--seed=1"], "env": [{"name": "RUST_LOG", "value": "a b"}]},
        });
        let plan = plan(&service(&spec), &stand()).unwrap();
        assert_eq!(
            plan.args,
            [
                "--model=builtin://demo",
                "--served-model-name=demo",
                "--enable-request-stats-headers",
                "--enable-per-request-metrics=on-request",
                "--seed=1",
                "--host=127.0.0.1",
                "--port=9000"
            ]
        );
        assert_eq!(plan.env, [("RUST_LOG".to_owned(), "a b".to_owned())]);
        assert_eq!(plan.children, ["Deployment", "Service", "ServiceAccount"]);
        let shell = shell(Path::new("/bin/candela-engine"), &plan, "    ", 60);
        assert!(shell.starts_with("RUST_LOG='a b' /bin/candela-engine --model=builtin://demo"));
        assert!(shell.lines().all(|line| line.len() <= 66), "{shell}");
    }

    #[test]
    fn a_volume_and_a_secret_need_something_that_stands_in() {
        let spec = json!({
            "model": {"uri": "pvc://models/qwen3"},
            "auth": {"apiKeySecretRef": {"name": "keys", "key": "tokens"}},
        });
        let service = service(&spec);
        assert!(matches!(plan(&service, &stand()), Err(PlanError::NoModels)));
        let mut stand = Stand {
            models: Some("/data".into()),
            ..stand()
        };
        assert!(matches!(plan(&service, &stand), Err(PlanError::NoApiKeys)));
        stand.api_keys = Some("/keys".into());
        let args = plan(&service, &stand).unwrap().args;
        assert!(args.contains(&"--model=/data/qwen3".to_owned()), "{args:?}");
        assert!(
            args.contains(&"--api-key-file=/keys".to_owned()),
            "{args:?}"
        );
    }

    #[test]
    fn a_model_from_elsewhere_is_downloaded_by_the_engine_itself() {
        let spec = json!({"model": {"uri": "hf://org/repo", "revision": "v1"}});
        let plan = plan(&service(&spec), &stand()).unwrap();
        assert_eq!(plan.args[0], "--model=hf://org/repo@v1");
        let changed = "--model=hf://org/repo@v1 (in the pod --model=/model/current)";
        assert_eq!(plan.changed[0], changed);
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, quoted) in [
            ("--a=b", "--a=b"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
            ("$x", "'$x'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }
}
