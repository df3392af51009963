"""Compares `candela-engine` with llama.cpp on the same GGUF files: logits, greedy tokens and tokenization.

Small random models of every family are made by `transformers`, written as GGUF files in several types with
llama.cpp's own quantizer, and run by both. llama.cpp comes prebuilt from PyPI (`xllamacpp`).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parity"))

import numpy  # noqa: E402
import torch  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

import cases  # noqa: E402
import command_line  # noqa: E402
import convert  # noqa: E402
import tokenization  # noqa: E402
import vocabularies  # noqa: E402
from engine import EngineFailed  # noqa: E402
from llama_cpp import LlamaCpp  # noqa: E402
from verdict import Verdict  # noqa: E402

LENGTHS = (1, 17, 40, 100)
TOKENS_OUT = 32
DTYPES = ("float32", "bfloat16")
# Root mean square of the differences of the logarithms of probabilities, as a share of that of the logits around
# their mean. With dense weights in f32 both compute the same. llama.cpp rounds the activations that meet f16 and
# bf16 weights to the weights' type; in blocks both round them to 8 bits, and as each layer turns a last bit here and
# there into another rounding, two correct programs end up apart by about the error of that rounding.
RMS_MAX = {"f32": 2e-5, "f16": 5e-3, "bf16": 4e-2}
RMS_IN_BLOCKS_MAX = 6e-2
# llama.cpp looks GELU up in a table of f16.
RMS_GELU_MAX = 2e-3
# With activations in bf16, each sum is rounded to 8 bits too.
RMS_BF16_MAX = 1e-1
# A token of one may be below the best of the other by so many times the error.
NEAR_TIE = 6.0
# Where a router is close to a choice, a last bit decides which experts run: with rounded activations some positions
# of such models may differ altogether.
AGREEING_WITH_EXPERTS = 0.75
# Quantizers differ: llama.cpp's own searches longer for scales, and keeps six bits here and there.
ON_LOAD_RATIO_MAX = 1.5
HEADING = f"{'model':14} {'file':7} {'dtype':9} {'equal':>9} {'near ties':>9} {'rms':>9} {'largest':>9}"


def arguments():
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    command_line.add_arguments(parser)
    parser.add_argument("--only", metavar="MODEL", help="one model, or `tokens`")
    return command_line.parse(parser)


class Figures:
    """How far the engine's logits are from llama.cpp's, and how many greedy tokens are the same. Only the `share` of
    the positions that agree best counts."""

    def __init__(self, expected, got, share):
        centred = expected - expected.mean(-1, keepdims=True)
        errors = numpy.square(got - expected).mean(-1)
        kept = errors.argsort(kind="stable")[: round(share * len(errors))]
        scale = numpy.sqrt(numpy.square(centred[kept]).mean())
        self.rms = numpy.sqrt(errors[kept].mean()) / scale
        self.largest = numpy.abs(got - expected)[kept].max() / numpy.abs(centred[kept]).max()
        chosen = got.argmax(-1)
        short = expected.max(-1) - numpy.take_along_axis(expected, chosen[:, None], -1)[:, 0]
        self.short = short[kept] / scale
        self.equal, self.count = int((short == 0).sum()), len(short)


def engine_logprobs(args, path, dtype, inputs, counts, work, *flags):
    """Logarithms of the probabilities of all tokens, as the engine has them, at the last `counts[i]` positions of
    `inputs[i]`."""
    asked, out = work / "prompts.json", work / "logits.safetensors"
    asked.write_text(json.dumps(inputs))
    command = [str(args.logits), f"--model={path}", f"--dtype={dtype}", f"--prompts={asked}", f"--out={out}", *flags]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise EngineFailed(f"{' '.join(command)}: {done.stderr.strip()[-1000:]}")
    rows = load_file(out)
    logits = numpy.concatenate([rows[str(i)][-count:] for i, count in enumerate(counts)])
    return torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()


def rms_max(case, kind, dtype):
    """The tolerance."""
    in_f32 = RMS_MAX.get(kind, RMS_IN_BLOCKS_MAX)
    if case.name.startswith("gemma"):
        in_f32 = max(in_f32, RMS_GELU_MAX)
    return in_f32 if dtype == "float32" else max(in_f32, RMS_BF16_MAX)


def check_logits(args, case, kind, path, work):
    """One file in both dtypes, against llama.cpp's greedy answers."""
    rng = random.Random(zlib.crc32(f"{case.name}{kind}".encode()))
    prompts = [[rng.randrange(cases.VOCABULARY) for _ in range(length)] for length in LENGTHS]
    peer = LlamaCpp(path)
    told = [peer.greedy(prompt, TOKENS_OUT, cases.VOCABULARY) for prompt in prompts]
    expected = numpy.concatenate([logprobs for _, logprobs in told])
    inputs = [prompt + answer[:-1] for prompt, (answer, _) in zip(prompts, told)]
    counts = [len(answer) for answer, _ in told]
    for dtype in DTYPES:
        verdict = Verdict(case.name, kind, dtype, "logits")
        rounded = (kind, dtype) != ("f32", "float32")
        share = AGREEING_WITH_EXPERTS if case.has_experts and rounded else 1.0
        figures = Figures(expected, engine_logprobs(args, path, dtype, inputs, counts, work), share)
        most = rms_max(case, kind, dtype)
        verdict.require(figures.rms <= most, f"rms {figures.rms:.1e}, tolerance {most:.1e}")
        for short in figures.short:
            if short == 0:
                verdict.equal += 1
            elif short <= NEAR_TIE * figures.rms:
                verdict.near_ties += 1
            else:
                verdict.fail(f"a token is {short:.1e} below the best, tolerance {NEAR_TIE * figures.rms:.1e}")
        equal = f"{figures.equal}/{figures.count}"
        line = f"{case.name:14} {kind:7} {dtype:9} {equal:>9} {verdict.near_ties:>9}"
        print(f"{line} {figures.rms:>9.1e} {figures.largest:>9.1e}", flush=True)
        yield verdict


def check_model(args, case, work):
    """All types of one model."""
    saved = work / "hf"
    case.model().save_pretrained(saved)
    model = convert.Model.load(saved, case.config)
    for kind in case.types:
        path = work / f"{kind}.gguf"
        convert.write(path, model, vocabularies.words(cases.VOCABULARY), kind)
        try:
            yield from check_logits(args, case, kind, path, work)
        except (EngineFailed, OSError, LookupError, ValueError) as error:
            verdict = Verdict(case.name, kind, "", "stopped")
            verdict.fail(f"{type(error).__name__}: {error}")
            yield verdict
    if case.types == cases.EVERY:
        yield from check_on_load(args, case, work)


def check_on_load(args, case, work):
    """`--quantization` of the safetensors model: no further from the model in f32 than llama.cpp's quantizer gets."""
    rng = random.Random(5)
    inputs = [[rng.randrange(cases.VOCABULARY) for _ in range(length)] for length in LENGTHS]
    saved = work / "hf"

    def logprobs(path, *flags):
        return engine_logprobs(args, path, "float32", inputs, LENGTHS, work, *flags)

    exact = logprobs(saved)

    def error(path, *flags):
        return Figures(exact, logprobs(path, *flags), 1.0).rms

    for kind, file in (("q8_0", "q8_0"), ("q4_k", convert.MIXED)):
        verdict = Verdict(case.name, kind, "float32", "on load")
        ours, theirs = error(saved, f"--quantization={kind}"), error(work / f"{file}.gguf")
        most = ON_LOAD_RATIO_MAX * theirs
        verdict.require(ours <= most, f"{ours:.1e} from the dense model, the GGUF file {theirs:.1e}")
        print(f"{case.name:14} {kind} on load: {ours:.1e} from dense; {file}.gguf: {theirs:.1e}", flush=True)
        yield verdict


def check_tokens(args, case, kind, work):
    """One vocabulary, in a file of the first model, which is served from the folder it lies in alone."""
    folder = work / kind
    folder.mkdir()
    saved = work / "hf"
    if not saved.exists():
        case.model().save_pretrained(saved)
    path = folder / "model.gguf"
    vocabulary = vocabularies.vocabulary(kind)
    convert.write(path, convert.Model.load(saved, case.config), vocabulary, "q8_0")
    verdict = Verdict(kind, "tokens", "", "")
    try:
        tokenization.check(args.engine, folder, work / f"{kind}.log", LlamaCpp(path), vocabulary, verdict)
    except (EngineFailed, OSError, LookupError, ValueError) as error:
        verdict.fail(f"{type(error).__name__}: {error}")
    print(f"tokens of {kind:10} {verdict.equal} equal, {len(verdict.failures)} not", flush=True)
    return verdict


def main():
    """Every model, then every vocabulary."""
    args = arguments()
    torch.set_num_threads(1)
    began, seen = time.monotonic(), []
    print(HEADING, flush=True)
    with tempfile.TemporaryDirectory(prefix="candela-gguf-") as root:
        for case in cases.CASES:
            if args.only in (None, case.name):
                work = Path(root) / case.name.replace(" ", "-")
                work.mkdir()
                seen += check_model(args, case, work)
        if args.only in (None, "tokens"):
            work = Path(root) / "tokens"
            work.mkdir()
            seen += [check_tokens(args, cases.CASES[0], kind, work) for kind in vocabularies.KINDS]
    failures = [failure for verdict in seen for failure in verdict.failures]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{sum(v.equal + v.near_ties for v in seen)} passed, {len(failures)} failed")
    sys.stdout.flush()
    # llama.cpp's servers have threads that do not end by themselves.
    os._exit(1 if failures else 0)


if __name__ == "__main__":
    main()
