"""Counts how many questions of each kind the demo model answers word for word as its generator does, greedily."""

import argparse
import random
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import questions
import tasks

KINDS = [
    questions.definition,
    questions.animal,
    questions.reason,
    questions.bigger,
    questions.calendar,
    questions.capital,
    questions.listing,
    questions.puzzle,
    questions.unknown,
    tasks.counting,
    tasks.repeat,
    tasks.reworded,
    tasks.sums,
    tasks.talk,
]


def answers(model, tokenizer, asked):
    """The answers to all questions, in one batch padded on the left."""
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": q}], add_generation_prompt=True, tokenize=False
        )
        for q in asked
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    out = model.generate(
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        do_sample=False,
        temperature=None,
        top_p=None,
        max_new_tokens=64,
    )
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def right(got, wanted):
    """Equal, or one way of not knowing instead of another."""
    return got == wanted or (got in questions.UNSURE and wanted in questions.UNSURE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=99)
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    for kind in KINDS:
        asked = [kind(rng) for _ in range(args.count)]
        got = answers(model, tokenizer, [question for question, _ in asked])
        good = sum(right(answer, wanted) for answer, (_, wanted) in zip(got, asked))
        print(f"{kind.__name__:12} {good} of {args.count}", flush=True)


if __name__ == "__main__":
    main()
