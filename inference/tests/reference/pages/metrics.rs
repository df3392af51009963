//! `metrics.md`: every metric of `/metrics`, read from what a registry says of itself.

use std::collections::BTreeSet;

use candela_engine::stats::{CacheConfig, Metrics, StartBytes, start_metrics};

use super::{MADE, code, table};

const INTRODUCTION: &str = "\
`GET /metrics` of the engine, in Prometheus' text format. Names and buckets are vLLM's, so that dashboards,
autoscaler queries and the Gateway API's inference extension work as they are; those that begin with `candela:`
are ours. All carry the labels `model_name` and `engine`, but for those that count a start (at the end).

What is not marked *always* is absent with `--disable-log-stats`. A request's own numbers, in headers, body and
usage log, are from the same record as these ([what a request cost](http.md#what-a-request-cost)).

`candela:request_compute_seconds_total` and `candela:engine_busy_seconds_total` grow together: the time of every
step is divided among the requests in it, so the shares of all finished requests, failed and aborted ones
included, add up to the time the engine was busy.
";

/// A metric as its registry describes it.
struct Described {
    name: String,
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// Upper bounds of a histogram's buckets.
    buckets: Vec<String>,
}

pub(super) fn page() -> String {
    let always: Vec<String> = described(&rendered(2_048, false))
        .into_iter()
        .map(|m| m.name)
        .collect();
    let engine = described(&rendered(2_048, true));
    let larger = described(&rendered(200_000, true));
    let phases = ["download", "load"].map(|phase| StartBytes {
        phase,
        done: 0,
        total: 0,
    });
    let start = described(&start_metrics(&phases));
    let mut page = format!("# Metrics\n\n{MADE}\n\n{INTRODUCTION}");
    for (kind, title) in [
        ("gauge", "Gauges"),
        ("counter", "Counters"),
        ("histogram", "Histograms"),
    ] {
        page += &format!("\n## {title}\n\n");
        let of_kind = || {
            engine
                .iter()
                .zip(&larger)
                .filter(|(metric, _)| metric.kind == kind)
        };
        page += &if kind == "histogram" {
            let row = |(metric, larger): (&Described, &Described)| {
                let buckets = if metric.buckets == larger.buckets {
                    metric.buckets.join(" ")
                } else {
                    "1, 2, 5, 10, 20, 50 and so on up to the context length".to_owned()
                };
                vec![
                    code(&metric.name),
                    unit(metric),
                    metric.help.clone(),
                    buckets,
                ]
            };
            table(
                &["metric", "unit", "what it is", "buckets"],
                of_kind().map(row),
            )
        } else {
            let row = |(metric, _): (&Described, &Described)| {
                let when = if always.contains(&metric.name) {
                    "always"
                } else {
                    ""
                };
                vec![
                    code(&metric.name),
                    unit(metric),
                    labels(metric),
                    metric.help.clone(),
                    when.to_owned(),
                ]
            };
            table(
                &["metric", "unit", "more labels", "what it is", "there"],
                of_kind().map(row),
            )
        };
    }
    page += "\n## While the model is fetched and loaded\n\nThese are there from the first moment, when nothing else is.\n\n";
    page += &table(
        &["metric", "unit", "labels", "what it is"],
        start
            .iter()
            .map(|m| vec![code(&m.name), unit(m), labels(m), m.help.clone()]),
    );
    page
}

fn rendered(max_model_len: usize, log_stats: bool) -> String {
    let cache = CacheConfig {
        block_size: 32,
        num_blocks: 64,
    };
    Metrics::new("demo", max_model_len, cache, log_stats).render()
}

fn described(text: &str) -> Vec<Described> {
    let mut found: Vec<Described> = Vec::new();
    for line in text.lines() {
        if let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            found.push(Described {
                name: name.to_owned(),
                kind: String::new(),
                help: help.to_owned(),
                labels: BTreeSet::new(),
                buckets: Vec::new(),
            });
            continue;
        }
        let metric = found
            .last_mut()
            .expect("the text begins with a description");
        if let Some((_, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            metric.kind = kind.to_owned();
            continue;
        }
        for (label, value) in sample_labels(line) {
            match label {
                "model_name" | "engine" => {}
                "le" => metric.buckets.push(value.to_owned()),
                _ => drop(metric.labels.insert(label.to_owned())),
            }
        }
    }
    for metric in &mut found {
        metric.buckets.retain(|bucket| bucket != "+Inf");
    }
    found
}

fn sample_labels(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = line
        .split_once('{')
        .and_then(|(_, rest)| rest.rsplit_once('}'));
    let inside = inside.map(|(inside, _)| inside).unwrap_or_default();
    inside
        .split("\",")
        .filter_map(|pair| pair.trim_end_matches('"').split_once("=\""))
}

/// What a metric counts, which its name says.
fn unit(metric: &Described) -> String {
    let name = metric.name.trim_end_matches("_total");
    let unit = [
        ("seconds", "seconds"),
        ("perc", "share, 0 to 1"),
        ("bytes", "bytes"),
        ("tokens", "tokens"),
        ("tokens_cached", "tokens"),
        ("prefix_cache_queries", "tokens"),
        ("prefix_cache_hits", "tokens"),
        ("cache_config_info", "always 1"),
        ("params_n", "answers"),
        ("preemptions", "sequences"),
        ("request_success", "sequences"),
        ("num_requests_running", "sequences"),
        ("num_requests_waiting", "sequences"),
    ];
    let unit = unit
        .iter()
        .find(|(end, _)| name.ends_with(end))
        .map(|(_, unit)| *unit);
    unit.unwrap_or_else(|| panic!("{}: say here what it counts", metric.name))
        .to_owned()
}

fn labels(metric: &Described) -> String {
    let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
    labels.join(" ")
}
