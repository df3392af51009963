#!/usr/bin/env bash
# Measures the engine beside vLLM and llama.cpp (docs/benchmarks.md). Installs what it needs once, under $CANDELA_CACHE/bench: about
# 8 GB. Options are those of run.py, after everything that is found here:
#   tests/bench/run.sh --quick
#   tests/bench/run.sh --servers candela-bf16,vllm-bf16 --cells 128x1 512x8 --rounds 3
# With --self-test it checks its own arithmetic, and installs nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
[ "${1:-}" != --self-test ] || exec "$python" "$here/self_test.py"
cache=${CANDELA_CACHE:-$HOME/.cache/candela}/bench
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
mkdir -p "$cache"

# Makes a folder once per content of the files that decide on it: KIND FILES… -- COMMAND… writes it, its name is the last argument.
once() {
    local kind=$1 files=()
    shift
    while [ "$1" != -- ]; do
        files+=("$1")
        shift
    done
    shift
    local key folder
    key=$(cat "${files[@]}" | sha256sum | cut -c1-12)
    folder=$cache/$kind-$key
    if [ ! -e "$folder/complete" ]; then
        echo "bench: making $folder, once" >&2
        rm -rf "$folder"
        mkdir -p "$folder"
        "$@" "$folder" >&2 || return 1
        touch "$folder/complete"
    fi
    echo "$folder"
}

ggufs() { # ggufs FOLDER
    "$environment/bin/python" "$here/convert.py" "$llama" "$model" "$1/bf16.gguf" &&
        "$llama/bin/llama-quantize" "$1/bf16.gguf" "$1/q8_0.gguf" q8_0
}

programs=$("$root/tests/setup/release.sh")
cargo build --release --locked --package candela-engine --example roofline --manifest-path "$root/Cargo.toml" >&2
environment=$("$root/tests/parity/run.sh" --prepare)
model=$(once model "$here/model.py" "$here/shape.py" "$root/tests/parity/requirements.txt" -- \
    "$environment/bin/python" "$here/model.py")

found=(--engine "$programs/candela-engine" --roofline "$CARGO_TARGET_DIR/release/examples/roofline" --model "$model"
    --cache "$cache" --candela-version "$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)")
# A peer that cannot be had is named in the table; the others are measured all the same.
if vllm=$("$here/peers/vllm.sh"); then
    found+=(--vllm "$vllm" --vllm-version "$(sed -n 's/^release=//p' "$here/peers/vllm.sh")")
fi
if llama=$("$here/peers/llama.sh") &&
    gguf=$(once gguf "$here/model.py" "$here/shape.py" "$root/tests/parity/requirements.txt" "$here/convert.py" \
        "$here/peers/llama.sh" -- ggufs); then
    found+=(--llama "$llama" --gguf "$gguf")
    found+=(--llama-version "llama-cpp-python $(sed -n 's/^release=//p' "$here/peers/llama.sh")")
fi
exec "$python" "$here/run.py" "${found[@]}" --page "$root/docs/benchmarks.md" "$@"
