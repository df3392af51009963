//! Compiling grammars: once per content, on a thread of its own, within bounds.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
};

use llguidance::{Matcher, ParserFactory, api::ParserLimits, toktrie::InferenceCapabilities};
use tokio::{sync::oneshot, time};

use super::{
    Grammar, GrammarError, MaskClock, Vocabulary,
    branch::Branch,
    limits,
    lower::lower,
    masks::{Mask, MaskPool},
};
use crate::engine::ConstraintFactory;

/// A grammar in the terms of the model's vocabulary. What branches need of it is theirs: each goes on
/// from a copy of its beginning.
pub struct CompiledGrammar {
    start: Mutex<Matcher>,
    first: Arc<Mask>,
    masks: Arc<MaskPool>,
    eos_token_ids: Vec<u32>,
}

impl CompiledGrammar {
    /// Makes what restricts the branches of a request. With `ignore_eos` an answer that could end goes
    /// on as long as the grammar allows anything more.
    pub fn constraint(self: &Arc<Self>, ignore_eos: bool) -> ConstraintFactory {
        let grammar = Arc::clone(self);
        Box::new(move || Box::new(Branch::new(Arc::clone(&grammar), ignore_eos)))
    }

    /// The state before the first token.
    pub(super) fn start(&self) -> Matcher {
        lock(&self.start).deep_clone()
    }

    /// The mask of the first token.
    pub(super) fn first(&self) -> &Arc<Mask> {
        &self.first
    }

    pub(super) fn masks(&self) -> &Arc<MaskPool> {
        &self.masks
    }

    /// Tokens that end an answer.
    pub(super) fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }
}

/// Compiles grammars for one model.
///
/// # Guarantees
/// A grammar is compiled at most once while it is among the [`limits::CACHED_GRAMMARS_MAX`] last used,
/// also when it cannot be: its error is remembered.
pub struct GrammarCompiler {
    jobs: SyncSender<Job>,
    cache: Arc<Mutex<Cache>>,
}

type Outcome = Result<Arc<CompiledGrammar>, GrammarError>;
type MakeVocabulary = Box<dyn FnOnce() -> Result<Vocabulary, GrammarError> + Send>;

struct Job {
    grammar: Grammar,
    /// Told when it is its turn.
    begun: oneshot::Sender<()>,
    done: oneshot::Sender<Outcome>,
}

impl GrammarCompiler {
    /// A compiler whose vocabulary is made when the first grammar comes.
    ///
    /// # Errors
    /// The system's, if it has no thread.
    pub fn start(
        vocabulary: impl FnOnce() -> Result<Vocabulary, GrammarError> + Send + 'static,
        clock: MaskClock,
    ) -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel(limits::COMPILE_QUEUE_MAX);
        let cache = Arc::<Mutex<Cache>>::default();
        let worker = Worker {
            cache: Arc::clone(&cache),
            vocabulary: Some(Box::new(vocabulary)),
            factory: None,
            masks: Arc::new(MaskPool::start(clock)?),
        };
        thread::Builder::new()
            .name("grammar".to_owned())
            .stack_size(limits::COMPILE_STACK_BYTES)
            .spawn(move || worker.run(&queue))?;
        Ok(Self { jobs, cache })
    }

    /// The compiled grammar.
    ///
    /// # Errors
    /// [`GrammarError`]: the grammar's own fault; [`GrammarError::Busy`] when those of others take too
    /// long or are too many; a tokenizer that cannot be used; [`GrammarError::Failed`].
    pub async fn compile(&self, grammar: Grammar) -> Outcome {
        grammar.check_total()?;
        if let Some(known) = lock(&self.cache).get(&grammar) {
            return known;
        }
        let (begun, turn) = oneshot::channel();
        let (done, outcome) = oneshot::channel();
        let job = Job {
            grammar,
            begun,
            done,
        };
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(GrammarError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(GrammarError::Failed),
        }
        // Its own time is counted from its turn on: what others' grammars take is not its fault.
        match time::timeout(limits::COMPILE_TIMEOUT, turn).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(GrammarError::Failed),
            Err(_) => return Err(GrammarError::Busy),
        }
        match time::timeout(limits::COMPILE_TIMEOUT, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(GrammarError::Failed),
            Err(_) => Err(GrammarError::Invalid(format!(
                "it took more than {} s to compile",
                limits::COMPILE_TIMEOUT.as_secs()
            ))),
        }
    }
}

/// The thread that compiles.
struct Worker {
    cache: Arc<Mutex<Cache>>,
    vocabulary: Option<MakeVocabulary>,
    factory: Option<Result<(Vocabulary, ParserFactory), GrammarError>>,
    masks: Arc<MaskPool>,
}

impl Worker {
    fn run(mut self, queue: &Receiver<Job>) {
        for Job {
            grammar,
            begun,
            done,
        } in queue
        {
            if done.is_closed() || begun.send(()).is_err() {
                continue;
            }
            let known = lock(&self.cache).get(&grammar);
            let outcome = known.unwrap_or_else(|| {
                let outcome = self.compile(&grammar);
                lock(&self.cache).insert(grammar, outcome.clone());
                outcome
            });
            // Whoever asked may have gone.
            let _ = done.send(outcome);
        }
    }

    fn compile(&mut self, grammar: &Grammar) -> Outcome {
        let (vocabulary, factory) = self.factory()?;
        let lowered = lower(grammar, vocabulary)?;
        let parser = factory.create_parser(lowered);
        let parser = parser.map_err(|error| GrammarError::from_reason(&format!("{error:#}")))?;
        let eos_token_ids = parser.token_env.tok_trie().eos_tokens().to_vec();
        let mut start = Matcher::new(Ok(parser));
        let first = Mask::compute(&mut start)
            .map_err(|error| GrammarError::Invalid(format!("it allows no answer: {error}")))?;
        Ok(Arc::new(CompiledGrammar {
            start: Mutex::new(start),
            first: Arc::new(first),
            masks: Arc::clone(&self.masks),
            eos_token_ids,
        }))
    }

    fn factory(&mut self) -> Result<&(Vocabulary, ParserFactory), GrammarError> {
        if let Some(make) = self.vocabulary.take() {
            self.factory = Some(make().and_then(parser_factory));
        }
        match &self.factory {
            Some(Ok(factory)) => Ok(factory),
            Some(Err(error)) => Err(error.clone()),
            None => Err(GrammarError::Failed),
        }
    }
}

fn parser_factory(vocabulary: Vocabulary) -> Result<(Vocabulary, ParserFactory), GrammarError> {
    let mut factory = ParserFactory::new(
        vocabulary.env(),
        InferenceCapabilities::default(),
        &llguidance::earley::SlicedBiasComputer::general_slices(),
    )
    .map_err(|error| GrammarError::Vocabulary(error.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = ParserLimits {
        max_items_in_row: limits::ROW_ITEMS_MAX,
        initial_lexer_fuel: limits::LEXER_BUILD_FUEL,
        step_lexer_fuel: limits::LEXER_STEP_FUEL,
        step_max_items: limits::STEP_ITEMS_MAX,
        max_lexer_states: limits::LEXER_STATES_MAX,
        max_grammar_size: limits::GRAMMAR_SYMBOLS_MAX,
        precompute_large_lexemes: true,
        verbose_errors: false,
    };
    Ok((vocabulary, factory))
}

/// What was compiled, and when it was last used.
#[derive(Default)]
struct Cache {
    known: HashMap<Grammar, (Outcome, u64)>,
    uses: u64,
    /// Of all grammars in it.
    bytes: usize,
}

impl Cache {
    fn get(&mut self, grammar: &Grammar) -> Option<Outcome> {
        self.uses += 1;
        let (outcome, used) = self.known.get_mut(grammar)?;
        *used = self.uses;
        Some(outcome.clone())
    }

    fn insert(&mut self, grammar: Grammar, outcome: Outcome) {
        let bytes = grammar.bytes();
        while self.known.len() >= limits::CACHED_GRAMMARS_MAX
            || !self.known.is_empty() && self.bytes + bytes > limits::CACHED_GRAMMARS_BYTES_MAX
        {
            self.forget_oldest();
        }
        if self.known.insert(grammar, (outcome, self.uses)).is_none() {
            self.bytes += bytes;
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, (_, used))| *used);
        if let Some(oldest) = oldest.map(|(grammar, _)| grammar.clone()) {
            self.known.remove(&oldest);
            self.bytes -= oldest.bytes();
        }
    }
}

/// A lock whose holders leave nothing half done when they panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_last_used_within_its_bytes() {
        let mut cache = Cache::default();
        let grammar = |i: usize| Grammar::Json(format!("{i:09}").repeat(111_111));
        for i in 0..40 {
            cache.insert(grammar(i), Err(GrammarError::Busy));
            assert!(cache.get(&grammar(0)).is_some(), "{i}");
        }
        let kept = cache.known.keys().map(Grammar::bytes);
        assert_eq!(kept.sum::<usize>(), cache.bytes);
        assert!(cache.bytes <= limits::CACHED_GRAMMARS_BYTES_MAX);
        assert_eq!(cache.known.len(), 16);
        assert!(cache.get(&grammar(39)).is_some() && cache.get(&grammar(1)).is_none());
    }
}
