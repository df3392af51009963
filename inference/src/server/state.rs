//! What all connections share: the flags, the model once it is loaded, and the server's phase.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use candela_flags::EngineFlags;
use tokio::sync::watch;

use super::{
    auth::ApiKeys, body::Intake, error::ApiError, in_flight::InFlight, parsers::Parsers,
    responses::ResponseStore, usage_log::UsageLog,
};
use crate::{
    engine::EngineHandle,
    fetch::DownloadProgress,
    grammar::GrammarCompiler,
    model::LoadProgress,
    prompt::{ChatTemplate, Tokenizer},
    request::ModelFacts,
    stats::Metrics,
};

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The model loads.
    Loading,
    /// Requests are answered.
    Ready,
    /// Told to stop; late requests are still answered.
    Draining,
    /// Told to stop; only what runs is finished.
    Refusing,
    /// The engine died.
    Dead,
}

impl Phase {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Draining | Self::Refusing => "draining",
            Self::Dead => "failed",
        }
    }
}

/// A loaded model and its engine.
pub(super) struct Serving {
    pub(super) engine: EngineHandle,
    pub(super) tokenizer: Arc<Tokenizer>,
    /// None: the model knows no chats.
    pub(super) template: Option<ChatTemplate>,
    /// How its answers are read.
    pub(super) parsers: Parsers,
    pub(super) grammars: GrammarCompiler,
    pub(super) facts: ModelFacts,
    pub(super) metrics: Arc<Metrics>,
    /// The model behind the served names.
    pub(super) root: String,
    /// Unix seconds.
    pub(super) created: u64,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// How far the way to a served model is.
#[derive(Debug, Default)]
pub struct StartProgress {
    /// Of its files to this machine.
    pub download: Arc<DownloadProgress>,
    /// Of its weights into memory.
    pub load: LoadProgress,
    /// From the start of the process to a model that answers; set once.
    pub ready_after: OnceLock<Duration>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) flags: EngineFlags,
    pub(super) keys: Option<Arc<ApiKeys>>,
    pub(super) usage_log: Option<UsageLog>,
    pub(super) progress: Arc<StartProgress>,
    pub(super) in_flight: InFlight,
    pub(super) intake: Intake,
    serving: OnceLock<Arc<Serving>>,
    pub(super) responses: Arc<ResponseStore>,
    phase: watch::Sender<Phase>,
}

/// The state, as handlers get it.
pub(super) type SharedState = Arc<ServerState>;

impl ServerState {
    pub(super) fn new(
        flags: EngineFlags,
        keys: Option<Arc<ApiKeys>>,
        usage_log: Option<UsageLog>,
    ) -> SharedState {
        Arc::new(Self {
            intake: Intake::new(&flags),
            flags,
            keys,
            usage_log,
            progress: Arc::default(),
            in_flight: InFlight::new(),
            serving: OnceLock::new(),
            responses: Arc::default(),
            phase: watch::Sender::new(Phase::Loading),
        })
    }

    /// The phase now. An engine that died is seen at once.
    pub(super) fn phase(&self) -> Phase {
        let phase = *self.phase.borrow();
        let died = self
            .serving
            .get()
            .is_some_and(|serving| serving.engine.is_stopped());
        if phase == Phase::Ready && died {
            Phase::Dead
        } else {
            phase
        }
    }

    /// The phases to come.
    pub(super) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves on to a later phase; never back.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// The model is loaded.
    pub(super) fn set_serving(&self, serving: Arc<Serving>) {
        // Only the one task that loads calls this, once.
        let _ = self.serving.set(serving);
        self.advance(Phase::Ready);
    }

    /// The model, if it is loaded, whatever the phase.
    pub(super) fn loaded(&self) -> Option<&Arc<Serving>> {
        self.serving.get()
    }

    /// The model, if requests are answered now.
    ///
    /// # Errors
    /// 503 with the reason.
    pub(super) fn serving(&self) -> Result<Arc<Serving>, ApiError> {
        match (self.phase(), self.serving.get()) {
            (Phase::Ready | Phase::Draining, Some(serving)) => Ok(Arc::clone(serving)),
            (Phase::Refusing, _) => Err(ApiError::unavailable("the server is shutting down")),
            (Phase::Dead, _) => Err(ApiError::unavailable(
                "the engine failed; the server restarts",
            )),
            _ => Err(ApiError::unavailable("the model is still loading")),
        }
    }
}
