//! What the server does for every token: the detokenizer, and a chunk as a server-sent event. Rooflines move the bytes once.

use std::sync::Arc;

use candela_engine::{
    model,
    openai::{ChatChunk, ChatChunkChoice, ChatDelta, Completion, CompletionChoice},
    prompt::{Detokenizer, Tokenizer},
    server::sse_event,
};
use criterion::{BenchmarkId, Criterion};

use crate::roofline::{self, Work};

const TEXT: &str = "Ask the engine what a request cost, and it answers in seconds: how long it waited, how long the prompt \
    took, how long the answer did. Ça coûte peu; 値段は安い. 🦀 A token is a few letters long on average, in English.";

pub(crate) fn detokenizer(criterion: &mut Criterion) {
    let files = model::open("builtin://demo").expect("the demo model is compiled in");
    let json = files.read("tokenizer.json").expect("it has a tokenizer");
    let vocab_size = model::vocab_size(&files).expect("it has a configuration");
    let tokenizer = Tokenizer::from_bytes(&json, vocab_size).expect("which is good");
    let tokenizer = Arc::new(tokenizer);
    let ids = tokenizer.encode(TEXT, false).expect("any text has tokens");
    let mut group = criterion.benchmark_group("detokenizer");
    let work = Work::moving(ids.len() as u64, TEXT.len() + size_of_val(&ids[..]));
    let id = BenchmarkId::new("a text, token by token", format!("{} tokens", ids.len()));
    roofline::bench_repeated(&mut group, id, work, || {
        let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer), true);
        let bytes: usize = ids.iter().map(|&id| detokenizer.push(id).len()).sum();
        assert_eq!(bytes, TEXT.len());
    });
    group.finish();
}

pub(crate) fn server_sent_events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("server-sent event");
    let (chat, completion) = (chat_chunk(), completion_chunk());
    let id = BenchmarkId::new("chunk", "chat");
    let bytes = sse_event(&chat).len();
    roofline::bench_repeated(&mut group, id, Work::moving(1, bytes), || sse_event(&chat));
    let id = BenchmarkId::new("chunk", "completion");
    let bytes = sse_event(&completion).len();
    roofline::bench_repeated(&mut group, id, Work::moving(1, bytes), || {
        sse_event(&completion)
    });
    group.finish();
}

fn chat_chunk() -> ChatChunk {
    ChatChunk {
        id: "chatcmpl-6f9619ff-8b86-d011-b42d-00c04fc964ff".to_owned(),
        object: "chat.completion.chunk",
        created: 1_700_000_000,
        model: "candela-demo".to_owned(),
        system_fingerprint: "candela",
        choices: vec![ChatChunkChoice {
            index: 0,
            delta: ChatDelta {
                content: Some(" \"token\"".to_owned()),
                ..ChatDelta::default()
            },
            logprobs: None,
            finish_reason: None,
            token_ids: None,
        }],
        usage: None,
        prompt_token_ids: None,
        metrics: None,
    }
}

fn completion_chunk() -> Completion {
    Completion {
        id: "cmpl-6f9619ff-8b86-d011-b42d-00c04fc964ff".to_owned(),
        object: "text_completion",
        created: 1_700_000_000,
        model: "candela-demo".to_owned(),
        choices: vec![CompletionChoice {
            index: 0,
            text: " \"token\"".to_owned(),
            logprobs: None,
            finish_reason: None,
            prompt_logprobs: None,
            prompt_token_ids: None,
            token_ids: None,
        }],
        usage: None,
        system_fingerprint: "candela",
        metrics: None,
    }
}
