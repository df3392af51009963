"""Runs llama.cpp's own converter on the benchmark's model: `convert.py LLAMA_FOLDER MODEL OUT`, as bf16.

The converter tells tokenizers apart by what they make of a long text, and refuses those it does not know. The benchmark's
tokenizer is made up; prompts are token ids, so how text would be split does not matter, and it is told a common way.
"""

import sys

llama, model, out = sys.argv[1:]
sys.path.insert(0, llama)
sys.path.insert(1, f"{llama}/gguf-py")

import convert_hf_to_gguf
from conversion.base import TextModel

def no_sentencepiece(*_, **__):
    raise FileNotFoundError("the model has no tokenizer.model")


TextModel.get_vocab_base_pre = lambda *_: "qwen2"
# The converter looks for a sentencepiece vocabulary first, and needs the package only to find that there is none.
TextModel._set_vocab_sentencepiece = no_sentencepiece
sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", out, "--outtype", "bf16"]
convert_hf_to_gguf.main()
