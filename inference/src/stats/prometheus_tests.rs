//! Names, labels and gates of the metrics page.

use super::*;
use crate::stats::{RequestTimeline, Timestamp, TokenCounts, record::Work};

const CACHE: CacheConfig = CacheConfig {
    block_size: 32,
    num_blocks: 8,
};

fn finished(reason: FinishReason) -> FinishedRequestStats {
    let work = Work {
        reason,
        tokens: TokenCounts {
            prompt: 3,
            completion: 2,
            cached: 0,
        },
        preemptions: 0,
        compute_time: Duration::from_millis(250),
    };
    let timeline = RequestTimeline::new(Timestamp::default(), Timestamp::default());
    FinishedRequestStats::new(
        timeline,
        Timestamp::after_start(Duration::from_secs(1)),
        work,
    )
}

#[test]
fn names_are_those_of_the_contract() {
    let text = Metrics::new("m", 2048, CACHE, true).render();
    for name in [
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:cache_config_info",
        "vllm:prompt_tokens_total",
        "vllm:generation_tokens_total",
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_cached_total",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "candela:request_compute_seconds_total",
        "candela:engine_busy_seconds_total",
        "vllm:time_to_first_token_seconds_bucket",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:request_time_per_output_token_seconds_bucket",
        "vllm:e2e_request_latency_seconds_sum",
        "vllm:request_queue_time_seconds_sum",
        "vllm:request_inference_time_seconds_sum",
        "vllm:request_prefill_time_seconds_sum",
        "vllm:request_decode_time_seconds_sum",
        "vllm:request_prompt_tokens_sum",
        "vllm:request_generation_tokens_sum",
        "vllm:request_params_n_sum",
        "vllm:request_params_max_tokens_sum",
        "vllm:iteration_tokens_total_bucket",
    ] {
        assert!(
            text.contains(&format!("\n{name}{{")),
            "{name} is missing:\n{text}"
        );
    }
    for reason in FinishReason::ALL {
        assert!(text.contains(&format!("finished_reason=\"{}\"", reason.as_str())));
    }
}

#[test]
fn without_stats_only_gauges_exist() {
    let metrics = Metrics::new("m", 2048, CACHE, false);
    metrics.record_finished(&finished(FinishReason::Stop));
    metrics.record_step(
        Duration::from_secs(1),
        StepTokens {
            processed: 1,
            generated: 1,
        },
    );
    let text = metrics.render();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("# TYPE "))
        .collect();
    assert_eq!(
        names,
        [
            "vllm:cache_config_info gauge",
            "vllm:kv_cache_usage_perc gauge",
            "vllm:num_requests_running gauge",
            "vllm:num_requests_waiting gauge",
        ]
    );
}

#[test]
fn a_finished_request_is_counted_by_reason_with_its_compute_time() {
    let metrics = Metrics::new("m", 2048, CACHE, true);
    metrics.record_finished(&finished(FinishReason::Abort));
    let text = metrics.render();
    let line = |start: &str| {
        text.lines()
            .find(|l| l.starts_with(start))
            .unwrap()
            .to_owned()
    };
    assert!(line("candela:request_compute_seconds_total").ends_with(" 0.25"));
    assert!(
        line("vllm:request_success_total{engine=\"0\",finished_reason=\"abort\"").ends_with(" 1")
    );
    assert!(
        line("vllm:request_success_total{engine=\"0\",finished_reason=\"stop\"").ends_with(" 0")
    );
}

#[test]
fn token_buckets_are_a_1_2_5_series_up_to_the_context() {
    assert_eq!(token_buckets(100), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
}

#[test]
fn what_waits_is_what_no_step_had_and_what_gave_its_place_up() {
    let metrics = Metrics::new("m", 2048, CACHE, false);
    metrics.queued().store(3, Ordering::Relaxed);
    metrics.set_gauges(5, 2, 0.5);
    let gauges = metrics.gauges();
    assert_eq!(
        (gauges.running, gauges.waiting, gauges.kv_cache_usage),
        (5, 5, 0.5)
    );
    assert!(
        metrics
            .render()
            .lines()
            .any(|line| line.starts_with("vllm:num_requests_waiting{") && line.ends_with(" 5"))
    );
}
