"""Random encoders of every family, against `transformers`."""

from dataclasses import dataclass

import folders
import torch
import transformers
from vectors import Embedder, close, normalized, same

SMALL = {
    "vocab_size": folders.VOCAB,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 130,
}
DISTIL = {
    "vocab_size": folders.VOCAB,
    "dim": 48,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 80,
    "max_position_embeddings": 130,
}


@dataclass
class Case:
    """A model class with a configuration, and how it is pooled and saved."""

    model: str
    config: dict
    pooling: str = None
    normalize: bool = True
    modern: bool = False
    dtype: torch.dtype = torch.float32
    flags: dict = None
    tolerance: str = "float32"

    @property
    def name(self):
        own = {key: value for key, value in self.config.items() if (SMALL | DISTIL).get(key) != value}
        parts = [self.model, self.pooling or "no modules", *(f"{k} {v}" for k, v in own.items())]
        parts += [str(self.dtype).removeprefix("torch.")] * (self.dtype != torch.float32)
        return ", ".join(parts + [f"{k} {v}" for k, v in (self.flags or {}).items()])


BATCHED = {"max_num_batched_tokens": 64, "max_num_seqs": 3}
CASES = [
    Case("BertModel", SMALL),
    Case("BertModel", SMALL | {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}, "mean"),
    Case("BertModel", SMALL | {"hidden_act": "relu", "type_vocab_size": 3}, "max", modern=True),
    Case("BertModel", SMALL | {"hidden_act": "silu", "num_attention_heads": 1}, "mean_sqrt_len_tokens", normalize=False),
    Case("BertForMaskedLM", SMALL, "cls", flags=BATCHED),
    Case("BertForMaskedLM", SMALL, "lasttoken", dtype=torch.float16),
    Case("BertModel", SMALL, "mean", dtype=torch.bfloat16, tolerance="bfloat16"),
    Case("BertModel", SMALL, "mean", dtype=torch.bfloat16, flags={"dtype": "float32"}),
    Case("RobertaModel", SMALL | {"pad_token_id": 1}, "mean"),
    Case("RobertaForMaskedLM", SMALL | {"pad_token_id": 5, "type_vocab_size": 1}, "cls"),
    Case("XLMRobertaModel", SMALL | {"type_vocab_size": 1}, "mean", flags=BATCHED),
    Case("XLMRobertaForMaskedLM", SMALL | {"type_vocab_size": 1}),
    Case("CamembertModel", SMALL, "mean"),
    Case("CamembertForMaskedLM", SMALL, "mean"),
    Case("DistilBertModel", DISTIL, "mean"),
    Case("DistilBertModel", DISTIL | {"activation": "relu", "sinusoidal_pos_embds": True}, "cls"),
    Case("DistilBertForMaskedLM", DISTIL, "max"),
]


def checks(engine, out):
    """What must hold."""
    for seed, case in enumerate(CASES):
        yield from check(engine, out / str(seed), case, seed)


def check(engine, folder, case, seed):
    torch.manual_seed(seed)
    kind = getattr(transformers, case.model)
    whole = folders.shaken(kind(kind.config_class(**case.config)), seed)
    folder.mkdir()
    folders.write(folder, whole, case.pooling, case.normalize, case.modern, case.dtype)
    encoder = getattr(whole, whole.base_model_prefix, whole)
    # RoBERTa's positions begin behind the padding token, which may stand in a text.
    longest = 120
    prompts = folders.prompts(seed, longest, low=0)
    expected = folders.expected(encoder, prompts, case.pooling or "cls")
    if case.normalize:
        expected = normalized(expected)
    with Embedder(engine, folder, folder / "engine.log", **(case.flags or {})) as server:
        alone = [server.embed(prompt)[0] for prompt in prompts]
        yield close(case.name, alone, expected, case.tolerance)
        yield same(f"{case.name}: a batch is its members", server.embed(prompts), alone)
