//! Rules between fields, each once: its path, its CEL text for the API server, its message, and the
//! same rule as a Rust function. The schema carries the first three; `lint`, `local` and the
//! reconciler run the last. `cases` holds the cases that all of them are tested with.

use std::sync::LazyLock;

use candela_flags::{OWNED_FLAGS, owner_of};

use crate::{
    AcceptedReason, AccessMode, Cache, Engine, InferenceService, Rollout, is_service_name,
    source::{ModelSource, URI_FORM},
};

/// One rule.
pub struct Rule {
    /// Short name, for cases and tests.
    pub id: &'static str,
    /// The field that it is attached to; empty for the whole object.
    pub path: &'static str,
    /// The rule in CEL, `self` being the field; `None` for a rule that depends on what /scale may
    /// change, which becomes a condition instead.
    pub cel: Option<String>,
    /// What is wrong and what to change.
    pub message: String,
    /// The reason of `Accepted=False` when a stored object breaks it.
    pub reason: AcceptedReason,
    /// Whether `service` keeps the rule.
    pub holds: fn(&InferenceService) -> bool,
}

/// Every rule, in the order in which they are reported.
pub fn rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
        let mut rules = vec![name_rule(), stats_rule()];
        rules.extend(model_rules());
        rules.extend(engine_rules());
        rules.extend(cache_rules());
        rules.extend(pod_rules());
        rules
    });
    &RULES
}

/// The rules that `service` breaks.
pub fn broken(service: &InferenceService) -> impl Iterator<Item = &'static Rule> {
    rules().iter().filter(move |rule| !(rule.holds)(service))
}

fn rule(
    id: &'static str,
    path: &'static str,
    cel: impl Into<String>,
    message: impl Into<String>,
    holds: fn(&InferenceService) -> bool,
) -> Rule {
    let (cel, message) = (Some(cel.into()), message.into());
    Rule {
        id,
        path,
        cel,
        message,
        reason: AcceptedReason::InvalidSpec,
        holds,
    }
}

fn name_rule() -> Rule {
    rule(
        "name",
        "",
        "self.metadata.name.size() <= 52 && \
         self.metadata.name.matches('^[a-z]([a-z0-9-]*[a-z0-9])?$')",
        "metadata.name becomes the name of a Service: use at most 52 lower-case letters, digits and \
         dashes, beginning with a letter and not ending with a dash",
        |service| {
            service
                .metadata
                .name
                .as_deref()
                .is_some_and(is_service_name)
        },
    )
}

fn stats_rule() -> Rule {
    let message = "spec.stats.headers and spec.stats.perRequestMetrics report stats that \
                   spec.stats.logging: false stops from being computed: set spec.stats.logging to \
                   true, or set spec.stats.headers to false and spec.stats.perRequestMetrics to \
                   Never";
    Rule {
        reason: AcceptedReason::InvalidStats,
        ..rule(
            "stats",
            "spec.stats",
            "self.logging || (!self.headers && self.perRequestMetrics == 'Never')",
            message,
            |service| service.spec.stats.gates().check().is_ok(),
        )
    }
}

fn model_rules() -> [Rule; 4] {
    [
        rule(
            "uri-form",
            "spec.model",
            format!("self.uri.matches('{URI_FORM}')"),
            "spec.model.uri must have one of the forms hf://org/repo[/file.gguf], \
             pvc://claim[/path], s3://bucket[/prefix], oci://registry/repository[:tag|@digest] or \
             builtin://demo",
            |service| source(service).is_some(),
        ),
        rule(
            "uri-parent",
            "spec.model",
            "!self.uri.contains('..')",
            "spec.model.uri may not contain '..': name the folder itself",
            |service| !service.spec.model.uri.contains(".."),
        ),
        rule(
            "revision",
            "spec.model",
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "spec.model.revision is for hf:// only: remove it, or name the version in the uri",
            |service| {
                let model = &service.spec.model;
                model.revision.is_none() || model.uri.starts_with("hf://")
            },
        ),
        rule(
            "secret",
            "spec.model",
            "!has(self.secretRef) || \
             !(self.uri.startsWith('pvc://') || self.uri.startsWith('builtin://'))",
            "spec.model.secretRef holds the credentials of a download, and pvc:// and builtin:// \
             download nothing: remove it",
            |service| {
                let model = &service.spec.model;
                let local = ["pvc://", "builtin://"]
                    .iter()
                    .any(|s| model.uri.starts_with(s));
                model.secret_ref.is_none() || !local
            },
        ),
    ]
}

fn engine_rules() -> [Rule; 4] {
    let names: Vec<&str> = OWNED_FLAGS
        .iter()
        .map(|o| o.flag.trim_start_matches("--"))
        .collect();
    let fields: Vec<String> = OWNED_FLAGS
        .iter()
        .map(|o| format!("{} is set by {}", o.flag, o.field))
        .collect();
    [
        rule(
            "owned-flags",
            "spec.engine.extraArgs",
            format!(
                "self.all(a, !a.replace('_', '-').matches('^--({})(=|$)'))",
                names.join("|")
            ),
            format!(
                "spec.engine.extraArgs may not carry a flag that has its own place: {}",
                fields.join(", ")
            ),
            |service| {
                extra_args(service)
                    .iter()
                    .all(|arg| owner_of(arg).is_none())
            },
        ),
        rule(
            "expansion",
            "spec.engine.extraArgs",
            "self.all(a, !a.contains('$('))",
            "spec.engine.extraArgs may not contain '$(': the kubelet would put a variable's value \
             there; write the value itself",
            |service| extra_args(service).iter().all(|arg| !arg.contains("$(")),
        ),
        rule(
            "env-names",
            "spec.engine.env",
            "self.all(e, !e.name.startsWith('CANDELA_'))",
            "spec.engine.env may not set CANDELA_* variables, which are the engine's own: use the \
             field or flag of the setting",
            |service| {
                let env = engine(service)
                    .and_then(|e| e.env.as_deref())
                    .unwrap_or_default();
                env.iter()
                    .all(|variable| !variable.name.starts_with("CANDELA_"))
            },
        ),
        rule(
            "rollout",
            "spec.rollout",
            "!(has(self.maxSurge) && has(self.maxUnavailable) && \
             self.maxSurge == 0 && self.maxUnavailable == 0)",
            "spec.rollout.maxSurge and spec.rollout.maxUnavailable are both 0, so no pod could ever \
             be replaced: make one of them at least 1, or omit both",
            |service| match service.spec.rollout {
                Some(Rollout {
                    max_surge: Some(s),
                    max_unavailable: Some(u),
                    ..
                }) => s.get() + u.get() > 0,
                _ => true,
            },
        ),
    ]
}

fn cache_rules() -> [Rule; 5] {
    [
        rule(
            "cache-source",
            "spec",
            "!has(self.cache) || !(self.model.uri.startsWith('pvc://') || \
             self.model.uri.startsWith('oci://') || self.model.uri.startsWith('builtin://'))",
            "spec.cache is for downloads, and pvc://, oci:// and builtin:// sources download \
             nothing into it: remove spec.cache",
            |service| {
                let uri = &service.spec.model.uri;
                cache(service).is_none()
                    || !["pvc://", "oci://", "builtin://"]
                        .iter()
                        .any(|s| uri.starts_with(s))
            },
        ),
        rule(
            "cache-kind",
            "spec.cache",
            "has(self.size) != has(self.claimName)",
            "spec.cache needs exactly one of size, for a volume claim of its own, and claimName, \
             for one that exists",
            |service| cache(service).is_none_or(|c| c.size.is_some() != c.claim_name.is_some()),
        ),
        rule(
            "cache-claim",
            "spec.cache",
            "has(self.size) || !(has(self.storageClassName) || has(self.accessModes))",
            "spec.cache.storageClassName and spec.cache.accessModes describe a new volume claim: \
             they need spec.cache.size",
            |service| {
                cache(service).is_none_or(|c| {
                    c.size.is_some() || (c.storage_class_name.is_none() && c.access_modes.is_none())
                })
            },
        ),
        rule(
            "cache-size",
            "spec.cache",
            "!has(self.size) || (isQuantity(self.size) && \
             quantity(self.size).isGreaterThan(quantity('0')))",
            "spec.cache.size must be a quantity above zero, such as 50Gi",
            |service| {
                let size = cache(service).and_then(|c| c.size.as_deref());
                size.is_none_or(is_positive_quantity)
            },
        ),
        Rule {
            cel: None,
            ..rule(
                "cache-shared",
                "spec.cache",
                "",
                "spec.cache is mounted by one node only (ReadWriteOnce) while several pods may run \
                 at once: set spec.cache.accessModes to [ReadWriteMany], or spec.replicas to 1 and \
                 spec.rollout.maxSurge to 0",
                cache_can_be_shared,
            )
        },
    ]
}

fn pod_rules() -> [Rule; 1] {
    [rule(
        "pod-labels",
        "spec.pod.labels",
        "self.all(k, !k.startsWith('app.kubernetes.io/'))",
        "spec.pod.labels may not set app.kubernetes.io/ labels, which select the pods: use a prefix \
         of your own",
        |service| {
            let labels = service
                .spec
                .pod
                .as_ref()
                .and_then(|pod| pod.labels.as_ref());
            labels.is_none_or(|labels| labels.keys().all(|k| !k.starts_with("app.kubernetes.io/")))
        },
    )]
}

fn cache_can_be_shared(service: &InferenceService) -> bool {
    let Some(Cache {
        size: Some(_),
        access_modes,
        ..
    }) = cache(service)
    else {
        return true;
    };
    let modes = access_modes
        .as_deref()
        .unwrap_or(&[AccessMode::ReadWriteOnce]);
    let (surge, _) = service.spec.surge_and_unavailable();
    modes.contains(&AccessMode::ReadWriteMany) || service.spec.replicas.get() + surge <= 1
}

fn source(service: &InferenceService) -> Option<ModelSource> {
    ModelSource::parse(&service.spec.model.uri)
}

fn engine(service: &InferenceService) -> Option<&Engine> {
    service.spec.engine.as_ref()
}

fn extra_args(service: &InferenceService) -> &[String] {
    engine(service)
        .and_then(|e| e.extra_args.as_deref())
        .unwrap_or_default()
}

fn cache(service: &InferenceService) -> Option<&Cache> {
    service.spec.cache.as_ref()
}

/// A Kubernetes quantity above zero: a decimal number and a suffix or an exponent.
fn is_positive_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
    });
    number.matches('.').count() <= 1
        && number.contains(|c: char| matches!(c, '1'..='9'))
        && (SUFFIXES.contains(&suffix) || exponent)
}
