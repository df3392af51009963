//! The flags themselves: one struct, its parser, and its rendering back into arguments.

use std::{ffi::OsString, fmt, net::IpAddr, path::PathBuf};

use clap::{ArgAction, Args, Parser, ValueEnum};

use crate::{
    BatchedTokens, ConnectionFlags, ContextLength, Device, DrainSeconds, Dtype,
    GpuMemoryUtilization, KeepAliveSeconds, KvBlocks, KvCacheBytes, LoadFormat, MaxBodyBytes,
    MaxSequences, Quantization, QueuedRequests, ReasoningParser, RunnerType, StatsGates, Threads,
    ToolCallParser,
};

/// Every setting of the engine. Names are vLLM's where vLLM has the setting.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct EngineFlags {
    /// Model to serve: a folder with config.json, tokenizer.json and *.safetensors; a *.gguf file;
    /// hf://org/repo[/file.gguf][@revision]; s3://bucket/prefix; oci://registry/repository:tag;
    /// or builtin://demo
    #[arg(long, value_name = "FOLDER|URI", help_heading = "Model")]
    pub model: String,

    /// Name that clients ask for; may be given several times [default: the value of --model]
    #[arg(long, value_name = "NAME", num_args = 1.., help_heading = "Model")]
    pub served_model_name: Vec<String>,

    /// Folder that keeps downloaded models; processes and pods may share it
    /// [default: candela/models in the user's cache]
    #[arg(long, value_name = "FOLDER", help_heading = "Model")]
    pub download_dir: Option<PathBuf>,

    /// Allow downloads over plain http from other machines than this one
    #[arg(long, help_heading = "Model")]
    pub download_plain_http: bool,

    /// Folder that keeps weights in the form the kernels read, for later starts; processes and pods may
    /// share it [default: none is kept]
    #[arg(long, value_name = "FOLDER", help_heading = "Model")]
    pub weights_cache_dir: Option<PathBuf>,

    /// Where weights come from
    #[arg(long, value_enum, default_value_t = LoadFormat::Auto, help_heading = "Model")]
    pub load_format: LoadFormat,

    /// Type of weights, activations and KV cache
    #[arg(long, value_enum, default_value_t = Dtype::Auto, help_heading = "Model")]
    pub dtype: Dtype,

    /// What the model is run for: text, or embeddings of texts
    #[arg(long, value_enum, default_value_t = RunnerType::Auto, help_heading = "Model")]
    pub runner: RunnerType,

    /// Quantize the matrices of a safetensors model while it is loaded
    #[arg(long, value_enum, default_value_t = Quantization::None, help_heading = "Model")]
    pub quantization: Quantization,

    /// Tokens of one sequence, prompt and answer together [default: what the model was made for]
    #[arg(long, value_name = "TOKENS", help_heading = "Model")]
    pub max_model_len: Option<ContextLength>,

    /// Jinja file to use instead of the chat template that comes with the model
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub chat_template: Option<PathBuf>,

    /// Form in which the model writes tool calls [default: the one that its chat template writes]
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Model")]
    pub tool_call_parser: Option<ToolCallParser>,

    /// Refuse to start unless the model's tool calls can be read, for requests that leave it to the
    /// model whether to call tools
    #[arg(long, help_heading = "Model")]
    pub enable_auto_tool_choice: bool,

    /// Keep tools out of the prompt of requests with "tool_choice": "none"
    #[arg(long, help_heading = "Model")]
    pub exclude_tools_when_tool_choice_none: bool,

    /// Form in which the model writes what it thinks; unset, thoughts are part of the answer
    #[arg(long, value_enum, value_name = "FORM", help_heading = "Model")]
    pub reasoning_parser: Option<ReasoningParser>,

    /// Seed of sampled requests that bring none; unset, each draws its own
    #[arg(long, value_name = "NUMBER", help_heading = "Model")]
    pub seed: Option<u64>,

    /// Address to listen on
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0.0.0.0",
        help_heading = "Server"
    )]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one and logs it
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8000,
        help_heading = "Server"
    )]
    pub port: u16,

    /// File with API keys, one a line, that guard /v1; re-read when it changes
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub api_key_file: Option<PathBuf>,

    /// Largest request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MaxBodyBytes::of::<33_554_432>(), help_heading = "Server")]
    pub max_body_bytes: MaxBodyBytes,

    /// Seconds between comment lines that keep a silent stream open; 0 sends none
    #[arg(long, value_name = "SECONDS", default_value_t = KeepAliveSeconds::of::<15>(), help_heading = "Server")]
    pub sse_keep_alive_interval: KeepAliveSeconds,

    /// Seconds after SIGTERM in which requests that still arrive on open connections are served
    #[arg(long, value_name = "SECONDS", default_value_t = DrainSeconds::of::<5>(), help_heading = "Server")]
    pub drain_grace: DrainSeconds,

    /// Seconds that running requests have to finish after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = DrainSeconds::of::<60>(), help_heading = "Server")]
    pub shutdown_timeout: DrainSeconds,

    /// Limits on peers.
    #[command(flatten)]
    pub connection: ConnectionFlags,

    /// Form of the log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Server")]
    pub log_format: LogFormat,

    /// Device to compute on; `auto` is the first GPU where the engine is built for GPUs and there is one,
    /// else the processors
    #[arg(
        long,
        value_name = "auto|cpu|cuda[:N]",
        default_value_t,
        help_heading = "Scheduler"
    )]
    pub device: Device,

    /// Part of a GPU's memory that weights and KV cache may take together, above 0 and at most 1
    #[arg(long, value_name = "PART", default_value_t, help_heading = "Scheduler")]
    pub gpu_memory_utilization: GpuMemoryUtilization,

    /// Threads that compute [default: the processors that the engine may use, by its affinity and the
    /// CPU quota of its cgroup]
    #[arg(long, value_name = "THREADS", help_heading = "Scheduler")]
    pub threads: Option<Threads>,

    /// Sequences that may be in one step together
    #[arg(long, value_name = "SEQUENCES", default_value_t = MaxSequences::of::<64>(), help_heading = "Scheduler")]
    pub max_num_seqs: MaxSequences,

    /// Tokens that one step may put through the model; longer prompts take several steps
    #[arg(long, value_name = "TOKENS", default_value_t = BatchedTokens::of::<512>(), help_heading = "Scheduler")]
    pub max_num_batched_tokens: BatchedTokens,

    /// Sequences that may wait for their first step; a request beyond is answered 503
    #[arg(long, value_name = "SEQUENCES", default_value_t = QueuedRequests::of::<1024>(), help_heading = "Scheduler")]
    pub max_queued_requests: QueuedRequests,

    /// Memory of the KV cache, in bytes [default: what --max-num-seqs whole contexts need, at most
    /// half of the memory that is free]
    #[arg(
        long,
        value_name = "BYTES",
        conflicts_with = "num_gpu_blocks_override",
        help_heading = "Scheduler"
    )]
    pub kv_cache_memory_bytes: Option<KvCacheBytes>,

    /// Blocks of 32 tokens in the KV cache, on whatever device, instead of a size in bytes
    #[arg(long, value_name = "BLOCKS", help_heading = "Scheduler")]
    pub num_gpu_blocks_override: Option<KvBlocks>,

    /// Keep the KV cache of finished requests, and compute only what is new of a prompt that begins as
    /// another did; the default
    #[arg(
        long = "enable-prefix-caching",
        action = ArgAction::SetTrue,
        overrides_with_all = ["enable_prefix_caching", "prefix_caching_on"],
        help_heading = "Scheduler"
    )]
    pub prefix_caching_on: (),

    /// Compute every prompt as a whole
    #[arg(
        long = "no-enable-prefix-caching",
        action = ArgAction::SetFalse,
        overrides_with_all = ["enable_prefix_caching", "prefix_caching_on"],
        help_heading = "Scheduler"
    )]
    pub enable_prefix_caching: bool,

    /// Compute no stats at all; refused together with the two flags that report them
    #[arg(long, help_heading = "Stats")]
    pub disable_log_stats: bool,

    /// Report what a request cost in x-vllm-* headers; of streams in trailers, to clients that send TE: trailers
    #[arg(long, help_heading = "Stats")]
    pub enable_request_stats_headers: bool,

    /// Report what a request cost as `metrics` in the body: of requests with "include_metrics": true,
    /// or always
    #[arg(
        long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true,
        default_missing_value = "on-request", help_heading = "Stats"
    )]
    pub enable_per_request_metrics: Option<PerRequestMetrics>,

    /// Report cached tokens in usage.prompt_tokens_details
    #[arg(long, help_heading = "Stats")]
    pub enable_prompt_tokens_details: bool,

    /// Write one JSON line per finished request to this file, or to standard output with `-`
    #[arg(long, value_name = "FILE|-", help_heading = "Stats")]
    pub usage_log: Option<PathBuf>,
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// When a response carries the body `metrics` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PerRequestMetrics {
    /// When the request has `"include_metrics": true`.
    OnRequest,
    /// In every eligible response.
    Always,
}

/// A command line of nothing but engine flags.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "candela-engine",
    version,
    about = "An OpenAI-compatible inference engine that says what each request cost",
    after_help = "Other commands, each with --help:\n  \
                  candela-engine inspect MODEL  says what a model is and what it needs\n  \
                  candela-engine pull MODEL     brings a model to this machine without serving it"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    flags: EngineFlags,
}

/// Parses a command line, its first item the program's name. `--max_model_len` is read as
/// `--max-model-len`, as vLLM does.
///
/// # Errors
/// clap's error, which also carries `--help` and `--version`. The stats rule is reported as an
/// argument conflict, so that a server with contradictory stats flags starts nothing.
pub fn parse_engine_flags(
    args: impl IntoIterator<Item = OsString>,
) -> Result<EngineFlags, clap::Error> {
    let flags = Cli::try_parse_from(normalize_arguments(args))?.flags;
    flags.stats_gates().check().map_err(|conflict| {
        use clap::CommandFactory;
        Cli::command().error(clap::error::ErrorKind::ArgumentConflict, conflict)
    })?;
    Ok(flags)
}

/// Every flag of a command line as [`normalize_flag`] makes it.
pub(crate) fn normalize_arguments(
    args: impl IntoIterator<Item = OsString>,
) -> impl Iterator<Item = OsString> {
    let args: Vec<OsString> = args
        .into_iter()
        .map(|arg| match arg.into_string() {
            Ok(text) => OsString::from(normalize_flag(&text)),
            Err(raw) => raw,
        })
        .collect();
    args.into_iter()
}

/// The flag with dashes for underscores in its name; a value after `=`, or anything that is no flag,
/// stays as it is.
pub fn normalize_flag(arg: &str) -> String {
    if !arg.starts_with("--") {
        return arg.to_owned();
    }
    match arg.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
        None => arg.replace('_', "-"),
    }
}

impl EngineFlags {
    /// The defaults of every flag, for `model`.
    pub fn for_model(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            served_model_name: Vec::new(),
            download_dir: None,
            download_plain_http: false,
            weights_cache_dir: None,
            load_format: LoadFormat::Auto,
            dtype: Dtype::Auto,
            runner: RunnerType::Auto,
            quantization: Quantization::None,
            max_model_len: None,
            chat_template: None,
            tool_call_parser: None,
            enable_auto_tool_choice: false,
            exclude_tools_when_tool_choice_none: false,
            reasoning_parser: None,
            seed: None,
            host: IpAddr::from([0, 0, 0, 0]),
            port: 8000,
            api_key_file: None,
            max_body_bytes: MaxBodyBytes::of::<33_554_432>(),
            sse_keep_alive_interval: KeepAliveSeconds::of::<15>(),
            drain_grace: DrainSeconds::of::<5>(),
            shutdown_timeout: DrainSeconds::of::<60>(),
            connection: ConnectionFlags::default(),
            log_format: LogFormat::Text,
            device: Device::Auto,
            gpu_memory_utilization: GpuMemoryUtilization::default(),
            threads: None,
            max_num_seqs: MaxSequences::of::<64>(),
            max_num_batched_tokens: BatchedTokens::of::<512>(),
            max_queued_requests: QueuedRequests::of::<1024>(),
            kv_cache_memory_bytes: None,
            num_gpu_blocks_override: None,
            prefix_caching_on: (),
            enable_prefix_caching: true,
            disable_log_stats: false,
            enable_request_stats_headers: false,
            enable_per_request_metrics: None,
            enable_prompt_tokens_details: false,
            usage_log: None,
        }
    }

    /// The long name of every flag, without dashes.
    pub fn names() -> Vec<String> {
        let command = Self::augment_args(clap::Command::new("candela-engine"));
        command
            .get_arguments()
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .collect()
    }

    /// The switches that the stats rule is about.
    pub fn stats_gates(&self) -> StatsGates {
        StatsGates {
            logging: !self.disable_log_stats,
            headers: self.enable_request_stats_headers,
            per_request_metrics: self.enable_per_request_metrics.is_some(),
        }
    }

    /// Arguments that parse back into this value: flags in declaration order, those at their default
    /// left out. Values are attached with `=`, so that none can be taken for a flag.
    pub fn to_args(&self) -> Vec<String> {
        let defaults = Self::for_model("");
        let Self {
            model,
            served_model_name,
            download_dir,
            download_plain_http,
            weights_cache_dir,
            load_format,
            dtype,
            runner,
            quantization,
            max_model_len,
            chat_template,
            tool_call_parser,
            enable_auto_tool_choice,
            exclude_tools_when_tool_choice_none,
            reasoning_parser,
            seed,
            host,
            port,
            api_key_file,
            max_body_bytes,
            sse_keep_alive_interval,
            drain_grace,
            shutdown_timeout,
            connection,
            log_format,
            device,
            gpu_memory_utilization,
            threads,
            max_num_seqs,
            max_num_batched_tokens,
            max_queued_requests,
            kv_cache_memory_bytes,
            num_gpu_blocks_override,
            prefix_caching_on: (),
            enable_prefix_caching,
            disable_log_stats,
            enable_request_stats_headers,
            enable_per_request_metrics,
            enable_prompt_tokens_details,
            usage_log,
        } = self;
        let mut args = Rendered(Vec::new());
        args.value("model", model);
        for name in served_model_name {
            args.value("served-model-name", name);
        }
        args.given(
            "download-dir",
            download_dir.as_ref().map(|p| p.display()).as_ref(),
        );
        args.switch("download-plain-http", *download_plain_http);
        args.given(
            "weights-cache-dir",
            weights_cache_dir.as_ref().map(|p| p.display()).as_ref(),
        );
        args.changed(
            "load-format",
            &value_name(load_format),
            &value_name(&defaults.load_format),
        );
        args.changed("dtype", &value_name(dtype), &value_name(&defaults.dtype));
        args.changed("runner", &value_name(runner), &value_name(&defaults.runner));
        args.changed(
            "quantization",
            &value_name(quantization),
            &value_name(&defaults.quantization),
        );
        args.given("max-model-len", max_model_len.as_ref());
        args.given(
            "chat-template",
            chat_template.as_ref().map(|p| p.display()).as_ref(),
        );
        let parser = tool_call_parser.as_ref().map(value_name);
        args.given("tool-call-parser", parser.as_ref());
        args.switch("enable-auto-tool-choice", *enable_auto_tool_choice);
        args.switch(
            "exclude-tools-when-tool-choice-none",
            *exclude_tools_when_tool_choice_none,
        );
        let parser = reasoning_parser.as_ref().map(value_name);
        args.given("reasoning-parser", parser.as_ref());
        args.given("seed", seed.as_ref());
        args.changed("host", host, &defaults.host);
        args.changed("port", port, &defaults.port);
        args.given(
            "api-key-file",
            api_key_file.as_ref().map(|p| p.display()).as_ref(),
        );
        args.changed("max-body-bytes", max_body_bytes, &defaults.max_body_bytes);
        let keep_alive = &defaults.sse_keep_alive_interval;
        args.changed(
            "sse-keep-alive-interval",
            sse_keep_alive_interval,
            keep_alive,
        );
        args.changed("drain-grace", drain_grace, &defaults.drain_grace);
        args.changed(
            "shutdown-timeout",
            shutdown_timeout,
            &defaults.shutdown_timeout,
        );
        connection.render(&mut args);
        args.changed(
            "log-format",
            &value_name(log_format),
            &value_name(&defaults.log_format),
        );
        args.changed("device", device, &defaults.device);
        let utilization = &defaults.gpu_memory_utilization;
        args.changed(
            "gpu-memory-utilization",
            gpu_memory_utilization,
            utilization,
        );
        args.given("threads", threads.as_ref());
        args.changed("max-num-seqs", max_num_seqs, &defaults.max_num_seqs);
        let batched = &defaults.max_num_batched_tokens;
        args.changed("max-num-batched-tokens", max_num_batched_tokens, batched);
        args.changed(
            "max-queued-requests",
            max_queued_requests,
            &defaults.max_queued_requests,
        );
        args.given("kv-cache-memory-bytes", kv_cache_memory_bytes.as_ref());
        args.given("num-gpu-blocks-override", num_gpu_blocks_override.as_ref());
        args.switch("no-enable-prefix-caching", !*enable_prefix_caching);
        args.switch("disable-log-stats", *disable_log_stats);
        args.switch(
            "enable-request-stats-headers",
            *enable_request_stats_headers,
        );
        let when = enable_per_request_metrics.as_ref().map(value_name);
        args.given("enable-per-request-metrics", when.as_ref());
        args.switch(
            "enable-prompt-tokens-details",
            *enable_prompt_tokens_details,
        );
        args.given(
            "usage-log",
            usage_log.as_ref().map(|p| p.display()).as_ref(),
        );
        args.0
    }
}

fn value_name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

pub(crate) struct Rendered(Vec<String>);

impl Rendered {
    fn value(&mut self, flag: &str, value: &impl fmt::Display) {
        self.0.push(format!("--{flag}={value}"));
    }

    fn given(&mut self, flag: &str, value: Option<&impl fmt::Display>) {
        if let Some(value) = value {
            self.value(flag, value);
        }
    }

    pub(crate) fn changed<T: fmt::Display + PartialEq>(
        &mut self,
        flag: &str,
        value: &T,
        default: &T,
    ) {
        if value != default {
            self.value(flag, value);
        }
    }

    fn switch(&mut self, flag: &str, on: bool) {
        if on {
            self.0.push(format!("--{flag}"));
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
