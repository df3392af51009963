"""Trains the demo model: `python train.py` writes the model's five files beside this script.

The text comes from `corpus.py`, the tokenizer is trained on it, and the decoder below has Qwen3's shape
and the names of its weights, so `transformers` and Candela read the result as any other Qwen3.
The learning rate stays flat and falls at the end, so a stopped run can be resumed with fewer steps.
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import jinja2
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

import corpus

HERE = Path(__file__).parent
END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 2048,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "sliding_window": None,
    "use_cache": True,
    "initializer_range": 0.02,
    "bos_token_id": None,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "torch_dtype": "bfloat16",
}
TOKENS_PER_STEP = 3072
# (share of the steps at which it begins, length of a row): long rows at the end teach far positions.
ROW_LENGTHS = [(0.0, 256), (0.7, 512), (0.93, 2048)]
# From this step on the corpus also holds what joins late.
LATE_STEP = 600
DECAY_SHARE = 0.35
RATES = (0.02, 4e-3)


# The text


def renderer():
    """Renders a document of the corpus as the text that the model sees."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = env.from_string((HERE / "chat_template.jinja").read_text())
    return lambda doc: doc["text"] if "text" in doc else template.render(messages=doc["messages"], tools=doc["tools"])


def train_tokenizer(seed):
    """A byte-level BPE over the corpus; digits stand alone and every byte has a token."""
    rng, render = random.Random(seed), renderer()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(t, normalized=False, special=True) for t in (END_OF_TEXT, IM_START, IM_END)]
    plain = [AddedToken(t, normalized=False, special=False) for t in ("<tool_call>", "</tool_call>")]
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"] - len(plain),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((render(corpus.document(rng)) for _ in range(30000)), trainer)
    tokenizer.add_tokens(plain)
    return tokenizer


def targets(ids, plain, marks):
    """Which tokens of a document the model must learn to write: answers and plain text."""
    if plain:
        return [True] * len(ids)
    start, end, assistant = marks
    out, writing = [], False
    for i, token in enumerate(ids):
        opened = i >= 3 and ids[i - 3] == start and ids[i - 2 : i] == assistant
        writing = writing or opened
        out.append(writing)
        if token == end:
            writing = False
    return out


def rows(tokenizer, rng, length, late):
    """Endless rows of `length + 1` tokens, each starting with a document, with their targets."""
    render = renderer()
    start, end, stop = (tokenizer.token_to_id(t) for t in (IM_START, IM_END, END_OF_TEXT))
    marks = (start, end, tokenizer.encode("assistant\n").ids)
    if len(marks[2]) != 2:
        raise ValueError("the role of the assistant must be two tokens: the word and the line end")
    while True:
        ids, wanted = [], []
        while len(ids) <= length:
            doc = corpus.document(rng, late)
            piece = tokenizer.encode(render(doc)).ids
            ids += piece + [stop]
            wanted += targets(piece, "text" in doc, marks) + ["text" in doc]
        yield ids[: length + 1], wanted[: length + 1]


# The model


class Norm(nn.Module):
    """RMS norm with a learnt scale."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.rms_norm(x.float(), self.weight.shape, self.weight, CONFIG["rms_norm_eps"])


class Attention(nn.Module):
    """Grouped heads, a norm on every query and key head, rotary positions."""

    def __init__(self):
        super().__init__()
        hidden, self.dim = CONFIG["hidden_size"], CONFIG["head_dim"]
        self.heads, self.groups = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]
        self.q_proj = nn.Linear(hidden, self.heads * self.dim, bias=False)
        self.k_proj = nn.Linear(hidden, self.groups * self.dim, bias=False)
        self.v_proj = nn.Linear(hidden, self.groups * self.dim, bias=False)
        self.o_proj = nn.Linear(self.heads * self.dim, hidden, bias=False)
        self.q_norm, self.k_norm = Norm(self.dim), Norm(self.dim)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(batch, length, self.heads, self.dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, length, self.groups, self.dim)).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.groups, self.dim).transpose(1, 2)
        q, k = rotate(q, cos, sin).contiguous(), rotate(k, cos, sin)
        share = self.heads // self.groups
        k, v = k.repeat_interleave(share, 1), v.float().repeat_interleave(share, 1)
        with torch.autocast("cpu", enabled=False):
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).reshape(batch, length, -1))


def rotate(x, cos, sin):
    """Rotary position embedding, halves as in Llama."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Mlp(nn.Module):
    """The gated feed-forward part."""

    def __init__(self):
        super().__init__()
        hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer."""

    def __init__(self):
        super().__init__()
        self.self_attn, self.mlp = Attention(), Mlp()
        self.input_layernorm, self.post_attention_layernorm = Norm(CONFIG["hidden_size"]), Norm(CONFIG["hidden_size"])

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The decoder; the names of its parameters are those of a Qwen3 checkpoint under `model.`."""

    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], CONFIG["hidden_size"])
        self.layers = nn.ModuleList(Layer() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = Norm(CONFIG["hidden_size"])
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * CONFIG["num_hidden_layers"]) if deep else 0.04)

    def forward(self, ids):
        """The last hidden states `[B, L, D]` of the token ids `[B, L]`."""
        half = CONFIG["head_dim"] // 2
        angles = torch.outer(torch.arange(ids.shape[1]), CONFIG["rope_theta"] ** -(torch.arange(half) / half))
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        return self.norm(x)

    def loss(self, ids, wanted):
        """Mean cross entropy of the next tokens that are wanted."""
        hidden = self(ids[:, :-1])[wanted[:, 1:]]
        logits = F.linear(hidden, self.embed_tokens.weight).float()
        return F.cross_entropy(logits, ids[:, 1:][wanted[:, 1:]])


# The optimizer


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal by five Newton-Schulz steps, for the matrices inside the layers."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.05):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for shape, alike in by_shape.items():
                self.step_alike(group, shape, alike)

    def step_alike(self, group, shape, alike):
        """Steps all matrices of one shape together."""
        updates = []
        for p in alike:
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - group["momentum"])
            updates.append(p.grad.lerp(momentum, group["momentum"]))
        scale = max(1.0, shape[0] / shape[1]) ** 0.5
        for p, update in zip(alike, orthogonal(torch.stack(updates))):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonal(x):
    """The nearest orthogonal matrices `[N, R, C]`, roughly (Newton-Schulz with Jordan's coefficients)."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if tall else x


def optimizers(model):
    """Muon for the matrices of the layers, Adam for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [Muon(matrices, lr=RATES[0]), torch.optim.AdamW(others, lr=RATES[1], betas=(0.9, 0.98), weight_decay=0.0)]


def rate(step, steps):
    """The share of the full learning rate: a short warm-up, flat, then falling to nothing."""
    decay = int(steps * DECAY_SHARE)
    return min(1.0, (step + 1) / 60, (steps - step) / decay)


# The run


def write(model, tokenizer, out):
    """Writes the five files."""
    weights = {f"model.{name}": p.detach().to(torch.bfloat16).contiguous() for name, p in model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONFIG["max_position_embeddings"],
        "bos_token": None,
        "eos_token": IM_END,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": (HERE / "chat_template.jinja").read_text(),
    }
    generation = {"eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    for name, value in (("config", CONFIG), ("generation_config", generation), ("tokenizer_config", tokenizer_config)):
        (out / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def batch_at(tokenizer, seed, step, steps):
    """The batch of one step; it depends on the seed and the step only, so that a run can be resumed."""
    length = [length for share, length in ROW_LENGTHS if step >= share * steps][-1]
    source = rows(tokenizer, random.Random(f"{seed}/{step}"), length, step >= LATE_STEP)
    picked = [next(source) for _ in range(math.ceil(TOKENS_PER_STEP / length))]
    return torch.tensor([ids for ids, _ in picked]), torch.tensor([wanted for _, wanted in picked])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--checkpoint", type=Path, help="kept every 200 steps, and resumed from when it exists")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = train_tokenizer(args.seed)
    model = Decoder()
    steppers, first = optimizers(model), 0
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {tokenizer.get_vocab_size()} tokens", flush=True)
    if args.checkpoint and args.checkpoint.exists():
        saved = torch.load(args.checkpoint)
        first = saved["step"]
        model.load_state_dict(saved["model"])
        for stepper, state in zip(steppers, saved["steppers"]):
            stepper.load_state_dict(state)
    began, mean = time.time(), None
    for step in range(first, args.steps):
        ids, wanted = batch_at(tokenizer, args.seed, step, args.steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model.loss(ids, wanted)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper, lr in zip(steppers, RATES):
            stepper.param_groups[0]["lr"] = lr * rate(step, args.steps)
            stepper.step()
            stepper.zero_grad()
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {mean:.4f} seconds {time.time() - began:.0f}", flush=True)
        if args.checkpoint and (step + 1) % 200 == 0:
            state = {"step": step + 1, "model": model.state_dict(), "steppers": [s.state_dict() for s in steppers]}
            torch.save(state, args.checkpoint)
    write(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
