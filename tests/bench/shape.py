"""The benchmark's model, and the arithmetic of what a machine could reach with it at most."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A decoder as Qwen3 has it, with tied embeddings: 473 million parameters. Sizes in elements."""

    layers: int = 28
    hidden: int = 1024
    heads: int = 16
    kv_heads: int = 8
    head_dim: int = 128
    ffn: int = 3072
    vocab: int = 32000

    def layer_weights(self):
        """Elements of the matrices of all layers."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn)

    def head_weights(self):
        """Elements of the LM head, which is the embedding."""
        return self.vocab * self.hidden

    def weights(self):
        """Elements that one decode step reads. Norms are left out: 0.02 % of it."""
        return self.layer_weights() + self.head_weights()

    def kv_bytes(self):
        """Bytes of one token's keys and values in 16 bits, in all layers."""
        return self.layers * 2 * self.kv_heads * self.head_dim * 2

    def attention_operations(self, keys):
        """Operations of one query over `keys` keys, scores and weighted sum, in all layers."""
        return self.layers * 4 * self.heads * self.head_dim * keys


@dataclass(frozen=True)
class Precision:
    """How the weights are kept, and which peak their products run at."""

    name: str
    bytes_per_weight: float
    integer: bool


BF16 = Precision("bf16", 2.0, integer=False)
# 32 weights of one byte share a scale of two.
Q8_0 = Precision("q8_0", 34 / 32, integer=True)


@dataclass(frozen=True)
class Roofline:
    """What all cores together do at most: operations a second in bf16 and in 8 bits, bytes read a second."""

    bf16_operations: float
    int8_operations: float
    read_bytes: float


@dataclass(frozen=True)
class Cell:
    """One load: `concurrency` requests at once, each with a prompt of `prompt` tokens."""

    prompt: int
    concurrency: int

    def __str__(self):
        return f"P{self.prompt} C{self.concurrency}"


def prefill_seconds(shape, roofline, precision, cell):
    """Operations of all prompts over the peak. The LM head runs at each prompt's last token only."""
    requests, tokens = cell.concurrency, cell.concurrency * cell.prompt
    linear = 2 * (tokens * shape.layer_weights() + requests * shape.head_weights())
    # Each token sees those before it and itself.
    attention = requests * shape.attention_operations(cell.prompt * (cell.prompt + 1) // 2)
    return linear / linear_peak(roofline, precision) + attention / roofline.bf16_operations


def decode_seconds(shape, roofline, precision, cell, keys):
    """One step of all requests with `keys` tokens each: reading weights and KV, or computing, whichever takes longer."""
    requests = cell.concurrency
    read = shape.weights() * precision.bytes_per_weight + requests * keys * shape.kv_bytes()
    linear = 2 * requests * shape.weights()
    attention = requests * shape.attention_operations(keys)
    compute = linear / linear_peak(roofline, precision) + attention / roofline.bf16_operations
    return max(read / roofline.read_bytes, compute)


def linear_peak(roofline, precision):
    """Operations a second of the matrix products. Attention stays in bf16, whatever the weights are."""
    return roofline.int8_operations if precision.integer else roofline.bf16_operations


def limit(shape, roofline, precision, cell, output_tokens):
    """Output tokens a second that no engine with this precision can exceed: the first token of each request comes
    out of the prefill, each other takes a decode step, and all of it happens one after the other."""
    seconds = prefill_seconds(shape, roofline, precision, cell)
    for step in range(1, output_tokens):
        seconds += decode_seconds(shape, roofline, precision, cell, cell.prompt + step)
    return cell.concurrency * output_tokens / seconds
