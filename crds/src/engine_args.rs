//! `spec.engine.extraArgs` against the flags that this version of the engine knows. Warnings only:
//! the image may be of another version.

use candela_flags::{EngineFlags, normalize_flag, owner_of, parse_engine_flags};

use crate::{FieldPath, Finding, InferenceService, structural::nearest};

const PATH: &str = "spec.engine.extraArgs";

/// What this version's engine would say to the arguments.
pub(crate) fn extra_args_warnings(service: &InferenceService) -> Vec<Finding> {
    let engine = service.spec.engine.as_ref();
    let args = engine
        .and_then(|engine| engine.extra_args.as_deref())
        .unwrap_or_default();
    let known = EngineFlags::names();
    let unknown: Vec<Finding> = args
        .iter()
        .enumerate()
        .filter_map(|(index, arg)| {
            let flag = normalize_flag(arg.split('=').next()?);
            let name = flag.strip_prefix("--").filter(|name| !name.is_empty())?;
            let is_known = known.iter().any(|known| known == name) || owner_of(arg).is_some();
            (!is_known).then(|| unknown_flag(index, name, &known))
        })
        .collect();
    if !unknown.is_empty() || args.iter().any(|arg| owner_of(arg).is_some()) {
        return unknown;
    }
    let line = ["candela-engine", "--model=m"]
        .into_iter()
        .chain(args.iter().map(String::as_str));
    match parse_engine_flags(line.map(Into::into)) {
        Ok(_) => Vec::new(),
        Err(error) => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            vec![Finding::warning(
                FieldPath::of(PATH),
                format!("candela-engine would refuse this: {first}"),
            )]
        }
    }
}

fn unknown_flag(index: usize, name: &str, known: &[String]) -> Finding {
    let advice = match nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => format!("did you mean --{nearest}?"),
        None => "see candela-engine --help".to_owned(),
    };
    let message = format!("this version of candela-engine has no flag --{name}: {advice}");
    Finding::warning(FieldPath::of(PATH).item(index), message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    fn warnings(args: &[&str]) -> Vec<String> {
        let checked = crate::check(json!({
            "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
            "metadata": {"name": "a"},
            "spec": {"model": {"uri": "builtin://demo"}, "engine": {"extraArgs": args}},
        }));
        assert!(!checked.is_refused(), "{:?}", checked.findings);
        checked
            .findings
            .iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn known_flags_pass() {
        assert_eq!(
            warnings(&["--seed=1", "--dtype", "float32", "--log_format=json"]),
            [""; 0]
        );
    }

    #[test]
    fn unknown_flag_is_a_warning_with_the_nearest_name() {
        assert_eq!(
            warnings(&["--sed=1"]),
            [
                "warning: spec.engine.extraArgs[0]: this version of candela-engine has no flag --sed: \
              did you mean --seed?"
            ]
        );
    }

    #[test]
    fn a_value_that_the_engine_refuses_is_a_warning() {
        let warnings = warnings(&["--seed=many"]);
        assert!(
            warnings[0].contains("would refuse this: invalid value 'many'"),
            "{warnings:?}"
        );
    }
}
