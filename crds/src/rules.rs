//! Rules between fields, each once: its path, its CEL text for the API server, its message, and the
//! same rule as a Rust function. The schema carries the first three; `lint`, `local` and the
//! reconciler run the last. `cases` holds the cases that all of them are tested with.

use std::{collections::BTreeMap, sync::LazyLock};

use candela_flags::{OWNED_FLAGS, owner_of};

use crate::{
    AcceptedReason, Cache, Engine, FieldPath, InferenceService, MetricsWhen, Rollout,
    is_service_name,
    source::{ModelSource, URI_FORM},
};

/// One rule.
pub struct Rule {
    /// Short name, for cases and tests.
    pub id: &'static str,
    /// The field that it is attached to; empty for the whole object.
    pub path: &'static str,
    /// The rule in CEL, `self` being the field. `None` becomes a condition instead: what /scale may change cannot be
    /// refused here, and lists of Kubernetes' own types have no bounds, without which CEL is too dear.
    pub cel: Option<String>,
    /// What is wrong and what to change.
    pub message: String,
    /// The reason of `Accepted=False` when a stored object breaks it.
    pub reason: AcceptedReason,
    /// The fields by which `service` breaks the rule, the one to look at first in front; none if it
    /// keeps it.
    pub broken_by: fn(&InferenceService) -> Vec<FieldPath>,
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
    rules()
        .iter()
        .filter(move |rule| !(rule.broken_by)(service).is_empty())
}

fn rule(
    id: &'static str,
    path: &'static str,
    cel: impl Into<String>,
    message: impl Into<String>,
    broken_by: fn(&InferenceService) -> Vec<FieldPath>,
) -> Rule {
    let (cel, message) = (Some(cel.into()), message.into());
    Rule {
        id,
        path,
        cel,
        message,
        reason: AcceptedReason::InvalidSpec,
        broken_by,
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
            let name = service.metadata.name.as_deref();
            fields_if(!name.is_some_and(is_service_name), &["metadata.name"])
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
            stats_in_conflict,
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
            |service| fields_if(source(service).is_none(), &["spec.model.uri"]),
        ),
        rule(
            "uri-parent",
            "spec.model",
            "!self.uri.contains('..')",
            "spec.model.uri may not contain '..': name the folder itself",
            |service| {
                let climbs = service.spec.model.uri.contains("..");
                fields_if(climbs, &["spec.model.uri"])
            },
        ),
        rule(
            "revision",
            "spec.model",
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "spec.model.revision is for hf:// only: remove it, or name the version in the uri",
            |service| {
                let model = &service.spec.model;
                let broken = model.revision.is_some() && !model.uri.starts_with("hf://");
                fields_if(broken, &["spec.model.revision", "spec.model.uri"])
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
                let broken = model.secret_ref.is_some() && local;
                fields_if(broken, &["spec.model.secretRef", "spec.model.uri"])
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
            |service| extra_args_where(service, |arg| owner_of(arg).is_some()),
        ),
        rule(
            "expansion",
            "spec.engine.extraArgs",
            "self.all(a, !a.contains('$('))",
            "spec.engine.extraArgs may not contain '$(': the kubelet would put a variable's value \
             there; write the value itself",
            |service| extra_args_where(service, |arg| arg.contains("$(")),
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
                let env = env.iter().enumerate();
                env.filter(|(_, variable)| variable.name.starts_with("CANDELA_"))
                    .map(|(index, _)| FieldPath::of("spec.engine.env").item(index).field("name"))
                    .collect()
            },
        ),
        rule(
            "rollout",
            "spec.rollout",
            "!(has(self.maxSurge) && has(self.maxUnavailable) && \
             self.maxSurge == 0 && self.maxUnavailable == 0)",
            "spec.rollout.maxSurge and spec.rollout.maxUnavailable are both 0, so no pod could ever \
             be replaced: make one of them at least 1, or omit both",
            |service| {
                let stuck = matches!(service.spec.rollout, Some(Rollout {
                    max_surge: Some(surge),
                    max_unavailable: Some(unavailable),
                    ..
                }) if surge.get() + unavailable.get() == 0);
                fields_if(
                    stuck,
                    &["spec.rollout.maxSurge", "spec.rollout.maxUnavailable"],
                )
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
                let without = ["pvc://", "oci://", "builtin://"];
                let idle = without.iter().any(|s| uri.starts_with(s));
                let broken = idle && cache(service).is_some();
                fields_if(broken, &["spec.cache", "spec.model.uri"])
            },
        ),
        rule(
            "cache-kind",
            "spec.cache",
            "has(self.size) != has(self.claimName)",
            "spec.cache needs exactly one of size, for a volume claim of its own, and claimName, \
             for one that exists",
            |service| match cache(service) {
                Some(c) if c.size.is_some() && c.claim_name.is_some() => {
                    fields_if(true, &["spec.cache.claimName", "spec.cache.size"])
                }
                Some(c) if c.size.is_none() && c.claim_name.is_none() => {
                    fields_if(true, &["spec.cache"])
                }
                _ => Vec::new(),
            },
        ),
        rule(
            "cache-claim",
            "spec.cache",
            "has(self.size) || !(has(self.storageClassName) || has(self.accessModes))",
            "spec.cache.storageClassName and spec.cache.accessModes describe a new volume claim: \
             they need spec.cache.size",
            |service| {
                let claim = cache(service).filter(|c| c.size.is_none());
                let class = claim.is_some_and(|c| c.storage_class_name.is_some());
                let modes = claim.is_some_and(|c| c.access_modes.is_some());
                [
                    fields_if(class, &["spec.cache.storageClassName"]),
                    fields_if(modes, &["spec.cache.accessModes"]),
                ]
                .concat()
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
                let broken = size.is_some_and(|size| !is_positive_quantity(size));
                fields_if(broken, &["spec.cache.size"])
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
                |service| {
                    let fields = [
                        "spec.cache.accessModes",
                        "spec.cache",
                        "spec.replicas",
                        "spec.rollout.maxSurge",
                    ];
                    let modes = cache(service).is_some_and(|c| c.access_modes.is_some());
                    let fields = if modes { &fields[..] } else { &fields[1..] };
                    fields_if(!cache_can_be_shared(service), fields)
                },
            )
        },
    ]
}

fn pod_rules() -> [Rule; 2] {
    let labels = rule(
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
            let names = labels.into_iter().flat_map(BTreeMap::keys);
            names
                .filter(|name| name.starts_with("app.kubernetes.io/"))
                .map(|name| FieldPath::of("spec.pod.labels").field(name))
                .collect()
        },
    );
    let claims = Rule {
        cel: None,
        ..rule(
            "resource-claims",
            "spec.resources",
            "",
            "spec.resources.claims names a claim that the pods do not have: add it to \
             spec.pod.resourceClaims",
            |service| {
                let pod = service.spec.pod.as_ref();
                let of_pod = pod.and_then(|pod| pod.resource_claims.as_deref());
                let of_pod = of_pod.unwrap_or_default();
                let resources = service.spec.resources.as_ref();
                let claims = resources.and_then(|resources| resources.claims.as_deref());
                let claims = claims.unwrap_or_default().iter().enumerate();
                claims
                    .filter(|(_, claim)| !of_pod.iter().any(|own| own.name == claim.name))
                    .map(|(index, _)| {
                        FieldPath::of("spec.resources.claims")
                            .item(index)
                            .field("name")
                    })
                    .collect()
            },
        )
    };
    [labels, claims]
}

/// The stats that are to be reported, and what stops them from being computed.
fn stats_in_conflict(service: &InferenceService) -> Vec<FieldPath> {
    let stats = service.spec.stats;
    if stats.gates().check().is_ok() {
        return Vec::new();
    }
    [
        fields_if(stats.headers, &["spec.stats.headers"]),
        fields_if(
            stats.per_request_metrics != MetricsWhen::Never,
            &["spec.stats.perRequestMetrics"],
        ),
        fields_if(true, &["spec.stats.logging"]),
    ]
    .concat()
}

fn fields_if(broken: bool, fields: &[&str]) -> Vec<FieldPath> {
    let fields = fields.iter().filter(|_| broken);
    fields.map(|path| FieldPath::of(path)).collect()
}

fn extra_args_where(service: &InferenceService, wrong: fn(&str) -> bool) -> Vec<FieldPath> {
    let args = extra_args(service).iter().enumerate();
    args.filter(|(_, arg)| wrong(arg))
        .map(|(index, _)| FieldPath::of("spec.engine.extraArgs").item(index))
        .collect()
}

fn cache_can_be_shared(service: &InferenceService) -> bool {
    let (surge, _) = service.spec.surge_and_unavailable();
    !service.spec.cache_is_for_one_node() || service.spec.replicas.get() + surge <= 1
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
