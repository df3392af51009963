"""Trains the demo model: `python train.py` writes the model's five files beside this script.

The text comes from `corpus.py`, the tokenizer is trained on it, and `decoder.py` has Qwen3's shape and the
names of its weights, so `transformers` and Candela read the result as any other Qwen3.
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
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

import corpus
from decoder import CONFIG, Decoder
from muon import RATES, optimizers

HERE = Path(__file__).parent
END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOKENS_PER_STEP = 3072
# (share of the steps at which it begins, length of a row): long rows at the end teach far positions.
ROW_LENGTHS = [(0.0, 256), (0.7, 512), (0.93, 2048)]
# From this step on the corpus also holds what joins late.
LATE_STEP = 600
DECAY_SHARE = 0.35
# After the steps of the run, with a lower rate that falls again: steps with more of what takes the longest to learn.
PRACTICE_STEPS = 500
PRACTICE_RATE = 0.4
PRACTICE_ROW_LENGTHS = [(0.0, 256), (0.85, 1024)]


# The text


def renderer():
    """Renders a document of the corpus as the text that the model sees."""
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = env.from_string((HERE / "chat_template.jinja").read_text())
    return lambda doc: (
        doc["text"] if "text" in doc else template.render(messages=doc["messages"], tools=doc["tools"])
    )


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


def rows(tokenizer, rng, length, **stage):
    """Endless rows of `length + 1` tokens, each starting with a document, with their targets."""
    render = renderer()
    start, end, stop = (tokenizer.token_to_id(t) for t in (IM_START, IM_END, END_OF_TEXT))
    marks = (start, end, tokenizer.encode("assistant\n").ids)
    if len(marks[2]) != 2:
        raise ValueError("the role of the assistant must be two tokens: the word and the line end")
    while True:
        ids, wanted = [], []
        while len(ids) <= length:
            doc = corpus.document(rng, **stage)
            piece = tokenizer.encode(render(doc)).ids
            ids += piece + [stop]
            wanted += targets(piece, "text" in doc, marks) + ["text" in doc]
        yield ids[: length + 1], wanted[: length + 1]


# The run


def rate(step, steps):
    """The share of the full learning rate: a short warm-up, flat, then falling to nothing; and again for the practice."""
    if step >= steps:
        done = step - steps
        return PRACTICE_RATE * min((done + 1) / 20, 1 - done / PRACTICE_STEPS)
    decay = int(steps * DECAY_SHARE)
    return min(1.0, (step + 1) / 60, (steps - step) / decay)


def write(model, tokenizer, out):
    """Writes the five files."""
    weights = {
        f"model.{name}": p.detach().to(torch.bfloat16).contiguous() for name, p in model.state_dict().items()
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
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
    generation = {
        "eos_token_id": [2, 0],
        "pad_token_id": 0,
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.9,
    }
    for name, value in (
        ("config", CONFIG),
        ("generation_config", generation),
        ("tokenizer_config", tokenizer_config),
    ):
        (out / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def batch_at(tokenizer, seed, step, steps):
    """The batch of one step; it depends on the seed and the step only, so that a run can be resumed."""
    practice = step >= steps
    done = (step - steps) / PRACTICE_STEPS if practice else step / steps
    lengths = PRACTICE_ROW_LENGTHS if practice else ROW_LENGTHS
    length = [length for share, length in lengths if done >= share][-1]
    source = rows(
        tokenizer, random.Random(f"{seed}/{step}"), length, late=step >= LATE_STEP, practice=practice
    )
    picked = [next(source) for _ in range(math.ceil(TOKENS_PER_STEP / length))]
    return torch.tensor([ids for ids, _ in picked]), torch.tensor([wanted for _, wanted in picked])


def keep(path, step, model, steppers):
    """Writes a checkpoint from which `restore` goes on."""
    states = [stepper.state_dict() for stepper in steppers]
    torch.save({"step": step, "model": model.state_dict(), "steppers": states}, path)


def restore(path, model, steppers):
    """Reads a checkpoint; the number of steps it had done."""
    saved = torch.load(path)
    model.load_state_dict(saved["model"])
    for stepper, state in zip(steppers, saved["steppers"]):
        stepper.load_state_dict(state)
    return saved["step"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument(
        "--checkpoint", type=Path, help="kept every 200 steps, and resumed from when it exists"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = train_tokenizer(args.seed)
    model = Decoder()
    steppers, first = optimizers(model), 0
    print(
        f"{sum(p.numel() for p in model.parameters())} parameters, {tokenizer.get_vocab_size()} tokens",
        flush=True,
    )
    if args.checkpoint and args.checkpoint.exists():
        first = restore(args.checkpoint, model, steppers)
    began, mean = time.time(), None
    for step in range(first, args.steps + PRACTICE_STEPS):
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
            keep(args.checkpoint, step + 1, model, steppers)
    write(model, tokenizer, args.out)


if __name__ == "__main__":
    main()
