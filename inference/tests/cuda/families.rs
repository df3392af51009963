//! Small models of every family of decoders, with random weights, that together have every switch.

use std::{fs, path::Path};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// Where the norms of a layer stand, and which there are of queries and keys.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Norms {
    Before,
    After,
    Around,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum QkNorm {
    No,
    Head,
    Full,
}

/// A model: its configuration, and what its tensors are.
#[derive(Clone)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    config: Value,
    norms: Norms,
    qk_norm: QkNorm,
    qkv_bias: bool,
    out_bias: bool,
    mlp_bias: bool,
    fused: bool,
}

pub(crate) const VOCAB: usize = 203;

impl Family {
    fn new(name: &'static str, architecture: &str, sizes: [usize; 6], more: Value) -> Self {
        let [layers, hidden, heads, kv_heads, head_dim, inner] = sizes;
        let mut config = json!({
            "architectures": [architecture],
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": head_dim,
            "intermediate_size": inner,
            "vocab_size": VOCAB,
            "max_position_embeddings": 512,
            "tie_word_embeddings": false,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "eos_token_id": 2,
        });
        for (key, value) in more.as_object().expect("settings are an object") {
            config[key] = value.clone();
        }
        Self {
            name,
            config,
            norms: Norms::Before,
            qk_norm: QkNorm::No,
            qkv_bias: false,
            out_bias: false,
            mlp_bias: false,
            fused: false,
        }
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().expect("a size") as usize
    }

    fn experts(&self) -> Option<usize> {
        let keys = ["num_experts", "num_local_experts"];
        let count = keys.iter().find_map(|key| self.config[*key].as_u64());
        count.map(|count| count as usize)
    }

    /// Names and shapes of the tensors.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, tied) = (
            self.size("hidden_size"),
            &self.config["tie_word_embeddings"],
        );
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![VOCAB, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
        ];
        if tied != &json!(true) {
            tensors.push(("lm_head.weight".to_owned(), vec![VOCAB, hidden]));
        }
        for layer in 0..self.size("num_hidden_layers") {
            let all = self.layer();
            let named = all.into_iter();
            tensors
                .extend(named.map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
        }
        tensors
    }

    fn layer(&self) -> Vec<(String, Vec<usize>)> {
        let hidden = self.size("hidden_size");
        let head_dim = self.size("head_dim");
        let q = self.size("num_attention_heads") * head_dim;
        let kv = self.size("num_key_value_heads") * head_dim;
        let mut tensors = Vec::new();
        let mut add = |name: &str, shape: &[usize]| tensors.push((name.to_owned(), shape.to_vec()));
        let mut linear = |name: &str, rows: usize, columns: usize, biased: bool| {
            add(&format!("{name}.weight"), &[rows, columns]);
            if biased {
                add(&format!("{name}.bias"), &[rows]);
            }
        };
        if self.fused {
            linear("self_attn.qkv_proj", q + 2 * kv, hidden, self.qkv_bias);
        } else {
            for (name, rows) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
                linear(&format!("self_attn.{name}"), rows, hidden, self.qkv_bias);
            }
        }
        linear("self_attn.o_proj", hidden, q, self.out_bias);
        let inner = self.size("intermediate_size");
        match (self.experts(), self.fused) {
            (Some(count), _) => self.mixture(count, hidden, &mut linear),
            (None, true) => {
                linear("mlp.gate_up_proj", 2 * inner, hidden, self.mlp_bias);
                linear("mlp.down_proj", hidden, inner, self.mlp_bias);
            }
            (None, false) => {
                linear("mlp.gate_proj", inner, hidden, self.mlp_bias);
                linear("mlp.up_proj", inner, hidden, self.mlp_bias);
                linear("mlp.down_proj", hidden, inner, self.mlp_bias);
            }
        }
        let norms: &[&str] = match self.norms {
            Norms::Before => &["input_layernorm", "post_attention_layernorm"],
            Norms::After => &["post_attention_layernorm", "post_feedforward_layernorm"],
            Norms::Around => &[
                "input_layernorm",
                "post_attention_layernorm",
                "pre_feedforward_layernorm",
                "post_feedforward_layernorm",
            ],
        };
        for norm in norms {
            add(&format!("{norm}.weight"), &[hidden]);
        }
        let widths = match self.qk_norm {
            QkNorm::No => None,
            QkNorm::Head => Some((head_dim, head_dim)),
            QkNorm::Full => Some((q, kv)),
        };
        if let Some((q, k)) = widths {
            add("self_attn.q_norm.weight", &[q]);
            add("self_attn.k_norm.weight", &[k]);
        }
        tensors
    }

    fn mixture(
        &self,
        count: usize,
        hidden: usize,
        linear: &mut impl FnMut(&str, usize, usize, bool),
    ) {
        let mixtral = self.config["num_local_experts"].is_u64();
        let (block, inner) = if mixtral {
            ("block_sparse_moe", self.size("intermediate_size"))
        } else {
            ("mlp", self.size("moe_intermediate_size"))
        };
        let names = if mixtral {
            ["w1", "w3", "w2"]
        } else {
            ["gate_proj", "up_proj", "down_proj"]
        };
        linear(&format!("{block}.gate"), count, hidden, false);
        for expert in 0..count {
            let name = |part: &str| format!("{block}.experts.{expert}.{part}");
            linear(&name(names[0]), inner, hidden, false);
            linear(&name(names[1]), inner, hidden, false);
            linear(&name(names[2]), hidden, inner, false);
        }
    }

    /// The same with layers, hidden size, heads, KV heads, numbers of a head and of an MLP's inside.
    pub(crate) fn resized(mut self, sizes: [usize; 6]) -> Self {
        let keys = [
            "num_hidden_layers",
            "hidden_size",
            "num_attention_heads",
            "num_key_value_heads",
            "head_dim",
            "intermediate_size",
        ];
        for (key, size) in keys.into_iter().zip(sizes) {
            self.config[key] = json!(size);
        }
        self
    }

    /// A setting of its configuration that is a size.
    pub(crate) fn setting(&self, key: &str) -> Option<usize> {
        self.config[key].as_u64().map(|size| size as usize)
    }

    /// All tensors: name, shape, numbers.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (String, Vec<usize>, Vec<f32>)> {
        let gemma = self.name.starts_with("gemma");
        self.tensors().into_iter().map(move |(name, shape)| {
            let numbers = numbers(&name, &shape, gemma);
            (name, shape, numbers)
        })
    }

    /// Writes it, its numbers in `dtype`.
    pub(crate) fn write(&self, folder: &Path, dtype: Dtype) {
        self.write_changed(folder, dtype, |_, _, numbers| numbers);
    }

    /// Writes it with the numbers that `change` makes of name, shape and numbers of each tensor.
    pub(crate) fn write_changed(
        &self,
        folder: &Path,
        dtype: Dtype,
        change: impl Fn(&str, &[usize], Vec<f32>) -> Vec<f32>,
    ) {
        let mut config = self.config.clone();
        config["torch_dtype"] = match dtype {
            Dtype::BF16 => json!("bfloat16"),
            Dtype::F16 => json!("float16"),
            _ => json!("float32"),
        };
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = self
            .numbers()
            .map(|(name, shape, numbers)| {
                let numbers = change(&name, &shape, numbers);
                let bytes = numbers.into_iter().flat_map(|x| bytes(x, dtype)).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(dtype, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        let file = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
        fs::write(folder.join("model.safetensors"), file).unwrap();
    }
}

fn bytes(x: f32, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

/// Wide enough that each token changes what follows.
fn numbers(name: &str, shape: &[usize], gemma: bool) -> Vec<f32> {
    let mut random = Random(name.bytes().fold(7u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    }));
    let (centre, spread) = match shape {
        [_] if name.ends_with("bias") => (0.0, 0.1),
        // Gemma's norms multiply by one more.
        [_] => (if gemma { 0.0 } else { 1.0 }, 0.3),
        [_, columns] if name.contains(".layers.") => (0.0, 2.0 / (*columns as f32).sqrt()),
        _ => (0.0, 0.6),
    };
    let count = shape.iter().product();
    (0..count)
        .map(|_| centre + spread * random.next())
        .collect()
}

/// Numbers between −1 and 1 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// All of them. Heads of 64 and 96 numbers go to the tensor cores, those of 24 and 40 do not.
pub(crate) fn all() -> Vec<Family> {
    let mut families = [plain(), others()].concat();
    for family in &mut families {
        family.fused = family.name == "phi3";
        family.qkv_bias = matches!(family.name, "llama" | "qwen2");
        (family.out_bias, family.mlp_bias) = (family.name == "llama", family.name == "llama");
        family.norms = match family.name {
            "olmo2" => Norms::After,
            "gemma2" | "gemma3" => Norms::Around,
            _ => Norms::Before,
        };
        family.qk_norm = match family.name {
            "qwen3" | "gemma3" | "qwen3-moe" => QkNorm::Head,
            "olmo2" => QkNorm::Full,
            _ => QkNorm::No,
        };
    }
    families
}

fn plain() -> Vec<Family> {
    vec![
        Family::new(
            "llama",
            "LlamaForCausalLM",
            [2, 64, 4, 2, 64, 96],
            json!({"attention_bias": true, "mlp_bias": true, "rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}}),
        ),
        Family::new(
            "mistral",
            "MistralForCausalLM",
            [2, 64, 4, 1, 24, 96],
            json!({"sliding_window": 45}),
        ),
        Family::new(
            "qwen2",
            "Qwen2ForCausalLM",
            [2, 64, 2, 2, 64, 96],
            json!({"tie_word_embeddings": true}),
        ),
        Family::new(
            "qwen3",
            "Qwen3ForCausalLM",
            [2, 64, 4, 2, 64, 96],
            json!({"tie_word_embeddings": true}),
        ),
        Family::new(
            "phi3",
            "Phi3ForCausalLM",
            [2, 96, 4, 2, 24, 72],
            json!({"partial_rotary_factor": 0.5, "sliding_window": 47, "original_max_position_embeddings": 512}),
        ),
    ]
}

fn others() -> Vec<Family> {
    vec![
        Family::new(
            "granite",
            "GraniteForCausalLM",
            [2, 64, 4, 2, 64, 96],
            json!({"embedding_multiplier": 3.0, "attention_multiplier": 0.11, "residual_multiplier": 0.4, "logits_scaling": 2.5}),
        ),
        Family::new(
            "smollm3",
            "SmolLM3ForCausalLM",
            [4, 64, 2, 1, 96, 96],
            json!({"tie_word_embeddings": true, "no_rope_layer_interval": 2}),
        ),
        Family::new(
            "olmo2",
            "Olmo2ForCausalLM",
            [2, 64, 4, 2, 64, 96],
            json!({}),
        ),
        Family::new(
            "gemma2",
            "Gemma2ForCausalLM",
            [2, 64, 4, 2, 64, 96],
            json!({"query_pre_attn_scalar": 30, "sliding_window": 37, "attn_logit_softcapping": 4.0,
                "final_logit_softcapping": 6.0, "tie_word_embeddings": true}),
        ),
        Family::new(
            "gemma3",
            "Gemma3ForCausalLM",
            [3, 64, 2, 1, 40, 96],
            json!({"query_pre_attn_scalar": 20, "sliding_window": 33, "rope_local_base_freq": 5000.0,
                "sliding_window_pattern": 3, "tie_word_embeddings": true}),
        ),
        Family::new(
            "qwen3-moe",
            "Qwen3MoeForCausalLM",
            [2, 64, 4, 2, 64, 96],
            json!({"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": true}),
        ),
        Family::new(
            "mixtral",
            "MixtralForCausalLM",
            [2, 64, 4, 2, 64, 72],
            json!({"num_local_experts": 4, "num_experts_per_tok": 2}),
        ),
    ]
}
