"""The models of the suite, as data: for each family some shapes that together use every switch it has."""

from dataclasses import dataclass, field

from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

import switches
import weights

CONFIGS = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "phi3": Phi3Config,
    "granite": GraniteConfig,
    "smollm3": SmolLM3Config,
    "olmo2": Olmo2Config,
    "gemma2": Gemma2Config,
    "gemma3": Gemma3TextConfig,
    "qwen3-moe": Qwen3MoeConfig,
    "mixtral": MixtralConfig,
}

# Around the block size of 32 tokens, and past every window and every original context below.
LENGTHS = (1, 9, 31, 32, 33, 65, 131, 200)
# Past an original context of 64 or 96 tokens, for rotary kinds that change there.
LONG = (97, 100, 127, 128, 129, 150, 180, 200)
# Within an original context of 192 tokens, with the answer.
SHORT = (1, 9, 31, 32, 33, 65, 96, 128)
CONTEXT = 512


def attention(layers, hidden, heads, kv_heads, intermediate, vocab, tied, **more):
    """The sizes that every family has."""
    return {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": None,
        **more,
    }


def rope(kind, theta=10000.0, **more):
    """Rotary parameters as `transformers` 5 writes them."""
    return {"rope_type": kind, "rope_theta": theta, **more}


def factors(low, high, count):
    """Stretching factors of longrope, growing over the pairs of dimensions."""
    return [low + (high - low) * i / (count - 1) for i in range(count)]


def older(config):
    """The form of `config.json` before version 5: `rope_theta` and `rope_scaling`, no list of layer types."""
    parameters = config.pop("rope_parameters")
    if "sliding_attention" in parameters:
        full = parameters["full_attention"]
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = config["layer_types"].index("full_attention") + 1
    else:
        full = parameters
    config["rope_theta"] = full.pop("rope_theta")
    partial = full.pop("partial_rotary_factor", None)
    if partial is not None:
        config["partial_rotary_factor"] = partial
    config["rope_scaling"] = None if full["rope_type"] == "default" else full
    config.pop("layer_types", None)
    config["torch_dtype"] = config.pop("dtype")


def older_unused_window(config):
    """The older form, with settings of a sliding window that is switched off."""
    older(config)
    config |= {"sliding_window": 32, "max_window_layers": 0}


def older_su(config):
    """The oldest form of longrope, which called it `su`."""
    older(config)
    config["rope_scaling"]["type"] = "su"
    del config["rope_scaling"]["rope_type"]


@dataclass(frozen=True)
class Case:
    """One model: its family, what is special about it, its configuration, and what is asked of it."""

    family: str
    name: str
    settings: dict = field(hash=False)
    lengths: tuple = LENGTHS
    # What the engine is started with; for rotary kinds that depend on it, also what they are computed for.
    max_model_len: int = 320
    # Dynamic rotary scaling: the longest sequence that the reference has seen before the first prompt.
    seen: int = 0
    # Changes `config.json` as it was written; both sides read the result.
    rewrite: object = None
    # Keys of `config.json` that this model has and does not depend on.
    inert: tuple = ()
    shard_size: str = "1GB"

    @property
    def id(self):
        """What a person types to choose it."""
        return f"{self.family}/{self.name}"

    @property
    def windowed(self):
        """Whether some layers slide, so that the window's settings count."""
        if self.family in ("qwen2", "qwen3", "qwen3-moe", "smollm3"):
            return self.settings.get("use_sliding_window", False)
        return self.settings.get("sliding_window") is not None

    def longrope_changes(self):
        """Of longrope's factors, those that count for how long the engine's sequences may be."""
        original = self.settings.get("rope_parameters", {}).get("original_max_position_embeddings", 0)
        return {"long_factor" if self.max_model_len > original else "short_factor": switches.times(1.3)}

    def config(self):
        """The configuration as `transformers` makes it."""
        return CONFIGS[self.family](**self.settings)

    def folder(self, work):
        """Makes the model below `work`."""
        folder = work / "model"
        weights.make(self, folder)
        return folder

    def draw(self, rng, length):
        """Any ids, those that the tokenizer lacks too."""
        return [rng.randrange(self.settings["vocab_size"]) for _ in range(length)]


LLAMA = [
    Case("llama", "llama2", attention(3, 64, 4, 4, 176, 259, False, rope_parameters=rope("default"))),
    Case(
        "llama",
        "llama3",
        attention(
            3, 144, 6, 2, 296, 511, False,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters=rope(
                "llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        ),
        rewrite=older,
    ),
    Case(
        "llama",
        "linear",
        attention(3, 96, 4, 2, 200, 300, True, head_dim=40, rope_parameters=rope("linear", factor=4.0)),
    ),
    Case(
        "llama",
        "yarn",
        attention(
            3, 80, 5, 1, 208, 320, False,
            rope_parameters=rope("yarn", factor=8.0, original_max_position_embeddings=64),
        ),
        shard_size="100KB",
    ),
    Case(
        "llama",
        "yarn, every setting",
        attention(
            3, 64, 2, 2, 160, 320, True,
            rope_parameters=rope(
                "yarn", 5000.0, factor=8.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0,
                mscale=0.8, mscale_all_dim=0.4, truncate=False,
            ),
        ),
    ),
    Case(
        "llama",
        "dynamic, within the context",
        attention(3, 64, 4, 2, 160, 320, False, rope_parameters=rope("dynamic", factor=3.0)),
        inert=("rope_type", "factor"),
    ),
    Case(
        "llama",
        "dynamic, past the context",
        attention(3, 64, 4, 2, 160, 320, False, rope_parameters=rope("dynamic", factor=4.0))
        | {"max_position_embeddings": 96},
        lengths=LONG,
        seen=320,
    ),
    Case(
        "llama",
        "longrope",
        attention(
            3, 96, 4, 2, 160, 320, False,
            rope_parameters=rope(
                "longrope", factor=8.0, original_max_position_embeddings=64,
                short_factor=factors(1.0, 1.3, 12), long_factor=factors(1.0, 9.0, 12),
            ),
        ),
        lengths=LONG,
    ),
]

MISTRAL = [
    Case(
        "mistral",
        "no window",
        attention(3, 96, 4, 2, 208, 300, False, head_dim=40, sliding_window=None, rope_parameters=rope("default", 1e6)),
    ),
    Case(
        "mistral",
        "window",
        attention(3, 64, 4, 1, 160, 300, True, sliding_window=45, rope_parameters=rope("default")),
        rewrite=older,
    ),
    Case(
        "mistral",
        "window of a block",
        attention(3, 64, 2, 2, 160, 300, False, sliding_window=32, rope_parameters=rope("default")),
    ),
]

QWEN2 = [
    Case("qwen2", "grouped, tied", attention(3, 112, 7, 1, 216, 300, True, rope_parameters=rope("default", 1e6))),
    Case(
        "qwen2",
        "window on the upper layers",
        attention(
            4, 64, 4, 2, 160, 320, False, use_sliding_window=True, sliding_window=40, max_window_layers=2,
            rope_parameters=rope("default", 1e6),
        ),
        rewrite=older,
    ),
    Case(
        "qwen2",
        "yarn",
        attention(
            3, 64, 2, 2, 160, 320, True, use_sliding_window=False,
            rope_parameters=rope("yarn", 1e6, factor=4.0, original_max_position_embeddings=128),
        ),
        rewrite=older_unused_window,
    ),
]

QWEN3 = [
    Case(
        "qwen3",
        "grouped, tied",
        attention(4, 112, 6, 2, 264, 450, True, head_dim=40, rope_parameters=rope("default", 1e6)),
        shard_size="400KB",
    ),
    Case(
        "qwen3",
        "biased",
        attention(3, 64, 2, 2, 160, 300, False, head_dim=24, attention_bias=True, rope_parameters=rope("default")),
        rewrite=older,
    ),
    Case(
        "qwen3",
        "layer types",
        attention(
            4, 64, 4, 2, 160, 300, True, head_dim=16, use_sliding_window=True, sliding_window=33,
            layer_types=["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
            rope_parameters=rope("default"),
        ),
        inert=("max_window_layers",),
    ),
]


def phi3_longrope(layers, hidden, heads, kv_heads, rotary_pairs, partial, original, **more):
    """Phi3 keeps its original context beside the rotary parameters."""
    return attention(
        layers, hidden, heads, kv_heads, 168, 300, False,
        original_max_position_embeddings=original,
        rope_parameters=rope(
            "longrope",
            short_factor=factors(1.0, 1.4, rotary_pairs),
            long_factor=factors(1.1, 8.0, rotary_pairs),
            original_max_position_embeddings=original,
            partial_rotary_factor=partial,
        ),
        **more,
    )


PHI3 = [
    Case(
        "phi3",
        "window",
        attention(
            3, 96, 4, 4, 208, 320, False, sliding_window=47, original_max_position_embeddings=CONTEXT,
            rope_parameters=rope("default", partial_rotary_factor=1.0),
        ),
        inert=("original_max_position_embeddings",),
    ),
    Case(
        "phi3",
        "longrope, within the original context",
        phi3_longrope(3, 64, 4, 2, 8, 1.0, 192),
        lengths=SHORT,
        max_model_len=192,
        rewrite=older_su,
    ),
    Case("phi3", "longrope, past it, partial", phi3_longrope(3, 96, 4, 2, 9, 0.75, 96), lengths=LONG),
    Case(
        "phi3",
        "longrope, past it, older form, tied",
        phi3_longrope(3, 64, 2, 2, 8, 0.5, 64, sliding_window=70) | {"tie_word_embeddings": True},
        lengths=LONG,
        rewrite=older,
    ),
]

GRANITE = [
    Case(
        "granite",
        "grouped, tied",
        attention(
            3, 96, 4, 2, 208, 300, True, embedding_multiplier=12.0, attention_multiplier=0.11, residual_multiplier=0.22,
            logits_scaling=6.0, rope_parameters=rope("default"),
        ),
        rewrite=older,
    ),
    Case(
        "granite",
        "biased",
        attention(
            3, 64, 4, 4, 160, 320, False, attention_bias=True, mlp_bias=True, embedding_multiplier=3.0,
            attention_multiplier=0.4, residual_multiplier=0.7, logits_scaling=2.5,
            rope_parameters=rope("linear", factor=2.0),
        ),
    ),
]

SMOLLM3 = [
    Case("smollm3", "every fourth without rope", attention(4, 64, 4, 2, 160, 320, True, rope_parameters=rope("default", 2e6))),
    Case(
        "smollm3",
        "windows",
        attention(
            4, 96, 4, 4, 176, 300, False, no_rope_layers=[0, 1, 1, 0], use_sliding_window=True, sliding_window=43,
            rope_parameters=rope("default"),
        ),
        rewrite=older,
    ),
    Case(
        "smollm3",
        "biased, yarn",
        attention(
            3, 80, 5, 1, 160, 300, False, no_rope_layer_interval=2, attention_bias=True, mlp_bias=True,
            rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=128),
        ),
    ),
]

OLMO2 = [
    Case("olmo2", "multi-head", attention(3, 64, 4, 4, 160, 320, False, rope_parameters=rope("default", 5e5))),
    Case(
        "olmo2",
        "grouped, tied",
        attention(4, 96, 4, 2, 208, 300, True, attention_bias=True, rope_parameters=rope("linear", factor=2.0)),
        rewrite=older,
    ),
]

GEMMA2 = [
    Case(
        "gemma2",
        "grouped, softcaps",
        attention(
            4, 80, 4, 2, 208, 320, True, head_dim=24, query_pre_attn_scalar=30, sliding_window=37,
            attn_logit_softcapping=4.0, final_logit_softcapping=6.0, rope_parameters=rope("default"),
        ),
        rewrite=older,
    ),
    Case(
        "gemma2",
        "no softcaps, untied",
        attention(
            3, 64, 4, 4, 160, 300, False, head_dim=40, query_pre_attn_scalar=40, sliding_window=64,
            attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"],
            rope_parameters=rope("default"),
        ),
    ),
]

GEMMA3 = [
    Case(
        "gemma3",
        "linear on global layers",
        attention(
            6, 64, 4, 2, 160, 320, True, head_dim=24, query_pre_attn_scalar=20, sliding_window=38,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
            rope_parameters={
                "full_attention": rope("linear", 1e6, factor=8.0),
                "sliding_attention": rope("default", 1e4),
            },
        ),
        rewrite=older,
    ),
    Case(
        "gemma3",
        "multi-head, final softcap",
        attention(
            3, 80, 2, 2, 160, 300, False, head_dim=40, query_pre_attn_scalar=40, sliding_window=33,
            final_logit_softcapping=7.0,
            layer_types=["full_attention", "sliding_attention", "full_attention"],
            rope_parameters={
                "full_attention": rope("default", 1e6),
                "sliding_attention": rope("default", 1e4),
            },
        ),
    ),
]

QWEN3_MOE = [
    Case(
        "qwen3-moe",
        "normalized",
        attention(
            3, 64, 4, 2, 160, 320, False, head_dim=24, num_experts=8, num_experts_per_tok=2, moe_intermediate_size=72,
            norm_topk_prob=True, rope_parameters=rope("default", 1e6),
        ),
    ),
    Case(
        "qwen3-moe",
        "not normalized, some dense layers",
        attention(
            4, 64, 2, 2, 176, 300, True, head_dim=32, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=40,
            norm_topk_prob=False, mlp_only_layers=[1], rope_parameters=rope("default"),
        ),
        rewrite=older,
    ),
    Case(
        "qwen3-moe",
        "every second sparse, window",
        attention(
            4, 64, 4, 4, 136, 300, False, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64,
            norm_topk_prob=True, decoder_sparse_step=2, use_sliding_window=True, sliding_window=50,
            rope_parameters=rope("default"),
        ),
    ),
]

MIXTRAL = [
    Case(
        "mixtral",
        "grouped",
        attention(3, 64, 4, 2, 104, 320, False, num_local_experts=4, num_experts_per_tok=2, rope_parameters=rope("default", 1e6)),
        shard_size="300KB",
    ),
    Case(
        "mixtral",
        "window, tied",
        attention(
            3, 64, 4, 4, 72, 300, True, head_dim=24, num_local_experts=8, num_experts_per_tok=3, sliding_window=41,
            rope_parameters=rope("default"),
        ),
        rewrite=older,
    ),
]

CASES = [
    *LLAMA, *MISTRAL, *QWEN2, *QWEN3, *PHI3, *GRANITE, *SMOLLM3, *OLMO2, *GEMMA2, *GEMMA3, *QWEN3_MOE, *MIXTRAL,
]
