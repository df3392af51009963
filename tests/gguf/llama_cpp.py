"""llama.cpp, from the wheel `xllamacpp`: its server on loopback, and its quantizer."""

import ctypes
import json
import urllib.request
from pathlib import Path

import numpy
import xllamacpp
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

ANSWER_SECONDS_MAX = 120
CONTEXT = 1024


def library():
    """The wheel's shared library."""
    (path,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
    return ctypes.CDLL(str(path))


LIBRARY = library()
LIBRARY.ggml_quantize_chunk.restype = ctypes.c_size_t
LIBRARY.ggml_quantize_chunk.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
]


def quantize(numbers, kind):
    """A matrix in the blocks of `kind`, as bytes `[..., bytes of a row]`."""
    rows = numpy.ascontiguousarray(numbers, dtype=numpy.float32)
    columns = rows.shape[-1]
    block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    out = numpy.zeros((*rows.shape[:-1], columns // block * block_bytes), dtype=numpy.uint8)
    count = rows.size // columns
    written = LIBRARY.ggml_quantize_chunk(int(kind), rows.ctypes.data, out.ctypes.data, 0, count, columns, None)
    assert written == out.size, f"{written} bytes instead of {out.size}"
    return out


class LlamaCpp:
    """A server with one model. It computes on one thread, with an f32 cache, and rearranges no weights."""

    def __init__(self, path):
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx = CONTEXT
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
        parameters.warmup = parameters.fit_params = False
        parameters.no_extra_bufts = True
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        parameters.swa_full = True
        parameters.ui = False
        parameters.port = 0
        parameters.verbosity = -1
        self.server = xllamacpp.Server(parameters)
        self.address = self.server.listening_address

    def ask(self, path, body):
        """POST of a JSON body; the parsed answer."""
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as response:
            return json.load(response)

    def tokenize(self, text, add_special):
        """Token ids; special tokens written in the text are read as such."""
        body = {"content": text, "add_special": add_special, "parse_special": True}
        return self.ask("/tokenize", body)["tokens"]

    def render(self, messages):
        """The text of a chat, by the model's template."""
        return self.ask("/apply-template", {"messages": messages})["prompt"]

    def greedy(self, prompt, count, vocabulary):
        """Greedy tokens, and the logarithms of all tokens' probabilities before each, `[count, vocabulary]`."""
        body = {
            "prompt": prompt,
            "n_predict": count,
            "temperature": 0,
            "n_probs": vocabulary,
            "n_keep": -1,
            "cache_prompt": False,
            "return_tokens": True,
        }
        answer = self.ask("/completion", body)
        logprobs = numpy.full((len(answer["tokens"]), vocabulary), -numpy.inf)
        for row, step in zip(logprobs, answer["completion_probabilities"], strict=True):
            for entry in step["top_logprobs"]:
                row[entry["id"]] = entry["logprob"]
        return answer["tokens"], logprobs
