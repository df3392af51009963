#!/usr/bin/env bash
# Holds the server against its own OpenAPI document: schemathesis makes requests from it, valid ones and broken ones, and fails on
# any answer that the document does not describe and on any 5xx that means a fault. The requests are the same each time;
# SEED=random makes others, SEED=… those of a seed, which is printed with the result.
#   tests/openapi/run.sh [ENGINE]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
venv=$("$here/../setup/venv.sh" openapi "$here/requirements.txt")
cd "$here/../.."
engine=${1:-}
if [ -z "$engine" ]; then
    cargo build --quiet --locked --package candela-engine --bin candela-engine
    engine=$CARGO_TARGET_DIR/debug/candela-engine
fi
exec "$venv/bin/python" "$here/suite.py" "$engine" "$venv/bin/schemathesis"
