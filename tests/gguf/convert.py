"""Writes models of `transformers` as GGUF files, with the `gguf` package's writer and llama.cpp's quantizer."""

import re
from dataclasses import dataclass

import gguf
import numpy
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file

import llama_cpp

DENSE = {"f32": Kind.F32, "f16": Kind.F16, "bf16": Kind.BF16}
BLOCKS = {"q8_0": Kind.Q8_0, "q4_0": Kind.Q4_0, "q4_k": Kind.Q4_K, "q5_k": Kind.Q5_K, "q6_k": Kind.Q6_K}
# Mixed as llama.cpp's own q4_k_m is: values, some down projections and the output matrix keep six bits.
MIXED = "q4_k_m"
TYPES = [*DENSE, *BLOCKS, MIXED]

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mixtral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "qwen3_moe": gguf.MODEL_ARCH.QWEN3MOE,
    "phi3": gguf.MODEL_ARCH.PHI3,
    "granite": gguf.MODEL_ARCH.GRANITE,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3,
    "olmo2": gguf.MODEL_ARCH.OLMO2,
    "gemma2": gguf.MODEL_ARCH.GEMMA2,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
}
PAIRED = {"llama", "mixtral", "granite", "smollm3"}
EXPERTS = {
    "gate_proj": "ffn_gate_exps",
    "up_proj": "ffn_up_exps",
    "down_proj": "ffn_down_exps",
    "w1": "ffn_gate_exps",
    "w3": "ffn_up_exps",
    "w2": "ffn_down_exps",
}


@dataclass
class Model:
    """A saved model: its configuration and its tensors as numpy arrays in f32."""

    config: object
    tensors: dict

    @classmethod
    def load(cls, folder, config):
        """Reads the folder's tensors."""
        tensors = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors.update({name: tensor.float().numpy() for name, tensor in load_file(path).items()})
        return cls(config, tensors)


def paired(rows, heads):
    """The rows of each head in pairs (0, half), (1, half + 1), …: llama.cpp rotates neighbours."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


def kind_of(name, shape, asked, layers):
    """The type of one tensor."""
    if len(shape) == 1 or "ffn_gate_inp" in name:
        return Kind.F32
    if asked in DENSE:
        return DENSE[asked]
    if asked == MIXED:
        layer = re.search(r"blk\.(\d+)\.", name)
        early = layer is not None and int(layer[1]) < max(1, layers // 2)
        six_bits = "attn_v" in name or name == "output.weight" or ("ffn_down" in name and early)
        kind = Kind.Q6_K if six_bits else Kind.Q4_K
    else:
        kind = BLOCKS[asked]
    block = gguf.GGML_QUANT_SIZES[kind][0]
    assert shape[-1] % block == 0, f"{name}: {shape} in {kind.name}"
    return kind


def tensors(model):
    """The tensors by llama.cpp's names, changed as its converter changes them."""
    config, kind = model.config, model.config.model_type
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], config.num_hidden_layers)
    experts = {}
    for name, numbers in model.tensors.items():
        expert = re.fullmatch(r"model\.layers\.(\d+)\..*\.experts\.(\d+)\.(\w+)\.weight", name)
        if expert:
            experts.setdefault(f"blk.{expert[1]}.{EXPERTS[expert[3]]}.weight", {})[int(expert[2])] = numbers
            continue
        if kind in PAIRED and ".q_proj." in name:
            numbers = paired(numbers, config.num_attention_heads)
        if kind in PAIRED and ".k_proj." in name:
            numbers = paired(numbers, config.num_key_value_heads)
        if kind.startswith("gemma") and name.endswith("norm.weight"):
            numbers = numbers + 1
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert known, f"the gguf package knows no name for {name}"
        yield known, numbers
    for name, each in experts.items():
        yield name, numpy.stack([each[index] for index in sorted(each)])
    yield from rotary_factors(config)


def rotary_factors(config):
    """Divisors of the frequencies: Llama 3's scaling worked out, and Phi 3's lists."""
    rope = config.rope_parameters
    if rope.get("rope_type") == "llama3":
        dim = config.head_dim or config.hidden_size // config.num_attention_heads
        wavelengths = 2 * numpy.pi * rope["rope_theta"] ** (numpy.arange(0, dim, 2) / dim)
        original, low, high = (rope[key] for key in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
        smooth = numpy.clip((original / wavelengths - low) / (high - low), 0, 1)
        yield "rope_freqs.weight", (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(numpy.float32)
    if rope.get("rope_type") == "longrope":
        yield "rope_factors_long.weight", numpy.array(rope["long_factor"], dtype=numpy.float32)
        yield "rope_factors_short.weight", numpy.array(rope["short_factor"], dtype=numpy.float32)


def add_sizes(writer, config):
    """What the configuration says, by llama.cpp's keys."""
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_vocab_size(config.vocab_size)
    add_rope(writer, config, head_dim)
    kind = config.model_type
    if kind in ("mixtral", "qwen3_moe"):
        writer.add_expert_count(config.num_experts if kind == "qwen3_moe" else config.num_local_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if kind == "qwen3_moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    if kind == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if kind.startswith("gemma"):
        writer.add_sliding_window(config.sliding_window)
    if kind == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def add_rope(writer, config, head_dim):
    """Rotary settings."""
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    original = rope.get("original_max_position_embeddings")
    if rope["rope_type"] in ("linear", "yarn"):
        kinds = {"linear": gguf.RopeScalingType.LINEAR, "yarn": gguf.RopeScalingType.YARN}
        writer.add_rope_scaling_type(kinds[rope["rope_type"]])
        writer.add_rope_scaling_factor(rope["factor"])
    if original and rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(original)
    if rope["rope_type"] == "longrope":
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(float(numpy.sqrt(1 + numpy.log(scale) / numpy.log(original))))
    if config.model_type == "phi3":
        writer.add_rope_scaling_orig_ctx_len(original or config.max_position_embeddings)
        writer.add_sliding_window(config.sliding_window or 0)


def write(path, model, vocabulary, asked):
    """A GGUF file of one of `TYPES`."""
    config = model.config
    architecture = ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    add_sizes(writer, config)
    vocabulary.add(writer, config.vocab_size)
    for name, numbers in tensors(model):
        kind = kind_of(name, numbers.shape, asked, config.num_hidden_layers)
        if kind == Kind.F32:
            writer.add_tensor(name, numpy.ascontiguousarray(numbers, dtype=numpy.float32))
        elif kind == Kind.F16:
            writer.add_tensor(name, numbers.astype(numpy.float16))
        elif kind == Kind.BF16:
            writer.add_tensor(name, gguf.quants.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, llama_cpp.quantize(numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

