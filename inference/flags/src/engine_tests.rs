//! The parser and the renderer are each other's inverse, and the stats rule stops the parser.

use proptest::{option, prelude::*};

use super::*;

fn parse(args: &[&str]) -> Result<EngineFlags, clap::Error> {
    let args = std::iter::once("candela-engine").chain(args.iter().copied());
    parse_engine_flags(args.map(OsString::from))
}

prop_compose! {
    fn any_flags()(
        (model, names) in ("[ -~]{1,12}", prop::collection::vec("[a-z=/ -]{1,6}", 0..3)),
        (len, seqs, tokens, queued) in
            (option::of(16u64..=1_048_576), 1u64..=4096, 16u64..=1_048_576, 1u64..=1_000_000),
        (host, port) in (any::<[u8; 4]>(), any::<u16>()),
        (seed, bytes, blocks) in
            (option::of(any::<u64>()), option::of(65_536u64..=1 << 40), option::of(2u64..=1 << 20)),
        (headers, metrics, details) in (any::<bool>(), 0..3, any::<bool>()),
        (no_stats, dtype, keep_alive) in (any::<bool>(), 0usize..3, 0u64..=3600),
        prefix_caching in any::<bool>(),
        path in option::of("/[a-z -]{1,8}"),
    ) -> EngineFlags {
        let mut flags = EngineFlags::for_model(model);
        flags.served_model_name = names;
        flags.max_model_len = len.map(|v| ContextLength::new(v).unwrap());
        flags.max_num_seqs = MaxSequences::new(seqs).unwrap();
        flags.max_num_batched_tokens = BatchedTokens::new(tokens).unwrap();
        flags.max_queued_requests = QueuedRequests::new(queued).unwrap();
        flags.host = host.into();
        flags.port = port;
        flags.seed = seed;
        flags.kv_cache_memory_bytes = bytes.map(|v| KvCacheBytes::new(v).unwrap());
        if bytes.is_none() {
            flags.num_gpu_blocks_override = blocks.map(|v| KvBlocks::new(v).unwrap());
        }
        flags.enable_prefix_caching = prefix_caching;
        flags.disable_log_stats = no_stats;
        flags.enable_request_stats_headers = headers && !no_stats;
        flags.enable_per_request_metrics = match metrics {
            _ if no_stats => None,
            0 => None,
            1 => Some(PerRequestMetrics::OnRequest),
            _ => Some(PerRequestMetrics::Always),
        };
        flags.enable_prompt_tokens_details = details;
        flags.dtype = [Dtype::Auto, Dtype::Float16, Dtype::Float32][dtype];
        flags.load_format = [LoadFormat::Auto, LoadFormat::Dummy][usize::from(details)];
        flags.runner = [RunnerType::Auto, RunnerType::Generate, RunnerType::Pooling][dtype];
        flags.quantization =
            [Quantization::None, Quantization::Q8_0, Quantization::Q4K][dtype];
        flags.log_format = [LogFormat::Text, LogFormat::Json][usize::from(details)];
        flags.sse_keep_alive_interval = KeepAliveSeconds::new(keep_alive).unwrap();
        flags.usage_log = path.clone().map(PathBuf::from);
        flags.download_dir = path.clone().map(PathBuf::from);
        flags.download_plain_http = headers;
        flags.weights_cache_dir = path.clone().map(PathBuf::from);
        flags.device = [Device::Auto, Device::Cpu, Device::Cuda(3)][dtype];
        flags.gpu_memory_utilization = ["0.9", "0.05", "1"][dtype].parse().unwrap();
        flags.threads = len.map(|v| Threads::new(v.min(Threads::MAX)).unwrap());
        flags.api_key_file = path.clone().map(PathBuf::from);
        flags.chat_template = path.map(PathBuf::from);
        flags.tool_call_parser = [None, Some(ToolCallParser::Hermes), Some(ToolCallParser::Llama3Json)][dtype];
        flags.reasoning_parser = [None, Some(ReasoningParser::Auto), Some(ReasoningParser::DeepseekR1)][dtype];
        flags.enable_auto_tool_choice = details;
        flags.exclude_tools_when_tool_choice_none = headers;
        flags
    }
}

proptest! {
    #[test]
    fn rendered_flags_parse_back(flags in any_flags()) {
        let args = flags.to_args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        prop_assert_eq!(parse(&args).unwrap(), flags);
    }
}

#[test]
fn defaults_of_the_parser_and_of_the_struct_agree() {
    assert_eq!(parse(&["--model=m"]).unwrap(), EngineFlags::for_model("m"));
    assert_eq!(EngineFlags::for_model("m").to_args(), ["--model=m"]);
}

#[test]
fn underscores_are_dashes_in_names_only() {
    let flags = parse(&["--model=my_model", "--max_model_len=64"]).unwrap();
    assert_eq!(flags.model, "my_model");
    assert_eq!(flags.max_model_len.map(ContextLength::get), Some(64));
}

#[test]
fn bare_metrics_flag_means_on_request() {
    let flags = parse(&["--model=m", "--enable-per-request-metrics"]).unwrap();
    assert_eq!(
        flags.enable_per_request_metrics,
        Some(PerRequestMetrics::OnRequest)
    );
    let flags = parse(&["--model=m", "--enable-per-request-metrics=always"]).unwrap();
    assert_eq!(
        flags.enable_per_request_metrics,
        Some(PerRequestMetrics::Always)
    );
}

#[test]
fn the_last_of_the_prefix_caching_flags_counts() {
    let cached = |args: &[&str]| {
        let flags = parse(&[&["--model=m"], args].concat()).unwrap();
        flags.enable_prefix_caching
    };
    let (on, off) = ("--enable-prefix-caching", "--no_enable_prefix_caching");
    assert!(cached(&[]) && cached(&[on]) && cached(&[off, on]) && cached(&[off, off, on]));
    assert!(!cached(&[off]) && !cached(&[on, off]) && !cached(&[on, on, off]));
}

#[test]
fn stats_without_logging_do_not_parse() {
    for extra in [
        "--enable-request-stats-headers",
        "--enable-per-request-metrics=always",
    ] {
        let error = parse(&["--model=m", "--disable-log-stats", extra]).unwrap_err();
        assert_ne!(error.exit_code(), 0);
        let text = error.to_string();
        assert!(
            text.contains("--disable-log-stats") && text.contains(&extra[..20]),
            "{text}"
        );
    }
}

#[test]
fn values_outside_their_bounds_do_not_parse() {
    for bad in [
        "--max-num-seqs=0",
        "--max-model-len=8",
        "--port=70000",
        "--max-num-seqs=-1",
    ] {
        assert!(parse(&["--model=m", bad]).is_err(), "{bad}");
    }
}
