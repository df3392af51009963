//! From flags to a running engine: the model's files, its runner, tokenizer and chat template.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};

use candela_flags::EngineFlags;

use super::{
    load_watch::{LOAD_LIMITS, LoadBomb, watched},
    parsers::{ParserError, Parsers},
    state::{Serving, StartProgress},
    wall_clock,
};
use crate::{
    engine::{self, Clock, EngineConfig, MonotonicClock, Runner, RunnerType},
    fetch::{self, DownloadProgress, FetchError, FetchOptions},
    grammar::{GrammarCompiler, GrammarError, MaskClock, Vocabulary},
    inspect::Report,
    model::{
        self, Device, DeviceError, Embeddings, LoadProgress, LoadedModel, ModelError, ModelFiles,
        SourceError, runner::BLOCK_TOKENS,
    },
    prompt::{ChatTemplate, TemplateError, TemplateFiles, Tokenizer, TokenizerError},
    request::{DefaultsError, EmbeddingFacts, ModelFacts, SamplingDefaults},
    stats::{CacheConfig, Metrics},
};

/// The model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The device asked for is not there, or cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The model cannot be brought to this machine.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The sampling defaults cannot be used.
    #[error(transparent)]
    Defaults(#[from] DefaultsError),
    /// `--chat-template` cannot be read.
    #[error("--chat-template {}", path.display())]
    TemplateFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is a bomb.
    #[error(transparent)]
    Bomb(#[from] LoadBomb),
    /// Answers cannot be read as the flags want.
    #[error(transparent)]
    Parser(#[from] ParserError),
    /// The engine did not start.
    #[error("starting the engine: {0}")]
    Engine(io::Error),
    /// Loading failed in a way that it should not.
    #[error("loading the model panicked")]
    Panicked,
}

/// What an engine is started with.
pub struct ModelParts {
    /// Runs the model.
    pub runner: Box<dyn Runner>,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// None: the model knows no chats.
    pub template: Option<ChatTemplate>,
    /// Sampling of requests that do not say.
    pub defaults: SamplingDefaults,
    /// Tokens of one sequence.
    pub max_model_len: usize,
    /// Token ids are below it.
    pub vocab_size: usize,
    /// Tokens with which the model ends an answer.
    pub eos_token_ids: Vec<u32>,
    /// Blocks of the KV cache.
    pub kv_blocks: usize,
    /// Type of weights and cache, for the log.
    pub dtype: &'static str,
    /// What the runner is for.
    pub runner_type: RunnerType,
    /// How it makes embeddings, if it is run for that.
    pub embeddings: Option<Embeddings>,
}

/// A model that is served, and the thread that runs it.
pub struct Loaded {
    pub(super) serving: Arc<Serving>,
    pub(super) engine_thread: JoinHandle<()>,
    pub(super) dtype: &'static str,
    pub(super) kv_blocks: usize,
}

/// Fetches and loads the model that the flags name, and starts its engine. For a thread of its own.
///
/// # Errors
/// [`LoadError`], naming file, tensor or setting.
pub fn load_model(flags: &EngineFlags, progress: &StartProgress) -> Result<Loaded, LoadError> {
    let device = model::open_device(flags.device)?;
    let files = open_model(flags, &progress.download)?;
    let template = chat_template(&files, flags)?;
    let defaults = match files.read_optional("generation_config.json")? {
        Some(bytes) => SamplingDefaults::from_generation_config(&bytes)?,
        None => SamplingDefaults::default(),
    };
    let (tokenizer, model) = tokenizer_and_model(&files, device, flags, &progress.load)?;
    start_engine(
        ModelParts {
            tokenizer,
            runner: model.runner,
            template,
            defaults,
            max_model_len: model.max_model_len,
            vocab_size: model.vocab_size,
            eos_token_ids: model.eos_token_ids,
            kv_blocks: model.kv_blocks,
            dtype: model.dtype,
            runner_type: model.runner_type,
            embeddings: model.embeddings,
        },
        flags,
    )
}

/// Loads both at once. What is wrong with the tokenizer ends the loading of the weights.
fn tokenizer_and_model(
    files: &ModelFiles,
    device: Device,
    flags: &EngineFlags,
    progress: &LoadProgress,
) -> Result<(Tokenizer, LoadedModel), LoadError> {
    let vocab_size = model::vocab_size(files)?;
    // Before the tokenizer, whose library begins threads of its own.
    model::use_threads(flags);
    thread::scope(|scope| {
        let tokenizer = || {
            let loading = || progress.memory_bytes.load(Ordering::Relaxed) as usize;
            let tokenizer = tokenizer(files, vocab_size, &loading);
            let failed = tokenizer.is_err();
            progress.given_up.fetch_or(failed, Ordering::Relaxed);
            tokenizer
        };
        let tokenizer = thread::Builder::new()
            .name("load-tokenizer".to_owned())
            .spawn_scoped(scope, tokenizer)
            .map_err(LoadError::Engine)?;
        let model = model::load(files, device, flags, progress);
        let tokenizer = tokenizer.join().unwrap_or(Err(LoadError::Panicked))?;
        Ok((tokenizer, model?))
    })
}

/// Says what the model that the flags name is, and what it needs.
///
/// # Errors
/// [`LoadError`], naming file, tensor or setting, as loading would.
pub fn inspect_model(flags: &EngineFlags) -> Result<Report, LoadError> {
    let files = open_model(flags, &Arc::default())?;
    let description = model::describe(&files, flags)?;
    let tokenizer = tokenizer(&files, description.vocab_size, &|| 0)?;
    Ok(Report {
        model: flags.model.clone(),
        description,
        tokenizer_tokens: tokenizer.token_count(),
        chat_template: chat_template(&files, flags)?.is_some(),
    })
}

/// The model's files, fetched where they are not on this machine.
fn open_model(
    flags: &EngineFlags,
    progress: &Arc<DownloadProgress>,
) -> Result<ModelFiles, LoadError> {
    let options = FetchOptions {
        download_dir: flags.download_dir.clone(),
        plain_http: flags.download_plain_http,
        verify: false,
    };
    let fetched = fetch::fetch(&flags.model, &options, progress)?;
    let path = fetched.map(|fetched| fetched.path.display().to_string());
    Ok(model::open(path.as_ref().unwrap_or(&flags.model))?)
}

fn chat_template(
    files: &ModelFiles,
    flags: &EngineFlags,
) -> Result<Option<ChatTemplate>, LoadError> {
    let flag = flags
        .chat_template
        .as_ref()
        .map(|path| {
            let read = fs::read(path);
            read.map_err(|source| LoadError::TemplateFile {
                path: path.clone(),
                source,
            })
        })
        .transpose()?;
    let files = TemplateFiles {
        flag,
        jinja: files.read_optional("chat_template.jinja")?,
        tokenizer_config: files.read_optional("tokenizer_config.json")?,
    };
    let template = || ChatTemplate::from_files(files);
    Ok(watched("the chat template", LOAD_LIMITS, &|| 0, template)??)
}

/// `others` says what else may be taken of memory meanwhile.
fn tokenizer(
    files: &ModelFiles,
    vocab_size: usize,
    others: &dyn Fn() -> usize,
) -> Result<Tokenizer, LoadError> {
    let bytes = files.read("tokenizer.json")?;
    let tokenizer = move || Tokenizer::from_bytes(&bytes, vocab_size);
    Ok(watched("tokenizer.json", LOAD_LIMITS, others, tokenizer)??)
}

/// Starts an engine.
///
/// # Errors
/// [`LoadError::Engine`] when the flags contradict each other or the system has no thread,
/// [`LoadError::Parser`] when answers cannot be read as they want.
pub fn start_engine(parts: ModelParts, flags: &EngineFlags) -> Result<Loaded, LoadError> {
    let parsers = Parsers::new(flags, parts.template.as_ref(), &parts.tokenizer)?;
    let log_stats = !flags.disable_log_stats;
    let served_names = served_names(flags);
    let cache = CacheConfig {
        block_size: BLOCK_TOKENS,
        num_blocks: parts.kv_blocks,
    };
    let name = served_names.first().map_or("", String::as_str);
    let metrics = Metrics::new(name, parts.max_model_len, cache, log_stats);
    let whole_prompts = true;
    let whole_prompts = parts.runner_type == RunnerType::Pooling { whole_prompts };
    let step_tokens = flags.max_num_batched_tokens.as_usize();
    let config = EngineConfig {
        max_num_seqs: flags.max_num_seqs.as_usize(),
        max_num_batched_tokens: if whole_prompts {
            step_tokens.max(parts.max_model_len)
        } else {
            step_tokens
        },
        max_queued_requests: flags.max_queued_requests.as_usize(),
        max_model_len: parts.max_model_len,
        kv_blocks: parts.kv_blocks,
        // Where tokens see those behind them, no beginning of a prompt can be used for another.
        prefix_caching: flags.enable_prefix_caching && !whole_prompts,
        eos_token_ids: parts.eos_token_ids,
        runner_type: parts.runner_type,
    };
    let clock = log_stats.then(|| Arc::new(MonotonicClock::start()) as Arc<dyn Clock>);
    let tokenizer = Arc::new(parts.tokenizer);
    let grammars = grammar_compiler(
        &tokenizer,
        parts.vocab_size,
        config.eos_token_ids.clone(),
        MaskClock {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
        },
    )?;
    let (engine, engine_thread) = engine::start(parts.runner, config, clock, Arc::clone(&metrics))
        .map_err(LoadError::Engine)?;
    let facts = ModelFacts {
        served_names,
        max_model_len: parts.max_model_len,
        vocab_size: parts.vocab_size,
        max_queued_sequences: flags.max_queued_requests.as_usize(),
        defaults: SamplingDefaults {
            seed: flags.seed,
            ..parts.defaults
        },
        embeddings: parts.embeddings.map(embedding_facts),
    };
    let serving = Arc::new(Serving {
        engine,
        tokenizer,
        template: parts.template,
        parsers,
        grammars,
        facts,
        metrics,
        root: flags.model.clone(),
        created: wall_clock::unix_seconds(),
    });
    Ok(Loaded {
        serving,
        engine_thread,
        dtype: parts.dtype,
        kv_blocks: parts.kv_blocks,
    })
}

fn embedding_facts(embeddings: Embeddings) -> EmbeddingFacts {
    let Embeddings {
        dimensions,
        pooling: _,
        normalize,
        lowercase,
        matryoshka,
    } = embeddings;
    EmbeddingFacts {
        dimensions,
        normalize,
        lowercase,
        matryoshka,
    }
}

/// The compiler of structured outputs; it looks at the tokenizer when the first one comes.
fn grammar_compiler(
    tokenizer: &Arc<Tokenizer>,
    vocab_size: usize,
    eos_token_ids: Vec<u32>,
    clock: MaskClock,
) -> Result<GrammarCompiler, LoadError> {
    let tokenizer = Arc::clone(tokenizer);
    let vocabulary = move || {
        let tokens = tokenizer.token_bytes();
        let tokens = tokens.map_err(|error| GrammarError::Vocabulary(error.to_string()))?;
        Ok(Vocabulary::new(tokens, vocab_size, &eos_token_ids))
    };
    GrammarCompiler::start(vocabulary, clock).map_err(LoadError::Engine)
}

fn served_names(flags: &EngineFlags) -> Vec<String> {
    if flags.served_model_name.is_empty() {
        vec![flags.model.clone()]
    } else {
        flags.served_model_name.clone()
    }
}
