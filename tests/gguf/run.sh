#!/bin/sh
# Runs the GGUF suite, in the Python environment of the parity suite:
#   tests/gguf/run.sh --engine target/release/candela-engine --logits target/debug/examples/logits
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../parity/run.sh" --suite "$here/run.py" "$@"
