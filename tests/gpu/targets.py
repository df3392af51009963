"""Steps of a model of 8 billion random weights on a GPU: this engine, `transformers` with a static cache and `torch.compile`, and
what the GPU's memory and tensor cores give, all in one run.

    python3 tests/gpu/targets.py --steps PROGRAM [--device cuda] [--small]

PROGRAM is the example `steps` of this repository. Prints a table, and exits with 1 where a target is missed; the targets are those
of the table. `--device cpu --small` tries the script itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import model
import torch

SEQUENCES = (1, 64, 256)
CONTEXT = 512
PROMPTS = (2048, 8192)
STEPS = 30
# Share of what the memory can move that decoding is to reach, by sequences, and of the tensor cores' peak that a prompt is to.
DECODE_SHARE = {1: 0.85, 64: 0.60, 256: 0.60}
PROMPT_SHARE = 0.55


def finished(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work, device: str, times: int) -> float:
    """The median."""
    taken = []
    for _ in range(times + 2):
        begun = time.perf_counter()
        work()
        finished(device)
        taken.append(time.perf_counter() - begun)
    return sorted(taken[2:])[times // 2]


def limits(device: str, small: bool) -> tuple[float, float]:
    """GB/s of a copy, bytes read and written together, and TFLOP/s of a product in bf16."""
    count, size = (1 << 22, 512) if small else (1 << 31, 8192)
    source = torch.zeros(count // 2, dtype=torch.bfloat16, device=device)
    to = torch.empty_like(source)
    copy = seconds_of(lambda: to.copy_(source), device, 10)
    a, b = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    product = seconds_of(lambda: torch.mm(a, b), device, 10)
    return 2 * count / copy / 1e9, 2 * size**3 / product / 1e12


def engine(program: Path, folder: Path, device: str, small: bool) -> dict:
    """What `steps` finds: {("decode", sequences) or ("prompt", tokens): its line}."""
    sequences, prompts, context = sizes(small)
    command = [program, "--model", folder, "--load-format", "dummy", "--device", device, "--dtype", "bfloat16",
               "--sequences", ",".join(map(str, sequences)), "--prompt", ",".join(map(str, prompts)),
               "--context", str(context), "--steps", str(STEPS)]
    said = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {}
    for line in map(json.loads, said.splitlines()):
        found[line["what"], line.get("sequences", line.get("tokens", 0))] = line
    return found


def sizes(small: bool):
    return ((1, 4), (32, 64), 32) if small else (SEQUENCES, PROMPTS, CONTEXT)


def peer(config: dict, device: str, small: bool) -> dict:
    """Seconds of the same steps by `transformers`."""
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    torch.set_grad_enabled(False)
    sequences, prompts, context = sizes(small)
    own = LlamaConfig(**{key: value for key, value in config.items() if key not in ("architectures", "model_type", "torch_dtype")})
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        llama = LlamaForCausalLM(own).eval()
    found = {}
    for length in prompts:
        ids = torch.randint(config["vocab_size"], (1, length), device=device)
        found["prompt", length] = seconds_of(lambda: llama(ids, use_cache=True, logits_to_keep=1), device, 5)
    for count in sequences:
        cache = StaticCache(config=own, max_batch_size=count, max_cache_len=context + STEPS + 8, device=device, dtype=torch.bfloat16)
        ids = torch.randint(config["vocab_size"], (count, context), device=device)
        for first in range(0, context, 64):
            # Little at a time: the logits of all would not fit.
            places = torch.arange(first, min(first + 64, context), device=device)
            llama(ids[:, first : first + 64], past_key_values=cache, cache_position=places, logits_to_keep=1)
        torch._dynamo.reset()
        step = torch.compile(llama, mode="reduce-overhead", fullgraph=True) if device == "cuda" else llama
        token, place = ids[:, -1:].contiguous(), torch.tensor([context], device=device)

        def decode():
            logits = step(token, past_key_values=cache, cache_position=place).logits
            token.copy_(logits[:, -1].argmax(-1, keepdim=True))
            place.add_(1)

        found["decode", count] = seconds_of(decode, device, STEPS)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = model.write(Path(folder), args.small)
        copied, multiplied = limits(args.device, args.small)
        own = engine(args.steps, Path(folder), args.device, args.small)
    try:
        theirs = peer(config, args.device, args.small)
    except Exception as error:  # The engine's own figures count without the peer too.
        print(f"transformers did not run: {error}")
        theirs = {}
    load = own["load", 0]
    print(f"copy {copied:.0f} GB/s, product {multiplied:.0f} TFLOP/s; {load['parameters'] / 1e9:.2f} billion weights, "
          f"loaded in {load['seconds']:.1f} s")
    print("| step | ms | tokens/s | of the limit | target | transformers, ms | ratio |\n|---|---|---|---|---|---|---|")
    missed = 0
    for (what, count), line in own.items():
        if what == "load":
            continue
        if what == "decode":
            share, target = line["giga_bytes_per_second"] / copied, DECODE_SHARE.get(count, 0.0)
        else:
            share, target = line["tera_operations_per_second"] / multiplied, PROMPT_SHARE
        missed += share < target
        other = theirs.get((what, count))
        ratio = f"{1e3 * other:.2f} | {other / line['seconds']:.2f}" if other else "– | –"
        print(f"| {what} {count} | {1e3 * line['seconds']:.2f} | {line['tokens_per_second']:.0f} | {share:.0%} | {target:.0%} | {ratio} |")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
