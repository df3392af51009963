"""What `--quantization` does to a model: its logits and tokens against those of `transformers` in f32, beside the same engine without it.

    tests/parity/run.sh --suite tests/parity/quantization.py --engine target/release/candela-engine --logits target/debug/examples/logits

The demo model and some random ones. The tokens are the greedy ones of `transformers`; each is asked for with those before it as
they should be, so that one difference does not make all that follow differ.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import torch
from transformers.utils import logging

import command_line
import families
from demo import Demo
from engine import EngineFailed
from logits import Tool, check_runs
from references import Reference
from verdict import Verdict

TOKENS_OUT = 48
PROMPTS_PER_LENGTH = 2
LENGTHS = (9, 33, 100)
SETTINGS = [(dtype, kind) for kind in ("none", "q8_0", "q4_k") for dtype in ("float32", "bfloat16")]
# Root mean square of the differences of the logarithms of probabilities, as a share of that of the logits around their mean. In
# f32 rounding to 8 bits is all that differs; in bf16 sums and activations are rounded too. Four bits are not judged.
RMS_MAX = {"float32": 8e-2, "bfloat16": 1e-1}
# A token may be below the best one by so many times the error.
NEAR_TIE = 6.0
HEADING = """\
| model | dtype | `--quantization` | logits: largest difference | mean | KL divergence: largest | mean | rms | same tokens |
|---|---|---|---|---|---|---|---|---|"""


def shape(family, tied, **more):
    """A random model whose rows are whole blocks of both kinds."""
    rope = families.rope("default")
    settings = families.attention(4, 256, 4, 2, 768, 512, tied, head_dim=64, rope_parameters=rope, **more)
    return families.Case(family, "whole blocks", settings, lengths=LENGTHS)


SUBJECTS = [
    Demo(),
    shape("llama", False, attention_bias=True, mlp_bias=True),
    shape("qwen3", True),
]


class Figures:
    """How far logits are from those expected, over all positions, and how many choices are the same."""

    def __init__(self, expected, got):
        expected, got = expected.double(), got.double()
        differences = (got - expected).abs()
        self.largest, self.mean = differences.max().item(), differences.mean().item()
        expected, got = expected.log_softmax(-1), got.log_softmax(-1)
        divergences = (expected.exp() * (expected - got)).sum(-1)
        self.divergence_largest, self.divergence = divergences.max().item(), divergences.mean().item()
        scale = (expected - expected.mean(-1, keepdim=True)).square().mean().sqrt()
        self.rms = ((got - expected).square().mean().sqrt() / scale).item()
        chosen = got.argmax(-1, keepdim=True)
        below = expected.max(-1).values - expected.gather(-1, chosen).squeeze(-1)
        self.below = (below / scale).max().item()
        self.equal, self.count = int((below == 0).sum()), len(below)

    def __str__(self):
        logits = f"{self.largest:.3f} | {self.mean:.4f}"
        divergences = f"{self.divergence_largest:.1e} | {self.divergence:.1e}"
        return f"{logits} | {divergences} | {self.rms:.1e} | {self.equal} of {self.count}"


def check(subject, programs, work):
    """The verdicts about one subject; its figures are printed."""
    folder = subject.folder(work)
    reference, rng = Reference(folder, torch.float32), random.Random(17)
    prompts = [subject.draw(rng, length) for length in LENGTHS for _ in range(PROMPTS_PER_LENGTH)]
    answers = reference.greedy(prompts, TOKENS_OUT)
    inputs = [prompt + answer.tokens[:-1] for prompt, answer in zip(prompts, answers)]
    expected = torch.cat([reference.logits(tokens)[-TOKENS_OUT:] for tokens in inputs])
    tool = Tool(programs.logits, subject, work)
    for dtype, kind in SETTINGS:
        verdict = Verdict(subject.id, subject.family, dtype, kind)
        whole, pieces = tool.whole_and_in_pieces(folder, dtype, inputs, f"--quantization={kind}")
        difference = check_runs(whole, pieces)
        verdict.require(not difference, difference)
        figures = Figures(expected, torch.cat([rows[-TOKENS_OUT:] for rows in whole]))
        print(f"| {subject.id} | {dtype} | {kind} | {figures} |", flush=True)
        if kind == "q8_0":
            most, near = RMS_MAX[dtype], NEAR_TIE * figures.rms
            verdict.require(figures.rms <= most, f"rms {figures.rms:.1e}, tolerance {most:.1e}")
            verdict.require(figures.below <= near, f"a token is {figures.below:.1e} below the best, tolerance {near:.1e}")
        yield verdict


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command_line.add_arguments(parser)
    return command_line.parse(parser)


def main():
    """Every subject."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    args, verdicts = arguments(), []
    print(HEADING, flush=True)
    with tempfile.TemporaryDirectory(prefix="candela-quantization-") as root:
        for subject in SUBJECTS:
            work = Path(root) / subject.family
            work.mkdir()
            try:
                verdicts += check(subject, args, work)
            except (EngineFailed, OSError) as error:
                verdict = Verdict(subject.id, subject.family, "", "stopped")
                verdict.fail(f"{type(error).__name__}: {error}")
                verdicts.append(verdict)
    failures = [failure for verdict in verdicts for failure in verdict.failures]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{sum(verdict.equal for verdict in verdicts)} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
