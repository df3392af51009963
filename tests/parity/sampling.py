"""What a request asks of the sampler, and what it is told of log probabilities, against `transformers` on the same logits.

    tests/parity/run.sh --suite tests/parity/sampling.py --engine target/release/candela-engine

The real server answers for a small random Llama in f32; `transformers` computes the logits of every position, and its
own processors say what each setting makes of them. Presence and frequency penalties, which it has not, are OpenAI's
formula. Processors come in vLLM's order: min_tokens, logit_bias, repetition, frequency, presence, temperature, min_p,
top_k, top_p.
"""

import argparse
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig
from transformers.generation.logits_process import (
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

import weights
from demo import FOLDER as DEMO
from engine import Engine
from references import Reference

VOCAB = 160
CONTEXT = 512
# Largest difference of two log probabilities of the same token. Logits go up to about 12 here; both sides compute them
# in f32, and differ by some 1e-5.
LOGPROB_ERROR_MAX = 1e-4
# A greedy answer counts only where transformers is sure at every token: the best score is ahead by so much.
SURE_GAP = 1e-3
DRAWS_MAX = 40
TOKENS_OUT = 32
LIKELIEST = 20
# Prompts around blocks of 32 tokens, and over several steps of 64 scored tokens.
LENGTHS = (1, 2, 31, 33, 64, 65, 66, 130, 300)
# Draws of a first token, and how unlikely a distribution may look before it is called wrong.
BRANCHES, REQUESTS = 128, 32
# Times that a batch is sent to see something preempted.
ROUNDS_MAX = 10
P_VALUE_MIN = 1e-6
# Half the sum of the differences; 4 096 draws of 160 tokens are off by 0.06 at most by chance.
VARIATION_MAX = 0.1

GREEDY = {
    "nothing": {},
    "repetition_penalty": {"repetition_penalty": 1.4},
    "repetition_penalty below 1": {"repetition_penalty": 0.8},
    "presence_penalty": {"presence_penalty": 1.7},
    "presence_penalty below 0": {"presence_penalty": -1.2},
    "frequency_penalty": {"frequency_penalty": 1.1},
    "frequency_penalty below 0": {"frequency_penalty": -0.3},
    "logit_bias": {"logit_bias": {"5": 9.5, "17": -100, "33": 7, "90": 8.25}},
    "min_tokens": {"min_tokens": 20},
    "all": {
        "repetition_penalty": 1.2, "presence_penalty": 0.6, "frequency_penalty": 0.4,
        "logit_bias": {"5": 3, "17": -100, "90": 4}, "min_tokens": 12,
    },
}
DRAWN = {
    "temperature": {"temperature": 1.7},
    "top_k": {"temperature": 2, "top_k": 7},
    "top_p": {"temperature": 2, "top_p": 0.7},
    "min_p": {"temperature": 2, "min_p": 0.08},
    "top_k and top_p": {"temperature": 2.5, "top_k": 12, "top_p": 0.8},
    "penalties and bias": {"temperature": 2, "repetition_penalty": 1.5, "logit_bias": {"3": 6, "4": 5.5}},
    "all": {
        "temperature": 2.2, "min_p": 0.02, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.3,
        "logit_bias": {"3": 5}, "presence_penalty": 1,
    },
}


class Random:
    """The model, as `weights.make` takes it."""

    id, family, shard_size, rewrite = "sampling", "llama", "1GB", None

    def config(self):
        """Its configuration."""
        return LlamaConfig(
            vocab_size=VOCAB, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=CONTEXT, bos_token_id=None, eos_token_id=2,
            tie_word_embeddings=False,
        )


def penalized(scores, answer, asked):
    """OpenAI's presence and frequency penalties."""
    for token in set(answer):
        scores[0, token] -= asked.get("frequency_penalty", 0) * answer.count(token) + asked.get("presence_penalty", 0)
    return scores


def processed(logits, prompt, answer, asked, ends):
    """The scores that the processors make of one position's logits."""
    ids, scores = torch.tensor([prompt + answer]), logits[None].clone()
    if asked.get("min_tokens"):
        scores = MinNewTokensLengthLogitsProcessor(len(prompt), asked["min_tokens"], ends)(ids, scores)
    if asked.get("logit_bias"):
        scores = SequenceBiasLogitsProcessor({(int(t),): float(b) for t, b in asked["logit_bias"].items()})(ids, scores)
    if "repetition_penalty" in asked:
        scores = RepetitionPenaltyLogitsProcessor(asked["repetition_penalty"])(ids, scores)
    return penalized(scores, answer, asked)


def warped(scores, asked):
    """The probabilities that the warpers leave."""
    ids = torch.zeros((1, 1), dtype=torch.long)
    scores = TemperatureLogitsWarper(float(asked["temperature"]))(ids, scores)
    if "min_p" in asked:
        scores = MinPLogitsWarper(asked["min_p"])(ids, scores)
    if "top_k" in asked:
        scores = TopKLogitsWarper(asked["top_k"])(ids, scores)
    if "top_p" in asked:
        scores = TopPLogitsWarper(asked["top_p"])(ids, scores)
    return scores.softmax(-1)[0]


class Suite:
    """The checks; each counts what it compared, and notes what was wrong."""

    def __init__(self, engine_path, work):
        self.engine_path, self.work = engine_path, work
        self.folder = work / "model"
        weights.make(Random(), self.folder)
        self.reference = Reference(self.folder, torch.float32)
        self.rng = random.Random(5)
        self.passed, self.failures, self.furthest = 0, [], 0.0

    def require(self, holds, what):
        """Counts a comparison."""
        if holds:
            self.passed += 1
        else:
            self.failures.append(what)

    def draw(self, length):
        """A random prompt."""
        return [self.rng.randrange(3, VOCAB) for _ in range(length)]

    def engine(self, name, **flags):
        """The real server."""
        return Engine(self.engine_path, self.folder, self.work / f"{name}.log", dtype="float32", **flags)

    def ask(self, engine, prompt, **asked):
        """The choices of a completion."""
        body = {"model": engine.name, "prompt": prompt, "max_tokens": TOKENS_OUT, "return_token_ids": True}
        body |= {"ignore_eos": True, "return_tokens_as_token_ids": True} | asked
        return engine.fetch("/v1/completions", body)["choices"]

    def sure_answer(self, asked, length):
        """A prompt about whose greedy answer transformers is sure, the tokens that end it, and that answer."""
        for _ in range(DRAWS_MAX):
            prompt, answer, sure = self.draw(length), [], True
            # What it would say third ends an answer, so that min_tokens has something to hold back.
            ends = [self.reference.logits(prompt)[-1].topk(2).indices[1].item()] if "min_tokens" in asked else []
            while sure and len(answer) < TOKENS_OUT and not (answer and answer[-1] in ends):
                scores = processed(self.reference.logits(prompt + answer)[-1], prompt, answer, asked, ends)
                best = scores[0].topk(2)
                sure = (best.values[0] - best.values[1]).item() > SURE_GAP
                answer.append(best.indices[0].item())
            if sure:
                return prompt, ends, answer
        raise SystemExit(f"transformers is in doubt about every prompt with {asked}: no reference")

    def check_greedy(self, engine):
        """Greedy tokens under each processor, and the log probabilities of the raw logits beside them."""
        changed = 0
        for name, asked in GREEDY.items():
            for length in (1, 40, 100):
                prompt, ends, answer = self.sure_answer(asked, length)
                more = {"temperature": 0, "logprobs": LIKELIEST, "stop_token_ids": ends}
                [choice] = self.ask(engine, prompt, **asked, **more)
                self.require(choice["token_ids"] == answer, f"{name}: {choice['token_ids']} is not {answer}")
                if choice["token_ids"] == answer:
                    logits = self.reference.logits(prompt + answer)[len(prompt) - 1 : -1]
                    self.check_lists(name, choice["logprobs"], answer, logits)
                plain = self.ask(engine, prompt, temperature=0, stop_token_ids=ends)[0]["token_ids"]
                changed += plain != answer
        self.require(changed >= 2 * (len(GREEDY) - 2), f"processors changed only {changed} greedy answers")

    def check_logprob(self, what, got, expected):
        """One number."""
        error = abs(got - expected)
        self.furthest = max(self.furthest, error)
        return None if error <= LOGPROB_ERROR_MAX else f"{what}: {got} is not {expected}"

    def check_lists(self, name, lists, tokens, logits):
        """A completion's `logprobs` about `tokens`, by the logits before each."""
        expected, wrong = logits.log_softmax(-1), []
        if lists["tokens"] != [f"token_id:{token}" for token in tokens]:
            wrong.append(f"{name}: tokens {lists['tokens']}")
        for at, (token, row) in enumerate(zip(tokens, expected)):
            wrong.append(self.check_logprob(f"{name}, token {at}", lists["token_logprobs"][at], row[token].item()))
            top = lists["top_logprobs"][at]
            best = row.topk(LIKELIEST).values
            if len(top) not in (LIKELIEST, LIKELIEST + 1) or f"token_id:{token}" not in top:
                wrong.append(f"{name}: likeliest of token {at}: {top}")
            for key, value in top.items():
                other = int(key.removeprefix("token_id:"))
                wrong.append(self.check_logprob(f"{name}, token {at}, {other}", value, row[other].item()))
                if other != token and value < best[-1].item() - LOGPROB_ERROR_MAX:
                    wrong.append(f"{name}: {other} is not among the likeliest at {at}")
        wrong = [what for what in wrong if what]
        self.require(not wrong, "; ".join(wrong[:3]))

    def check_prompts(self, engine):
        """Echoed prompts and `prompt_logprobs`, with and without answers, by themselves and with others."""
        for length in LENGTHS:
            prompt = self.draw(length)
            logits = self.reference.logits(prompt)
            for tokens_out in (0, 3):
                asked = {"echo": True, "logprobs": LIKELIEST, "max_tokens": tokens_out, "temperature": 0}
                for choice in self.ask(engine, prompt, n=2, **asked):
                    whole, answer = choice["logprobs"], choice["token_ids"]
                    self.require(len(answer) == tokens_out and len(whole["tokens"]) == length + tokens_out, "lengths")
                    self.require(whole["token_logprobs"][0] is None and whole["top_logprobs"][0] is None, "first token")
                    rest = {name: values[1:length] for name, values in whole.items()}
                    self.check_lists(f"echo of {length}", rest, prompt[1:], logits[:-1])
        prompts = [self.draw(length) for length in LENGTHS]
        choices = self.ask(engine, prompts, prompt_logprobs=3, max_tokens=2)
        for prompt, choice in zip(prompts, choices):
            expected = self.reference.logits(prompt).log_softmax(-1)
            self.check_places(prompt, choice["prompt_logprobs"], expected)

    def check_places(self, prompt, places, expected):
        """`prompt_logprobs` of one prompt: log probabilities and ranks."""
        self.require(places[0] is None and len(places) == len(prompt), f"{len(places)} places of {len(prompt)} tokens")
        wrong = []
        for token, place, row in zip(prompt[1:], places[1:], expected):
            if str(token) not in place or len(place) not in (3, 4):
                wrong.append(f"tokens {list(place)}, of the prompt {token}")
            for key, ranked in place.items():
                value = row[int(key)]
                wrong.append(self.check_logprob(f"prompt of {len(prompt)}", ranked["logprob"], value.item()))
                low = (row > value + LOGPROB_ERROR_MAX).sum().item() + 1
                high = (row > value - LOGPROB_ERROR_MAX).sum().item()
                if not low <= ranked["rank"] <= high:
                    wrong.append(f"rank {ranked['rank']}, not from {low} to {high}")
        wrong = [what for what in wrong if what]
        self.require(not wrong, f"prompt of {len(prompt)} tokens: " + "; ".join(wrong[:3]))

    def check_drawn(self, engine):
        """First tokens of many branches are distributed as the processors and warpers say."""
        for name, asked in DRAWN.items():
            prompt = self.draw(20)
            scores = processed(self.reference.logits(prompt)[-1], prompt, [], asked, [])
            expected = warped(scores, asked).double()
            seen = torch.zeros(VOCAB, dtype=torch.double)
            for request in range(REQUESTS):
                # Branch i draws from seed + i.
                choices = self.ask(engine, prompt, n=BRANCHES, max_tokens=1, seed=BRANCHES * request, **asked)
                for choice in choices:
                    seen[choice["token_ids"][0]] += 1
            outside = seen[expected == 0].sum().item()
            self.require(outside == 0, f"{name}: {outside} draws of tokens that have no probability")
            variation = (seen / seen.sum() - expected).abs().sum().item() / 2
            p_value = chi_square(seen, expected * seen.sum())
            print(f"drawn with {name}: {(expected > 0).sum()} tokens, variation {variation:.3f}, p {p_value:.3f}", flush=True)
            self.require(variation <= VARIATION_MAX, f"{name}: total variation {variation}")
            self.require(p_value >= P_VALUE_MIN, f"{name}: chi-square p {p_value}")

    def company(self):
        """Requests of all kinds, each with a seed."""
        for seed in range(24):
            kind = self.rng.choice(list(DRAWN.values()))
            more = {"frequency_penalty": self.rng.uniform(-1, 1), "presence_penalty": self.rng.uniform(-1, 1)}
            more |= {"seed": seed, "n": self.rng.choice((1, 2)), "logprobs": 2, "echo": self.rng.random() < 0.3}
            yield self.draw(self.rng.choice((3, 20, 40, 90))), kind | more

    def check_seeds(self):
        """A seed gives the same tokens and numbers alone, and in a batch that does not fit the cache."""
        asked = list(self.company())
        with self.engine("alone") as engine:
            alone = [self.ask(engine, prompt, **more) for prompt, more in asked]
        flags = {"max_model_len": 160, "num_gpu_blocks_override": 8, "max_num_batched_tokens": 40, "max_num_seqs": 16}
        preemptions, rounds = 0, 0
        with self.engine("tight", **flags) as engine:
            # Requests that come one by one may be answered one by one: they come again until they met.
            while not preemptions and rounds < ROUNDS_MAX:
                with ThreadPoolExecutor(len(asked)) as pool:
                    together = list(pool.map(lambda one: self.ask(engine, one[0], **one[1]), asked))
                for (prompt, more), one, other in zip(asked, alone, together):
                    what = f"seed {more['seed']} in company: another answer to a prompt of {len(prompt)} tokens"
                    self.require(one == other, what)
                preemptions = engine.metric("vllm:num_preemptions_total")
                rounds += 1
        print(f"seeds in company: {preemptions:.0f} preemptions")
        self.require(preemptions > 0, "nothing was preempted")

    def check_text(self):
        """The bytes of a real tokenizer's tokens, put together, are the answer's and the prompt's text."""
        tokenizer = AutoTokenizer.from_pretrained(DEMO)
        with Engine(self.engine_path, DEMO, self.work / "demo.log") as engine:
            for question in ("Who are you?", "Überraschung 🦀 naïve — 日本語?"):
                body = {"model": engine.name, "messages": [{"role": "user", "content": question}], "max_tokens": 40}
                body |= {"temperature": 1.5, "seed": 3, "logprobs": True, "top_logprobs": 3}
                [choice] = engine.fetch("/v1/chat/completions", body)["choices"]
                content = choice["logprobs"]["content"]
                if choice["finish_reason"] == "stop":
                    content = content[:-1]
                text = bytes(byte for token in content for byte in token["bytes"]).decode(errors="replace")
                said = choice["message"]["content"]
                self.require(text == said, f"tokens say {text!r}, the answer {said!r}")
                body = {"model": engine.name, "prompt": question, "max_tokens": 0, "echo": True, "logprobs": 1}
                [choice] = engine.fetch("/v1/completions", body)["choices"]
                tokens = [tokenizer.decode([token]) for token in tokenizer.encode(question)]
                self.require(choice["text"] == question, f"echo of {question!r}: {choice['text']!r}")
                got = choice["logprobs"]["tokens"]
                self.require(got == tokens, f"tokens of {question!r}: {got}, not {tokens}")

    def run(self):
        """Everything."""
        with self.engine("roomy") as engine:
            self.check_greedy(engine)
            self.check_prompts(engine)
            self.check_drawn(engine)
        with self.engine("chunked", max_num_batched_tokens=40, max_num_seqs=8) as engine:
            self.check_prompts(engine)
        self.check_seeds()
        self.check_text()


def chi_square(seen, expected):
    """Probability that draws of the expected distribution look so unlikely. Rare tokens count as one."""
    often = expected >= 5
    pairs = [(seen[often], expected[often])]
    if expected[~often].sum() >= 1:
        pairs.append((seen[~often].sum()[None], expected[~often].sum()[None]))
    seen, expected = (torch.cat(column) for column in zip(*pairs))
    statistic = ((seen - expected).square() / expected).sum()
    freedom = torch.tensor(max(len(seen) - 1, 1), dtype=torch.double)
    return torch.special.gammaincc(freedom / 2, statistic / 2).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", type=Path, required=True, help="path of the candela-engine program")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="candela-sampling-") as work:
        suite = Suite(args.engine, Path(work))
        suite.run()
    print(f"log probabilities are at most {suite.furthest:.1e} apart; tolerance {LOGPROB_ERROR_MAX}")
    for failure in suite.failures:
        print(f"FAILED {failure}")
    print(f"{suite.passed} passed, {len(suite.failures)} failed")
    sys.exit(1 if suite.failures else 0)


if __name__ == "__main__":
    main()
