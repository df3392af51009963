//! A model whose next token depends on the last one alone, and a byte-level tokenizer for it.
//!
//! `a` is followed by `b`, … `z` by `a`; `!` by the end of the answer; `~` by the four bytes of a crab
//! and then `a`. `#` gives logits that are no numbers, `%` makes the pass panic, `$` breaks the device.

use std::sync::{
    Arc, Condvar, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use candela_engine::{
    engine::{Batch, Pooled, Runner, RunnerError, RunnerType},
    model::Embeddings,
    prompt::{ChatTemplate, TemplateFiles, Tokenizer},
    request::SamplingDefaults,
    sampling::Logits,
    server::ModelParts,
};
use serde_json::{Map, Value, json};

/// The token that ends an answer; it is no text.
pub(crate) const END: u32 = 256;
pub(crate) const VOCAB_SIZE: usize = 257;
pub(crate) const MAX_MODEL_LEN: usize = 256;
const KV_BLOCKS: usize = 256;
/// Prompts are the contents themselves, with an `S` for the system's and an `A` for the assistant's.
const TEMPLATE: &str = "{% for m in messages %}{% if m.role == 'critic' %}\
    {{ raise_exception('no critics here') }}{% endif %}\
    {{ 'S' if m.role == 'system' else 'A' if m.role == 'assistant' else '' }}{{ m.content }}{% endfor %}";

/// Holds the model's steps back while it is closed. Its number is how many may pass; `None`: all.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<Option<usize>>, Condvar)>, Arc<AtomicUsize>);

impl Gate {
    pub(crate) fn close(&self) {
        *self.0.0.lock().unwrap() = Some(0);
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = None;
        self.0.1.notify_all();
    }

    /// Lets one more step pass.
    pub(crate) fn let_one_pass(&self) {
        if let Some(steps) = self.0.0.lock().unwrap().as_mut() {
            *steps += 1;
        }
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let steps = self.0.0.lock().unwrap();
        let mut steps = self
            .0
            .1
            .wait_while(steps, |steps| *steps == Some(0))
            .unwrap();
        *steps = steps.map(|steps| steps - 1);
    }

    /// Tokens that went through the model since this was last asked.
    pub(crate) fn take_tokens(&self) -> usize {
        self.1.swap(0, Ordering::Relaxed)
    }
}

struct FakeRunner {
    gate: Gate,
    broken: bool,
}

impl Runner for FakeRunner {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        self.gate.pass();
        self.gate
            .1
            .fetch_add(batch.input_ids.len(), Ordering::Relaxed);
        assert!(!batch.input_ids.contains(&u32::from(b'%')), "a panic");
        self.broken |= batch.input_ids.contains(&u32::from(b'$'));
        if self.broken {
            return Err(RunnerError(
                "the device is gone, says /dev/secret0".to_owned(),
            ));
        }
        logits.vocab = VOCAB_SIZE;
        logits.data.clear();
        for &at in &batch.logits_idx {
            let last = batch.input_ids[at as usize];
            let mut row = vec![0.0; VOCAB_SIZE];
            row[next_token(last) as usize] = 100.0;
            if last == u32::from(b'#') {
                row.fill(f32::NAN);
            }
            logits.data.extend(row);
        }
        Ok(())
    }

    /// Of each text: its first and last token, how many it has, and a 1.
    fn pool(&mut self, batch: &Batch, pooled: &mut Pooled) -> Result<(), RunnerError> {
        self.gate.pass();
        self.gate
            .1
            .fetch_add(batch.input_ids.len(), Ordering::Relaxed);
        pooled.width = VECTOR_WIDTH;
        pooled.data.clear();
        for span in batch.cu_seqlens_q.windows(2) {
            let ids = &batch.input_ids[span[0] as usize..span[1] as usize];
            if ids.contains(&u32::from(b'$')) {
                return Err(RunnerError("the device is gone".to_owned()));
            }
            let number = if ids.contains(&u32::from(b'#')) {
                f32::NAN
            } else {
                1.0
            };
            let ends = [ids[0] as f32, ids[ids.len() - 1] as f32];
            pooled.data.extend(ends);
            pooled.data.extend([ids.len() as f32, number]);
        }
        Ok(())
    }
}

/// Numbers of a vector of the fake model.
pub(crate) const VECTOR_WIDTH: usize = 4;

fn next_token(last: u32) -> u32 {
    match u8::try_from(last) {
        Ok(b'!') => END,
        Ok(b'~') => 0xf0,
        Ok(0xf0) => 0x9f,
        Ok(0x9f) => 0xa6,
        Ok(0xa6) => 0x80,
        Ok(byte @ b'a'..=b'y') => u32::from(byte) + 1,
        _ => u32::from(b'a'),
    }
}

/// The parts of the fake model.
pub(crate) fn parts(gate: &Gate) -> ModelParts {
    let files = TemplateFiles {
        flag: Some(TEMPLATE.into()),
        ..TemplateFiles::default()
    };
    ModelParts {
        runner: Box::new(FakeRunner {
            gate: gate.clone(),
            broken: false,
        }),
        tokenizer: Tokenizer::from_bytes(&tokenizer_json(), VOCAB_SIZE).unwrap(),
        template: ChatTemplate::from_files(files).unwrap(),
        defaults: SamplingDefaults {
            temperature: 0.0,
            ..SamplingDefaults::default()
        },
        max_model_len: MAX_MODEL_LEN,
        vocab_size: VOCAB_SIZE,
        eos_token_ids: vec![END],
        kv_blocks: KV_BLOCKS,
        dtype: "float32",
        runner_type: RunnerType::Generate,
        embeddings: None,
    }
}

/// The parts of the fake model, run to make vectors.
pub(crate) fn pooling_parts(gate: &Gate) -> ModelParts {
    ModelParts {
        runner_type: RunnerType::Pooling {
            whole_prompts: true,
        },
        embeddings: Some(Embeddings {
            dimensions: VECTOR_WIDTH,
            pooling: "the ends".to_owned(),
            normalize: true,
            lowercase: false,
            matryoshka: Some(vec![2, 3]),
        }),
        ..parts(gate)
    }
}

/// Token `b` is byte `b`.
pub(crate) fn tokenizer_json() -> Vec<u8> {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let stand_in = |byte: u8| {
        let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
        if printable(byte) {
            char::from(byte)
        } else {
            char::from_u32(256 + rank).unwrap()
        }
    };
    let vocab: Map<String, Value> = (0..=255u8)
        .map(|byte| (stand_in(byte).to_string(), json!(byte)))
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false
    });
    let end = json!({
        "id": END, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    serde_json::to_vec(&json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [end], "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": []
        }
    }))
    .unwrap()
}
