"""The models of the suite: for each family one small random model whose rows fill whole blocks of 256."""

from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

import convert
import weights

VOCABULARY = 656  # some more than the tokenizers have
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}


def plain(theta=10000.0):
    """Rotary settings without scaling."""
    return {"rope_type": "default", "rope_theta": theta}


def longrope(dim):
    """Factors that differ by frequency; the context in use decides which list counts."""
    return {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0 + i / dim for i in range(dim // 2)],
        "long_factor": [1.5 + 8.0 * i / dim for i in range(dim // 2)],
        "original_max_position_embeddings": 512,
    }


EVERY = tuple(convert.TYPES)
SOME = ("f32", "q8_0", convert.MIXED)


@dataclass
class Case:
    """A model, and the types it is written in."""

    name: str
    config: object
    types: tuple = SOME

    @property
    def has_experts(self):
        """A router chooses among experts."""
        return self.config.model_type in ("mixtral", "qwen3_moe")

    def model(self):
        """The model, its weights drawn."""
        torch.manual_seed(len(self.name) * 1000 + sum(map(ord, self.name)))
        model = AutoModelForCausalLM.from_config(self.config, dtype=torch.float32)
        weights.draw(model, self.name.split()[0])
        return model.eval()


def config(kind, **more):
    """A configuration of the common sizes."""
    return kind(**(SIZES | more))


CASES = [
    Case("llama", config(LlamaConfig, tie_word_embeddings=False, rope_parameters=LLAMA3), EVERY),
    Case("llama tied", config(LlamaConfig, tie_word_embeddings=True, rope_parameters=plain())),
    Case(
        "llama linear",
        config(LlamaConfig, attention_bias=True, rope_parameters=plain() | {"rope_type": "linear", "factor": 4.0}),
    ),
    Case("qwen2", config(Qwen2Config, tie_word_embeddings=False, rope_parameters=plain(1e6)), EVERY),
    Case(
        "qwen2 yarn",
        config(
            Qwen2Config,
            rope_parameters=plain(1e6)
            | {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256},
        ),
    ),
    Case(
        "qwen3",
        config(Qwen3Config, head_dim=128, tie_word_embeddings=True, rope_parameters=plain(1e6)),
        EVERY,
    ),
    Case(
        "qwen3-moe",
        config(
            Qwen3MoeConfig,
            head_dim=64,
            num_experts=8,
            num_experts_per_tok=2,
            moe_intermediate_size=256,
            norm_topk_prob=True,
            rope_parameters=plain(1e6),
        ),
    ),
    Case(
        "mixtral",
        config(MixtralConfig, num_local_experts=4, num_experts_per_tok=2, rope_parameters=plain(1e6)),
    ),
    Case("phi3", config(Phi3Config, rope_parameters=plain(), original_max_position_embeddings=1024)),
    Case(
        "phi3 longrope",
        config(Phi3Config, rope_parameters=longrope(64), original_max_position_embeddings=512),
    ),
    Case(
        "granite",
        config(
            GraniteConfig,
            embedding_multiplier=3.0,
            residual_multiplier=0.4,
            attention_multiplier=0.1,
            logits_scaling=2.0,
            rope_parameters=plain(),
        ),
    ),
    Case("smollm3", config(SmolLM3Config, num_hidden_layers=5, rope_parameters=plain(5e6))),
    Case("olmo2", config(Olmo2Config, rope_parameters=plain(500000.0))),
    Case("gemma2", config(Gemma2Config, head_dim=64, sliding_window=32, query_pre_attn_scalar=64)),
    Case(
        "gemma3",
        config(Gemma3TextConfig, head_dim=64, num_hidden_layers=7, sliding_window=32, query_pre_attn_scalar=64),
    ),
]
