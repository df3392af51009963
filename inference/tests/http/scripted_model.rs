//! A model that says what it is told: the text behind `<|say|>` in the prompt's last message. Where a
//! grammar does not let it, it ends what is open as soon as it may.
//!
//! Its template shows tools and writes calls as Hermes does; `thinking` in the request opens thoughts in
//! the prompt.

use candela_engine::{
    engine::{Batch, Runner, RunnerError},
    prompt::{ChatTemplate, TemplateFiles, Tokenizer},
    request::SamplingDefaults,
    sampling::Logits,
    server::ModelParts,
};
use serde_json::{Value, json};

use crate::fake_model::{self, Gate};

const END: u32 = 256;
const SAY: u32 = 257;
const ASSISTANT: u32 = 258;
const THINK: u32 = 259;
/// The tokens beyond bytes: text, and whether they are special.
const ADDED: [(&str, bool); 8] = [
    ("<|end|>", true),
    ("<|say|>", true),
    ("<|assistant|>", true),
    ("<think>", false),
    ("</think>", false),
    ("[TOOL_CALLS]", true),
    ("[ARGS]", true),
    ("<|python_tag|>", true),
];
const VOCAB_SIZE: usize = END as usize + ADDED.len();
const MAX_MODEL_LEN: usize = 4096;
const BLOCK_TOKENS: usize = 32;
const KV_BLOCKS: usize = 1024;
const TEMPLATE: &str = "\
{%- if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}<|{{ m.role }}|>
{%- if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}
{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}
{%- if m.tool_call_id %}#{{ m.tool_call_id }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% if thinking %}<think>{% endif %}{% endif %}";

/// Keeps the token of every slot, as a KV cache would.
struct ScriptedRunner {
    gate: Gate,
    slots: Vec<u32>,
}

impl Runner for ScriptedRunner {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        self.gate.pass();
        for (&slot, &token) in batch.slot_mapping.iter().zip(&batch.input_ids) {
            self.slots[slot as usize] = token;
        }
        logits.vocab = VOCAB_SIZE;
        logits.data.clear();
        for &at in &batch.logits_idx {
            let ends = &batch.cu_seqlens_q[1..];
            let sequence = ends.iter().position(|&end| at < end).unwrap();
            let tokens = self.tokens(batch, sequence, batch.positions[at as usize] as usize + 1);
            logits.data.extend(row(&tokens));
        }
        Ok(())
    }
}

impl ScriptedRunner {
    fn tokens(&self, batch: &Batch, sequence: usize, count: usize) -> Vec<u32> {
        let width = batch.block_table_width;
        let blocks = &batch.block_tables[sequence * width..][..width];
        let slot =
            |at: usize| blocks[at / BLOCK_TOKENS] as usize * BLOCK_TOKENS + at % BLOCK_TOKENS;
        (0..count).map(|at| self.slots[slot(at)]).collect()
    }
}

/// The logits behind a prompt and an answer.
fn row(tokens: &[u32]) -> Vec<f32> {
    let last = |token| tokens.iter().rposition(|&t| t == token);
    let script = match (last(SAY), last(ASSISTANT)) {
        (Some(say), Some(end)) if say < end => &tokens[say + 1..end],
        _ => &[],
    };
    let mut answer = last(ASSISTANT).map_or(&[][..], |end| &tokens[end + 1..]);
    if answer.first() == Some(&THINK) && script.first() != Some(&THINK) {
        answer = &answer[1..];
    }
    let mut row = vec![0.0; VOCAB_SIZE];
    for (wanted, byte) in (1u8..).zip(b"]}\"") {
        row[usize::from(*byte)] = 8.0 * f32::from(wanted);
    }
    row[END as usize] = 40.0;
    if script.starts_with(answer) {
        let next = script.get(answer.len()).copied().unwrap_or(END);
        row[next as usize] = 80.0;
    }
    row
}

/// The parts of the model.
pub(crate) fn parts(gate: &Gate) -> ModelParts {
    let files = TemplateFiles {
        flag: Some(TEMPLATE.into()),
        ..TemplateFiles::default()
    };
    ModelParts {
        runner: Box::new(ScriptedRunner {
            gate: gate.clone(),
            slots: vec![0; KV_BLOCKS * BLOCK_TOKENS],
        }),
        tokenizer: Tokenizer::from_bytes(&tokenizer_json(), VOCAB_SIZE).unwrap(),
        template: ChatTemplate::from_files(files).unwrap(),
        defaults: SamplingDefaults {
            temperature: 0.0,
            ..SamplingDefaults::default()
        },
        max_model_len: MAX_MODEL_LEN,
        vocab_size: VOCAB_SIZE,
        kv_blocks: KV_BLOCKS,
        ..fake_model::parts(gate)
    }
}

/// The fake model's tokenizer with more tokens.
fn tokenizer_json() -> Vec<u8> {
    let mut tokenizer: Value = serde_json::from_slice(&fake_model::tokenizer_json()).unwrap();
    let tokens = (END..).zip(ADDED).map(|(id, (content, special))| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special
        })
    });
    tokenizer["added_tokens"] = tokens.collect();
    serde_json::to_vec(&tokenizer).unwrap()
}

/// The text of tokens that a reply reports.
pub(crate) fn text_of(ids: &Value) -> String {
    let ids = ids
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap());
    let bytes = ids.flat_map(|id| match u8::try_from(id) {
        Ok(byte) => vec![byte],
        Err(_) => ADDED[id as usize - END as usize].0.as_bytes().to_vec(),
    });
    String::from_utf8(bytes.collect()).unwrap()
}
