"""Random decoders, pooled by their last token, against `transformers`."""

import numpy as np
import folders
import torch
import transformers
from vectors import Check, Embedder, close, equal, normalized, refused, same

SMALL = {
    "vocab_size": folders.VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 80,
    "max_position_embeddings": 256,
}
# The class, its configuration, the pooling that is written beside it, and the flags it takes.
CASES = [
    ("Qwen3ForCausalLM", {"head_dim": 16}, "lasttoken", {}),
    ("Qwen3ForCausalLM", {"head_dim": 16, "tie_word_embeddings": True}, None, {"runner": "pooling"}),
    ("Qwen3Model", {"head_dim": 16}, "lasttoken", {}),
    ("MistralModel", {"sliding_window": 40}, None, {}),
    ("LlamaModel", {}, "lasttoken", {"dtype": "bfloat16"}),
]


def checks(engine, out):
    """What must hold."""
    for seed, (name, config, pooling, flags) in enumerate(CASES):
        folder = out / str(seed)
        prompts = folders.prompts(seed, 200)
        expected = normalized(folders.expected(model(folder, name, config, pooling, seed), prompts, "lasttoken"))
        title = ", ".join([name, pooling or "no modules", *(f"{k} {v}" for k, v in (config | flags).items())])
        tolerance = flags.get("dtype", "float32")
        with Embedder(engine, folder, folder / "engine.log", **flags) as server:
            alone = np.stack([server.embed(prompt)[0] for prompt in prompts])
            yield close(title, alone, expected, tolerance)
            yield same(f"{title}: a batch is its members", server.embed(prompts), alone)
            yield same(f"{title}: from the prefix cache", server.embed(prompts), alone)
            hits = server.metric("vllm:prefix_cache_hits_total")
            yield Check(f"{title}: it was used", hits > 0, f"{hits:.0f} tokens")
        with Embedder(engine, folder, folder / "chunks.log", max_num_batched_tokens=16, max_num_seqs=4, **flags) as server:
            yield same(f"{title}: in chunks", server.embed(prompts), alone)
    yield from runners(engine, out)


def model(folder, name, config, pooling, seed):
    """A random model, and its folder."""
    torch.manual_seed(seed)
    kind = getattr(transformers, name)
    whole = folders.shaken(kind(kind.config_class(**SMALL | config)), seed)
    folder.mkdir()
    folders.write(folder, whole, pooling)
    return getattr(whole, whole.base_model_prefix, whole)


def runners(engine, out):
    """The flag decides what a decoder is run for."""
    prompt = {"prompt": [3, 4, 5], "max_tokens": 2, "ignore_eos": True}
    with Embedder(engine, out / "0", out / "generate.log", runner="generate") as server:
        yield equal("a decoder generates if asked", server.fetch("/v1/completions", prompt)["usage"]["completion_tokens"], 2)
        yield refused("and embeds nothing", server.refusal("/v1/embeddings", {"input": [3]}), server.name, "/v1/completions")
    with Embedder(engine, out / "0", out / "auto.log") as server:
        yield refused("it embeds by its modules", server.refusal("/v1/completions", prompt), server.name, "/v1/embeddings")
