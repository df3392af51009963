#!/usr/bin/env bash
# Shows that the hub of the download tests speaks the protocol of hubs, with a client that others wrote: huggingface_hub downloads
# the demo model from it. The Python environment is made once per content of requirements.txt, under $CANDELA_CACHE.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$HOME/.cache/candela/target}
cache=${CANDELA_CACHE:-$HOME/.cache/candela}
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
venv=$cache/hub-$version-$(sha256sum <"$here/requirements.txt" | cut -c1-12)

if [ ! -e "$venv/complete" ]; then
    echo "hub: installing $here/requirements.txt into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$cache"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    touch "$venv/complete"
fi
cd "$here/../.."
cargo build --quiet --locked --package candela-engine --bin candela-engine --example hub
exec "$venv/bin/python" "$here/client.py" "$CARGO_TARGET_DIR/debug" inference/models/demo
