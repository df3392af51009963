"""Small vocabularies trained on the repository's own texts, one for each way to split text, as GGUF keys."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import gguf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[2]
TOKENS = 640
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPACE = "\u2581"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ENDING"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*ENDING"
    r"|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
THREES, CONTRACTIONS = r"\p{N}{1,3}", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLITS = {
    "llama-bpe": WORDS.replace("DIGITS", THREES),
    "smaug-bpe": WORDS.replace("DIGITS", THREES),
    "qwen2": WORDS.replace("DIGITS", r"\p{N}"),
    "tekken": CASED.replace("DIGITS", r"\p{N}").replace("ENDING", ""),
    "gpt-4o": CASED.replace("DIGITS", THREES).replace("ENDING", CONTRACTIONS),
}
# Families whose texts begin with a special token, and that take words of the vocabulary as they are.
BOS_FIRST = {"llama-bpe", "tekken"}
BYTE_LEVEL = [*SPLITS, "gpt-2", "smollm"]
SENTENCE_PIECE = "spm"
KINDS = [*BYTE_LEVEL, SENTENCE_PIECE]


@dataclass
class Vocabulary:
    """Tokens with their types, and merges or scores."""

    model: str
    pre: str
    tokens: list
    types: list
    merges: list = field(default_factory=list)
    scores: list = field(default_factory=list)
    original: Tokenizer = None  # what the file is to be the same as

    def add(self, writer, size):
        """Writes the keys, padded to `size` tokens."""
        padding = size - len(self.tokens)
        assert padding >= 0, f"{len(self.tokens)} tokens for a vocabulary of {size}"
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens + [f"[PAD{i}]" for i in range(padding)])
        writer.add_token_types(self.types + [gguf.TokenType.UNUSED] * padding)
        if self.scores:
            writer.add_token_scores(self.scores + [-1e4] * padding)
        if self.merges:
            writer.add_token_merges(self.merges)
        writer.add_bos_token_id(self.tokens.index(SPECIAL[0]))
        writer.add_eos_token_id(self.tokens.index(SPECIAL[2]))
        writer.add_chat_template(CHAT_TEMPLATE)


def texts():
    """What the vocabularies are trained on: the repository's documents, and lines in other scripts."""
    for path in sorted(ROOT.glob("**/*.md")):
        if not any(part.startswith(".") or part == "target" for part in path.parts):
            yield path.read_text()
    yield "Grüße aus Köln, ça va? Привет, мир! 你好,世界。こんにちは 안녕하세요 مرحبا नमस्ते " * 20


def pre_tokenizer(kind):
    """As the families' own tokenizers have it."""
    if kind == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind == "smollm":
        first = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    split = pre_tokenizers.Split(Regex(SPLITS[kind]), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def trained(tokenizer, alphabet, special, **more):
    """The trained model's tokens in the order of their ids, and its merges."""
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=special, initial_alphabet=alphabet, show_progress=False, **more
    )
    tokenizer.train_from_iterator(texts(), trainer)
    ids = tokenizer.get_vocab()
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return sorted(ids, key=ids.get), merges


def byte_level(kind):
    """Byte-level BPE."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind in BOS_FIRST))
    tokenizer.pre_tokenizer = pre_tokenizer(kind)
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokens, merges = trained(tokenizer, pre_tokenizers.ByteLevel.alphabet(), SPECIAL)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    types = [control if token in SPECIAL else normal for token in tokens]
    merges = [" ".join(pair) for pair in merges]
    return Vocabulary("gpt2", kind, tokens, types, merges=merges, original=tokenizer)


def sentence_piece():
    """BPE over characters with bytes to fall back to; a piece's score is the lower the later it was made."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    control = ["<unk>", *SPECIAL]
    pieces, _ = trained(tokenizer, [SPACE], [], limit_alphabet=120)
    # Line ends are bytes, as Llama's are.
    pieces = [piece for piece in pieces if "\n" not in piece][: TOKENS - 256 - len(control)]
    tokens = control + [f"<0x{byte:02X}>" for byte in range(256)] + pieces
    kinds = gguf.TokenType
    types = [kinds.UNKNOWN] + [kinds.CONTROL] * len(SPECIAL) + [kinds.BYTE] * 256 + [kinds.NORMAL] * len(pieces)
    scores = [0.0] * (len(tokens) - len(pieces)) + [-float(rank) for rank in range(len(pieces))]
    return Vocabulary("llama", "default", tokens, types, scores=scores)


def words(count):
    """Words of a letter and a number: of tokens that are no whole characters, llama.cpp tells no probabilities."""
    tokens = [*SPECIAL, "w", "0", *(f"w{i}" for i in range(count - 5))]
    types = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (count - len(SPECIAL))
    return Vocabulary("gpt2", "gpt-2", tokens, types, merges=["w 0"])


def vocabulary(kind):
    """The vocabulary of one of `KINDS`."""
    return sentence_piece() if kind == SENTENCE_PIECE else byte_level(kind)
