"""Logits of every position, the engine's against those of `transformers`, and the tolerances."""

import json
import os
import subprocess
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from engine import EngineFailed

# Largest difference in f32, as a share of the largest logit.
F32_ERROR_MAX = 2e-5
# In bf16 both sides round; the engine may be this much further from the f32 result than transformers in bf16 is.
BF16_RATIO_MAX = 1.5
# With one switch of the configuration changed, logits in f32 must be so much further away at least.
NOTICED_MIN = 10 * F32_ERROR_MAX
# The second run takes each prompt in pieces of so many tokens.
PIECE = 13


@dataclass
class Error:
    """How far logits are from those expected. A router that chooses another expert at some position puts that
    position, and those that attend to it, far off: the median does not see it, the other two do."""

    # The largest difference, as a share of the largest logit.
    largest: float
    # Root mean square of the differences, as a share of that of the logits; and the median over the positions.
    rms: float
    median: float

    def __str__(self):
        return f"largest {self.largest:.1e}, rms {self.rms:.1e}, median {self.median:.1e}"


def error(expected, got):
    """The `Error` over all positions of all prompts."""
    expected, got = torch.cat(expected).double(), torch.cat(got).double()
    difference = got - expected
    largest = difference.abs().max() / expected.abs().max()
    rms = (difference.square().mean() / expected.square().mean()).sqrt()
    median = (difference.square().mean(1) / expected.square().mean(1)).sqrt().median()
    return Error(largest.item(), rms.item(), median.item())


def beyond_bf16(ours, theirs, routed):
    """What is wrong with an error in bf16, given that of transformers; None if nothing."""
    measures = ["median"] if routed else ["median", "rms"]
    for measure in measures:
        if getattr(ours, measure) > BF16_RATIO_MAX * getattr(theirs, measure):
            return f"{measure} more than {BF16_RATIO_MAX} times that of transformers: {ours}; transformers: {theirs}"
    return None


class Tool:
    """The example program `logits` for one model and the prompts it is asked."""

    def __init__(self, program, subject, work):
        self.program, self.subject, self.work = program, subject, work

    def run(self, folder, dtype, prompts, *more):
        """Logits of every position of each prompt."""
        asked, out = self.work / "prompts.json", self.work / "logits.safetensors"
        asked.write_text(json.dumps(prompts))
        command = [str(self.program), f"--model={folder}", f"--dtype={dtype}", f"--prompts={asked}", f"--out={out}"]
        command += [f"--max-model-len={self.subject.max_model_len}", *more]
        # The device of software, or a GPU: CANDELA_DEVICE=cuda.
        command += [f"--device={device}"] if (device := os.environ.get("CANDELA_DEVICE")) else []
        environment = os.environ | {"RUST_BACKTRACE": "0"}
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        if done.returncode:
            raise EngineFailed(f"{done.stderr.strip()[-1000:]} ({' '.join(command)})")
        tensors = load_file(out)
        return [tensors[str(i)] for i in range(len(prompts))]

    def whole_and_in_pieces(self, folder, dtype, prompts, *more):
        """The same, once in one step and once in several."""
        pieces = self.run(folder, dtype, prompts, f"--chunk={PIECE}", *more)
        return self.run(folder, dtype, prompts, *more), pieces


def check_runs(whole, pieces):
    """A prompt's logits must not depend on how it is split: not even in the last bit."""
    for a, b in zip(whole, pieces, strict=True):
        if not torch.equal(a, b):
            difference = (a - b).abs()
            position = int(difference.amax(1).nonzero()[0])
            return f"logits in pieces of {PIECE} differ from position {position} on, by up to {difference.max():.2e}"
    return None
