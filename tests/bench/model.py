"""Writes the benchmark's model into a folder, with random weights: `model.py FOLDER`. Runs in the parity suite's environment."""

import dataclasses
import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, Qwen3Config
from transformers.utils import logging

from shape import Shape

SEED = 5
CONTEXT = 4096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

logging.disable_progress_bar()
logging.set_verbosity_error()


def config(shape):
    """The configuration of a Qwen3 of this shape."""
    return Qwen3Config(
        num_hidden_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.ffn,
        vocab_size=shape.vocab,
        tie_word_embeddings=True,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=0,
    )


def write_tokenizer(shape, folder):
    """A token for every id, all of them plain words: no server has to wait for the rest of a character before it sends
    one. Prompts are token ids, so nothing is ever split into these."""
    alphabet = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = SPECIAL + alphabet
    tokens += [f"w{number}" for number in range(shape.vocab - len(tokens))]
    ids = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[("w", "0")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL[0],
        "pad_token": SPECIAL[0],
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def main():
    folder = Path(sys.argv[1])
    shape = Shape()
    torch.manual_seed(SEED)
    model = AutoModelForCausalLM.from_config(config(shape), dtype=torch.bfloat16)
    parameters = sum(p.numel() for p in model.parameters())
    assert abs(parameters / shape.weights() - 1) < 1e-3, f"{parameters} parameters, {dataclasses.asdict(shape)}"
    model.save_pretrained(folder)
    write_tokenizer(shape, folder)


if __name__ == "__main__":
    main()
