"""What `transformers` says about a model: logits of every position, greedy tokens, and how sure it is of each."""

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import AutoModelForCausalLM

# Prompts whose lengths lie between the same two of these run in one batch.
GROUPS = [0, 260, 720, 2048]


@dataclass
class Answer:
    """Greedy tokens and, for each, how far the best logit was above the second, as a share of the largest logit."""

    tokens: list
    gaps: list


class Reference:
    """A model as `transformers` runs it in one dtype. With `widened`, its weights are read in that dtype, and
    everything is computed in f32."""

    def __init__(self, folder, dtype, seen=0, widened=False):
        # Softcaps need the eager attention; the others are faster in nothing that matters here.
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
        if widened:
            self.model = self.model.float()
        self.model.generation_config.eos_token_id = None
        self.thoughts = {}
        self.routed = bool(self.routers())
        if seen:
            # Dynamic rotary scaling is computed for the longest sequence so far, and stays as it is from there.
            self.logits([0] * seen)

    @torch.no_grad()
    def logits(self, prompt):
        """Logits of every position of one prompt, `[T, V]` f32."""
        return self.model(input_ids=torch.tensor([prompt]), use_cache=False).logits[0].float()

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
        logits = torch.stack(out.logits, 1).float()
        best = logits.topk(2, -1).values
        gaps = ((best[..., 0] - best[..., 1]) / logits.abs().amax(-1)).tolist()
        return [Answer(tokens, gap) for tokens, gap in zip(out.sequences[:, longest:].tolist(), gaps)]

    def second_thoughts(self, prompt, tokens):
        """What `think` says; the modes get the same answers, so it is asked once."""
        key = (*prompt, *tokens)
        if key not in self.thoughts:
            self.thoughts[key] = self.think(prompt, tokens)
        return self.thoughts[key]

    def think(self, prompt, tokens):
        """Given the prompt and the tokens before it: whether each of `tokens` is the one with the best logit, and how
        far it is below the best, as a share of the largest logit there."""
        logits = self.logits(prompt + tokens[:-1])[-len(tokens) :]
        chosen = logits.gather(1, torch.tensor(tokens).unsqueeze(1)).squeeze(1)
        short = (logits.max(1).values - chosen) / logits.abs().amax(1)
        return (logits.argmax(1) == torch.tensor(tokens)).tolist(), short.tolist()

    def closest_choice(self, tokens):
        """How close a router came, over all tokens and layers, to choosing another expert: the smallest difference
        of logits between the last one chosen and the first one left out. Infinite for a model without routers."""
        closest = float("inf")
        if not self.routed:
            return closest
        with self.router_logits() as seen:
            self.logits(tokens)
        for logits, chosen in seen:
            ordered = logits.float().sort(-1, descending=True).values
            if chosen < ordered.shape[-1]:
                closest = min(closest, (ordered[:, chosen - 1] - ordered[:, chosen]).min().item())
        return closest

    def routers(self):
        """The modules that choose experts."""
        return [module for module in self.model.modules() if type(module).__name__.endswith("TopKRouter")]

    @contextmanager
    def router_logits(self):
        """Collects what the routers compute, with how many experts each chooses."""
        seen = []
        hooks = [
            router.register_forward_hook(lambda module, _, out: seen.append((out[0], module.top_k)))
            for router in self.routers()
        ]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()
