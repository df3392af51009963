"""The models of the suite and what `transformers` says about them: greedy tokens and the certainty of each."""

import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()

# The demo's tokenizer has 2048 tokens; the random models have a few more, as padded vocabularies do.
VOCABULARY = 2080
# Prompts whose lengths lie between the same two of these run in one batch.
GROUPS = [0, 260, 720, 2048]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


def random_llama():
    """Grouped heads, an output matrix of its own, rotary scaling as in Llama 3, biases, shapes that are no powers of two."""
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=144,
        intermediate_size=296,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 256,
        },
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=2,
    )
    return widen(LlamaForCausalLM(config))


def random_qwen3():
    """Tied embeddings, a head size that is not hidden size / heads, three query heads to a key head."""
    torch.manual_seed(12)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=112,
        intermediate_size=264,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=40,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
    )
    return widen(Qwen3ForCausalLM(config))


def widen(model):
    """Draws weights wide enough that each token changes what follows; narrow ones repeat one token for ever."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.uniform_(0.7, 1.3)
            elif name.endswith("bias"):
                p.normal_(std=0.1)
            elif "embed_tokens" in name or "lm_head" in name:
                p.normal_(std=0.35 if "lm_head" in name or model.config.tie_word_embeddings else 1.0)
            else:
                p.normal_(std=1.6 / p.shape[1] ** 0.5)
    return model.eval()


def save(model, folder, demo, shard_size):
    """Writes a model with the demo's tokenizer; a small `shard_size` splits the weights over several files."""
    model.save_pretrained(folder, max_shard_size=shard_size)
    for name in TOKENIZER_FILES:
        shutil.copy(Path(demo) / name, Path(folder) / name)


@dataclass
class Answer:
    """Greedy tokens and, for each, how far the best logit was above the second."""

    tokens: list
    gaps: list


class Reference:
    """A model as `transformers` runs it in one dtype."""

    def __init__(self, folder, dtype, tolerance_share):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        self.model.generation_config.eos_token_id = None
        self.tolerance_share = tolerance_share

    def greedy(self, prompts, count):
        """The `Answer` to each prompt: `count` greedy tokens, never stopping early. Prompts of a like length run together."""
        answers = {}
        for low, high in pairwise(GROUPS):
            group = [prompt for prompt in prompts if low < len(prompt) <= high]
            if group:
                answers.update(zip(map(tuple, group), self.greedy_together(group, count)))
        return [answers[tuple(prompt)] for prompt in prompts]

    @torch.no_grad()
    def greedy_together(self, prompts, count):
        """Greedy answers to prompts padded on the left to one length."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        out = self.model.generate(
            ids,
            attention_mask=mask,
            do_sample=False,
            temperature=None,
            top_p=None,
            max_new_tokens=count,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_logits=True,
        )
        best = torch.stack(out.logits, 1).float().topk(2, -1).values
        gaps = (best[..., 0] - best[..., 1]).tolist()
        return [Answer(tokens, gap) for tokens, gap in zip(out.sequences[:, longest:].tolist(), gaps)]

    @torch.no_grad()
    def shortfalls(self, prompt, tokens):
        """How far each of `tokens` is below the best logit, given the prompt and the tokens before it; and the tolerance."""
        ids = torch.tensor([prompt + tokens[:-1]])
        logits = self.model(input_ids=ids, logits_to_keep=len(tokens)).logits[0].float()
        chosen = logits.gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)
        return (logits.max(1).values - chosen).tolist(), self.tolerance_share * logits.abs().max().item()
