"""Greedy tokens of `candela-engine` against those of `transformers`, alone and inside a batch.

Three models (the demo, a random Llama, a random Qwen3 in several files), each in f32 and bf16. In f32 every
token must be equal. In bf16 the two may part only at near-ties: given the tokens before it, each token of the
engine must be within the tolerance of the best logit that `transformers` computes in bf16 itself. The demo is
also asked some dialogues: the rendered and tokenized prompts and the texts of the answers must be equal.
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

import chat
import references
from engine import Engine, EngineFailed
from verdict import HEADING, Verdict

DEMO = Path(__file__).resolve().parents[2] / "inference" / "models" / "demo"
sys.path.insert(0, str(DEMO))
import corpus  # noqa: E402 (the generator of the demo model's text, for prompts like those it knows)
import train  # noqa: E402

TOKENS_OUT = 64
# Around the block size of 32 tokens, beyond one prefill chunk, and close to the context.
PROMPT_LENGTHS = [1, 2, 5, 17, 31, 32, 33, 48, 63, 64, 65, 96, 130, 200, 257, 385, 513, 700, 1000]
LISTED = 5
# In f32 a prompt counts only where transformers itself is sure: below this gap the order of additions decides.
SURE_GAP = 3e-4
DRAWS_MAX = 12
# Logits may differ by this much between two correct bf16 computations, as a share of the largest logit's size:
# between two and four units in its last place.
BF16_SHARE = 2**-6
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def demo_prompt(rng, length):
    """Dialogues of the demo's own kind, cut to `length` tokens."""
    tokenizer, render, ids = Tokenizer.from_file(str(DEMO / "tokenizer.json")), train.renderer(), []
    while len(ids) < length:
        ids += tokenizer.encode(render(corpus.document(rng))).ids
    return ids[:length]


def random_prompt(rng, length):
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
        raise EngineFailed(f"transformers is in doubt about a prompt of some length after {DRAWS_MAX} draws")
    for prompt, answer in found.values():
        if max(reference.shortfalls(prompt, answer.tokens)[0]) > 0:
            raise EngineFailed("transformers answers differently in a batch and alone: no reference")
    return [list(column) for column in zip(*(found[length] for length in PROMPT_LENGTHS))]


def alone(engine, prompts):
    """Every prompt by itself, one after the other."""
    return [engine.complete(prompt, TOKENS_OUT)[0] for prompt in prompts]


def batched(engine, prompts):
    """All prompts at once, together with one request that lists the first ones."""
    with ThreadPoolExecutor(len(prompts) + 1) as pool:
        listed = pool.submit(engine.complete, prompts[:LISTED], TOKENS_OUT)
        single = list(pool.map(lambda prompt: engine.complete(prompt, TOKENS_OUT)[0], prompts))
    return single + listed.result()


def check(name, dtype, engine, reference, prompts, answers):
    """Lines of the table: every prompt alone, then all together."""
    for mode, ask in (("alone", alone), ("batched", batched)):
        verdict, results = Verdict(name, dtype, mode), ask(engine, prompts)
        asked = prompts + prompts[: len(results) - len(prompts)]
        expected = answers + answers[: len(results) - len(prompts)]
        for prompt, answer, got in zip(asked, expected, results, strict=True):
            verdict.judge(reference, prompt, answer, got)
        yield verdict


def verdicts(binary, name, folder, draw, work):
    """All lines of the table for one model; what stops the engine is a failed line."""
    prompts = None
    for dtype, torch_dtype in DTYPES.items():
        reference = references.Reference(folder, torch_dtype, BF16_SHARE)
        try:
            if prompts is None:
                prompts, answers = sure_prompts(reference, draw)
            else:
                answers = reference.greedy(prompts, TOKENS_OUT)
            dialogues = chat.expected(reference, folder) if (name, dtype) == ("demo", "float32") else None
            with Engine(binary, folder, dtype, work / f"{name}-{dtype}.log") as engine:
                yield from check(name, dtype, engine, reference, prompts, answers)
                if dialogues:
                    verdict = Verdict(name, dtype, "chat")
                    chat.check(engine, verdict, dialogues)
                    yield verdict
        except (EngineFailed, OSError, LookupError, ValueError) as error:
            verdict = Verdict(name, dtype, "stopped")
            verdict.fail(f"{type(error).__name__}: {error}")
            yield verdict


def models(work):
    """Name, folder and kind of prompt of each model; the random ones are made here."""
    references.save(references.random_llama(), work / "llama", DEMO, "1GB")
    references.save(references.random_qwen3(), work / "qwen3", DEMO, "400KB")
    return {
        "demo": (DEMO, demo_prompt),
        "llama": (work / "llama", random_prompt),
        "qwen3": (work / "qwen3", random_prompt),
    }


def main():
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--engine", required=True, help="path of the candela-engine binary")
    parser.add_argument("--only", choices=["demo", "llama", "qwen3"], help="one model instead of all")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the models are small: on a busy machine more threads wait for each other
    began, seen = time.monotonic(), []
    print(HEADING, flush=True)
    with tempfile.TemporaryDirectory(prefix="candela-parity-") as work:
        for name, (folder, draw) in models(Path(work)).items():
            if args.only in (None, name):
                for verdict in verdicts(args.engine, name, folder, draw, Path(work)):
                    print(verdict, flush=True)
                    seen.append(verdict)
    failures = [failure for verdict in seen for failure in verdict.failures]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{sum(v.equal + v.near_ties for v in seen)} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
