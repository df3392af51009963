#!/usr/bin/env bash
# Holds the server against its own OpenAPI document: schemathesis makes requests from it, valid ones and broken ones, and fails on
# any answer that the document does not describe and on any 5xx that means a fault. SEED=… replays a run; the seed of a run is
# printed with its result.
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
