"""Texts that the engine and llama.cpp must split into the same tokens."""

import unicodedata

import vocabularies
from engine import Engine

# In Unicode's NFC, which Qwen's own tokenizer brings text into and llama.cpp does not.
TEXTS = [
    "Hello, world!",
    " leading, trailing and  double   spaces  ",
    "I'm sure they'll say WE'VE done what we'd DO; it's not 'twas",
    "1 22 333 4444 55555 3.14159 -0.5e-10 1,000,000 ٣٤ Ⅷ ½",
    "line\nbreaks\r\nof\n\nall\n\n\nkinds \n and\ttabs\t\tand \t mixtures\n   indented",
    "def f(x):\n    return [y ** 2 for y in range(x) if y % 2 == 0]  # comment\n\n\nclass A(B): pass\n",
    'fn main() { println!("{:?}", &a[1..=2]); } // → done',
    "https://example.org/path?query=1&other=%20#fragment user@example.org /usr/local/bin",
    "Grüße aus Köln! Ça va? Ñandú, œuvre, straße, İstanbul",
    "Привет, мир! Как дела? ПРИВЕТ",
    "你好,世界。今天天气很好!",
    "こんにちは、カタカナと漢字です。",
    "안녕하세요 세계",
    "مرحبا بالعالم، كيف حالك؟",
    "नमस्ते दुनिया क्षत्रिय",
    "สวัสดีชาวโลก",
    "🦊 👩‍👩‍👧‍👦 🇳🇴 👍🏽 ❤️",
    "a\u200bb \u00a0 nbsp \u2003 em\u3000wide \ufeff mark",
    "camelCaseWords PascalCase SCREAMING_SNAKE iPhone McDonald",
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|> and <|unknown|>",
    "\u0001\u0002 control \u007f",
    "x",
    " ",
    "\n",
    "   \n   ",
]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "  Wie geht's? 你好 🦊\n"},
]


# llama.cpp knows no marks (`\p{M}`) in these patterns: it cuts words of Devanagari and Thai elsewhere than the families'
# own tokenizers do.
CUTS_MARKS = {"tekken", "gpt-4o"}


def check(binary, path, log, peer, vocabulary, verdict):
    """Asks the engine for the tokens of every text, and of a chat. They must be those of the tokenizer that the
    vocabulary is of, and those of llama.cpp."""
    own = vocabulary.original
    first = [0] if vocabulary.pre in vocabularies.BOS_FIRST else []
    with Engine(binary, path, log, dtype="float32") as engine:
        for text in TEXTS:
            body = {"model": engine.name, "prompt": text, "max_tokens": 1, "return_token_ids": True}
            got = engine.fetch("/v1/completions", body)["choices"][0]["prompt_token_ids"]
            told = peer.tokenize(text, True)
            if own:
                verdict.judge_text(f"{text!r}, its own tokenizer", first + own.encode(text).ids, got)
            marks = any(unicodedata.category(sign) in ("Mn", "Mc") for sign in text)
            if not (marks and vocabulary.pre in CUTS_MARKS):
                verdict.judge_text(f"{text!r}, llama.cpp", told, got)
        body = {"model": engine.name, "messages": MESSAGES, "max_tokens": 1, "return_token_ids": True}
        got = engine.fetch("/v1/chat/completions", body)["prompt_token_ids"]
        verdict.judge_text("a chat", peer.tokenize(peer.render(MESSAGES), False), got)
