#!/usr/bin/env bash
# Holds the server against its own OpenAPI document: schemathesis makes requests from it, valid ones and broken ones, and fails on
# any answer that the document does not describe and on any 5xx that means a fault. The Python environment is made once per content
# of requirements.txt, under $CANDELA_CACHE. SEED=… replays a run; the seed of a run is printed with its result.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
venv=$cache/openapi-$version-$(sha256sum <"$here/requirements.txt" | cut -c1-12)

if [ ! -e "$venv/complete" ]; then
    echo "openapi: installing $here/requirements.txt into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    touch "$venv/complete"
fi
cd "$here/../.."
engine=${1:-}
if [ -z "$engine" ]; then
    cargo build --quiet --locked --package candela-engine --bin candela-engine
    engine=$CARGO_TARGET_DIR/debug/candela-engine
fi
exec "$venv/bin/python" "$here/suite.py" "$engine" "$venv/bin/schemathesis"
