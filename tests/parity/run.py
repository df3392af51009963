"""Greedy tokens of `candela-engine` against those of `transformers`, alone and inside a batch.

Three models (the demo, a random Llama, a random Qwen3 in several files), each in f32 and bf16. In f32 every
token must be equal. In bf16 the two may part only at near-ties: given the tokens before it, each token of the
engine must be within the tolerance of the best logit that `transformers` computes in bf16 itself.
"""

import argparse
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from tokenizers import Tokenizer

import references
from engine import Engine, EngineFailed

DEMO = Path(__file__).resolve().parents[2] / "inference" / "models" / "demo"
sys.path.insert(0, str(DEMO))
import corpus  # noqa: E402 (the generator of the demo model's text, for prompts like those it knows)
import train  # noqa: E402

TOKENS_OUT = 64
# Around the block size of 32 tokens, beyond one prefill chunk, and close to the context.
PROMPT_LENGTHS = [1, 2, 5, 17, 31, 32, 33, 48, 63, 64, 65, 96, 130, 200, 257, 385, 513, 700, 1100, 1900]
LISTED = 5
# In f32 a prompt counts only if transformers itself is sure: below this gap its own answer depends on the order of additions.
SURE_GAP = 3e-4
DRAWS_MAX = 12
# Logits differ by this much between two correct bf16 computations, as a share of the largest logit's size.
BF16_SHARE = 2**-5
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def demo_prompts(rng, length):
    """Dialogues of the demo's own kind, cut to `length` tokens."""
    tokenizer, render, ids = Tokenizer.from_file(str(DEMO / "tokenizer.json")), train.renderer(), []
    while len(ids) < length:
        ids += tokenizer.encode(render(corpus.document(rng))).ids
    return ids[:length]


def random_prompts(rng, length):
    """Any ids, the padded end of the vocabulary too."""
    return [rng.randrange(references.VOCABULARY) for _ in range(length)]


def sure_prompts(reference, draw):
    """One prompt of each length, drawn again while the f32 reference is in doubt, and the reference's answers."""
    rng, found = random.Random(7), {}
    for _ in range(DRAWS_MAX):
        prompts = [draw(rng, length) for length in PROMPT_LENGTHS if length not in found]
        for prompt, answer in zip(prompts, reference.greedy(prompts, TOKENS_OUT)):
            if min(answer.gaps) >= SURE_GAP:
                found[len(prompt)] = (prompt, answer)
        if len(found) == len(PROMPT_LENGTHS):
            break
    else:
        raise EngineFailed(
            f"transformers is in doubt about every prompt of some length after {DRAWS_MAX} draws"
        )
    for prompt, answer in found.values():
        if max(reference.shortfalls(prompt, answer.tokens)[0]) > 0:
            raise EngineFailed(
                "transformers answers differently in a batch and alone: the suite's reference is wrong"
            )
    return [list(column) for column in zip(*(found[length] for length in PROMPT_LENGTHS))]


def alone(engine, prompts):
    """Every prompt by itself, one after the other."""
    return [engine.complete(prompt, TOKENS_OUT)[0] for prompt in prompts]


def batched(engine, prompts):
    """All prompts at once, together with one request that lists several prompts."""
    with ThreadPoolExecutor(len(prompts) + 1) as pool:
        listed = pool.submit(engine.complete, prompts[:LISTED], TOKENS_OUT)
        single = list(pool.map(lambda prompt: engine.complete(prompt, TOKENS_OUT)[0], prompts))
    return single + listed.result()


class Verdict:
    """How many answers were equal, how many parted at a near-tie, and what was wrong with the rest."""

    def __init__(self):
        self.equal, self.near_ties, self.failures = 0, 0, []

    def judge(self, reference, prompt, expected, got, near_ties_allowed):
        """Compares one answer."""
        where = f"prompt of {len(prompt)} tokens"
        if got == expected.tokens:
            self.equal += 1
            return
        if len(got) != TOKENS_OUT:
            self.failures.append(f"{where}: {len(got)} tokens instead of {TOKENS_OUT}")
            return
        first = next(i for i, pair in enumerate(zip(got, expected.tokens)) if pair[0] != pair[1])
        parted = f"token {first} is {got[first]} instead of {expected.tokens[first]}, top-two gap {expected.gaps[first]:.5f}"
        if not near_ties_allowed:
            self.failures.append(f"{where}: {parted}")
            return
        shortfalls, tolerance = reference.shortfalls(prompt, got)
        worst = max(range(TOKENS_OUT), key=lambda i: shortfalls[i])
        if shortfalls[worst] <= tolerance:
            self.near_ties += 1
        else:
            self.failures.append(
                f"{where}: {parted}; token {worst} is {shortfalls[worst]:.4f} below the best, tolerance {tolerance:.4f}"
            )


def check(binary, name, folder, dtype, prompts, answers, reference, work):
    """Runs one model in one dtype and prints its lines of the table; the failures."""
    failed, counts = [], [0, 0]
    with Engine(binary, folder, dtype, work / f"{name}-{dtype}.log") as engine:
        runs = {"alone": alone(engine, prompts), "batched": batched(engine, prompts)}
    for mode, results in runs.items():
        verdict = Verdict()
        for i, got in enumerate(results):
            which = i if i < len(prompts) else i - len(prompts)
            verdict.judge(reference, prompts[which], answers[which], got, dtype == "bfloat16")
        print(
            f"{name:8} {dtype:9} {mode:8} {len(results):8} {verdict.equal:6} {verdict.near_ties:10} {len(verdict.failures):7}",
            flush=True,
        )
        failed += [f"{name} {dtype} {mode}: {failure}" for failure in verdict.failures]
        counts[0] += verdict.equal + verdict.near_ties
        counts[1] += len(verdict.failures)
    return counts, failed


def models(work):
    """Name, folder and kind of prompt of each model; the random ones are made here."""
    for name, make, shard_size in (
        ("llama", references.random_llama, "1GB"),
        ("qwen3", references.random_qwen3, "400KB"),
    ):
        references.save(make(), work / name, DEMO, shard_size)
    return [
        ("demo", DEMO, demo_prompts),
        ("llama", work / "llama", random_prompts),
        ("qwen3", work / "qwen3", random_prompts),
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", required=True, help="path of the candela-engine binary")
    parser.add_argument("--only", help="one model: demo, llama or qwen3")
    args = parser.parse_args()
    torch.set_num_threads(min(2, torch.get_num_threads()))
    began, totals, failures = time.monotonic(), [0, 0], []
    print(
        f"{'model':8} {'dtype':9} {'mode':8} {'requests':>8} {'equal':>6} {'near-ties':>10} {'failed':>7}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="candela-parity-") as work:
        work = Path(work)
        for name, folder, draw in models(work):
            if args.only not in (None, name):
                continue
            prompts = None
            for dtype, torch_dtype in DTYPES.items():
                reference = references.Reference(folder, torch_dtype, BF16_SHARE)
                if prompts is None:
                    prompts, answers = sure_prompts(reference, draw)
                else:
                    answers = reference.greedy(prompts, TOKENS_OUT)
                try:
                    counts, failed = check(
                        args.engine, name, folder, dtype, prompts, answers, reference, work
                    )
                except (EngineFailed, OSError, KeyError) as error:
                    counts, failed = (
                        [0, 1],
                        [
                            f"{name} {dtype}: {error!r}"
                            if isinstance(error, KeyError)
                            else f"{name} {dtype}: {error}"
                        ],
                    )
                totals = [total + count for total, count in zip(totals, counts)]
                failures += failed
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{totals[0]} passed, {totals[1]} failed")
    sys.exit(1 if totals[1] or not totals[0] else 0)


if __name__ == "__main__":
    main()
