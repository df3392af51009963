//! From a started engine to an answer that says what it cost, and serving on from there.

use std::{io::Write, net::SocketAddr, process::ExitStatus, time::Duration};

use candela_crds::InferenceService;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{LocalError, Options, Plan, process::Engine, show};
use crate::http::{Response, send};

/// Pause between looks at a loading engine.
const LOOK: Duration = Duration::from_millis(10);
/// Tokens of the answer to the one question.
const ANSWER_TOKENS: u32 = 128;

/// An engine that runs, and whoever asks it.
pub(super) struct Session {
    pub(super) options: Options,
    pub(super) service: InferenceService,
    pub(super) plan: Plan,
    pub(super) api_key: Option<String>,
    pub(super) address: SocketAddr,
}

impl Session {
    /// Waits for the model, asks the question, shows the answer, and serves on unless told not to.
    pub(super) async fn serve(
        &self,
        engine: &mut Engine,
        out: &mut impl Write,
    ) -> Result<(), LocalError> {
        let loaded = self.load(engine, out).await?;
        writeln!(
            out,
            "loads    {}: ready ({:.2} s)",
            self.plan.model,
            loaded.as_secs_f64()
        )?;
        let response = self.ask(engine, out).await?;
        let answered = self.options.started.elapsed();
        self.show(&response, out)?;
        writeln!(
            out,
            "first answer {:.2} s after the start of this program",
            answered.as_secs_f64()
        )?;
        if self.options.once {
            return Ok(());
        }
        writeln!(
            out,
            "\nserves   http://{}/v1 until Ctrl-C; ask it yourself:\n",
            self.address
        )?;
        writeln!(out, "{}\n", self.curl())?;
        out.flush()?;
        engine.show_output();
        let status = engine.wait().await?;
        Err(self.ended(engine, status, "while it was serving").await)
    }

    /// Waits until the model is loaded; shows what the engine says of its progress.
    async fn load(
        &self,
        engine: &mut Engine,
        out: &mut impl Write,
    ) -> Result<Duration, LocalError> {
        let started = Instant::now();
        let rollout = self.service.spec.rollout.as_ref();
        let asked = rollout.and_then(|rollout| rollout.startup_timeout_seconds);
        let limit = asked.map_or(1800, |seconds| u64::try_from(seconds.get()).unwrap_or(0));
        let mut shown = String::new();
        loop {
            if let Some(status) = engine.ended() {
                return Err(self.ended(engine, status, "before it was ready").await);
            }
            match send(self.address, "/ready", None, None).await {
                Ok(response) if response.status.is_success() => return Ok(started.elapsed()),
                Ok(_) => self.progress(started, &mut shown, out).await?,
                Err(_) => {}
            }
            if started.elapsed() > Duration::from_secs(limit) {
                return Err(LocalError::NotReady(limit));
            }
            sleep(LOOK).await;
        }
    }

    async fn progress(
        &self,
        started: Instant,
        shown: &mut String,
        out: &mut impl Write,
    ) -> Result<(), LocalError> {
        let Ok(response) = send(self.address, "/progress", None, None).await else {
            return Ok(());
        };
        let Some(phase) = response.body["phase"].as_str() else {
            return Ok(());
        };
        if phase != shown {
            let seconds = started.elapsed().as_secs_f64();
            writeln!(
                out,
                "loads    {}: {phase} ({seconds:.2} s)",
                self.plan.model
            )?;
            out.flush()?;
            *shown = phase.to_owned();
        }
        Ok(())
    }

    async fn ask(&self, engine: &mut Engine, out: &mut impl Write) -> Result<Response, LocalError> {
        writeln!(out, "asks     {}\n", self.options.ask)?;
        out.flush()?;
        let body = self.question();
        let key = self.api_key.as_deref();
        let response = tokio::select! {
            response = send(self.address, "/v1/chat/completions", key, Some(&body)) => response?,
            status = engine.wait() => {
                return Err(self.ended(engine, status?, "while it was answering").await);
            }
        };
        if response.status.is_success() {
            return Ok(response);
        }
        let message = response.body["error"]["message"]
            .as_str()
            .unwrap_or("no message")
            .to_owned();
        Err(LocalError::Answer {
            status: response.status.as_u16(),
            message,
        })
    }

    fn question(&self) -> Value {
        json!({
            "model": self.plan.model,
            "messages": [{"role": "user", "content": self.options.ask}],
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
            "include_metrics": true,
        })
    }

    fn show(&self, response: &Response, out: &mut impl Write) -> Result<(), LocalError> {
        writeln!(out, "{}", show::answer(&response.body, "         "))?;
        match show::headers(&response.headers) {
            Some(table) => writeln!(out, "what it cost, in the response's headers\n{table}")?,
            None => writeln!(
                out,
                "no headers say what it cost: spec.stats.headers is false\n"
            )?,
        }
        match show::metrics(&response.body) {
            Some(table) => writeln!(out, "the same, as `metrics` in its body\n{table}")?,
            None => {
                writeln!(
                    out,
                    "no `metrics` in its body: spec.stats.perRequestMetrics is Never\n"
                )?;
            }
        }
        Ok(())
    }

    fn curl(&self) -> String {
        let body = json!({
            "model": self.plan.model,
            "messages": [{"role": "user", "content": "Tell me about dogs."}],
            "include_metrics": true,
        });
        let key = self
            .options
            .api_keys
            .as_ref()
            .map_or(String::new(), |file| {
                format!(
                    " \\\n    -H \"Authorization: Bearer $(head -n1 {})\"",
                    file.display()
                )
            });
        format!(
            "  curl -si http://{}/v1/chat/completions{key} \\\n    -H 'Content-Type: \
             application/json' \\\n    -d '{body}'",
            self.address
        )
    }

    async fn ended(
        &self,
        engine: &mut Engine,
        status: ExitStatus,
        when: &'static str,
    ) -> LocalError {
        let words = match engine.last_words().await {
            words if words.is_empty() => " and said nothing".to_owned(),
            words => format!("; its last words:{words}"),
        };
        LocalError::Ended {
            status,
            when,
            words,
        }
    }
}
