"""The demo model as a subject of the suite: prompts of its own kind, up to its context."""

import random
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "inference" / "models" / "demo"
sys.path.insert(0, str(FOLDER))
import corpus  # noqa: E402 (the generator of the demo model's text, for prompts like those it knows)
import train  # noqa: E402


@dataclass(frozen=True)
class Demo:
    """What `families.Case` is for a random model."""

    family = id = "demo"
    # Around the block size of 32 tokens, beyond one prefill chunk, and close to the context.
    lengths = (1, 2, 17, 31, 32, 33, 63, 64, 65, 130, 200, 257, 513, 1000)
    max_model_len = 1088
    seen = 0

    def folder(self, _):
        """Where the model is."""
        return FOLDER

    @cached_property
    def text(self):
        """Tokenizer and chat template."""
        return Tokenizer.from_file(str(FOLDER / "tokenizer.json")), train.renderer()

    def draw(self, rng: random.Random, length):
        """Dialogues of the demo's own kind, cut to `length` tokens."""
        (tokenizer, render), ids = self.text, []
        while len(ids) < length:
            ids += tokenizer.encode(render(corpus.document(rng))).ids
        return ids[:length]
