"""A sequence of 32 768 tokens: the answer equals that of `transformers`, and the memory is what `inspect` said.

    tests/parity/run.sh --suite tests/parity/long_context.py --engine target/release/candela-engine

A small random Llama with one KV head, so that the numbers stay small and the prediction has nothing to hide behind:
the KV cache of the sequence is most of what the engine takes after it is ready.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

import weights
from engine import Engine, free_port

CONTEXT = 32768
TOKENS_OUT = 64
# What the process may take beyond the prediction: stacks, buffers of requests, pages of the allocator.
SLACK_BYTES = 48 << 20
# A prompt counts only where transformers itself is sure, as in the rest of the suite.
SURE_GAP = 3e-4
DRAWS_MAX = 8
PIECE = 1024


class LongLlama:
    """The model, as `weights.make` takes it."""

    id, family, shard_size, rewrite = "long-context", "llama", "1GB", None

    def config(self):
        """Its configuration."""
        return LlamaConfig(
            vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=64, max_position_embeddings=CONTEXT, rope_theta=1e6,
            bos_token_id=None, eos_token_id=2, tie_word_embeddings=False,
        )


@torch.no_grad()
def reference(model, prompt):
    """The greedy answer of transformers, and how far its best logit was ahead of the second at each token."""
    tokens, gaps, cache = [], [], None
    # In pieces: torch would hold the scores of all tokens with all others at once, several times.
    for start in range(0, len(prompt), PIECE):
        piece = torch.tensor([prompt[start : start + PIECE]])
        out = model(piece, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
    for _ in range(TOKENS_OUT):
        best = out.logits[0, -1].topk(2)
        tokens.append(best.indices[0].item())
        gaps.append((best.values[0] - best.values[1]).item())
        out = model(torch.tensor([tokens[-1:]]), past_key_values=out.past_key_values, use_cache=True)
    return tokens, gaps


def sure_prompt(model):
    """A prompt that fills the context with its answer, and that answer."""
    rng = random.Random(11)
    for _ in range(DRAWS_MAX):
        prompt = [rng.randrange(512) for _ in range(CONTEXT - TOKENS_OUT)]
        tokens, gaps = reference(model, prompt)
        if min(gaps) >= SURE_GAP:
            return prompt, tokens
    raise SystemExit("transformers is in doubt about every prompt: no reference")


def status_bytes(pid, key):
    """A figure of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/{pid}/status has no {key}")


def run_long(args, model_folder, prompt, expected, work):
    """Asks for the answer and checks tokens and memory; what failed."""
    flags = {"dtype": "float32", "max_model_len": CONTEXT, "num_gpu_blocks_override": CONTEXT // 32}
    command = [str(args.engine), "inspect", str(model_folder), "--json"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["memory"]
    with Engine(args.engine, model_folder, work / "engine.log", **flags) as engine:
        ready = status_bytes(engine.process.pid, "VmRSS")
        [answer] = engine.complete(prompt, TOKENS_OUT, "")
        peak = status_bytes(engine.process.pid, "VmHWM")
    predicted = memory["kv_bytes_per_sequence"]
    grown, allowed = peak - ready, predicted + memory["activation_bytes_max"] + SLACK_BYTES
    mib = 1 << 20
    print(
        f"32k: {len(prompt)} + {TOKENS_OUT} tokens; KV cache of the sequence predicted {predicted / mib:.1f} MiB, activations "
        f"at most {memory['activation_bytes_max'] / mib:.1f} MiB; the process grew by {grown / mib:.1f} MiB"
    )
    if answer.tokens != expected:
        at = next(i for i, (a, b) in enumerate(zip(answer.tokens, expected)) if a != b)
        yield f"token {at} of the answer is {answer.tokens[at]}, transformers says {expected[at]}"
    if not 0.9 * predicted <= grown <= allowed:
        yield f"the process grew by {grown} bytes, predicted were {predicted} to {allowed}"


def run_too_long(args, model_folder):
    """More than fits is refused at start, with the number that would; what failed."""
    command = [str(args.engine), f"--model={model_folder}", f"--max-model-len={CONTEXT}", "--num-gpu-blocks-override=512"]
    command += ["--host=127.0.0.1", f"--port={free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 0 or "at most 16384 tokens fit" not in done.stderr:
        yield f"exit {done.returncode}, and said: {done.stderr.strip()[-500:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True, help="path of the candela-engine program")
    args = parser.parse_args()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(prefix="candela-long-") as work:
        work = Path(work)
        weights.make(LongLlama(), work / "model")
        model = AutoModelForCausalLM.from_pretrained(work / "model", dtype=torch.float32, attn_implementation="sdpa")
        prompt, expected = sure_prompt(model)
        failures = [*run_long(args, work / "model", prompt, expected, work), *run_too_long(args, work / "model")]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{3 - len(failures)} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
