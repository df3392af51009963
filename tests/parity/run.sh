#!/usr/bin/env bash
# Runs the parity suite in a Python environment of its own:
#   tests/parity/run.sh --engine target/release/candela-engine --logits target/debug/examples/logits
# With --prepare it only makes the environment and prints its folder; with --suite FILE first it runs that suite instead.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$("$here/../setup/venv.sh" parity "$here/requirements.txt")
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
