"""Folders of random models, as `transformers` and `sentence-transformers` write them."""

import json

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

VOCAB = 120


def write(folder, model, pooling=None, normalize=True, modern=False, dtype=torch.float32):
    """Saves `model` as `dtype`; with a pooling, its modules beside it, as older or newer versions write them."""
    model.to(dtype).save_pretrained(folder)
    model.float()
    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    if pooling is None:
        return
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + [("2_Normalize", "Normalize")] * normalize
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    flag = {"mean": "mean_tokens", "max": "max_tokens", "cls": "cls_token"}.get(pooling, pooling)
    config = {"pooling_mode": pooling} if modern else {f"pooling_mode_{flag}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))


def shaken(model, seed):
    """The model with every parameter random: a bias, a norm or a token type that is left out then shows."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1
    return model.eval()


def pooled(states, pooling):
    """One vector of the hidden states `[n, width]`."""
    return {
        "cls": lambda: states[0],
        "lasttoken": lambda: states[-1],
        "mean": lambda: states.mean(0),
        "max": lambda: states.max(0).values,
        "mean_sqrt_len_tokens": lambda: states.sum(0) / len(states) ** 0.5,
    }[pooling]()


def expected(model, prompts, pooling):
    """The pooled states of each prompt alone."""
    with torch.no_grad():
        states = [model(input_ids=torch.tensor([ids])).last_hidden_state[0].float() for ids in prompts]
    return torch.stack([pooled(state, pooling) for state in states]).numpy()


def prompts(seed, longest, count=12, low=2):
    """Random token ids, of every length up to `longest`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, 2, 31, 32, 33, longest] + torch.randint(1, longest, (count,), generator=generator).tolist()
    lengths = [min(length, longest) for length in lengths]
    return [torch.randint(low, VOCAB, (length,), generator=generator).tolist() for length in lengths]
