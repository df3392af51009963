"""The shape of the model that is measured on a GPU: a Llama of 8 billion weights.

    python3 tests/gpu/model.py FOLDER [--small] [--weights]

Writes its config.json, with `--weights` safetensors of random numbers too, and the demo model's tokenizer, whose ids are the
first of the vocabulary. `--small` has the same form and a few million weights, to try the scripts without a GPU.
"""

import argparse
import json
import shutil
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "inference" / "models" / "demo"
SHAPE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}
SMALL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 64, "vocab_size": 8192}


def write(folder: Path, small: bool) -> dict:
    """The configuration and the tokenizer."""
    config = SHAPE | (SMALL if small else {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder / name)
    return config


def tensors(config: dict):
    """Names and shapes of all tensors."""
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv = config["num_attention_heads"] * config["head_dim"], config["num_key_value_heads"] * config["head_dim"]
    yield "model.embed_tokens.weight", (vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        of = f"model.layers.{layer}"
        yield f"{of}.input_layernorm.weight", (hidden,)
        yield f"{of}.post_attention_layernorm.weight", (hidden,)
        for name, shape in (("q", (heads, hidden)), ("k", (kv, hidden)), ("v", (kv, hidden)), ("o", (hidden, heads))):
            yield f"{of}.self_attn.{name}_proj.weight", shape
        for name, shape in (("gate", (inner, hidden)), ("up", (inner, hidden)), ("down", (hidden, inner))):
            yield f"{of}.mlp.{name}_proj.weight", shape
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocab, hidden)


def write_weights(folder: Path, config: dict) -> None:
    """One safetensors file, written tensor by tensor: the numbers repeat, and what is measured is how they are read."""
    import torch

    header, at = {}, 0
    for name, shape in tensors(config):
        size = 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    period = torch.empty(1_000_003).uniform_(-0.03, 0.03).to(torch.bfloat16).view(torch.int16).numpy().tobytes()
    one = torch.ones(1, dtype=torch.bfloat16).view(torch.int16).numpy().tobytes()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, entry in header.items():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            source = one * (left // 2) if name.endswith("norm.weight") else period
            while left > 0:
                left -= file.write(source[:left])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--weights", action="store_true")
    args = parser.parse_args()
    config = write(args.folder, args.small)
    if args.weights:
        write_weights(args.folder, config)


if __name__ == "__main__":
    main()
