//! Weights in blocks on the GPU: GGUF files, and `--quantization`. They are compared with a model whose weights are the numbers that the blocks
//! stand for, run by the processors in f32: those would round activations to 8 bits where they meet blocks, which a GPU does not.

use std::path::PathBuf;

use candela_flags::{Device, Dtype, EngineFlags, Quantization};
use candle_core::{
    Device as Memory, Tensor,
    quantized::{GgmlDType, QTensor},
};
use safetensors::tensor::Dtype as Saved;

use super::{
    F32_ERROR_MAX, ROUNDED_RATIO_MAX,
    families::{Family, VOCAB},
    family,
    gguf_file::TestFile,
    greedy, largest_error, median_error,
    runs::{SEQUENCES, Session, all_logits, flags, gpu, prompt},
};

/// Rows of whole blocks of every kind.
const SIZES: [usize; 6] = [2, 256, 4, 2, 64, 512];

/// The kind that a tensor is in; none: number by number.
type Kinds = fn(&str) -> Option<GgmlDType>;

fn is_matrix(name: &str) -> bool {
    !name.contains("norm") && !name.contains("bias") && !name.contains("mlp.gate.weight")
}

/// As llama.cpp's Q4_K_M mixes them, and one matrix that a GPU makes numbers of.
fn mixed(name: &str) -> Option<GgmlDType> {
    let kind = match name {
        "model.layers.1.mlp.up_proj.weight" => GgmlDType::Q5K,
        "model.embed_tokens.weight" | "model.layers.0.mlp.down_proj.weight" => GgmlDType::Q6K,
        "model.layers.1.self_attn.o_proj.weight" => GgmlDType::Q4_0,
        _ if name.ends_with("v_proj.weight") => GgmlDType::Q6K,
        _ => GgmlDType::Q4K,
    };
    is_matrix(name).then_some(kind)
}

fn q8_0(name: &str) -> Option<GgmlDType> {
    is_matrix(name).then_some(GgmlDType::Q8_0)
}

/// What `--quantization=q4_k` takes.
fn q4_k(name: &str) -> Option<GgmlDType> {
    match name {
        "model.embed_tokens.weight" | "lm_head.weight" => Some(GgmlDType::Q8_0),
        name => is_matrix(name).then_some(GgmlDType::Q4K),
    }
}

/// As [`q8_0`], experts left out.
fn q8_0_without_experts(name: &str) -> Option<GgmlDType> {
    q8_0(name).filter(|_| !name.contains(".experts."))
}

fn in_blocks(numbers: &[f32], shape: &[usize], kind: GgmlDType) -> QTensor {
    let tensor = Tensor::from_slice(numbers, shape, &Memory::Cpu).unwrap();
    QTensor::quantize(&tensor, kind).unwrap()
}

fn dequantized(numbers: &[f32], shape: &[usize], kind: GgmlDType) -> Vec<f32> {
    let blocks = in_blocks(numbers, shape, kind);
    let numbers = blocks.dequantize(&Memory::Cpu).unwrap();
    numbers.flatten_all().unwrap().to_vec1().unwrap()
}

/// A model, and the same with its weights as numbers.
struct Pair {
    folder: tempfile::TempDir,
    gguf: bool,
    quantization: Quantization,
}

impl Pair {
    /// What `--quantization` makes of a model, and these blocks' numbers.
    fn quantized(family: &Family, quantization: Quantization, kinds: Kinds) -> Self {
        let pair = Self::new(family, kinds, quantization, false);
        // The engine makes q8_0 by code of its own, which here and there rounds to the other side: it gets numbers that are whole steps.
        family.write_changed(
            &pair.model(),
            Saved::F32,
            |name, shape, numbers| match kinds(name) {
                Some(GgmlDType::Q8_0) => dequantized(&numbers, shape, GgmlDType::Q8_0),
                _ => numbers,
            },
        );
        pair
    }

    /// A GGUF file, and its blocks' numbers.
    fn gguf(family: &Family, kinds: Kinds) -> Self {
        let pair = Self::new(family, kinds, Quantization::None, true);
        write_gguf(family, kinds, &pair.model());
        pair
    }

    fn new(family: &Family, kinds: Kinds, quantization: Quantization, gguf: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pair = Self {
            folder,
            gguf,
            quantization,
        };
        std::fs::create_dir(pair.numbers()).unwrap();
        if !gguf {
            std::fs::create_dir(pair.model()).unwrap();
        }
        family.write_changed(
            &pair.numbers(),
            Saved::F32,
            |name, shape, numbers| match kinds(name) {
                Some(kind) => dequantized(&numbers, shape, kind),
                None => numbers,
            },
        );
        pair
    }

    fn model(&self) -> PathBuf {
        let name = if self.gguf { "model.gguf" } else { "model" };
        self.folder.path().join(name)
    }

    fn numbers(&self) -> PathBuf {
        self.folder.path().join("numbers")
    }

    fn flags(&self, dtype: Dtype) -> EngineFlags {
        let mut flags = flags(&self.model(), dtype);
        flags.quantization = self.quantization;
        flags
    }

    fn on(&self, device: Device, dtype: Dtype) -> Session {
        Session::new(&self.flags(dtype), device)
    }

    fn as_numbers(&self, dtype: Dtype) -> Session {
        Session::new(&flags(&self.numbers(), dtype), Device::Cpu)
    }
}

/// GGUF's names of the parts of a layer.
const PARTS: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

fn gguf_name(name: &str) -> String {
    let Some(rest) = name.strip_prefix("model.layers.") else {
        return match name {
            "model.embed_tokens.weight" => "token_embd.weight",
            "lm_head.weight" => "output.weight",
            _ => "output_norm.weight",
        }
        .to_owned();
    };
    let (layer, part) = rest.split_once('.').unwrap();
    let (part, kind) = part.rsplit_once('.').unwrap();
    let (_, part) = PARTS.iter().find(|(own, _)| *own == part).unwrap();
    format!("blk.{layer}.{part}.{kind}")
}

/// GGML's number of a type.
fn number(kind: GgmlDType) -> u32 {
    match kind {
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        _ => panic!("not written here"),
    }
}

/// Rows of each head in pairs, as files of llamas have them.
fn paired(numbers: &[f32], width: usize, head_dim: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = numbers.chunks(width).collect();
    let heads = rows
        .chunks(head_dim)
        .flat_map(|head| (0..head_dim).map(move |row| head[row % 2 * (head_dim / 2) + row / 2]));
    heads.flatten().copied().collect()
}

fn write_gguf(family: &Family, kinds: Kinds, path: &std::path::Path) {
    let architecture = if family.name == "qwen3" {
        "qwen3"
    } else {
        "llama"
    };
    let key = |name: &str| format!("{architecture}.{name}");
    let setting = |name: &str| family.setting(name).unwrap() as u32;
    let mut file = TestFile::default().text("general.architecture", architecture);
    for (name, own) in [
        ("block_count", "num_hidden_layers"),
        ("embedding_length", "hidden_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.value_length", "head_dim"),
        ("context_length", "max_position_embeddings"),
        ("feed_forward_length", "intermediate_size"),
    ] {
        file = file.size(&key(name), setting(own));
    }
    if let Some(window) = family.setting("sliding_window") {
        file = file.size(&key("attention.sliding_window"), window as u32);
    }
    file = file
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-6)
        .float(&key("rope.freq_base"), 10000.0)
        .size("tokenizer.ggml.eos_token_id", 2)
        .texts("tokenizer.ggml.tokens", &["a"; VOCAB]);
    for (name, shape, numbers) in family.numbers() {
        let is_turned = name.contains("q_proj") || name.contains("k_proj");
        let numbers = if architecture == "llama" && is_turned {
            paired(&numbers, shape[1], setting("head_dim") as usize)
        } else {
            numbers
        };
        let name_there = gguf_name(&name);
        file = match kinds(&name) {
            None => file.floats_tensor(&name_there, &shape, &numbers),
            Some(kind) => {
                let blocks = in_blocks(&numbers, &shape, kind);
                file.tensor(&name_there, &shape, number(kind), &blocks.data().unwrap())
            }
        };
    }
    file.write(path);
}

fn sized(name: &str) -> Family {
    family(name).resized(SIZES)
}

/// The largest error in f32 with prompts of many rows, whose weights become numbers first, and tokens of few, which meet blocks.
fn error_in_f32(pair: &Pair, device: Device) -> f32 {
    let expected = all_logits(&mut pair.as_numbers(Dtype::Float32), 200, 4);
    let got = all_logits(&mut pair.on(device, Dtype::Float32), 50, 4);
    largest_error(&expected, &got)
}

#[test]
fn a_gguf_file_has_the_logits_of_the_numbers_in_its_blocks() {
    let gpu = gpu();
    for (name, kinds) in [
        ("qwen3", mixed as Kinds),
        ("mistral", mixed),
        ("mistral", q8_0),
    ] {
        let pair = Pair::gguf(&sized(name), kinds);
        let error = error_in_f32(&pair, gpu.device);
        println!("{name}.gguf f32: {error:.1e}");
        assert!(error < F32_ERROR_MAX, "{name}: {error}");
    }
}

#[test]
fn what_quantization_makes_has_the_logits_of_the_numbers_in_its_blocks() {
    let gpu = gpu();
    for (quantization, kinds) in [
        (Quantization::Q8_0, q8_0 as Kinds),
        (Quantization::Q4K, q4_k),
    ] {
        let pair = Pair::quantized(&sized("llama"), quantization, kinds);
        let error = error_in_f32(&pair, gpu.device);
        println!("{quantization:?} f32: {error:.1e}");
        assert!(error < F32_ERROR_MAX, "{quantization:?}: {error}");
    }
}

/// How far logits in bf16 are from f32, and how far those of the processors in bf16 without blocks.
fn errors_in_bf16(pair: &Pair, dtype: Dtype, device: Device) -> (f64, f64) {
    let exact = all_logits(&mut pair.as_numbers(Dtype::Float32), 200, 4);
    let cpu = all_logits(&mut pair.as_numbers(Dtype::Bfloat16), 200, 4);
    let mut session = pair.on(device, dtype);
    assert_eq!(session.model.dtype, "bfloat16");
    let got = all_logits(&mut session, 50, 4);
    (median_error(&exact, &got), median_error(&exact, &cpu))
}

#[test]
fn blocks_are_run_in_bf16_unless_another_type_is_asked_for() {
    let gpu = gpu();
    let gguf = Pair::gguf(&sized("qwen3"), mixed);
    let kinds = q8_0_without_experts;
    let mixture = Pair::quantized(&family("qwen3-moe"), Quantization::Q8_0, kinds);
    for (what, pair, dtype) in [
        ("qwen3.gguf", gguf, Dtype::Auto),
        ("a mixture in q8_0", mixture, Dtype::Bfloat16),
    ] {
        let (error, cpu) = errors_in_bf16(&pair, dtype, gpu.device);
        println!("{what} bf16: {error:.1e}, the processors {cpu:.1e}");
        assert!(error < ROUNDED_RATIO_MAX * cpu, "{what}: {error}, {cpu}");
    }
}

#[test]
fn greedy_answers_are_those_of_the_numbers_in_the_blocks() {
    let gpu = gpu();
    let pair = Pair::gguf(&sized("qwen3"), mixed);
    let (mut cpu, mut gpu) = (
        pair.as_numbers(Dtype::Float32),
        pair.on(gpu.device, Dtype::Float32),
    );
    for (sequence, length) in [(0, 5), (1, 40)] {
        let answer = greedy(&mut gpu, sequence, length, 12);
        assert_eq!(answer, greedy(&mut cpu, sequence, length, 12));
    }
}

#[test]
fn with_blocks_a_graph_does_what_its_launches_do_and_a_sequence_is_the_same_in_any_bucket() {
    let gpu = gpu();
    let pair = Pair::gguf(&sized("qwen3"), mixed);
    let mut session = pair.on(gpu.device, Dtype::Auto);
    for sequence in 0..SEQUENCES {
        session.step(&[(sequence, &prompt(sequence, 20 + 21 * sequence))]);
    }
    let mut alone = Vec::new();
    for sequences in [1, 2, 6] {
        let parts: Vec<(usize, &[u32])> = (0..sequences).map(|s| (s, &[7u32][..])).collect();
        let launched = session.step(&parts);
        for _ in 0..3 {
            assert_eq!(session.run(), launched, "{sequences} sequences");
        }
        (0..sequences).for_each(|sequence| session.back(sequence, 1));
        if sequences == 1 {
            alone = launched[0].clone();
        }
        // The kernel's rows do not depend on their number, and qwen3 has no matrix that cuBLAS would multiply but two; see the main tests.
        if std::env::var_os("CANDELA_GPU").is_none() {
            assert_eq!(launched[0], alone, "{sequences} sequences");
        }
    }
}
