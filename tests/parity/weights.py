"""Makes a case's model: draws its weights and writes it, with a small tokenizer, as a folder that can be served."""

import json
import zlib

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()
logging.set_verbosity_error()

# Wider, and rounding in bf16 grows from layer to layer; narrower, and a token forgets those before it.
LAYER_STD = 1.2
TIED_STD = 0.2
# Wide, so that the last expert chosen has little weight: in bf16 it is often another one.
ROUTER_STD = 4.0
OWN_SHARE = 0.5
TOKENS = 64  # of the tokenizer; the models' vocabularies are larger, as padded ones are


def make(case, folder):
    """Writes the model of `case` to `folder`."""
    torch.manual_seed(zlib.crc32(case.id.encode()))
    model = AutoModelForCausalLM.from_config(case.config(), dtype=torch.float32)
    draw(model, case.family)
    model.save_pretrained(folder, max_shard_size=case.shard_size)
    if case.rewrite:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        case.rewrite(config)
        path.write_text(json.dumps(config, indent=2))
    words = {f"t{i}": i for i in range(TOKENS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))


@torch.no_grad()
def draw(model, family):
    """Draws weights wide enough that each token changes what follows; narrow ones repeat one token for ever.

    A token must not find itself most likely only because embedding and output matrix are the same: where they
    are, the embedding is small beside what the layers add, and the last norm makes up for it.
    """
    config = model.config
    centre = 0.0 if family.startswith("gemma") else 1.0  # Gemma's norms multiply by 1 + weight
    scale = config.hidden_size**0.5 if family.startswith("gemma") else getattr(config, "embedding_multiplier", 1.0)
    tied = config.tie_word_embeddings
    embedding_std = (TIED_STD * getattr(config, "residual_multiplier", 1.0) if tied else 1.0) / scale
    # Logits then have a standard deviation of 3, whatever the model multiplies them by.
    output_std = embedding_std if tied else 0.35
    last_norm = 3.0 * getattr(config, "logits_scaling", 1.0) / (output_std * config.hidden_size**0.5)
    sandwiched = any("post_feedforward_layernorm" in name for name, _ in model.named_parameters())
    for name, p in model.named_parameters():
        if name == "model.norm.weight":
            p.uniform_(0.7 * last_norm, 1.3 * last_norm).add_(centre - 1.0)
        elif "post_attention_layernorm" in name and sandwiched:
            p.uniform_(0.2, 0.8).add_(centre - 1.0)  # what all tokens share must not drown what one brings
        elif "q_norm" in name or "k_norm" in name:
            p.uniform_(0.8, 1.6).add_(centre - 1.0)  # scores wide enough that attention is not just an average
        elif "norm" in name:
            p.uniform_(centre - 0.3, centre + 0.3)
        elif name.endswith("bias"):
            p.normal_(std=0.1)
        elif "embed_tokens" in name:
            p.normal_(std=embedding_std)
        elif "lm_head" in name:
            p.normal_(std=output_std)
        elif name.endswith("mlp.gate.weight"):
            p.normal_(std=ROUTER_STD / p.shape[-1] ** 0.5)
        else:
            p.normal_(std=LAYER_STD / p.shape[-1] ** 0.5)
            if p.dim() == 3:  # experts: a part that all share, so that choosing another one is no catastrophe in bf16
                p.mul_(OWN_SHARE).add_(p[:1].clone() / OWN_SHARE * (1 - OWN_SHARE**2) ** 0.5)
