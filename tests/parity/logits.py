"""Logits of every position, the engine's against those of `transformers`, and the tolerances."""

import json
import subprocess
from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from engine import EngineFailed

# Largest difference in f32, as a share of the largest logit.
F32_ERROR_MAX = 2e-5
# In bf16 both sides round; the engine may be this much further from the f32 result than transformers in bf16 is.
BF16_RATIO_MAX = 1.5
# The second run takes each prompt in pieces of so many tokens.
PIECE = 13


@dataclass
class Error:
    """How far logits are from those expected: the largest difference as a share of the largest logit, and the root
    mean square of the differences as a share of that of the logits."""

    largest: float
    rms: float


def error(expected, got):
    """The `Error` over all positions of all prompts."""
    expected, got = torch.cat(expected), torch.cat(got)
    difference = got - expected
    largest = difference.abs().max() / expected.abs().max()
    return Error(largest.item(), (difference.square().mean() / expected.square().mean()).sqrt().item())


def of_engine(binary, subject, folder, dtype, prompts, work):
    """Logits of every position of each prompt, as the engine computes them: prompts whole, then in pieces."""
    asked, out = work / "prompts.json", work / "logits.safetensors"
    asked.write_text(json.dumps(prompts))
    runs = []
    for pieces in ([], [f"--chunk={PIECE}"]):
        command = [str(binary), f"--model={folder}", f"--dtype={dtype}", f"--prompts={asked}", f"--out={out}"]
        command += [f"--max-model-len={subject.max_model_len}", *pieces]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise EngineFailed(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")
        tensors = load_file(out)
        runs.append([tensors[str(i)] for i in range(len(prompts))])
    return runs


def check_runs(whole, pieces):
    """A prompt's logits must not depend on how it is split: not even in the last bit."""
    for a, b in zip(whole, pieces, strict=True):
        if not torch.equal(a, b):
            difference = (a - b).abs()
            position = int(difference.amax(1).nonzero()[0])
            return f"logits in pieces of {PIECE} differ from position {position} on, by up to {difference.max():.2e}"
    return None
