//! The record and the engine's gauges as Prometheus metrics, under vLLM's names. Updated by the
//! engine's thread before a request's last output leaves it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::FinishedRequestStats;
use crate::finish_reason::FinishReason;

const TTFT_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_SECONDS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST_SECONDS: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
const MASK_SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
];
const BRANCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0];
const STEP_TOKENS: &[f64] = &[
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];

/// Size of the KV cache, reported as `vllm:cache_config_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Tokens of one block.
    pub block_size: usize,
    /// Blocks of the pool.
    pub num_blocks: usize,
}

/// The state of the engine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineGauges {
    /// Sequences that are part of steps.
    pub running: usize,
    /// Sequences that wait: those that were in no step yet, and those that gave their place up.
    pub waiting: usize,
    /// Share of the KV cache's blocks in use, 0..=1.
    pub kv_cache_usage: f64,
}

/// Tokens that went through one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepTokens {
    /// Tokens that went through the model: of prompts, and the newest of every answer.
    pub processed: usize,
    /// Tokens that came out of it.
    pub generated: usize,
}

/// The engine's registry. With stats logging off only its gauges exist.
pub struct Metrics {
    registry: Registry,
    running: IntGauge,
    waiting: IntGauge,
    /// Sequences that gave their place up, as of the last step.
    preempted: AtomicUsize,
    /// Sequences that were submitted and in no step yet. Who submits counts, so that they are seen while
    /// a step lasts.
    queued: Arc<AtomicUsize>,
    kv_usage: Gauge,
    stats: Option<StatsMetrics>,
}

struct StatsMetrics {
    prompt_tokens: IntCounter,
    generation_tokens: IntCounter,
    cached_tokens: IntCounter,
    prefix_queries: IntCounter,
    prefix_hits: IntCounter,
    preemptions: IntCounter,
    success: IntCounterVec,
    compute_seconds: Counter,
    busy_seconds: Counter,
    ttft: Histogram,
    inter_token: Histogram,
    per_output_token: Histogram,
    e2e: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    iteration_tokens: Histogram,
    mask: Histogram,
    mask_wait: Histogram,
    /// The very first observation of `ttft`.
    first_token: OnceLock<Duration>,
}

impl Metrics {
    /// The metrics of the engine that serves `model_name`. Without `log_stats` only the gauges that
    /// autoscalers read.
    pub fn new(
        model_name: &str,
        max_model_len: usize,
        cache: CacheConfig,
        log_stats: bool,
    ) -> Arc<Self> {
        let make = Maker {
            registry: Registry::new(),
            model_name,
        };
        let running = make.int_gauge("vllm:num_requests_running", "Sequences in the batch.");
        let waiting = make.int_gauge("vllm:num_requests_waiting", "Sequences that wait.");
        let kv_usage = make.gauge(
            "vllm:kv_cache_usage_perc",
            "Share of the KV cache in use; 1 is all of it.",
        );
        make.cache_config(cache);
        let stats = log_stats.then(|| make.stats(max_model_len));
        Arc::new(Self {
            registry: make.registry,
            running,
            waiting,
            preempted: AtomicUsize::default(),
            queued: Arc::default(),
            kv_usage,
            stats,
        })
    }

    /// The text exposition of everything.
    pub fn render(&self) -> String {
        let waiting = i64::try_from(self.gauges().waiting);
        self.waiting.set(waiting.unwrap_or(i64::MAX));
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                tracing::error!(%error, "metrics could not be rendered");
                String::new()
            })
    }

    /// Where the engine's handles count what they submit, until its first step.
    pub(crate) fn queued(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.queued)
    }

    /// Sequences in the batch and waiting, and the KV cache's use.
    pub fn gauges(&self) -> EngineGauges {
        let (preempted, queued) = (&self.preempted, &self.queued);
        EngineGauges {
            running: usize::try_from(self.running.get()).unwrap_or_default(),
            waiting: preempted.load(Ordering::Relaxed) + queued.load(Ordering::Relaxed),
            kv_cache_usage: self.kv_usage.get(),
        }
    }

    /// Sets the gauges after a step: sequences that are part of steps, those that gave their place up, and
    /// the share of the KV cache in use.
    pub(crate) fn set_gauges(&self, running: usize, preempted: usize, kv_cache_usage: f64) {
        self.running.set(i64::try_from(running).unwrap_or(i64::MAX));
        self.preempted.store(preempted, Ordering::Relaxed);
        self.kv_usage.set(kv_cache_usage);
    }

    /// Counts a request as it is accepted, whatever becomes of it.
    pub(crate) fn record_request(&self, branches: usize, max_tokens: usize) {
        let Some(stats) = &self.stats else { return };
        stats.params_n.observe(branches as f64);
        stats.params_max_tokens.observe(max_tokens as f64);
    }

    /// Counts a step: how long the engine was busy, and with how many tokens.
    pub(crate) fn record_step(&self, busy: Duration, tokens: StepTokens) {
        let Some(stats) = &self.stats else { return };
        stats.busy_seconds.inc_by(busy.as_secs_f64());
        stats.generation_tokens.inc_by(tokens.generated as u64);
        stats.iteration_tokens.observe(tokens.processed as f64);
    }

    /// Counts a mask of a structured output: how long it took to compute.
    pub(crate) fn record_mask(&self, took: Duration) {
        let Some(stats) = &self.stats else { return };
        stats.mask.observe(took.as_secs_f64());
    }

    /// Counts how long a step waited for a mask; `None`: it was there.
    pub(crate) fn record_mask_wait(&self, waited: Option<Duration>) {
        let Some(stats) = &self.stats else { return };
        stats
            .mask_wait
            .observe(waited.unwrap_or_default().as_secs_f64());
    }

    /// Counts the time between two tokens of a sequence.
    pub(crate) fn record_inter_token(&self, gap: Duration) {
        let Some(stats) = &self.stats else { return };
        stats.inter_token.observe(gap.as_secs_f64());
    }

    /// Counts the first token of a sequence: the time since its request arrived.
    pub(crate) fn record_first_token(&self, since_arrival: Duration) {
        let Some(stats) = &self.stats else { return };
        stats.ttft.observe(since_arrival.as_secs_f64());
        stats.first_token.get_or_init(|| since_arrival);
    }

    /// How long the first request of all waited for its first token; `None` before it, and without stats.
    pub fn first_token(&self) -> Option<Duration> {
        self.stats.as_ref()?.first_token.get().copied()
    }

    /// Counts the look-up of a sequence's prompt in the prefix cache, when it is first scheduled.
    pub(crate) fn record_prefix_lookup(&self, prompt_tokens: usize, cached_tokens: usize) {
        let Some(stats) = &self.stats else { return };
        stats.prefix_queries.inc_by(prompt_tokens as u64);
        stats.prefix_hits.inc_by(cached_tokens as u64);
    }

    /// Counts a preemption.
    pub(crate) fn record_preemption(&self) {
        let Some(stats) = &self.stats else { return };
        stats.preemptions.inc();
    }

    /// Counts the prompt of a request, once for all its branches, when its first branch has a token.
    pub(crate) fn record_prompt(&self, prompt_tokens: usize, cached_tokens: usize) {
        let Some(stats) = &self.stats else { return };
        stats.prompt_tokens.inc_by(prompt_tokens as u64);
        stats.cached_tokens.inc_by(cached_tokens as u64);
    }

    /// Counts a sequence that finished, for whatever reason.
    pub(crate) fn record_finished(&self, record: &FinishedRequestStats) {
        let Some(stats) = &self.stats else { return };
        stats
            .success
            .with_label_values(&[record.reason.as_str()])
            .inc();
        stats
            .compute_seconds
            .inc_by(record.compute_time.as_secs_f64());
        stats.e2e.observe(record.e2e_latency.as_secs_f64());
        stats.queue.observe(record.queued_time.as_secs_f64());
        stats.inference.observe(record.inference_time.as_secs_f64());
        stats.prefill.observe(record.prefill_time.as_secs_f64());
        stats.decode.observe(record.decode_time.as_secs_f64());
        stats
            .request_prompt_tokens
            .observe(record.tokens.prompt as f64);
        stats
            .request_generation_tokens
            .observe(record.tokens.completion as f64);
        if record.tokens.completion > 1 {
            stats
                .per_output_token
                .observe(record.mean_time_per_output_token);
        }
    }
}

/// Makes and registers metrics with the labels that all of them carry.
struct Maker<'a> {
    registry: Registry,
    model_name: &'a str,
}

impl Maker<'_> {
    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help)
            .const_label("model_name", self.model_name)
            .const_label("engine", "0")
    }

    fn register<M: prometheus::core::Collector + Clone + 'static>(
        &self,
        metric: prometheus::Result<M>,
    ) -> M {
        let metric = metric.expect("metric names and labels are constants that are valid");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("metric names are distinct");
        metric
    }

    fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(self.opts(name, help)))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(self.opts(name, help)))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(self.opts(name, help)))
    }

    fn seconds_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::with_opts(self.opts(name, help)))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts {
            common_opts: self.opts(name, help),
            buckets: buckets.to_vec(),
        };
        self.register(Histogram::with_opts(opts))
    }

    fn cache_config(&self, cache: CacheConfig) {
        let opts = self
            .opts("vllm:cache_config_info", "How the KV cache is laid out.")
            .const_label("block_size", cache.block_size.to_string())
            .const_label("num_gpu_blocks", cache.num_blocks.to_string());
        self.register(Gauge::with_opts(opts)).set(1.0);
    }

    fn stats(&self, max_model_len: usize) -> StatsMetrics {
        let tokens = token_buckets(max_model_len);
        let success = self.opts(
            "vllm:request_success_total",
            "Finished sequences by reason.",
        );
        let success = self.register(IntCounterVec::new(success, &["finished_reason"]));
        for reason in FinishReason::ALL {
            success.with_label_values(&[reason.as_str()]);
        }
        StatsMetrics {
            prompt_tokens: self.counter("vllm:prompt_tokens_total", "Tokens of prompts."),
            generation_tokens: self.counter("vllm:generation_tokens_total", "Tokens generated."),
            cached_tokens: self.counter(
                "vllm:prompt_tokens_cached_total",
                "Prompt tokens from the prefix cache.",
            ),
            prefix_queries: self.counter(
                "vllm:prefix_cache_queries_total",
                "Prompt tokens looked up in the prefix cache, by sequence.",
            ),
            prefix_hits: self.counter(
                "vllm:prefix_cache_hits_total",
                "Prompt tokens found in the prefix cache, by sequence.",
            ),
            preemptions: self.counter("vllm:num_preemptions_total", "Sequences preempted."),
            success,
            compute_seconds: self.seconds_counter(
                "candela:request_compute_seconds_total",
                "Compute time attributed to finished sequences.",
            ),
            busy_seconds: self.seconds_counter(
                "candela:engine_busy_seconds_total",
                "Time the engine spent in steps.",
            ),
            ttft: self.histogram(
                "vllm:time_to_first_token_seconds",
                "Arrival to first token, queue included.",
                TTFT_SECONDS,
            ),
            inter_token: self.histogram(
                "vllm:inter_token_latency_seconds",
                "Time between two tokens of a sequence.",
                TOKEN_SECONDS,
            ),
            per_output_token: self.histogram(
                "vllm:request_time_per_output_token_seconds",
                "Mean time per token after the first, by sequence.",
                TOKEN_SECONDS,
            ),
            e2e: self.request_seconds("vllm:e2e_request_latency_seconds", "Arrival to finish."),
            queue: self.request_seconds("vllm:request_queue_time_seconds", "Time in the queue."),
            inference: self
                .request_seconds("vllm:request_inference_time_seconds", "Prefill and decode."),
            prefill: self.request_seconds(
                "vllm:request_prefill_time_seconds",
                "First schedule to first token.",
            ),
            decode: self.request_seconds(
                "vllm:request_decode_time_seconds",
                "First token to last token.",
            ),
            request_prompt_tokens: self.histogram(
                "vllm:request_prompt_tokens",
                "Prompt tokens by sequence.",
                &tokens,
            ),
            request_generation_tokens: self.histogram(
                "vllm:request_generation_tokens",
                "Generated tokens by sequence.",
                &tokens,
            ),
            params_n: self.histogram(
                "vllm:request_params_n",
                "Answers asked for by request.",
                BRANCHES,
            ),
            params_max_tokens: self.histogram(
                "vllm:request_params_max_tokens",
                "max_tokens by request.",
                &tokens,
            ),
            iteration_tokens: self.histogram(
                "vllm:iteration_tokens_total",
                "Tokens by step.",
                STEP_TOKENS,
            ),
            mask: self.histogram(
                "candela:structured_output_mask_seconds",
                "Time to compute the mask of a structured output, by token.",
                MASK_SECONDS,
            ),
            mask_wait: self.histogram(
                "candela:structured_output_wait_seconds",
                "Time that a step waited for the mask of a structured output, by token.",
                MASK_SECONDS,
            ),
            first_token: OnceLock::new(),
        }
    }

    fn request_seconds(&self, name: &str, help: &str) -> Histogram {
        self.histogram(name, help, REQUEST_SECONDS)
    }
}

/// 1, 2, 5, 10, 20, 50 … up to the context length.
fn token_buckets(max_model_len: usize) -> Vec<f64> {
    let series = (0..).flat_map(|exponent| [1u64, 2, 5].map(|m| m * 10u64.pow(exponent)));
    series
        .take_while(|&bucket| bucket <= max_model_len as u64)
        .map(|b| b as f64)
        .collect()
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
