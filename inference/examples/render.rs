//! Renders chats by chat templates, without a model: what a suite compares with `transformers`, and a way
//! to look at the prompt that a request makes.
//!
//! `render --cases cases.json --out out.json`. The cases are an object: `templates` has a
//! `tokenizer_config.json` by name, `cases` is a list of `{"template": name, "request": {…}}` with bodies of
//! `/v1/chat/completions`, `now` is the date in unix seconds. What comes out is a list of
//! `{"text": …}` or `{"refused": …}`, and `calls`: by template, the form of its tool calls.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, ensure};
use candela_engine::{
    prompt::{ChatTemplate, TemplateFiles, detect_calls},
    request::check_conversation,
};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};

/// Render chats by chat templates.
#[derive(Parser)]
struct Arguments {
    /// JSON: templates, and requests to render by them
    #[arg(long)]
    cases: PathBuf,
    /// Where the prompts go, as JSON
    #[arg(long)]
    out: PathBuf,
}

#[derive(Deserialize)]
struct Cases {
    templates: BTreeMap<String, Value>,
    cases: Vec<Case>,
    now: u64,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    request: Value,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let path = &arguments.cases;
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let cases: Cases = serde_json::from_slice(&text).context("the cases")?;
    let mut templates = BTreeMap::new();
    for (name, config) in &cases.templates {
        let files = TemplateFiles {
            tokenizer_config: Some(serde_json::to_vec(config)?),
            ..TemplateFiles::default()
        };
        let template = ChatTemplate::from_files(files).with_context(|| name.clone())?;
        templates.insert(
            name,
            template.with_context(|| format!("{name}: no template"))?,
        );
    }
    let mut rendered = Vec::new();
    for case in &cases.cases {
        ensure!(
            templates.contains_key(&case.template),
            "no template {}",
            case.template
        );
        rendered.push(render(
            &templates[&case.template],
            &case.request,
            cases.now,
        )?);
    }
    let calls: BTreeMap<_, _> = templates
        .iter()
        .map(|(name, template)| (name, detect_calls(template).map(|form| format!("{form:?}"))))
        .collect();
    let out = json!({"rendered": rendered, "calls": calls});
    fs::write(&arguments.out, serde_json::to_vec(&out)?)
        .with_context(|| arguments.out.display().to_string())
}

fn render(template: &ChatTemplate, request: &Value, now: u64) -> anyhow::Result<Value> {
    let body = serde_json::to_vec(request)?;
    let refused = |error: &dyn std::fmt::Display| json!({"refused": error.to_string()});
    Ok(match check_conversation(&body) {
        Err(error) => refused(&error),
        Ok(conversation) => match template.render(&conversation, now) {
            Err(error) => refused(&error),
            Ok(text) => json!({"text": text}),
        },
    })
}
