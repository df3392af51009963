"""Everything that is asked about one model."""

import json
import random
import zlib

import torch

import chat
import logits
import modes
import switches
from engine import Engine, EngineFailed
from families import Case
from references import Reference
from verdict import Verdict

TOKENS_OUT = 64
DTYPES = ("float32", "bfloat16")
# In f32 a prompt counts only where transformers itself is sure: below this gap, as a share of the largest logit, the
# order of additions decides. The same for a router's choice of experts, in its logits.
SURE_GAP = 3e-5
SURE_CHOICE = 2e-5
DRAWS_MAX = 16
# A token in bf16 may be below the best by the error of transformers' own bf16 logits twice: once for either side.
NEAR_TIES = 2.0
# Different tokens in all answers to one model; fewer, and the comparison says little.
DISTINCT_MIN = 40
# Logits of every position are compared for some prompts, not for the demo's longest.
LOGITS_PROMPTS = 3
LOGITS_LENGTH_MAX = 260
# Changed, these ask for tensors that the files do not have.
REFUSED_BY_WEIGHTS = {"attention_bias", "mlp_bias", "mlp_only_layers", "decoder_sparse_step"}


class NoReference(Exception):
    """`transformers` cannot say what is right."""


class Programs:
    """Where the programs are."""

    def __init__(self, engine, logits):
        self.engine, self.logits = engine, logits


class Figures:
    """Errors of one model's logits in f32 and bf16, and those of transformers in bf16."""

    def __init__(self):
        self.f32 = self.bf16 = self.bf16_of_reference = None


def sure_prompts(reference, subject, rng):
    """One prompt of each length, drawn again while the f32 reference is in doubt, and the reference's answers."""
    found = {}
    for _ in range(DRAWS_MAX):
        drawn = [subject.draw(rng, length) for length in subject.lengths if length not in found]
        for prompt, answer in zip(drawn, reference.greedy(drawn, TOKENS_OUT)):
            sure = min(answer.gaps) >= SURE_GAP
            if sure and reference.closest_choice(prompt + answer.tokens) >= SURE_CHOICE:
                found[len(prompt)] = (prompt, answer)
        if len(found) == len(subject.lengths):
            break
    else:
        raise NoReference(f"transformers is in doubt about a prompt of some length after {DRAWS_MAX} draws")
    for prompt, answer in found.values():
        if not all(reference.second_thoughts(prompt, answer.tokens)[0]):
            raise NoReference("transformers answers differently in a batch and alone: no reference")
    distinct = len({token for _, answer in found.values() for token in answer.tokens})
    if distinct < DISTINCT_MIN:
        raise NoReference(f"transformers answers with {distinct} different tokens only: no reference")
    return [list(column) for column in zip(*(found[length] for length in subject.lengths))]


class Suite:
    """One model: its folder, its prompts, and what the reference says about them."""

    def __init__(self, subject, programs, work):
        self.subject, self.engine, self.work = subject, programs.engine, work
        self.tool = logits.Tool(programs.logits, subject, work)
        self.figures, self.tolerance = Figures(), 0.0
        # Answers by dtype and prompt. In no mode may they be others than alone, not even where bf16 is in doubt.
        self.alone = {}
        self.folder = subject.folder(work)

    def verdicts(self):
        """All lines of the table for one model; what stops a part of the suite is a failed line."""
        self.prompts = []
        for dtype in DTYPES:
            try:
                yield from self.check(dtype)
            except (EngineFailed, NoReference, OSError, LookupError, ValueError) as error:
                yield self.stopped(dtype, error)
            if not self.prompts:
                break

    def verdict(self, dtype, mode):
        """An empty one."""
        return Verdict(self.subject.id, self.subject.family, dtype, mode)

    def stopped(self, dtype, error):
        """What stopped a part of the suite."""
        verdict = self.verdict(dtype, "stopped")
        verdict.fail(f"{type(error).__name__}: {error}")
        return verdict

    def check(self, dtype):
        """Logits, then greedy tokens in every mode."""
        reference = Reference(self.folder, getattr(torch, dtype), self.subject.seen)
        if dtype == "float32":
            rng = random.Random(zlib.crc32(self.subject.id.encode()))
            self.prompts, self.answers = sure_prompts(reference, self.subject, rng)
        yield self.check_logits(dtype, reference)
        if dtype == "float32" and isinstance(self.subject, Case):
            yield self.check_switches(reference)
        for name, (flags, asked) in modes.ENGINES.items():
            log = self.work / f"{dtype}-{name}.log"
            with Engine(self.engine, self.folder, log, dtype=dtype, **flags(self.subject)) as engine:
                for mode in asked:
                    yield self.check_tokens(dtype, reference, engine, mode)
                if (self.subject.family, dtype, name) == ("demo", "float32", "roomy"):
                    yield self.check_chat(reference, engine)

    def longest_prompts(self):
        """Those whose logits are compared."""
        fitting = [prompt for prompt in self.prompts if len(prompt) <= LOGITS_LENGTH_MAX]
        return sorted(fitting, key=len)[-LOGITS_PROMPTS:]

    def check_logits(self, dtype, reference):
        """Logits of every position against the reference's, within the tolerances of `logits.py`."""
        verdict = self.verdict(dtype, "logits")
        prompts = self.longest_prompts()
        runs = self.tool.whole_and_in_pieces(self.folder, dtype, prompts)
        split = logits.check_runs(*runs)
        verdict.require(split is None, split)
        expected = [reference.logits(prompt) for prompt in prompts]
        if dtype == "float32":
            error = self.figures.f32 = logits.error(expected, runs[0])
            verdict.require(error.largest <= logits.F32_ERROR_MAX, f"{error}; tolerance {logits.F32_ERROR_MAX}")
            return verdict
        wide = Reference(self.folder, torch.bfloat16, self.subject.seen, widened=True)
        exact = [wide.logits(prompt) for prompt in prompts]
        ours = self.figures.bf16 = logits.error(exact, runs[0])
        theirs = self.figures.bf16_of_reference = logits.error(exact, expected)
        self.tolerance = NEAR_TIES * theirs.largest
        wrong = logits.beyond_bf16(ours, theirs, reference.routed)
        verdict.require(wrong is None, wrong)
        return verdict

    def check_switches(self, reference):
        """With any one switch of the configuration changed, the engine must refuse the model or compute other logits."""
        verdict = self.verdict("float32", "switches")
        prompt = self.longest_prompts()[-1]
        expected = [reference.logits(prompt)]
        config = json.loads((self.folder / "config.json").read_text())
        for switch, other in switches.changed(self.subject, config):
            folder = switches.write(other, self.folder, self.work / "switched")
            try:
                error = logits.error(expected, self.tool.run(folder, "float32", [prompt]))
                noticed = not error.largest < logits.NOTICED_MIN
                verdict.require(noticed, f"{switch} changes nothing: {error}")
            except EngineFailed as refusal:
                verdict.require("config.json" in str(refusal) or switch in REFUSED_BY_WEIGHTS, f"{switch}: {refusal}")
        return verdict

    def check_tokens(self, dtype, reference, engine, mode):
        """Greedy answers to all prompts that the engine takes, asked in one of the modes."""
        verdict = self.verdict(dtype, mode.__name__)
        fitting = [i for i, prompt in enumerate(self.prompts) if len(prompt) + TOKENS_OUT <= engine.max_model_len]
        prompts, answers = ([list[i] for i in fitting] for list in (self.prompts, self.answers))
        results = mode(engine, prompts, TOKENS_OUT)
        more = len(results) - len(prompts)
        asked, answers = prompts + prompts[:more], answers + answers[:more]
        for prompt, answer, got in zip(asked, answers, results, strict=True):
            if dtype == "float32":
                verdict.judge_exact(prompt, answer, got.tokens)
            elif got.tokens != self.alone.setdefault((dtype, *prompt), got.tokens):
                verdict.fail(f"prompt of {len(prompt)} tokens: not the answer that it got alone")
            else:
                verdict.judge_near(reference, prompt, TOKENS_OUT, self.tolerance, got.tokens)
        return verdict

    def check_chat(self, reference, engine):
        """Dialogues: prompts as rendered and tokenized, and texts of the answers."""
        verdict = self.verdict("float32", "chat")
        chat.check(engine, verdict, chat.expected(reference, self.folder))
        return verdict
