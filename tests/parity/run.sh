#!/bin/sh
# Runs the parity suite in a Python environment of its own, made once per content of requirements.txt:
#   tests/parity/run.sh --engine target/release/candela-engine --logits target/debug/examples/logits
# The environment lives under $CANDELA_CACHE (default ~/.cache/candela); PYTHON names the interpreter (3.11 or later).
# With --prepare it only makes the environment and prints its folder; with --suite FILE first it runs that suite instead.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
key=$("$python" -c 'import hashlib, sys
print("{}.{}".format(*sys.version_info) + "-" + hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest()[:12])' "$here/requirements.txt")
venv=$cache/parity-$key

if [ ! -e "$venv/complete" ]; then
    echo "parity: installing $here/requirements.txt into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv" || {
        echo "parity: $python cannot make a virtual environment; on Debian install python3-venv" >&2
        exit 1
    }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    touch "$venv/complete"
fi

if [ "${1:-}" = --prepare ]; then
    echo "$venv"
    exit 0
fi
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
suite=$here/run.py
if [ "${1:-}" = --suite ]; then
    suite=$2
    shift 2
fi
exec "$venv/bin/python" "$suite" "$@"
