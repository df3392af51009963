"""Compares `candela-engine` with `transformers`: logits and greedy tokens, for every family of models.

Each family has some random small models that together use all its switches, made here (`families.py`); the demo
model is there too. Each is compared in f32 and bf16: the logits of every position, and greedy answers asked alone,
in a batch, with chunked prefill, from the prefix cache and after a preemption. docs/reference/parity.md says within which
tolerances. What failed is kept in the run's folder.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers.utils import logging

import command_line
import families
import suite
import table
from demo import Demo

SUBJECTS = [Demo(), *families.CASES]


def arguments():
    """The command line."""
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    command_line.add_arguments(parser)
    parser.add_argument(
        "--only", metavar="FAMILY[/MODEL]", help=f"one of {', '.join(['demo', *families.CONFIGS])}, or one of its models"
    )
    parser.add_argument("--out", type=Path, help="the run's folder [default: a new one for temporary files]")
    args = command_line.parse(parser)
    args.subjects = [s for s in SUBJECTS if args.only in (None, s.family, s.id)]
    if not args.subjects:
        parser.error(f"--only {args.only}: these are known: {', '.join(s.id for s in SUBJECTS)}")
    return args


def check(subject, programs, out):
    """The verdicts and figures about one subject. Its folder is left only if something failed."""
    work = out / subject.id.replace("/", "-").replace(",", "").replace(" ", "-")
    work.mkdir(parents=True)
    began = time.monotonic()
    run = suite.Suite(subject, programs, work)
    verdicts = list(run.verdicts())
    failures = [failure for verdict in verdicts for failure in verdict.failures]
    if failures:
        (work / "failures.txt").write_text("\n".join(failures) + "\n")
    else:
        shutil.rmtree(work)
    furthest, far = (max(getattr(verdict, name) for verdict in verdicts) for name in ("furthest", "far"))
    print(
        f"{subject.id:44} {time.monotonic() - began:5.1f} s  {len(failures) or 'no'} failures,"
        f" bf16 near-ties within {furthest:.1%} of {run.tolerance:.1%}, {far} of an answer far",
        flush=True,
    )
    return verdicts, run.figures, work if failures else None


def main():
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)  # the models are small: on a busy machine more threads wait for each other
    args, began = arguments(), time.monotonic()
    out = args.out or Path(tempfile.mkdtemp(prefix="candela-parity-"))
    programs = suite.Programs(args.engine, args.logits)
    verdicts, figures, kept = [], {}, {}
    for subject in args.subjects:
        new, figures[subject.id], folder = check(subject, programs, out)
        verdicts += new
        if folder:
            kept[subject.id] = folder
    text = table.markdown(verdicts, figures)
    (out / "parity.md").write_text(text)
    print(f"\n{text}\nThis table: {out / 'parity.md'}")
    failures = [failure for verdict in verdicts for failure in verdict.failures]
    for failure in failures:
        print(f"FAILED {failure}")
    for subject, folder in kept.items():
        print(f"again: tests/parity/run.sh --engine {args.engine} --logits {args.logits} --only '{subject}'    (model and logs: {folder})")
    print(f"{time.monotonic() - began:.0f} s")
    passed = sum(v.equal + v.near_ties for v in verdicts)
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
